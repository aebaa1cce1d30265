"""Timings of runs as series: what compare sets side by side and regress follows from night to night.

A series is one instruction at one level of one point (`exchanges`), or one measurement of one point. Exchanges that ended in an error and rows that
stand for parked polls are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, TypeAlias, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reports.arrow import frames, read_frame
from reports.errors import TableError
from reports.load import Run
from reports.stats.scipy_functions import Floats
from reports.verdicts import NaturalKey, natural

Counts = NDArray[np.int64]
_Group: TypeAlias = tuple[str, str, str, int]


class What(StrEnum):
    """Whether a series is made of exchanges or of measurements."""

    EXCHANGES = "exchanges"
    MEASUREMENT = "measurement"


class Better(StrEnum):
    """Which way is better for the card."""

    LESS = "less"
    MORE = "more"
    NEITHER = "neither"


@dataclass(frozen=True, slots=True)
class SeriesKey:
    """Which series: `name` is the level and instruction of exchanges (`tpdu C2`), or the measurement with its detail."""

    scenario: str
    point: str
    what: What
    name: str
    unit: str

    @property
    def order(self) -> tuple[NaturalKey, NaturalKey, str, NaturalKey]:
        """For sorting as people count."""
        return natural(self.scenario), natural(self.point), self.what, natural(self.name)

    def __str__(self) -> str:
        return f"{self.scenario} [{self.point}] {self.name}"


@dataclass(frozen=True, slots=True)
class Sample:
    """The values of one series in one run, in the order they were made, in the key's unit (exchanges: ns).

    `shapes` tells exchanges of different lengths apart; two samples with equal shapes can be paired. `resolution` is the half-width of one value as
    far as the records know it: what the reader was calibrated to, or the step on which all durations lie.
    """

    values: Floats
    shapes: Counts
    resolution: float
    better: Better


Timings = dict[SeriesKey, Sample]
"""All series of a run, by key."""

_COLUMNS: Final = [
    "scenario",
    "point",
    "seq",
    "level",
    "ins",
    "sent_bytes",
    "received_bytes",
    "duration_ns",
    "count",
    "error",
    "uncertainty_ns",
]
_LESS: Final = frozenset({"s", "ms", "us", "µs", "ns", "polls", "etu", "cycles"})
_MORE: Final = frozenset({"percent_of_limit", "percent_of_wire", "B/s", "jain"})
_FEWEST_FOR_STEP: Final = 8


def timings_of(run: Run) -> tuple[Timings, tuple[str, ...]]:
    """The series of a run, and what was amiss with its tables."""
    found: Timings = {}
    notes = []
    for name, read in (("exchanges", _exchanges), ("measurements", _measurements)):
        file = run.table(name)
        if file is None:
            notes.append(f"{run.label}: there is no table of {name}.")
            continue
        try:
            found |= read(file)
        except TableError as cause:
            notes.append(f"{run.label}: {cause}; its {name} are left out.")
    return found, tuple(notes)


def virtual_points(run: Run) -> dict[tuple[str, str], int]:
    """The points that ran in virtual time (their engine counted events), with their seeds: such times are exact and repeat."""
    file = run.table("verdicts")
    if file is None:
        return {}
    try:
        frame = read_frame(file)
    except TableError:
        return {}
    if not {"events", "seed"} <= set(frame.columns):
        return {}
    rows = frame[frame["events"] > 0]
    keys = zip(rows["scenario"].astype(str), rows["point"].astype(str), strict=True)
    return dict(zip(keys, (int(seed) for seed in rows["seed"]), strict=True))


def _exchanges(file: Path) -> Timings:
    pieces = []
    for frame in frames(file, _COLUMNS):
        kept = frame[(frame["count"] == 1) & (frame["error"].fillna("") == "") & (frame["duration_ns"] > 0)]
        pieces.append(kept.astype({"scenario": object, "point": object, "level": object}))
    if not pieces:
        return {}
    whole = pd.concat(pieces, ignore_index=True)
    shapes = whole["sent_bytes"].to_numpy(np.int64) * (1 << 20) + whole["received_bytes"].to_numpy(np.int64)
    durations = whole["duration_ns"].to_numpy(np.int64)
    uncertainties = whole["uncertainty_ns"].to_numpy(np.int64)
    found: Timings = {}
    for key, rows in whole.groupby(["scenario", "point", "level", "ins"], sort=False).indices.items():
        scenario, point, level, ins = cast(_Group, key)  # rows keep their order, which is that of seq
        mine = durations[rows]
        resolution = max(float(np.median(uncertainties[rows])), _step(mine))
        found[SeriesKey(str(scenario), str(point), What.EXCHANGES, f"{level} {int(ins):02X}", "ns")] = Sample(
            mine.astype(np.float64), shapes[rows], resolution, Better.LESS
        )
    return found


def _step(durations: Counts) -> float:
    """The step of the clock, where all durations lie on one coarser than 1 ns; 0 where it cannot be told or is none."""
    if len(np.unique(durations)) < _FEWEST_FOR_STEP:
        return 0.0
    step = int(np.gcd.reduce(durations))
    return float(step) if step > 1 else 0.0


def _measurements(file: Path) -> Timings:
    frame = read_frame(file)
    columns = ["scenario", "point", "name", "detail", "unit"]
    wanted = [*columns, "value", "resolution", "at_least", "at_most"]
    absent = [name for name in wanted if name not in frame.columns]
    if absent:
        raise TableError(f"{file.name} lacks {', '.join(absent)}")
    frame = frame[np.isfinite(frame["value"].to_numpy(np.float64))]
    values, resolutions = frame["value"].to_numpy(np.float64), frame["resolution"].to_numpy(np.float64)
    lower, upper = frame["at_least"].notna().to_numpy(), frame["at_most"].notna().to_numpy()
    found: Timings = {}
    for key, rows in frame.groupby(columns, sort=False).indices.items():
        scenario, point, name, detail, unit = (str(part) for part in cast(tuple[str, ...], key))
        text = f"{name} ({detail})" if detail else name
        found[SeriesKey(scenario, point, What.MEASUREMENT, text, unit)] = Sample(
            values[rows],
            np.zeros(len(rows), np.int64),
            float(resolutions[rows].max()),
            _better(unit, bool(lower[rows].any()), bool(upper[rows].any())),
        )
    return found


def _better(unit: str, lower_limit: bool, upper_limit: bool) -> Better:
    """By its limits where there is one kind only, else by its unit."""
    if lower_limit != upper_limit:
        return Better.MORE if lower_limit else Better.LESS
    if unit in _LESS:
        return Better.LESS
    return Better.MORE if unit in _MORE else Better.NEITHER
