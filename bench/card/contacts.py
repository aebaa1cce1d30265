"""IO#1: the card's contacts. Answers to reset, agrees on protocol and rate (PPS), then speaks T=0 or T=1 (ISO/IEC 7816-3).

Runs apart from everything above.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Final

from bench.card.pps_behaviour import PpsBehaviour, say
from bench.engine import Engine, Timer
from bench.iso7816.atr import Atr, parse_atr
from bench.iso7816.line import Burst, etu_ticks
from bench.iso7816.pps import expected_length
from bench.iso7816.rates import GUARD_ETU, RATE_DEFAULT, TURNAROUND_T0_ETU, Rate, sweep_range
from bench.iso7816.t0 import Reply, T0Card, T0Timing, TpduHandler
from bench.iso7816.t0_line import undamaged
from bench.iso7816.t1_card import ApduHandler, ApduReply, T1Card

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
    wtxs: int = 0
    """NULL bytes before every other procedure byte."""


SOUND: Final = ContactTraits()
NOBODY: Final[Mapping[int, ApduHandler]] = MappingProxyType({})


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
        nodes: Mapping[int, ApduHandler] = NOBODY,
    ) -> None:
        """``handler`` answers under T=0. ``nodes`` answer under T=1, each at its DAD; none are needed where the ATR does not offer it."""
        self.engine = engine
        self.atr_bytes = atr
        self.atr: Atr = parse_atr(atr)
        self.traits = traits
        self.atr_delay_cycles = atr_delay_cycles
        self.handler = handler
        self.nodes = nodes
        self.on_reset = on_reset
        """Called with True at power-up and reset, with False when power goes."""
        self.transmit: Callable[[Burst], None] = _into_the_air
        self.clock_hz = 0
        self.rate = Rate(RATE_DEFAULT)
        self._machine: T0Card | T1Card | None = None
        """Speaks the protocol in use; there while the card has power."""
        self._etu = 0
        self._answered = atr
        """The answer to reset that ``atr`` was read from."""
        self._pps = bytearray()
        self._fresh = False
        self._reminder: Timer | None = None
        self._later: Callable[[Reply], None] = _nobody
        self._apdu_later: Callable[[ApduReply], None] = _nobody

    @property
    def powered(self) -> bool:
        return self._machine is not None

    @property
    def etu(self) -> int:
        return self._etu

    @property
    def signals(self) -> bool:
        return isinstance(self._machine, T0Card)

    @property
    def ifsd(self) -> int:
        """The longest information field that the terminal takes; 0 where T=1 is not in use."""
        return self._machine.ifsd if isinstance(self._machine, T1Card) else 0

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
        mode = self.atr.specific_mode
        self._speak(self.atr.first_protocol if mode is None else mode.protocol, Rate(RATE_DEFAULT))
        self._fresh = mode is None
        self._pps.clear()
        self.on_reset(True)
        timebase = self.engine.timebase
        start = now + timebase.cycles(self.atr_delay_cycles, self.clock_hz)
        self.transmit(Burst(answer, start, GUARD_ETU * self._etu, self._etu))
        if mode is not None:
            self._speak(
                mode.protocol, self.atr.rate
            )  # in force from the character after the answer to reset on (6.3.1)

    def power_down(self, now: int) -> None:
        del now
        self._cancel()
        if self._machine is not None:
            self._machine = None
            self.on_reset(False)

    def busy_until(self) -> int:
        """Up to which tick commands and their answers have kept the line, or may keep it."""
        return self._machine.busy_until(self.engine.now) if self._machine is not None else 0

    def receive(self, burst: Burst, damaged: Collection[int] = ()) -> None:
        machine = self._machine
        if machine is None:
            return
        if self._fresh:
            sound = undamaged(burst, damaged) if damaged else burst.data
            if sound and (sound[0] == PPSS or self._pps):
                self._exchange_pps(burst, sound)
                return
            if isinstance(machine, T0Card) and damaged:
                burst, damaged = Burst(sound, burst.start, burst.pitch, burst.etu), ()
                if not sound:
                    return
            self._fresh = False
        if isinstance(machine, T0Card):
            self._send(machine.receive(burst, self._later, damaged))
        else:
            self._send(machine.receive(burst, self._apdu_later, damaged))

    def signalled(self, burst: Burst, index: int) -> None:
        machine = self._machine
        if isinstance(machine, T0Card):
            self._send(machine.signalled(burst, index))

    # -- inside --------------------------------------------------------------------------------------------------------

    def _exchange_pps(self, burst: Burst, sound: bytes) -> None:
        self._pps += sound
        if len(self._pps) < 2 or len(self._pps) < expected_length(self._pps[1]):
            return
        request = bytes(self._pps)
        self._pps.clear()
        answer = say(self.traits.pps, request, self.atr.protocols, sweep_range(self.atr.ta1, self.clock_hz))
        if answer is None:
            return
        self._fresh = False
        etu = self._etu
        self.transmit(Burst(answer.response, burst.last + TURNAROUND_T0_ETU * etu, GUARD_ETU * etu, etu))
        self._speak(answer.protocol, answer.rate)

    def _speak(self, protocol: int, rate: Rate) -> None:
        """From the next character on: this protocol at this rate."""
        timebase = self.engine.timebase
        self.rate = rate
        self._etu = etu_ticks(rate, self.clock_hz, timebase)
        if protocol == 1:
            self._machine = t1 = T1Card.for_atr(
                self.nodes, self.atr, rate, self.clock_hz, timebase, wtxs=self.traits.wtxs
            )
            self._apdu_later = partial(self._answer_apdu, t1)
        else:
            timing = T0Timing.at_rate(self.atr, rate, self.clock_hz, timebase)
            self._machine = t0 = T0Card(self.handler, timing, self.traits.nulls)
            self._later = partial(self._answer, t0)

    def _answer(self, t0: T0Card, reply: Reply) -> None:
        """The answer a command was promised, if the card has not been reset meanwhile."""
        if t0 is self._machine and t0.busy:
            self._send(t0.complete(reply, self.engine.now))

    def _answer_apdu(self, t1: T1Card, reply: ApduReply) -> None:
        if t1 is self._machine and t1.busy:
            self._send(t1.complete(reply, self.engine.now))

    def _send(self, burst: Burst | None) -> None:
        if burst is not None:
            self.transmit(burst)
        machine = self._machine
        if machine is None:
            return
        deadline = machine.deadline
        if deadline is None and self._reminder is None:
            return
        self._cancel()
        if deadline is not None:
            self._reminder = self.engine.at(deadline, self._remind)

    def _remind(self) -> None:
        self._reminder = None
        if self._machine is not None and self._machine.deadline is not None:
            self._send(self._machine.remind())

    def _cancel(self) -> None:
        if self._reminder is not None:
            self._reminder.cancel()
            self._reminder = None


def _into_the_air(_burst: Burst) -> None:
    pass


def _nobody(_reply: object) -> None:
    pass
