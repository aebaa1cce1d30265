"""The pictures themselves, as Vega-Lite specifications made with Altair, and the script that draws them.

Colours are CSS custom properties (`reports.palette`), the width is the container's, and no data is fetched. This is the only module that knows
Altair and vl-convert.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import altair as alt
import vl_convert

from reports.table import Cell, script_json
from reports.verdicts import natural

_SHAPES: Final = (
    ("circle", "●"),
    ("square", "■"),
    ("triangle-up", "▲"),
    ("diamond", "◆"),
    ("cross", "✚"),
    ("triangle-down", "▼"),
    ("triangle-right", "▶\ufe0e"),
    ("triangle-left", "◀\ufe0e"),
)
"""Marks of the series, and the characters that stand for them in the legend."""
HIDDEN: Final = "hidden"
"""The parameter of every picture that holds the series not to be shown."""
_HEIGHT: Final = 300
_ROW_HEIGHT: Final = 34
_ALLOWED_LABEL: Final = 190


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a picture: the field it shows, its title with the unit, logarithmic or not, the numbers to label (default: round ones)."""

    field: str
    title: str
    log: bool = False
    ticks: tuple[float, ...] = ()
    number_format: str = ""
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """A line across a picture at a value of the y axis, such as a limit."""

    value: float
    label: str


Row = dict[str, Cell]
"""One datum of a picture, by field. (What Vega-Lite calls a data value; it exists to become JSON.)"""


@dataclass(frozen=True, slots=True)
class LegendEntry:
    """One series in the legend, which is text of the page: it wraps at any width, and a screen reader reads it."""

    label: str
    glyph: str
    colour: str


def legend(rows: Sequence[Row]) -> tuple[LegendEntry, ...]:
    """The legend of a picture; none where there is one series only."""
    series = series_of(rows)
    if len(series) < 2:
        return ()
    return tuple(
        LegendEntry(label, _SHAPES[place % len(_SHAPES)][1], f"series-{place % len(_SHAPES) + 1}")
        for place, label in enumerate(series)
    )


def scatter(rows: Sequence[Row], x: Axis, y: Axis, tooltip: Sequence[tuple[str, str]], mark: Mark | None = None) -> str:
    """Every value as a dot, and per series a line through the medians. Rows carry `series` and `accused`. Returns JSON."""
    base = alt.Chart(_data(rows))
    line = base.mark_line(strokeWidth=1.75, opacity=0.8).encode(x=_x(x), y=_y(y, "median"), color=_colour(rows))
    return _finish([*_limit(mark), line, *_dots(base, rows, x, y, tooltip)], _HEIGHT)


def fitted(rows: Sequence[Row], lines: Sequence[Row], x: Axis, y: Axis, tooltip: Sequence[tuple[str, str]]) -> str:
    """Every value as a dot, and the lines given by their end points (fields `series`, x and y). Returns JSON."""
    fit = (
        alt.Chart(_data(lines))
        .mark_line(strokeWidth=1.75, strokeDash=[6, 3])
        .encode(x=_x(x), y=_y(y), color=_colour(rows))
    )
    return _finish([fit, *_dots(alt.Chart(_data(rows)), rows, x, y, tooltip)], _HEIGHT)


def strips(
    rows: Sequence[Row], x: Axis, names: str, order: Sequence[str], tooltip: Sequence[tuple[str, str]], mark: Mark
) -> str:
    """One row per name with a tick for each value, and a line at `mark` on the x axis. Returns JSON."""
    limit = (
        alt.Chart(_data([{"limit": mark.value}]))
        .mark_rule(strokeDash=[4, 4], color="var(--muted)")
        .encode(x=alt.X("limit:Q"))
    )
    ticks = (
        alt.Chart(_data(rows))
        .mark_tick(thickness=3, size=16, opacity=0.75, color="var(--series-1)")
        .encode(x=_x(x), y=_names(names, order), tooltip=_tooltip(tooltip))
    )
    return _finish([limit, ticks], max(2, len(order)) * _ROW_HEIGHT)


