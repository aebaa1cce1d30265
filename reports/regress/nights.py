"""The history of timings: one value a series and run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from reports.load import Run
from reports.stats.medians import order_below
from reports.stats.scipy_functions import Floats
from reports.timings import Better, Sample, SeriesKey, timings_of, virtual_points


@dataclass(frozen=True, slots=True)
class Night:
    """A series in one run: its median, how many values that is of, the resolution of one, half the median's 95 % interval (NaN of fewer than six)."""

    run: int
    median: float
    count: int
    resolution: float
    error: float
    seed: int | None
    """The point's seed where it ran in virtual time, else None."""


@dataclass(slots=True)
class NightSeries:
    """A series over the runs that have it, oldest first."""

    key: SeriesKey
    better: Better
    nights: list[Night] = field(default_factory=list)

    def alike(self) -> list[Night]:
        """The nights at the end that are of the last one's kind: real time all, or virtual time with one seed."""
        seed = self.nights[-1].seed
        first = len(self.nights)
        while first and self.nights[first - 1].seed == seed:
            first -= 1
        return self.nights[first:]


def series_of(runs: tuple[Run, ...]) -> tuple[list[NightSeries], int, tuple[str, ...]]:
    """Every series that the last run has, in order; how many of them were left out (values of 0 or below have no ratio); and notes on its tables."""
    found: dict[SeriesKey, NightSeries] = {}
    notes: tuple[str, ...] = ()
    for place, run in enumerate(runs):
        timings, notes = timings_of(run)
        seeds = virtual_points(run)
        for key, sample in timings.items():
            series = found.setdefault(key, NightSeries(key, sample.better))
            series.nights.append(_night(place, sample, seeds.get((key.scenario, key.point))))
    present = [series for series in found.values() if series.nights[-1].run == len(runs) - 1]
    kept = list(_positive(present))
    return sorted(kept, key=lambda series: series.key.order), len(present) - len(kept), notes


def _positive(series: list[NightSeries]) -> Iterator[NightSeries]:
    for one in series:
        if all(night.median > 0 for night in one.nights):
            yield one


def _night(place: int, sample: Sample, seed: int | None) -> Night:
    values = np.sort(sample.values)
    return Night(place, float(np.median(values)), len(values), sample.resolution, _error(values), seed)


def _error(ordered: Floats) -> float:
    outside = order_below(len(ordered))
    if outside is None:
        return float("nan")
    return float(ordered[len(ordered) - 1 - outside] - ordered[outside]) / 2
