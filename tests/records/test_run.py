"""A run's directory: the same points give the same bytes, whoever ran them; run.json says the rest."""

import json
import random
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from bench.engine import Timebase
from bench.observe import Verdict
from bench.records import arrow, tables
from bench.records.columns import TABLES
from bench.records.errors import JournalError, RunError
from bench.records.fingerprint import RigFingerprint, environment
from bench.records.journal import CaptureMode, Journal
from bench.records.reading import PointKey
from bench.records.run import RunDirectory, read_run_json
from tests.records.samples import TIMEBASE, exchange, journal_of, numbered_point, verdict

DERIVED = [*(f"{table.name}.parquet" for table in TABLES), "capture.pcapng"]
NOON = datetime(2025, 3, 1, 12, 0, 5, tzinfo=UTC)


def contents(run: RunDirectory) -> dict[str, bytes]:
    return {name: (run.path / name).read_bytes() for name in DERIVED}


@pytest.mark.parametrize("capture", [CaptureMode.FULL, CaptureMode.FAILURES])
@pytest.mark.parametrize("group", [arrow.ROW_GROUP, 50])
def test_the_same_points_give_the_same_bytes_whoever_ran_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capture: CaptureMode, group: int
) -> None:
    monkeypatch.setattr(tables, "ROW_GROUP", group)
    points = [numbered_point(k) for k in range(9)]
    one = RunDirectory.create(tmp_path, "one-worker")
    journal_of(one.journal_path("main"), points, capture)
    one.close()
    expected = contents(one)
    dice = random.Random(5)
    for attempt in range(6):
        run = RunDirectory.create(tmp_path, f"shuffled-{attempt}")
        shuffled = points[:]
        dice.shuffle(shuffled)
        workers = [Journal.open(run.journal_path(f"gw{k}")) for k in range(1 + attempt % 3)]
        # Points that were begun and never finished, and points run twice, leave no trace.
        for point in (*shuffled[:2], *shuffled[:3]):
            point.run(dice.choice(workers), capture, stop_after=dice.choice([0, 7, None]))
        for point in shuffled:
            point.run(dice.choice(workers), capture)
        for worker in workers:
            worker.close()
        run.close()
        assert contents(run) == expected
        run.close()
        assert contents(run) == expected


def test_tables_hold_what_was_emitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "ROW_GROUP", 64)
    points = [numbered_point(k) for k in (4, 2, 11)]
    run = RunDirectory.create(tmp_path, "bench")
    journal_of(run.journal_path("gw0"), points[:1])
    journal_of(run.journal_path("gw1"), points[1:])
    run.close()
    points.sort(key=lambda point: point.key)
    for table in TABLES:
        expected = [
            (*point.key, place, *(getattr(observation, column.field) for column in table.columns))
            for point in points
            for place, observation in enumerate((*point.observations, point.verdict))
            if type(observation) is table.observed
        ]
        read = pq.ParquetFile(run.table_path(table.name))
        found = [
            tuple(TIMEBASE.nanoseconds(v) if k.endswith("_ns") else v for k, v in row.items())
            for row in read.read().to_pylist()
        ]
        assert found == expected
        sizes = [read.metadata.row_group(k).num_rows for k in range(read.num_row_groups)]
        assert sizes[:-1] == [64] * (len(sizes) - 1)
    verdicts = pd.read_parquet(run.table_path("verdicts"))
    assert verdicts["seed"].dtype == np.uint64
    assert verdicts["seed"].tolist() == [2**64 - 1] * 3


def test_a_large_point_fills_several_row_groups(tmp_path: Path) -> None:
    count = arrow.ROW_GROUP + 10
    row = exchange(0, b"", b"")
    run = RunDirectory.create(tmp_path, "bench")
    with Journal.open(run.journal_path("main")) as journal:
        recorder = journal.point("a", "b", TIMEBASE, CaptureMode.OFF)
        for _ in range(count):
            recorder.emit(row)
        recorder.finish(verdict())
    run.close()
    read = pq.ParquetFile(run.table_path("exchanges"))
    assert [read.metadata.row_group(k).num_rows for k in range(read.num_row_groups)] == [arrow.ROW_GROUP, 10]
    assert read.read(["seq"])["seq"].to_pylist() == list(range(count))


def test_parquet_carries_the_documentation_and_nothing_of_the_machine(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, "bench")
    journal_of(run.journal_path("main"), [numbered_point(1)])
    run.close()
    for table in TABLES:
        read = pq.ParquetFile(run.table_path(table.name))
        for field in read.schema_arrow:
            assert field.metadata[arrow.DESCRIPTION], field.name
            assert not field.name.endswith("_ticks")
        assert list(read.schema_arrow.names)[:3] == ["scenario", "point", "seq"]
    field = pq.ParquetFile(run.table_path("exchanges")).schema_arrow.field("card_ns")
    assert field.metadata[arrow.DESCRIPTION].decode() == "time the card took beyond them"
    everything = b"".join(contents(run).values())
    assert environment().host.encode() not in everything
    assert b"gw0" not in everything