def boxes(
    rows: Sequence[Row], x_title: str, names: str, order: Sequence[str], tooltip: Sequence[tuple[str, str]]
) -> str:
    """One row per name: 5 to 95 % as a line, 25 to 75 % as a bar, the median as a tick; fields p05 p25 median p75 p95. Returns JSON."""
    base = alt.Chart(_data(rows)).encode(y=_names(names, order), tooltip=_tooltip(tooltip))
    scale = alt.Scale(type="log", nice=False, padding=12)
    axis = Axis("p05", x_title, log=True, ticks=_decades(rows, "p05", "p95"), number_format="~g")
    x = alt.X("p05", type="quantitative", title=x_title, scale=scale, axis=_axis(axis))
    whisker = base.mark_rule(strokeWidth=1.5, color="var(--series-1)").encode(x=x, x2="p95")
    box = base.mark_bar(size=14, color="var(--series-1)", opacity=0.55).encode(
        x=alt.X("p25", type="quantitative"), x2="p75"
    )
    median = base.mark_tick(thickness=2.5, size=20, color="var(--text)").encode(x=alt.X("median", type="quantitative"))
    return _finish([whisker, box, median], max(2, len(order)) * _ROW_HEIGHT)


def stacked(rows: Sequence[Row], x: Axis, names: str, order: Sequence[str], tooltip: Sequence[tuple[str, str]]) -> str:
    """One bar per name, its parts (`series`, in the order of field `part`) as shares of the whole. Returns JSON."""
    bars = (
        alt.Chart(_data(rows))
        .mark_bar(size=16, opacity=0.9)
        .encode(
            x=alt.X(
                f"sum({x.field})", type="quantitative", title=x.title, stack="normalize", axis=alt.Axis(format="%")
            ),
            y=_names(names, order),
            color=_colour(rows),
            order=alt.Order("part", type="quantitative"),
            tooltip=_tooltip(tooltip),
        )
    )
    return _finish([bars], max(2, len(order)) * _ROW_HEIGHT)


def steps(rows: Sequence[Row], x: Axis, y: Axis, tooltip: Sequence[tuple[str, str]]) -> str:
    """A stair per series through its values. Returns JSON."""
    base = alt.Chart(_data(rows))
    line = base.mark_line(strokeWidth=1.75, interpolate="step-after").encode(x=_x(x), y=_y(y), color=_colour(rows))
    dots = base.mark_point(filled=True, size=26).encode(
        x=_x(x), y=_y(y), color=_colour(rows), shape=_shape(rows), tooltip=_tooltip(tooltip)
    )
    return _finish([line, dots], _HEIGHT)


@cache
def library() -> str:
    """Vega, Vega-Lite and vega-embed as one script. It sets `window.vegaEmbed` and needs no network; wrap it: it declares short global names."""
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    # A closing tag inside the script would end it; the bundle has none today, and an escaped one means the same to JavaScript.
    return re.sub(r"</(?=script)", r"<\\/", bundle, flags=re.IGNORECASE)


def _data(rows: Sequence[Row]) -> alt.InlineData:
    return alt.InlineData(values=list(rows))


def _axis(axis: Axis) -> alt.Axis:
    options = alt.Axis(labelOverlap="greedy", labelSeparation=6)
    if axis.ticks:
        options["values"] = list(axis.ticks)
    if axis.number_format:
        options["format"] = axis.number_format
    if axis.whole and not axis.ticks:
        options["tickMinStep"] = 1
        options["format"] = "d"
    return options


def _x(axis: Axis) -> alt.X:
    scale = alt.Scale(type="log", nice=False, padding=12) if axis.log else alt.Scale(zero=False, nice=False, padding=12)
    return alt.X(axis.field, type="quantitative", title=axis.title, scale=scale, axis=_axis(axis))


def _y(axis: Axis, aggregate: str = "") -> alt.Y:
    scale = alt.Scale(type="log", nice=False, padding=8) if axis.log else alt.Scale(zero=False, padding=6)
    field = f"{aggregate}({axis.field})" if aggregate else axis.field
    return alt.Y(field, type="quantitative", title=axis.title, scale=scale, axis=_axis(axis))


def _decades(rows: Sequence[Row], low: str, high: str) -> tuple[float, ...]:
    """1, 2 and 5 times the powers of ten that the values span: a logarithmic axis left alone draws ten lines a decade."""
    lows = [float(row[low] or 0) for row in rows]
    highs = [float(row[high] or 0) for row in rows]
    exponents = range(math.floor(math.log10(min(lows))), math.ceil(math.log10(max(highs))) + 1)
    steps = (1, 2, 5) if len(exponents) < 5 else (1,)
    return tuple(float(f"{step}e{exponent}") for exponent in exponents for step in steps)


