"""The tables of a run, made from the classes of ``bench.observe``: a class is a table, a field a column.

``*_ticks`` becomes ``*_ns`` (integer nanoseconds since the point began). A ``bytes`` field is payload: kept in journal and capture, no column.
Everything that must agree on a row's shape (the journal's encoder, the tables, the Parquet files) takes it from here.
"""

import hashlib
import types
from dataclasses import dataclass, fields
from enum import Enum
from functools import cache
from typing import Annotated, Union, get_args, get_origin, get_type_hints

from bench.observe import Exchange, LinkChange, Measurement, Packet, Parameter, PointVerdict, StepMark


class ColumnKind(Enum):
    """How a column's values look. Each value is the code of ``struct`` under which a journal's row holds it."""

    INTEGER = "q"
    NANOSECONDS = " q"
    """Given in ticks."""
    UNSIGNED = "Q"
    TEXT = "I"
    """The row holds the string's number in its journal."""
    FLOAT = "d"
    OPTIONAL_FLOAT = "?d"
    """Whether there is a value, and the value."""
    BOOLEAN = "?"

    @property
    def code(self) -> str:
        return self.value.strip()


UNSIGNED_FIELDS = frozenset({"seed"})
"""Integer fields that use all of 64 bits."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name in the tables, the field it comes from, what it means."""

    name: str
    field: str
    kind: ColumnKind
    doc: str


@dataclass(frozen=True, slots=True)
class Table:
    """One class of observations as a table. ``payload`` are its ``bytes`` fields, in order."""

    name: str
    observed: type
    columns: tuple[Column, ...]
    payload: tuple[str, ...]


POINT_COLUMNS = (
    Column("scenario", "", ColumnKind.TEXT, "the scenario's file, relative to the scenarios' folder, without suffix"),
    Column("point", "", ColumnKind.TEXT, "the combination of the sweep; single for a scenario without one"),
    Column("seq", "", ColumnKind.INTEGER, "place of the observation within its point, from 0, over all tables"),
)
"""What every table begins with; a table is sorted by them."""


def _table(name: str, observed: type) -> Table:
    hints = get_type_hints(observed, include_extras=True)
    columns: list[Column] = []
    payload: list[str] = []
    for field in fields(observed):
        annotation = hints[field.name]
        doc = ""
        if get_origin(annotation) is Annotated:
            annotation, doc = get_args(annotation)
        if annotation is bytes:
            payload.append(field.name)
        elif field.name.endswith("_ticks"):
            columns.append(Column(field.name.removesuffix("_ticks") + "_ns", field.name, ColumnKind.NANOSECONDS, doc))
        else:
            columns.append(Column(field.name, field.name, _kind(observed, field.name, annotation), doc))
    return Table(name, observed, tuple(columns), tuple(payload))


def _kind(observed: type, field: str, annotation: object) -> ColumnKind:
    if annotation is bool:
        return ColumnKind.BOOLEAN
    if annotation is int:
        return ColumnKind.UNSIGNED if field in UNSIGNED_FIELDS else ColumnKind.INTEGER
    if annotation is float:
        return ColumnKind.FLOAT
    if isinstance(annotation, type) and issubclass(annotation, str):
        return ColumnKind.TEXT
    if get_origin(annotation) in (Union, types.UnionType) and set(get_args(annotation)) == {float, type(None)}:
        return ColumnKind.OPTIONAL_FLOAT
    raise TypeError(
        f"{observed.__name__}.{field}: {annotation} has no column type; use int, bool, float, float | None, str or bytes"
    )


EXCHANGES = _table("exchanges", Exchange)
PACKETS = _table("packets", Packet)
LINKS = _table("links", LinkChange)
STEPS = _table("steps", StepMark)
MEASUREMENTS = _table("measurements", Measurement)
PARAMETERS = _table("parameters", Parameter)
VERDICTS = _table("verdicts", PointVerdict)

TABLES = (EXCHANGES, PACKETS, LINKS, STEPS, MEASUREMENTS, PARAMETERS, VERDICTS)
"""Every table. A table's place is its number in a journal."""


@cache
def schema_digest() -> bytes:
    """Eight bytes that change whenever a table's columns do: a journal is read only by the schema that wrote it."""
    text = "\n".join(
        f"{table.name} {' '.join(f'{c.name}:{c.kind.name}' for c in table.columns)} {' '.join(table.payload)}"
        for table in TABLES
    )
    return hashlib.sha256(text.encode()).digest()[:8]
