"""The virtual engine slaved to the wall: never back, idle with the wall, ahead of it on a request."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bench.engine import Timebase, VirtualEngine
from bench.serve.slaved import CATCH_UP_NS, LEAST_SLEEP_S, SlavedEngine

TIMEBASE = Timebase.for_clocks(3_571_200)
MS = 10**6


class Wall:
    """A clock that is moved by hand, in ns; it did not start at 0."""

    def __init__(self) -> None:
        self.ns = 77 * 10**9

    def __call__(self) -> int:
        return self.ns


def slaved() -> tuple[SlavedEngine, VirtualEngine, Wall]:
    wall = Wall()
    engine = VirtualEngine(TIMEBASE)
    return SlavedEngine(engine, wall), engine, wall


def milliseconds(count: int) -> int:
    return TIMEBASE.nanoseconds(count * MS)


def test_it_begins_at_tick_zero_whatever_the_wall_says() -> None:
    follower, _, _ = slaved()
    assert follower.follow() == 0


def test_idle_it_follows_the_wall_and_runs_what_is_due() -> None:
    follower, engine, wall = slaved()
    ran: list[int] = []
    for due in (3, 10, 30):
        engine.at(milliseconds(due), lambda: ran.append(engine.now))
    wall.ns += 10 * MS
    assert follower.follow() == milliseconds(10)
    assert ran == [milliseconds(3), milliseconds(10)]


def test_on_a_request_it_runs_ahead_and_then_waits_for_the_wall() -> None:
    follower, engine, wall = slaved()
    wall.ns += 5 * MS
    follower.follow()
    assert follower.ahead(milliseconds(20)) == milliseconds(25)
    wall.ns += 10 * MS
    assert follower.follow() == milliseconds(25), "never back"
    assert follower.seconds_until(engine.now) == 0.01
    wall.ns += 11 * MS
    assert follower.follow() == milliseconds(26)
    assert follower.seconds_until(engine.now) == 0


def test_a_leap_is_kept_and_nothing_stands_still_after_it() -> None:
    follower, engine, wall = slaved()
    wall.ns += 5 * MS
    follower.follow()
    assert follower.leap(milliseconds(20)) == milliseconds(25)
    ran: list[int] = []
    engine.after(milliseconds(3), lambda: ran.append(engine.now))
    wall.ns += 3 * MS
    assert follower.follow() == milliseconds(28)
    assert ran == [milliseconds(28)]


def test_what_is_due_while_it_runs_ahead_runs_in_its_place() -> None:
    follower, engine, _ = slaved()
    ran: list[int] = []
    engine.at(milliseconds(7), lambda: ran.append(engine.now))
    follower.ahead(milliseconds(20))
    assert ran == [milliseconds(7)]


def test_it_sleeps_until_the_next_event_but_not_for_less_than_is_sensible() -> None:
    follower, engine, _ = slaved()
    assert follower.sleep(0.5) == 0.5
    engine.at(milliseconds(1000), lambda: None)
    assert follower.sleep(0.5) == 0.5
    engine.at(milliseconds(40), lambda: None)
    assert follower.sleep(0.5) == 0.04
    engine.at(1, lambda: None)
    assert follower.sleep(0.5) == LEAST_SLEEP_S


def test_a_machine_that_slept_for_an_hour_does_not_make_up_for_it() -> None:
    follower, engine, wall = slaved()
    ran: list[int] = []

    def poll() -> None:
        ran.append(engine.now)
        engine.after(milliseconds(10), poll)

    engine.at(milliseconds(10), poll)
    wall.ns += 3600 * 10**9
    follower.follow()
    assert len(ran) == CATCH_UP_NS // (10 * MS)
    assert follower.struck_out_ns == 3600 * 10**9 - CATCH_UP_NS
    wall.ns += 100 * MS
    before = len(ran)
    follower.follow()
    assert len(ran) == before + 10, "and goes on with the wall"


@given(st.lists(st.tuples(st.integers(0, 3 * 10**9), st.integers(0, 5 * 10**8)), max_size=30))
def test_time_never_goes_back_and_never_stays_behind_the_wall(moves: list[tuple[int, int]]) -> None:
    follower, engine, wall = slaved()
    last = 0
    for passed_ns, ahead_ns in moves:
        wall.ns += passed_ns
        stamp = follower.follow()
        assert stamp >= last
        assert stamp >= follower.wall
        assert engine.now == stamp
        run = follower.leap if ahead_ns % 2 else follower.ahead
        last = run(TIMEBASE.nanoseconds(ahead_ns))
        assert last == stamp + TIMEBASE.nanoseconds(ahead_ns)


def test_it_runs_ahead_to_what_is_waited_for_and_no_further() -> None:
    follower, engine, wall = slaved()
    happened: list[int] = []
    engine.at(milliseconds(30), lambda: happened.append(engine.now))
    engine.at(milliseconds(40), lambda: happened.append(engine.now))
    assert follower.reach(lambda: bool(happened), milliseconds(100), keep=True)
    assert happened == [milliseconds(30)]
    wall.ns += 5 * MS
    assert follower.follow() == milliseconds(35), "what was gained is kept"
    assert not follower.reach(lambda: len(happened) > 5, milliseconds(10), keep=False)
    assert follower.follow() == milliseconds(45), "and is not, where the answer is held until the wall is there"
    assert happened == [milliseconds(30), milliseconds(40)]
