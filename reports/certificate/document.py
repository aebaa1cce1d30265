"""A report as what it says, before it is set as HTML or PDF: both say the same because both are set from this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from reports.table import Kind as Kind


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a grid; `share` of the width, relative to the others'."""

    label: str
    share: float
    kind: Kind = Kind.TEXT


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph. `strong`: it says what matters most."""

    text: str
    strong: bool = False


@dataclass(frozen=True, slots=True)
class Items:
    """A list of sentences."""

    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fact:
    """What something is; `code` is set so that each character can be told."""

    label: str
    value: str
    code: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts below one another."""

    facts: tuple[Fact, ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """A table."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Signature:
    """A line to sign on, and who signs."""

    name: str
    function: str
    date: str


Block: TypeAlias = Text | Items | Facts | Grid | Signature


@dataclass(frozen=True, slots=True)
class Section:
    """A numbered part of the report."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """The whole report. `made` is the moment that the run ended (ISO 8601, UTC): the file's own date, so that the same run gives the same bytes."""

    title: str
    id: str
    laboratory: str
    verdict: str
    """The statement of conformity, in a word for the cover: pass, fail or inconclusive."""
    sections: tuple[Section, ...]
    made: str
    producer: str

    @property
    def end_mark(self) -> str:
        """What stands after the last line."""
        return f"End of test report {self.id}"
