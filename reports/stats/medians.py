"""The median with its exact interval: two order statistics that hold it between them with a probability the binomial tells.

No assumption on the distribution but that the values are independent (David and Nagaraja, Order Statistics, 7.1). Fewer than six values cannot
bound a median at 95 %: there is no interval then.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from reports.stats.scipy_functions import Floats, binomial_below

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """Both ends belong to it."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class Median:
    """A median, its interval (none of too few values), and how many values there were."""

    value: float
    interval: Interval | None
    count: int


def median_of(values: Floats, level: float = LEVEL) -> Median:
    """The median of `values` (at least one), with an interval of at least this level."""
    if not len(values):
        raise ValueError("no value has no median; leave such a series out")
    outside = order_below(len(values), level)
    interval = None
    if outside is not None:
        ends = np.partition(values, [outside, len(values) - 1 - outside])
        interval = Interval(float(ends[outside]), float(ends[len(values) - 1 - outside]))
    return Median(float(np.median(values)), interval, len(values))


@lru_cache(maxsize=4096)
def order_below(count: int, level: float = LEVEL) -> int | None:
    """How many of `count` ordered values lie outside the interval at either end; None where even all of them do not reach the level."""
    tail = (1 - level) / 2
    low, high = -1, count // 2
    while low < high:  # the largest k with P(X <= k) <= tail, X binomial(count, 1/2)
        middle = (low + high + 1) // 2
        if binomial_below(middle, count, 0.5) <= tail:
            low = middle
        else:
            high = middle - 1
    return None if low < 0 else low
