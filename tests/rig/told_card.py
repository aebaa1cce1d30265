"""A card that answers what a test tells it to, at its contacts; and the thread in which whatever serves it lives."""

import os
import threading
from collections import deque
from collections.abc import Callable, Collection
from typing import Final, Protocol

from bench.engine import VirtualEngine
from bench.iso7816.line import Burst
from bench.iso7816.rates import GUARD_ETU

ATR: Final = bytes.fromhex("3B00")
HEADER: Final = 5
BYTE_READ: Final = bytes.fromhex("559000")
ATR_AFTER_ETU: Final = 10
ANSWER_AFTER_ETU: Final = 16


class ToldContacts:
    """T=0 at the default rate. Every header is answered with INS and what ``answer`` gives for it: a byte and a status word."""

    signals = False

    def __init__(self, engine: VirtualEngine, clock_hz: int) -> None:
        self.transmit: Callable[[Burst], None] = _nothing
        self.etu = 372 * engine.timebase.cycles(1, clock_hz)
        self.armed: Callable[[], bytes | None] | None = None
        """Gives the next answers, INS not among them; None: none comes."""
        self._heard = bytearray()

    def power_up(self, now: int, clock_hz: int, operating_class: str = "A") -> None:
        del clock_hz, operating_class
        self.reset(now)

    def reset(self, now: int) -> None:
        self._heard.clear()
        self._say(ATR, now + ATR_AFTER_ETU * self.etu)

    def power_down(self, now: int) -> None:
        del now
        self._heard.clear()

    def receive(self, burst: Burst, damaged: Collection[int] = ()) -> None:
        del damaged
        self._heard += burst.data
        if len(self._heard) < HEADER:
            return
        instruction = self._heard[1]
        self._heard.clear()
        answer = BYTE_READ if self.armed is None else self.armed()
        if answer is not None:
            self._say(bytes((instruction,)) + answer, burst.last + ANSWER_AFTER_ETU * self.etu)

    def signalled(self, burst: Burst, index: int) -> None:
        raise AssertionError(f"character {index} of {burst.data.hex()} was refused")

    def _say(self, data: bytes, start: int) -> None:
        self.transmit(Burst(data, start, GUARD_ETU * self.etu, self.etu))


class Loop(Protocol):
    """What serves in its caller's thread."""

    def watch(self, file: int, readable: Callable[[], None]) -> None: ...

    def run(self, stop: Callable[[], bool]) -> None: ...


class Serving:
    """A loop in a thread, and a way to have things done there."""

    def __init__(self, loop: Loop) -> None:
        self._orders: deque[tuple[Callable[[], object], threading.Event]] = deque()
        self._stopping = False
        self._out, self._in = os.pipe()
        loop.watch(self._out, self._take)
        self._thread = threading.Thread(target=lambda: loop.run(lambda: self._stopping), name="told card")
        self._thread.start()

    def soon(self, order: Callable[[], object]) -> threading.Event:
        """Have it done once the loop is at its next turn; the event tells when."""
        done = threading.Event()
        self._orders.append((order, done))
        os.write(self._in, b"!")
        return done

    def do(self, order: Callable[[], object]) -> None:
        assert self.soon(order).wait(60)

    def end_soon(self) -> None:
        """Let the loop end: for what it calls itself."""

        def stop() -> None:
            self._stopping = True

        self.soon(stop)

    def stop(self) -> None:
        if self._in < 0:
            return
        self.end_soon()
        self._thread.join(60)
        assert not self._thread.is_alive()
        os.close(self._out)
        os.close(self._in)
        self._out = self._in = -1

    def _take(self) -> None:
        os.read(self._out, 1)
        order, done = self._orders.popleft()
        order()
        done.set()


def _nothing(_burst: Burst) -> None:
    pass
