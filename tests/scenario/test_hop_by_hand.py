"""Cards that break one rule of the hop, each accused by the scenario of that rule and by its requirement."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.card.card import Card
from bench.channels.node import ChannelNode
from bench.hop import card as machine
from bench.hop import card_link, segment
from bench.hop.card import HopAnswer, HopCard
from bench.hop.segment import TOGGLE, Joiner
from bench.observe import Verdict
from bench.scenario.loader import load_scenario
from bench.scenario.points import Selection
from bench.scenario.runner import run_point
from bench.scenario.steps.hop_by_hand import RULES

from .fakes import SOFTWARE, Kept

LINK = Path(__file__).resolve().parents[2] / "scenarios" / "link"
Patch = Callable[[pytest.MonkeyPatch], None]


def _instead(name: str, sw: int) -> Patch:
    """Another status word than the one that ``bench.hop.card`` has under this name."""
    return lambda patch: patch.setattr(machine, name, sw)


def _takes_twice(patch: pytest.MonkeyPatch) -> None:
    def is_new(self: Joiner, segment: bytes) -> bool:
        self.expect = 1 if segment[0] & TOGGLE else 0
        return True

    patch.setattr(Joiner, "is_new", is_new)


def _gives_once(patch: pytest.MonkeyPatch) -> None:
    def acknowledge(self: HopCard, _p1: int) -> None:
        if self._given and self.cutter.current:
            self.cutter.taken()
            self._given = False

    patch.setattr(HopCard, "_acknowledge", acknowledge)


def _any_class(patch: pytest.MonkeyPatch) -> None:
    is_hop = Card._is_hop

    def wrong(self: Card, header: bytes) -> bool:
        return is_hop(self, b"\x80" + header[1:])

    patch.setattr(Card, "_is_hop", wrong)


def _keeps_toggles(patch: pytest.MonkeyPatch) -> None:
    reset = HopCard.reset

    def wrong(self: HopCard) -> None:
        kept = self.cutter.toggle
        reset(self)
        self.cutter.toggle = kept

    patch.setattr(HopCard, "reset", wrong)


def _never_forgets(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ChannelNode, "forgotten", lambda _self: None)


def _takes_reserved(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(segment, "RESERVED", 0)


def _counts_the_protocol_field(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(segment, "PPP_PROTOCOL", 1)


def _any_length(patch: pytest.MonkeyPatch) -> None:
    def get_response(self: HopCard, p1: int, le: int, inline: bool) -> HopAnswer:
        self._acknowledge(p1)
        waiting = self._load()
        return self._give(waiting, p1) if waiting and le else right(self, p1, le, inline)

    right = HopCard.get_response
    patch.setattr(HopCard, "get_response", get_response)


def _tells_of_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(HopCard, "_following", lambda _self, _segment: 0)


def _patient(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(card_link, "WATCHDOG_SLACK_NS", 10 * card_link.WATCHDOG_SLACK_NS)


WRONG: dict[str, Patch] = {
    "status-words": _instead("SW_OK", 0x9001),
    "polls": _instead("SW_NOTHING", 0x9000),
    "no-sense": _instead("SW_SENSELESS", 0x6F00),
    "no-header": _instead("SW_EMPTY", 0x9000),
    "plain-fetch": _instead("SW_NOT_ANNOUNCED", 0x6F00),
    "envelope-again": _takes_twice,
    "fetch-again": _gives_once,
    "ordinary-class": _any_class,
    "toggles-after-reset": _keeps_toggles,
    "greeted-again": _never_forgets,
    "headers": _takes_reserved,
    "lengths": _counts_the_protocol_field,
    "fetch-lengths": _any_length,
    "explicit": _tells_of_nothing,
    "silence": _patient,
}


def test_there_is_a_scenario_for_every_rule() -> None:
    assert {f"hop-{rule}" for rule in RULES} == {path.stem for path in LINK.glob("hop-*.yaml")}


@pytest.mark.parametrize("rule", sorted(RULES))
def test_a_sound_card_of_little_memory_is_not_accused(rule: str) -> None:
    point = load_scenario(LINK / f"hop-{rule}.yaml").points[Selection.ORDINARY][0]
    outcome = run_point(point, SOFTWARE, 1, Kept)
    assert outcome.verdict.verdict is Verdict.PASS, outcome.text()


@pytest.mark.parametrize("rule", sorted(WRONG))
def test_a_card_that_breaks_it_is_accused(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    WRONG[rule](monkeypatch)
    point = load_scenario(LINK / f"hop-{rule}.yaml").points[Selection.ORDINARY][-1]
    outcome = run_point(point, SOFTWARE, 1, Kept)
    assert outcome.verdict.verdict is Verdict.FAIL, outcome.text()
