"""Change points in nightly values: when a series went to another level, and stayed there.

Two rules look at each night; either is an alarm when the shift of the medians is at least the gate, and at least 1.5 robust standard
deviations of the nights before.

- Seven nights against up to 28 before them: Mann and Whitney's test, exact, two-sided p of at most 0.0042 (0.002 where nights scatter by over 2 %).
- Three nights against up to 28 before them, for large shifts, which need not wait six nights: all three beyond every night before, on one side,
  and their median at least four robust standard deviations away.

After a change the series begins anew where it began, so that one change is found once. Ranks do not mind single nights that stand out. Correlated
nights do harm: `reports.stats.simulate` shows how much, docs/regress.md has the curves.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from reports.stats.ranks import mann_whitney_distribution
from reports.stats.scipy_functions import Floats, normal_quantile, rank_correlation

RECENT: Final = 7
BEFORE: Final = 28
QUICK: Final = 3
GATE: Final = 0.01
"""The smallest shift that is told, as a share of the median before."""
SPREAD_GATE: Final = 1.5
"""The smallest shift in robust standard deviations of the nights before: about 1 % at 0.7 %, and noisier series nearly as silent as that."""
ALARM: Final = 0.0042
"""Of seven nights against 28 the two-sided p of U = 31 is 0.00418: one of seven nights may stand out the wrong way (U is 28 then)."""
NOISY: Final = 0.02
NOISY_ALARM: Final = 0.002
"""The p for series whose nights scatter by more than NOISY: calibrated on the bench's own nights on a machine that others used (docs/regress.md)."""
FALSE_ALARMS: Final = 0.0015
"""At most so many false alarms a series and night, whatever the scatter, where nights are independent (measured: docs/regress.md)."""
QUICK_SIGMAS: Final = 4.0
QUICK_FEWEST: Final = 14
"""Nights before, at the least, for the quick rule: fewer tell little of their own spread."""
FIRST_NIGHT: Final = 2 * RECENT - 1
"""The first night (from 0) on which anything can be found: seven against seven."""
_MAD_TO_SIGMA: Final = 1.4826

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Alarms:
    """For each row of windows: whether there is an alarm, the two-sided p of the rule that gave it (else of the seven nights), and the shift of
    the medians as a share."""

    alarm: Flags
    p: Floats
    shift: Floats


@dataclass(frozen=True, slots=True)
class Change:
    """One change point. Nights are places in the series, from 0.

    `found`: the night of the first alarm. `began`: the first night at the new level, as the split that leaves the least absolute deviation.
    `before`, `after`: medians of up to 28 nights before it and of all nights since, up to the next change. `p`: the smallest two-sided p of the
    nights from `found` on that still compare with the nights before.
    """

    found: int
    began: int
    before: float
    after: float
    p: float

    @property
    def shift(self) -> float:
        """As a share of the level before: 0.02 is 2 % more."""
        return self.after / self.before - 1


def look(before: Floats, recent: Floats, gate: float = GATE, alarm_p: float | None = None) -> Alarms:
    """Judge rows of windows: `before` (rows x up to 28) and the nights that follow, `recent` (rows x 7). Values are positive.

    `alarm_p` takes the place of both thresholds of the rank rule.
    """
    middle = np.median(before, axis=1)
    shift = np.median(recent, axis=1) / middle - 1
    p = _rank_test(before, recent)
    spread = _trimmed_spread(before) / middle
    threshold = np.where(spread > NOISY, NOISY_ALARM, ALARM) if alarm_p is None else alarm_p
    alarm = (p <= threshold) & (np.abs(shift) >= np.maximum(gate, SPREAD_GATE * spread))
    nights = np.concatenate([before, recent[:, : RECENT - QUICK]], axis=1)[:, -BEFORE:]
    if nights.shape[1] >= QUICK_FEWEST:
        quick, quick_shift = _quick(nights, recent[:, -QUICK:], gate)
        quick_p = 2.0 * float(mann_whitney_distribution(QUICK, nights.shape[1])[0])
        only = quick & ~alarm
        p = np.where(only, quick_p, p)
        shift = np.where(only, quick_shift, shift)
        alarm = alarm | quick
    return Alarms(alarm, p, shift)


def changes(values: Floats, gate: float = GATE) -> list[Change]:
    """All change points of one series of positive nightly values, oldest first."""
    starts = [0]
    found: list[Change] = []
    while (night := _first_alarm(values, starts[-1], gate)) is not None:
        began = _beginning(values, starts[-1], night)
        before = float(np.median(values[max(starts[-1], began - BEFORE) : began]))
        p = _strongest(values, starts[-1], began, night)
        found.append(Change(night, began, before, float("nan"), p))
        starts.append(began)
    ends = [change.began for change in found[1:]] + [len(values)] * bool(found)
    return [
        Change(change.found, change.began, change.before, float(np.median(values[change.began : end])), change.p)
        for change, end in zip(found, ends, strict=True)
    ]


def night_spread(values: Floats, found: list[Change]) -> float:
    """The robust standard deviation of a series about its levels, as a share; NaN of fewer than seven nights."""
    residues = _about_levels(values, found)
    if len(residues) < RECENT:
        return float("nan")
    return _MAD_TO_SIGMA * float(np.median(np.abs(residues)))


