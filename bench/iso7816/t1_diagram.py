"""The page docs/t1.md, drawn from the transition tables: `python -m bench.iso7816.t1_diagram > docs/t1.md`."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, TypeVar

from bench.iso7816 import diagram
from bench.iso7816.t1_states import Action, CardState, Event, Table, TerminalState
from bench.iso7816.t1_table_card import CARD
from bench.iso7816.t1_table_terminal import TERMINAL

S = TypeVar("S", bound=StrEnum)

ERROR_EVENTS: Final = frozenset(
    (
        Event.INVALID,
        Event.SILENCE,
        Event.I_WRONG,
        Event.EXHAUSTED,
        Event.NO_START,
        Event.HOPELESS,
        Event.STORM,
        Event.R_AGAIN,
        Event.RESYNCH_REQUEST,
        Event.RESYNCH_RESPONSE,
        Event.WISH_RESYNCH,
    )
)
"""Events of error handling (11.6.3); the others are of error-free operation, where the action is no repetition."""
_REPETITIONS: Final = frozenset((Action.ASK, Action.REPEAT, Action.REPEAT_I))

_HEAD: Final = """\
# T=1: what follows on what

Drawn from the tables in `bench/iso7816/t1_table_terminal.py` and `bench/iso7816/t1_table_card.py` by
`python -m bench.iso7816.t1_diagram > docs/t1.md`; a test holds this page to them. Do not edit it by hand.

An arrow is labelled *event / action (rule)*, the rule being that of ISO/IEC 7816-3:2006, 11.6.2 (rules 1 to 5) or
11.6.3 (rules 6 to 9). What the events and states mean is said in `bench/iso7816/t1_states.py`. A block that a state has
no row for is a fault of the other side and is handled as an invalid block. Repetitions that stay in their state are left
out of the diagrams; the tables have them all.
"""


def page() -> str:
    """The whole page, Markdown with Mermaid diagrams."""
    return diagram.page(
        _HEAD,
        _side("The terminal (interface device)", TerminalState.IDLE, TERMINAL),
        _side("The card", CardState.START, CARD),
    )


def _side(title: str, start: S, table: Table[S]) -> diagram.Side:
    transitions = [
        diagram.Transition(state, event, step.action, step.next, step.rule, _is_error(event, step.action))
        for state, row in table.items()
        for event, step in row.items()
    ]
    return diagram.Side(
        title, "Error-free operation, and the chains that either side aborts", "rule", start, transitions
    )


def _is_error(event: Event, action: Action) -> bool:
    return event in ERROR_EVENTS or action in _REPETITIONS


if __name__ == "__main__":
    print(page(), end="")
