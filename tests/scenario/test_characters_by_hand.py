"""Cards that break one rule of T=0's characters, each accused by the scenario of that rule."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.iso7816 import t0
from bench.iso7816.line import Burst
from bench.iso7816.t0 import T0Card
from bench.iso7816.t0_line import Repeater
from bench.observe import Verdict
from bench.scenario.loader import load_scenario
from bench.scenario.points import Selection
from bench.scenario.runner import run_point
from bench.scenario.steps.characters_by_hand import RULES

from .fakes import SOFTWARE, Kept

LINK = Path(__file__).resolve().parents[2] / "scenarios" / "link"
Patch = Callable[[pytest.MonkeyPatch], None]


def _forgets_pieces(patch: pytest.MonkeyPatch) -> None:
    receive = T0Card.receive

    def wrong(self: T0Card, burst: Burst, later: t0.Later, damaged: tuple[int, ...] = ()) -> Burst | None:
        self._buffer.clear()
        return receive(self, burst, later, damaged)

    patch.setattr(T0Card, "receive", wrong)


def _counts_all_refusals(patch: pytest.MonkeyPatch) -> None:
    again = Repeater.again

    def wrong(self: Repeater, burst: Burst, index: int) -> Burst | None:
        found = again(self, burst, index)
        return None if self._count > 2 else found

    patch.setattr(Repeater, "again", wrong)


def _takes_damaged(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(t0, "undamaged", lambda burst, _damaged: burst.data)


WRONG: dict[str, tuple[str, Patch]] = {
    "pieces": ("t0-pieces", _forgets_pieces),
    "refused": ("t0-refused-characters", _counts_all_refusals),
    "damaged": ("t0-damaged-characters", _takes_damaged),
}


def test_each_rule_has_a_wrong_card() -> None:
    assert set(WRONG) == set(RULES)


@pytest.mark.parametrize("rule", RULES)
def test_a_card_that_breaks_the_rule_is_accused(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, patch = WRONG[rule]
    patch(monkeypatch)
    point = load_scenario(LINK / f"{name}.yaml").points[Selection.ORDINARY][-1]
    outcome = run_point(point, SOFTWARE, 1, Kept)
    assert outcome.verdict.verdict is Verdict.FAIL, outcome.text()
