"""A point run on a rig that is nothing but an engine: what is emitted, in which order, and which verdict comes of what."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.engine import Timebase
from bench.observe import Measurement, Parameter, StepMark, Verdict
from bench.rig.errors import RigError, RigNotAble
from bench.scenario.errors import BenchFault
from bench.scenario.loader import parse_scenario
from bench.scenario.points import Selection
from bench.scenario.runner import Outcome, run_point
from tests.scenario.fakes import SOFTWARE, Builder, FakeRig, Kept

pytestmark = pytest.mark.usefixtures("test_steps")

HEAD = "title: T\nrequirements: [HOP-SEG-1]\n"


def run(steps: str, *, head: str = "", builder: Builder | None = None) -> tuple[Outcome, Kept]:
    """Run the only point of a scenario with these steps."""
    scenario = parse_scenario(HEAD + head + "steps:\n" + steps, Path("scenarios/subject/name.yaml"))
    (point,) = scenario.points[Selection.ORDINARY]
    kept: list[Kept] = []

    def recorder(timebase: Timebase) -> Kept:
        kept.append(Kept(timebase))
        return kept[0]

    outcome = run_point(point, SOFTWARE, 1, recorder, builder or Builder())
    (one,) = kept
    assert one.final == outcome.verdict
    return outcome, one


def test_what_is_emitted_and_in_which_order() -> None:
    outcome, kept = run(
        "  - wait: 2 ms\n  - try_limits: {level: 50}\n", head="given: {mtu: 64}\nsweep: {level: [50]}\n"
    )
    kinds = [type(each) for each in kept.seen]
    first = kinds.index(StepMark)
    assert set(kinds[:first]) == {Parameter}
    assert kinds[first:] == [StepMark, StepMark, StepMark, Measurement, Measurement, StepMark]
    marks = [each for each in kept.seen if isinstance(each, StepMark)]
    assert [(mark.index, mark.verb, mark.began) for mark in marks] == [
        (1, "wait", True),
        (1, "wait", False),
        (2, "try_limits", True),
        (2, "try_limits", False),
    ]
    assert kept.timebase.to_ns(marks[1].time_ticks) == 2 * 10**6
    assert kept.timebase.to_ns(outcome.verdict.duration_ticks) == 2 * 10**6
    assert outcome.verdict.verdict is Verdict.PASS
    assert outcome.verdict.reason == ""


def test_parameters_are_what_is_given_and_what_is_swept() -> None:
    _, kept = run("  - wait: 1 ms\n", head="given: {mtu: 64, ta1: 96, card_time: 500 us}\nsweep: {speed: [fast]}\n")
    found = {each.name: each.value for each in kept.seen if isinstance(each, Parameter)}
    assert found["mtu"] == "64"
    assert found["ta1"] == "96"
    assert found["card_time"] == "500 us"
    assert found["clock_hz"] == "3571200"
    assert found["speed"] == "fast"
    assert not any(each.swept for each in kept.seen if isinstance(each, Parameter))


@pytest.mark.parametrize(
    ("steps", "verdict", "reason", "step"),
    [
        ("  - end: card\n", Verdict.FAIL, "the card did what it must not", 1),
        ("  - wait: 1 ms\n  - end: bench\n", Verdict.ERROR, "the reader burst", 2),
        ("  - end: reason\n", Verdict.NOT_APPLICABLE, "this rig has no wheels", 1),
        ("  - end: crash\n", Verdict.ERROR, "in step end: ZeroDivisionError: one by nothing", 1),
        ("  - end\n", Verdict.PASS, "", 0),
    ],
)
def test_how_a_step_ends_decides(steps: str, verdict: Verdict, reason: str, step: int) -> None:
    builder = Builder()
    outcome, _ = run(steps, builder=builder)
    assert (outcome.verdict.verdict, outcome.verdict.reason, outcome.verdict.step) == (verdict, reason, step)
    assert builder.rigs[0].closed
    assert ("ZeroDivisionError" in outcome.trace) == ("Zero" in reason)


@pytest.mark.parametrize(
    ("limits", "parameters", "verdict"),
    [
        ("{at_least: 95, marginal: 97}", "level: 98", Verdict.PASS),
        ("{at_least: 95, marginal: 97}", "level: 96", Verdict.MARGINAL),
        ("{at_least: 95, marginal: 97}", "level: 94", Verdict.FAIL),
        ("{at_least: 95}", "level: 95.5, resolution: 1", Verdict.INCONCLUSIVE),
        ("{at_least: 95, marginal: 97}", "level: 99, resolution: 3", Verdict.NOT_APPLICABLE),
        ("{at_least: 95}", "level: 100.5", Verdict.ERROR),
        ("{at_least: 95}", "level: 99, silent: true", Verdict.ERROR),
    ],
)
def test_the_worst_measurement_is_the_points_verdict(limits: str, parameters: str, verdict: Verdict) -> None:
    outcome, kept = run(f"  - try_limits: {{{parameters}}}\n    measure: {{level: {limits}}}\n  - wait: 1 ms\n")
    assert outcome.verdict.verdict is verdict
    judged = [each for each in kept.seen if isinstance(each, Measurement) and each.name == "level"]
    assert all(each.requirement == "HOP-SEG-1" for each in judged)
    assert [each.verdict for each in judged] == ([] if "silent" in parameters else [verdict])
    assert len([each for each in kept.seen if isinstance(each, StepMark)]) == 4, "a measured failure stops nothing"


def test_a_value_without_limits_is_recorded_and_speaks_to_no_requirement() -> None:
    _, kept = run("  - try_limits: {level: 12}\n")
    level, draw = [each for each in kept.seen if isinstance(each, Measurement)]
    assert (level.value, level.unit, level.verdict, level.requirement) == (12.0, "percent_of_limit", Verdict.PASS, "")
    assert draw.detail == "first"


def test_settings_of_a_measurement_reach_the_step() -> None:
    scenario = parse_scenario(
        HEAD + "steps:\n  - try_limits: {level: 1}\n    measure: {level: {at_least: 0, window: 10 messages}}\n",
        Path("a/b.yaml"),
    )
    step = scenario.points[Selection.ORDINARY][0].steps[0].step
    assert step.measure["level"].settings == {"window": "10 messages"}


def test_randomness_comes_from_the_points_seed() -> None:
    def drawn(outcome: Outcome) -> float:
        return next(each.value for each in outcome.measurements if each.name == "draw")

    one, other = run("  - try_limits: {level: 1}\n")[0], run("  - try_limits: {level: 1}\n")[0]
    assert drawn(one) == drawn(other)


def refuse(error: Exception) -> Callable[[FakeRig], None]:
    def prepare(_: FakeRig) -> None:
        raise error

    return prepare


@pytest.mark.parametrize(
    ("error", "verdict", "reason"),
    [
        (
            RigNotAble("it has three cards, the point asks for four"),
            Verdict.NOT_APPLICABLE,
            "it has three cards, the point asks for four",
        ),
        (RigError("no such port: /dev/ttyUSB0"), Verdict.ERROR, "no such port: /dev/ttyUSB0"),
        (BenchFault("out of wire"), Verdict.ERROR, "out of wire"),
        (KeyError("vcc"), Verdict.ERROR, "the rig could not be built: KeyError: 'vcc'"),
    ],
)
def test_a_rig_that_cannot_be_built(error: Exception, verdict: Verdict, reason: str) -> None:
    outcome, kept = run("  - wait: 1 ms\n", builder=Builder(refuse(error)))
    assert (outcome.verdict.verdict, outcome.verdict.reason, outcome.verdict.step) == (verdict, reason, 0)
    assert not any(isinstance(each, StepMark) for each in kept.seen)


def test_a_rig_that_cannot_be_closed_is_the_benchs_fault_even_after_a_failure() -> None:
    def prepare(rig: FakeRig) -> None:
        rig.fails_to_close = True

    outcome, _ = run("  - end: card\n", builder=Builder(prepare))
    assert outcome.verdict.verdict is Verdict.ERROR
    assert outcome.verdict.reason == "the rig could not be closed: OSError: the door jams"


@pytest.mark.parametrize(
    ("needs", "reason"),
    [
        ("channels: 4, stack: channel", ""),
        ("channels: 5", "needs channels 5, declared is 4"),
        ("stack: ip", "needs stack ip, declared is channel"),
        ("rate: true", "needs rate yes, of which card and rig declare nothing"),
        ("rate: false", ""),
    ],
)
def test_needs_are_judged_against_what_is_declared(needs: str, reason: str) -> None:
    outcome, _ = run("  - wait: 1 ms\n", head=f"needs: {{{needs}}}\n")
    assert outcome.verdict.verdict is (Verdict.NOT_APPLICABLE if reason else Verdict.PASS)
    assert outcome.verdict.reason == reason


def test_an_interrupt_leaves_the_point_unfinished_and_the_rig_closed() -> None:
    builder = Builder()

    def interrupt(rig: FakeRig) -> None:
        def stop(_done: Callable[[], bool], _timeout: int) -> bool:
            raise KeyboardInterrupt

        rig.engine.wait = stop  # type: ignore[method-assign, assignment]

    builder.prepare = interrupt
    scenario = parse_scenario(HEAD + "steps:\n  - wait: 1 s\n", Path("a/b.yaml"))
    point = scenario.points[Selection.ORDINARY][0]
    kept = Kept(SOFTWARE.timebase(point.given))
    with pytest.raises(KeyboardInterrupt):
        run_point(point, SOFTWARE, 1, lambda _: kept, builder)
    assert kept.final is None
    assert builder.rigs[0].closed


def test_the_outcome_tells_step_line_measurement_and_limit() -> None:
    outcome, _ = run("  - wait: 1 ms\n  - try_limits: {level: 91.25}\n    measure: {level: {at_least: 95}}\n")
    text = outcome.text()
    assert "fail: T [single]" in text
    assert "scenarios/subject/name.yaml:5: step 2, try_limits" in text
    assert "level = 91.25 percent_of_limit, at least 95: fail (HOP-SEG-1)" in text
    assert f"seed of the point: {outcome.verdict.seed}" in text
