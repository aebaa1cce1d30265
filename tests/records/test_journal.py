"""The journal: whatever is emitted comes back; torn tails are cut; damage and foreign files are named."""

import errno
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.engine import Timebase
from bench.observe import Exchange, Observation, Parameter, PointVerdict, Verdict
from bench.records import frames
from bench.records.columns import TABLES, VERDICTS, ColumnKind, Table
from bench.records.errors import JournalError, ObservationError
from bench.records.journal import RING, CaptureMode, Journal, PointRecorder
from bench.records.reading import JournalFile, PointKey, RowId, choose, finished_points, open_journal, present
from bench.records.tables import as_rows
from tests.records.samples import (
    MS,
    TIMEBASE,
    exchange,
    journal_of,
    numbered_point,
    verdict,
)
from tests.records.strategies import any_observation, any_verdict

KEY = PointKey("subject/file", "single")


def values_of(table: Table, observation: Observation, timebase: Timebase) -> list[object]:
    """The observation's columns, worked out from the class and the timebase alone."""
    found: list[object] = []
    for column in table.columns:
        value = getattr(observation, column.field)
        found.append(timebase.to_ns(value) if column.kind is ColumnKind.NANOSECONDS else value)
    return found


def read_back(journal: JournalFile, table: Table) -> list[list[object]]:
    rows = journal.rows(journal.runs[0])
    found = []
    for row in as_rows(table, rows):
        values: list[object] = [int(row["seq"])]
        for column in table.columns:
            value = row[column.name].item()
            if column.kind is ColumnKind.TEXT:
                value = journal.strings[value]
            elif column.kind is ColumnKind.OPTIONAL_FLOAT and not row[present(column.name)]:
                value = None
            values.append(value)
        found.append(values)
    return found


@given(st.lists(any_observation, max_size=12), any_verdict, st.sampled_from(CaptureMode))
def test_what_is_emitted_comes_back(
    tmp_path_factory: pytest.TempPathFactory,
    observations: Sequence[Observation],
    last: PointVerdict,
    capture: CaptureMode,
) -> None:
    path = tmp_path_factory.mktemp("journal") / "w.journal"
    with Journal.open(path) as journal:
        recorder = journal.point(*KEY, TIMEBASE, capture)
        for observation in observations:
            recorder.emit(observation)
        recorder.finish(last)
    everything = [*observations, last]
    kept = capture is CaptureMode.FULL or (
        capture is CaptureMode.FAILURES and last.verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.ERROR)
    )
    with open_journal(path) as back:
        (run,) = back.runs
        assert run.key == KEY
        assert run.duration_ns == TIMEBASE.to_ns(last.duration_ticks)
        for table in TABLES:
            expected = [
                [place, *values_of(table, observation, TIMEBASE)]
                for place, observation in enumerate(everything)
                if type(observation) is table.observed
            ]
            assert read_back(back, table) == expected
        payloads = {
            RowId(table.name, place): tuple(getattr(observation, name) for name in table.payload)
            for place, observation in enumerate(everything)
            for table in TABLES
            if type(observation) is table.observed and table.payload and kept
        }
        assert back.rows(run).payloads == payloads


@given(st.integers(0, 2**90), st.sampled_from([10**9, 3 * 10**9, TIMEBASE.hz, 7 * 10**9]))
def test_ticks_are_rounded_as_the_timebase_rounds(
    tmp_path_factory: pytest.TempPathFactory, ticks: int, hz: int
) -> None:
    timebase = Timebase(hz)
    path = tmp_path_factory.mktemp("journal") / "w.journal"
    row = exchange(0, b"\0\xb0\0\0\1", b"\x90\0")
    row.start_ticks = ticks
    with Journal.open(path) as journal:
        recorder = journal.point(*KEY, timebase, CaptureMode.OFF)
        if timebase.to_ns(ticks) >= 2**63:
            with pytest.raises(ObservationError, match=r"Exchange cannot be written"):
                recorder.emit(row)
            return
        recorder.emit(row)
    with open_journal(path) as back:
        assert as_rows(TABLES[0], back.rows(back.runs[0]))["start_ns"].tolist() == [timebase.to_ns(ticks)]


