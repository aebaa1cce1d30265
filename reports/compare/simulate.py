"""Pairs of cards as they might be, equal or not, put through the very judgement of `compare`: how often equal ones are accused, differences found.

A family is 24 series (a sweep). What is measured of each card is one run of exchanges, or several runs of one median each:

- exchanges: times scatter by 5 % about what their message takes, one in fifty takes half as long again, and neighbours hang together (0.3);
- runs: medians scatter by 0.7 %, runs that take turns share the drift of their day (1 %), and one run in fifty stands out by 5 to 30 %.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np

from reports.compare.judge import Units, adjust, finding, tested, units_of_exchanges, units_of_runs
from reports.compare.model import MARGIN, Finding
from reports.stats.scipy_functions import Floats
from reports.stats.simulate import SEED, Rate, Weather
from reports.timings import Better, Sample

FAMILY: Final = 24
EXCHANGE_SPREAD: Final = 0.05
HANGING: Final = 0.3
_ECHO: Final = HANGING ** np.arange(16)
_NIGHTS: Final = Weather(outliers=0.02)


class Shape(Enum):
    """How the sides were measured."""

    PAIRED_EXCHANGES = "one run a side, the same messages"
    EXCHANGES = "one run a side, other messages"
    PAIRED_RUNS = "runs in turns"
    RUNS = "runs"


@dataclass(frozen=True, slots=True)
class Study:
    """What is simulated: how the sides were measured, how many values (exchanges or runs) each has, the step of the clock as a share (0: none)."""

    shape: Shape
    count: int
    step: float = 0.0

    def units(self, random: np.random.Generator, difference: float) -> Units:
        """One series of two cards of which the second takes longer by this share."""
        if self.shape in (Shape.PAIRED_EXCHANGES, Shape.EXCHANGES):
            lengths = random.integers(1, 8, self.count)
            others = lengths if self.shape is Shape.PAIRED_EXCHANGES else random.integers(1, 8, self.count)
            first = self._exchanges(random, lengths, 1.0)
            made = units_of_exchanges(first, self._exchanges(random, others, 1.0 + difference))
            assert made is not None
            return made
        drift = (
            np.exp(0.01 * random.standard_normal(self.count))
            if self.shape is Shape.PAIRED_RUNS
            else np.ones(self.count)
        )
        sides = [_NIGHTS.nights(random, 1, self.count)[0] * drift * factor for factor in (1.0, 1.0 + difference)]
        left, right = ([_sample(np.array([self._seen(float(value))]), 1) for value in side] for side in sides)
        return units_of_runs(left, right, self.shape is Shape.PAIRED_RUNS)

    def _exchanges(
        self, random: np.random.Generator, lengths: np.ndarray[tuple[int], np.dtype[np.int64]], factor: float
    ) -> Sample:
        white = random.standard_normal(self.count + len(_ECHO) - 1)
        noise = np.sqrt(1 - HANGING**2) * np.convolve(white, _ECHO, "valid")
        times = factor * (0.9 + 0.02 * lengths) * np.exp(EXCHANGE_SPREAD * noise)
        times = np.where(random.random(self.count) < 0.02, 1.5 * times, times)
        values = np.round(times / self.step) * self.step if self.step else times
        return Sample(np.asarray(values, np.float64), lengths, 0.0, Better.LESS)

    def _seen(self, value: float) -> float:
        return round(value / self.step) * self.step if self.step else value


def accused(study: Study, pairs: int, seed: int = SEED) -> Rate:
    """How many pairs of equal cards are accused of any difference."""
    random = np.random.default_rng(seed)
    count = sum(any(one.sure for one in _family(study, random, 0.0)) for _ in range(pairs))
    return Rate(count, pairs)


def found(study: Study, difference: float, pairs: int, seed: int = SEED) -> Rate:
    """How often a difference of this share in one series of the family is found, on its side."""
    random = np.random.default_rng(seed)
    wanted = Finding.HIGHER if difference > 0 else Finding.LOWER
    return Rate(sum(_family(study, random, difference)[0] is wanted for _ in range(pairs)), pairs)


def _family(study: Study, random: np.random.Generator, difference: float) -> list[Finding]:
    results = [tested(study.units(random, difference if place == 0 else 0.0)) for place in range(FAMILY)]
    return [finding(result, p, MARGIN, False) for result, p in zip(results, adjust(results), strict=True)]


def _sample(values: Floats, shape: int) -> Sample:
    return Sample(values, np.full(len(values), shape, np.int64), 0.0, Better.LESS)
