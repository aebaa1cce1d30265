"""A card behind a UART: the bytes a serial port carries, and the bursts of a card's contacts.

The port belongs to whoever is served (the terminal). TxD and RxD share the card's one I/O wire, so what the terminal sends comes back to it; reset
and supply are lines of the port. The terminal's baud rate and parity are its own business: where they are not the card's, both hear what sampling the
other's edges gives (`bench.iso7816.disturbance`). A UART neither sees nor gives the error signal of T=0 (ISO/IEC 7816-3:2006, 7.3): a card that
refused a character waits for a repetition that does not come.

Left out: parity and framing errors are not reported to the terminal with the character (RFC 2217 and ptys have no place for them).

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

import time
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final

from bench.engine import VirtualEngine
from bench.iso7816.atr_values import Convention
from bench.iso7816.disturbance import Disturbance, End, Fault, carry
from bench.iso7816.edges import swap
from bench.iso7816.line import CHARACTER_END_ETU, Burst, CardEnd
from bench.iso7816.rates import BGT_ETU
from bench.serve.slaved import SlavedEngine

INITIAL_BAUD: Final = 9600
REST_NS: Final = 50 * 10**6
"""How long the card's time stands still, but on a paced line, for the rest of what the terminal has begun to write. The system (and a USB adapter)
may hand it over in pieces, and at a high rate the card's waiting times are shorter than that takes."""
_PARITY_CELL: Final = 1 << 9
"""Of the twelve etu of a character: start, eight data bits, parity, guard time."""


class Parity(StrEnum):
    """What the terminal's UART puts after the data bits; as pyserial names them."""

    NONE = "N"
    EVEN = "E"
    ODD = "O"
    MARK = "M"
    SPACE = "S"


@dataclass(frozen=True, slots=True)
class UartSettings:
    """How the terminal's port is set."""

    baud: int = INITIAL_BAUD
    parity: Parity | None = Parity.EVEN
    """None: the port cannot carry any (a pty), so that it is always the card's."""
    stop_bits: int = 2

    @property
    def character_bits(self) -> int:
        """From one leading edge to the next, in bits."""
        return 9 + (self.parity is not Parity.NONE) + self.stop_bits


class Pacing(Enum):
    """What time it is on the line."""

    AT_ONCE = "at once"
    """Characters take no time of the wall: the engine runs ahead by what they take on the line."""
    LINE = "line"
    """Characters leave when a line at the card's rate would have brought them."""
    WIRED = "wired"
    """There is a real line: characters have been on it when they come in, and go out when they are to begin."""


@dataclass(slots=True)
class _Out:
    """What the terminal is to read."""

    data: bytes
    due: int
    """When the first of it may go, and how much later each following one."""
    pitch: int
    etu: int


