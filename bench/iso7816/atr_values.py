"""The answer to reset as values: groups of interface bytes, and the parameters they stand for.

ISO/IEC 7816-3:2006, 8.2 and 8.3; specific interface bytes 10.2 (T=0) and 11.4 (T=1). Left out: the meaning of the
deprecated TB1 and TB2 (programming voltage), which the 2006 edition tells the terminal to ignore.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final

from bench.iso7816 import rates
from bench.iso7816.compact_tlv import HistoricalBytes, parse_historical
from bench.iso7816.rates import Rate

T15: Final = 15
"""The T value that is no protocol: it announces global interface bytes (8.2.3)."""

QUALIFIED_FROM_GROUP: Final = 3
"""Interface bytes of groups 1 and 2 have fixed meanings; from the third on the T of the TD before decides (8.2.3)."""


class Convention(IntEnum):
    """The coding convention, by the value of TS (8.1)."""

    DIRECT = 0x3B
    INVERSE = 0x3F


class Edc(Enum):
    """Error detection code of T=1 (11.4.4)."""

    LRC = "LRC"
    CRC = "CRC"


class ClockStop(IntEnum):
    """Clock stop indicator X (8.3)."""

    NOT_SUPPORTED = 0
    STATE_L = 1
    STATE_H = 2
    NO_PREFERENCE = 3


@dataclass(frozen=True, slots=True)
class InterfaceGroup:
    """TAi, TBi, TCi, TDi for one i. `protocol` is the T of the TD before, None for i = 1."""

    index: int
    protocol: int | None
    ta: int | None = None
    tb: int | None = None
    tc: int | None = None
    td: int | None = None

    @property
    def presence(self) -> int:
        """Yi: bit 0 to 3 for TAi, TBi, TCi, TDi."""
        return sum(1 << bit for bit, byte in enumerate(self._all()) if byte is not None)

    def named_bytes(self) -> Iterator[tuple[str, int]]:
        """The bytes that are present, with their names (TA1, TB1, …), in the order of transmission."""
        for letter, byte in zip("ABCD", self._all(), strict=True):
            if byte is not None:
                yield f"T{letter}{self.index}", byte

    def _all(self) -> tuple[int | None, int | None, int | None, int | None]:
        return self.ta, self.tb, self.tc, self.td


@dataclass(frozen=True, slots=True)
class SpecificMode:
    """TA2 (8.3): the card talks `protocol` at once, PPS is not possible.

    `can_change`: a warm reset may bring negotiable mode. `implicit`: the rate is not TA1's but one both sides know.
    """

    protocol: int
    can_change: bool = True
    implicit: bool = False

    @staticmethod
    def decode(ta2: int) -> SpecificMode:
        """From the byte TA2."""
        return SpecificMode(ta2 & 0xF, can_change=not ta2 & 0x80, implicit=bool(ta2 & 0x10))

    def encode(self) -> int:
        """The byte TA2."""
        return (0 if self.can_change else 0x80) | (0x10 if self.implicit else 0) | self.protocol


@dataclass(frozen=True, slots=True)
class Atr:
    """An answer to reset as values. Properties give each parameter with its default where the byte is absent.

    Values are what the bytes say, reserved ones included: `parse_atr` has refused those already, `read_atr` has listed
    them.
    """

    convention: Convention
    groups: tuple[InterfaceGroup, ...]
    historical_bytes: bytes = b""
    tck: int | None = None

    def encode(self) -> bytes:
        """The bytes TS to TCK, exactly these values, sound or not. Needs a group, takes up to 15 historical bytes."""
        first = self.groups[0]
        out = bytearray([self.convention, first.presence << 4 | len(self.historical_bytes)])
        for group in self.groups:
            out += bytes(byte for _, byte in group.named_bytes())
        out += self.historical_bytes
        if self.tck is not None:
            out.append(self.tck)
        return bytes(out)

    # --- protocols ---------------------------------------------------------------------------------------------------

    @property
    def indicated(self) -> tuple[int, ...]:
        """Every T of TD1, TD2, … in order, T=15 and repetitions included; (0,) when TD1 is absent (8.2.3)."""
        return tuple(group.td & 0xF for group in self.groups if group.td is not None) or (0,)

    @property
    def protocols(self) -> tuple[int, ...]:
        """The protocols offered, in the order of the card's preference, without T=15 and repetitions."""
        return tuple(dict.fromkeys(t for t in self.indicated if t != T15))

    @property
    def first_protocol(self) -> int:
        """The first offered protocol: TD1's, or T=0 without TD1 (8.2.3)."""
        return self.indicated[0]

    @property
    def has_t15(self) -> bool:
        """Whether a T=15 group is there, which changes R of the extra guard time (8.3) and asks for TCK (8.2.5)."""
        return T15 in self.indicated

    @property
    def needs_tck(self) -> bool:
        """Whether 8.2.5 asks for TCK: unless T=0 alone is indicated."""
        return any(t != 0 for t in self.indicated)

    @property
    def specific_mode(self) -> SpecificMode | None:
        """TA2, or None in negotiable mode (6.3.1)."""
        ta2 = self._byte(2, "ta")
        return None if ta2 is None else SpecificMode.decode(ta2)

    # --- global interface bytes (8.3) --------------------------------------------------------------------------------

    @property
    def ta1(self) -> int:
        """The TA1 code, 11 when absent."""
        ta1 = self._byte(1, "ta")
        return rates.RATE_DEFAULT if ta1 is None else ta1

    @property
    def rate(self) -> Rate:
        """Fi, Di and f(max) of TA1. Raises RateError if the code is reserved (never after `parse_atr`)."""
        return Rate(self.ta1)

    @property
    def fi(self) -> int:
        """Fi. Raises RateError as `rate` does."""
        return self.rate.f

    @property
    def di(self) -> int:
        """Di. Raises RateError as `rate` does."""
        return self.rate.d

    @property
    def fmax_hz(self) -> int:
        """Highest card clock in hertz. Raises RateError as `rate` does."""
        return self.rate.fmax_hz

    @property
    def extra_guard_time(self) -> int:
        """N of TC1, 0 to 255; 0 when absent."""
        return self._byte(1, "tc") or 0

    @property
    def clock_stop(self) -> ClockStop:
        """X of the first TA for T=15."""
        ta = self._first_after(T15, "ta")
        return ClockStop.NOT_SUPPORTED if ta is None else ClockStop(ta >> 6)

    @property
    def class_indicator(self) -> int:
        """Y of the first TA for T=15: bits 1, 2, 4 for class A (5 V), B (3 V), C (1.8 V); A alone when absent."""
        ta = self._first_after(T15, "ta")
        return 1 if ta is None else ta & 0x3F

    @property
    def classes(self) -> str:
        """The class indicator as letters, such as "AB"; "" for a reserved value."""
        return CLASSES.get(self.class_indicator, "")

    @property
    def spu(self) -> int:
        """The first TB for T=15: use of contact C6; 0 when absent (not used)."""
        return self._first_after(T15, "tb") or 0

    # --- T=0 (10.2) and T=1 (11.4) -----------------------------------------------------------------------------------

    @property
    def wi(self) -> int:
        """WI of TC2, 10 when absent."""
        tc2 = self._byte(2, "tc")
        return 10 if tc2 is None else tc2

    @property
    def ifsc(self) -> int:
        """Information field size of the card in bytes, 32 when absent."""
        ta = self._first_after(1, "ta")
        return 32 if ta is None else ta

    @property
    def bwi(self) -> int:
        """Block waiting integer, 4 when absent."""
        tb = self._first_after(1, "tb")
        return 4 if tb is None else tb >> 4

    @property
    def cwi(self) -> int:
        """Character waiting integer, 13 when absent."""
        tb = self._first_after(1, "tb")
        return 13 if tb is None else tb & 0xF

    @property
    def edc(self) -> Edc:
        """Error detection code, LRC when absent."""
        tc = self._first_after(1, "tc")
        return Edc.CRC if tc is not None and tc & 1 else Edc.LRC

    @property
    def historical(self) -> HistoricalBytes | None:
        """The historical bytes decoded, None when there are none. Raises CompactTlvError when they are broken."""
        return parse_historical(self.historical_bytes)

    def _byte(self, index: int, letter: str) -> int | None:
        return interface_byte(self.groups[index - 1], letter) if index <= len(self.groups) else None

    def _first_after(self, protocol: int, letter: str) -> int | None:
        """The byte in the first group from the third on that T = `protocol` qualifies (8.2.3, "first occurrence")."""
        for group in self.groups[QUALIFIED_FROM_GROUP - 1 :]:
            if group.protocol == protocol and (byte := interface_byte(group, letter)) is not None:
                return byte
        return None


CLASSES: Final = {1: "A", 2: "B", 3: "AB", 4: "C", 6: "BC", 7: "ABC"}
"""Class indicator Y (8.3) -> operating classes."""


def interface_byte(group: InterfaceGroup, letter: str) -> int | None:
    """TAi, TBi, TCi or TDi of a group by its letter in lower case: "ta", "tb", "tc", "td"."""
    match letter:
        case "ta":
            return group.ta
        case "tb":
            return group.tb
        case "tc":
            return group.tc
        case "td":
            return group.td
    raise ValueError(f"no interface byte is called {letter!r}")
