"""Striking a real path in the middle of a transfer, again and again: what is pulled or killed, what came of it, and what is left behind."""

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path

from bench.engine import Timebase
from bench.observe import Observation, PointVerdict, StepMark, Verdict
from bench.records.journal import CaptureMode, Journal
from bench.records.reading import open_journal
from bench.rig import quarantine
from bench.rig.loader import load_rig_file
from bench.rig.served_reader import close_served_reader, served_reader
from bench.scenario.loader import load_scenario
from bench.scenario.points import Selection
from bench.scenario.runner import Recorder, run_point

RIG = Path(__file__).parents[2] / "rigs" / "pcsc-vpcd.yaml"
HANG_S = 10.0
"""Nothing may take longer, from a strike to the end of its point, and to the card answering again."""
LATEST_S = 0.15
"""A strike falls at a random moment up to so long after the transfer began."""
SCENARIO = """
title: A transfer that is struck
requirements: [CH-FAIR-1]
given: {{mtu: 256}}
sweep: {{turn: ["0"]}}
full: {{turn: [{turns}]}}
real: {{turn: ["0"]}}
steps:
  - power_on: {{}}
  - assign_addresses: {{}}
  - open_channels: {{count: 2, to: echo}}
  - transfer: {{for: {seconds}, direction: echo}}
"""


class Strike(StrEnum):
    """What is done."""

    PULL = "the card is pulled"
    DAEMON = "pcscd is killed and started again"


CAUSE = {
    Strike.PULL: "absent: the card was pulled",
    Strike.DAEMON: "pcscd was killed by SIGKILL",
}


@dataclass(slots=True)
class Tally:
    """What came of many strikes."""

    strike: Strike
    count: int = 0
    worst_end_s: float = 0.0
    """Longest time from a strike to the end of its point."""
    worst_recovery_s: float = 0.0
    """Longest time from a strike to the card of the next point answering."""
    wrong: list[str] = field(default_factory=list)
    """Points whose verdict or reason was not the expected one."""
    finished: int = 0
    """Points that ended."""
    in_journal: int = 0
    """Points that the journal holds with their verdict."""
    left: str = ""
    """Descriptors, threads or processes that were left behind."""
    seconds: float = 0.0

    def assert_sound(self) -> None:
        """Everything that must hold after any number of strikes."""
        assert not self.wrong, self.wrong[:5]
        assert self.worst_end_s < HANG_S
        assert self.worst_recovery_s < HANG_S
        assert self.in_journal == self.finished
        assert not self.left


class _Struck:
    """A recorder that lets the strike loose once the transfer has begun, and notes when the card answered."""

    def __init__(self, recorder: Recorder, strike: Callable[[], None] | None, delay_s: float) -> None:
        self._recorder = recorder
        self._strike = strike
        self._timer: threading.Timer | None = None
        self._delay_s = delay_s
        self.struck_at = 0.0
        self.answered_at = 0.0

    def emit(self, observation: Observation, /) -> None:
        self._recorder.emit(observation)
        if isinstance(observation, StepMark):
            if observation.verb == "power_on" and not observation.began:
                self.answered_at = time.monotonic()
            if observation.verb == "transfer" and observation.began and self._strike is not None:
                self._timer = threading.Timer(self._delay_s, self._let_loose)
                self._timer.start()

    def finish(self, verdict: PointVerdict, /) -> None:
        self._recorder.finish(verdict)
        if self._timer is not None:
            self._timer.join()

    def _let_loose(self) -> None:
        assert self._strike is not None
        self.struck_at = time.monotonic()
        self._strike()


def _pull() -> None:
    served_reader().pull(1)


def _kill_daemon() -> None:
    pid = served_reader().daemon.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


def strike(how: Strike, count: int, seed: int, folder: Path) -> Tally:
    """Strike ``count`` transfers, each at a random moment, and run one more that is left alone."""
    file = folder / "struck.yaml"
    turns = ", ".join(f'"{turn}"' for turn in range(count))
    file.write_text(SCENARIO.format(turns=turns, seconds="60 s"))
    alone = folder / "alone.yaml"
    alone.write_text(SCENARIO.format(turns='"0"', seconds="200 ms"))
    model = load_rig_file(RIG).rigs[0]
    points = load_scenario(file).points[Selection.FULL]
    (last,) = load_scenario(alone).points[Selection.REAL]
    draw = random.Random(seed)
    tally = Tally(how)
    path = folder / "journal"
    strike_once = {Strike.PULL: _pull, Strike.DAEMON: _kill_daemon}[how]
    begun = time.monotonic()
    with _nothing_left(tally, partial(run_point, last, model, 1)), Journal.open(path) as journal:
        struck_at = 0.0
        for point in (*points, last):
            recorders: list[_Struck] = []

            def recorder(timebase: Timebase, point=point, recorders=recorders) -> Recorder:  # type: ignore[no-untyped-def]
                inner = journal.point(point.scenario, point.id, timebase, CaptureMode.FAILURES)
                recorders.append(_Struck(inner, None if point is last else strike_once, draw.uniform(0, LATEST_S)))
                return recorders[0]

            verdict = run_point(point, model, 1, recorder).verdict
            ended = time.monotonic()
            struck = recorders[0]
            tally.finished += 1
            if struck_at:
                tally.worst_recovery_s = max(tally.worst_recovery_s, (struck.answered_at or ended) - struck_at)
            if point is last:
                if verdict.verdict is not Verdict.PASS:
                    tally.wrong.append(f"left alone: {verdict.verdict}: {verdict.reason}")
                break
            struck_at = struck.struck_at
            tally.count += 1
            tally.worst_end_s = max(tally.worst_end_s, ended - struck_at)
            if verdict.verdict is not Verdict.ERROR or CAUSE[how] not in verdict.reason:
                tally.wrong.append(f"{point.id}: {verdict.verdict}: {verdict.reason}")
    with open_journal(path) as written:
        tally.in_journal = sum(run.complete for run in written.runs)
    tally.seconds = time.monotonic() - begun
    return tally


class _Nobody:
    def emit(self, observation: Observation, /) -> None:
        pass

    def finish(self, verdict: PointVerdict, /) -> None:
        pass


@contextmanager
def _nothing_left(tally: Tally, run: Callable[[Callable[[Timebase], Recorder]], object]) -> Iterator[None]:
    """Note what is left behind. Counted once a point has run, before and after: what is kept between points is there both times."""
    quarantine.clear()
    run(lambda _timebase: _Nobody())
    before = _held()
    yield
    after = _held()
    tally.left = "" if after == before else f"descriptors, threads, processes: {before} before, {after} after"
    quarantine.clear()


def _held() -> tuple[int, int, int]:
    return len(os.listdir("/proc/self/fd")), threading.active_count(), _children()


def _children() -> int:
    mine, found = os.getpid(), 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            found += int(fields[1]) == mine
    return found


__all__ = ["HANG_S", "Strike", "Tally", "close_served_reader", "strike"]
