"""Nights and cards as they might be: what the detectors find in them, and how often they cry wolf. Everything follows from a seed.

Nightly medians scatter by 0.7 % unless told otherwise. `Weather` says how: normal; with one night in fifty that stands out by 5 to 30 %; with
Student's t of 3 degrees (heavy tails, the same standard deviation); or with nights that hang together (autoregressive, the same deviation).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from reports.stats.changes import BEFORE, GATE, RECENT, look
from reports.stats.family import rate_lower_bound, rate_upper_bound
from reports.stats.scipy_functions import Floats

SEED: Final = 20_251_123
NOISE: Final = 0.007
OUTLIERS: Final = 0.02
_CHUNK: Final = 20_000


@dataclass(frozen=True, slots=True)
class Weather:
    """How nights scatter: `noise` is the standard deviation of ordinary nights as a share."""

    noise: float = NOISE
    outliers: float = 0.0
    heavy: bool = False
    correlation: float = 0.0

    def nights(self, random: np.random.Generator, rows: int, count: int) -> Floats:
        """`rows` series of `count` nights about 1."""
        shape = (rows, count)
        noise = random.standard_t(3, shape) / np.sqrt(3.0) if self.heavy else random.standard_normal(shape)
        if self.correlation:
            fresh = np.sqrt(1 - self.correlation**2)
            for night in range(1, count):
                noise[:, night] = self.correlation * noise[:, night - 1] + fresh * noise[:, night]
        # Times are positive, whatever the tail.
        values: Floats = np.exp(self.noise * noise)
        if self.outliers:
            struck = random.random(shape) < self.outliers
            sizes = random.uniform(0.05, 0.30, shape) * random.choice([-1.0, 1.0], shape)
            values = np.where(struck, values * (1 + sizes), values)
        return values


@dataclass(frozen=True, slots=True)
class Rate:
    """How often something happened."""

    count: int
    trials: int

    @property
    def value(self) -> float:
        return self.count / self.trials

    @property
    def upper(self) -> float:
        """One-sided, at 95 %."""
        return rate_upper_bound(self.count, self.trials)

    @property
    def lower(self) -> float:
        """One-sided, at 95 %."""
        return rate_lower_bound(self.count, self.trials)


def false_alarms(weather: Weather, trials: int, seed: int = SEED, gate: float = GATE) -> Rate:
    """Alarms in as many nights where nothing changed, each of a series of its own, so that they are independent."""
    random = np.random.default_rng(seed)
    count = 0
    for begin in range(0, trials, _CHUNK):
        nights = weather.nights(random, min(_CHUNK, trials - begin), BEFORE + RECENT)
        count += int(look(nights[:, :BEFORE], nights[:, BEFORE:], gate).alarm.sum())
    return Rate(count, trials)


def found_within(weather: Weather, shift: float, trials: int, seed: int = SEED, gate: float = GATE) -> tuple[Rate, ...]:
    """Series of which a shift that begins on some night is found within 1, 2, … 7 nights: an alarm on its side."""
    random = np.random.default_rng(seed)
    counts = np.zeros(RECENT, dtype=np.int64)
    for begin in range(0, trials, _CHUNK):
        nights = weather.nights(random, min(_CHUNK, trials - begin), BEFORE + 2 * RECENT - 1)
        nights[:, BEFORE + RECENT - 1 :] *= 1 + shift
        found: NDArray[np.bool_] = np.zeros(len(nights), dtype=bool)
        for night in range(RECENT):
            seen = look(nights[:, night : night + BEFORE], nights[:, night + BEFORE : night + BEFORE + RECENT], gate)
            found |= seen.alarm & (np.sign(seen.shift) == np.sign(shift))
            counts[night] += int(found.sum())
    return tuple(Rate(int(count), trials) for count in counts)
