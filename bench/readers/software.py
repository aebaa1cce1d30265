"""The software reader: the terminal's end of a virtual wire, at character level, in the engine's time.

It does not simulate voltages, currents, contact bounce, or (so far) disturbance of characters. Inserting and removing a card is exact to the
tick: what is on the wire at that moment is lost, as on real contacts.
"""

from collections.abc import Callable
from typing import Final

from bench.engine import Engine, Timer
from bench.iso7816.atr import Atr, AtrError, Rule, parse_atr
from bench.iso7816.line import CHARACTER_TAKEN_ETU, Burst, CardEnd
from bench.iso7816.port import Answer, ExchangeLevel, PowerUp
from bench.iso7816.pps import Pps, evaluate
from bench.iso7816.rates import (
    ATR_START_MAX_CYCLES,
    GUARD_ETU,
    INITIAL_WT_ETU,
    RATE_DEFAULT,
    RESET_LOW_MIN_CYCLES,
    Rate,
)
from bench.iso7816.session import Side
from bench.iso7816.t0 import T0Outcome, T0Terminal, T0Timing


class SoftwareReader:
    """A TerminalPort over a virtual line. ``insert`` and ``remove`` are its hands."""

    level = ExchangeLevel.CHARACTER
    fetches_itself = False
    protocol = 0

    def __init__(self, engine: Engine, clock_hz: int, ta1: int | None = None, *, detects: bool = False) -> None:
        self.engine = engine
        self.clock_hz = clock_hz
        self.wanted_ta1 = ta1
        """The rate to ask for by PPS; None stays at the default one."""
        self.detects = detects
        """Whether a switch tells at once that the card is gone; otherwise silence does."""
        self.on_burst: Callable[[Burst, Side], None] | None = None
        """Told of every burst when it is sent (it may begin later), and who sends it: where the line is watched."""
        self.on_reset: Callable[[int], None] | None = None
        """Told when RST rises, before the answer to reset."""
        self.ta1 = RATE_DEFAULT
        self.atr: Atr | None = None
        self._card: CardEnd | None = None
        self._powered = False
        self._terminal: T0Terminal | None = None
        self._done: Callable[[Answer], None] | None = None
        self._power_done: Callable[[PowerUp], None] | None = None
        self._pps: Pps | None = None
        self._watch: Timer | None = None
        self._heard = bytearray()
        self._contact = 0
        """Counts insertions, removals and power-downs: what was sent before one does not arrive after it."""
        self._power_cycle = 0
        self._arriving: Burst | None = None
        """The card's last burst: it may have begun and not ended yet."""

    # -- hands -------------------------------------------------------------------------------------------------------------

    @property
    def present(self) -> bool:
        return self._card is not None

    def insert(self, card: CardEnd) -> None:
        """Put a card on the contacts. It is found by the next power-up."""
        self.remove()
        self._contact += 1
        self._card = card
        card.transmit = self._from_card

    def remove(self) -> CardEnd | None:
        """Take the card away: it loses power at once."""
        card, self._card = self._card, None
        self._contact += 1
        self._arriving = None
        if card is not None:
            card.transmit = _lost
            card.power_down(self.engine.now)
            if self.detects and self._done is not None:
                self._finish(Answer(b"", self.engine.now, self.engine.now, error="absent"))
        return card

    # -- TerminalPort ------------------------------------------------------------------------------------------------------

    def power_up(self, done: Callable[[PowerUp], None]) -> None:
        self.power_down()
        self._power_done = done
        self._powered = True
        self._terminal = None
        self._pps = None
        self.ta1 = RATE_DEFAULT
        self._heard.clear()
        contact = self._contact
        self._power_cycle += 1
        cycle = self._power_cycle
        low = self._cycles(RESET_LOW_MIN_CYCLES)
        self.engine.after(low, lambda: self._reset_released(contact) if cycle == self._power_cycle else None)

    def power_down(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if self._card is not None and self._powered:
            self._card.power_down(self.engine.now)
        self._powered = False
        self._contact += 1
        self._power_cycle += 1
        self._arriving = None
        self._terminal = None
        self._done = None
        self._power_done = None

    def submit(self, command: bytes, done: Callable[[Answer], None]) -> None:
        terminal = self._terminal
        if terminal is None or self._done is not None:
            raise RuntimeError("one exchange at a time, on a card that has answered to reset")
        if self.detects and self._card is None:
            done(Answer(b"", self.engine.now, self.engine.now, error="absent"))
            return
        self._done = done
        self._to_card(terminal.begin(command, self.engine.now))
        if self._watch is None:
            self._watch = self.engine.at(terminal.deadline + 1, self._look)

    # -- the wire ------------------------------------------------------------------------------------------------------------

    def _to_card(self, burst: Burst) -> None:
        if self.on_burst is not None:
            self.on_burst(burst, Side.TERMINAL)
        card = self._card
        if card is not None:
            contact = self._contact
            self.engine.at(burst.taken, lambda: card.receive(burst) if contact == self._contact else None)

    def _from_card(self, burst: Burst) -> None:
        if self.on_burst is not None:
            self.on_burst(burst, Side.CARD)
        contact = self._contact
        self._arriving = burst
        self.engine.at(burst.taken, lambda: self._received(burst) if contact == self._contact else None)

    def _received(self, burst: Burst) -> None:
        self._arriving = None
        if self._power_done is not None:
            self._starting(burst)
            return
        terminal = self._terminal
        if terminal is None:
            return
        step = terminal.receive(burst)
        if step is None:
            return
        if isinstance(step, Burst):
            self._to_card(step)
        else:
            self._ended(step)

    def _ended(self, outcome: T0Outcome) -> None:
        self._finish(
            Answer(
                outcome.response,
                outcome.start,
                outcome.end,
                outcome.characters,
                outcome.card_ticks,
                0,
                outcome.error,
            )
        )

    def _finish(self, answer: Answer) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(answer)

    def _look(self) -> None:
        """The watch on the waiting time: one timer a second or so, not one an exchange."""
        self._watch = None
        terminal = self._terminal
        if terminal is None or self._done is None:
            return
        arriving = self._arriving
        if arriving is not None and arriving.start <= terminal.deadline:
            # the waiting time runs between leading edges: a burst that has begun in time is heard to its end
            self._watch = self.engine.at(arriving.taken, self._look)
            return
        if self.engine.now > terminal.deadline:
            self._ended(terminal.expire(terminal.deadline))
        else:
            self._watch = self.engine.at(terminal.deadline + 1, self._look)

    # -- answer to reset, PPS ------------------------------------------------------------------------------------------------

    def _reset_released(self, contact: int) -> None:
        if contact != self._contact:
            if self._power_done is not None:  # a card came or went while RST was low
                self._gave_up("mute")
            return
        limit = self._cycles(ATR_START_MAX_CYCLES) + INITIAL_WT_ETU * self._cycles(372) // 20
        self._watch = self.engine.after(limit, lambda: self._gave_up("mute"))
        if self.on_reset is not None:
            self.on_reset(self.engine.now)
        if self._card is not None:
            self._card.power_up(self.engine.now, self.clock_hz)

    def _starting(self, burst: Burst) -> None:
        self._heard += burst.data
        if self._pps is not None:
            self._pps_answered(burst)
            return
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        try:
            atr = parse_atr(bytes(self._heard))
        except AtrError as error:
            if error.rule not in _UNFINISHED:
                self._gave_up(f"bad ATR: {error}")
                return
            why = f"bad ATR: {error}"
            self._watch = self.engine.at(burst.last + self._longest_wait(burst), lambda: self._atr_overdue(why))
            return
        self.atr = atr
        wanted = self.wanted_ta1
        if (
            wanted is not None
            and Rate(wanted).etu_cycles != Rate(RATE_DEFAULT).etu_cycles
            and atr.specific_mode is None
        ):
            self._heard.clear()
            self._pps = Pps(0, wanted)
            etu = T0Timing.at_rate(atr, Rate(RATE_DEFAULT), self.clock_hz, self.engine.timebase)
            start = max(self.engine.now, burst.last + etu.turnaround_to_card)
            request = Burst(self._pps.encode(), start, etu.pitch_to_card, etu.etu)
            self._to_card(request)
            self._watch = self.engine.at(
                request.last + INITIAL_WT_ETU * etu.etu, lambda: self._gave_up("PPS not answered")
            )
            return
        self._started(Rate(RATE_DEFAULT), burst)

    def _longest_wait(self, burst: Burst) -> int:
        """From a leading edge on, how long the next character of an answer to reset may take to have been taken."""
        return INITIAL_WT_ETU * burst.etu + CHARACTER_TAKEN_ETU * burst.etu

    def _atr_overdue(self, why: str) -> None:
        """No more of the answer to reset has been taken; a burst that has begun is heard to its end."""
        arriving = self._arriving
        if arriving is not None and arriving.start <= self.engine.now:
            self._watch = self.engine.at(arriving.taken, lambda: self._atr_overdue(why))
        else:
            self._gave_up(why)

    def _pps_answered(self, burst: Burst) -> None:
        assert self._pps is not None
        result = evaluate(self._pps, bytes(self._heard))
        if not result.outcome.successful:
            self._gave_up(f"PPS: {result.detail}")
            return
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        self._started(result.rate, burst)

    def _started(self, rate: Rate, burst: Burst) -> None:
        assert self.atr is not None
        timing = T0Timing.at_rate(self.atr, rate, self.clock_hz, self.engine.timebase)
        self.ta1 = rate.ta1
        # The guard time of the last character at the old rate (9.1) is longer than a turn-around at a fast new one.
        heard = max(burst.last, burst.last + GUARD_ETU * burst.etu - timing.turnaround_to_card)
        self._terminal = T0Terminal(timing, heard)
        done, self._power_done = self._power_done, None
        if done is not None:
            done(PowerUp(self.atr.encode()))

    def _gave_up(self, why: str) -> None:
        done = self._power_done
        self.power_down()
        if done is not None:
            done(PowerUp(b"", why))

    def _cycles(self, count: int) -> int:
        return self.engine.timebase.cycles(count, self.clock_hz)


_UNFINISHED: Final = frozenset({Rule.EMPTY, Rule.TRUNCATED, Rule.TCK_MISSING})
"""What an answer to reset breaks while characters of it are still to come."""


def _lost(_burst: Burst) -> None:
    pass
