"""How channels share a line: measurements named `share` (one a channel) and Jain's index."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

from reports.charts import Axis, Mark, legend, scatter, strips
from reports.load import Records
from reports.pictures.picture import Picture, fields_of, rows_of
from reports.points import POINT, add_series, parameter, swept_names, whole_numbers, with_parameters
from reports.table import Kind, number_text, table_of
from reports.verdicts import natural

NAME: Final = "share"
UNIT: Final = "jain"
MOST_ROWS: Final = 16
"""The picture of shares draws at most so many points, the most uneven ones."""


def jain(shares: np.ndarray) -> float:
    """Jain's fairness index of `shares`: 1 when all are equal, 1/n when one has everything; 1 where nobody has anything."""
    squares = float(np.sum(shares**2))
    return float(np.sum(shares)) ** 2 / (len(shares) * squares) if squares else 1.0


def select(records: Records) -> pd.Series[bool]:
    """Which measurements these pictures show."""
    frame = records.measurements
    per_channel = (frame["name"] == NAME) & (frame["detail"] != "")
    return (per_channel | (frame["unit"] == UNIT)) & frame["value"].notna()


def pictures(records: Records) -> tuple[Picture, Picture]:
    """Shares of the channels, Jain's index."""
    chosen = records.measurements[select(records)]
    return _shares(chosen[chosen["unit"] != UNIT], records), _jain(chosen[chosen["unit"] == UNIT], records)


def _shares(frame: pd.DataFrame, records: Records) -> Picture:
    """Each channel beside an equal share. (Long: every column is named, for the picture and for its table.)"""
    title, id = "What each channel got", "channel-shares"
    if frame.empty:
        return Picture(
            id,
            title,
            f"Nothing to draw: no measurement named {NAME} with a channel as its detail. Scenarios of several busy channels fill it.",
        )
    frame = frame.assign(value=frame["value"].astype("float64"))
    groups = frame.groupby([*POINT, "unit"], sort=False)["value"]
    mean = groups.transform("mean")
    frame = frame.assign(
        ratio=(frame["value"] / mean).where(mean != 0, 1.0),
        index=groups.transform(lambda shares: jain(shares.to_numpy(dtype=float))),
        label=[" @ ".join(parts) for parts in frame[_named(records)].itertuples(index=False, name=None)],
    )
    uneven = frame.drop_duplicates("label").sort_values("index", kind="stable")["label"].head(MOST_ROWS)
    order = sorted((str(label) for label in uneven), key=natural)
    drawn = frame[frame["label"].isin(order)]
    left_out = frame["label"].nunique() - len(order)
    worst = frame.iloc[int(frame["index"].argmin())]
    sentence = (
        f"Each tick is a channel; 1 is an equal share of its point. Most uneven: {worst['scenario']}, {worst['point']} "
        f"(Jain's index over the whole {number_text(float(worst['index']), 5)}, channels from "
        f"{number_text(float(frame['ratio'].min()), 4)} to {number_text(float(frame['ratio'].max()), 4)} of an equal share)."
    )
    if left_out:
        sentence += f" The {len(order)} most uneven points are drawn, the table has the other {left_out} too."
    shown = [
        ("label", "point"),
        ("detail", "channel"),
        ("value", "share"),
        ("unit", "unit"),
        ("ratio", "of an equal share"),
    ]
    specification = strips(
        rows_of(drawn, [name for name, _ in shown]),
        Axis("ratio", "× an equal share"),
        "label",
        order,
        shown,
        Mark(1.0, "equal share"),
    )
    columns = [
        ("scenario", "scenario", Kind.CODE),
        ("point", "point", Kind.CODE),
        ("detail", "channel", Kind.TEXT),
        ("value", "share", Kind.NUMBER),
        ("unit", "unit", Kind.TEXT),
        ("ratio", "of an equal share", Kind.NUMBER),
        ("index", "Jain's index of the point", Kind.NUMBER),
    ]
    table = table_of(frame, f"data-{id}", title, fields_of(columns, len(records.runs)), f"{id}.csv")
    return Picture(id, title, sentence, specification, table)


def _jain(frame: pd.DataFrame, records: Records) -> Picture:
    title, id = "Jain's fairness index", "jain-index"
    frame = with_parameters(frame, records)
    frame = frame.assign(value=frame["value"].astype("float64"), channels=whole_numbers(parameter(frame, "channels")))
    drawn = frame[frame["channels"].notna()]
    if drawn.empty:
        return Picture(
            id,
            title,
            f"Nothing to draw: no measurement in {UNIT} at a point with channels. Scenarios that judge fairness over a number of channels fill it.",
        )
    others = [f"p_{name}" for name in swept_names(records) if name != "channels"]
    drawn = add_series(drawn, ["scenario", "name", *others, "detail"]).sort_values(
        ["series", "channels"], kind="stable"
    )
    low = drawn.iloc[int(drawn["value"].argmin())]
    sentence = f"1 is perfectly even. {len(drawn)} values, the lowest {number_text(float(low['value']), 5)} ({low['scenario']}, {low['point']})."
    shown = [
        ("scenario", "scenario"),
        ("point", "point"),
        ("name", "measured"),
        ("channels", "channels"),
        ("value", "Jain's index"),
    ]
    counts = sorted({float(count) for count in drawn["channels"]})
    x = Axis("channels", "channels", whole=True, ticks=tuple(counts) if len(counts) <= 12 else (), number_format="d")
    rows = rows_of(drawn, ["series", *(name for name, _ in shown)])
    specification = scatter(rows, x, Axis("value", "Jain's index"), shown)
    columns = [
        ("scenario", "scenario", Kind.CODE),
        ("point", "point", Kind.CODE),
        ("name", "measured", Kind.CODE),
        ("channels", "channels", Kind.NUMBER),
        ("value", "Jain's index", Kind.NUMBER),
        ("at_least", "at least", Kind.NUMBER),
        ("verdict", "verdict", Kind.VERDICT),
    ]
    table = table_of(drawn, f"data-{id}", title, fields_of(columns, len(records.runs)), f"{id}.csv")
    return Picture(id, title, sentence, specification, table, legend(rows))


def _named(records: Records) -> list[str]:
    return [*(["run"] if len(records.runs) > 1 else []), "scenario", "point"]
