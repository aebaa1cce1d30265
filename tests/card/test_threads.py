"""Layers 1 and 2 run asynchronously from the applications (the paper, 2.1): one that computes for ten seconds holds up nobody."""

import pytest

from bench.card.tasks import Promise, Threads
from bench.engine import Timebase, VirtualEngine
from bench.hop.segment import INS_ENVELOPE
from tests.support import SLOW, Chain, chain, profile


def _round_trips(rig: Chain, count: int = 20) -> float:
    """The longest of ``count`` echoes of 32 bytes."""
    socket = rig.dial("echo")
    longest = max(rig.echo(socket, bytes(32)) for _ in range(count))
    socket.close()
    return longest


@pytest.mark.parametrize("ta1", [SLOW, 0x96])
def test_an_application_that_computes_ten_seconds_holds_up_nobody(ta1: int) -> None:
    rig = Chain(profile(ta1=ta1), ta1=ta1).start()
    alone = _round_trips(rig)
    thinker = rig.dial("thinker")
    thinker.write(b"10000")
    begun = rig.now
    rig.run(0.5)
    busy = _round_trips(rig, 20)
    assert rig.now < begun + 10, "measured while it computes"
    assert not thinker.received
    etu = (372 if ta1 == SLOW else 16) / 3_571_200
    exchange = (112 + 12 * 38) * etu
    assert busy <= alone + exchange
    took = rig.wait(lambda: bytes(thinker.received) == b"done\r\n")
    assert 10 <= rig.now - begun < 10.6, took
    waiting_time = 10 * 960 * 372 / 3_571_200
    longest = max(each.duration_ticks for each in rig.exchanges) / rig.engine.timebase.hz
    assert longest < waiting_time, "no exchange waited for the application"
    assert all(each.card_ticks == 0 for each in rig.exchanges if each.ins == INS_ENVELOPE)
    rig.assert_sound()


def test_those_who_compute_share_the_processor() -> None:
    rig = chain().start()
    sockets = [rig.dial("thinker") for _ in range(4)]
    begun = rig.now
    for socket in sockets:
        socket.write(b"1000")
    for socket in sockets:
        rig.wait(lambda socket=socket: bytes(socket.received) == b"done\r\n")  # type: ignore[misc]
    assert 4.0 <= rig.now - begun < 4.1
    rig.assert_sound()


def _threads() -> tuple[VirtualEngine, Threads, list[str]]:
    crashes: list[str] = []
    engine = VirtualEngine(Timebase(10**9))
    return engine, Threads(engine, lambda name, error: crashes.append(f"{name}: {error}")), crashes


def test_computing_takes_its_share_exactly() -> None:
    engine, threads, _ = _threads()
    ends: dict[str, int] = {}

    async def work(name: str, start: int, ticks: int) -> None:
        await threads.sleep(start)
        await threads.compute(ticks)
        ends[name] = engine.now

    threads.start(work("long", 0, 1000), "long")
    threads.start(work("short", 400, 100), "short")
    engine.run(10_000)
    # alone until 400; then both at half speed until the short one has had its 100, at 600; the long one has 500 left then
    assert ends == {"short": 600, "long": 1100}


def test_an_application_that_crashes_is_noted_and_harms_no_other() -> None:
    engine, threads, crashes = _threads()
    lived: list[int] = []

    async def crash() -> None:
        await threads.sleep(10)
        raise ValueError("its own fault")

    async def live() -> None:
        await threads.sleep(20)
        lived.append(engine.now)

    threads.start(crash(), "bad")
    threads.start(live(), "good")
    engine.run(100)
    assert crashes == ["bad: its own fault"]
    assert lived == [20]
    assert threads.running == 0


def test_power_off_ends_every_thread_and_nothing_wakes_after_it() -> None:
    engine, threads, crashes = _threads()
    woken: list[str] = []
    cleaned: list[str] = []
    promise: Promise[None] = Promise()

    async def wait(name: str) -> None:
        try:
            if name == "promise":
                await promise
            elif name == "compute":
                await threads.compute(50)
            else:
                await threads.sleep(50)
            woken.append(name)
        finally:
            cleaned.append(name)

    for name in ("promise", "compute", "sleep"):
        threads.start(wait(name), name)
    engine.run(10)
    threads.stop()
    promise.keep(None)
    engine.run(1000)
    assert (woken, cleaned, crashes, threads.running) == ([], ["promise", "compute", "sleep"], [], 0)


def test_a_promise_is_kept_once() -> None:
    promise: Promise[int] = Promise()
    seen: list[int | None] = []
    promise.then(lambda: seen.append(promise.result))
    promise.keep(1)
    promise.keep(2)
    promise.fail(ValueError("too late"))
    promise.then(lambda: seen.append(promise.result))
    assert seen == [1, 1]
