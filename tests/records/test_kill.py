"""A run killed with SIGKILL at random moments loses no acknowledged row and no finished point."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

from bench.records.columns import TABLES
from bench.records.reading import JournalFile, PointKey, Run, open_journal
from bench.records.run import RunDirectory
from bench.records.tables import as_rows
from tests.records.samples import journal_of, numbered_point

POINTS, EXCHANGES, KILLS = 30, 300, 25
TREE = Path(__file__).resolve().parents[2]


def start(run: RunDirectory) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "tests.records.journalling_child", str(run.path), str(POINTS), str(EXCHANGES)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, cwd=TREE)


def killed_after(run: RunDirectory, lines: int, delay: float) -> list[bytes]:
    """What a worker acknowledged before it was killed, a while after so many acknowledgements."""
    child = start(run)
    assert child.stdout is not None
    seen = b""
    while seen.count(b"\n") < lines:
        piece = os.read(child.stdout.fileno(), 65536)
        assert piece, "the worker ended before it was killed: give it more points"
        seen += piece
    time.sleep(delay)
    child.send_signal(signal.SIGKILL)
    seen += child.stdout.read()
    child.stdout.close()
    assert child.wait() == -signal.SIGKILL
    return seen.split(b"\n")[:-1]


def key(number: int) -> PointKey:
    return numbered_point(number, 0).key


def places(journal: JournalFile, run: Run) -> set[int]:
    rows = journal.rows(run)
    return {int(place) for table in TABLES for place in as_rows(table, rows)["seq"]}


def test_kills_lose_nothing_acknowledged(tmp_path: Path) -> None:
    dice = random.Random(20_250_101)
    run = RunDirectory.create(tmp_path, "bench")
    run.plan(tuple(key(k) for k in range(POINTS)))
    done: set[int] = set()
    for _ in range(KILLS):
        rows: dict[int, set[int]] = defaultdict(set)
        for line in killed_after(run, dice.randint(0, 600), dice.random() * 0.0004):
            what, point, *place = line.split()
            if what == b"done":
                assert int(point) not in done, "a finished point was run again"
                done.add(int(point))
            else:
                rows[int(point)].add(int(place[0]))
        with open_journal(run.journal_path("main")) as journal:
            latest = {one.key: one for one in journal.runs}
            for number, acknowledged in rows.items():
                assert acknowledged <= places(journal, latest[key(number)])
            complete = [one.key for one in journal.runs if one.complete]
            assert len(complete) == len(set(complete))
            assert {key(number) for number in done} <= set(complete)
            # At most the one point whose acknowledgement the kill cut off.
            assert len(complete) <= len(done) + 1
            done = {number for number in range(POINTS) if key(number) in complete}
    assert 0 < len(done) < POINTS
    last = start(run)
    assert last.communicate()[0].count(b"done") == POINTS - len(done)
    assert last.returncode == 0

    closed = run.close()
    assert (closed.finished, closed.missing) == (POINTS, ())
    whole = RunDirectory.create(tmp_path, "undisturbed")
    journal_of(whole.journal_path("main"), [numbered_point(k, EXCHANGES) for k in range(POINTS)])
    whole.close()
    for name in [f"{table.name}.parquet" for table in TABLES] + ["capture.pcapng"]:
        assert (run.path / name).read_bytes() == (whole.path / name).read_bytes(), name
