"""Latency by hops, with a straight line fitted to each series, and against rate, MTU and channels: measurements named `round_trip` and the like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from reports.charts import Axis, Row, fitted, legend
from reports.load import Records
from reports.pictures import against
from reports.pictures.hops import PARAMETERS, hops_of
from reports.pictures.picture import Picture, fields_of, rows_of
from reports.pictures.share import places
from reports.points import add_rate, add_series, swept_names, with_parameters
from reports.table import Kind, number_text, table_of

NAME: Final = "round_trip"
MILLISECONDS: Final = {"s": 1e3, "ms": 1.0, "us": 1e-3, "µs": 1e-3, "μs": 1e-3, "ns": 1e-6}
"""Units of time and how many milliseconds they are."""

STRAIGHT: Final = 0.9
"""The least R² at which a line says something of its values: below that they depend on more than hops, and none is drawn."""

NAMES: Final = (NAME, "echo_time", "word_median", "apdu_time")
"""What the pictures against rate, MTU and channels show: names that contain one of these."""

_LATENCY: Final = against.Quantity(
    "latency", "Latency", Axis("value", "latency (ms)", log=True), "ms", f"named {NAME}…"
)
_SERIES: Final = ("scenario", "name", "rate", "p_mtu", "p_protocol", "p_direction", "p_stack")


@dataclass(frozen=True, slots=True)
class Fit:
    """Least squares through the values of one series: milliseconds = intercept + slope * hops."""

    slope: float
    intercept: float
    r_squared: float


def fit_line(hops: np.ndarray, values: np.ndarray) -> Fit | None:
    """The line through `values` over `hops`; None where there are not two different numbers of hops."""
    if len(np.unique(hops)) < 2:
        return None
    slope, intercept = np.polyfit(hops, values, 1)
    residual = float(np.sum((values - (intercept + slope * hops)) ** 2))
    spread = float(np.sum((values - values.mean()) ** 2))
    # Constant values are met exactly by a level line.
    return Fit(float(slope), float(intercept), 1.0 - residual / spread if spread else 1.0)


def select(records: Records) -> pd.Series[bool]:
    """Which measurements this picture shows: those whose point or detail tells the number of hops, in a unit of time."""
    frame = with_parameters(records.measurements, records)
    shown = frame["name"].str.contains(NAME, regex=False) & frame["unit"].isin(list(MILLISECONDS))
    chosen = shown & frame["value"].notna() & hops_of(frame).notna()
    return pd.Series(chosen.to_numpy(dtype=bool), index=records.measurements.index)


def picture(records: Records) -> Picture:
    """Every round trip over its hops, with a fitted line per series. (Long: every column is named, for the picture and for its table.)"""
    title, id = "Latency by hops", "latency-by-hops"
    frame = add_rate(with_parameters(records.measurements[select(records)], records))
    if frame.empty:
        return Picture(
            id,
            title,
            f"Nothing to draw: no measurement named {NAME}… at a point with cards or hops. Scenarios that time round trips along a chain fill it.",
        )
    factors = frame["unit"].map(MILLISECONDS).astype("float64")
    frame = frame.assign(hops=hops_of(frame), ms=frame["value"].astype("float64") * factors)
    others = [f"p_{name}" for name in swept_names(records) if name not in (*PARAMETERS, "ta1", "clock_hz", "mtu")]
    frame = add_series(frame, [*_SERIES, *others]).sort_values(["series", "hops"], kind="stable")
    lines: list[Row] = []
    said, bent = [], 0
    for series, rows in frame.groupby("series", sort=True):
        fit = fit_line(rows["hops"].to_numpy(dtype=float), rows["ms"].to_numpy(dtype=float))
        if fit is not None and fit.r_squared < STRAIGHT:
            bent += 1
        elif fit is not None:
            ends = (float(rows["hops"].min()), float(rows["hops"].max()))
            lines += [{"series": str(series), "hops": end, "ms": fit.intercept + fit.slope * end} for end in ends]
            who = "" if series == "all points" else f"{series}: "
            said.append(f"{who}{number_text(fit.slope, 4)} ms per hop (R² {fit.r_squared:.4f})")
    sentence = _sentence(len(frame), said, bent)
    shown = [
        ("scenario", "scenario"),
        ("point", "point"),
        ("name", "measured"),
        ("detail", "of"),
        ("rate", "rate"),
        ("hops", "hops"),
        ("ms", "ms"),
    ]
    drawn = rows_of(frame, ["series", *(name for name, _ in shown)])
    specification = fitted(
        drawn,
        lines,
        Axis("hops", "hops", whole=True),
        Axis("ms", "round trip (ms)"),
        shown,
    )
    columns = [
        ("scenario", "scenario", Kind.CODE),
        ("point", "point", Kind.CODE),
        ("name", "measured", Kind.CODE),
        ("detail", "of", Kind.TEXT),
        ("rate", "rate", Kind.TEXT),
        ("hops", "hops", Kind.NUMBER),
        ("ms", "round trip (ms)", Kind.NUMBER),
        ("verdict", "verdict", Kind.VERDICT),
    ]
    table = table_of(frame, f"data-{id}", title, fields_of(columns, len(records.runs)), f"{id}.csv")
    return Picture(id, title, sentence, specification, table, legend(drawn))


def select_any(records: Records) -> pd.Series[bool]:
    """Which measurements the pictures against rate, MTU and channels show, whether or not their hops are known."""
    frame = records.measurements
    named = frame["name"].str.contains("|".join(NAMES), regex=True)
    return named & frame["unit"].isin(list(MILLISECONDS)) & frame["value"].notna()


def pictures(records: Records) -> tuple[Picture, ...]:
    """By hops, and against rate, MTU and channels."""
    frame = places(with_parameters(records.measurements[select_any(records)], records))
    frame = frame.assign(value=frame["value"].astype("float64") * frame["unit"].map(MILLISECONDS).astype("float64"))
    axes = (against.RATE, against.MTU, against.CHANNELS)
    return (picture(records), *(against.picture(frame, _LATENCY, axis, records) for axis in axes))


def _sentence(values: int, said: list[str], bent: int) -> str:
    if not said and not bent:
        return f"{values} values at one length only, so no line is fitted."
    lines = f"fitted line: {'; '.join(said)}." if said else "no line is fitted."
    if bent:
        lines += f" {bent} series {'lies' if bent == 1 else 'lie'} on none (R² below {STRAIGHT}): they depend on more than the hops."
    return f"{values} values; {lines}"
