"""Packets of the CDC Ethernet Emulation Model (USB CDC EEM 1.0, chapter 5): Ethernet frames and link commands in a stream of bulk transfers.

A packet is a header of two bytes, little-endian, and what it tells of. Bit 15 clear: a frame with its check sequence, bits 0 to 13 its length; bit 14
says whether the check sequence was calculated or is the sentinel. Bit 15 set: a command in bits 11 to 13, its parameter in bits 0 to 10. A header of
zero is a packet of no length: padding. The same on both sides of the bus.
"""

import zlib
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

HEADER: Final = 2
CRC: Final = 4
SENTINEL: Final = bytes.fromhex("DEADBEEF")
"""Stands in the place of the check sequence where none was calculated (5.1.2.1)."""
ZLE: Final = bytes(2)
"""The zero-length EEM packet."""
ETHERNET_HEADER: Final = 14
FRAME_MAX: Final = 1518
"""Longest frame without its check sequence: 1500 bytes for layer 3, the header and a VLAN tag."""
ECHO_MAX: Final = 0x7FF
_COMMAND: Final = 1 << 15
_CALCULATED: Final = 1 << 14
_LENGTH: Final = 0x3FFF


class EemCommand(IntEnum):
    """Link commands (5.1.1)."""

    ECHO = 0
    ECHO_RESPONSE = 1
    SUSPEND_HINT = 2
    """Device to host: it could be suspended now."""
    RESPONSE_HINT = 3
    """Device to host: ask again in so many milliseconds."""
    RESPONSE_COMPLETE_HINT = 4
    """Device to host: ask again in so many seconds."""
    TICKLE = 5
    """Host to device: nothing but a sign of life."""


@dataclass(frozen=True, slots=True)
class EemOrder:
    """A link command that came. ``data`` belongs to the two echo commands alone."""

    command: int
    """An EemCommand, or a reserved number."""
    parameter: int
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class EemFrame:
    """An Ethernet frame that came, without its check sequence."""

    data: bytes


@dataclass(slots=True)
class EemFaults:
    """What was dropped on the way in."""

    check: int = 0
    """Frames whose check sequence, or the sentinel in its place, is wrong."""
    length: int = 0
    """Frames too short to hold Ethernet's header, or longer than any that is taken."""
    cut: int = 0
    """Packets whose transfer ended before they did."""
    reserved: int = 0
    """Commands with the reserved bit set."""


def encode_frame(frame: bytes, *, calculated: bool = True) -> bytes:
    """A frame as an EEM packet, with its check sequence or the sentinel. Raises ValueError for one that is too long."""
    if len(frame) > FRAME_MAX:
        raise ValueError(f"a frame of {len(frame)} bytes: the longest has {FRAME_MAX}")
    header = len(frame) + CRC | (_CALCULATED if calculated else 0)
    check = zlib.crc32(frame).to_bytes(CRC, "little") if calculated else SENTINEL
    return header.to_bytes(HEADER, "little") + frame + check


def encode_command(command: EemCommand, parameter: int = 0) -> bytes:
    """A link command without data."""
    return (_COMMAND | command << 11 | parameter & ECHO_MAX).to_bytes(HEADER, "little")


def encode_echo(data: bytes, *, response: bool = False) -> bytes:
    """An echo command, or its response, with up to 2047 bytes. Raises ValueError for more."""
    if len(data) > ECHO_MAX:
        raise ValueError(f"an echo of {len(data)} bytes: the longest has {ECHO_MAX}")
    return encode_command(EemCommand.ECHO_RESPONSE if response else EemCommand.ECHO, len(data)) + data


class EemDecoder:
    """One direction's packets. ``packet`` is the endpoint's largest packet: where a transfer ends short of it, so does what was begun."""

    def __init__(self, packet: int) -> None:
        self.faults = EemFaults()
        self._packet = packet
        self._rest = bytearray()

    def reset(self) -> None:
        """The link begins anew."""
        self._rest.clear()

    def feed(self, transfer: bytes) -> list[EemFrame | EemOrder]:
        """What one transfer carried, in order. Never raises: what is malformed is dropped and counted."""
        self._rest += transfer
        found: list[EemFrame | EemOrder] = []
        data = bytes(self._rest)
        at = 0
        while at + HEADER <= len(data):
            header = data[at] | data[at + 1] << 8
            size = _size(header)
            if at + HEADER + size > len(data):
                break
            self._one(header, data[at + HEADER : at + HEADER + size], found)
            at += HEADER + size
        del self._rest[:at]
        if self._rest and (len(transfer) % self._packet or not transfer):
            self.faults.cut += 1
            self._rest.clear()
        return found

    def _one(self, header: int, body: bytes, found: list[EemFrame | EemOrder]) -> None:
        if header & _COMMAND:
            if header & _CALCULATED:  # the same bit is reserved in a command
                self.faults.reserved += 1
                return
            found.append(EemOrder(header >> 11 & 7, header & ECHO_MAX, body))
            return
        if not header & _LENGTH:
            return
        frame, check = body[:-CRC], body[-CRC:]
        if not ETHERNET_HEADER <= len(frame) <= FRAME_MAX:
            self.faults.length += 1
        elif check != (zlib.crc32(frame).to_bytes(CRC, "little") if header & _CALCULATED else SENTINEL):
            self.faults.check += 1
        else:
            found.append(EemFrame(frame))


def _size(header: int) -> int:
    """Bytes behind a header."""
    if not header & _COMMAND:
        return header & _LENGTH
    if header & _CALCULATED or header >> 11 & 7 > EemCommand.ECHO_RESPONSE:
        return 0
    return header & ECHO_MAX
