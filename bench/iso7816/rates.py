"""Transmission rates and waiting times of ISO/IEC 7816-3:2006, in exact numbers.

Tables 7 and 8 of clause 8.3 (Fi with f(max), Di), the elementary time unit of 7.1, the guard times of 8.3, 10.2 and
11.2, and the waiting times of 8.1, 10.2 and 11.4.3. A rate is always named by its TA1 code and the card clock, never by
a bare number.

Durations come in clock cycles (`int`, or `Fraction` where F/D is fractional) or in etu; seconds appear nowhere, because
they need a clock. Left out: the legacy Di codes A to F of the 1997 edition (1/2 to 1/64), which the 2006 edition
reserves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Final

from bench.iso7816.errors import RateError


@dataclass(frozen=True, slots=True)
class ClockRateConversion:
    """One column of table 7: the clock rate conversion integer and the highest card clock it goes with."""

    f: int
    fmax_hz: int


F_TABLE: Final[Mapping[int, ClockRateConversion]] = MappingProxyType(
    {
        0x0: ClockRateConversion(372, 4_000_000),
        0x1: ClockRateConversion(372, 5_000_000),
        0x2: ClockRateConversion(558, 6_000_000),
        0x3: ClockRateConversion(744, 8_000_000),
        0x4: ClockRateConversion(1116, 12_000_000),
        0x5: ClockRateConversion(1488, 16_000_000),
        0x6: ClockRateConversion(1860, 20_000_000),
        0x9: ClockRateConversion(512, 5_000_000),
        0xA: ClockRateConversion(768, 7_500_000),
        0xB: ClockRateConversion(1024, 10_000_000),
        0xC: ClockRateConversion(1536, 15_000_000),
        0xD: ClockRateConversion(2048, 20_000_000),
    }
)
"""Table 7 (8.3): code -> F and f(max). Codes 7, 8, E and F are reserved."""

D_TABLE: Final[Mapping[int, int]] = MappingProxyType(
    {0x1: 1, 0x2: 2, 0x3: 4, 0x4: 8, 0x5: 16, 0x6: 32, 0x7: 64, 0x8: 12, 0x9: 20}
)
"""Table 8 (8.3): code -> D. Codes 0 and A to F are reserved."""

RATE_DEFAULT: Final = 0x11
"""TA1 code of the default factors Fd = 372, Dd = 1 (8.1), in force from reset on."""

FD: Final = 372
DD: Final = 1

# Leading edge to leading edge, in etu.
GUARD_ETU: Final = 12
"""Least distance between two characters of one direction (7.2, 8.1, 10.2), before extra guard time."""
GUARD_ETU_T1_SHORT: Final = 11
"""The same under T=1 when TC1 = FF (11.2)."""
TURNAROUND_T0_ETU: Final = 16
"""Least distance between two characters of opposite directions under T=0 (10.2)."""
BGT_ETU: Final = 22
"""Block guard time: least distance between two characters of opposite directions under T=1 (11.4.3)."""
INITIAL_WT_ETU: Final = 9600
"""Waiting time between characters of the ATR and of a PPS exchange (8.1, 9.1)."""

# Reset, in clock cycles (6.2.2, 6.2.3).
RESET_LOW_MIN_CYCLES: Final = 400
"""RST stays low at least this long, at a cold reset counted from the start of CLK."""
IO_HIGH_MAX_CYCLES: Final = 200
"""I/O is high within this many cycles of the start of CLK, or of RST falling."""
ATR_START_MIN_CYCLES: Final = 400
"""The ATR starts no earlier than this after RST rises …"""
ATR_START_MAX_CYCLES: Final = 40_000
"""… and no later than this."""

_WORK_UNIT_ETU: Final = 960


@dataclass(frozen=True, slots=True, order=True)
class Rate:
    """A pair F, D by its TA1 (or PPS1) code.

    Raises RateError when either half of the code is reserved.
    """

    ta1: int

    def __post_init__(self) -> None:
        if not 0 <= self.ta1 <= 0xFF:
            raise RateError(f"TA1 is one byte, not {self.ta1}; give two hexadecimal digits such as 96")
        if self.ta1 >> 4 not in F_TABLE:
            raise RateError(
                f"TA1={self.ta1:02X}: Fi code {self.ta1 >> 4:X} is reserved; "
                f"table 7 of ISO/IEC 7816-3, 8.3 has {_codes(F_TABLE)}"
            )
        if self.ta1 & 0xF not in D_TABLE:
            raise RateError(
                f"TA1={self.ta1:02X}: Di code {self.ta1 & 0xF:X} is reserved; "
                f"table 8 of ISO/IEC 7816-3, 8.3 has {_codes(D_TABLE)}"
            )

    @property
    def f(self) -> int:
        """F, the clock rate conversion integer."""
        return F_TABLE[self.ta1 >> 4].f

    @property
    def d(self) -> int:
        """D, the baud rate adjustment integer."""
        return D_TABLE[self.ta1 & 0xF]

    @property
    def fmax_hz(self) -> int:
        """The highest card clock of a card whose TA1 this is, in hertz."""
        return F_TABLE[self.ta1 >> 4].fmax_hz

    @property
    def etu_cycles(self) -> Fraction:
        """One etu in clock cycles: F/D (7.1). Fractional for TA1 14 to 17, 19, 98 and others."""
        return Fraction(self.f, self.d)

    def baud(self, clock_hz: int) -> Fraction:
        """Bits per second at a card clock of `clock_hz` hertz. Raises RateError unless the clock is positive."""
        check_clock(clock_hz)
        return clock_hz / self.etu_cycles

    def __str__(self) -> str:
        return f"TA1={self.ta1:02X}"


def _codes(table: Mapping[int, object]) -> str:
    return " ".join(f"{code:X}" for code in table)


def check_clock(clock_hz: int) -> None:
    """Raise RateError unless `clock_hz` is a positive number of hertz."""
    if clock_hz <= 0:
        raise RateError(f"card clock of {clock_hz} Hz; give a positive frequency such as 3571200")


def is_assigned(ta1: int) -> bool:
    """Whether both halves of a TA1 code have a meaning (are not reserved)."""
    return ta1 >> 4 in F_TABLE and ta1 & 0xF in D_TABLE


def all_rates() -> tuple[Rate, ...]:
    """Every TA1 code that is not reserved, ascending."""
    return tuple(Rate(fi << 4 | di) for fi in F_TABLE for di in D_TABLE)


def sweep_range(ta1: int, clock_hz: int) -> tuple[Rate, ...]:
    """The rates a terminal may propose to a card whose ATR says `ta1`: Fd..Fi by Dd..Di (9.2), by ascending code.

    Each pair F, D appears once (372 has two codes: the card's own is taken, else 1). Empty when the clock lies above
    the card's f(max), since no rate may then be used at all. Raises RateError for a reserved TA1.
    """
    own = Rate(ta1)
    check_clock(clock_hz)
    if clock_hz > own.fmax_hz:
        return ()
    fd_code = 0x0 if ta1 >> 4 == 0x0 else 0x1
    f_codes = [code for code, entry in F_TABLE.items() if FD <= entry.f <= own.f and (entry.f != FD or code == fd_code)]
    d_codes = [code for code, d in D_TABLE.items() if DD <= d <= own.d]
    return tuple(Rate(fi << 4 | di) for fi in f_codes for di in d_codes)


# --- guard and waiting times -----------------------------------------------------------------------------------------


def wwt_cycles(wi: int, fi: int) -> int:
    """Work waiting time of T=0 in clock cycles: WI * 960 * Fi (10.2).

    `fi` is the F that TA1 indicates, whatever rate is in use; D does not enter. Raises RateError for WI outside 1..255.
    """
    if not 1 <= wi <= 0xFF:
        raise RateError(f"WI={wi}; TC2 encodes 1 to 255, 0 is reserved (ISO/IEC 7816-3, 10.2)")
    return wi * _WORK_UNIT_ETU * fi


def cwt_etu(cwi: int) -> int:
    """Character waiting time of T=1 in etu: 11 + 2^CWI (11.4.3). Raises RateError for CWI outside 0..15."""
    if not 0 <= cwi <= 15:
        raise RateError(f"CWI={cwi}; the low half of TB encodes 0 to 15 (ISO/IEC 7816-3, 11.4.3)")
    return 11 + (1 << cwi)


def bwt_cycles(bwi: int, current: Rate, wtx: int = 1) -> Fraction:
    """Block waiting time of T=1 in clock cycles: 11 etu + 2^BWI * 960 * Fd (11.4.3), the whole times `wtx` (11.6.2,
    rule 3).

    `current` is the rate in use, which sets the etu. Raises RateError for BWI outside 0..9 or a multiplier outside
    1..255.
    """
    if not 0 <= bwi <= 9:
        raise RateError(f"BWI={bwi}; the high half of TB encodes 0 to 9, A to F are reserved (ISO/IEC 7816-3, 11.4.3)")
    if not 1 <= wtx <= 0xFF:
        raise RateError(f"WTX multiplier {wtx}; its byte encodes 1 to 255 (ISO/IEC 7816-3, 11.6.2, rule 3)")
    return wtx * (11 * current.etu_cycles + (1 << bwi) * _WORK_UNIT_ETU * FD)


def extra_guard_cycles(n: int, current: Rate, indicated: Rate, t15: bool) -> Fraction:
    """The extra guard time R * N in clock cycles (8.3), 0 for N = 255.

    R is F/D of the rate in use, or Fi/Di of TA1 (`indicated`) when the ATR has a T=15 group. Raises RateError outside
    0..255.
    """
    if not 0 <= n <= 0xFF:
        raise RateError(f"N={n}; TC1 encodes 0 to 255 (ISO/IEC 7816-3, 8.3)")
    if n == 0xFF:
        return Fraction(0)
    return n * (indicated if t15 else current).etu_cycles


def guard_cycles(n: int, protocol: int, current: Rate, indicated: Rate, t15: bool) -> Fraction:
    """Least distance between two characters **to the card** in clock cycles, leading edge to leading edge.

    12 etu plus the extra guard time (8.3); under T=1 with N = 255, 11 etu (11.2). Characters **from** the card take
    12 etu, or 11 etu under T=1 with N = 255: `card_guard_etu`.
    """
    base = card_guard_etu(n, protocol)
    return base * current.etu_cycles + extra_guard_cycles(n, current, indicated, t15)


def card_guard_etu(n: int, protocol: int) -> int:
    """Least distance between two characters **from the card** in etu: 12, or 11 under T=1 with N = 255 (8.3, 11.2)."""
    return GUARD_ETU_T1_SHORT if protocol == 1 and n == 0xFF else GUARD_ETU
