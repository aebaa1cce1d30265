"""Structured logs: one JSON object a line. Writing never waits: what the reader of the log does not take is dropped and counted."""

import json
import os
import select
import time
from collections.abc import Callable
from typing import Final, TypeAlias

from bench.host.buckets import TokenBucket

Value: TypeAlias = str | int | float | bool | None
LEVELS: Final = ("debug", "info", "warning", "error")
EVENTS_PER_SECOND: Final = 50
"""Lines of one event in the long run; so many seconds' worth at once."""
BURST_S: Final = 10
LONGEST: Final = 4096
"""Bytes that a pipe which is writable takes at once (PIPE_BUF)."""
LONGEST_VALUE: Final = 256
"""Characters of a text in a line: names come from cards."""


class Log:
    """Writes to a descriptor (standard error), or into the void where it is None."""

    def __init__(self, file: int | None, level: str = "info", clock: Callable[[], int] = time.monotonic_ns) -> None:
        self.file = file
        self.level = level
        self.dropped = 0
        """Lines nobody took, or of an event that came too often."""
        self._clock = clock
        self._least = LEVELS.index(level)
        self._buckets: dict[str, TokenBucket] = {}
        self._suppressed: dict[str, int] = {}
        self._poll = select.poll()
        if file is not None:
            self._poll.register(file, select.POLLOUT)

    def debug(self, event: str, **fields: Value) -> None:
        self._write("debug", event, fields)

    def info(self, event: str, **fields: Value) -> None:
        self._write("info", event, fields)

    def warning(self, event: str, **fields: Value) -> None:
        self._write("warning", event, fields)

    def error(self, event: str, **fields: Value) -> None:
        self._write("error", event, fields)

    def _write(self, level: str, event: str, fields: dict[str, Value]) -> None:
        if self.file is None or LEVELS.index(level) < self._least:
            return
        now = self._clock()
        bucket = self._buckets.get(event)
        if bucket is None:
            bucket = self._buckets[event] = TokenBucket(EVENTS_PER_SECOND, EVENTS_PER_SECOND * BURST_S, now)
        if not bucket.take(1, now):
            self._suppressed[event] = self._suppressed.get(event, 0) + 1
            self.dropped += 1
            return
        if missed := self._suppressed.pop(event, 0):
            fields = {**fields, "suppressed": missed}
        shown = {name: value[:LONGEST_VALUE] if isinstance(value, str) else value for name, value in fields.items()}
        entry = {"time": _wall(), "level": level, "event": event, **shown}
        line = json.dumps(entry, separators=(",", ":")).encode() + b"\n"
        if len(line) > LONGEST or not self._poll.poll(0):
            self.dropped += 1
            return
        try:
            os.write(self.file, line)
        except OSError:
            self.dropped += 1


def _wall() -> str:
    now = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"
