"""IO#1: the card's contacts. Answers to reset, agrees on a rate (PPS), then speaks T=0; runs apart from everything above (ISO/IEC 7816-3)."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Final

from bench.card.pps_behaviour import PpsBehaviour, say
from bench.engine import Engine, Timer
from bench.iso7816.atr import Atr, parse_atr
from bench.iso7816.line import Burst, etu_ticks
from bench.iso7816.pps import expected_length
from bench.iso7816.rates import GUARD_ETU, RATE_DEFAULT, TURNAROUND_T0_ETU, Rate, sweep_range
from bench.iso7816.t0 import Reply, T0Card, T0Timing, TpduHandler
from bench.iso7816.t0_line import undamaged

PPSS = 0xFF


@dataclass(frozen=True, slots=True)
class ContactTraits:
    """What a card is like at its contacts, beyond its answer to reset; and how it can be wrong there."""

    warm_atr: bytes = b""
    """Its answer to a warm reset, where it is another one (specific mode that can change, 6.3.1)."""
    classes: str = "ABC"
    """Operating classes in which it answers; in others it stays mute."""
    pps: PpsBehaviour = PpsBehaviour.SOUND
    nulls: int = 0
    """NULL bytes before every other procedure byte."""


SOUND: Final = ContactTraits()


class Contacts:
    """A CardEnd: put it on a line."""

    def __init__(
        self,
        engine: Engine,
        atr: bytes,
        atr_delay_cycles: int,
        handler: TpduHandler,
        on_reset: Callable[[bool], None],
        traits: ContactTraits = SOUND,
    ) -> None:
        self.engine = engine
        self.atr_bytes = atr
        self.atr: Atr = parse_atr(atr)
        self.traits = traits
        self.atr_delay_cycles = atr_delay_cycles
        self.handler = handler
        self.on_reset = on_reset
        """Called with True at power-up and reset, with False when power goes."""
        self.transmit: Callable[[Burst], None] = _into_the_air
        self.clock_hz = 0
        self.rate = Rate(RATE_DEFAULT)
        self._t0: T0Card | None = None
        self._answered = atr
        """The answer to reset that ``atr`` was read from."""
        self._pps = bytearray()
        self._fresh = False
        self._reminder: Timer | None = None
        self._later: Callable[[Reply], None] = _nobody

    @property
    def powered(self) -> bool:
        return self._t0 is not None

    @property
    def etu(self) -> int:
        return self._timing.etu

    @property
    def signals(self) -> bool:
        return self._t0 is not None

    def power_up(self, now: int, clock_hz: int, operating_class: str = "A") -> None:
        self.clock_hz = clock_hz
        if operating_class in self.traits.classes:
            self._reset(now, self.atr_bytes)

    def reset(self, now: int) -> None:
        if self.powered:
            self._reset(now, self.traits.warm_atr or self.atr_bytes)

    def _reset(self, now: int, answer: bytes) -> None:
        self._cancel()
        if answer != self._answered:
            self._answered = answer
            self.atr = parse_atr(answer)
        self._use(Rate(RATE_DEFAULT))
        self._t0 = T0Card(self.handler, self._timing, self.traits.nulls)
        self._later = partial(self._answer, self._t0)
        mode = self.atr.specific_mode
        self._fresh = mode is None
        self._pps.clear()
        self.on_reset(True)
        timebase = self.engine.timebase
        start = now + timebase.cycles(self.atr_delay_cycles, self.clock_hz)
        etu = self._timing.etu
        self.transmit(Burst(answer, start, GUARD_ETU * etu, etu))
        if mode is not None:
            self._use(self.atr.rate)  # in force from the character after the answer to reset on (6.3.1)
            self._t0.timing = self._timing

    def power_down(self, now: int) -> None:
        del now
        self._cancel()
        if self._t0 is not None:
            self._t0 = None
            self.on_reset(False)

    def busy_until(self) -> int:
        """Up to which tick commands and their answers have kept the line, or may keep it."""
        return self._t0.busy_until(self.engine.now) if self._t0 is not None else 0

    def receive(self, burst: Burst, damaged: Collection[int] = ()) -> None:
        t0 = self._t0
        if t0 is None:
            return
        if self._fresh:
            if damaged:
                burst, damaged = Burst(undamaged(burst, damaged), burst.start, burst.pitch, burst.etu), ()
            if not burst.data:
                return
            if burst.data[0] == PPSS or self._pps:
                self._exchange_pps(burst)
                return
            self._fresh = False
        self._send(t0.receive(burst, self._later, damaged))

    def signalled(self, burst: Burst, index: int) -> None:
        t0 = self._t0
        if t0 is not None:
            self._send(t0.signalled(burst, index))

    # -- inside --------------------------------------------------------------------------------------------------------

    def _exchange_pps(self, burst: Burst) -> None:
        self._pps += burst.data
        if len(self._pps) < 2 or len(self._pps) < expected_length(self._pps[1]):
            return
        request = bytes(self._pps)
        self._pps.clear()
        answer = say(self.traits.pps, request, self.atr.protocols, sweep_range(self.atr.ta1, self.clock_hz))
        if answer is None:
            return
        self._fresh = False
        etu = self._timing.etu
        self.transmit(Burst(answer.response, burst.last + TURNAROUND_T0_ETU * etu, GUARD_ETU * etu, etu))
        self._use(answer.rate)
        if self._t0 is not None:
            self._t0.timing = self._timing

    def _use(self, rate: Rate) -> None:
        self.rate = rate
        self._timing = T0Timing.at_rate(self.atr, rate, self.clock_hz, self.engine.timebase)
        assert self._timing.etu == etu_ticks(rate, self.clock_hz, self.engine.timebase)

    def _answer(self, t0: T0Card, reply: Reply) -> None:
        """The answer a command was promised, if the card has not been reset meanwhile."""
        if t0 is self._t0 and t0.busy:
            self._send(t0.complete(reply, self.engine.now))

    def _send(self, burst: Burst | None) -> None:
        t0 = self._t0
        if burst is not None:
            self.transmit(burst)
        if t0 is None or (t0.deadline is None and self._reminder is None):
            return
        self._cancel()
        if t0.deadline is not None:
            self._reminder = self.engine.at(t0.deadline, self._remind)

    def _remind(self) -> None:
        self._reminder = None
        if self._t0 is not None and self._t0.deadline is not None:
            self._send(self._t0.remind())

    def _cancel(self) -> None:
        if self._reminder is not None:
            self._reminder.cancel()
            self._reminder = None


def _into_the_air(_burst: Burst) -> None:
    pass


def _nobody(_reply: Reply) -> None:
    pass
