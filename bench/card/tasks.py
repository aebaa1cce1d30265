"""The card's threads: applications are coroutines, run in the card's own time, apart from layers 1 and 2.

The paper asks for multi-threading. A thread that computes shares the processor with others that compute (equal shares, preemptive), and holds up
nobody who only communicates.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections import deque
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

from bench.engine import Engine, Timer

T = TypeVar("T")
Program = Coroutine["Promise[Any]", None, None]


class Promise(Generic[T]):
    """A result to come. ``await`` it in a thread of the card."""

    __slots__ = ("_error", "_waiting", "done", "result")

    def __init__(self) -> None:
        self.done = False
        self.result: T | None = None
        self._error: Exception | None = None
        self._waiting: list[Callable[[], object]] = []

    def keep(self, result: T) -> None:
        """The result is here; a second one is dropped."""
        if not self.done:
            self.done = True
            self.result = result
            self._wake()

    def fail(self, error: Exception) -> None:
        """It will not come: the thread gets ``error``."""
        if not self.done:
            self.done = True
            self._error = error
            self._wake()

    def then(self, waiting: Callable[[], object]) -> None:
        """Call ``waiting`` once it is done."""
        if self.done:
            waiting()
        else:
            self._waiting.append(waiting)

    def __await__(self) -> Generator["Promise[Any]", None, T]:
        if not self.done:
            yield self
        if self._error is not None:
            raise self._error
        return self.result  # type: ignore[return-value]

    def _wake(self) -> None:
        waiters, self._waiting = self._waiting, []
        for waiting in waiters:
            waiting()


class Threads:
    """All threads of one card, and its processor."""

    def __init__(self, engine: Engine, on_crash: Callable[[str, Exception], None]) -> None:
        self.engine = engine
        self.on_crash = on_crash
        self.running = 0
        self._epoch = 0
        self._programs: dict[Program, str] = {}
        """In the order they began: a set's order would change from run to run."""
        self._jobs: list[tuple[int, Promise[None]]] = []
        self._last = 0
        self._timer: Timer | None = None
        self._ready: deque[tuple[Program, str, int]] = deque()
        self._called = False
        """An event will run those that are ready."""
        self._going = False

    def start(self, program: Program, name: str) -> None:
        """Start a thread, as an event of its own."""
        epoch = self._epoch
        self._programs[program] = name
        self.running += 1
        self.engine.after(0, lambda: self._step(program, name, epoch))

    def stop(self) -> None:
        """Power is off: every thread is gone."""
        self._epoch += 1
        self.running = 0
        programs, self._programs = self._programs, {}
        for program, name in programs.items():
            try:
                program.close()
            except RuntimeError as error:  # it waits for something while it is being closed
                self.on_crash(name, error)
        self._jobs.clear()
        self._ready.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def compute(self, ticks: int) -> Promise[None]:
        """Use the processor for ``ticks``; longer by the share that others take."""
        self._account()
        promise: Promise[None] = Promise()
        self._jobs.append((ticks, promise))
        self._schedule()
        return promise

    def sleep(self, ticks: int) -> Promise[None]:
        """Wait without using the processor."""
        promise: Promise[None] = Promise()
        self.engine.after(ticks, lambda: promise.keep(None))
        return promise

    def _step(self, program: Program, name: str, epoch: int) -> None:
        if epoch != self._epoch:
            return
        try:
            promise = program.send(None)
        except StopIteration:
            self._ended(program)
            return
        except Exception as error:
            self._ended(program)
            self.on_crash(name, error)
            return
        promise.then(lambda: self._can_go_on(program, name, epoch))

    def _can_go_on(self, program: Program, name: str, epoch: int) -> None:
        self._ready.append((program, name, epoch))
        if not self._called:
            self._called = True
            self.engine.after(0, self._turn)

    def _turn(self) -> None:
        self._called = False
        self.settle()

    def settle(self) -> None:
        """Run every thread that can go on until all wait. An event does that anyway, at this very time: who cannot wait for it calls."""
        if self._going:
            return
        self._going = True
        ready = self._ready
        try:
            while ready:
                self._step(*ready.popleft())
        finally:
            self._going = False

    def _ended(self, program: Program) -> None:
        self._programs.pop(program, None)
        self.running -= 1

    def _account(self) -> None:
        now = self.engine.now
        if self._jobs:
            used = (now - self._last) // len(self._jobs)
            self._jobs = [(left - used, promise) for left, promise in self._jobs]
        self._last = now

    def _schedule(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._jobs:
            shortest = max(0, min(left for left, _ in self._jobs))
            self._timer = self.engine.after(shortest * len(self._jobs), self._finished)

    def _finished(self) -> None:
        self._timer = None
        self._account()
        done = [promise for left, promise in self._jobs if left <= 0]
        self._jobs = [job for job in self._jobs if job[0] > 0]
        self._schedule()
        for promise in done:
            promise.keep(None)
