"""The two rank tests, exact: Mann and Whitney's of two samples, Wilcoxon's of pairs; and the shifts they belong to.

scipy gives p-values and not the null distributions, which the intervals need: they are counted here (tests hold them to scipy's p-values). Equal
values count half; the distributions are those without ties, which makes both tests a little shy where there are many. Pairs that do not differ
stay in, a half to each side, for the same reason.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from reports.stats.medians import LEVEL, Interval
from reports.stats.scipy_functions import Floats, mid_ranks


@lru_cache(maxsize=512)
def mann_whitney_distribution(first: int, second: int) -> Floats:
    """P(U <= u) for u = 0 .. first*second when both samples come from one distribution."""
    # The Gaussian binomial coefficient: prod (1 - q^(second + i)) / (1 - q^i), i = 1 .. first.
    counts = np.zeros(first * second + 1)
    counts[0] = 1.0
    for place in range(1, first + 1):
        step = second + place
        if step < len(counts):
            counts[step:] -= counts[:-step].copy()
        for residue in range(min(place, len(counts))):
            counts[residue::place] = np.cumsum(counts[residue::place])
    distribution: Floats = np.cumsum(counts) / counts.sum()
    return distribution


@lru_cache(maxsize=512)
def signed_rank_distribution(count: int) -> Floats:
    """P(W <= w) for w = 0 .. count*(count+1)/2 when the differences are symmetric about 0."""
    chances = np.zeros(count * (count + 1) // 2 + 1)
    chances[0] = 1.0
    for rank in range(1, count + 1):
        shifted = np.zeros_like(chances)
        shifted[rank:] = chances[:-rank]
        chances = (chances + shifted) / 2
    return np.cumsum(chances)


def two_sided(distribution: Floats, statistic: float) -> float:
    """The two-sided p-value of a statistic that is symmetric about the middle of its range; halves are rounded towards the middle."""
    top = len(distribution) - 1
    extreme = int(np.ceil(min(statistic, top - statistic)))
    return min(1.0, 2 * float(distribution[extreme]))


def mann_whitney(first: Floats, second: Floats) -> float:
    """Two-sided p-value: whether values of `second` tend to lie beside those of `first`."""
    return two_sided(mann_whitney_distribution(len(first), len(second)), _u(first, second))


def signed_rank(differences: Floats) -> float:
    """Two-sided p-value: whether the differences lie about 0."""
    ranks = mid_ranks(np.abs(differences))
    positive = float(ranks[differences > 0].sum() + ranks[differences == 0].sum() / 2)
    return two_sided(signed_rank_distribution(len(differences)), positive)


def smallest_p(first: int, second: int, *, paired: bool) -> float:
    """The smallest p-value that samples of these sizes can give: a hypothesis whose is above alpha can never be rejected (Tarone 1990)."""
    if paired:
        return min(1.0, 2 * float(signed_rank_distribution(first)[0]))
    return min(1.0, 2 * float(mann_whitney_distribution(first, second)[0]))


def superiority(first: Floats, second: Floats) -> float:
    """Cliff's delta: how much more often a value of `second` is above one of `first` than below; -1 to 1."""
    return 2 * _u(first, second) / (len(first) * len(second)) - 1


def paired_superiority(differences: Floats) -> float:
    """The rank-biserial correlation of pairs: -1 where all differences are below 0, 1 where all are above."""
    ranks = mid_ranks(np.abs(differences))
    return float((ranks * np.sign(differences)).sum() / ranks.sum())


def shift(first: Floats, second: Floats, level: float = LEVEL) -> tuple[float, Interval | None]:
    """By how much `second` lies above `first`: the median of all differences (Hodges and Lehmann), and the interval that the test leaves (Moses)."""
    differences = np.sort(np.subtract.outer(second, first).ravel())
    return float(np.median(differences)), _interval(
        differences, mann_whitney_distribution(len(first), len(second)), level
    )


def paired_shift(differences: Floats, level: float = LEVEL) -> tuple[float, Interval | None]:
    """The middle of paired differences: the median of all their means two by two, and the interval that the test leaves (Tukey)."""
    upper = np.triu_indices(len(differences))
    means = np.sort((differences[upper[0]] + differences[upper[1]]) / 2)
    return float(np.median(means)), _interval(means, signed_rank_distribution(len(differences)), level)


def _u(first: Floats, second: Floats) -> float:
    """How many pairs have the value of `second` above that of `first`, equal ones half."""
    ordered = np.sort(first)
    below = np.searchsorted(ordered, second, "left").sum()
    not_above = np.searchsorted(ordered, second, "right").sum()
    return float(below + not_above) / 2


def _interval(ordered: Floats, distribution: Floats, level: float) -> Interval | None:
    # The values that the two-sided test does not reject lie between these two.
    outside = int(np.searchsorted(distribution, (1 - level) / 2, "right"))
    if outside == 0:
        return None
    return Interval(float(ordered[outside - 1]), float(ordered[len(ordered) - outside]))
