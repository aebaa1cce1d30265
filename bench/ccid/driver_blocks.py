"""Our machines of T=0 and T=1 on a reader that carries whole blocks, or characters, and keeps the line's times itself.

The machines are told bursts without length: all their guard times are none, the reader keeps them. What is left of the line's times is how long to
wait for the reader, in nanoseconds.
"""

from dataclasses import dataclass
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
FRAME_ETU: Final = GUARD_ETU
FOREVER: Final = 10**18
_T1_CHARACTERS: Final = 260
_T0_PROCEDURES: Final = 6
"""Waiting times that one TPDU may take: as many as libccid grants."""


@dataclass(frozen=True, slots=True)
class Waits:
    """What the card may take, in nanoseconds, at the rate and clock in use."""

    atr: Atr
    rate: Rate
    clock_hz: int

    def _ns(self, cycles: Fraction | int) -> int:
        return int(cycles * SECOND / self.clock_hz) if self.clock_hz > 0 else LONGEST_NS

    @property
    def wwt(self) -> int:
        return self._ns(wwt_cycles(self.atr.wi, self.atr.fi))

    @property
    def bwt(self) -> int:
        return self._ns(bwt_cycles(self.atr.bwi, self.rate))

    def tpdu_limit(self, characters: int) -> int:
        """How long a reader may keep a T=0 exchange of so many characters."""
        frames = (FRAME_ETU + self.atr.extra_guard_time % 255) * characters * self.rate.etu_cycles
        return _limit(self._ns(frames) + _T0_PROCEDURES * self.wwt)

    def block_limit(self, multiplier: int) -> int:
        """The same for a block of T=1; ``multiplier`` is that of a waiting time extension granted."""
        frames = _T1_CHARACTERS * self.rate.etu_cycles * (FRAME_ETU + self.atr.extra_guard_time % 255)
        gaps = _T1_CHARACTERS * self._ns(cwt_etu(self.atr.cwi) * self.rate.etu_cycles)
        return _limit(self._ns(frames) + gaps + multiplier * self.bwt + SECOND)


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
