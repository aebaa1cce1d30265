"""UDP (RFC 768; RFC 1122, 4.1; RFC 8200, 8.1)."""

import struct
from dataclasses import dataclass
from typing import Final

from bench.net.checksum import checksum, is_sound, pseudo_header
from bench.net.errors import PacketError
from bench.net.protocols import Proto

HEADER: Final = 8
_HEADER: Final = struct.Struct("!HHHH")


@dataclass(slots=True)
class UdpDatagram:
    """One datagram. (Not frozen: one is made for every packet.)"""

    source_port: int
    destination_port: int
    payload: bytes


def build_udp(source: bytes, destination: bytes, datagram: UdpDatagram) -> bytes:
    """The datagram with its checksum, which depends on the addresses (4 or 16 bytes)."""
    length = HEADER + len(datagram.payload)
    body = _HEADER.pack(datagram.source_port, datagram.destination_port, length, 0) + datagram.payload
    total = checksum(body, pseudo_header(source, destination, Proto.UDP, length)) or 0xFFFF
    return body[:6] + total.to_bytes(2, "big") + datagram.payload


def parse_udp(source: bytes, destination: bytes, data: bytes) -> UdpDatagram:
    """A datagram as it came in an IP packet. A checksum of 0 means none over IPv4, and is refused over IPv6. Raises PacketError."""
    if len(data) < HEADER:
        raise PacketError("UDP", len(data), f"{len(data)} bytes, a header has {HEADER}")
    source_port, destination_port, length, total = _HEADER.unpack_from(data)
    if not HEADER <= length <= len(data):
        raise PacketError("UDP", 4, f"a length of {length} bytes, {len(data)} came")
    if total == 0:
        if len(source) == 16:
            raise PacketError("UDP", 6, "no checksum over IPv6")
    elif not is_sound(data[:length], pseudo_header(source, destination, Proto.UDP, length)):
        raise PacketError("UDP", 6, "checksum")
    if destination_port == 0:
        raise PacketError("UDP", 2, "destination port 0")
    return UdpDatagram(source_port, destination_port, data[HEADER:length])
