"""Attributes: what a PC/SC driver tells of a reader and of the rate in use (PC/SC part 3, 3.1.2; pcsc-lite's reader.h).

The rate can only be observed, and only where the driver fills in F, D and the clock: libccid (1.5.2 to 1.8.2 looked at) and vpcd do not, so there
it is unknown. Attributes are in the host's byte order.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from bench.iso7816.rates import D_TABLE, F_TABLE


class Attribute(IntEnum):
    """Tags of SCardGetAttrib that are asked for."""

    VENDOR_NAME = 0x1_0100
    VENDOR_IFD_TYPE = 0x1_0101
    VENDOR_IFD_VERSION = 0x1_0102
    VENDOR_IFD_SERIAL_NO = 0x1_0103
    CHANNEL_ID = 0x2_0110
    MAXINPUT = 0x7_A007
    CURRENT_CLK = 0x8_0202
    CURRENT_F = 0x8_0203
    CURRENT_D = 0x8_0204


@dataclass(frozen=True, slots=True)
class Observed:
    """The rate that the driver chose: F and D coded as TA1, and the card clock; 0 where it does not tell."""

    ta1: int = 0
    clock_hz: int = 0


@dataclass(frozen=True, slots=True)
class Attributes:
    """What the driver tells; empty or 0 where it does not."""

    vendor: str = ""
    model: str = ""
    serial: str = ""
    version: str = ""
    """Of the reader: major.minor, in the notation of bcdDevice."""
    channel: int = 0
    """0xDDDDCCCC: kind of channel (0020 USB) and its number."""
    max_input: int = 0
    observed: Observed = Observed()
    error: str = ""
    """Why nothing could be asked."""


Ask = Callable[[Attribute], bytes]
"""Gives an attribute's bytes, none where the driver has no such attribute."""


def read_attributes(ask: Ask) -> Attributes:
    """Everything the driver tells."""
    version = ask(Attribute.VENDOR_IFD_VERSION)
    shown = ""
    if len(version) == 4:
        number = int.from_bytes(version, sys.byteorder)
        shown = f"{number >> 24:X}.{number >> 16 & 0xFF:02X}"
    return Attributes(
        _text(ask(Attribute.VENDOR_NAME)),
        _text(ask(Attribute.VENDOR_IFD_TYPE)),
        _text(ask(Attribute.VENDOR_IFD_SERIAL_NO)),
        shown,
        _number(ask(Attribute.CHANNEL_ID)),
        _number(ask(Attribute.MAXINPUT)),
        read_observed(ask),
    )


def read_observed(ask: Ask) -> Observed:
    """The rate in use, as far as the driver tells it."""
    f, d = _number(ask(Attribute.CURRENT_F)), _number(ask(Attribute.CURRENT_D))
    return Observed(coded(f, d) if f and d else 0, 1000 * _number(ask(Attribute.CURRENT_CLK)))


def coded(f: int, d: int) -> int:
    """F and D as TA1; 0 where the table (ISO/IEC 7816-3, 8.3) has no such pair. F = 372 is coded 1, as in the default."""
    found_f = [code for code, entry in F_TABLE.items() if entry.f == f]
    found_d = [code for code, value in D_TABLE.items() if value == d]
    return found_f[-1] << 4 | found_d[0] if found_f and found_d else 0


def _text(data: bytes) -> str:
    return data.split(b"\0")[0].decode("utf-8", "replace").strip()


def _number(data: bytes) -> int:
    return int.from_bytes(data, sys.byteorder) if len(data) in (1, 2, 4, 8) else 0
