"""Observations for the tests of the records: fixed ones, and any."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import get_type_hints

from hypothesis import strategies as st

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
from bench.records.columns import TABLES, UNSIGNED_FIELDS, Table
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


def numbered_point(number: int) -> Point:
    """A point with rows in every table, and text that differs from point to point."""
    observations: list[Observation] = [
        Parameter("mtu", str(number), True),
        step(0, 1, "power_on", True),
        LinkChange(MS, 1, "terminal", True, f"hello {number}"),
        step(2, 1, "power_on", False),
        step(2, 2, "transfer", True),
    ]
    for k in range(20 + 3 * number):
        body = bytes((number, k, 7, 9))
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


_INT64 = st.integers(-(2**63), 2**63 - 1)
_TICKS = st.integers(0, (2**62) * (TIMEBASE.hz // 10**9))


def _values(name: str, annotation: object) -> st.SearchStrategy[object]:
    if annotation is bytes:
        return st.binary(max_size=300)
    if annotation is bool:
        return st.booleans()
    if annotation is int:
        if name in UNSIGNED_FIELDS:
            return st.integers(0, 2**64 - 1)
        return _TICKS if name.endswith("_ticks") else _INT64
    if annotation is float:
        return st.floats(allow_nan=False)
    if annotation == float | None:
        return st.none() | st.floats(allow_nan=False)
    if annotation is str:
        return st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    assert isinstance(annotation, type)
    return st.sampled_from(list(annotation))  # type: ignore[call-overload]


def any_of(table: Table) -> st.SearchStrategy[Observation]:
    """Any observation of a table, in every value its class allows."""
    hints = get_type_hints(table.observed)
    return st.builds(table.observed, **{f.name: _values(f.name, hints[f.name]) for f in fields(table.observed)})


any_observation = st.one_of([any_of(table) for table in TABLES if table.name != "verdicts"])
any_verdict = any_of(TABLES[-1])
