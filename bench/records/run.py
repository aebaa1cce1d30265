"""The directory of a run: ``<out>/station=…/date=…/run=…/``, so that collating runs needs no server and no index.

    run.json                what was planned, on what it ran, when; written when the run begins, is planned, resumed and closed
    journals/<worker>.journal
    exchanges.parquet, packets.parquet, …   one per table, made from the journals when the run closes
    capture.pcapng          likewise
    capture.parquet         which of its packets belong to which step

Closing may be repeated: everything but the journals and run.json is derived.
"""

import re
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from bench.records.atomic import replacing, write_atomically
from bench.records.columns import TABLES
from bench.records.errors import RunError
from bench.records.fingerprint import Environment, RigFingerprint, environment
from bench.records.reading import JOURNALS, SUFFIX, PointKey, choose, finished_points, journal_paths, open_journal

FORMAT = 1
RUN_JSON = "run.json"
CAPTURE = "capture.pcapng"
CAPTURE_INDEX = "capture.parquet"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True, order=True)
class ScenarioFile:
    """A scenario file as it was when the run read it."""

    name: str
    """Folder and stem, as in the tables."""
    sha256: str


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What ``run.json`` holds. Times are wall time, ISO 8601, UTC."""

    format: int
    station: str
    run: str
    seed: int
    command_line: tuple[str, ...]
    started: str
    resumed: tuple[str, ...]
    ended: str | None
    """None while the run has not been closed."""
    planned: tuple[PointKey, ...]
    finished: int
    """How many points are complete; written when the run closes."""
    rigs: tuple[RigFingerprint, ...]
    environment: Environment
    scenarios: tuple[ScenarioFile, ...] = ()
    """The files of the planned points. One that was changed before the run was resumed stands twice."""


def write_run_json(path: Path, record: RunRecord) -> None:
    """Write ``run.json``, whole or not at all."""
    from pydantic import TypeAdapter

    write_atomically(path, TypeAdapter(RunRecord).dump_json(record, indent=2) + b"\n")


def read_run_json(path: Path) -> RunRecord:
    """Read ``run.json``. Raises ``RunError`` where it is missing or was not written by this version."""
    from pydantic import TypeAdapter, ValidationError

    try:
        text = path.read_bytes()
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror}; name the directory of a run (…/run=…)") from error
    try:
        record = TypeAdapter(RunRecord).validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise RunError(f"{path}: {where}: {first['msg']}; start a new run, or restore the file") from error
    if record.format != FORMAT:
        raise RunError(
            f"{path}: format {record.format}, this cardbench reads {FORMAT}; use the cardbench that began the run"
        )
    return record


@dataclass(frozen=True, slots=True)
class Closed:
    """What closing a run left."""

    finished: int
    """Complete points."""
    missing: tuple[PointKey, ...]
    """Planned points that are not complete."""
    packets: int
    """Packets in the capture."""


class RunDirectory:
    """A run's directory, its journals and what is made of them."""

    def __init__(self, path: Path, record: RunRecord) -> None:
        self.path = path
        self.record = record

    @classmethod
    def create(
        cls,
        out: Path,
        station: str,
        *,
        seed: int = 0,
        command_line: tuple[str, ...] = (),
        rigs: tuple[RigFingerprint, ...] = (),
        now: datetime | None = None,
    ) -> "RunDirectory":
        """Make the directory of a new run below ``out``. ``now`` is the wall time, by default the clock's."""
        if not _NAME.fullmatch(station):
            raise RunError(f"station {station!r}: use letters, digits, '.', '_' and '-', it becomes a directory's name")
        moment = (now or datetime.now(UTC)).astimezone(UTC)
        day = out / f"station={station}" / f"date={moment:%Y-%m-%d}"
        try:
            run, path = _new_directory(day, f"{moment:%H%M%S}")
        except OSError as error:
            raise RunError(f"{day}: a run's directory cannot be made: {error.strerror}; give another --out") from error
        record = RunRecord(FORMAT, station, run, seed, command_line, _iso(moment), (), None, (), 0, rigs, environment())
        write_run_json(path / RUN_JSON, record)
        return cls(path, record)

    @classmethod
    def open(cls, path: Path) -> "RunDirectory":
        """The directory of a run that was begun before, by this process or another. Writes nothing."""
        return cls(path, read_run_json(path / RUN_JSON))

    @classmethod
    def latest(cls, out: Path, station: str) -> "RunDirectory | None":
        """The last run of a station below ``out``, or None where there is none: what ``--resume`` takes up."""
        found = sorted(out.glob(f"station={station}/date=*/run=*/{RUN_JSON}"))
        return cls.open(found[-1].parent) if found else None

    def journal_path(self, worker: str) -> Path:
        """Where the worker of this name journals ("main" without xdist, else "gw0", …). One worker, one journal."""
        if not _NAME.fullmatch(worker):
            raise RunError(f"worker {worker!r}: use letters, digits, '.', '_' and '-', it becomes a file's name")
        return self.path / JOURNALS / f"{worker}{SUFFIX}"

    def table_path(self, table: str) -> Path:
        """Where the table of this name is, once the run has been closed."""
        return self.path / f"{table}.parquet"

    @property
    def capture_path(self) -> Path:
        """Where the capture is, once the run has been closed."""
        return self.path / CAPTURE

    def finished(self) -> set[PointKey]:
        """The points that need not be run again."""
        return finished_points(self.path)

    def plan(self, points: tuple[PointKey, ...], scenarios: tuple[ScenarioFile, ...] = ()) -> None:
        """Note which points the run is to run, of which files. One process only writes ``run.json``: the one that closes the run."""
        known = tuple(sorted({*self.record.scenarios, *scenarios}))
        self._update(replace(self.record, planned=tuple(sorted(points)), scenarios=known))

    def describe(self, rigs: tuple[RigFingerprint, ...]) -> None:
        """Note on which rigs the run runs, as far as is known by now."""
        self._update(replace(self.record, rigs=rigs))

    def resume(self, now: datetime | None = None) -> None:
        """Note that the run goes on."""
        moment = _iso((now or datetime.now(UTC)).astimezone(UTC))
        self._update(replace(self.record, resumed=(*self.record.resumed, moment), ended=None))

    def close(self, now: datetime | None = None) -> Closed:
        """Make tables and capture from the journals and finish ``run.json``. Every journal must have been closed.

        Each file appears whole, ``run.json`` last. Raises ``JournalError`` where a journal is damaged or in use.
        """
        # numpy and pyarrow take a third of a second to import: workers, which only journal, never pay it.
        from bench.records.arrow import write_plain
        from bench.records.capture import Capture
        from bench.records.tables import TableSet

        with ExitStack() as stack:
            chosen = choose([stack.enter_context(open_journal(path)) for path in journal_paths(self.path)])
            paths = [stack.enter_context(replacing(self.table_path(table.name))) for table in TABLES]
            stream = stack.enter_context(stack.enter_context(replacing(self.capture_path)).open("wb"))
            capture = Capture(stream)
            tables = TableSet(paths)
            for one in chosen:
                rows = one.journal.rows(one.run)
                tables.add(one.journal, one.run.key, rows)
                capture.add(one.run.key, one.journal.strings, rows, one.run.duration_ns or 0)
            tables.close()
            spans = capture.spans
            index = stack.enter_context(replacing(self.path / CAPTURE_INDEX))
            write_plain(
                index,
                {
                    "scenario": [span.scenario for span in spans],
                    "point": [span.point for span in spans],
                    "step": [span.step for span in spans],
                    "first_frame": [span.first for span in spans],
                    "last_frame": [span.last for span in spans],
                    "packets": [span.packets for span in spans],
                },
            )
        missing = tuple(sorted(set(self.record.planned) - {one.run.key for one in chosen}))
        moment = _iso((now or datetime.now(UTC)).astimezone(UTC))
        self._update(replace(self.record, ended=moment, finished=len(chosen)))
        return Closed(len(chosen), missing, capture.packets)

    def _update(self, record: RunRecord) -> None:
        write_run_json(self.path / RUN_JSON, record)
        self.record = record


def _new_directory(day: Path, name: str) -> tuple[str, Path]:
    """A directory that nobody else has: of runs that begin in the same second, the later ones get a number."""
    day.mkdir(parents=True, exist_ok=True)
    run, again = name, 1
    while True:
        path = day / f"run={run}"
        try:
            path.mkdir()
        except FileExistsError:
            again += 1
            run = f"{name}-{again}"
            continue
        (path / JOURNALS).mkdir()
        return run, path


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