class ServedUart:
    """One card behind one serial port, in the world's time. ``received`` and ``lines`` come from the port; ``due`` is what it gets."""

    def __init__(
        self,
        end: CardEnd,
        engine: VirtualEngine,
        clock_hz: int,
        pacing: Pacing = Pacing.AT_ONCE,
        *,
        echo: bool | None = None,
    ) -> None:
        """``echo``: whether the terminal reads what it sends; by default it does, but on a real line, which sees to that itself."""
        self.end = end
        self.engine = engine
        self.clock_hz = clock_hz
        self.pacing = pacing
        self.echo = pacing is not Pacing.WIRED if echo is None else echo
        self.settings = UartSettings()
        self.convention = Convention.DIRECT
        """The card's, as its last answer to reset began."""
        self.present = True
        self._standing: int | None = None
        """Since when, on the wall's clock (ns), the card's time has stood still."""
        self._stood = 0
        self._rest_until = 0
        self.slaved = SlavedEngine(engine, self._clock)
        self._power = False
        self._rst = False
        self._powered = False
        """The card has been given power and RST since it is there."""
        self._epoch = 0
        """Counts resets and removals: what was on the line before one does not arrive after it."""
        self._silent = True
        """The card has not begun its answer to reset."""
        self._free = 0
        """When the terminal's UART has sent what it was given."""
        self._heard_until = 0
        """When the card has heard what the terminal sent."""
        self._busy_until = 0
        """When the card's own answer has been, too."""
        self._spoken = 0
        """When the terminal may begin, after the card's last character."""
        self._begun = False
        """The terminal has said something that the card has not answered."""
        self._deaf = 0
        """Until when the card is inside a character."""
        self._still = Disturbance(0)
        self._out: deque[_Out] = deque()
        end.transmit = self._from_card

    # -- the port's lines ------------------------------------------------------------------------------------------------------

    def lines(self, *, power: bool, rst: bool) -> None:
        """VCC, and RST: True is high, the card runs."""
        now = self.slaved.follow()
        if power == self._power and rst == self._rst:
            return
        running = self._power and self._rst
        self._power, self._rst = power, rst
        if not power:
            self._off()
        elif rst and not running and self.present:
            self._reset(now)
        elif not rst:
            self._cut()

    def reset(self) -> None:
        """RST falls, where it is not low, and rises, on a card that has power."""
        if self._power:
            self.lines(power=True, rst=False)
            self.lines(power=True, rst=True)

    def pull(self) -> None:
        """Take the card away."""
        self.slaved.follow()
        self.present = False
        self._off()

    def insert(self) -> None:
        """Put it back: it answers to the next reset."""
        self.present = True

    def off(self) -> None:
        """Nobody is served any more."""
        self._power = self._rst = False
        self._off()

    def _reset(self, now: int) -> None:
        self._cut()
        if self._powered:
            self.end.reset(now)
        else:
            self._powered = True
            self.end.power_up(now, self.clock_hz)
        self._run_ahead()

    def _off(self) -> None:
        self._cut()
        if self._powered:
            self._powered = False
            self.end.power_down(self.engine.now)

    def _cut(self) -> None:
        self._epoch += 1
        self._silent = True
        self._begun = False
        self._out.clear()
        self._free = self._heard_until = self._busy_until = self._deaf = self.engine.now

    # -- from the terminal -----------------------------------------------------------------------------------------------------

    @property
    def etu(self) -> int:
        """The terminal's."""
        return max(1, round(self.engine.timebase.hz / self.settings.baud))

    def received(self, data: bytes) -> None:
        """The terminal has written."""
        now = self.slaved.follow()
        if self._standing is None:
            self._standing = time.monotonic_ns()  # what we take to work it out is no time of the card's
        etu = self.etu
        pitch = self.settings.character_bits * etu
        wired = self.pacing is Pacing.WIRED
        # of a real line's characters only the end is known; they began after the card's own, and a turn-around
        start = max(now - pitch * len(data), self._spoken, self._free) if wired else max(now, self._free)
        self._free = start + pitch * len(data)
        if self.echo:
            self._out.append(_Out(data, start + CHARACTER_END_ETU * etu, pitch, etu))
        inverse = self.convention is Convention.INVERSE
        burst = Burst(bytes(map(swap, data)) if inverse else data, start, pitch, etu)
        self._heard_until = self._busy_until = max(self._busy_until, burst.taken)
        if self._powered and self._rst:
            self._to_card(burst, data)
        before = len(self._out)
        self._run_ahead()
        if self.pacing is not Pacing.LINE and self._powered and len(self._out) == before:
            self._rest_until = time.monotonic_ns() + REST_NS
        else:
            self._go_on()

    def _to_card(self, burst: Burst, written: bytes) -> None:
        receiver = End(self.end.etu, self.engine.timebase.cycles(1, self.clock_hz))
        faults = self._parity_faults(written)
        if not faults and self._deaf <= burst.start and receiver.bears(End(burst.etu), 0):
            # what goes on with something begun comes character by character: the card's waiting time within a block is short
            step = 1 if self._begun else len(burst.data)
            self._begun = True
            for at in range(0, len(burst.data), step):
                piece = Burst(burst.data[at : at + step], burst.start + at * burst.pitch, burst.pitch, burst.etu)
                self._arrive_at(piece.taken, piece, ())
            return
        delivery = carry(
            burst, faults, End(burst.etu), receiver, signals=False, disturbance=self._still, deaf_until=self._deaf
        )
        self._deaf = delivery.deaf_until
        self._heard_until = self._busy_until = max(self._busy_until, delivery.ended)
        for piece, damaged in delivery.pieces(burst.pitch, receiver.etu):
            self._arrive_at(delivery.ended, piece, damaged)

    def _arrive_at(self, time: int, burst: Burst, damaged: Collection[int]) -> None:
        epoch = self._epoch
        self.engine.at(time, lambda: self.end.receive(burst, damaged) if epoch == self._epoch else None)

    def _parity_faults(self, written: bytes) -> dict[int, Fault]:
        """The characters whose ninth bit is not what the card expects there."""
        parity = self.settings.parity
        right = Parity.EVEN if self.convention is Convention.DIRECT else Parity.ODD
        if parity is None or parity is right:
            return {}
        odd = right is Parity.ODD
        flipped = Fault(flips=_PARITY_CELL)
        return {
            index: flipped
            for index, value in enumerate(written)
            if _ninth_bit(value, parity) != (value.bit_count() & 1) ^ odd
        }

    # -- from the card ---------------------------------------------------------------------------------------------------------

    def _from_card(self, burst: Burst) -> None:
        if not (self._power and self._rst and self.present):
            return
        self._begun = False
        if self._silent:
            self._silent = False
            inverse = burst.data[:1] == bytes((Convention.INVERSE,))
            self.convention = Convention.INVERSE if inverse else Convention.DIRECT
        self._busy_until = max(self._busy_until, burst.taken)
        self._spoken = burst.last + BGT_ETU * burst.etu
        before = 0 if self.pacing is Pacing.WIRED else CHARACTER_END_ETU * burst.etu
        sender = End(burst.etu, self.engine.timebase.cycles(1, self.clock_hz))
        if self.pacing is Pacing.WIRED or End(self.etu).bears(sender, 0):
            data = bytes(map(swap, burst.data)) if self.convention is Convention.INVERSE else burst.data
            self._out.append(_Out(data, burst.start + before, burst.pitch, burst.etu))
            return
        delivery = carry(burst, {}, sender, End(self.etu), signals=False, disturbance=self._still)
        for heard in delivery.heard:
            value = swap(heard.value) if self.convention is Convention.INVERSE else heard.value
            due = heard.start + CHARACTER_END_ETU * self.etu
            self._out.append(_Out(bytes((value,)), due, burst.pitch, burst.etu))

    # -- time ------------------------------------------------------------------------------------------------------------------

    def _clock(self) -> int:
        """The wall's, without the times it stood still."""
        now = time.monotonic_ns() if self._standing is None else self._standing
        return now - self._stood

    def _go_on(self) -> None:
        if self._standing is not None:
            self._stood += time.monotonic_ns() - self._standing
            self._standing = None

    def follow(self) -> None:
        """Let the card live up to now."""
        if self._standing is not None and time.monotonic_ns() > self._rest_until:
            self._go_on()
        self.slaved.follow()
        self._run_ahead()

    def due(self) -> list[tuple[bytes, int]]:
        """What goes to the terminal now: data, and the etu at which it is sent."""
        out: list[tuple[bytes, int]] = []
        queue = self._out
        wall = self.engine.now if self.pacing is Pacing.AT_ONCE else self.slaved.wall
        while queue:
            first = queue[0]
            ready = len(first.data)
            if self.pacing is Pacing.LINE:
                ready = min(ready, (wall - first.due) // first.pitch + 1)
            elif self.pacing is Pacing.WIRED and first.due > wall:
                ready = 0
            if ready <= 0:
                break
            out.append((first.data[:ready], first.etu))
            if ready < len(first.data):
                first.data = first.data[ready:]
                first.due += ready * first.pitch
                break
            queue.popleft()
        return out

    @property
    def waiting(self) -> bool:
        """Whether there is something that is not due yet."""
        return bool(self._out)

    def sleep(self, longest: float) -> float:
        """Seconds until there is something to do again, at most ``longest``."""
        sleep = self.slaved.sleep(longest)
        if self._standing is not None:
            sleep = min(longest, REST_NS / 1e9)
        if self._out and self.pacing is not Pacing.AT_ONCE:
            sleep = min(sleep, self.slaved.seconds_until(self._out[0].due))
        return 0.0 if self._out and self.pacing is Pacing.AT_ONCE else sleep

    def _run_ahead(self) -> None:
        """What is on the line has been: at once all of it, as far as it is known; on a real line what was read from it."""
        if self.pacing is Pacing.LINE:
            return
        while (until := self._heard_until if self.pacing is Pacing.WIRED else self._busy_until) > self.engine.now:
            self.slaved.leap(until - self.engine.now)


def _ninth_bit(value: int, parity: Parity) -> int:
    """What follows the data bits on the line: a parity bit, or the first stop bit."""
    match parity:
        case Parity.EVEN:
            return value.bit_count() & 1
        case Parity.ODD:
            return value.bit_count() & 1 ^ 1
        case Parity.SPACE:
            return 0
        case _:
            return 1
