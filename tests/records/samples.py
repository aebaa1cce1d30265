"""Observations for the tests of the records."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.engine import Timebase
from bench.observe import (
    Direction,
    Exchange,
    LinkChange,
    Measurement,
    Observation,
    Packet,
    Parameter,
    PointVerdict,
    StepMark,
    Verdict,
)
from bench.records.journal import CaptureMode, Journal
from bench.records.reading import PointKey

TIMEBASE = Timebase.for_clocks(3_571_200, 4_000_000, 5_000_000)
MS = TIMEBASE.nanoseconds(1_000_000)


def exchange(start_ms: int, command: bytes, response: bytes, *, hop: int = 1, level: str = "tpdu") -> Exchange:
    sw = int.from_bytes(response[-2:], "big") if len(response) > 1 else 0
    ins = command[1] if len(command) > 1 else 0
    counts = (ins, len(command), len(response), sw, 0x96, 3_571_200, len(command) + len(response) + 1, 0)
    return Exchange(hop, level, start_ms * MS, 3 * MS, command, response, *counts, 2 * MS, MS)


def packet(time_ms: int, kind: str, data: bytes, direction: Direction = Direction.OUT, hop: int = 1) -> Packet:
    return Packet(time_ms * MS, 0, hop, direction, kind, 0, 1, 0, len(data), data)


def verdict(word: Verdict = Verdict.PASS, duration_ms: int = 1000) -> PointVerdict:
    return PointVerdict("a title", "REQ-1 REQ-2", word, "", 0, 2**64 - 1, duration_ms * MS, 12)


def step(time_ms: int, index: int, verb: str, began: bool) -> StepMark:
    return StepMark(time_ms * MS, index, verb, began)


@dataclass(frozen=True, slots=True)
class Point:
    """A point to be journalled: deterministic in its number alone, as points of the bench are."""

    key: PointKey
    observations: tuple[Observation, ...]
    verdict: PointVerdict

    def run(self, journal: Journal, capture: CaptureMode = CaptureMode.FULL, stop_after: int | None = None) -> None:
        """Journal the point; with ``stop_after``, only its first rows, as of a worker that was killed."""
        recorder = journal.point(*self.key, TIMEBASE, capture)
        for observation in self.observations[:stop_after]:
            recorder.emit(observation)
        if stop_after is None:
            recorder.finish(self.verdict)


def numbered_point(number: int, exchanges: int | None = None) -> Point:
    """A point with rows in every table, and text that differs from point to point."""
    count = 20 + 3 * number if exchanges is None else exchanges
    observations: list[Observation] = [
        Parameter("mtu", str(number), True),
        step(0, 1, "power_on", True),
        LinkChange(MS, 1, "terminal", True, f"hello {number}"),
        step(2, 1, "power_on", False),
        step(2, 2, "transfer", True),
    ]
    for k in range(count):
        body = bytes((number, k % 256, 7, 9))
        observations.append(exchange(3 + 4 * k, b"\x80\xc2\0\0\x04" + body, b"\x61\x04"))
        observations.append(packet(5 + 4 * k, "channel", body))
    observations.append(step(300, 2, "transfer", False))
    limits = (0.5 if number % 2 else None, None, 0.9)
    observations.append(Measurement("share", number / 7, "1", *limits, 0.01, Verdict.MARGINAL, "REQ-1", "", "close"))
    word = Verdict.FAIL if number % 3 == 0 else Verdict.PASS
    return Point(
        PointKey(f"subject/file-{number % 4}", f"mtu-{number}"), tuple(observations), verdict(word, 500 + number)
    )


def journal_of(path: Path, points: Sequence[Point], capture: CaptureMode = CaptureMode.FULL) -> Path:
    with Journal.open(path) as journal:
        for point in points:
            point.run(journal, capture)
    return path
