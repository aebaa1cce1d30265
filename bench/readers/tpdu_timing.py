"""What a reader goes by on the line, worked out from the parameters its host has set (CCID 1.1, 6.1.7; ISO/IEC 7816-3:2006, 9.1, 10.2, 11.4.3).

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from dataclasses import dataclass

from bench.ccid.parameters import ProtocolParameters, T0Parameters, T1Parameters, decode_parameters
from bench.engine import Timebase
from bench.iso7816.atr import Atr
from bench.iso7816.line import etu_ticks
from bench.iso7816.rates import (
    GUARD_ETU,
    INITIAL_WT_ETU,
    RATE_DEFAULT,
    Rate,
    bwt_cycles,
    card_guard_etu,
    cwt_etu,
    guard_cycles,
    wwt_cycles,
)
from bench.iso7816.t0 import T0Timing
from bench.readers.tpdu_raw import RawTiming


@dataclass(frozen=True, slots=True)
class LineTimes:
    """Times at one card clock."""

    timebase: Timebase
    clock_hz: int

    def etu(self, ta1: int) -> int:
        return etu_ticks(Rate(ta1), self.clock_hz, self.timebase)

    def initial(self, atr: Atr) -> RawTiming:
        """At the rate of the answer to reset: 9600 etu of waiting, the card's extra guard time (9.1)."""
        etu = self.etu(RATE_DEFAULT)
        cycles = guard_cycles(atr.extra_guard_time, 0, Rate(RATE_DEFAULT), atr.rate, atr.has_t15)
        waiting = INITIAL_WT_ETU * etu
        return RawTiming(etu, int(cycles * self._cycle), waiting, waiting)

    def t0(self, parameters: T0Parameters, etu: int, atr: Atr) -> T0Timing:
        """WWT counts with the larger F of the parameters and of the card's own TA1, as the two disagree about which it is at the default rate."""
        guard = 0 if parameters.guard == 0xFF else parameters.guard
        fi = max(Rate(parameters.ta1).f, atr.fi)
        waiting = wwt_cycles(parameters.wi, fi) * self._cycle
        return T0Timing(etu, (GUARD_ETU + guard) * etu, GUARD_ETU * etu, waiting)

    def t1(self, parameters: T1Parameters, etu: int, multiplier: int) -> RawTiming:
        """``multiplier`` is of BWT, for one block; 0 and 1 leave it as it is."""
        extra = 0 if parameters.guard == 0xFF else parameters.guard
        pitch = (card_guard_etu(parameters.guard, 1) + extra) * etu
        bwt = bwt_cycles(parameters.bwi, Rate(parameters.ta1), max(1, multiplier)) * self._cycle
        return RawTiming(etu, pitch, int(bwt), cwt_etu(parameters.cwi) * etu)

    def raw(self, parameters: ProtocolParameters, etu: int, atr: Atr, multiplier: int) -> RawTiming:
        """For bare characters of either protocol."""
        if isinstance(parameters, T1Parameters):
            return self.t1(parameters, etu, multiplier)
        timing = self.t0(parameters, etu, atr)
        return RawTiming(etu, timing.pitch_to_card, timing.waiting_time, timing.waiting_time)

    @property
    def _cycle(self) -> int:
        return self.timebase.cycles(1, self.clock_hz)


def parameters_of(atr: Atr) -> ProtocolParameters:
    """What an answer to reset asks for, at the rate that is in force after it."""
    ta1 = atr.rate.ta1 if atr.specific_mode is not None else RATE_DEFAULT
    return T1Parameters.of(atr, ta1) if atr.first_protocol == 1 else T0Parameters.of(atr, ta1)


def at_rate(parameters: ProtocolParameters, ta1: int) -> ProtocolParameters:
    """The same at another rate."""
    return decode_parameters(parameters.protocol, bytes((ta1,)) + parameters.encode()[1:])
