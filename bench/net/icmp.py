"""ICMP (RFC 792, 1122) and ICMPv6 (RFC 4443): messages, and the laws on when an error must not be sent.

Both versions share one shape: type, code, checksum, four bytes that depend on the type, and the rest.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from bench.net.checksum import checksum, is_sound, pseudo_header
from bench.net.errors import PacketError
from bench.net.protocols import Proto

HEADER: Final = 8
_HEADER: Final = struct.Struct("!BBHI")


class Icmp4(IntEnum):
    """Types of ICMP."""

    ECHO_REPLY = 0
    UNREACHABLE = 3
    SOURCE_QUENCH = 4
    REDIRECT = 5
    ECHO = 8
    TIME_EXCEEDED = 11
    PARAMETER_PROBLEM = 12
    TIMESTAMP = 13
    TIMESTAMP_REPLY = 14
    MASK = 17
    MASK_REPLY = 18


class Icmp6(IntEnum):
    """Types of ICMPv6: below 128 they are errors."""

    UNREACHABLE = 1
    TOO_BIG = 2
    TIME_EXCEEDED = 3
    PARAMETER_PROBLEM = 4
    ECHO = 128
    ECHO_REPLY = 129
    ROUTER_SOLICITATION = 133
    ROUTER_ADVERTISEMENT = 134
    NEIGHBOUR_SOLICITATION = 135
    NEIGHBOUR_ADVERTISEMENT = 136
    REDIRECT = 137


class Unreachable4(IntEnum):
    """Codes of Destination Unreachable (RFC 792, 1122, 1812)."""

    NET = 0
    HOST = 1
    PROTOCOL = 2
    PORT = 3
    FRAGMENTATION_NEEDED = 4
    SOURCE_ROUTE = 5
    NET_UNKNOWN = 6
    HOST_UNKNOWN = 7
    PROHIBITED = 13


class Unreachable6(IntEnum):
    """Codes of Destination Unreachable (RFC 4443, 3.1)."""

    NO_ROUTE = 0
    PROHIBITED = 1
    BEYOND_SCOPE = 2
    ADDRESS = 3
    PORT = 4
    POLICY = 5
    ROUTE_REJECTED = 6


class Exceeded(IntEnum):
    """Codes of Time Exceeded, the same in both versions."""

    TRANSIT = 0
    REASSEMBLY = 1


class Problem6(IntEnum):
    """Codes of Parameter Problem (RFC 4443, 3.4)."""

    HEADER = 0
    NEXT_HEADER = 1
    OPTION = 2


ERRORS4: Final = frozenset(
    {Icmp4.UNREACHABLE, Icmp4.SOURCE_QUENCH, Icmp4.REDIRECT, Icmp4.TIME_EXCEEDED, Icmp4.PARAMETER_PROBLEM}
)
"""Types that quote the packet they are about (RFC 1122, 3.2.2)."""


@dataclass(slots=True)
class Icmp:
    """One message of either version. (Not frozen: one is made for every packet.)"""

    kind: int
    code: int
    rest: int
    """The four bytes after the checksum: identifier and sequence of an echo, MTU, pointer, or nothing."""
    payload: bytes

    def encode4(self) -> bytes:
        """As the payload of an IPv4 packet."""
        body = _HEADER.pack(self.kind, self.code, 0, self.rest) + self.payload
        return body[:2] + checksum(body).to_bytes(2, "big") + body[4:]

    def encode6(self, source: bytes, destination: bytes) -> bytes:
        """As the payload of an IPv6 packet between these addresses."""
        body = _HEADER.pack(self.kind, self.code, 0, self.rest) + self.payload
        pseudo = pseudo_header(source, destination, Proto.ICMPV6, len(body))
        return body[:2] + checksum(body, pseudo).to_bytes(2, "big") + body[4:]


def parse_icmp4(data: bytes) -> Icmp:
    """Raises PacketError."""
    if len(data) < HEADER:
        raise PacketError("ICMP", len(data), f"{len(data)} bytes, a header has {HEADER}")
    if not is_sound(data):
        raise PacketError("ICMP", 2, "checksum")
    kind, code, _sum, rest = _HEADER.unpack_from(data)
    return Icmp(kind, code, rest, data[HEADER:])


def parse_icmp6(source: bytes, destination: bytes, data: bytes) -> Icmp:
    """Raises PacketError."""
    if len(data) < HEADER:
        raise PacketError("ICMPv6", len(data), f"{len(data)} bytes, a header has {HEADER}")
    if not is_sound(data, pseudo_header(source, destination, Proto.ICMPV6, len(data))):
        raise PacketError("ICMPv6", 2, "checksum")
    kind, code, _sum, rest = _HEADER.unpack_from(data)
    return Icmp(kind, code, rest, data[HEADER:])
