"""How long exchanges take at each rate: quantiles from the exchanges table."""

from __future__ import annotations

from typing import Final

from reports.charts import boxes
from reports.exchanges import ExchangeStatistics
from reports.pictures.picture import Picture, rows_of
from reports.table import Field, Kind, number_text, table_of

_FIELDS: Final = (
    Field("label", "rate"),
    Field("exchanges", "exchanges", Kind.NUMBER),
    Field("idle_polls", "of them parked idle polls", Kind.NUMBER),
    Field("errors", "errors", Kind.NUMBER),
    Field("shortest", "shortest (ms)", Kind.NUMBER),
    Field("p05", "5 % (ms)", Kind.NUMBER),
    Field("p25", "25 % (ms)", Kind.NUMBER),
    Field("median", "median (ms)", Kind.NUMBER),
    Field("p75", "75 % (ms)", Kind.NUMBER),
    Field("p95", "95 % (ms)", Kind.NUMBER),
    Field("longest", "longest (ms)", Kind.NUMBER),
    Field("wire", "on the wire (%)", Kind.NUMBER),
    Field("card", "in the card (%)", Kind.NUMBER),
)
MOST_ROWS: Final = 24
_QUANTILES: Final = ("shortest", "p05", "p25", "median", "p75", "p95", "longest")


def picture(statistics: ExchangeStatistics) -> Picture:
    """A row per rate (and level, where there are several) from 5 to 95 % of the exchanges' durations."""
    title, id = "Duration of an exchange by rate", "exchange-times"
    frame = statistics.by_rate
    if frame.empty:
        return Picture(
            id,
            title,
            "Nothing to draw: no exchange was recorded. Every scenario that runs on a reader fills it, unless the run was kept without exchanges.",
        )
    several = frame["level"].nunique() > 1
    label = frame["rate"] + (" " + frame["level"].astype(str) if several else "")
    whole = frame["duration_ns"].astype("float64").replace(0.0, float("nan"))
    frame = frame.assign(
        label=label,
        wire=100.0 * frame["wire_ns"].astype("float64") / whole,
        card=100.0 * frame["card_ns"].astype("float64") / whole,
        **{name: frame[f"{name}_ns"].astype("float64") / 1e6 for name in _QUANTILES},
    )
    # A logarithmic axis has no place for 0 (a stopped clock, a driver without time).
    drawn = frame[frame["p05"] > 0]
    drawn = drawn.loc[drawn["exchanges"].nlargest(MOST_ROWS, keep="first").index.sort_values()]
    shown = [("label", "rate"), ("exchanges", "exchanges"), *((name, f"{name} (ms)") for name in _QUANTILES)]
    counted = int(frame["exchanges"].sum())
    sentence = (
        f"{number_text(counted)} exchanges at {len(frame)} rate{'s' if len(frame) > 1 else ''}. Line: 5 to 95 %, bar: 25 to 75 %, tick: median. "
        "Parked idle polls and failed exchanges are counted in the table and not drawn."
    )
    if len(drawn) == MOST_ROWS < len(frame):
        sentence += f" The {MOST_ROWS} rates with most exchanges are drawn."
    specification = ""
    if len(drawn):
        rows = rows_of(drawn, [name for name, _ in shown])
        specification = boxes(rows, "duration (ms)", "label", [str(name) for name in drawn["label"]], shown)
    table = table_of(frame, f"data-{id}", title, _FIELDS, f"{id}.csv")
    return Picture(id, title, sentence, specification, table)
