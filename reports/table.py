"""A table of the page: typed columns, plain cells, and the same cells as JSON for the script that sorts and filters."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

import pandas as pd

ROWS_IN_PAGE: Final = 100
"""Rows a table has in the document at a time; the rest waits as JSON."""

Cell: TypeAlias = str | int | float | bool | None


class Kind(StrEnum):
    """How a column is shown, sorted and filtered."""

    TEXT = "text"
    CODE = "code"
    NUMBER = "number"
    VERDICT = "verdict"


@dataclass(frozen=True, slots=True)
class Field:
    """One column: its name in the data frame, its heading, how it is shown."""

    name: str
    label: str
    kind: Kind = Kind.TEXT


@dataclass(frozen=True, slots=True)
class Table:
    """Rows below headings. `csv` is the file beside the page that holds the same rows, if there is one."""

    id: str
    caption: str
    fields: tuple[Field, ...]
    rows: tuple[tuple[Cell, ...], ...]
    csv: str = ""

    @property
    def first_rows(self) -> tuple[tuple[Cell, ...], ...]:
        """The rows that stand in the document before any script runs."""
        return self.rows[:ROWS_IN_PAGE]

    @property
    def script_json(self) -> str:
        """Headings and rows as JSON that is safe inside a script element."""
        content = {
            "fields": [{"label": field.label, "kind": field.kind.value} for field in self.fields],
            "rows": self.rows,
        }
        return script_json(content)


def script_json(content: object) -> str:
    """JSON in which nothing can end a script element or be taken for markup."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in ("&", "<", ">", "\u2028", "\u2029"):
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def table_of(frame: pd.DataFrame, id: str, caption: str, fields: Sequence[Field], csv: str = "") -> Table:
    """The columns of `frame` that `fields` name, in that order."""
    columns = [[cell_of(value) for value in frame[field.name].tolist()] for field in fields]
    return Table(id, caption, tuple(fields), tuple(zip(*columns, strict=True)), csv)


def cell_of(value: object) -> Cell:
    """A value of a data frame as a cell: no NaN, no infinity, no numpy scalar."""
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)


def number_text(value: float, digits: int = 6) -> str:
    """A number for people: whole numbers whole, others with `digits` significant digits, thousands apart by a narrow space."""
    text = f"{value:.0f}" if value == int(value) or abs(value) >= 10**digits else f"{value:.{digits}g}"
    if "e" in text:
        return text
    sign, text = ("−", text[1:]) if text.startswith("-") else ("", text)
    whole, dot, part = text.partition(".")
    return f"{sign}{int(whole):,}{dot}{part}".replace(",", "\u202f")


def cell_text(cell: Cell) -> str:
    """A cell as the page shows it."""
    if cell is None:
        return "–"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return number_text(cell) if isinstance(cell, int | float) else cell
