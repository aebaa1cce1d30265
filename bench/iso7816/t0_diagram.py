"""The page docs/t0.md, drawn from the transition tables: `python -m bench.iso7816.t0_diagram > docs/t0.md`."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from bench.iso7816 import diagram
from bench.iso7816.t0_tables import (
    CARD,
    TERMINAL,
    Action,
    CardEvent,
    CardState,
    CardStep,
    TerminalEvent,
    TerminalState,
    TerminalStep,
)

_ERROR_EVENTS: Final[frozenset[StrEnum]] = frozenset(
    (
        TerminalEvent.TOO_MUCH,
        TerminalEvent.NULLS_UP,
        TerminalEvent.NO_PROCEDURE,
        TerminalEvent.DAMAGED,
        TerminalEvent.DAMAGED_AGAIN,
        TerminalEvent.REFUSED,
        TerminalEvent.REFUSED_AGAIN,
        TerminalEvent.SILENCE,
        CardEvent.GAP,
        CardEvent.DAMAGED,
        CardEvent.DAMAGED_AGAIN,
        CardEvent.REFUSED,
        CardEvent.REFUSED_AGAIN,
    )
)
"""Events of error handling; the others are of error-free operation, where nothing is ignored."""

_HEAD: Final = """\
# T=0: what follows on what

Drawn from the tables in `bench/iso7816/t0_tables.py` by `python -m bench.iso7816.t0_diagram > docs/t0.md`; a test holds
this page to them. `make docs` makes it anew. Do not edit it by hand.

A state is what is awaited. An arrow is labelled *event / action (clause)*, the clause being that of
ISO/IEC 7816-3:2006; "limit" is a limit of the terminal's own, which the standard does not have. A pair of state and
event that has no row cannot happen. Error handling that stays in its state is left out of the diagrams; the tables have
it all.
"""


def page() -> str:
    """The whole page, Markdown with Mermaid diagrams."""
    return diagram.page(
        _HEAD,
        _side("The terminal (interface device)", TerminalState.IDLE, TERMINAL),
        _side("The card", CardState.IDLE, CARD),
    )


def _side(
    title: str,
    start: StrEnum,
    table: Mapping[TerminalState, Mapping[TerminalEvent, TerminalStep]]
    | Mapping[CardState, Mapping[CardEvent, CardStep]],
) -> diagram.Side:
    transitions = [
        diagram.Transition(
            state, event, step.action, step.following or state, step.clause, _is_error(event, step.action)
        )
        for state, row in table.items()
        for event, step in row.items()
    ]
    return diagram.Side(title, "Error-free operation", "clause", start, transitions)


def _is_error(event: StrEnum, action: Action) -> bool:
    return event in _ERROR_EVENTS or action is Action.IGNORE


if __name__ == "__main__":
    print(page(), end="")
