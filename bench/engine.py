"""Events and time.

One heap of events, two clocks. Under the virtual clock the engine runs in the caller's thread, exactly and as fast as the CPU allows. Under the
monotonic clock the same heap runs in one asyncio loop in a thread of its own, so that it goes on between the steps of a scenario.

Time is an integer count of ticks since the engine began. The tick is chosen so that a nanosecond, a cycle of every card clock of the point and a
tenth of an etu at every F and D of ISO/IEC 7816-3 are whole numbers: hz = lcm(10**9, 9600 * f). (9600 because 10 * D divides it for every D.)
A tick count outgrows 64 bits after an hour of three common clocks: plain ints only, never floats.

Longer than other files: both clocks of the one heap, and the timebase they count in.
"""

import asyncio
import concurrent.futures
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from math import lcm
from typing import Final, Protocol, TypeVar

T = TypeVar("T")
Action = Callable[[], object]

NANOSECONDS = 10**9

RANK = 1 << 48
FROM_CARD: Final = 0
"""Ranks of events in one tick, under the virtual clock: first what a terminal has received from its card arrives,"""
ORDINARY: Final = RANK
"""then comes everything else,"""
TO_CARD: Final = 2 * RANK
"""then what a card has received,"""
POLL: Final = 3 * RANK
"""and last the terminals that poll. So nobody's turn within a tick depends on whether idle polls were events (bench.hop.parking)."""
_PASSED: Final = 4 * RANK


