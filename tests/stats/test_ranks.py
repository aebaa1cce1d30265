"""The exact tests agree with scipy's, intervals hold what they say, and Holm's procedure is Holm's."""

from __future__ import annotations

import warnings
from math import comb

import numpy as np
import pytest
from scipy import stats

from reports.stats.family import holm, rate_lower_bound, rate_upper_bound
from reports.stats.medians import median_of, order_below
from reports.stats.ranks import (
    mann_whitney,
    mann_whitney_distribution,
    paired_shift,
    shift,
    signed_rank,
    smallest_p,
    superiority,
)
from reports.stats.scipy_functions import kolmogorov_distance

RANDOM = np.random.default_rng(7)


@pytest.mark.parametrize(("first", "second"), [(1, 5), (3, 28), (7, 28), (12, 12), (30, 11)])
def test_mann_whitney_is_scipys_exact_one(first: int, second: int) -> None:
    for move in (0.0, 0.5, 3.0):
        left, right = RANDOM.normal(size=first), RANDOM.normal(move, size=second)
        theirs = stats.mannwhitneyu(right, left, method="exact").pvalue
        assert mann_whitney(left, right) == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize("count", [1, 6, 20, 45])
def test_signed_rank_is_scipys_exact_one(count: int) -> None:
    for move in (0.0, 0.4, 2.0):
        differences = RANDOM.normal(move, size=count)
        assert signed_rank(differences) == pytest.approx(stats.wilcoxon(differences, method="exact").pvalue, rel=1e-9)


def test_the_null_distribution_counts_every_order_once() -> None:
    distribution = mann_whitney_distribution(7, 28)
    assert distribution[0] == pytest.approx(1 / comb(35, 7), rel=1e-9)
    assert distribution[-1] == pytest.approx(1.0)
    assert smallest_p(7, 28, paired=False) == pytest.approx(2 / comb(35, 7), rel=1e-9)
    assert smallest_p(12, 12, paired=True) == 2 / 2**12


def test_ties_make_no_difference_significant() -> None:
    same = np.ones(20)
    assert mann_whitney(same, same) == 1.0
    assert signed_rank(np.zeros(20)) == 1.0
    assert superiority(same, same) == 0.0


@pytest.mark.parametrize("count", [6, 7, 20, 101, 1000])
def test_the_interval_of_a_median_leaves_out_no_more_than_it_may(count: int) -> None:
    outside = order_below(count)
    assert outside is not None
    missed = 2 * sum(comb(count, k) for k in range(outside + 1)) / 2**count
    one_more = missed + 2 * comb(count, outside + 1) / 2**count
    assert missed <= 0.05 < one_more


def test_a_median_and_its_interval_are_order_statistics() -> None:
    values = np.arange(1.0, 102.0)
    found = median_of(RANDOM.permutation(values))
    assert found.value == 51.0
    assert found.interval is not None
    assert found.interval.low in values
    assert found.interval.low + found.interval.high == 102.0
    assert median_of(values[:5]).interval is None
    with pytest.raises(ValueError, match="no value"):
        median_of(values[:0])


def test_an_interval_of_a_shift_holds_exactly_what_the_test_does_not_reject() -> None:
    left, right = RANDOM.normal(size=12), RANDOM.normal(1.0, size=15)
    _, interval = shift(left, right)
    assert interval is not None
    inside, outside = 1e-9, -1e-9
    assert mann_whitney(left, right - (interval.low + inside)) > 0.05
    assert mann_whitney(left, right - (interval.low + outside)) <= 0.05
    differences = RANDOM.normal(0.5, size=18)
    _, interval = paired_shift(differences)
    assert interval is not None
    assert signed_rank(differences - (interval.high - inside)) > 0.05
    assert signed_rank(differences - (interval.high - outside)) <= 0.05


def test_holm_as_in_his_paper() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.6, 0.9]) == [1.0, 1.0]


def test_bounds_of_a_rate() -> None:
    assert rate_upper_bound(0, 1000) == pytest.approx(0.00299, abs=1e-5)
    assert rate_lower_bound(1000, 1000) == pytest.approx(1 - 0.00299, abs=1e-5)
    assert rate_upper_bound(5, 5) == 1.0
    with pytest.raises(ValueError, match="no count"):
        rate_upper_bound(2, 1)


@pytest.mark.parametrize(("first", "second"), [(1, 1), (1, 9), (7, 12), (40, 40)])
@pytest.mark.filterwarnings("error")
def test_the_distance_of_two_distributions_is_scipys(first: int, second: int) -> None:
    random = np.random.default_rng(first)
    one, other = (random.integers(0, 12, count).astype(np.float64) for count in (first, second))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = stats.ks_2samp(one, other).statistic
    assert kolmogorov_distance(one, other) == pytest.approx(float(wanted), abs=1e-15)
    assert kolmogorov_distance(one, one) == 0