def test_a_run_of_nothing_has_empty_tables(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, "bench")
    assert run.close().finished == 0
    for table in TABLES:
        assert len(pd.read_parquet(run.table_path(table.name))) == 0
        assert "scenario" in pd.read_parquet(run.table_path(table.name)).columns


def test_points_of_different_timebases_share_a_journal(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, "bench")
    with Journal.open(run.journal_path("main")) as journal:
        for hz in (3_571_200, 4_000_037):
            timebase = Timebase.for_clocks(hz)
            row = exchange(0, b"\0\xb0\0\0\1", b"\x90\0")
            row.duration_ticks = timebase.cycles(7, hz)
            recorder = journal.point("a", str(hz), timebase, CaptureMode.OFF)
            recorder.emit(row)
            recorder.finish(verdict())
    run.close()
    found = pd.read_parquet(run.table_path("exchanges"))["duration_ns"].tolist()
    assert found == [round(7e9 / 3_571_200), round(7e9 / 4_000_037)]


def test_the_directory_is_named_by_station_date_and_time(tmp_path: Path) -> None:
    runs = [RunDirectory.create(tmp_path, "lab-3", now=NOON) for _ in range(3)]
    base = tmp_path / "station=lab-3" / "date=2025-03-01"
    assert [run.path for run in runs] == [base / "run=120005", base / "run=120005-2", base / "run=120005-3"]
    latest = RunDirectory.latest(tmp_path, "lab-3")
    assert latest is not None
    assert latest.path == runs[-1].path
    assert RunDirectory.latest(tmp_path, "lab-4") is None


def test_run_json_tells_the_rest(tmp_path: Path) -> None:
    points = [numbered_point(k) for k in range(3)]
    run = RunDirectory.create(tmp_path, "lab-3", seed=42, command_line=("cardbench", "run"), now=NOON)
    run.plan(tuple(point.key for point in points))
    rig = RigFingerprint.of("row", "station: lab-3\n", reader="pcsc", atrs=(b"\x3b\x00",), clock_hz=3_571_200)
    run.describe((rig,))
    journal_of(run.journal_path("main"), points[:2])
    again = RunDirectory.open(run.path)
    assert again.finished() == {points[0].key, points[1].key}
    again.resume(NOON)
    closed = again.close(NOON)
    assert closed.finished == 2
    assert closed.missing == (points[2].key,)
    record = read_run_json(run.path / "run.json")
    assert record == again.record
    assert (record.seed, record.command_line, record.planned) == (
        42,
        ("cardbench", "run"),
        tuple(p.key for p in points),
    )
    assert (record.started, record.resumed) == ("2025-03-01T12:00:05.000Z", ("2025-03-01T12:00:05.000Z",))
    assert record.rigs == (rig,)
    assert isinstance(record.planned[0], PointKey)
    text = json.loads((run.path / "run.json").read_text())
    assert text["rigs"][0]["atr"] == "3B 00"
    assert text["environment"]["python"].startswith("CPython 3.")
    assert {"name": "numpy", "version": np.__version__} in text["environment"]["packages"]
    assert [path.name for path in run.path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, r"run\.json: cannot be read: No such file or directory; name the directory of a run"),
        ("", r"run\.json: the whole: Invalid JSON"),
        ("{}", r"run\.json: format: Field required"),
        ("[1]", r"run\.json: "),
    ],
)
def test_a_directory_that_is_no_run_is_named(tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "run.json").write_text(text)
    with pytest.raises(RunError, match=said):
        RunDirectory.open(tmp_path)


def test_names_that_would_leave_the_directory_are_refused(tmp_path: Path) -> None:
    for station in ("", "a/b", "..", "x=y", "büro"):
        with pytest.raises(RunError, match="station"):
            RunDirectory.create(tmp_path, station)
    run = RunDirectory.create(tmp_path, "lab")
    with pytest.raises(RunError, match="worker"):
        run.journal_path("../main")


def test_a_damaged_journal_stops_the_closing_and_leaves_no_half_files(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, "bench")
    path = journal_of(run.journal_path("main"), [numbered_point(1)])
    data = bytearray(path.read_bytes())
    data[300] ^= 1
    path.write_bytes(data)
    with pytest.raises(JournalError, match=r"main\.journal: at byte \d+: .* damage"):
        run.close()
    assert sorted(entry.name for entry in run.path.iterdir()) == ["journals", "run.json"]
    assert read_run_json(run.path / "run.json").ended is None


def test_a_journal_in_use_stops_the_closing(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, "bench")
    with (
        Journal.open(run.journal_path("main")),
        pytest.raises(JournalError, match="still being written; wait for the run to end"),
    ):
        run.close()


def test_only_failures_reach_the_capture_of_a_failures_run(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, "bench")
    with Journal.open(run.journal_path("main")) as journal:
        for word in Verdict:
            recorder = journal.point("s", word.name, TIMEBASE, CaptureMode.FAILURES)
            recorder.emit(exchange(1, b"\0\xb0\0\0\1", b"\x90\0"))
            recorder.finish(verdict(word))
    assert run.close().packets == 2 * 3
    data = run.capture_path.read_bytes()
    assert [word.name for word in Verdict if f"s::{word.name}".encode() in data] == ["FAIL", "INCONCLUSIVE", "ERROR"]