def test_the_ring_keeps_the_last_payloads_of_a_failure(tmp_path: Path) -> None:
    count = RING + 40
    with Journal.open(tmp_path / "w.journal") as journal:
        recorder = journal.point(*KEY, TIMEBASE, CaptureMode.FAILURES)
        for k in range(count):
            recorder.emit(exchange(4 * k, k.to_bytes(5, "big"), b"\x90\0"))
        recorder.finish(verdict(Verdict.FAIL))
    with open_journal(tmp_path / "w.journal") as back:
        rows = back.rows(back.runs[0])
        assert len(as_rows(TABLES[0], rows)) == count
        assert rows.payloads == {
            RowId("exchanges", k): (k.to_bytes(5, "big"), b"\x90\0") for k in range(count - RING, count)
        }


def test_emitting_the_verdict_finishes_and_what_comes_later_is_dropped(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "w.journal") as journal:
        recorder = journal.point(*KEY, TIMEBASE, CaptureMode.FULL)
        recorder.emit(verdict())
        recorder.emit(exchange(1, b"\0\xb0\0\0\1", b"\x90\0"))
        recorder.finish(verdict(Verdict.FAIL))
    with open_journal(tmp_path / "w.journal") as back:
        rows = back.rows(back.runs[0])
        assert len(as_rows(VERDICTS, rows)) == 1
        assert len(as_rows(TABLES[0], rows)) == 0


def test_points_may_be_interleaved(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "w.journal") as journal:
        recorders = [journal.point("s", str(k), TIMEBASE, CaptureMode.FULL) for k in range(3)]
        for k in range(30):
            recorders[k % 3].emit(exchange(k, bytes((0, k, 0, 0)), b"\x90\0"))
        for recorder in reversed(recorders):
            recorder.finish(verdict())
    with open_journal(tmp_path / "w.journal") as back:
        for number, run in enumerate(back.runs):
            rows = back.rows(run)
            assert as_rows(TABLES[0], rows)["ins"].tolist() == list(range(number, 30, 3))
            assert [command[1] for command, _ in rows.payloads.values()] == list(range(number, 30, 3))


