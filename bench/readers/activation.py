"""Bringing a card up on a reader at character level: operating classes from the lowest, cold and warm reset, answer to reset, PPS.

ISO/IEC 7816-3:2006, 6.2.2 (cold reset), 6.2.3 (warm reset), 6.2.4 (selection of the class), 6.3 (specific and negotiable mode), 9 (PPS).
What does not come up is deactivated and named: ``mute``, ``bad ATR: …``, ``class: …``, ``mode: …``, ``PPS …``.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final, Protocol

from bench.engine import Engine, Timer
from bench.iso7816.atr import CLASSES, T15, Atr, AtrError, Rule, parse_atr
from bench.iso7816.disturbance import PPM
from bench.iso7816.line import CHARACTER_TAKEN_ETU, Burst, CardEnd
from bench.iso7816.pps import Pps, evaluate, expected_length
from bench.iso7816.rates import (
    ATR_START_MAX_CYCLES,
    INITIAL_WT_ETU,
    RATE_DEFAULT,
    RESET_LOW_MIN_CYCLES,
    TURNAROUND_T0_ETU,
    Rate,
    guard_cycles,
)
from bench.iso7816.t0_line import Repeater

CLASSES_LOWEST_FIRST: Final = "CBA"
"""1.8 V, 3 V, 5 V."""
CLASS_PAUSE_NS: Final = 10 * 10**6
"""Between two classes the contacts are without power at least this long (6.2.4)."""
MISMATCH: Final = "protocol mismatch"
"""How a power-up ends where the card does not offer the protocol asked for: nobody's failure, and PPS may not propose it (9.2)."""

_UNFINISHED: Final = frozenset({Rule.EMPTY, Rule.TRUNCATED, Rule.TCK_MISSING})
"""What an answer to reset breaks while characters of it are still to come."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the terminal wants of a card beyond the defaults."""

    ta1: int | None = None
    """The rate to ask for; None stays at the default one."""
    protocol: int | None = None
    """The protocol to ask for; None takes the first one offered."""
    pps2: int | None = None
    pps3: int | None = None
    """Further parameters to propose (9.2)."""
    classes: str = "A"
    """Operating classes it can supply."""
    fallback: bool = False
    """After a PPS that failed, bring the card up again and go on without one."""


@dataclass(frozen=True, slots=True)
class Activated:
    """A card that is up."""

    atr: Atr
    rate: Rate
    protocol: int
    operating_class: str
    burst: Burst
    """The last thing it said: the first command keeps its guard time from there."""


class ActivationLine(Protocol):
    """What an activation needs of the reader it brings a card up for."""

    engine: Engine
    clock_hz: int
    mismatch_ppm: int

    def activation_send(self, burst: Burst) -> None:
        """Send to the card."""

    def card_here(self) -> CardEnd | None:
        """The card on the contacts."""

    def activation_reset(self) -> None:
        """RST falls: what was on the line does not arrive any more."""

    def arriving(self) -> Burst | None:
        """The card's last burst where it may have begun and not ended."""

    def rst_rises(self) -> None:
        """Told just before the card sees RST rise."""

    def activated(self, result: Activated) -> None:
        """The card has answered, and PPS is over."""

    def not_activated(self, why: str) -> None:
        """The card is to be deactivated."""


