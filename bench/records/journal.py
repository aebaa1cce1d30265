"""The journal: the one file a worker writes while it runs. Everything else a run leaves behind is derived from its journals.

A row is acknowledged when ``emit`` returns, a point when ``finish`` does: from then on a SIGKILL at any moment loses neither. A power failure
may lose the last second. One process writes a journal, any of its threads. See ``bench.records.frames`` for the format.
"""

import fcntl
import mmap
import os
import threading
import time
from collections import deque
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from types import TracebackType

from bench.engine import NANOSECONDS, Timebase
from bench.observe import Observation, PointVerdict, Verdict
from bench.records import frames
from bench.records.codec import PAYLOAD_FIELDS, WITH, WITHOUT, explain, payload_body
from bench.records.errors import JournalError

RING = 256
"""How many payloads ``CaptureMode.FAILURES`` keeps: the last ones before the verdict."""
SYNC_SECONDS = 1.0
"""A finished point is put on the disk itself, for power failures, at most this often."""


class CaptureMode(StrEnum):
    """Which payloads (command, response, packet data) a point's journal keeps. Rows are always kept."""

    FULL = "full"
    """All of them."""
    FAILURES = "failures"
    """The last 256, and only if the verdict is fail, inconclusive or error."""
    OFF = "off"
    """None."""


CAPTURED_VERDICTS = frozenset((Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.ERROR))


class _Strings(dict[str, int]):
    """Numbers of strings. One that has none yet is defined by a frame of its own first."""

    def __init__(self, journal: "Journal", defined: list[str]) -> None:
        self._journal = journal
        self._next = len(defined)
        for number, text in enumerate(defined):
            self.setdefault(text, number)

    def __missing__(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"{text!r} is not text")
        number = self._next
        plain = str.__str__(text)  # of an enum's member, its value
        encoded = plain.encode("utf-8", errors="backslashreplace")
        self._journal.write(frames.frame(frames.STRING, frames.STRING_BODY.pack(number) + encoded))
        self._next = number + 1
        self[plain] = number
        return number


class Journal:
    """A journal open for appending. ``with Journal.open(path) as journal`` closes it."""

    def __init__(self, path: Path, descriptor: int, strings: list[str], runs: int) -> None:
        self.path = path
        self.lock = threading.Lock()
        self._descriptor = descriptor
        self._runs = runs
        self._synced = time.monotonic()
        self._strings = _Strings(self, strings)

    @classmethod
    def open(cls, path: Path) -> "Journal":
        """Open or make the journal at ``path``. A torn tail is cut first.

        Raises ``JournalError`` where the file is no journal, of another version, damaged, or being written by another process.
        """
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise JournalError(
                path, 0, f"cannot be opened: {error.strerror}", "see that its directory exists and may be written to"
            ) from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise JournalError(
                    path, 0, "another process is writing it", "wait for that run to end, or stop it"
                ) from error
            end, strings, runs = _recover(path, descriptor)
            os.ftruncate(descriptor, end)
            if end == 0:
                os.write(descriptor, frames.file_head())
            return cls(path, descriptor, strings, runs)
        except BaseException:
            os.close(descriptor)
            raise

    def point(
        self, scenario: str, point: str, timebase: Timebase, capture: CaptureMode, *, whole: bool = False
    ) -> "PointRecorder":
        """Begin a run of a point. ``scenario`` such as "baud-rate/throughput", ``point`` such as "ta1-96-mtu-256".

        ``whole``: every idle poll is wanted as an exchange of its own, none may stand for several.
        """
        with self.lock:
            number = self._runs
            names = self._strings[scenario], self._strings[point]
            self.write(frames.frame(frames.POINT, frames.POINT_BODY.pack(number, *names, time.time_ns())))
            self._runs = number + 1
        return PointRecorder(self, number, timebase, capture, whole=whole)

    @property
    def strings(self) -> Mapping[str, int]:
        """The numbers of this journal's strings; looking up a new one defines it."""
        return self._strings

    def write(self, frame: bytes) -> None:
        """Append one frame. Hold ``lock``. Raises ``JournalError`` where the disk does not take it; the journal then ends with the frame before."""
        try:
            written = os.write(self._descriptor, frame)
        except OSError as error:
            raise self._refused(error.strerror or str(error)) from error
        if written != len(frame):
            # A disk that is full takes a part: take it back, so that the next frame does not follow a torn one.
            os.ftruncate(self._descriptor, os.fstat(self._descriptor).st_size - written)
            raise self._refused("the disk is full")

    def sync(self, at_once: bool = False) -> None:
        """Put what was written on the disk itself, where the last time is more than a second ago, or ``at_once``."""
        now = time.monotonic()
        if at_once or now - self._synced >= SYNC_SECONDS:
            os.fsync(self._descriptor)
            self._synced = now

    def close(self) -> None:
        """Sync and close. May be called again; writing afterwards raises ``JournalError``."""
        with self.lock:
            if self._descriptor >= 0:
                self.sync(at_once=True)
                os.close(self._descriptor)
                self._descriptor = -1

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _refused(self, why: str) -> JournalError:
        if self._descriptor < 0:
            return JournalError(self.path, 0, "a frame came after the journal was closed", "open it again")
        end = os.fstat(self._descriptor).st_size
        return JournalError(self.path, end, f"a frame could not be written: {why}", "mend that and use --resume")


