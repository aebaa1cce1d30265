"""Steps of the line: resets, classes, refusals, disturbance, and the search for an edge."""

from pathlib import Path

import pytest

from bench.engine import Timebase
from bench.files.mistakes import FileError
from bench.observe import ListSink, PointVerdict, Verdict
from bench.rig.model import RigModel
from bench.scenario.loader import parse_scenario
from bench.scenario.points import Selection
from bench.scenario.runner import Outcome, run_point

MODEL = RigModel.model_validate({"name": "soft", "reader": {"kind": "software"}})
HEAD = "title: T\nrequirements: [CHAR-ERR-4]\n"


class _Recorder(ListSink):
    def finish(self, verdict: PointVerdict, /) -> None:
        self.emit(verdict)


def run(body: str) -> Outcome:
    scenario = parse_scenario(HEAD + body, Path("scenarios/link/x.yaml"))
    (point,) = scenario.points[Selection.ORDINARY]

    def recorder(_timebase: Timebase) -> _Recorder:
        return _Recorder()

    return run_point(point, MODEL, 1, recorder)


def measured(outcome: Outcome) -> dict[str, float]:
    return {each.name: each.value for each in outcome.measurements}


def searched(given: str, search: str) -> Outcome:
    return run(f"given: {{profile: plain, {given}}}\nsteps:\n  - search: {search}\n")


PROBE = "probe: [{power_on: {within: 200 ms}}, {transmit: {echo: 20 B}}]"


def test_a_search_finds_the_edge_as_near_as_was_asked_and_the_same_one_again() -> None:
    body = f"{{over: mismatch_ppm, from: 0, to: 100000, within: 50, {PROBE}}}"
    first = searched('ta1: "18"', body)
    assert first.verdict.verdict is Verdict.PASS
    edge = measured(first)["edge"]
    assert 20_000 < edge < 40_000
    assert measured(searched('ta1: "18"', body)) == measured(first)
    # the very next value that was found not to hold does not hold on a rig of its own either
    at, beyond = int(edge), int(edge) + 50
    assert (
        searched('ta1: "18"', f"{{over: mismatch_ppm, from: {at}, to: {at}, {PROBE}}}").verdict.verdict is Verdict.PASS
    )
    refused = searched('ta1: "18"', f"{{over: mismatch_ppm, from: {beyond}, to: {beyond}, {PROBE}}}")
    assert refused.verdict.verdict is Verdict.FAIL
    assert f"already at mismatch_ppm = {beyond}" in refused.verdict.reason


def test_where_the_whole_range_holds_its_end_is_the_edge() -> None:
    outcome = searched('ta1: "18"', f"{{over: mismatch_ppm, from: 0, to: -3000, {PROBE}}}")
    assert measured(outcome) == {"edge": -3000, "probes": 2}


def test_a_search_over_what_cannot_be_is_the_files_fault_not_the_cards() -> None:
    outcome = searched('ta1: "18"', f"{{over: no_such_thing, from: 0, to: 5, {PROBE}}}")
    assert outcome.verdict.verdict is Verdict.ERROR
    assert "no_such_thing = 0" in outcome.verdict.reason


@pytest.mark.parametrize(
    ("probe", "told"),
    [
        ("probe: []", "a list of steps"),
        ("probe: [{no_such_step: {}}]", "step 1 of the probe to be one of"),
        ("probe: [{power_on: {}}, {transmit: {echo: many}}]", "step 2 of the probe (transmit)"),
    ],
)
def test_a_wrong_probe_is_told_before_anything_runs(probe: str, told: str) -> None:
    with pytest.raises(FileError) as caught:
        searched('ta1: "18"', f"{{over: mtu, from: 64, to: 65, {probe}}}")
    assert told in str(caught.value)


def test_echoes_tell_intact_named_and_residual_apart() -> None:
    def echoes(disturb: str) -> dict[str, float]:
        body = f'given: {{profile: plain, ta1: "18"}}\nsteps:\n  - power_on: {{}}\n  - disturb: {{{disturb}}}\n'
        return measured(run(body + "  - echoes: {count: 1, size: 20 B}\n"))

    def classes(found: dict[str, float]) -> tuple[float, float, float, float]:
        return found["intact"], found["named"], found["residual"], found["repeated"]

    assert classes(echoes("fault: flip, towards: card, burst: 1, character: 3, bit: 4")) == (100, 0, 0, 1)
    assert classes(echoes("fault: lost, towards: card, burst: 1, character: 3")) == (0, 1, 0, 0)
    assert classes(echoes("fault: extra, towards: card, burst: 1, character: 3")) == (0, 0, 1, 0)
    assert classes(echoes("fault: mute, burst: 1")) == (0, 1, 0, 0)


@pytest.mark.parametrize("kind", ["warm", "cold"])
def test_a_reset_of_a_card_that_answers_otherwise_fails_it(kind: str) -> None:
    body = 'given: {profile: plain, ta1: "18", mode: specific}\nsteps:\n  - power_on: {}\n'
    outcome = run(body + f"  - reset: {{kind: {kind}}}\n")
    if kind == "warm":  # this card goes to negotiable mode then, and so has another answer
        assert outcome.verdict.verdict is Verdict.FAIL
        assert "answer to a warm reset" in outcome.verdict.reason
    else:
        assert outcome.verdict.verdict is Verdict.PASS


def test_a_card_that_comes_up_is_not_refused() -> None:
    outcome = run("given: {profile: plain}\nsteps:\n  - expect_refused: PPS\n")
    assert outcome.verdict.verdict is Verdict.FAIL


def test_a_refusal_for_another_reason_is_told() -> None:
    outcome = run('given: {profile: plain, ta1: "18", pps: silent}\nsteps:\n  - expect_refused: {because: "bad ATR"}\n')
    assert outcome.verdict.verdict is Verdict.FAIL
    assert "'PPS not answered', expected 'bad ATR'" in outcome.verdict.reason
