"""The transition tables of T=1 hold together, and docs/t1.md is what they say."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TypeVar

import pytest

from bench.iso7816.t1_diagram import page
from bench.iso7816.t1_states import CardState, Event, Table, TerminalState
from bench.iso7816.t1_table_card import CARD
from bench.iso7816.t1_table_terminal import TERMINAL

S = TypeVar("S", bound=StrEnum)

ROOT = Path(__file__).resolve().parents[2]
FROM_PEER = frozenset(Event) - {
    Event.SILENCE,
    Event.EXHAUSTED,
    Event.NO_START,
    Event.HOPELESS,
    Event.STORM,
    Event.NEXT_MORE,
    Event.NEXT_LAST,
    Event.ACKNOWLEDGE,
    Event.WISH_IFS,
    Event.WISH_ABORT,
    Event.WISH_RESYNCH,
    Event.REPLY,
    Event.TIME_SHORT,
}


def reachable(table: Table[S], start: S) -> set[S]:
    seen: set[S] = set()
    left = [start]
    while left:
        state = left.pop()
        if state not in seen:
            seen.add(state)
            left += [step.next for step in table[state].values()]
    return seen


def test_the_page_is_up_to_date() -> None:
    assert (ROOT / "docs" / "t1.md").read_text(encoding="utf-8") == page(), (
        "the tables have changed: python -m bench.iso7816.t1_diagram > docs/t1.md"
    )


def test_every_state_has_a_row_and_can_be_reached() -> None:
    assert reachable(TERMINAL, TerminalState.IDLE) == set(TerminalState) == set(TERMINAL)
    assert reachable(CARD, CardState.START) == set(CardState) == set(CARD)


def test_whatever_the_card_sends_a_waiting_terminal_has_a_row_to_fall_back_on() -> None:
    waiting = [state for state, row in TERMINAL.items() if FROM_PEER & row.keys()]
    assert len(waiting) == 9
    for state in waiting:
        row = TERMINAL[state]
        assert {Event.INVALID, Event.SILENCE, Event.EXHAUSTED} <= row.keys(), state
        assert (Event.HOPELESS in row) is (state is not TerminalState.RESYNCH), state


def test_whatever_the_terminal_sends_a_card_has_a_row_to_fall_back_on() -> None:
    turns = {CardState.ACKING, CardState.ANSWERING}
    for state, row in CARD.items():
        assert (Event.INVALID in row) is (state not in turns), state
        assert (Event.RESYNCH_REQUEST in row) is (state not in turns), state


def test_rule_6_only_the_terminal_resynchronises() -> None:
    assert all(Event.RESYNCH_REQUEST not in row for row in TERMINAL.values())
    assert all(Event.RESYNCH_RESPONSE not in row for row in CARD.values())


def test_rule_3_only_the_card_asks_for_time() -> None:
    assert all(Event.WTX_RESPONSE not in row for row in TERMINAL.values())
    assert all(Event.WTX_REQUEST not in row for row in CARD.values())


@pytest.mark.parametrize(
    "rule",
    [
        "1",
        "2.1",
        "2.2",
        "3",
        "4",
        "5",
        "6",
        "6.2",
        "6.3",
        "6.4",
        "7.1",
        "7.2",
        "7.3",
        "7.4.1",
        "7.4.2",
        "7.4.3",
        "7.5",
        "8",
        "9",
    ],
)
def test_each_rule_has_a_transition(rule: str) -> None:
    rules = {step.rule for row in TERMINAL.values() for step in row.values()}
    rules |= {step.rule for row in CARD.values() for step in row.values()}
    assert rule in rules
