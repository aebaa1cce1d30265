"""The transition tables of T=0 hold together, and docs/t0.md is what they say."""

from __future__ import annotations

from pathlib import Path

from bench.iso7816.t0_diagram import page
from bench.iso7816.t0_tables import CARD, TERMINAL, Action, CardEvent, CardState, TerminalEvent, TerminalState

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_up_to_date() -> None:
    assert (ROOT / "docs" / "t0.md").read_text(encoding="utf-8") == page(), "the tables have changed: make docs"


def test_the_page_lists_every_transition_once() -> None:
    expected = [
        f"| {state} | {event} | {step.action} | {step.following or state} | {step.clause} |"
        for state, row in TERMINAL.items()
        for event, step in row.items()
    ]
    expected += [
        f"| {state} | {event} | {step.action} | {step.following or state} | {step.clause} |"
        for state, row in CARD.items()
        for event, step in row.items()
    ]
    headings = ("| state |", "|---")
    listed = [line for line in page().splitlines() if line.startswith("|") and not line.startswith(headings)]
    assert listed == expected


def test_an_arrow_is_drawn_for_every_transition_to_another_state() -> None:
    arrows = [line.strip() for line in page().splitlines() if " --> " in line]
    terminal = [
        f"{state.name} --> {step.following.name} : {event} / {step.action} ({step.clause})"
        for state, row in TERMINAL.items()
        for event, step in row.items()
        if step.following not in (None, state)
    ]
    card = [
        f"{state.name} --> {step.following.name} : {event} / {step.action} ({step.clause})"
        for state, row in CARD.items()
        for event, step in row.items()
        if step.following not in (None, state)
    ]
    for arrow in terminal + card:
        assert arrows.count(arrow) == (terminal + card).count(arrow), arrow


def test_every_state_has_a_row_and_is_led_to() -> None:
    assert set(TERMINAL) == set(TerminalState)
    assert {step.following for row in TERMINAL.values() for step in row.values()} - {None} == set(TerminalState)
    assert set(CARD) == set(CardState)
    assert {step.following for row in CARD.values() for step in row.values()} - {None} == set(CardState)


def test_every_event_has_a_transition() -> None:
    assert {event for row in TERMINAL.values() for event in row} == set(TerminalEvent)
    assert {event for row in CARD.values() for event in row} == set(CardEvent)


def test_every_action_is_somebodys() -> None:
    terminal = {step.action for row in TERMINAL.values() for step in row.values()}
    card = {step.action for row in CARD.values() for step in row.values()}
    assert terminal | card == set(Action)


def test_10_2_a_waiting_terminal_gives_up_when_the_waiting_time_is_over() -> None:
    for state, row in TERMINAL.items():
        assert (TerminalEvent.SILENCE in row) is (state is not TerminalState.IDLE), state