def test_threads_may_share_a_point(tmp_path: Path) -> None:
    """Under the monotonic clock, exchanges come from the engine's thread and steps from the scenario's."""
    count, names = 400, range(4)

    def emit(recorder: PointRecorder, name: int) -> None:
        for k in range(count):
            recorder.emit(Parameter(f"{name}", f"{k}", False))

    with Journal.open(tmp_path / "w.journal") as journal:
        recorder = journal.point(*KEY, TIMEBASE, CaptureMode.FULL)
        threads = [threading.Thread(target=emit, args=(recorder, name)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        recorder.finish(verdict())
    with open_journal(tmp_path / "w.journal") as back:
        assert len(set(back.strings)) == len(back.strings)
        table = next(table for table in TABLES if table.observed is Parameter)
        rows = read_back(back, table)
        assert [row[0] for row in rows] == list(range(count * len(names)))
        for name in names:
            assert [row[2] for row in rows if row[1] == f"{name}"] == [f"{k}" for k in range(count)]


def test_text_that_utf_8_cannot_hold_is_escaped(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "w.journal") as journal:
        recorder = journal.point(*KEY, TIMEBASE, CaptureMode.FULL)
        for value in ("\udcff", "\\udcff", "é", "\0", ""):
            recorder.emit(Parameter("value", value, False))
        recorder.finish(verdict())
    journal_of(tmp_path / "w.journal", [numbered_point(1)])
    with open_journal(tmp_path / "w.journal") as back:
        table = next(table for table in TABLES if table.observed is Parameter)
        assert [row[2] for row in read_back(back, table)] == ["\\udcff", "\\udcff", "é", "\0", ""]
        expected = [place for place, one in enumerate(numbered_point(1).observations) if type(one) is Exchange]
        assert as_rows(TABLES[0], back.rows(back.runs[1]))["seq"].tolist() == expected
        assert back.runs[1].key == numbered_point(1).key


def test_a_torn_tail_is_cut_wherever_it_is_torn(tmp_path: Path) -> None:
    path = journal_of(tmp_path / "whole.journal", [numbered_point(k) for k in range(3)])
    whole = path.read_bytes()
    extents = list(frames.walk(path, memoryview(whole)))
    assert extents[-1].end == len(whole)
    torn = tmp_path / "torn.journal"
    another = numbered_point(7)
    for length in range(extents[-6].offset, len(whole)):
        torn.write_bytes(whole[:length])
        with Journal.open(torn) as journal:
            expected = max(extent.end for extent in extents if extent.end <= length)
            assert torn.stat().st_size == expected
            another.run(journal)
        with open_journal(torn) as back:
            assert {run.key for run in back.runs if run.complete} == {
                numbered_point(0).key,
                numbered_point(1).key,
                another.key,
            }
            assert len(as_rows(TABLES[0], back.rows(back.runs[-1]))) == 20 + 3 * 7


def test_a_torn_head_is_written_again(tmp_path: Path) -> None:
    for length in range(frames.HEAD_SIZE):
        path = tmp_path / f"{length}.journal"
        path.write_bytes(frames.file_head()[:length])
        with open_journal(path) as back:
            assert back.runs == []
        journal_of(path, [numbered_point(1)])
        with open_journal(path) as back:
            assert [run.complete for run in back.runs] == [True]


def test_blocks_that_a_power_failure_left_empty_are_cut(tmp_path: Path) -> None:
    path = journal_of(tmp_path / "w.journal", [numbered_point(1)])
    size = path.stat().st_size
    with path.open("ab") as file:
        file.write(bytes(5000))
    with Journal.open(path):
        assert path.stat().st_size == size


def test_any_changed_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "w.journal"
    with Journal.open(path) as journal:
        recorder = journal.point(*KEY, TIMEBASE, CaptureMode.FULL)
        recorder.emit(exchange(1, b"\0\xb0\0\0\1", b"\x90\0"))
        recorder.finish(verdict())
    whole = path.read_bytes()
    last = list(frames.walk(path, memoryview(whole)))[-1]
    for place in range(len(whole)):
        for flip in (0x01, 0x80):
            damaged = bytearray(whole)
            damaged[place] ^= flip
            path.write_bytes(damaged)
            if place >= last.offset:  # as if torn: nothing whole comes after it
                with open_journal(path) as back:
                    assert not back.runs[0].complete
            else:
                with pytest.raises(JournalError) as caught, open_journal(path):
                    pass
                assert caught.value.path == path
                assert caught.value.offset <= place


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PK\x03\x04 some zip file, or whatever", r"at byte 0: not a journal of cardbench .*50 4b 03 04.*; move"),
        (b"{", r"at byte 0: not a journal of cardbench"),
        (frames.MAGIC + b"\x63\0" + bytes(12), r"at byte 8: a journal of format 99, this cardbench reads format 1; "),
        (frames.file_head()[:-1] + b"\0", r"at byte 10: the journal's head is damaged; .*--resume"),
        (frames.file_head() + frames.frame(9, b"?"), r"at byte 22: a frame of unknown kind 9; "),
        (frames.file_head() + frames.frame(16, b"?"), r"at byte 22: a frame of kind 16 and only 1 bytes; "),
        (frames.file_head() + frames.frame(frames.POINT, bytes(20)), r"at byte 22: a point's first frame names"),
    ],
)
def test_a_foreign_file_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "odd.journal"
    path.write_bytes(content)
    with pytest.raises(JournalError, match=r"odd\.journal: " + said), open_journal(path):
        pass
    assert path.read_bytes() == content


@given(st.binary(max_size=400), st.booleans())
def test_garbage_ends_in_a_named_error_or_is_cut(
    tmp_path_factory: pytest.TempPathFactory, garbage: bytes, headed: bool
) -> None:
    path = tmp_path_factory.mktemp("journal") / "w.journal"
    path.write_bytes((frames.file_head() if headed else b"") + garbage)
    try:
        journal = Journal.open(path)
    except JournalError as error:
        message = str(error)
    else:
        journal.close()
        assert path.read_bytes() == frames.file_head()
        return
    assert message.startswith(f"{path}: at byte ")


def test_another_schema_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = journal_of(tmp_path / "w.journal", [numbered_point(1)])
    monkeypatch.setattr(frames, "schema_digest", lambda: bytes(8))
    with pytest.raises(JournalError, match="other columns than this cardbench's; close the run with the cardbench"):
        Journal.open(path)


def test_a_journal_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match=r"w\.journal: at byte 0: cannot be opened: No such file or directory; see"):
        Journal.open(tmp_path / "nowhere" / "w.journal")
    with pytest.raises(JournalError, match="cannot be read"), open_journal(tmp_path / "w.journal"):
        pass