class PointRecorder:
    """Takes one point's observations into its journal: a ``Sink``. What comes after ``finish`` is dropped."""

    def __init__(self, journal: Journal, number: int, timebase: Timebase, capture: CaptureMode, *, whole: bool) -> None:
        if timebase.hz % NANOSECONDS:
            raise ValueError(f"a timebase of {timebase.hz} Hz: a nanosecond must be a whole number of ticks")
        self._journal = journal
        self._number = number
        self._place = 0
        self._per_ns = timebase.hz // NANOSECONDS
        self._half = self._per_ns // 2
        self.whole = whole
        """Whether none of the idle polls may stand for several."""
        self._encoders = WITH if capture is CaptureMode.FULL else WITHOUT
        # Place and observation as they are: taking the payload out would cost as much as writing the row.
        self._ring: deque[tuple[int, Observation]] | None = (
            deque(maxlen=RING) if capture is CaptureMode.FAILURES else None
        )
        self._finished = False
        # Bound once: an exchange passes here every twenty microseconds.
        self._lock = journal.lock
        self._strings = journal.strings
        self._write = journal.write

    def emit(self, observation: Observation, /) -> None:
        """Write one row. Raises ``ObservationError`` where a value does not fit its column, ``JournalError`` where the disk refuses it."""
        kind = type(observation)
        if kind is PointVerdict:
            self.finish(observation)  # type: ignore[arg-type]
            return
        with self._lock:
            if self._finished:
                return
            place = self._place
            try:
                frame = self._encoders[kind](observation, self._number, place, self._per_ns, self._half, self._strings)
            except JournalError:
                raise
            except Exception as error:
                raise explain(observation, error) from error
            self._place = place + 1
            self._write(frame)
            if self._ring is not None and kind in PAYLOAD_FIELDS:
                self._ring.append((place, observation))

    def finish(self, verdict: PointVerdict) -> None:
        """Write the point's final frame: when this returns, the point is complete and is not run again."""
        with self._lock:
            if self._finished:
                return
            if self._ring and verdict.verdict in CAPTURED_VERDICTS:
                for place, observation in self._ring:
                    self._write(frames.frame(frames.BYTES, payload_body(self._number, place, observation)))
            try:
                frame = WITHOUT[PointVerdict](
                    verdict, self._number, self._place, self._per_ns, self._half, self._strings
                )
            except JournalError:
                raise
            except Exception as error:
                raise explain(verdict, error) from error
            self._write(frame)
            self._finished = True
            self._ring = None
            self._journal.sync()


def _recover(path: Path, descriptor: int) -> tuple[int, list[str], int]:
    """Where a journal's last whole frame ends (0: it has not even a head), its strings, and how many runs it holds."""
    size = os.fstat(descriptor).st_size
    if size == 0:
        return 0, [], 0
    strings: list[str] = []
    runs = 0
    with mmap.mmap(descriptor, size, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as data:
        if not frames.check_head(path, data):
            return 0, [], 0
        end = frames.HEAD_SIZE
        for extent in frames.walk(path, data):
            end = extent.end
            if extent.kind == frames.STRING:
                strings.append(frames.string_of(data, extent))
            elif extent.kind == frames.POINT:
                runs += 1
    return end, strings, runs


__all__ = ["CaptureMode", "Journal", "PointRecorder"]
