"""Cards whose IP stack is wrong are caught by the scenario of the requirement that must catch them, at a point that a sound card passes."""

import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bench.card.defects import network
from bench.observe import Verdict
from bench.scenario.loader import load_scenario
from bench.scenario.point import Point
from bench.scenario.points import Selection
from bench.scenario.runner import Outcome, run_point

from .fakes import SOFTWARE, Kept

SCENARIOS = Path(__file__).resolve().parents[2] / "scenarios"
FOLDERS = ("address-assignment", "routing")


@functools.cache
def points(requirement: str) -> Sequence[Point]:
    """Those of the one scenario that speaks to a requirement."""
    (found,) = [
        scenario
        for folder in FOLDERS
        for path in sorted((SCENARIOS / folder).glob("ip-*.yaml"))
        if requirement in (scenario := load_scenario(path)).requirements
    ]
    return found.points[Selection.ORDINARY]


def run(point: Point, defect: str | None = None) -> Outcome:
    given = point.given.model_copy(update={"defect": defect})
    return run_point(replace(point, given=given), SOFTWARE, 1, Kept)


ALSO = (("address-left-silently", "IP-ADDR-5"), ("node-down-lost", "IP-ADDR-14"))
"""What other scenarios must catch, beside the one that the defect names."""


@pytest.mark.parametrize(("name", "requirement"), [*((each.name, each.requirement) for each in network.DEFECTS), *ALSO])
def test_each_is_caught_by_the_scenario_of_its_requirement(name: str, requirement: str) -> None:
    (defect,) = [each for each in network.DEFECTS if each.name == name]
    for point in points(requirement):
        outcome = run(point, name)
        assert outcome.verdict.verdict in (Verdict.PASS, Verdict.FAIL), outcome.text() + outcome.trace
        if outcome.verdict.verdict is Verdict.FAIL:
            sound = run(point)
            assert sound.verdict.verdict is Verdict.PASS, sound.text()
            return
    pytest.fail(f"a card that {defect.text} passes every point of the scenario for {requirement}")


def test_a_defect_of_the_ip_stack_needs_that_stack() -> None:
    (point,) = [each for each in points("IP-ADDR-1") if each.given.cards == 1]
    given = point.given.model_copy(update={"defect": "hop-limit-kept", "stack": "channel"})
    outcome = run_point(replace(point, given=given), SOFTWARE, 1, Kept)
    assert outcome.verdict.verdict is Verdict.ERROR
    assert "stack: ip" in outcome.verdict.reason