def test_one_writer_only(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "w.journal"):
        with pytest.raises(JournalError, match="another process is writing it"):
            Journal.open(tmp_path / "w.journal")
        with pytest.raises(JournalError, match="still being written"), open_journal(tmp_path / "w.journal"):
            pass
    Journal.open(tmp_path / "w.journal").close()


def test_a_full_disk_leaves_whole_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "w.journal"
    real = os.write
    with Journal.open(path) as journal:
        recorder = journal.point(*KEY, TIMEBASE, CaptureMode.FULL)
        recorder.emit(exchange(1, b"\0\xb0\0\0\1", b"\x90\0"))
        size = path.stat().st_size

        def partly(descriptor: int, data: bytes) -> int:
            return real(descriptor, data[:40])

        def full(_descriptor: int, _data: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        for failing in (partly, full):
            monkeypatch.setattr(os, "write", failing)
            with pytest.raises(JournalError, match=f"at byte {size}: a frame could not be written: .*--resume"):
                recorder.emit(exchange(2, b"\0\xb0\0\0\1", b"\x90\0"))
            assert path.stat().st_size == size
            monkeypatch.setattr(os, "write", real)
        recorder.finish(verdict())
    with open_journal(path) as back:
        assert back.runs[0].complete
    with pytest.raises(JournalError, match="after the journal was closed"):
        journal.point(*KEY, TIMEBASE, CaptureMode.FULL)


def test_a_value_that_does_not_fit_is_named(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "w.journal") as journal:
        recorder = journal.point(*KEY, TIMEBASE, CaptureMode.OFF)
        row = exchange(1, b"\0\xb0\0\0\1", b"\x90\0")
        row.hop = 2**63
        with pytest.raises(ObservationError, match=r"Exchange\.hop is 9223372036854775808: the column exchanges\.hop"):
            recorder.emit(row)
        row.hop, row.level = 1, 7  # type: ignore[assignment]
        with pytest.raises(ObservationError, match=r"Exchange\.level is 7: the column exchanges\.level takes text"):
            recorder.emit(row)
        with pytest.raises(ObservationError, match="str is no observation; known are Exchange, Packet"):
            recorder.emit("hello")  # type: ignore[arg-type]


def test_the_later_complete_run_wins(tmp_path: Path) -> None:
    early, late = numbered_point(1), numbered_point(1)
    with Journal.open(tmp_path / "a.journal") as journal:
        early.run(journal)
        late.run(journal)
        late.run(journal, stop_after=5)
    with open_journal(tmp_path / "a.journal") as back:
        assert [run.complete for run in back.runs] == [True, True, False]
        assert [one.run.number for one in choose([back])] == [1]
    (tmp_path / "journals").mkdir()
    (tmp_path / "a.journal").rename(tmp_path / "journals" / "a.journal")
    assert finished_points(tmp_path) == {("subject/file-1", "mtu-1")}


@pytest.mark.parametrize("capture", CaptureMode)
def test_what_a_row_costs(tmp_path: Path, capture: CaptureMode, capsys: pytest.CaptureFixture[str]) -> None:
    """Prints, and judges only that everything arrived: two shared cores make times a coin toss."""
    count, rounds = 2000, 5
    rows: list[Exchange] = [exchange(4 * k, bytes(260), b"\x90\0") for k in range(count)]
    best = float("inf")
    with Journal.open(tmp_path / "w.journal") as journal:
        recorder = journal.point(*KEY, TIMEBASE, capture)
        for _ in range(rounds):
            began = time.process_time()
            for row in rows:
                recorder.emit(row)
            best = min(best, time.process_time() - began)
        recorder.finish(verdict(duration_ms=4 * count))
    began = time.process_time()
    with open_journal(tmp_path / "w.journal") as back:
        found = as_rows(TABLES[0], back.rows(back.runs[0]))
    read = time.process_time() - began
    with capsys.disabled():
        print(f"\n{capture}: {best / count * 1e6:.2f} µs CPU to emit, {read / count / rounds * 1e6:.2f} to read back")
    assert len(found) == count * rounds
    assert set(found["duration_ns"].tolist()) == {TIMEBASE.to_ns(3 * MS)}
