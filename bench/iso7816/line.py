"""The I/O line of ISO/IEC 7816-3: half-duplex, characters of start bit, eight data bits and parity.

A *burst* is a run of characters with equal spacing, and one event. Its edges are worked out only when someone looks, from the leading edge
of its first character, the spacing and the etu. Guard times run from leading edge to leading edge.
What may happen to characters on their way: `bench.iso7816.disturbance`.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Protocol

from bench.engine import Timebase
from bench.iso7816.rates import Rate

CHARACTER_END_ETU: Final = 10
"""A character's own length: start bit, eight data bits, parity (7.2)."""
CHARACTER_TAKEN_ETU: Final = 11
"""When both sides know that a character was taken: the transmitter samples I/O for the error signal 11 etu after the leading edge (7.3)."""


@dataclass(slots=True)
class Burst:
    """Characters sent in one go. Times in ticks."""

    data: bytes
    start: int
    """Leading edge of the first character."""
    pitch: int
    """Leading edge to leading edge."""
    etu: int

    @property
    def last(self) -> int:
        """Leading edge of the last character."""
        return self.start + self.pitch * (len(self.data) - 1)

    @property
    def end(self) -> int:
        """End of the last character's parity bit."""
        return self.last + CHARACTER_END_ETU * self.etu

    @property
    def taken(self) -> int:
        """When the last character is known to have been taken: the burst's one event."""
        return self.last + CHARACTER_TAKEN_ETU * self.etu


def etu_ticks(rate: Rate, clock_hz: int, timebase: Timebase) -> int:
    """One etu of ``rate`` at a card clock of ``clock_hz`` in ticks: exact, as the timebase promises."""
    ticks, rest = divmod(rate.f * timebase.cycles(1, clock_hz), rate.d)
    if rest:
        raise ValueError(f"an etu of {rate} at {clock_hz} Hz is no whole number of ticks of {timebase}")
    return ticks


def etu_near(rate: Rate, clock_hz: int, timebase: Timebase) -> int:
    """The same to the nearest tick: for a clock that a reader tells of, which the timebase was not made for (CCID tells whole kilohertz)."""
    return round(Fraction(timebase.hz * rate.f, clock_hz * rate.d))


class CardEnd(Protocol):
    """The card's end of a line: what a terminal, a served port or a chain puts its contacts on.

    ``transmit`` is set by whatever holds the other end; the card calls it with every burst it sends, at the latest when the burst begins.
    """

    transmit: Callable[[Burst], None]

    @property
    def etu(self) -> int:
        """Its etu now, in ticks: what it sends and listens with."""

    @property
    def signals(self) -> bool:
        """Whether it gives the error signal for a character with wrong parity now (T=0, 7.3)."""

    def power_up(self, now: int, clock_hz: int, operating_class: str = "A") -> None:
        """VCC (of class A, B or C) and CLK are on and RST has risen: a cold reset. The answer comes through ``transmit``."""

    def reset(self, now: int) -> None:
        """RST has risen again: a warm reset."""

    def power_down(self, now: int) -> None:
        """VCC is off: everything not in non-volatile memory is gone."""

    def receive(self, burst: Burst, damaged: Collection[int] = ()) -> None:
        """A burst has been taken (called at ``burst.taken``); ``damaged`` are the indices of characters with wrong parity."""

    def signalled(self, burst: Burst, index: int) -> None:
        """The terminal gave the error signal for character ``index`` of a burst of the card; none after it has been sent."""
