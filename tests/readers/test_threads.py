"""A reader's own thread: order, results as events, and driver calls that do not come back."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from bench.engine import MonotonicEngine, Timebase
from bench.readers.threads import DriverHungError, DriverThread, abandoned

TIMEBASE = Timebase.for_clocks(3_571_200)
LONG_NS = 30 * 10**9
SHORT_NS = 10**8


class Reader:
    """A driver thread, and what came of its calls, in the order it was told."""

    def __init__(self, engine: MonotonicEngine) -> None:
        self.engine = engine
        self.told: list[object] = []
        self.causes: list[str] = []
        self.thread = DriverThread(engine, "test reader", self.causes.append)

    def call(self, work: object, limit_ns: int = LONG_NS, what: str = "a call") -> None:
        """Submit ``work``: something to call, or a value to give."""
        job = work if callable(work) else lambda: work
        self.engine.call(lambda: self.thread.submit(what, job, self.told.append, self.told.append, limit_ns))

    def wait(self, count: int) -> None:
        assert self.engine.wait(lambda: len(self.told) >= count, 5 * TIMEBASE.hz), self.told


@pytest.fixture
def reader() -> Iterator[Reader]:
    engine = MonotonicEngine(TIMEBASE).start()
    made = Reader(engine)
    yield made
    made.thread.close(5)
    engine.stop()


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Holds a driver call until it is set; it is set in the end, so that no thread outlives its test."""
    event = threading.Event()
    yield event
    event.set()


@pytest.mark.parametrize("bound", [False, True])
def test_calls_are_made_in_their_order_and_results_come_as_events(reader: Reader, bound: bool) -> None:
    reader.engine.loop_bound = bound
    where: list[str] = []

    def tell(result: object) -> None:
        where.append(threading.current_thread().name)
        reader.told.append(result)

    for number in range(20):
        reader.engine.call(
            lambda number=number: reader.thread.submit("a call", lambda: number, tell, tell, LONG_NS)  # type: ignore[misc]
        )
    reader.wait(20)
    assert reader.told == list(range(20))
    assert set(where) == {"engine" if bound else "reader test reader"}


def test_calls_run_in_a_thread_of_their_own(reader: Reader) -> None:
    reader.call(lambda: threading.current_thread().name)
    reader.wait(1)
    assert reader.told == ["reader test reader"]


def test_a_blocked_call_holds_up_no_event(reader: Reader, gate: threading.Event) -> None:
    reader.call(lambda: gate.wait(10))
    begun = time.monotonic()
    assert reader.engine.call(lambda: "free") == "free"
    assert time.monotonic() - begun < 5


def test_what_a_call_raises_is_told_and_the_next_one_is_made(reader: Reader) -> None:
    def broken() -> None:
        raise OSError("the driver's words")

    reader.call(broken)
    reader.call("after")
    reader.wait(2)
    assert str(reader.told[0]) == "the driver's words"
    assert reader.told[1] == "after"


def test_a_call_that_overruns_is_abandoned_with_its_cause(reader: Reader, gate: threading.Event) -> None:
    reader.call(lambda: gate.wait(10), SHORT_NS, "SCardTransmit of 00 A4")
    reader.call("behind it", SHORT_NS)
    reader.wait(2)
    assert all(isinstance(told, DriverHungError) for told in reader.told)
    assert str(reader.told[0]).startswith("SCardTransmit of 00 A4 has not returned for")
    assert str(reader.told[1]) == str(reader.told[0]), "the first cause is kept"
    assert reader.causes == [str(reader.told[0])]
    assert any("SCardTransmit of 00 A4" in cause for cause in abandoned())


def test_after_that_the_reader_refuses_at_once(reader: Reader, gate: threading.Event) -> None:
    reader.call(lambda: gate.wait(10), SHORT_NS, "the call that hangs")
    reader.wait(1)
    begun = time.monotonic()
    reader.call("too late")
    reader.wait(2)
    assert "the call that hangs" in str(reader.told[1])
    assert time.monotonic() - begun < 1
    assert len(reader.causes) == 1


def test_an_abandoned_call_that_comes_back_tells_nobody_and_ends_its_thread(
    reader: Reader, gate: threading.Event
) -> None:
    reader.call(lambda: gate.wait(10), SHORT_NS)
    reader.wait(1)
    let_go: list[bool] = []
    reader.thread.on_back = lambda: let_go.append(True)
    gate.set()
    limit = time.monotonic() + 5
    while abandoned() and time.monotonic() < limit:
        time.sleep(0.01)
    assert not abandoned()
    assert let_go == [True]
    assert len(reader.told) == 1


def test_many_quick_calls_do_not_add_up_to_an_overrun(reader: Reader) -> None:
    """The limit is each call's own: together they take longer than it."""
    for _ in range(8):
        reader.call(lambda: time.sleep(0.04), SHORT_NS)
    reader.wait(8)
    assert reader.told == [None] * 8


def test_a_call_that_waits_for_its_turn_has_not_begun(reader: Reader) -> None:
    reader.call(lambda: time.sleep(0.3), LONG_NS)
    reader.call("in time", SHORT_NS)
    reader.wait(2)
    assert reader.told == [None, "in time"]


def test_closing_waits_for_what_was_submitted(reader: Reader) -> None:
    done: list[str] = []
    reader.call(lambda: time.sleep(0.1))
    reader.call(lambda: done.append("the last call"))
    assert reader.thread.close(5)
    assert done == ["the last call"]
    reader.call("after the end")
    reader.wait(1)
    assert reader.engine.wait(lambda: any("has been closed" in str(told) for told in reader.told), 5 * TIMEBASE.hz)


def test_closing_a_thread_that_hangs_gives_it_up(reader: Reader, gate: threading.Event) -> None:
    reader.call(lambda: gate.wait(10), LONG_NS, "the call that hangs")
    time.sleep(0.05)
    assert not reader.thread.close(0.1)
    assert "the call that hangs" in reader.thread.hung
    assert any("the call that hangs" in cause for cause in abandoned())
