"""The judge: value, limits, margin and resolution in, verdict out."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.observe import Verdict
from bench.scenario.judge import SEVERITY, judge
from bench.scenario.limits import Limits

FLOOR = Limits(at_least=95.0, marginal=97.0)
CEILING = Limits(at_most=10.0, marginal=8.0)
EXACT = Limits(equals=4.0)


@pytest.mark.parametrize(
    ("value", "limits", "resolution", "verdict"),
    [
        (98.0, FLOOR, 0.0, Verdict.PASS),
        (97.0, FLOOR, 0.0, Verdict.PASS),
        (96.0, FLOOR, 0.0, Verdict.MARGINAL),
        (95.0, FLOOR, 0.0, Verdict.MARGINAL),
        (94.999, FLOOR, 0.0, Verdict.FAIL),
        (95.5, FLOOR, 1.0, Verdict.INCONCLUSIVE),
        (94.5, FLOOR, 1.0, Verdict.INCONCLUSIVE),
        (93.0, FLOOR, 1.0, Verdict.FAIL),
        (99.0, FLOOR, 3.0, Verdict.NOT_APPLICABLE),
        (7.0, CEILING, 0.0, Verdict.PASS),
        (9.0, CEILING, 0.0, Verdict.MARGINAL),
        (10.0, CEILING, 0.0, Verdict.MARGINAL),
        (10.1, CEILING, 0.0, Verdict.FAIL),
        (10.1, CEILING, 0.5, Verdict.INCONCLUSIVE),
        (4.0, EXACT, 0.0, Verdict.PASS),
        (3.0, EXACT, 0.0, Verdict.FAIL),
        (5.0, EXACT, 0.0, Verdict.FAIL),
        (4.0, EXACT, 0.5, Verdict.INCONCLUSIVE),
        (1e9, Limits(), 0.0, Verdict.PASS),
        (5.0, Limits(at_least=1.0, at_most=9.0), 0.0, Verdict.PASS),
        (9.5, Limits(at_least=1.0, at_most=9.0), 0.0, Verdict.FAIL),
        (math.nan, Limits(), 0.0, Verdict.ERROR),
        (math.inf, FLOOR, 0.0, Verdict.ERROR),
        (96.0, FLOOR, -1.0, Verdict.ERROR),
    ],
)
def test_verdicts(value: float, limits: Limits, resolution: float, verdict: Verdict) -> None:
    judgement = judge(value, "ms", limits, resolution)
    assert judgement.verdict is verdict
    assert bool(judgement.reason) == (verdict is not Verdict.PASS)


def test_more_than_everything_is_a_fault_of_the_bench() -> None:
    assert judge(100.0, "percent_of_limit", FLOOR).verdict is Verdict.PASS
    assert judge(math.nextafter(100.0, 101.0), "percent_of_limit", Limits()).verdict is Verdict.ERROR
    assert judge(100.1, "percent", FLOOR).verdict is Verdict.PASS


@given(st.floats(0, 100), st.floats(0, 2), st.floats(0, 100), st.floats(0, 100))
def test_a_finer_reader_never_turns_a_failure_into_a_pass(
    value: float, resolution: float, one: float, other: float
) -> None:
    limits = Limits(at_least=min(one, other), at_most=max(one, other))
    coarse = judge(value, "ms", limits, resolution).verdict
    fine = judge(value, "ms", limits, 0.0).verdict
    assert coarse in (fine, Verdict.INCONCLUSIVE)


def test_a_fault_of_the_bench_is_the_worst_and_everything_has_its_place() -> None:
    assert SEVERITY[0] is Verdict.PASS
    assert SEVERITY[-2:] == (Verdict.FAIL, Verdict.ERROR)
    assert sorted(SEVERITY) == sorted(Verdict)
