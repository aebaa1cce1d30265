"""Two samples of a series, or two families of them, judged.

With several runs a side, a run's median is one value: what two runs on a real clock do differently by themselves (the load of the machine, the
warmth of the reader) then counts as noise, as it must. With one run a side there are only its exchanges; successive ones hang together, so that
stretches of them make one unit, a stretch's median. Where both sides exchanged messages of the same lengths in the same order, exchange by
exchange is compared, which takes the differences between messages out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from reports.compare.model import FAMILY_ALPHA, SEEMS_ALPHA, Basis, Finding
from reports.stats.family import holm
from reports.stats.medians import Interval
from reports.stats.ranks import (
    mann_whitney,
    paired_shift,
    paired_superiority,
    shift,
    signed_rank,
    smallest_p,
    superiority,
)
from reports.stats.scipy_functions import Floats
from reports.timings import Sample

UNITS: Final = 20
"""Units that a run's exchanges are gathered into: few enough that each is long, enough for a p of 2e-6."""
FEWEST: Final = 5
"""Fewer exchanges of a run are not tested."""

FEWEST_PAIRS: Final = 12
"""Twelve pairs can give a p of 0.0005; with fewer, two samples show more than pairs do."""


@dataclass(frozen=True, slots=True)
class Units:
    """What a test sees: logarithms of times; for pairs, `first` is empty and `second` holds the differences."""

    first: Floats
    second: Floats
    basis: Basis

    @property
    def paired(self) -> bool:
        return self.basis in (Basis.RUNS_PAIRED, Basis.EXCHANGES_PAIRED)

    @property
    def sizes(self) -> tuple[int, int]:
        return (len(self.second) if self.paired else len(self.first)), len(self.second)

    @property
    def smallest(self) -> float:
        """The smallest p that the test could give."""
        return smallest_p(*self.sizes, paired=self.paired)


@dataclass(frozen=True, slots=True)
class Result:
    """One hypothesis, tested."""

    ratio: float
    interval: Interval | None
    effect: float
    p: float
    smallest: float


def units_of_runs(first: Sequence[Sample], second: Sequence[Sample], alternating: bool) -> Units:
    """A run's median is a unit. Paired where the runs took turns and are enough for pairs to show something over a family."""
    left, right = (np.log([_middle(sample.values) for sample in side]) for side in (first, second))
    if alternating and len(left) == len(right) >= FEWEST_PAIRS:
        return Units(left[:0], right - left, Basis.RUNS_PAIRED)
    return Units(left, right, Basis.RUNS)


def units_of_exchanges(first: Sample, second: Sample) -> Units | None:
    """Stretches of a run's exchanges are units; None of too few."""
    if min(len(first.values), len(second.values)) < FEWEST:
        return None
    left, right = np.log(first.values), np.log(second.values)
    if len(left) == len(right) and np.array_equal(first.shapes, second.shapes):
        return Units(left[:0], _stretches(right - left), Basis.EXCHANGES_PAIRED)
    return Units(_stretches(left), _stretches(right), Basis.EXCHANGES)


def tested(units: Units) -> Result:
    """One test, with the shift and the interval that belong to it."""
    if units.paired:
        middle, interval = paired_shift(units.second)
        p = signed_rank(units.second)
        effect = paired_superiority(units.second)
    else:
        middle, interval = shift(units.first, units.second)
        p = mann_whitney(units.first, units.second)
        effect = superiority(units.first, units.second)
    ends = None if interval is None else Interval(math.exp(interval.low), math.exp(interval.high))
    return Result(math.exp(middle), ends, effect, p, units.smallest)


def adjust(results: Sequence[Result]) -> list[float | None]:
    """p-values over the family, Holm's. A test that could not have rejected anything is left out of it (None): its size tells, not its outcome."""
    able = [place for place, result in enumerate(results) if result.smallest <= FAMILY_ALPHA]
    adjusted: list[float | None] = [None] * len(results)
    for place, value in zip(able, holm([results[place].p for place in able]), strict=True):
        adjusted[place] = value
    return adjusted


def finding(result: Result, p_family: float | None, margin: float, capped: bool) -> Finding:
    """What may be said. `capped`: what is surely different between these runs only seems so between the cards."""
    up = result.ratio > 1
    if p_family is not None and p_family <= FAMILY_ALPHA and result.ratio != 1:
        if capped:
            return Finding.SEEMS_HIGHER if up else Finding.SEEMS_LOWER
        return Finding.HIGHER if up else Finding.LOWER
    if capped and result.p > SEEMS_ALPHA:
        return Finding.UNDECIDED
    if (
        not capped
        and result.interval is not None
        and 1 / (1 + margin) <= result.interval.low
        and result.interval.high <= 1 + margin
    ):
        return Finding.EQUAL
    if result.p <= SEEMS_ALPHA and result.ratio != 1:
        return Finding.SEEMS_HIGHER if up else Finding.SEEMS_LOWER
    return Finding.UNDECIDED


def _middle(values: Floats) -> float:
    return float(values[0]) if len(values) == 1 else float(np.median(values))


def _stretches(values: Floats) -> Floats:
    if len(values) < 2 * UNITS:
        return values
    # The first stretches are one longer where the exchanges do not divide evenly.
    length, longer = divmod(len(values), UNITS)
    head = values[: longer * (length + 1)].reshape(longer, length + 1)
    tail = values[longer * (length + 1) :].reshape(UNITS - longer, length)
    return np.concatenate([np.median(head, axis=1), np.median(tail, axis=1)])
