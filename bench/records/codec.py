"""Observations as frames. One function per class, made once from the class's columns, as ``dataclasses`` makes ``__init__``.

An exchange must cost a few microseconds beside the twenty that the virtual bench needs to run it, so there is no loop over fields:
the function for a class reads each field by name and packs the whole frame with one precompiled ``struct``.
"""

import struct
import zlib
from collections.abc import Callable, Mapping
from typing import TypeAlias, cast

from bench.records.columns import TABLES, Column, ColumnKind, Table
from bench.records.errors import ObservationError
from bench.records.frames import ROW_STRUCTS, ROWS, WITH_PAYLOAD

Encoder: TypeAlias = Callable[[object, int, int, int, int, Mapping[str, int]], bytes]
"""(observation, number of the run, place, ticks in a nanosecond, half of that, numbers of the strings) -> one frame"""


def _expression(column: Column) -> str:
    field = f"x.{column.field}"
    match column.kind:
        case ColumnKind.NANOSECONDS:
            # Timebase.to_ns, with its constants worked out once a point; rounds half up for odd and even ticks alike.
            return f"({field} + half) // per_ns"
        case ColumnKind.TEXT:
            return f"strings[{field}]"
        case ColumnKind.OPTIONAL_FLOAT:
            return f"{field} is not None, {field} or 0.0"
        case _:
            return field


def _encoder(number: int, table: Table, with_payload: bool) -> Encoder:
    layout = ROW_STRUCTS[table.name]
    sizes = [f"len(x.{name})" if with_payload else "0" for name in table.payload]
    kind = ROWS + number + (WITH_PAYLOAD if with_payload else 0)
    length = " + ".join([str(layout.size - 5), *(sizes if with_payload else [])])
    values = ", ".join([str(kind), length, "run", "place", *(_expression(column) for column in table.columns), *sizes])
    tail = "".join(f" + x.{name}" for name in table.payload) if with_payload else ""
    source = (
        "def encode(x, run, place, per_ns, half, strings):\n"
        f"    frame = pack({values}){tail}\n"
        "    return frame + pack_crc(crc32(frame))\n"
    )
    names: dict[str, object] = {"pack": layout.pack, "pack_crc": struct.Struct("<I").pack, "crc32": zlib.crc32}
    exec(compile(source, f"<encoder of {table.name}>", "exec"), names)
    return cast(Encoder, names["encode"])


WITHOUT: dict[type, Encoder] = {table.observed: _encoder(k, table, False) for k, table in enumerate(TABLES)}
"""Encoders that leave the payload out."""
WITH: dict[type, Encoder] = {
    table.observed: _encoder(k, table, True) if table.payload else WITHOUT[table.observed]
    for k, table in enumerate(TABLES)
}
"""Encoders that write the payload behind the row."""


PAYLOAD_FIELDS: dict[type, tuple[str, ...]] = {table.observed: table.payload for table in TABLES if table.payload}
"""The classes that have payload, and its fields."""


def payload_body(run: int, place: int, observation: object) -> bytes:
    """The body of the BYTES frame of a row that was written without its payload."""
    parts = [bytes(getattr(observation, name)) for name in PAYLOAD_FIELDS[type(observation)]]
    lengths = (len(part) for part in parts)
    return struct.pack(f"<{2 + len(parts)}I", run, place, *lengths) + b"".join(parts)


def explain(observation: object, cause: Exception) -> ObservationError:
    """The error for an observation that could not be encoded: names the class, the field and the value."""
    table = next((table for table in TABLES if table.observed is type(observation)), None)
    if table is None:
        known = ", ".join(table.observed.__name__ for table in TABLES)
        return ObservationError(f"{type(observation).__name__} is no observation; known are {known}")
    for column in table.columns:
        value = getattr(observation, column.field)
        if not _fits(column.kind, value):
            return ObservationError(
                f"{table.observed.__name__}.{column.field} is {value!r}: the column {table.name}.{column.name} "
                f"takes {_TAKES[column.kind]}"
            )
    return ObservationError(f"{table.observed.__name__} cannot be written: {cause}")


def _fits(kind: ColumnKind, value: object) -> bool:
    match kind:
        case ColumnKind.INTEGER:
            return isinstance(value, int) and -(2**63) <= value < 2**63
        case ColumnKind.UNSIGNED:
            return isinstance(value, int) and 0 <= value < 2**64
        case ColumnKind.NANOSECONDS:
            return isinstance(value, int)
        case ColumnKind.TEXT:
            return isinstance(value, str)
        case ColumnKind.OPTIONAL_FLOAT:
            return value is None or isinstance(value, int | float)
        case ColumnKind.FLOAT | ColumnKind.BOOLEAN:
            return isinstance(value, int | float)


_TAKES = {
    ColumnKind.INTEGER: "an integer of 64 bits",
    ColumnKind.UNSIGNED: "an unsigned integer of 64 bits",
    ColumnKind.NANOSECONDS: "an integer number of ticks, below 292 years",
    ColumnKind.TEXT: "text",
    ColumnKind.FLOAT: "a number",
    ColumnKind.OPTIONAL_FLOAT: "a number or None",
    ColumnKind.BOOLEAN: "true or false",
}
