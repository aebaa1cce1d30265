"""The TCP segment (RFC 9293, 3.1): header, options, checksum, built and strictly parsed."""

import struct
from dataclasses import dataclass
from typing import Final

from bench.net.checksum import checksum, is_sound, pseudo_header
from bench.net.errors import PacketError
from bench.net.protocols import Proto

HEADER: Final = 20
HEADER_MAX: Final = 60
FIN: Final = 0x01
SYN: Final = 0x02
RST: Final = 0x04
PSH: Final = 0x08
ACK: Final = 0x10
URG: Final = 0x20
_HEADER: Final = struct.Struct("!HHIIBBHHH")

END: Final = 0
NOP: Final = 1
MSS: Final = 2
MSS_DEFAULT_V4: Final = 536
MSS_DEFAULT_V6: Final = 1220
"""Assumed of a peer that sends no option (MUST-15)."""

_MASK: Final = 0xFFFF_FFFF


def seq_add(number: int, count: int) -> int:
    """Sequence numbers count modulo 2**32 (3.4)."""
    return (number + count) & _MASK


def seq_diff(later: int, earlier: int) -> int:
    """How far ``later`` is after ``earlier``: -2**31 to 2**31 - 1."""
    return ((later - earlier + 0x8000_0000) & _MASK) - 0x8000_0000


@dataclass(slots=True)
class Segment:
    """One segment. (Not frozen: one is made for every packet.)"""

    source_port: int
    destination_port: int
    seq: int
    ack: int
    flags: int
    window: int
    payload: bytes = b""
    urgent: int = 0
    options: bytes = b""
    """As on the wire, padded to a multiple of 4."""

    @property
    def length(self) -> int:
        """In sequence space: payload, SYN and FIN."""
        return len(self.payload) + (self.flags & SYN != 0) + (self.flags & FIN != 0)


def build_segment(source: bytes, destination: bytes, segment: Segment) -> bytes:
    """The segment with its checksum, which depends on the addresses (4 or 16 bytes). Raises ValueError for options that do not fit."""
    options = segment.options
    if len(options) & 3 or len(options) > HEADER_MAX - HEADER:
        raise ValueError(f"options of {len(options)} bytes: a multiple of 4, at most 40")
    size = HEADER + len(options)
    head = _HEADER.pack(
        segment.source_port,
        segment.destination_port,
        segment.seq,
        segment.ack,
        size << 2,
        segment.flags,
        segment.window,
        0,
        segment.urgent,
    )
    body = b"%b%b%b" % (head, options, segment.payload)
    total = checksum(body, pseudo_header(source, destination, Proto.TCP, len(body)))
    return b"%b%b%b" % (body[:16], total.to_bytes(2, "big"), body[18:])


def parse_segment(source: bytes, destination: bytes, data: bytes) -> Segment:
    """A segment as it came in an IP packet. Reserved bits are ignored (3.1: they must be, by whoever does not know them). Raises PacketError."""
    if len(data) < HEADER:
        raise PacketError("TCP", len(data), f"{len(data)} bytes, a header has {HEADER}")
    source_port, destination_port, seq, ack, offset, flags, window, _sum, urgent = _HEADER.unpack_from(data)
    size = offset >> 4 << 2
    if not HEADER <= size <= len(data):
        raise PacketError("TCP", 12, f"a header of {size} bytes in a segment of {len(data)}")
    if not is_sound(data, pseudo_header(source, destination, Proto.TCP, len(data))):
        raise PacketError("TCP", 16, "checksum")
    return Segment(
        source_port,
        destination_port,
        seq,
        ack,
        flags & 0x3F,
        window,
        data[size:],
        urgent,
        data[HEADER:size] if size > HEADER else b"",
    )


def mss_option(value: int) -> bytes:
    """The maximum segment size option (3.7.1)."""
    return bytes((MSS, 4)) + value.to_bytes(2, "big")


def read_mss(options: bytes) -> int | None:
    """The peer's maximum segment size, if it sent one. Unknown options are passed over by their length (MUST-6).

    Raises PacketError for a length that cannot be (MUST-7); its offset counts from the header's first byte.
    """
    at, found = 0, None
    while at < len(options):
        kind = options[at]
        if kind == END:
            break
        if kind == NOP:
            at += 1
            continue
        if at + 1 >= len(options):
            raise PacketError("TCP", HEADER + at, f"option {kind} has no length")
        length = options[at + 1]
        if length < 2 or at + length > len(options):
            raise PacketError("TCP", HEADER + at + 1, f"option {kind} of length {length}, {len(options) - at} are left")
        if kind == MSS:
            if length != 4:
                raise PacketError("TCP", HEADER + at + 1, f"a maximum segment size option of length {length}")
            found = options[at + 2] << 8 | options[at + 3]
        at += length
    return found
