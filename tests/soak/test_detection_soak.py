"""A thousand seeds of a sound card, host and reader at the points that catch what is wrong. (Ten: tests/scenario/test_detection.py.)"""

from pathlib import Path

import pytest

from bench.rig.model import RigModel
from bench.scenario.validation import SUBJECTS, accuse, detect, requirement_points
from reports.detection import false_alarms_at_most
from tests.soak.evidence import Row, section

SEEDS = 1000
SCENARIOS = Path(__file__).resolve().parents[2] / "scenarios"
SOFTWARE = RigModel.model_validate({"name": "software", "reader": {"kind": "software"}})

pytestmark = pytest.mark.soak


def test_what_is_sound_is_never_accused(capsys: pytest.CaptureFixture[str]) -> None:
    points = requirement_points({each.requirement for each in SUBJECTS.values()}, SCENARIOS)
    caught = [detect(each, points[each.requirement], SOFTWARE).point for each in SUBJECTS.values()]
    chosen = {point.name: point for point in caught if point is not None}
    assert None not in caught
    found = [
        accusation
        for seed in range(1, SEEDS + 1)
        for point in chosen.values()
        if (accusation := accuse(point, SOFTWARE, seed)) is not None
    ]
    wrong = len({each.seed for each in found})
    bound = false_alarms_at_most(wrong, SEEDS)
    with capsys.disabled():
        told = f"accused with {wrong} seeds of {SEEDS}: at most {100 * bound:.2g} % of seeds at 95 %"
        print("\n" + section("Sound ones accused", [Row(f"software, {len(chosen)} points", SEEDS, told)]))
    assert found == []
