"""One thread for a reader whose driver blocks. Calls go in as jobs, one after the other; each result is handed in to the monotonic engine as an
event, which runs in this thread where the engine allows it: what that event submits is then taken up without a change of threads.

A call that overruns its time is abandoned: its thread is left to itself, the reader is of no use any more, and everyone who waits for it is told the
cause. A process with abandoned threads should end with ``os._exit`` (``abandoned`` tells): the driver may hold whatever it likes for ever.
"""

import contextlib
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


class Job:
    """One driver call: what it does, and who is told of it. (A class of its own where a call is made so often that closures would cost.)"""

    __slots__ = ("begun_ns", "ended", "error", "limit_ns")

    def __init__(self, limit_ns: int) -> None:
        self.limit_ns = limit_ns
        self.begun_ns = 0
        self.ended = False
        self.error: Exception | None = None

    def what(self) -> str:
        """The call, for people."""
        raise NotImplementedError

    def work(self) -> None:
        """Make the call, in the driver's thread, and keep what came of it."""
        raise NotImplementedError

    def told(self) -> None:
        """It returned: an event."""
        raise NotImplementedError

    def failed(self, error: Exception) -> None:
        """It raised, or was given up: an event."""
        raise NotImplementedError


class _Call(Job, Generic[T]):
    __slots__ = ("_done", "_failed", "_result", "_what", "_work")

    def __init__(
        self,
        what: str,
        work: Callable[[], T],
        done: Callable[[T], None],
        failed: Callable[[Exception], None],
        limit_ns: int,
    ) -> None:
        super().__init__(limit_ns)
        self._what = what
        self._work = work
        self._done = done
        self._failed = failed

    def what(self) -> str:
        return self._what

    def work(self) -> None:
        self._result = self._work()

    def told(self) -> None:
        self._done(self._result)

    def failed(self, error: Exception) -> None:
        self._failed(error)


class DriverThread:
    """Runs a driver's blocking calls in their order. Use ``submit`` inside events, ``close`` outside."""

    def __init__(self, engine: MonotonicEngine, name: str, on_hung: Callable[[str], None]) -> None:
        self.engine = engine
        self.name = name
        self.on_hung = on_hung
        """Told, in an event, once: the cause for which the thread was abandoned."""
        self.on_back: Callable[[], None] = _nothing
        """Called in the thread, once, where it comes back after it was abandoned: to let go of what it holds."""
        self.hung = ""
        """Empty, or that cause."""
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._waiting: deque[Job] = deque()
        self._watch: Timer | None = None
        self._thread = threading.Thread(target=self._main, name=f"reader {name}", daemon=True)
        self._started = False
        self._closed = False

    def submit(
        self,
        what: str,
        work: Callable[[], T],
        done: Callable[[T], None],
        failed: Callable[[Exception], None],
        limit_ns: int,
    ) -> None:
        """Have ``work`` done in the thread; ``done`` or ``failed`` comes as an event, within ``limit_ns`` of its turn."""
        self.put(_Call(what, work, done, failed, limit_ns))

    def put(self, job: Job) -> None:
        """As ``submit``, for a job that is made already."""
        if self.hung or self._closed:
            reason = self.hung or f"{self.name} has been closed"
            self.engine.after(0, lambda: job.failed(DriverHungError(reason)))
            return
        self._waiting.append(job)
        if self._watch is None:
            self._watch = self.engine.after(self.engine.timebase.nanoseconds(job.limit_ns), self._look)
        self._jobs.put(job)
        if not self._started:
            self._started = True
            self._thread.start()

    def close(self, limit_s: float) -> bool:
        """Do what was submitted, then end the thread. False where it hangs: it is then abandoned."""
        self._closed = True
        if self._thread.ident is None:
            return True
        self._jobs.put(None)
        self._thread.join(limit_s)
        if self._thread.is_alive() and not self.hung:
            what = self._waiting[0].what() if self._waiting else "a driver call"
            self._leave(f"{what} has not returned for {limit_s:.0f} s")
        return not self._thread.is_alive()

    def _main(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.begun_ns = time.monotonic_ns()
            try:
                job.work()
            except Exception as error:
                job.error = error
            job.ended = True
            if self.hung:
                with contextlib.suppress(Exception):  # nobody is left to tell
                    self.on_back()
                break
            self.engine.hand_in(self._returned)
        returned(self)

    def _returned(self) -> None:
        """The first of those that wait has returned."""
        if self.hung:
            return
        job = self._waiting.popleft()
        if job.error is None:
            job.told()
        else:
            job.failed(job.error)

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
        cause = f"{job.what()} has not returned for {job.limit_ns / 1e9:.0f} s"
        self._leave(cause)
        waiting, self._waiting = self._waiting, deque()
        for each in waiting:
            each.failed(DriverHungError(cause))
        self.on_hung(cause)

    def _leave(self, cause: str) -> None:
        self.hung = cause
        abandon(self, f"{self.name}: {cause}")
        self._jobs.put(None)


def _nothing() -> None:
    pass