@dataclass(frozen=True, slots=True)
class Timebase:
    """How long a tick is: ``hz`` ticks make a second."""

    hz: int

    @classmethod
    def for_clocks(cls, *clock_hz: int) -> "Timebase":
        """The timebase in which nanoseconds and tenths of an etu of each card clock (Hz) are whole ticks."""
        for f in clock_hz:
            if f <= 0:
                raise ValueError(f"a card clock of {f} Hz: must be a positive whole number of hertz")
        return cls(lcm(NANOSECONDS, *(9600 * f for f in clock_hz)))

    def nanoseconds(self, count: int) -> int:
        """``count`` nanoseconds in ticks, exactly."""
        return count * (self.hz // NANOSECONDS)

    def cycles(self, count: int, clock_hz: int) -> int:
        """``count`` cycles of a clock of ``clock_hz`` in ticks, exactly (the clock must be one of the timebase's)."""
        ticks, rest = divmod(self.hz, clock_hz)
        if rest:
            raise ValueError(f"{clock_hz} Hz is not a clock of this timebase ({self.hz} ticks a second)")
        return count * ticks

    def to_ns(self, ticks: int) -> int:
        """Ticks in nanoseconds, rounded half up: done once, when a record is written."""
        per_ns = self.hz // NANOSECONDS
        return (2 * ticks + per_ns) // (2 * per_ns)


class Timer:
    """An event on the heap. ``cancel`` takes it out; a cancelled or run timer may be cancelled again."""

    __slots__ = ("action", "time")

    def __init__(self, time: int, action: Action) -> None:
        self.time = time
        self.action: Action | None = action

    def cancel(self) -> None:
        self.action = None

    @property
    def pending(self) -> bool:
        return self.action is not None


class InsideEventError(RuntimeError):
    """Waiting was asked for inside an event: events never block. Use ``submit`` and go on in its ``done``."""


class Engine(Protocol):
    """What every part of the bench sees of time, whichever clock drives it."""

    timebase: Timebase

    @property
    def now(self) -> int:
        """Ticks since the engine began."""

    def at(self, time: int, action: Action, rank: int = ORDINARY) -> Timer:
        """Run ``action`` at tick ``time`` (now, if that is past). Call it inside events only, or through ``call``."""

    def after(self, delay: int, action: Action) -> Timer:
        """Run ``action`` ``delay`` ticks from now."""

    def call(self, function: Callable[[], T]) -> T:
        """Run ``function`` where events run and give its result; the way in for steps and tests."""

    def wait(self, done: Callable[[], bool], timeout: int) -> bool:
        """Let events run until ``done()`` holds, at most ``timeout`` ticks; tells whether it holds."""


class VirtualEngine:
    """The virtual clock: time jumps from event to event, in the caller's thread. Events of one tick and rank run in the order they were set."""

    def __init__(self, timebase: Timebase) -> None:
        self.timebase = timebase
        self.now = 0
        self.events = 0
        """How many events have run: what an exchange costs, as a number that does not depend on the machine."""
        self._heap: list[tuple[int, int, Timer]] = []
        self._order = 0
        self._place = _PASSED
        """The latest rank and order that have run at this tick; past them all where the clock was set here."""
        self._inside = False

    def at(self, time: int, action: Action, rank: int = ORDINARY) -> Timer:
        timer = Timer(time if time > self.now else self.now, action)
        self._order += 1
        heappush(self._heap, (timer.time, self._order + rank, timer))
        return timer

    def after(self, delay: int, action: Action) -> Timer:
        return self.at(self.now + delay, action)

    def call(self, function: Callable[[], T]) -> T:
        return function()

    def wait(self, done: Callable[[], bool], timeout: int) -> bool:
        self._run(done, self.now + timeout)
        return done()

    def run(self, until: int) -> None:
        """Run every event up to and including tick ``until``; the clock then stands at ``until``."""
        self._run(_never, until)

    def passed(self, time: int, rank: int) -> bool:
        """Whether an event of this tick and rank would have run by now."""
        return time < self.now or (time == self.now and rank + RANK <= self._place)

    def next_time(self) -> int | None:
        """When the next event is due, or None."""
        heap = self._heap
        while heap and heap[0][2].action is None:
            heappop(heap)
        return heap[0][0] if heap else None

    def _run(self, done: Callable[[], bool], until: int) -> None:
        if self._inside:
            raise InsideEventError("the engine is already running an event: waiting here would never end")
        heap = self._heap
        self._inside = True
        try:
            while not done():
                if not heap or heap[0][0] > until:
                    if until >= self.now:
                        self.now = until
                        self._place = _PASSED
                    return
                moment, place, timer = heappop(heap)
                action = timer.action
                if action is None:
                    continue
                timer.action = None
                if moment > self.now:
                    self.now = moment
                    self._place = place
                elif place > self._place:
                    self._place = place
                self.events += 1
                action()
        finally:
            self._inside = False


def _never() -> bool:
    return False


class _Waiter:
    """One who waits, and whether that is over."""

    __slots__ = ("done", "error", "held")

    def __init__(self, done: Callable[[], bool]) -> None:
        self.done = done
        self.held = False
        self.error: BaseException | None = None


class EngineStoppedError(RuntimeError):
    """The monotonic engine does not run (any more): nothing can happen in it."""


BUSY_LIMIT_S = 60
"""How long ``call`` waits for its turn before it says that some event does not come to an end."""
LOOK_AGAIN_S = 0.25
"""How often one who waits looks whether the engine still runs."""


class MonotonicEngine:
    """The monotonic clock: the heap runs in an asyncio loop in a thread, from ``start`` to ``stop``.

    One lock serialises everything: events hold it, what ``call`` is given is run under it in its caller's thread, and so are the predicates of
    ``wait``, in whichever thread an event has just ended. Within any of these ``call`` runs its function at once. A driver's thread hands its
    result in with ``hand_in`` and runs that event itself: each change of threads costs as much as a whole exchange. Where events touch what belongs
    to the loop (sockets), ``loop_bound`` is set, and all of them run in its thread. An exception in an event stops nothing: the first one is kept
    and raised by the next ``wait`` (``failure`` tells of it where nobody waits).
    """

    def __init__(self, timebase: Timebase) -> None:
        self.timebase = timebase
        self.loop = asyncio.new_event_loop()
        self._began = time.monotonic_ns()
        self._ticks_per_ns = timebase.nanoseconds(1)
        self._heap: list[tuple[int, int, Timer]] = []
        self._order = 0
        self._alarm: asyncio.TimerHandle | None = None
        self._changed = threading.Condition()
        self._inside: int | None = None
        """The thread that runs an event or asks a predicate, under the lock."""
        self._waiters: list[_Waiter] = []
        self._posted: deque[Action] = deque()
        """What was posted and has not run yet; a call does not overtake it."""
        self.loop_bound = False
        """Whether events may run in the loop's thread alone, because they touch what lives in the loop."""
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._main, name="engine", daemon=True)
        self._stopped = False

    @property
    def now(self) -> int:
        return (time.monotonic_ns() - self._began) * self._ticks_per_ns

    def tick_of(self, monotonic_ns: int) -> int:
        """The tick of a reading of ``time.monotonic_ns()``, taken in any thread."""
        return (monotonic_ns - self._began) * self._ticks_per_ns

    def start(self) -> "MonotonicEngine":
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop the loop and its thread; stopping twice is no mistake. Timers still set never run.

        Raises EngineStoppedError where an event does not end, so that the thread had to be left behind.
        """
        if self._stopped:
            return
        self._stopped = True
        if not self._thread.is_alive():
            self.loop.close()
            return
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(timeout=5)
        if self._thread.is_alive():
            raise EngineStoppedError("an event did not come to an end within 5 s: the engine's thread was left behind")

    def at(self, time: int, action: Action, rank: int = ORDINARY) -> Timer:
        del rank  # no two events share a moment of the wall
        with self._changed:
            now = self.now
            timer = Timer(time if time > now else now, action)
            self._order += 1
            heappush(self._heap, (timer.time, self._order, timer))
            if self._heap[0][2] is timer:
                if threading.current_thread() is self._thread:
                    self._arm()
                else:
                    self._soon(self._arm)
        return timer

    def after(self, delay: int, action: Action) -> Timer:
        return self.at(self.now + delay, action)

    def post(self, action: Action) -> None:
        """Run ``action`` as an event as soon as may be; any thread may, at any time. What comes after ``stop`` is dropped: nobody is left to tell."""
        self._posted.append(action)
        self._soon(self._take_post)

    def _take_post(self) -> None:
        self._event(self._posted.popleft())

    def enter(self, action: Action) -> None:
        """Run ``action`` as an event at once. In the loop's thread only: for what the loop itself calls, such as a socket that became readable."""
        self._event(action)

    def hand_in(self, action: Action) -> None:
        """Run ``action`` as an event at once, in the calling thread, which is a driver's whose call has come back. After ``stop`` it is dropped."""
        if self.loop_bound:
            self.post(action)
            return
        with self._changed:  # as in ``_event``, spelled out: this is on the way of every exchange
            if self._stopped:
                return
            self._inside = threading.get_ident()
            try:
                action()
            except BaseException as error:
                if self._failure is None:
                    self._failure = error
            self._inside = None
            self._tell_waiters()

    def fail(self, error: BaseException) -> None:
        """What the engine drives has broken: whoever waits, now or next, gets ``error``; of several the first."""
        with self._changed:
            if self._failure is None:
                self._failure = error
            self._changed.notify_all()

    def failure(self) -> BaseException | None:
        """The error kept for the next ``wait``, which then no longer raises it."""
        with self._changed:
            failure, self._failure = self._failure, None
            return failure

    def call(self, function: Callable[[], T]) -> T:
        """Run ``function`` as an event and give its result, or raise what it raises. Raises EngineStoppedError where no event runs any more."""
        if threading.current_thread() is self._thread or self._inside == threading.get_ident():
            return function()
        in_turn = self.loop_bound or self._posted
        return self._call_through_loop(function) if in_turn else self._call_here(function)

    def _call_here(self, function: Callable[[], T]) -> T:
        if not self._changed.acquire(timeout=BUSY_LIMIT_S):
            raise EngineStoppedError(f"an event did not come to an end within {BUSY_LIMIT_S} s")
        try:
            if self._stopped or not self._thread.is_alive():
                raise EngineStoppedError("the engine does not run: start it first, and call nothing after its end")
            self._inside = threading.get_ident()
            try:
                return function()
            finally:
                self._inside = None
                self._tell_waiters()
        finally:
            self._changed.release()

    def _call_through_loop(self, function: Callable[[], T]) -> T:
        result: concurrent.futures.Future[T] = concurrent.futures.Future()

        def run() -> None:
            if not result.set_running_or_notify_cancel():
                return
            try:
                result.set_result(function())
            except BaseException as error:
                result.set_exception(error)

        self.post(run)
        limit = time.monotonic() + BUSY_LIMIT_S
        while True:
            concurrent.futures.wait((result,), timeout=LOOK_AGAIN_S)
            if result.done():
                return result.result()
            if not self._thread.is_alive() and result.cancel():
                raise EngineStoppedError("the engine does not run: start it first, and call nothing after its end")
            if time.monotonic() > limit:
                result.cancel()
                raise EngineStoppedError(f"an event did not come to an end within {BUSY_LIMIT_S} s")

    def wait(self, done: Callable[[], bool], timeout: int) -> bool:
        if threading.current_thread() is self._thread or self._inside == threading.get_ident():
            raise InsideEventError("waiting inside an event would stop the loop that must bring the answer")
        end = time.monotonic() + timeout / self.timebase.hz
        waiter = _Waiter(done)
        with self._changed:
            self._waiters.append(waiter)
            try:
                while True:
                    if self._failure is not None:
                        failure, self._failure = self._failure, None
                        raise failure
                    if self._asked(waiter):
                        return True
                    left = end - time.monotonic()
                    if left <= 0:
                        return False
                    if not self._thread.is_alive():
                        raise EngineStoppedError("the engine does not run: what is waited for cannot happen")
                    self._changed.wait(min(left, LOOK_AGAIN_S))
            finally:
                self._waiters.remove(waiter)

    def _asked(self, waiter: "_Waiter") -> bool:
        """Ask a predicate, under the lock, unless it has held already. Raises what it raised, here or after an event."""
        if not waiter.held:
            self._ask(waiter)
        if waiter.error is not None:
            raise waiter.error
        return waiter.held

    def _ask(self, waiter: "_Waiter") -> None:
        outer, self._inside = self._inside, threading.get_ident()
        try:
            waiter.held = bool(waiter.done())
        except BaseException as error:
            waiter.held, waiter.error = True, error
        finally:
            self._inside = outer

    def _tell_waiters(self) -> None:
        """After an event: wake those who need wait no longer. To wake everyone after each would cost a change of threads a time."""
        wake = self._failure is not None
        for waiter in self._waiters:
            if not waiter.held:
                self._ask(waiter)
                wake = wake or waiter.held
        if wake:
            self._changed.notify_all()

    def _main(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            self.loop.close()

    def _soon(self, action: Callable[..., object], *arguments: object) -> None:
        # A loop that has been closed raises RuntimeError: a driver call that came back after the end has nobody to tell.
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(action, *arguments)

    def _arm(self) -> None:
        with self._changed:
            if self._alarm is not None:
                self._alarm.cancel()
                self._alarm = None
            if self._heap:
                delay = max(0, self._heap[0][0] - self.now) / self.timebase.hz
                self._alarm = self.loop.call_later(delay, self._due)

    def _due(self) -> None:
        """Run what is due at this moment. What those events set for "now" waits for the loop's next turn, so that posts and sockets get theirs."""
        self._alarm = None
        moment = self.now
        while True:
            with self._changed:
                if not self._heap or self._heap[0][0] > moment:
                    break
                timer = heappop(self._heap)[2]
                action, timer.action = timer.action, None
                if action is not None:
                    self._event(action)
        self._arm()

    def _event(self, action: Action) -> None:
        with self._changed:
            outer, self._inside = self._inside, threading.get_ident()
            try:
                action()
            except BaseException as error:
                if self._failure is None:
                    self._failure = error
            finally:
                self._inside = outer
            self._tell_waiters()
