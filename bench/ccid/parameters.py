"""The protocol data structures of CCID 1.1, 6.1.7: what a reader goes by on the card's line under T=0 and T=1."""

from dataclasses import dataclass
from typing import ClassVar, Final

from bench.ccid.codes import HEADER
from bench.ccid.errors import CcidMessageError
from bench.iso7816.atr import Atr, Convention, Edc
from bench.iso7816.rates import RATE_DEFAULT, is_assigned

_INVERSE: Final = 0x02
_CRC: Final = 0x01
_T1_FIXED: Final = 0x10
PROTOCOL_OFFSET: Final = 7
"""Where bProtocolNum is in the message."""


@dataclass(frozen=True, slots=True)
class T0Parameters:
    """abProtocolDataStructure for T=0, five bytes."""

    protocol: ClassVar[int] = 0
    ta1: int = RATE_DEFAULT
    """bmFindexDindex."""
    inverse: bool = False
    """Convention, bit 1 of bmTCCKST0; a reader goes by TS and ignores it."""
    guard: int = 0
    """bGuardTimeT0: extra guard time in etu; FF as 00."""
    wi: int = 10
    """bWaitingIntegerT0."""
    clock_stop: int = 0

    def encode(self) -> bytes:
        return bytes((self.ta1, self.inverse << 1, self.guard, self.wi, self.clock_stop))

    @classmethod
    def of(cls, atr: Atr, ta1: int = RATE_DEFAULT) -> "T0Parameters":
        """What an ATR asks for, at a rate."""
        return cls(ta1, atr.convention is Convention.INVERSE, atr.extra_guard_time, atr.wi)


@dataclass(frozen=True, slots=True)
class T1Parameters:
    """abProtocolDataStructure for T=1, seven bytes."""

    protocol: ClassVar[int] = 1
    ta1: int = RATE_DEFAULT
    """bmFindexDindex."""
    crc: bool = False
    """Which error detection code ends a block: bit 0 of bmTCCKST1."""
    inverse: bool = False
    guard: int = 0
    """bGuardTimeT1: extra guard time in etu; FF makes 11 etu between characters."""
    bwi: int = 4
    cwi: int = 13
    clock_stop: int = 0
    ifsc: int = 32
    nad: int = 0

    def encode(self) -> bytes:
        checks = _T1_FIXED | self.inverse << 1 | self.crc
        return bytes((self.ta1, checks, self.guard, self.bwi << 4 | self.cwi, self.clock_stop, self.ifsc, self.nad))

    @classmethod
    def of(cls, atr: Atr, ta1: int = RATE_DEFAULT) -> "T1Parameters":
        """What an ATR asks for, at a rate."""
        crc = atr.edc is Edc.CRC
        return cls(
            ta1,
            crc,
            atr.convention is Convention.INVERSE,
            atr.extra_guard_time,
            bwi=atr.bwi,
            cwi=atr.cwi,
            ifsc=atr.ifsc,
        )


ProtocolParameters = T0Parameters | T1Parameters


def decode_parameters(protocol: int, data: bytes) -> ProtocolParameters:
    """Read a structure. Raises CcidMessageError with the offset in the message, as a reader reports it."""
    if protocol not in (0, 1):
        raise CcidMessageError("parameters", PROTOCOL_OFFSET, f"bProtocolNum {protocol:02X}", "00 or 01")
    size = 5 if protocol == 0 else 7
    if len(data) != size:
        raise CcidMessageError("parameters", 1, f"{len(data)} bytes for T={protocol}", str(size))

    def need(index: int, name: str, right: bool, expected: str) -> None:
        if not right:
            raise CcidMessageError("parameters", HEADER + index, f"{name} {data[index]:02X}", expected)

    need(0, "bmFindexDindex", is_assigned(data[0]), "F and D that are not reserved")
    inverse = bool(data[1] & _INVERSE)
    if protocol == 0:
        need(1, "bmTCCKST0", not data[1] & ~_INVERSE, "00 or 02")
        need(3, "bWaitingIntegerT0", data[3] != 0, "01 to FF")
        need(4, "bClockStop", data[4] <= 3, "00 to 03")
        return T0Parameters(data[0], inverse, data[2], data[3], data[4])
    need(1, "bmTCCKST1", data[1] & ~(_INVERSE | _CRC) == _T1_FIXED, "10 to 13")
    need(3, "bmWaitingIntegersT1", data[3] >> 4 <= 9, "BWI 0 to 9")
    need(4, "bClockStop", data[4] <= 3, "00 to 03")
    need(5, "bIFSC", data[5] not in (0, 0xFF), "01 to FE")
    return T1Parameters(
        data[0], bool(data[1] & _CRC), inverse, data[2], data[3] >> 4, data[3] & 0xF, data[4], data[5], data[6]
    )
