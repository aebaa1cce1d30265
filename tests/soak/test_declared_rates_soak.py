"""Points that run at a slower rate than their own, because the card declares no other, accuse no sound card."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.observe import Verdict
from bench.rig.declaration import Declaration
from bench.rig.declared import at_declared_rate
from bench.rig.model import RigModel
from bench.scenario.loader import load_scenario
from bench.scenario.points import Selection
from bench.scenario.runner import run_point
from tests.scenario.fakes import Kept

pytestmark = pytest.mark.soak
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("rate", [0x13, 0x18, 0x95, 0x96], ids=lambda rate: f"{rate:02X}")
def test_a_sound_card_of_one_fast_rate_is_not_accused(rate: int) -> None:
    card = Declaration.model_validate(
        {
            "card": "sound",
            "protocols": ["T=0", "T=1"],
            "stack": "both",
            "mtu": "1500",
            "channels": "255",
            "ports": "2",
            "versions": ["4", "6"],
            "addressing": ["numbered", "static", "pool", "ppp"],
            "files": "reference",
        }
    ).model_copy(update={"rates": (0x11, rate)})
    rig = RigModel.model_validate({"name": "slower", "reader": {"kind": "software"}}).declared((card,))
    points = [
        point
        for path in sorted((ROOT / "scenarios").rglob("*.yaml"))
        for point in load_scenario(path).points[Selection.ORDINARY]
        if "ta1" not in point.varied
        and point.needs.stack is not None
        and not point.needs.rate
        and at_declared_rate(point.given, (card,)) is not point.given
    ]
    assert len(points) > 50
    outcomes = {point.name: run_point(point, rig, 1, Kept).verdict for point in points}
    bad = {
        name: verdict.reason for name, verdict in outcomes.items() if verdict.verdict in (Verdict.FAIL, Verdict.ERROR)
    }
    assert bad == {}
