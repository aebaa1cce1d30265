"""Our machines of T=0 and T=1 on a reader that carries whole blocks, or characters, and keeps the line's times itself.

The machines are told bursts without length: all their guard times are none, the reader keeps them. What is left of the line's times is how long to
wait for the reader, in nanoseconds.
"""

from fractions import Fraction
from typing import Final

from bench.iso7816.atr import Atr
from bench.iso7816.line import Burst
from bench.iso7816.rates import GUARD_ETU, Rate, bwt_cycles, cwt_etu, wwt_cycles
from bench.iso7816.t0 import T0Timing
from bench.iso7816.t1_block import PROLOGUE
from bench.iso7816.t1_line import T1Timing

SECOND: Final = 10**9
LEAST_NS: Final = 3 * SECOND
"""No answer is given up sooner: the host and the bus are no real-time systems."""
LONGEST_NS: Final = 60 * SECOND
"""Nor later, whatever the card's waiting times come to."""
FOREVER: Final = 10**18
_T1_CHARACTERS: Final = 260
_T0_PROCEDURES: Final = 6
"""Waiting times that one TPDU may take: as many as libccid grants."""


class Waits:
    """What the card may take, at the rate and clock in use. Worked out once: each exchange asks."""

    __slots__ = ("_block_ns", "_character_ns", "atr", "block", "bwt", "wwt")

    def __init__(self, atr: Atr, rate: Rate, clock_hz: int) -> None:
        def ns(cycles: Fraction | int) -> int:
            return int(cycles * SECOND / clock_hz) if clock_hz > 0 else LONGEST_NS

        self.atr = atr
        self.wwt = ns(wwt_cycles(atr.wi, atr.fi))
        """Work waiting time of T=0, in nanoseconds."""
        self.bwt = ns(bwt_cycles(atr.bwi, rate))
        """Block waiting time of T=1."""
        self._character_ns = ns((GUARD_ETU + atr.extra_guard_time % 255) * rate.etu_cycles)
        self._block_ns = _T1_CHARACTERS * (self._character_ns + ns(cwt_etu(atr.cwi) * rate.etu_cycles)) + SECOND
        self.block = self.block_limit(1)
        """How long a reader may keep a block of T=1 to which no waiting time extension was granted."""

    def tpdu_limit(self, characters: int) -> int:
        """How long a reader may keep a T=0 exchange of so many characters, in nanoseconds."""
        return _limit(characters * self._character_ns + _T0_PROCEDURES * self.wwt)

    def block_limit(self, multiplier: int) -> int:
        """The same for a block of T=1; ``multiplier`` is that of a waiting time extension granted."""
        return _limit(self._block_ns + multiplier * self.bwt)


def _limit(ns: int) -> int:
    return min(max(ns, LEAST_NS), LONGEST_NS)


def block_timing(bwt_ns: int) -> T1Timing:
    """T=1 without a line."""
    return T1Timing(etu=0, pitch_to_card=0, pitch_to_terminal=0, cwt=FOREVER, bwt=bwt_ns, bgt=0)


def tpdu_timing(wwt_ns: int) -> T0Timing:
    """T=0 without a line."""
    return T0Timing(etu=0, pitch_to_card=0, pitch_to_terminal=0, waiting_time=wwt_ns)


def whole(data: bytes, at_ns: int) -> Burst:
    """What the reader handed over, as a burst that took no time."""
    return Burst(data, at_ns, 0, 0)


def damaged_block(edc_size: int, at_ns: int) -> Burst:
    """A block of which the reader says only that its parity was wrong."""
    return whole(bytes(PROLOGUE + edc_size), at_ns)


def granted(block: bytes) -> int:
    """The multiplier in an S(WTX response), which is bBWI of the XfrBlock that carries it; 0 for any other block."""
    return block[PROLOGUE] if block[1] == 0xE3 and block[2] == 1 else 0
