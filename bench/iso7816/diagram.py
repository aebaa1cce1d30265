"""Pages of transition tables: Mermaid state diagrams and a list of every transition (`t0_diagram`, `t1_diagram`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Transition:
    """One row of a transition table. `rule` is the rule or clause of ISO/IEC 7816-3; `error`: part of error handling."""

    state: StrEnum
    event: StrEnum
    action: StrEnum
    next: StrEnum
    rule: str
    error: bool


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a protocol. `normal` says what its first diagram shows, `source` is the heading of the rules."""

    title: str
    normal: str
    source: str
    start: StrEnum
    transitions: Sequence[Transition]


def page(head: str, *sides: Side) -> str:
    """A whole page, Markdown with Mermaid diagrams."""
    parts = [head]
    for side in sides:
        parts += _section(side)
    return "\n".join(parts)


def diagram(side: Side, *, errors: bool) -> str:
    """A Mermaid state diagram: error-free operation, or the error handling that leads to another state."""
    shown = [each for each in side.transitions if each.error is errors and (each.next is not each.state or not errors)]
    edges: dict[tuple[StrEnum, StrEnum], list[Transition]] = {}
    for each in shown:
        edges.setdefault((each.state, each.next), []).append(each)
    lines = ["stateDiagram-v2"]
    states = dict.fromkeys(state for edge in edges for state in edge)
    lines += [f'    state "{_escaped(state)}" as {state.name}' for state in states if state != state.name]
    if not errors:
        lines.append(f"    [*] --> {side.start.name}")
    for (state, to), steps in edges.items():
        lines += [f"    {state.name} --> {to.name} : {_label(step)}" for step in steps]
    return "\n".join(lines)


def _label(step: Transition) -> str:
    return _escaped(f"{step.event} / {step.action} ({step.rule})")


def _escaped(label: str) -> str:
    """Mermaid ends a label at a semicolon, and takes a colon for its own."""
    return label.replace(";", ",").replace(":", " ")


def _section(side: Side) -> Iterator[str]:
    yield f"## {side.title}\n"
    yield f"{side.normal}:\n"
    yield f"```mermaid\n{diagram(side, errors=False)}\n```\n"
    yield "Error handling:\n"
    yield f"```mermaid\n{diagram(side, errors=True)}\n```\n"
    yield "Every transition:\n"
    yield f"| state | event | action | next | {side.source} |\n|---|---|---|---|---|"
    for each in side.transitions:
        yield f"| {each.state} | {each.event} | {each.action} | {each.next} | {each.rule} |"
    yield ""
