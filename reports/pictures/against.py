"""One quantity against one parameter of the points: the share of the limit and latencies over rate, MTU, channels and hops.

Drawn are the scenarios that vary the parameter: a scenario with one value of it says nothing of how the quantity depends on it. The table has all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pandas as pd

from reports.charts import Axis, Mark, legend, scatter
from reports.load import Records
from reports.pictures.picture import Picture, fields_of, rows_of
from reports.points import MOST_SERIES, add_series, swept_names
from reports.table import Field, Kind, number_text, table_of

_LABELLED_TICKS: Final = 12
_SERIES: Final = ("scenario", "name", "p_direction", "p_protocol", "p_stack", "p_transport", "p_version", "detail")
_NOT_SERIES: Final = frozenset({"ta1", "clock_hz", "mtu", "channels", "cards", "hops", "nodes"})


@dataclass(frozen=True, slots=True)
class Quantity:
    """What is drawn upwards: column `value`, its axis and unit, and what to say of the lowest and highest value."""

    slug: str
    name: str
    axis: Axis
    unit: str
    measured: str
    limit: Mark | None = None


@dataclass(frozen=True, slots=True)
class Against:
    """What is drawn across: a column of numbers, how it is named, and the point's parameter that fills it."""

    slug: str
    column: str
    name: str
    title: str
    number_format: str
    needs: str
    log: bool = True


RATE: Final = Against("rate", "baud", "rate", "rate (Bd)", ".4~s", "ta1 and clock_hz")
MTU: Final = Against("mtu", "mtu", "MTU", "MTU (bytes)", "d", "an mtu")
CHANNELS: Final = Against("channels", "channels", "channels", "channels", "d", "channels", log=False)
HOPS: Final = Against("hops", "hops", "hops", "hops", "d", "cards or hops", log=False)


def picture(frame: pd.DataFrame, quantity: Quantity, against: Against, records: Records) -> Picture:
    """Every value as a dot over `against`, lines through the medians. `frame` has `value`, the columns of `Against` and the points' parameters."""
    title, id = f"{quantity.name} against {against.name}", f"{quantity.slug}-against-{against.slug}"
    frame = frame[frame[against.column].notna() & (frame[against.column] > 0)]
    if frame.empty:
        return Picture(
            id,
            title,
            f"Nothing to draw: no measurement {quantity.measured} at a point with {against.needs}. "
            f"Scenarios that measure it over {against.title.partition(' (')[0]} fill it.",
        )
    drawn = _telling(frame[frame["value"] > 0] if quantity.axis.log else frame, against.column)
    if drawn.empty:  # a logarithmic axis has no place for 0 (a stopped clock)
        return Picture(
            id,
            title,
            f"Nothing to draw: no measurement {quantity.measured} is above 0. Scenarios that measure it fill it.",
        )
    others = [f"p_{name}" for name in swept_names(records) if name not in _NOT_SERIES]
    beside = {RATE.slug: ["mtu_text"], MTU.slug: ["rate"]}.get(against.slug, ["rate", "mtu_text"])
    drawn = add_series(drawn, [*_SERIES, *others, *beside]).sort_values(["series", against.column], kind="stable")
    places = sorted({float(place) for place in drawn[against.column]})
    x = Axis(
        against.column,
        against.title,
        log=against.log and len(places) > 1,
        ticks=tuple(places) if len(places) <= _LABELLED_TICKS else (),
        number_format=against.number_format,
        whole=not against.log,
    )
    shown = [
        ("scenario", "scenario"),
        ("point", "point"),
        ("name", "measured"),
        ("rate", "rate"),
        ("mtu_text", "MTU"),
        *([] if against in (RATE, MTU) else [(against.column, against.name)]),
        ("value", quantity.axis.title),
    ]
    rows = rows_of(drawn, list(dict.fromkeys(["series", x.field, *(name for name, _ in shown)])))
    specification = scatter(rows, x, quantity.axis, shown, quantity.limit)
    table = table_of(frame, f"data-{id}", title, _columns(quantity, against, len(records.runs)), f"{id}.csv")
    return Picture(id, title, _sentence(frame, len(drawn), quantity, against), specification, table, legend(rows))


def _columns(quantity: Quantity, against: Against, runs: int) -> list[Field]:
    columns = [
        ("scenario", "scenario", Kind.CODE),
        ("point", "point", Kind.CODE),
        ("name", "measured", Kind.CODE),
        ("detail", "of", Kind.TEXT),
        ("rate", "rate", Kind.TEXT),
        ("mtu", "MTU (bytes)", Kind.NUMBER),
        *([] if against in (RATE, MTU) else [(against.column, against.name, Kind.NUMBER)]),
        ("value", quantity.axis.title.replace(" of the limit", ""), Kind.NUMBER),
        *([("at_least", f"at least ({quantity.unit})", Kind.NUMBER)] if quantity.limit else []),
        ("verdict", "verdict", Kind.VERDICT),
    ]
    return fields_of(columns, runs)


def _telling(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """The rows of scenarios that have several places on the axis; all rows where none has."""
    places = frame.groupby("scenario", sort=False)[column].transform("nunique")
    several = frame[places > 1]
    if several.empty:
        return frame
    rank = several.groupby("scenario")[column].nunique().sort_values(ascending=False, kind="stable")
    kept = set(rank.index[: MOST_SERIES - 1]) if len(rank) > MOST_SERIES else set(rank.index)
    return several[several["scenario"].isin(kept)]


def _sentence(frame: pd.DataFrame, drawn: int, quantity: Quantity, against: Against) -> str:
    low, high = frame.iloc[int(frame["value"].argmin())], frame.iloc[int(frame["value"].argmax())]
    highest = f"{number_text(float(high['value']), 4)} {quantity.unit}"
    where = "of what the line could carry" if quantity.limit else f"({high['scenario']}, {high['point']})"
    said = (
        f"{len(frame)} values from {number_text(float(low['value']), 4)} {quantity.unit} ({low['scenario']}, {low['point']}) "
        f"to {highest} {where}; lines join the medians."
    )
    if drawn < len(frame):
        said += f" Drawn are the {drawn} of scenarios that vary {against.title.partition(' (')[0]}; the table has all."
    if quantity.limit is not None and (above := int((frame["value"] > quantity.limit.value).sum())):
        said += f" {above} lie above 100 %, which no card can reach: there the bench is wrong."
    return said
