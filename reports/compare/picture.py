"""The ratios of what differs, and of what seems to, with their intervals."""

from __future__ import annotations

from typing import Final

from reports.compare.model import Comparison
from reports.svg import Bar, forest

MOST_BARS: Final = 40


def draw(found: Comparison) -> str:
    """An SVG picture: each ratio as the share above or below 1, sure ones in colour, the largest first."""
    told = [one for one in found.differences if one.interval is not None and (one.finding.sure or one.finding.seems)]
    told.sort(key=lambda one: (not one.finding.sure, -abs(one.ratio - 1)))
    bars = [
        Bar(
            label=f"{one.key} {one.second}:{one.first}",
            value=100 * (one.ratio - 1),
            low=100 * (one.interval.low - 1),
            high=100 * (one.interval.high - 1),
            strong=one.finding.sure,
        )
        for one in told[:MOST_BARS]
        if one.interval is not None
    ]
    title = "Ratio of medians, 95 % intervals; blue: differs, grey: seems to" if bars else "Nothing differs or seems to"
    return forest(title, " %", bars)
