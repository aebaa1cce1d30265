"""Who drives the engine while sockets are served: one asyncio loop in a thread of its own, in which every event and every socket's call runs.

Cards behind a real driver live under the monotonic clock, whose loop is there already. Software cards live in virtual time: their engine is slaved to
the wall (never back; idle, it follows the wall) and runs in slices, between which sockets have their turn. Unpaced, it runs ahead while something is
carried, so that a line of 9600 baud costs what its simulation costs; paced, everything takes what it takes on its line. Wall time that it cannot
keep up with is struck out.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

import asyncio
import concurrent.futures
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol, TypeVar

from bench.engine import Action, Engine, EngineStoppedError, MonotonicEngine, VirtualEngine

T = TypeVar("T")

IDLE_S: Final = 0.5
LEAST_SLEEP_S: Final = 0.001
"""A chain's idle polls come in bundles instead of one by one."""
SLICE_NS: Final = 3 * 10**6
"""How long the engine runs before sockets get their turn again."""
CATCH_UP_NS: Final = 10**9
"""How far a paced engine may fall behind the wall before that time is struck out; an unpaced one makes up nothing."""
CALL_LIMIT_S: Final = 60.0


class Drive(Protocol):
    """What the sockets need of whoever drives the engine."""

    @property
    def engine(self) -> Engine: ...

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...

    def event(self, action: Action) -> None:
        """Run ``action`` as an event of the engine, now. In the loop's thread only; an error of it is kept for ``failure``."""

    def post(self, action: Action) -> None:
        """Run ``action`` as an event soon. Any thread."""

    def call(self, function: Callable[[], T]) -> T:
        """Run ``function`` as an event and give its result. Any other thread."""

    def failure(self) -> BaseException | None:
        """The first error since this was asked last."""


class MonotonicDrive:
    """The monotonic engine, which its rig starts and stops."""

    def __init__(self, engine: MonotonicEngine) -> None:
        self._engine = engine
        engine.loop_bound = True

    @property
    def engine(self) -> Engine:
        return self._engine

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return self._engine.loop

    def event(self, action: Action) -> None:
        self._engine.enter(action)

    def post(self, action: Action) -> None:
        self._engine.post(action)

    def call(self, function: Callable[[], T]) -> T:
        return self._engine.call(function)

    def failure(self) -> BaseException | None:
        return self._engine.failure()


class SlavedDrive:
    """A virtual engine and the loop it runs in, from ``start`` to ``stop``. ``moved`` (something was carried) keeps it running ahead."""

    def __init__(self, engine: VirtualEngine, linger: int, *, paced: bool = False) -> None:
        self.struck_out_ns = 0
        """Wall time left out because the engine could not keep up."""
        self._engine = engine
        self._linger = linger
        """How long after something was carried more may come of it."""
        self._paced = paced
        self._loop = asyncio.new_event_loop()
        self._origin = time.monotonic_ns() - engine.timebase.to_ns(engine.now)
        self._last = -linger
        self._inside = False
        self._due: asyncio.Handle | None = None
        self._soon = False
        """Whether ``_due`` is in the loop's next turn."""
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._main, name="gateway", daemon=True)

    @property
    def engine(self) -> Engine:
        return self._engine

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def start(self) -> "SlavedDrive":
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop the loop and its thread. Raises EngineStoppedError where an event does not end."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout=5)
            if self._thread.is_alive():
                raise EngineStoppedError("an event did not come to an end within 5 s: the thread was left behind")
        elif not self._loop.is_closed():
            self._loop.close()

    def moved(self) -> None:
        """Something was carried over one of the lines."""
        self._last = self._engine.now

    def event(self, action: Action) -> None:
        if self._inside:
            self._guarded(action)
            return
        if not self._ahead:
            self._follow()
        self._guarded(action)
        self.moved()
        self._again(0.0)

    def post(self, action: Action) -> None:
        try:
            self._loop.call_soon_threadsafe(self.event, action)
        except RuntimeError:
            return  # the loop is closed: nobody is left to tell

    def call(self, function: Callable[[], T]) -> T:
        if threading.current_thread() is self._thread:
            return function()
        result: concurrent.futures.Future[T] = concurrent.futures.Future()

        def run() -> None:
            try:
                result.set_result(function())
            except BaseException as error:
                result.set_exception(error)

        self.post(run)
        limit = time.monotonic() + CALL_LIMIT_S
        while time.monotonic() < limit:
            concurrent.futures.wait((result,), timeout=0.25)
            if result.done():
                return result.result()
            if not self._thread.is_alive():
                raise EngineStoppedError("the engine does not run: start it first, and call nothing after its end")
        raise EngineStoppedError(f"an event did not come to an end within {CALL_LIMIT_S:.0f} s")

    def failure(self) -> BaseException | None:
        failure, self._failure = self._failure, None
        return failure

    def _main(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.call_soon(self._turn)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    def _turn(self) -> None:
        self._due = None
        if self._ahead:
            self._run_ahead()
            self._again(0.0)
        else:
            self._again(0.0 if self._follow() else self._sleep())

    @property
    def _ahead(self) -> bool:
        """Whether the engine is to run ahead of the wall now."""
        return not self._paced and self._engine.now - self._last < self._linger

    @property
    def _wall(self) -> int:
        """The wall, in the engine's ticks."""
        return self._engine.timebase.nanoseconds(time.monotonic_ns() - self._origin)

    def _follow(self) -> bool:
        """Run what is due by the wall, for a slice at most; tells whether something is left."""
        engine, end, wall = self._engine, time.monotonic_ns() + SLICE_NS, self._wall
        while (due := engine.next_time()) is not None and due <= wall:
            self._guarded(lambda due=due: engine.run(due))  # type: ignore[misc]
            if time.monotonic_ns() > end:
                self._strike_out(CATCH_UP_NS if self._paced else 0)
                return True
        if wall > engine.now:
            engine.run(wall)
        return False

    def _run_ahead(self) -> None:
        """Run for a slice, as long as something is carried. The wall counts from there."""
        engine, linger, clock = self._engine, self._linger, time.monotonic_ns
        end = clock() + SLICE_NS

        def over() -> bool:
            return clock() > end or engine.now - self._last >= linger

        while not over():
            self._guarded(lambda: engine.wait(over, linger))
        self._strike_out(0)
        gained = engine.now - self._wall
        if gained > 0:
            self._origin -= engine.timebase.to_ns(gained)

    def _strike_out(self, kept_ns: int) -> None:
        """Leave out what the engine is behind the wall beyond ``kept_ns``."""
        late = self._engine.timebase.to_ns(max(0, self._wall - self._engine.now)) - kept_ns
        if late > 0:
            self._origin += late
            self.struck_out_ns += late

    def _sleep(self) -> float:
        due = self._engine.next_time()
        if due is None:
            return IDLE_S
        return min(IDLE_S, max(LEAST_SLEEP_S, (due - self._wall) / self._engine.timebase.hz))

    def _again(self, delay: float) -> None:
        if self._due is not None:
            if self._soon:
                return
            self._due.cancel()
        self._soon = not delay
        self._due = self._loop.call_later(delay, self._turn) if delay else self._loop.call_soon(self._turn)

    def _guarded(self, action: Action) -> None:
        outer, self._inside = self._inside, True
        try:
            action()
        except BaseException as error:
            if self._failure is None:
                self._failure = error
        finally:
            self._inside = outer