class Activation:
    """One attempt to bring a card up, from power (or RST low) to the first command. ``heard`` and ``signalled`` are the line's."""

    def __init__(self, line: ActivationLine, wishes: Wishes, patience: int = 0) -> None:
        """``patience`` is added to every waiting time, where characters are known of later than they are on the line."""
        self.line = line
        self.engine = line.engine
        self.wishes = wishes
        self.patience = patience
        self._left = [each for each in CLASSES_LOWEST_FIRST if each in wishes.classes]
        self._class = ""
        self._atr: Atr | None = None
        self._heard = bytearray()
        self._pps: Pps | None = None
        self._repeater = Repeater()
        self._warm = False
        """A warm reset has been tried since the last cold one."""
        self._no_pps = False
        self._why = ""
        """The first thing that went wrong."""
        self._timer: Timer | None = None
        self._card: CardEnd | None = None
        """The card that was there when RST fell: one that comes later is found by the next attempt."""

    def cold(self) -> None:
        """Power up, beginning with the lowest class."""
        self._next_class()

    def warm(self, operating_class: str) -> None:
        """RST alone, on a card that has power."""
        self._class, self._left = operating_class, []
        self._warm_reset()

    def cancel(self) -> None:
        """Stop: nothing more is told."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def heard(self, burst: Burst, damaged: Collection[int] = ()) -> None:
        """The card's burst; ``damaged`` are the indices of characters with wrong parity."""
        before = len(self._heard)
        self._heard += burst.data
        if damaged:
            wrong = f"character {before + min(damaged) + 1} has wrong parity"
            if self._pps is None:
                self._bad_atr(f"bad ATR: {wrong} (ISO/IEC 7816-3, 7.2)")
            else:
                self._pps_failed(f"PPS: {wrong}")
        elif self._pps is None:
            self._atr_heard(burst)
        else:
            self._pps_heard(burst)

    def signalled(self, burst: Burst, index: int) -> None:
        """The card refused a character of the PPS request (7.3)."""
        again = self._repeater.again(burst, index) if self._pps is not None else None
        if again is not None:
            self.line.activation_send(again)
            self._wait_until(again.last + INITIAL_WT_ETU * self._etu + self.patience, self._pps_overdue)

    # -- resets ----------------------------------------------------------------------------------------------------------

    @property
    def _etu(self) -> int:
        """The initial etu, as the terminal has it."""
        return drifted(self._cycles(Rate(RATE_DEFAULT).f), self.line.mismatch_ppm)

    def _cycles(self, count: int) -> int:
        return self.engine.timebase.cycles(count, self.line.clock_hz)

    def _wait_until(self, time: int, action: Callable[[], object]) -> None:
        self.cancel()
        self._timer = self.engine.at(time, action)

    def _next_class(self) -> None:
        self._class = self._left.pop(0)
        self._cold_reset()

    def _cold_reset(self) -> None:
        self._warm = False
        self._begin()
        self._wait_until(self.engine.now + self._cycles(RESET_LOW_MIN_CYCLES), lambda: self._released(cold=True))

    def _warm_reset(self) -> None:
        self._warm = True
        self._begin()
        self._wait_until(self.engine.now + self._cycles(RESET_LOW_MIN_CYCLES), lambda: self._released(cold=False))

    def _begin(self) -> None:
        self._heard.clear()
        self._pps = None
        self._card = self.line.card_here()
        self.line.activation_reset()

    def _released(self, *, cold: bool) -> None:
        limit = self._cycles(ATR_START_MAX_CYCLES) + INITIAL_WT_ETU * self._cycles(Rate(RATE_DEFAULT).f) // 20
        self._wait_until(self.engine.now + limit + self.patience, lambda: self._no_answer("mute"))
        card = self.line.card_here()
        if card is not self._card:
            self._no_answer("mute")
            return
        self.line.rst_rises()
        if card is None:
            return
        if cold:
            card.power_up(self.engine.now, self.line.clock_hz, self._class)
        else:
            card.reset(self.engine.now)

    def _no_answer(self, why: str) -> None:
        """No usable answer in this class: the next one, after a pause without power."""
        self._why = self._why or why
        self.cancel()
        card = self.line.card_here()
        if not self._left:
            self.line.not_activated(self._why)
            return
        if card is not None:
            card.power_down(self.engine.now)
        self.line.activation_reset()
        self._wait_until(self.engine.now + self.engine.timebase.nanoseconds(CLASS_PAUSE_NS), self._next_class)

    def _bad_atr(self, why: str) -> None:
        """One warm reset, then the next class (6.2.4)."""
        self._why = self._why or why
        if self._warm:
            self._no_answer(why)
        else:
            self._warm_reset()

    # -- answer to reset -------------------------------------------------------------------------------------------------

    def _atr_heard(self, burst: Burst) -> None:
        try:
            atr = parse_atr(bytes(self._heard))
        except AtrError as error:
            why = f"bad ATR: {error}"
            if error.rule in _UNFINISHED:
                wait = (INITIAL_WT_ETU + CHARACTER_TAKEN_ETU) * self._etu + self.patience
                self._wait_until(burst.last + wait, lambda: self._atr_overdue(why))
            else:
                self._bad_atr(why)
            return
        self.cancel()
        self._atr = atr
        if not self._class_fits(atr):
            self._no_answer(f"class: the card works in class {atr.classes}, the reader supplies {self.wishes.classes}")
            return
        mode = atr.specific_mode
        if mode is None:
            self._negotiate(atr, burst)
        elif mode.implicit:
            self._give_up("mode: specific mode with parameters that only the card knows (TA2 b5, ISO/IEC 7816-3, 8.3)")
        elif self._wants_other(atr) and mode.can_change and not self._warm:
            self._warm_reset()  # it may come back in negotiable mode (6.3.1)
        else:
            self._done(atr.rate, mode.protocol, burst)

    def _atr_overdue(self, why: str) -> None:
        """No more of the answer to reset has been taken; a burst that has begun is heard to its end."""
        arriving = self.line.arriving()
        if arriving is not None and arriving.start <= self.engine.now < arriving.taken:
            self._wait_until(arriving.taken + 1, lambda: self._atr_overdue(why))
        else:
            self._bad_atr(why)

    def _class_fits(self, atr: Atr) -> bool:
        """Whether the card names the class it is in; one that names none takes what it is given (8.3)."""
        named = any(group.protocol == T15 and group.index > 2 and group.ta is not None for group in atr.groups)
        return not named or self._class in CLASSES.get(atr.class_indicator, "")

    def _wants_other(self, atr: Atr) -> bool:
        wanted = self.wishes.ta1
        return wanted is not None and Rate(wanted).etu_cycles != atr.rate.etu_cycles

    # -- PPS ---------------------------------------------------------------------------------------------------------------

    def _negotiate(self, atr: Atr, burst: Burst) -> None:
        wishes = self.wishes
        protocol = atr.first_protocol if wishes.protocol is None else wishes.protocol
        if protocol not in atr.protocols:
            offered = " and ".join(f"T={each}" for each in atr.protocols)
            self._give_up(f"{MISMATCH}: T={protocol} is asked for, the card offers {offered}")
            return
        ta1 = wishes.ta1
        other_rate = ta1 is not None and Rate(ta1).etu_cycles != Rate(RATE_DEFAULT).etu_cycles
        other = other_rate or protocol != atr.first_protocol or wishes.pps2 is not None or wishes.pps3 is not None
        if self._no_pps or not other:
            self._done(Rate(RATE_DEFAULT), atr.first_protocol, burst)
            return
        self._heard.clear()
        self._pps = Pps(protocol, ta1 if other_rate else None, wishes.pps2, wishes.pps3)
        etu = self._etu
        guard = guard_cycles(atr.extra_guard_time, 0, Rate(RATE_DEFAULT), atr.rate, atr.has_t15)
        pitch = drifted(int(guard * self._cycles(1)), self.line.mismatch_ppm)
        start = max(self.engine.now, burst.last + max(TURNAROUND_T0_ETU * etu, pitch))
        request = Burst(self._pps.encode(), start, pitch, etu)
        self.line.activation_send(request)
        self._wait_until(request.last + INITIAL_WT_ETU * etu + self.patience, self._pps_overdue)

    def _pps_heard(self, burst: Burst) -> None:
        heard = bytes(self._heard)
        if len(heard) < 2 or len(heard) < expected_length(heard[1]):
            self._wait_until(burst.last + INITIAL_WT_ETU * self._etu + self.patience, self._pps_overdue)
            return
        assert self._pps is not None
        result = evaluate(self._pps, heard)
        if result.outcome.successful:
            self._done(result.rate, result.protocol, burst)
        else:
            self._pps_failed(f"PPS: {result.detail}")

    def _pps_overdue(self) -> None:
        """The waiting time is over; a burst that has begun is heard to its end."""
        arriving = self.line.arriving()
        if arriving is not None and arriving.start <= self.engine.now < arriving.taken:
            self._wait_until(arriving.taken + 1, self._pps_overdue)
        elif self._heard and self._pps is not None:
            self._pps_failed(f"PPS: {evaluate(self._pps, bytes(self._heard)).detail}")
        else:
            self._pps_failed("PPS not answered")

    def _pps_failed(self, why: str) -> None:
        """The card is deactivated (9.1); where the terminal falls back, it comes up once more and is not asked."""
        if not self.wishes.fallback or self._no_pps:
            self._give_up(why)
            return
        self._no_pps = True
        self.cancel()
        card = self.line.card_here()
        if card is not None:
            card.power_down(self.engine.now)
        self.line.activation_reset()
        self._wait_until(self.engine.now + self.engine.timebase.nanoseconds(CLASS_PAUSE_NS), self._cold_reset)

    # -- ends --------------------------------------------------------------------------------------------------------------

    def _give_up(self, why: str) -> None:
        self.cancel()
        self.line.not_activated(why)

    def _done(self, rate: Rate, protocol: int, burst: Burst) -> None:
        self.cancel()
        assert self._atr is not None
        self.line.activated(Activated(self._atr, rate, protocol, self._class, burst))


def drifted(ticks: int, ppm: int) -> int:
    """A time of the terminal's UART whose rate differs from the clock it supplies: longer for a positive mismatch (parts per million)."""
    return ticks * (PPM + ppm) // PPM if ppm else ticks
