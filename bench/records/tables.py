"""Journals to Parquet tables: one file per class of observations, sorted by scenario, point and place.

The same rows give the same bytes, whoever wrote them and in which order. Memory holds one point and one row group, however long the run was.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.records import frames
from bench.records.arrow import ROW_GROUP, ParquetFile, Values
from bench.records.columns import TABLES, ColumnKind, Table
from bench.records.reading import JournalFile, PointKey, RunRows, present, row_fields

Rows = NDArray[np.void]
"""Rows of one table, the fields named as ``row_fields`` says."""


def _dtype(table: Table) -> np.dtype[np.void]:
    codes = [code for code in frames.ROW_STRUCTS[table.name].format if code not in "<"]
    return np.dtype([(name, "<" + code) for name, code in zip(row_fields(table), codes, strict=True)])


DTYPES = {table.name: _dtype(table) for table in TABLES}


def as_rows(table: Table, rows: RunRows) -> Rows:
    """One run's rows of a table as an array, in the order of their places."""
    # A copy: strings are renumbered in it.
    array: Rows = np.frombuffer(rows.fixed[table.name], DTYPES[table.name]).copy()
    return array


@dataclass(slots=True)
class _Words:
    """Strings of all journals under one numbering, so that rows of several journals can stand in one array."""

    words: list[str]
    numbers: dict[str, int]

    def numbers_of(self, texts: Sequence[str]) -> NDArray[np.uint32]:
        numbers = []
        for text in texts:
            number = self.numbers.setdefault(text, len(self.words))
            if number == len(self.words):
                self.words.append(text)
            numbers.append(number)
        return np.array(numbers, np.uint32)


class TableSet:
    """All tables of a run, being written to the paths given. Hand it the runs in the order of their points, then close it."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._words = _Words([], {})
        self._renumber: dict[Path, NDArray[np.uint32]] = {}
        self._scenarios: list[str] = []
        self._points: list[str] = []
        self._tables = [_GroupedTable(table, path, self) for table, path in zip(TABLES, paths, strict=True)]

    @property
    def words(self) -> Sequence[str]:
        return self._words.words

    @property
    def scenarios(self) -> Sequence[str]:
        return self._scenarios

    @property
    def points(self) -> Sequence[str]:
        return self._points

    def add(self, journal: JournalFile, key: PointKey, rows: RunRows) -> None:
        """Add one run's rows to every table."""
        renumber = self._renumber.get(journal.path)
        if renumber is None:
            renumber = self._renumber[journal.path] = self._words.numbers_of(journal.strings)
        rank = len(self._points)
        self._scenarios.append(key.scenario)
        self._points.append(key.point)
        for grouped in self._tables:
            array = as_rows(grouped.table, rows)
            if len(array):
                array["frame run"] = rank
                for column in grouped.table.columns:
                    if column.kind is ColumnKind.TEXT:
                        array[column.name] = renumber[array[column.name]]
                grouped.add(array)

    def close(self) -> None:
        for grouped in self._tables:
            grouped.close()


class _GroupedTable:
    """Gathers a table's rows into row groups of a fixed size."""

    def __init__(self, table: Table, path: Path, owner: TableSet) -> None:
        self.table = table
        self._owner = owner
        self._file = ParquetFile(path, table)
        self._waiting: list[Rows] = []
        self._count = 0

    def add(self, rows: Rows) -> None:
        self._waiting.append(rows)
        self._count += len(rows)
        while self._count >= ROW_GROUP:
            self._write(ROW_GROUP)

    def close(self) -> None:
        if self._count:
            self._write(self._count)
        self._file.close()

    def _write(self, count: int) -> None:
        rows = self._waiting[0] if len(self._waiting) == 1 else np.concatenate(self._waiting)
        self._waiting = [rows[count:]]
        self._count = len(rows) - count
        self._file.write_group(self._columns(rows[:count]))

    def _columns(self, rows: Rows) -> list[Values]:
        owner = self._owner
        columns = [
            Values(rows["frame run"], owner.scenarios),
            Values(rows["frame run"], owner.points),
            Values(rows["seq"].astype(np.int64)),
        ]
        for column in self.table.columns:
            match column.kind:
                case ColumnKind.TEXT:
                    columns.append(Values(rows[column.name], owner.words))
                case ColumnKind.OPTIONAL_FLOAT:
                    columns.append(Values(rows[column.name], valid=rows[present(column.name)]))
                case _:
                    columns.append(Values(rows[column.name]))
        return columns
