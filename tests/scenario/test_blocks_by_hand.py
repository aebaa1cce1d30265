"""Cards that break one rule of T=1, each accused by the scenario of that rule."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.iso7816 import t1_card
from bench.iso7816.line import Burst
from bench.iso7816.t1_block import IBlock, RBlock, RCode
from bench.iso7816.t1_card import T1Card
from bench.iso7816.t1_line import BlockReceiver
from bench.observe import Verdict
from bench.scenario.loader import load_scenario
from bench.scenario.points import Selection
from bench.scenario.runner import run_point
from bench.scenario.steps.blocks_by_hand import RULES

from .fakes import SOFTWARE, Kept

LINK = Path(__file__).resolve().parents[2] / "scenarios" / "link"
Patch = Callable[[pytest.MonkeyPatch], None]


def _says_nothing_of_the_error(patch: pytest.MonkeyPatch) -> None:
    def ask(self: T1Card, _block: object) -> Burst:
        return self._send(RBlock(0, self._connection.receive, RCode.OTHER))

    patch.setattr(T1Card, "_ask", ask)


def _repeats_with_another_number(patch: pytest.MonkeyPatch) -> None:
    def repeat(self: T1Card, _block: object) -> Burst:
        last = self._connection.last_i
        assert last is not None
        return self._send(IBlock(last.nad, last.ns ^ 1, last.more, last.inf))

    patch.setattr(T1Card, "_repeat", repeat)
    patch.setattr(T1Card, "_repeat_i", repeat)


def _loses_a_byte(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(t1_card, "COMMAND_MAX", 500)


def _keeps_the_field_size(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(t1_card, "IFS_DEFAULT", 33)


def _impatient(patch: pytest.MonkeyPatch) -> None:
    receive = BlockReceiver.receive

    def wrong(self: BlockReceiver, burst: Burst, ifs: int, damaged: tuple[int, ...] = ()) -> object:
        self.cwt = burst.pitch - 1 if burst.pitch == self.cwt else self.cwt
        return receive(self, burst, ifs, damaged)

    patch.setattr(BlockReceiver, "receive", wrong)


WRONG: dict[str, tuple[str, Patch]] = {
    "invalid": ("t1-invalid-blocks", _says_nothing_of_the_error),
    "repeats": ("t1-repeated-blocks", _repeats_with_another_number),
    "chains": ("t1-chains-by-hand", _loses_a_byte),
    "supervisory": ("t1-supervisory-blocks", _keeps_the_field_size),
    "paces": ("t1-paces", _impatient),
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
