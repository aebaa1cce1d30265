"""A chain of the reference card served as a serial port in a thread of its own, and a serial reader at the other end: for tests of both."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from bench.card.applications import STANDARD
from bench.card.card import Card
from bench.card.profile import CardProfile
from bench.engine import MonotonicEngine, Timebase, VirtualEngine
from bench.hop.link import PollPlan
from bench.iso7816.line import CardEnd
from bench.iso7816.port import Answer, PowerUp
from bench.observe import NullSink
from bench.readers.serial import SerialOptions, SerialReader
from bench.readers.software import SoftwareReader
from bench.serve.rfc2217_loop import Rfc2217Loop
from bench.serve.tty import PtyLoop
from bench.serve.uart import Pacing, ServedUart
from bench.serve.uart_loop import UartLoop

CLOCK_HZ = 3_571_200
FAST = 0x96
ECHO = bytes.fromhex("A0 EC 00 00")
SELECT = bytes.fromhex("00 A4 00 0C 02 00 01")


def served_uart(
    *profiles: CardProfile,
    pacing: Pacing = Pacing.AT_ONCE,
    end: Callable[[VirtualEngine], CardEnd] | None = None,
    ta1: int = FAST,
) -> ServedUart:
    """A fresh chain of such cards (or the card that ``end`` makes) behind a UART."""
    engine = VirtualEngine(Timebase.for_clocks(CLOCK_HZ))
    if end is not None:
        return ServedUart(end(engine), engine, CLOCK_HZ, pacing)
    period = PollPlan(engine.timebase.nanoseconds(5_000_000), engine.timebase.nanoseconds(20_000_000))
    cards: list[Card] = []
    for number, profile in enumerate(profiles, start=1):
        card = Card(engine, replace(profile, identity=b"%02d" % number), period, NullSink())
        if cards:
            reader = SoftwareReader(engine, CLOCK_HZ, ta1)
            reader.insert(card.contacts)
            cards[-1].attach_io2(reader, number)
        cards.append(card)
    return ServedUart(cards[0].contacts, engine, CLOCK_HZ, pacing)


def card(*, ta1: int = FAST, protocols: tuple[int, ...] = (0,), **more: object) -> CardProfile:
    return replace(
        CardProfile(identity=b"S", ta1=ta1, mtu=64, protocols=protocols, applications=STANDARD),
        **more,  # type: ignore[arg-type]
    )


class Serving:
    """A loop in a thread. ``call`` does something in that thread."""

    def __init__(self, loop: UartLoop) -> None:
        self.loop = loop
        self._stop = False
        self._jobs: list[Callable[[], object]] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        loop.idle_s = 0.002
        self._thread.start()

    def call(self, job: Callable[[], object]) -> None:
        done = threading.Event()
        self._jobs.append(lambda: (job(), done.set()))
        assert done.wait(5)

    def stop(self) -> None:
        self._stop = True
        self._thread.join(10)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        self.loop.run(self._look)

    def _look(self) -> bool:
        while self._jobs:
            self._jobs.pop(0)()
        return self._stop


@dataclass
class Terminal:
    """A serial reader, and short words for what tests do with it."""

    engine: MonotonicEngine
    reader: SerialReader
    faults: list[str]
    moves: list[bool]

    def _wait(self, start: Callable[[Callable[[object], None]], None], seconds: float) -> object:
        got: list[object] = []
        self.engine.call(lambda: start(got.append))
        assert self.engine.wait(lambda: bool(got), round(seconds * self.engine.timebase.hz)), "no answer"
        return got[0]

    def power_up(self, seconds: float = 15) -> PowerUp:
        got = self._wait(self.reader.power_up, seconds)
        assert isinstance(got, PowerUp)
        return got

    def warm_reset(self) -> PowerUp:
        got = self._wait(self.reader.warm_reset, 15)
        assert isinstance(got, PowerUp)
        return got

    def ask(self, ta1: int | None = None, protocol: int | None = None) -> None:
        """Of the next card."""
        self.reader.wishes = replace(self.reader.wishes, ta1=ta1, protocol=protocol)

    def power_down(self) -> None:
        self.engine.call(self.reader.power_down)

    def exchange(self, command: bytes, seconds: float = 15) -> Answer:
        got = self._wait(lambda done: self.reader.submit(command, done), seconds)
        assert isinstance(got, Answer)
        return got

    def until(self, what: Callable[[], bool], seconds: float = 10) -> bool:
        return self.engine.wait(what, round(seconds * self.engine.timebase.hz))


@contextmanager
def terminal(
    url: str, ta1: int | None = None, options: SerialOptions | None = None, clock_hz: int = CLOCK_HZ
) -> Iterator[Terminal]:
    engine = MonotonicEngine(Timebase.for_clocks(clock_hz)).start()
    reader = SerialReader(engine, url, clock_hz, ta1, options)
    faults: list[str] = []
    moves: list[bool] = []
    reader.on_fault = faults.append
    reader.on_card = moves.append
    try:
        yield Terminal(engine, reader, faults, moves)
        failure = engine.failure()
        if failure is not None:
            raise failure
    finally:
        assert reader.close()
        engine.stop()


@contextmanager
def serving(way: str, served: ServedUart) -> Iterator[Serving]:
    loop: UartLoop = Rfc2217Loop(served) if way == "rfc2217" else PtyLoop(served)
    process = Serving(loop)
    try:
        yield process
    finally:
        process.stop()
