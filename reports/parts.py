"""Where the time of exchanges goes: host, reader, line and card, a row per run, level and rate.

Everything here is a sum over exchanges divided by their number, so that the parts add up as they do for each. The half-width is that of a single
exchange: a mean of many is surer than that, by how much depends on whether the reader's latency drifts, which nobody has measured.
"""

from __future__ import annotations

from typing import Final

import pandas as pd

from reports.points import rate_label
from reports.table import Field, Kind, Table, number_text, table_of

NOT_CALIBRATED: Final = "not divided: the reader was not calibrated"
EXACT: Final = "exact: seen on the line"
FIELDS: Final = (
    Field("run", "run", Kind.CODE),
    Field("level", "level", Kind.CODE),
    Field("rate", "rate", Kind.CODE),
    Field("count", "exchanges", Kind.NUMBER),
    Field("whole", "whole (µs)", Kind.NUMBER),
    Field("host", "bench (µs)", Kind.NUMBER),
    Field("reader", "reader (µs)", Kind.NUMBER),
    Field("line", "line (µs)", Kind.NUMBER),
    Field("card", "card (µs)", Kind.NUMBER),
    Field("undivided", "undivided (µs)", Kind.NUMBER),
    Field("half_width", "± (µs)", Kind.NUMBER),
    Field("reading", "how the card's time is to be read", Kind.TEXT),
)


def parts_table(parts: pd.DataFrame) -> Table:
    """The table of the page and its CSV. ``parts`` as in ``ExchangeStatistics``."""
    count = parts["count"].astype("float64")

    def mean(column: str) -> pd.Series[float]:
        return parts[column].astype("float64") / count / 1000

    shown = pd.DataFrame(
        {
            "run": parts["run"],
            "level": parts["level"],
            "rate": [_rate(int(ta1), int(clock)) for ta1, clock in zip(parts["ta1"], parts["clock_hz"], strict=True)],
            "count": parts["count"],
            "whole": mean("duration_ns"),
            "host": mean("host_ns"),
            "reader": mean("reader_ns"),
            "line": mean("wire_ns"),
            "card": mean("card_ns"),
            "half_width": mean("uncertainty_ns"),
        }
    )
    shown["undivided"] = (shown["whole"] - shown["reader"] - shown["line"] - shown["card"]).clip(lower=0).round(6)
    rows = zip(shown["card"].tolist(), shown["half_width"].tolist(), shown["undivided"].tolist(), strict=True)
    shown["reading"] = [reading(*row) for row in rows]
    fields = [field for field in FIELDS if field.name != "run" or parts["run"].nunique() > 1]
    return table_of(shown.round(3), "parts-table", "Where the time goes", fields, "time-parts.csv")


def reading(card: float, half_width: float, undivided: float) -> str:
    """What may be said of a card's mean time in µs. Nothing was divided where most of the whole is left over."""
    if undivided > 0:
        return NOT_CALIBRATED
    if half_width <= 0:
        return EXACT
    if card <= half_width:
        return f"below what the reader resolves (up to {number_text(card + half_width, 3)} µs)"
    return f"{number_text(card - half_width, 3)} to {number_text(card + half_width, 3)} µs"


def _rate(ta1: int, clock_hz: int) -> str:
    return rate_label(ta1, clock_hz) if ta1 and clock_hz else "not told"
