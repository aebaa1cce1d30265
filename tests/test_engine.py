"""The engine: one heap of events under two clocks. What holds for both is tested on both."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeAlias

import pytest

from bench import engine as engine_module
from bench.engine import (
    Engine,
    EngineStoppedError,
    InsideEventError,
    MonotonicEngine,
    Timebase,
    VirtualEngine,
)

TIMEBASE = Timebase.for_clocks(3_571_200)
MS = TIMEBASE.nanoseconds(10**6)
SECOND = TIMEBASE.nanoseconds(10**9)
SOON = 5 * SECOND
"""Far longer than anything here takes, so that a busy machine fails nothing."""


@pytest.fixture(params=["virtual", "monotonic"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    if request.param == "virtual":
        yield VirtualEngine(TIMEBASE)
        return
    running = MonotonicEngine(TIMEBASE).start()
    yield running
    running.stop()


@pytest.fixture
def running() -> Iterator[MonotonicEngine]:
    made = MonotonicEngine(TIMEBASE).start()
    yield made
    made.stop()


Names: TypeAlias = list[str]


class TestBoth:
    def test_events_run_in_the_order_of_their_times(self, engine: Engine) -> None:
        ran: Names = []

        def plan() -> None:
            now = engine.now
            engine.at(now + 30 * MS, lambda: ran.append("third"))
            engine.at(now + 10 * MS, lambda: ran.append("first"))
            engine.at(now + 20 * MS, lambda: ran.append("second"))

        engine.call(plan)
        assert engine.wait(lambda: len(ran) == 3, SOON)
        assert ran == ["first", "second", "third"]

    def test_events_of_one_time_run_in_the_order_they_were_set(self, engine: Engine) -> None:
        ran: list[int] = []

        def plan() -> None:
            moment = engine.now + 5 * MS
            for number in range(100):
                engine.at(moment, lambda number=number: ran.append(number))  # type: ignore[misc]

        engine.call(plan)
        assert engine.wait(lambda: len(ran) == 100, SOON)
        assert ran == list(range(100))

    def test_a_time_that_is_past_means_now(self, engine: Engine) -> None:
        ran: Names = []
        timers: list[int] = []

        def plan() -> None:
            engine.at(engine.now, lambda: ran.append("set first"))
            timers.append(engine.at(-SECOND, lambda: ran.append("set second, for long ago")).time)

        engine.call(plan)
        assert engine.wait(lambda: len(ran) == 2, SOON)
        assert ran == ["set first", "set second, for long ago"]
        assert timers[0] >= 0

    def test_a_cancelled_timer_does_not_run(self, engine: Engine) -> None:
        ran: Names = []

        def plan() -> None:
            timer = engine.after(5 * MS, lambda: ran.append("cancelled"))
            engine.after(10 * MS, lambda: ran.append("kept"))
            assert timer.pending
            timer.cancel()
            timer.cancel()
            assert not timer.pending

        engine.call(plan)
        assert engine.wait(lambda: "kept" in ran, SOON)
        assert ran == ["kept"]

    def test_wait_gives_up_at_its_limit_and_time_has_then_passed(self, engine: Engine) -> None:
        begun = engine.now
        assert not engine.wait(lambda: False, 20 * MS)
        assert engine.now - begun >= 20 * MS

    def test_wait_sees_at_once_what_already_holds(self, engine: Engine) -> None:
        assert engine.wait(lambda: True, 0)

    def test_time_never_runs_backwards_in_events(self, engine: Engine) -> None:
        seen: list[int] = []

        def again() -> None:
            seen.append(engine.now)
            if len(seen) < 50:
                engine.after(0, again)

        engine.call(lambda: engine.after(0, again))
        assert engine.wait(lambda: len(seen) == 50, SOON)
        assert seen == sorted(seen)

    def test_waiting_inside_an_event_is_refused(self, engine: Engine) -> None:
        refused: Names = []

        def event() -> None:
            try:
                engine.wait(lambda: True, 0)
            except InsideEventError as error:
                refused.append(str(error))

        engine.call(lambda: engine.after(0, event))
        assert engine.wait(lambda: bool(refused), SOON)

    def test_waiting_inside_a_predicate_is_refused(self, engine: Engine) -> None:
        with pytest.raises(InsideEventError):
            engine.wait(lambda: engine.wait(lambda: True, 0), MS)
        assert engine.call(lambda: "still alive") == "still alive"

    def test_call_inside_an_event_runs_at_once(self, engine: Engine) -> None:
        results: list[int] = []
        engine.call(lambda: engine.after(0, lambda: results.append(engine.call(lambda: 7))))
        assert engine.wait(lambda: results == [7], SOON)

    def test_call_inside_a_predicate_does_not_lock_up(self, engine: Engine) -> None:
        ran: Names = []

        def predicate() -> bool:
            if not ran:
                ran.append("asked")
                engine.call(lambda: engine.after(MS, lambda: ran.append("event set in the predicate")))
            return len(ran) == 2

        assert engine.wait(predicate, SOON)

    def test_what_a_called_function_raises_reaches_its_caller_alone(self, engine: Engine) -> None:
        with pytest.raises(ValueError, match="mine"):
            engine.call(lambda: int("mine"))
        assert engine.wait(lambda: True, MS)

    def test_an_exception_in_an_event_reaches_who_waits(self, engine: Engine) -> None:
        def broken() -> None:
            raise ZeroDivisionError("in an event")

        engine.call(lambda: engine.after(MS, broken))
        with pytest.raises(ZeroDivisionError, match="in an event"):
            engine.wait(lambda: False, SOON)

    def test_events_go_on_after_an_exception(self, engine: Engine) -> None:
        ran: Names = []

        def broken() -> None:
            raise ZeroDivisionError("in an event")

        def plan() -> None:
            engine.after(MS, broken)
            engine.after(2 * MS, lambda: ran.append("after"))

        engine.call(plan)
        with pytest.raises(ZeroDivisionError):
            engine.wait(lambda: bool(ran), SOON)
        assert engine.wait(lambda: bool(ran), SOON)


class TestVirtual:
    def test_run_ends_at_its_tick_with_every_event_up_to_it_done(self) -> None:
        engine = VirtualEngine(TIMEBASE)
        ran: Names = []
        engine.at(10, lambda: ran.append("at the end"))
        engine.at(11, lambda: ran.append("after it"))
        engine.run(10)
        assert ran == ["at the end"]
        assert engine.now == 10

    def test_the_clock_stands_at_the_end_when_nothing_was_to_be_done(self) -> None:
        engine = VirtualEngine(TIMEBASE)
        engine.run(1234)
        assert engine.now == 1234

    def test_next_time_skips_what_was_cancelled(self) -> None:
        engine = VirtualEngine(TIMEBASE)
        engine.at(5, lambda: None).cancel()
        engine.at(9, lambda: None)
        assert engine.next_time() == 9
        engine.run(9)
        assert engine.next_time() is None

    def test_an_hour_of_virtual_time_costs_only_its_events(self) -> None:
        engine = VirtualEngine(TIMEBASE)
        begun = time.perf_counter()
        engine.wait(lambda: False, 3600 * SECOND)
        assert time.perf_counter() - begun < 1
        assert engine.now == 3600 * SECOND


class TestMonotonic:
    def test_now_follows_the_monotonic_clock(self, running: MonotonicEngine) -> None:
        before, ticks, after = time.monotonic_ns(), running.now, time.monotonic_ns()
        assert running.tick_of(before) <= ticks <= running.tick_of(after)

    def test_no_event_runs_before_its_time(self, running: MonotonicEngine) -> None:
        late: list[int] = []

        def plan() -> None:
            for milliseconds in (1, 3, 7, 15):
                due = running.now + milliseconds * MS
                running.at(due, lambda due=due: late.append(running.now - due))  # type: ignore[misc]

        running.call(plan)
        assert running.wait(lambda: len(late) == 4, SOON)
        assert min(late) >= 0

    def test_an_earlier_timer_set_later_does_not_wait_for_the_first(self, running: MonotonicEngine) -> None:
        ran: Names = []
        running.call(lambda: running.after(60 * SECOND, lambda: ran.append("late")))
        running.call(lambda: running.after(5 * MS, lambda: ran.append("early")))
        assert running.wait(lambda: bool(ran), SOON)
        assert ran == ["early"]

    def test_posts_from_many_threads_all_arrive_one_at_a_time(self, running: MonotonicEngine) -> None:
        total, inside, overlaps = [0], [0], [0]

        def event() -> None:
            inside[0] += 1
            overlaps[0] += inside[0] != 1
            total[0] += 1
            inside[0] -= 1

        def driver() -> None:
            for _ in range(200):
                running.post(event)

        threads = [threading.Thread(target=driver) for _ in range(8)]
        for thread in threads:
            thread.start()
        assert running.wait(lambda: total[0] == 1600, SOON)
        for thread in threads:
            thread.join()
        assert overlaps == [0]

    def test_timers_may_be_set_from_any_thread(self, running: MonotonicEngine) -> None:
        ran: list[int] = []

        def setter(base: int) -> None:
            for number in range(50):
                running.after((number % 5) * MS, lambda: ran.append(base))

        threads = [threading.Thread(target=setter, args=(base,)) for base in (0, 100, 200, 300)]
        for thread in threads:
            thread.start()
        assert running.wait(lambda: len(ran) == 200, SOON)

    def test_a_chain_of_immediate_events_lets_posts_in(self, running: MonotonicEngine) -> None:
        stop = [False]

        def again() -> None:
            if not stop[0]:
                running.after(0, again)

        running.call(lambda: running.after(0, again))
        assert running.call(lambda: "let in") == "let in"
        stop[0] = True

    def test_the_predicate_never_sees_half_an_event(self, running: MonotonicEngine) -> None:
        pair = [0, 0]
        torn: list[tuple[int, int]] = []

        def event() -> None:
            pair[0] += 1
            time.sleep(0.0005)
            pair[1] += 1
            if pair[0] < 40:
                running.after(0, event)

        def look() -> bool:
            if pair[0] != pair[1]:
                torn.append((pair[0], pair[1]))
            return pair[1] == 40

        running.call(lambda: running.after(0, event))
        assert running.wait(look, SOON)
        assert not torn

    def test_an_exception_is_kept_until_somebody_waits(self, running: MonotonicEngine) -> None:
        def broken() -> None:
            raise ZeroDivisionError("nobody was waiting")

        running.call(lambda: running.after(0, broken))
        time.sleep(0.05)
        assert running.call(lambda: 1) == 1
        with pytest.raises(ZeroDivisionError):
            running.wait(lambda: True, 0)
        assert running.wait(lambda: True, 0)

    def test_fail_wakes_who_waits_with_the_first_cause(self, running: MonotonicEngine) -> None:
        def driver() -> None:
            time.sleep(0.05)
            running.fail(OSError("the first cause"))
            running.fail(OSError("a later one"))

        thread = threading.Thread(target=driver)
        thread.start()
        begun = time.monotonic()
        with pytest.raises(OSError, match="the first cause"):
            running.wait(lambda: False, 60 * SECOND)
        thread.join()
        assert time.monotonic() - begun < 5
        assert running.failure() is None

    def test_failure_hands_over_what_nobody_waited_for(self, running: MonotonicEngine) -> None:
        running.fail(OSError("seen at the end"))
        assert str(running.failure()) == "seen at the end"
        assert running.wait(lambda: True, 0)


class TestStopping:
    def test_timers_still_set_never_run(self) -> None:
        engine = MonotonicEngine(TIMEBASE).start()
        ran: Names = []
        engine.call(lambda: engine.after(100 * MS, lambda: ran.append("too late")))
        engine.stop()
        time.sleep(0.15)
        assert not ran

    def test_the_thread_is_gone_and_the_loop_closed(self) -> None:
        engine = MonotonicEngine(TIMEBASE).start()
        threads = threading.active_count()
        engine.stop()
        assert threading.active_count() == threads - 1
        assert engine.loop.is_closed()

    def test_stopping_twice_and_stopping_what_never_ran(self) -> None:
        engine = MonotonicEngine(TIMEBASE).start()
        engine.stop()
        engine.stop()
        never = MonotonicEngine(TIMEBASE)
        never.stop()
        assert never.loop.is_closed()

    @pytest.mark.parametrize(
        "use",
        [
            pytest.param(lambda engine: engine.call(lambda: 1), id="call"),
            pytest.param(lambda engine: engine.wait(lambda: False, 60 * SECOND), id="wait"),
        ],
    )
    def test_a_stopped_engine_says_so_and_hangs_nobody(self, use: Callable[[MonotonicEngine], object]) -> None:
        engine = MonotonicEngine(TIMEBASE).start()
        engine.stop()
        begun = time.monotonic()
        with pytest.raises(EngineStoppedError):
            use(engine)
        assert time.monotonic() - begun < 5

    def test_posts_after_the_end_are_dropped(self) -> None:
        engine = MonotonicEngine(TIMEBASE).start()
        engine.stop()
        ran: Names = []
        engine.post(lambda: ran.append("nobody is left"))
        engine.after(0, lambda: ran.append("nor now"))
        assert not ran

    def test_stopping_while_somebody_calls_hangs_nobody(self) -> None:
        engine = MonotonicEngine(TIMEBASE).start()
        ended: Names = []

        def caller() -> None:
            try:
                while True:
                    engine.call(lambda: None)
            except EngineStoppedError as error:
                ended.append(str(error))

        threads = [threading.Thread(target=caller) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(0.05)
        engine.stop()
        for thread in threads:
            thread.join(timeout=5)
        assert len(ended) == 4

    def test_an_event_that_does_not_end_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(engine_module, "BUSY_LIMIT_S", 0.3)
        engine = MonotonicEngine(TIMEBASE).start()
        release = threading.Event()
        engine.post(lambda: release.wait(10))
        with pytest.raises(EngineStoppedError, match="did not come to an end"):
            engine.call(lambda: 1)
        release.set()
        assert engine.call(lambda: 2) == 2
        engine.stop()
