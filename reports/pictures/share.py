"""Share of the limit against rate and against MTU: measurements in `percent_of_limit`."""

from __future__ import annotations

from typing import Final

import pandas as pd

from reports.charts import Axis, Mark, legend, scatter
from reports.load import Records
from reports.pictures.picture import Picture, fields_of, rows_of
from reports.points import add_rate, add_series, parameter, swept_names, whole_numbers, with_parameters
from reports.table import Kind, number_text, table_of

UNIT: Final = "percent_of_limit"
_PLAIN: Final = ("scenario", "name", "p_direction", "p_protocol", "p_stack", "detail")
_LIMIT: Final = Mark(100.0, "the limit")
_SHARE: Final = Axis("value", "share of the limit (%)")


def select(records: Records) -> pd.Series[bool]:
    """Which measurements these pictures show."""
    return (records.measurements["unit"] == UNIT) & records.measurements["value"].notna()


def pictures(records: Records) -> tuple[Picture, Picture]:
    """Against rate, against MTU."""
    frame = with_parameters(records.measurements[select(records)], records)
    frame = add_rate(frame)
    frame = frame.assign(value=frame["value"].astype("float64"), mtu=whole_numbers(parameter(frame, "mtu")))
    frame["mtu_text"] = [f"{mtu:.0f} bytes" if mtu == mtu else "" for mtu in frame["mtu"]]
    others = tuple(f"p_{name}" for name in swept_names(records) if name not in ("ta1", "clock_hz", "mtu", "channels"))
    return _against_rate(frame, records, others), _against_mtu(frame, records, others)


def _against_rate(frame: pd.DataFrame, records: Records, others: tuple[str, ...]) -> Picture:
    title, id = "Share of the limit against rate", "share-against-rate"
    frame = frame[frame["baud"].notna()]
    if frame.empty:
        return Picture(
            id,
            title,
            f"Nothing to draw: no measurement in {UNIT} at a point with ta1 and clock_hz. Scenarios that measure goodput over rates fill it.",
        )
    frame = add_series(frame, [*_PLAIN, *others, "mtu_text"]).sort_values(["series", "baud"], kind="stable")
    rates = sorted({float(speed) for speed in frame["baud"]})
    x = Axis(
        "baud", "rate (Bd)", log=len(rates) > 1, ticks=tuple(rates) if len(rates) <= 12 else (), number_format=".4~s"
    )
    return _picture(id, title, frame, records, x)


def _against_mtu(frame: pd.DataFrame, records: Records, others: tuple[str, ...]) -> Picture:
    title, id = "Share of the limit against MTU", "share-against-mtu"
    frame = frame[frame["mtu"].notna() & (frame["mtu"] > 0)]
    if frame.empty:
        return Picture(
            id,
            title,
            f"Nothing to draw: no measurement in {UNIT} at a point with an mtu. Scenarios that measure goodput over MTUs fill it.",
        )
    frame = add_series(frame, [*_PLAIN, *others, "rate"]).sort_values(["series", "mtu"], kind="stable")
    sizes = sorted({float(size) for size in frame["mtu"]})
    x = Axis(
        "mtu", "MTU (bytes)", log=len(sizes) > 1, ticks=tuple(sizes) if len(sizes) <= 12 else (), number_format="d"
    )
    return _picture(id, title, frame, records, x)


def _picture(id: str, title: str, frame: pd.DataFrame, records: Records, x: Axis) -> Picture:
    shown = [
        ("scenario", "scenario"),
        ("point", "point"),
        ("name", "measured"),
        ("rate", "rate"),
        ("mtu_text", "MTU"),
        ("value", "share (%)"),
    ]
    rows = rows_of(frame, ["series", x.field, *(name for name, _ in shown)])
    specification = scatter(rows, x, _SHARE, shown, _LIMIT)
    low = frame.iloc[int(frame["value"].argmin())]
    above = int((frame["value"] > 100.0).sum())
    sentence = (
        f"{len(frame)} values from {number_text(float(low['value']), 4)} % ({low['scenario']}, {low['point']}) to "
        f"{number_text(float(frame['value'].max()), 4)} % of what the line could carry; lines join the medians."
    )
    if above:
        sentence += f" {above} lie above 100 %, which no card can reach: there the bench is wrong."
    columns = [
        ("scenario", "scenario", Kind.CODE),
        ("point", "point", Kind.CODE),
        ("name", "measured", Kind.CODE),
        ("detail", "of", Kind.TEXT),
        ("rate", "rate", Kind.TEXT),
        ("mtu", "MTU (bytes)", Kind.NUMBER),
        ("value", "share (%)", Kind.NUMBER),
        ("at_least", "at least (%)", Kind.NUMBER),
        ("verdict", "verdict", Kind.VERDICT),
    ]
    table = table_of(frame, f"data-{id}", title, fields_of(columns, len(records.runs)), f"{id}.csv")
    return Picture(id, title, sentence, specification, table, legend(rows))
