"""Cards whose TCP is wrong are caught by the scenario of the requirement that must catch them, at a point that a sound card passes."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench.card.defects import Defect, transport
from bench.observe import Verdict
from bench.scenario.loader import load_scenario
from bench.scenario.point import Point
from bench.scenario.points import Selection
from bench.scenario.runner import Outcome, run_point

from .fakes import SOFTWARE, Kept

SCENARIOS = Path(__file__).resolve().parents[2] / "scenarios" / "sockets"


def points(requirement: str) -> list[Point]:
    """Those of the scenarios that speak to a requirement."""
    return [
        point
        for path in sorted(SCENARIOS.glob("*.yaml"))
        if requirement in (scenario := load_scenario(path)).requirements
        for point in scenario.points[Selection.ORDINARY]
    ]


def run(point: Point, defect: str | None = None) -> Outcome:
    given = point.given.model_copy(update={"defect": defect})
    return run_point(replace(point, given=given), SOFTWARE, 1, Kept)


@pytest.mark.parametrize("defect", transport.DEFECTS, ids=lambda each: each.name)
def test_each_is_caught_by_the_scenario_of_its_requirement(defect: Defect) -> None:
    for point in points(defect.requirement):
        outcome = run(point, defect.name)
        assert outcome.verdict.verdict in (Verdict.PASS, Verdict.FAIL), outcome.text() + outcome.trace
        if outcome.verdict.verdict is Verdict.FAIL:
            sound = run(point)
            assert sound.verdict.verdict is Verdict.PASS, sound.text()
            return
    pytest.fail(f"a card that {defect.text} passes every point for {defect.requirement}")