def _names(field: str, order: Sequence[str]) -> alt.Y:
    # Long names stand in two lines: at 400 px the picture would otherwise have no room.
    axis = alt.Axis(
        labelExpr="split(datum.label, ' @ ')",
        labelLimit=_ALLOWED_LABEL,
        labelOffset=-6,
        labelLineHeight=13,
        ticks=False,
        domain=False,
    )
    return alt.Y(field, type="nominal", sort=list(order), title=None, axis=axis)


def series_of(rows: Sequence[Row]) -> tuple[str, ...]:
    """The series of a picture, in the order of their colours and shapes."""
    return tuple(sorted({str(row["series"]) for row in rows}, key=natural))


def _colour(rows: Sequence[Row]) -> alt.Color:
    series = series_of(rows)
    colours = [f"var(--series-{place % 8 + 1})" for place in range(len(series))]
    return alt.Color("series", type="nominal", scale=alt.Scale(domain=list(series), range=colours), legend=None)


def _shape(rows: Sequence[Row]) -> alt.Shape:
    series = series_of(rows)
    shapes = [_SHAPES[place % len(_SHAPES)][0] for place in range(len(series))]
    return alt.Shape("series", type="nominal", scale=alt.Scale(domain=list(series), range=shapes), legend=None)


def _dots(
    base: alt.Chart, rows: Sequence[Row], x: Axis, y: Axis, tooltip: Sequence[tuple[str, str]]
) -> list[alt.Chart]:
    dots = base.mark_point(filled=True, size=44, opacity=0.8).encode(
        x=_x(x), y=_y(y), color=_colour(rows), shape=_shape(rows), tooltip=_tooltip(tooltip)
    )
    if not any(row["accused"] for row in rows):
        return [dots]
    rings = (
        base.transform_filter("datum.accused")
        .mark_point(filled=False, size=200, strokeWidth=2, color="var(--fail)")
        .encode(x=_x(x), y=_y(y), tooltip=_tooltip(tooltip))
    )
    return [dots, rings]


def _limit(mark: Mark | None) -> list[alt.Chart]:
    if mark is None:
        return []
    base = alt.Chart(_data([{"limit": mark.value, "label": mark.label}]))
    rule = base.mark_rule(strokeDash=[4, 4], color="var(--muted)").encode(y=alt.Y("limit:Q"))
    text = base.mark_text(align="left", baseline="bottom", dx=2, dy=-2, color="var(--muted)").encode(
        x=alt.value(0), y=alt.Y("limit:Q"), text="label:N"
    )
    return [rule, text]


def _tooltip(fields: Sequence[tuple[str, str]]) -> list[alt.Tooltip]:
    return [alt.Tooltip(field=name, title=title) for name, title in fields]


def _finish(layers: Sequence[alt.Chart], height: int) -> str:
    chart = (
        alt.layer(*layers)
        .properties(width="container", height=height, background="transparent")
        .properties(autosize=alt.AutoSizeParams(type="fit-x", contains="padding"))
        .configure(font="system-ui, sans-serif")
        .configure_view(stroke=None)
        .configure_axis(
            labelColor="var(--text)",
            titleColor="var(--text)",
            gridColor="var(--rule)",
            domainColor="var(--control)",
            tickColor="var(--control)",
            labelFontSize=12,
            titleFontSize=12,
            titleFontWeight="normal",
            titlePadding=10,
        )
        .configure_text(fontSize=11)
    )
    specification = chart.to_dict()
    # The address of the schema is of no use to a page that fetches nothing.
    specification.pop("$schema", None)
    # What the legend's buttons hide (`report.js`).
    specification["params"] = [*specification.get("params", []), {"name": HIDDEN, "value": []}]
    for layer in specification["layer"]:
        if "color" in layer["encoding"] or "accused" in json.dumps(layer.get("transform", [])):
            layer.setdefault("transform", []).insert(0, {"filter": f"indexof({HIDDEN}, datum.series) < 0"})
    return script_json(specification)
