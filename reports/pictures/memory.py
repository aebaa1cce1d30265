"""Completeness against memory: how much of what was tried works on cards with so much fast-access memory."""

from __future__ import annotations

from typing import Final

import pandas as pd

from reports.charts import Axis, legend, scatter
from reports.load import Records
from reports.pictures.picture import Picture, fields_of, rows_of
from reports.points import add_series, parameter, with_parameters
from reports.table import Kind, number_text, table_of

NAME: Final = "completeness"
RAM: Final = "ram"
_POINT: Final = ["run", "scenario", "point"]


def select(records: Records) -> pd.Series[bool]:
    """Which measurements this picture shows."""
    frame = records.measurements
    share = (frame["name"] == NAME) & (frame["unit"] == "percent")
    return (share | ((frame["name"] == RAM) & (frame["unit"] == "bytes"))) & frame["value"].notna()


def picture(records: Records) -> Picture:
    """Completeness in percent against bytes of RAM."""
    title, id = "Completeness against fast-access memory", "completeness-against-memory"
    shown = records.measurements[select(records)]
    memory = shown.loc[shown["name"] == RAM, [*_POINT, "value"]].rename(columns={"value": RAM})
    frame = shown[shown["name"] == NAME].merge(memory.drop_duplicates(_POINT), on=_POINT, how="inner")
    if frame.empty:
        return Picture(
            id,
            title,
            "Nothing to draw: no point measured both its completeness and its card's RAM. Scenarios of memory fill it.",
        )
    frame = with_parameters(frame, records)
    frame = frame.assign(
        value=frame["value"].astype("float64"),
        ram=frame[RAM].astype("float64"),
        preset=parameter(frame, "profile"),
        stack=parameter(frame, "stack"),
        mtu_text=[f"{mtu} bytes" if mtu else "" for mtu in parameter(frame, "mtu")],
    )
    frame = add_series(frame, ["scenario", "stack", "mtu_text"]).sort_values(["series", RAM], kind="stable")
    sizes = sorted({float(size) for size in frame[RAM]})
    x = Axis(RAM, "RAM (bytes)", log=len(sizes) > 1, ticks=tuple(sizes) if len(sizes) <= 12 else (), number_format="d")
    y = Axis("value", "features that work (%)")
    told = [
        ("preset", "preset"),
        ("stack", "stack"),
        ("mtu_text", "MTU"),
        ("value", "completeness (%)"),
        ("point", "point"),
    ]
    rows = rows_of(frame, ["series", RAM, *(name for name, _ in told)])
    least, most = frame.loc[frame[RAM] == sizes[0], "value"], frame.loc[frame[RAM] == sizes[-1], "value"]
    sentence = (
        f"{len(frame)} points: {number_text(float(least.median()), 3)} % of the features work with {sizes[0]:.0f} bytes, "
        f"{number_text(float(most.median()), 3)} % with {sizes[-1]:.0f} (medians)."
    )
    columns = [
        ("scenario", "scenario", Kind.CODE),
        ("point", "point", Kind.CODE),
        ("preset", "preset", Kind.CODE),
        ("stack", "stack", Kind.CODE),
        ("mtu_text", "MTU", Kind.TEXT),
        (RAM, "RAM (bytes)", Kind.NUMBER),
        ("value", "completeness (%)", Kind.NUMBER),
    ]
    table = table_of(frame, f"data-{id}", title, fields_of(columns, len(records.runs)), f"{id}.csv")
    return Picture(id, title, sentence, scatter(rows, x, y, told), table, legend(rows))
