"""The judge: value, limits, margin and resolution in, verdict out. The only one there is.

With ``r`` the half-width of what the reader can resolve:

- a share of a limit above 100.0 % is a fault of the bench: nothing can be faster than the shortest legal sequence;
- where r is coarser than the margin between limit and marginal band, the path cannot judge: not applicable;
- where value - r .. value + r crosses a limit: inconclusive;
- beyond a limit: fail; inside the margin: marginal; else pass.
"""

import math
from dataclasses import dataclass

from bench.observe import Verdict
from bench.scenario.limits import Limits

PERCENT_OF_LIMIT = "percent_of_limit"
"""The unit of a share of the limit (application payload per second over the fastest legal one)."""

SEVERITY = (
    Verdict.PASS,
    Verdict.MARGINAL,
    Verdict.NOT_APPLICABLE,
    Verdict.INCONCLUSIVE,
    Verdict.FAIL,
    Verdict.ERROR,
)
"""From the best to the worst. A fault of the bench makes all that was measured doubtful, so it is the worst."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, and why where it is not pass."""

    verdict: Verdict
    reason: str = ""


def judge(value: float, unit: str, limits: Limits, resolution: float = 0.0) -> Judgement:
    """Judge ``value`` (in ``unit``, known to within plus or minus ``resolution``) against ``limits``."""
    if not math.isfinite(value) or not math.isfinite(resolution) or resolution < 0:
        return Judgement(Verdict.ERROR, f"the bench is wrong: it measured {value} ± {resolution} {unit}")
    if unit == PERCENT_OF_LIMIT and value > 100.0:
        return Judgement(Verdict.ERROR, f"the bench is wrong: {value} % of a limit that nothing can exceed")
    lower, upper = limits.lower, limits.upper
    limit = lower if lower is not None else upper
    if limits.marginal is not None and limit is not None and resolution > abs(limits.marginal - limit):
        margin = abs(limits.marginal - limit)
        return Judgement(
            Verdict.NOT_APPLICABLE,
            f"this path resolves ± {resolution:.12g} {unit}, coarser than the margin of {margin:.12g}",
        )
    below = lower is not None and value + resolution < lower
    above = upper is not None and value - resolution > upper
    if below:
        return Judgement(Verdict.FAIL, f"{value:.12g} {unit}, at least {lower:.12g} is required")
    if above:
        return Judgement(Verdict.FAIL, f"{value:.12g} {unit}, at most {upper:.12g} is allowed")
    if (lower is not None and value - resolution < lower) or (upper is not None and value + resolution > upper):
        return Judgement(
            Verdict.INCONCLUSIVE, f"{value:.12g} ± {resolution:.12g} {unit} crosses the limit of {limit:.12g}"
        )
    if limits.marginal is not None:
        close = value < limits.marginal if lower is not None else value > limits.marginal
        if close:
            return Judgement(
                Verdict.MARGINAL, f"{value:.12g} {unit}, within the margin of {limits.marginal:.12g} and {limit:.12g}"
            )
    return Judgement(Verdict.PASS)
