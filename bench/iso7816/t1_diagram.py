"""The page docs/t1.md, drawn from the transition tables: `python -m bench.iso7816.t1_diagram > docs/t1.md`."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Final, TypeVar

from bench.iso7816.t1_states import Action, CardState, Event, Step, Table, TerminalState
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
    parts = [_HEAD]
    parts += _side("The terminal (interface device)", TERMINAL, TerminalState.IDLE)
    parts += _side("The card", CARD, CardState.START)
    return "\n".join(parts)


def diagram(table: Table[S], start: S, *, errors: bool) -> str:
    """A Mermaid state diagram: error-free operation, or error handling."""
    edges: dict[tuple[S, S], list[str]] = {}
    for state, event, step in _steps(table):
        if _is_error(event, step) is errors and (step.next is not state or not errors):
            edges.setdefault((state, step.next), []).append(f"{event} / {step.action} ({step.rule})")
    lines = ["stateDiagram-v2"]
    if not errors:
        lines.append(f"    [*] --> {start}")
    for (state, to), labels in edges.items():
        lines += [f"    {state} --> {to} : {_escaped(label)}" for label in labels]
    return "\n".join(lines)


def _is_error(event: Event, step: Step[S]) -> bool:
    return event in ERROR_EVENTS or step.action in _REPETITIONS


def _steps(table: Table[S]) -> Iterator[tuple[S, Event, Step[S]]]:
    for state, row in table.items():
        for event, step in row.items():
            yield state, event, step


def _escaped(label: str) -> str:
    """Mermaid ends a label at a semicolon, and takes a colon for its own."""
    return label.replace(";", ",").replace(":", " ")


def _side(title: str, table: Table[S], start: S) -> Iterator[str]:
    yield f"## {title}\n"
    yield "Error-free operation, and the chains that either side aborts:\n"
    yield f"```mermaid\n{diagram(table, start, errors=False)}\n```\n"
    yield "Error handling:\n"
    yield f"```mermaid\n{diagram(table, start, errors=True)}\n```\n"
    yield "Every transition:\n"
    yield "| state | event | action | next | rule |\n|---|---|---|---|---|"
    for state, event, step in _steps(table):
        yield f"| {state} | {event} | {step.action} | {step.next} | {step.rule} |"
    yield ""


if __name__ == "__main__":
    print(page(), end="")
