"""The one place that touches scipy: typed functions out of its untyped ones.

`scipy.stats` takes a second to import, longer than a million rows take: only who needs it does.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]


def binomial_below(count: int, trials: int, probability: float) -> float:
    """P(X <= count) of a binomial X."""
    return float(special.bdtr(count, trials, probability)) if count >= 0 else 0.0


def binomial_upper(count: int, trials: int, level: float) -> float:
    """The largest probability under which `count` or fewer of `trials` are still seen with 1 - level (Clopper and Pearson, one-sided)."""
    return 1.0 if count >= trials else float(special.betaincinv(count + 1, trials - count, level))


def binomial_lower(count: int, trials: int, level: float) -> float:
    """The smallest probability under which `count` or more of `trials` are still seen with 1 - level."""
    return 0.0 if count <= 0 else float(special.betaincinv(count, trials - count + 1, 1 - level))


def normal_quantile(probability: float) -> float:
    """The value below which a standard normal variable stays with this probability."""
    return float(special.ndtri(probability))


def mid_ranks(values: Floats) -> Floats:
    """Ranks from 1; equal values share the mean of theirs."""
    from scipy import stats

    return np.asarray(stats.rankdata(values), dtype=np.float64)


def kolmogorov_distance(first: Floats, second: Floats) -> float:
    """The largest difference of two empirical distributions: 0 for the same, 1 where they do not overlap."""
    first, second = np.sort(first), np.sort(second)
    every = np.concatenate((first, second))
    # Not scipy.stats.ks_2samp: with one value a side its p, which nobody asked for, divides by zero and warns.
    below = [np.searchsorted(side, every, side="right") / len(side) for side in (first, second)]
    return float(np.abs(below[0] - below[1]).max())


def rank_correlation(first: Floats, second: Floats) -> float:
    """Spearman's coefficient; NaN where one side does not vary."""
    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    from scipy import stats

    return float(stats.spearmanr(first, second).statistic)
