"""What both sides of T=0 share towards the line: the times they go by, and the repetition of characters (ISO/IEC 7816-3:2006, 7.3, 8.3, 10.2)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from bench.engine import Timebase
from bench.iso7816.atr import Atr
from bench.iso7816.line import CHARACTER_TAKEN_ETU, Burst, etu_ticks
from bench.iso7816.rates import GUARD_ETU, TURNAROUND_T0_ETU, Rate, guard_cycles, wwt_cycles

REPETITIONS: Final = 3
"""How often a character is repeated (EMV and ETSI TS 102 221; ISO/IEC 7816-3 sets no limit)."""
REPEAT_AFTER_ETU: Final = CHARACTER_TAKEN_ETU + 2
"""From a refused character's leading edge to that of its repetition: error signal seen at 11 etu, then at least 2 etu (7.3)."""


@dataclass(slots=True)
class T0Timing:
    """What both sides go by, in ticks: the etu in use, the distance of characters each way, the work waiting time."""

    etu: int
    pitch_to_card: int
    pitch_to_terminal: int
    waiting_time: int
    turnaround: int = field(init=False)
    """Least distance of two characters in opposite directions (10.2), and so from the terminal's to the card's."""
    turnaround_to_card: int = field(init=False)
    """The same from the card's character to the terminal's: the extra guard time runs from the previous character, whoever sent it (8.3)."""

    def __post_init__(self) -> None:
        self.turnaround = TURNAROUND_T0_ETU * self.etu
        self.turnaround_to_card = max(self.turnaround, self.pitch_to_card)

    @classmethod
    def at_rate(cls, atr: Atr, rate: Rate, clock_hz: int, timebase: Timebase) -> T0Timing:
        """The timing of a card with this ATR at ``rate``: extra guard time N towards the card only, WWT from Fi."""
        etu = etu_ticks(rate, clock_hz, timebase)
        to_card = guard_cycles(atr.extra_guard_time, 0, rate, atr.rate, atr.has_t15) * timebase.cycles(1, clock_hz)
        if to_card.denominator != 1:
            raise ValueError(f"extra guard time of {atr.extra_guard_time} at {rate} is no whole number of ticks")
        waiting = timebase.cycles(wwt_cycles(atr.wi, atr.fi), clock_hz)
        return cls(etu, to_card.numerator, GUARD_ETU * etu, waiting)

    def drifted(self, ppm: int) -> T0Timing:
        """The same by a clock that is slower by so many parts of a million (negative: faster); waiting times are not its business."""
        etu, to_card, to_terminal = (
            ticks * (1_000_000 + ppm) // 1_000_000 for ticks in (self.etu, self.pitch_to_card, self.pitch_to_terminal)
        )
        return T0Timing(etu, to_card, to_terminal, self.waiting_time)


class Repeater:
    """A transmitter's part in 7.3: what to send again, and when to stop."""

    __slots__ = ("_again", "_count")

    def __init__(self) -> None:
        self._again: Burst | None = None
        self._count = 0

    def again(self, burst: Burst, index: int) -> Burst | None:
        """Character ``index`` of ``burst`` was refused: it and all after it, or None where it has been repeated often enough."""
        self._count = self._count + 1 if index == 0 and burst is self._again else 1
        if self._count > REPETITIONS:
            self._again = None
            return None
        start = burst.start + index * burst.pitch + max(burst.pitch, REPEAT_AFTER_ETU * burst.etu)
        self._again = Burst(burst.data[index:], start, burst.pitch, burst.etu)
        return self._again


def undamaged(burst: Burst, damaged: Collection[int]) -> bytes:
    """The characters of a burst whose parity was right."""
    return bytes(value for index, value in enumerate(burst.data) if index not in damaged)


def damaged_in_a_row(burst: Burst, damaged: Collection[int], before: int) -> int:
    """How many characters up to the end of ``burst`` were damaged one after the other, ``before`` of them before it."""
    run = 0
    for index in range(len(burst.data) - 1, -1, -1):
        if index not in damaged:
            return run
        run += 1
    return run + before
