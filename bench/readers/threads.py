"""One thread for a reader whose driver blocks. Calls go in as jobs, one after the other; each result is handed in to the monotonic engine as an
event, which runs in this thread where the engine allows it: what that event submits is then taken up without a change of threads.

A call that overruns its time is abandoned: its thread is left to itself, the reader is of no use any more, and everyone who waits for it is told the
cause. A process with abandoned threads should end with ``os._exit`` (``abandoned`` tells): the driver may hold whatever it likes for ever.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Generic, TypeVar

from bench.engine import MonotonicEngine, Timer

T = TypeVar("T")

_abandoned: dict[int, str] = {}


def abandoned() -> tuple[str, ...]:
    """The causes of all threads that were abandoned in this process and have not come back since."""
    return tuple(_abandoned.values())


def abandon(thread: object, cause: str) -> None:
    """Count a thread among the abandoned, until it has ``returned``."""
    _abandoned[id(thread)] = cause


def returned(thread: object) -> None:
    """A thread came back; it need not have been abandoned."""
    _abandoned.pop(id(thread), None)


class DriverHungError(Exception):
    """A driver call did not return in time, now or earlier: the reader is not to be used. The text says which call."""


class _Job(Generic[T]):
    __slots__ = ("_what", "begun_ns", "done", "ended", "error", "failed", "limit_ns", "result", "work")

    def __init__(
        self,
        what: str | Callable[[], str],
        work: Callable[[], T],
        done: Callable[[T], None],
        failed: Callable[[Exception], None],
        limit_ns: int,
    ) -> None:
        self._what = what
        self.work = work
        self.done = done
        self.failed = failed
        self.limit_ns = limit_ns
        self.begun_ns = 0
        self.ended = False
        self.result: T | None = None
        self.error: Exception | None = None

    @property
    def what(self) -> str:
        """The call, for people: put into words only where somebody reads them."""
        return self._what if isinstance(self._what, str) else self._what()

    def run(self) -> None:
        """Do the work, in the driver's thread."""
        self.begun_ns = time.monotonic_ns()
        try:
            self.result = self.work()
        except Exception as error:
            self.error = error
        self.ended = True

    def tell(self) -> None:
        """Tell what came of it, in an event."""
        if self.error is not None:
            self.failed(self.error)
        else:
            self.done(self.result)  # type: ignore[arg-type]


class DriverThread:
    """Runs a driver's blocking calls in their order. Use ``submit`` inside events, ``close`` outside."""

    def __init__(self, engine: MonotonicEngine, name: str, on_hung: Callable[[str], None]) -> None:
        self.engine = engine
        self.name = name
        self.on_hung = on_hung
        """Told, in an event, once: the cause for which the thread was abandoned."""
        self.hung = ""
        """Empty, or that cause."""
        self._jobs: SimpleQueue[_Job[object] | None] = SimpleQueue()
        self._waiting: deque[_Job[object]] = deque()
        self._watch: Timer | None = None
        self._thread = threading.Thread(target=self._main, name=f"reader {name}", daemon=True)
        self._closed = False

    def submit(
        self,
        what: str | Callable[[], str],
        work: Callable[[], T],
        done: Callable[[T], None],
        failed: Callable[[Exception], None],
        limit_ns: int,
    ) -> None:
        """Have ``work`` done in the thread; ``done`` or ``failed`` comes as an event, within ``limit_ns`` of its turn."""
        if self.hung or self._closed:
            reason = self.hung or f"{self.name} has been closed"
            self.engine.after(0, lambda: failed(DriverHungError(reason)))
            return
        job: _Job[object] = _Job(what, work, done, failed, limit_ns)  # type: ignore[arg-type]
        self._waiting.append(job)
        if self._watch is None:
            self._watch = self.engine.after(self.engine.timebase.nanoseconds(limit_ns), self._look)
        self._jobs.put(job)
        if self._thread.ident is None:
            self._thread.start()

    def close(self, limit_s: float) -> bool:
        """Do what was submitted, then end the thread. False where it hangs: it is then abandoned."""
        self._closed = True
        if self._thread.ident is None:
            return True
        self._jobs.put(None)
        self._thread.join(limit_s)
        if self._thread.is_alive() and not self.hung:
            what = self._waiting[0].what if self._waiting else "a driver call"
            self._leave(f"{what} has not returned for {limit_s:.0f} s")
        return not self._thread.is_alive()

    def _main(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.run()
            if self.hung:
                break
            self.engine.hand_in(self._returned)
        returned(self)

    def _returned(self) -> None:
        """The first of those that wait has returned."""
        if not self.hung:
            self._waiting.popleft().tell()

    def _look(self) -> None:
        """The watch on the call under way: one timer, set again while there is something to watch."""
        self._watch = None
        if not self._waiting or self.hung:
            return
        job = self._waiting[0]
        now = time.monotonic_ns()
        used = now - (job.begun_ns or now)
        if used < job.limit_ns or job.ended:
            rest = max(job.limit_ns - used, job.limit_ns // 10)
            self._watch = self.engine.after(self.engine.timebase.nanoseconds(rest), self._look)
            return
        cause = f"{job.what} has not returned for {job.limit_ns / 1e9:.0f} s"
        self._leave(cause)
        waiting, self._waiting = self._waiting, deque()
        for each in waiting:
            each.failed(DriverHungError(cause))
        self.on_hung(cause)

    def _leave(self, cause: str) -> None:
        self.hung = cause
        abandon(self, f"{self.name}: {cause}")
        self._jobs.put(None)