def night_correlation(values: Floats, found: list[Change]) -> float:
    """How much a night resembles the one before it: Spearman's coefficient of neighbours about their levels; NaN of fewer than 14 nights."""
    residues = _about_levels(values, found)
    return rank_correlation(residues[:-1], residues[1:]) if len(residues) >= 2 * RECENT else float("nan")


def _about_levels(values: Floats, found: list[Change]) -> Floats:
    edges = [0, *(change.began for change in found), len(values)]
    parts = [values[low:high] for low, high in pairwise(edges) if high - low > 1]
    return np.concatenate([part / np.median(part) - 1 for part in parts]) if parts else values[:0]


def stands_out(values: Floats, start: int, gate: float = GATE) -> float | None:
    """The share by which the last night lies beyond all of up to 28 nights before it and four robust deviations away; None where it does not.

    One night is no change: it may be one that just stands out.
    """
    before = values[max(start, len(values) - 1 - BEFORE) : -1]
    if len(before) < QUICK_FEWEST:
        return None
    quick, shift = _quick(before[np.newaxis], values[np.newaxis, -1:], gate)
    return float(shift[0]) if quick[0] else None


def _rank_test(before: Floats, recent: Floats) -> Floats:
    """Two-sided p-values of Mann and Whitney's test, row by row."""
    ups = (recent[:, :, None] > before[:, None, :]).sum(axis=(1, 2))
    ties = (recent[:, :, None] == before[:, None, :]).sum(axis=(1, 2))
    u = ups + ties / 2
    top = recent.shape[1] * before.shape[1]
    distribution = mann_whitney_distribution(recent.shape[1], before.shape[1])
    extreme = np.ceil(np.minimum(u, top - u)).astype(np.int64)
    p: Floats = np.minimum(1.0, 2 * distribution[extreme])
    return p


def _trimmed_spread(values: Floats) -> Floats:
    """Standard deviations, row by row, of what is left when one in fourteen values is taken off at either end, scaled for normal values."""
    count = values.shape[1]
    off = count // 14
    spread: Floats = np.sort(values, axis=1)[:, off : count - off].std(axis=1)
    if off:
        edge = normal_quantile(1 - off / count)
        density = math.exp(-edge * edge / 2) / math.sqrt(2 * math.pi)
        spread = spread / math.sqrt(1 - 2 * edge * density / (1 - 2 * off / count))
    return spread


def _quick(before: Floats, recent: Floats, gate: float) -> tuple[Flags, Floats]:
    middle = np.median(before, axis=1)
    sigma = _MAD_TO_SIGMA * np.median(np.abs(before - middle[:, None]), axis=1)
    shift = np.median(recent, axis=1) / middle - 1
    outside = (recent.min(axis=1) > before.max(axis=1)) | (recent.max(axis=1) < before.min(axis=1))
    far = np.abs(np.median(recent, axis=1) - middle) >= QUICK_SIGMAS * sigma
    return outside & far & (np.abs(shift) >= gate), shift


def _windows(values: Floats, start: int, first: int) -> Iterator[tuple[int, Floats, Floats]]:
    """The nights from `first` on that have seven nights before their seven: the first of each stretch, and its windows, shortest histories first."""
    full = start + RECENT + BEFORE - 1
    for night in range(first, min(full, len(values))):
        recent = values[night - RECENT + 1 : night + 1]
        yield night, values[np.newaxis, start : night - RECENT + 1], recent[np.newaxis]
    first = max(first, full)
    if first < len(values):
        views = np.lib.stride_tricks.sliding_window_view(values[first - full + start :], BEFORE + RECENT)
        yield first, views[:, :BEFORE], views[:, BEFORE:]


def _first_alarm(values: Floats, start: int, gate: float) -> int | None:
    for night, before, recent in _windows(values, start, start + FIRST_NIGHT):
        alarm = look(before, recent, gate).alarm
        if alarm.any():
            return night + int(alarm.argmax())
    return None


def _beginning(values: Floats, start: int, night: int) -> int:
    """The split of the nights in view that leaves the least absolute deviation from the medians of both parts."""
    low = max(start, night - BEFORE - RECENT + 1)
    earliest = max(low + RECENT, night - 2 * RECENT + 1)
    splits = range(earliest, night - QUICK + 2)
    costs = [_deviation(values[low:split]) + _deviation(values[split : night + 1]) for split in splits]
    return splits[int(np.argmin(costs))]


def _deviation(values: Floats) -> float:
    return float(np.abs(values - np.median(values)).sum())


def _strongest(values: Floats, start: int, began: int, night: int) -> float:
    """The smallest p of the alarm's night and those after it while the seven nights still stand against the old level alone."""
    last = min(len(values) - 1, began + 2 * RECENT)
    nights = range(night, max(night, last) + 1)
    best = 1.0
    for each in nights:
        recent = values[max(began, each - RECENT + 1) : each + 1]
        before = values[max(start, began - BEFORE) : began]
        best = min(best, float(_rank_test(before[np.newaxis], recent[np.newaxis])[0]))
    return best
