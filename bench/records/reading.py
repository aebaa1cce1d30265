"""Journals read back: which runs of points they hold, which are complete, and their rows. Needs nothing that is slow to import."""

import fcntl
import mmap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from bench.records import frames
from bench.records.columns import TABLES, VERDICTS, ColumnKind, Table
from bench.records.errors import JournalError

JOURNALS = "journals"
"""The folder of a run's directory that holds its journals."""
SUFFIX = ".journal"


class PointKey(NamedTuple):
    """What a point is known by, within a run and across runs."""

    scenario: str
    point: str


@dataclass(slots=True)
class Run:
    """One run of a point in one journal. ``duration_ns`` is None while it has no final frame."""

    key: PointKey
    number: int
    began: int
    """Wall time, nanoseconds since 1970: tells which of two complete runs is the later one."""
    begin: int
    end: int = 0
    duration_ns: int | None = None

    @property
    def complete(self) -> bool:
        return self.duration_ns is not None


class RowId(NamedTuple):
    """A row of a point: its table and its place."""

    table: str
    place: int


@dataclass(slots=True)
class RunRows:
    """The rows of one run: for each table the rows' fixed parts, one behind the other in the order of ``bench.records.frames``, and the payloads."""

    fixed: dict[str, bytearray]
    payloads: dict[RowId, tuple[bytes, ...]] = field(default_factory=dict)


def row_fields(table: Table) -> tuple[str, ...]:
    """The names of what ``ROW_STRUCTS[table.name]`` unpacks. An optional column is two fields, the first telling whether there is a value."""
    names = ["frame kind", "frame length", "frame run", "seq"]
    for column in table.columns:
        if column.kind is ColumnKind.OPTIONAL_FLOAT:
            names.append(present(column.name))
        names.append(column.name)
    names.extend(f"{name} length" for name in table.payload)
    return tuple(names)


def present(column: str) -> str:
    """The field that tells whether an optional column has a value."""
    return f"{column} present"


_DURATION = row_fields(VERDICTS).index("duration_ns")
_ROW_SIZES = tuple(frames.ROW_STRUCTS[table.name].size for table in TABLES)


class JournalFile:
    """A journal mapped for reading, its strings and runs read. Made by ``open_journal``."""

    def __init__(self, path: Path, data: memoryview) -> None:
        self.path = path
        self.strings: list[str] = []
        self.runs: list[Run] = []
        self._data = data
        self.end = frames.HEAD_SIZE
        if frames.check_head(path, data):
            self._read()

    def _read(self) -> None:
        data, final = self._data, frames.ROW_STRUCTS[VERDICTS.name]
        for extent in frames.walk(self.path, data):
            self.end = extent.end
            if extent.kind == frames.STRING:
                self.strings.append(frames.string_of(data, extent))
            elif extent.kind == frames.POINT:
                number, scenario, point, began = frames.POINT_BODY.unpack_from(data, extent.offset + frames.HEADER.size)
                if number != len(self.runs) or max(scenario, point) >= len(self.strings):
                    raise JournalError(
                        self.path, extent.offset, "a point's first frame names what was not defined", _FOREIGN
                    )
                key = PointKey(self.strings[scenario], self.strings[point])
                self.runs.append(Run(key, number, began, extent.end))
            elif extent.kind == frames.FINAL:
                row = final.unpack_from(data, extent.offset)
                number = row[2]
                if number >= len(self.runs):
                    raise JournalError(self.path, extent.offset, "a final frame of a point that never began", _FOREIGN)
                run = self.runs[number]
                run.end, run.duration_ns = extent.end, row[_DURATION]

    def rows(self, run: Run) -> RunRows:
        """The rows of a run and their payloads, of an incomplete one as far as they go."""
        data, path = self._data, self.path
        fixed = {table.name: bytearray() for table in TABLES}
        result = RunRows(fixed)
        tables = tuple(fixed.values())
        owners: dict[int, Table] = {}
        for extent in frames.walk_checked(data, run.begin, run.end or self.end):
            kind = extent.kind
            if kind < frames.BYTES:
                continue
            number, place = frames.ROW_BODY.unpack_from(data, extent.offset + frames.HEADER.size)
            if number != run.number:
                continue
            if kind == frames.BYTES:
                table = owners.get(place)
                if table is None:
                    raise JournalError(path, extent.offset, "payload of a row that does not exist", _FOREIGN)
                result.payloads[RowId(table.name, place)] = frames.payload_of(table, data, extent)
                continue
            index = (kind & ~frames.WITH_PAYLOAD) - frames.ROWS
            tables[index].extend(data[extent.offset : extent.offset + _ROW_SIZES[index]])
            table = TABLES[index]
            if kind & frames.WITH_PAYLOAD:
                result.payloads[RowId(table.name, place)] = frames.payload_of(table, data, extent)
            elif table.payload:
                owners[place] = table
        return result


@contextmanager
def open_journal(path: Path, ended: bool = True) -> Iterator[JournalFile]:
    """Map a journal for reading. ``ended``: it must not be open for writing any more. Raises ``JournalError``."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise JournalError(
            path, 0, f"cannot be read: {error.strerror}", "see that the path and its rights are right"
        ) from error
    with file:
        if ended:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError as error:
                raise JournalError(
                    path, 0, "it is still being written", "wait for the run to end, or stop it"
                ) from error
        if path.stat().st_size == 0:
            yield JournalFile(path, memoryview(b""))
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as data:
            yield JournalFile(path, data)


def journal_paths(run_directory: Path) -> list[Path]:
    """The journals of a run, sorted by name."""
    return sorted((run_directory / JOURNALS).glob(f"*{SUFFIX}"))


def finished_points(run_directory: Path) -> set[PointKey]:
    """The points that some journal of the run holds to the final frame: what ``--resume`` need not run again. Journals may be in use."""
    found: set[PointKey] = set()
    for path in journal_paths(run_directory):
        with open_journal(path, ended=False) as journal:
            found.update(run.key for run in journal.runs if run.complete)
    return found


@dataclass(frozen=True, slots=True)
class ChosenRun:
    """The run of a point that the tables are made of, and the journal that holds it."""

    run: Run
    journal: JournalFile


def choose(journals: Iterable[JournalFile]) -> list[ChosenRun]:
    """For each point its last complete run, sorted by scenario and point: who ran what, and in which order, is forgotten here."""
    chosen: dict[PointKey, ChosenRun] = {}
    for journal in journals:
        for run in journal.runs:
            if not run.complete:
                continue
            known = chosen.get(run.key)
            if known is None or _later(run, journal) > _later(known.run, known.journal):
                chosen[run.key] = ChosenRun(run, journal)
    return [chosen[key] for key in sorted(chosen)]


def _later(run: Run, journal: JournalFile) -> tuple[int, str, int]:
    return run.began, journal.path.name, run.number


_FOREIGN = "no cardbench writes this: move the file away and let --resume run its points again"
