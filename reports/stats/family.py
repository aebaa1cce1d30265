"""Many hypotheses at once: Holm's step-down procedure, and what a count of errors says of their rate."""

from __future__ import annotations

from collections.abc import Sequence

from reports.stats.scipy_functions import binomial_lower, binomial_upper


def holm(values: Sequence[float]) -> list[float]:
    """Adjusted p-values, in the order of `values` (Holm 1979): at most alpha of all families accuse anything that is not so.

    Holds whatever the dependence between the tests is.
    """
    order = sorted(range(len(values)), key=values.__getitem__)
    adjusted = [1.0] * len(values)
    highest = 0.0
    for place, index in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - place) * values[index]))
        adjusted[index] = highest
    return adjusted


def rate_upper_bound(count: int, trials: int, level: float = 0.95) -> float:
    """One-sided upper bound of a rate of which `count` in `trials` were seen: 0 in 1 000 gives 0.3 %."""
    if not 0 <= count <= trials or trials <= 0:
        raise ValueError(f"{count} of {trials} is no count; give trials of at least 1 and a count within them")
    return binomial_upper(count, trials, level)


def rate_lower_bound(count: int, trials: int, level: float = 0.95) -> float:
    """One-sided lower bound of a rate of which `count` in `trials` were seen."""
    if not 0 <= count <= trials or trials <= 0:
        raise ValueError(f"{count} of {trials} is no count; give trials of at least 1 and a count within them")
    return binomial_lower(count, trials, level)
