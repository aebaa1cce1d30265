"""Parquet through pyarrow, the only module that imports it.

The same values give the same bytes: plain columns, row groups of a fixed number of rows, no time and no machine in the file. (The writer's name and
version are in it: another version of pyarrow writes other bytes.)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bench.records.columns import POINT_COLUMNS, Column, ColumnKind, Table

ROW_GROUP = 131_072
"""Rows in a row group."""
DESCRIPTION = b"description"
"""The key of a Parquet column's metadata under which its documentation stands."""

_TYPES = {
    ColumnKind.INTEGER: pa.int64(),
    ColumnKind.NANOSECONDS: pa.int64(),
    ColumnKind.UNSIGNED: pa.uint64(),
    ColumnKind.TEXT: pa.string(),
    ColumnKind.FLOAT: pa.float64(),
    ColumnKind.OPTIONAL_FLOAT: pa.float64(),
    ColumnKind.BOOLEAN: pa.bool_(),
}
_INTEGERS = frozenset((ColumnKind.INTEGER, ColumnKind.NANOSECONDS, ColumnKind.UNSIGNED))


@dataclass(frozen=True, slots=True)
class Values:
    """The values of one column. With ``words``, ``values`` are their numbers; where ``valid`` is false there is no value."""

    values: NDArray[np.generic]
    words: Sequence[str] | None = None
    valid: NDArray[np.bool_] | None = None


def write_plain(path: Path, columns: Mapping[str, Sequence[str] | Sequence[int]]) -> None:
    """A small table of texts and integers, by the names of its columns."""
    arrays = {
        name: pa.array(values, pa.string() if values and isinstance(values[0], str) else pa.int64())
        for name, values in columns.items()
    }
    pq.write_table(pa.table(arrays), str(path), compression="zstd", version="2.6")


class ParquetFile:
    """A table being written."""

    def __init__(self, path: Path, table: Table) -> None:
        columns = (*POINT_COLUMNS, *table.columns)
        self._schema = pa.schema([_field(column) for column in columns])
        self._writer = pq.ParquetWriter(
            str(path),
            self._schema,
            compression="zstd",
            version="2.6",
            use_dictionary=[column.name for column in columns if column.kind is ColumnKind.TEXT],
            # Times and counts hardly change from row to row: their differences are packed.
            column_encoding={column.name: "DELTA_BINARY_PACKED" for column in columns if column.kind in _INTEGERS},
        )

    def write_group(self, columns: Sequence[Values]) -> None:
        """Write one row group: every column's values, in the table's order."""
        arrays = [_array(values, field.type) for values, field in zip(columns, self._schema, strict=True)]
        table = pa.Table.from_arrays(arrays, schema=self._schema)
        self._writer.write_table(table, row_group_size=ROW_GROUP)

    def close(self) -> None:
        """Write the footer: without it the file is none."""
        self._writer.close()


def _field(column: Column) -> pa.Field:
    nullable = column.kind is ColumnKind.OPTIONAL_FLOAT
    return pa.field(column.name, _TYPES[column.kind], nullable, metadata={DESCRIPTION: column.doc.encode()})


def _array(values: Values, arrow_type: pa.DataType) -> pa.Array:
    if values.words is not None:
        return pa.array(values.words, pa.string()).take(pa.array(values.values))
    mask = None if values.valid is None else ~values.valid
    return pa.array(np.ascontiguousarray(values.values), arrow_type, mask=mask)
