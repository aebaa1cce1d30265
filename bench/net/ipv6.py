"""IPv6 (RFC 8200): the header and its extension headers, built and strictly parsed."""

import struct
from dataclasses import dataclass
from typing import Final

from bench.net.errors import PacketError
from bench.net.protocols import Proto

HEADER: Final = 40
MTU_MIN: Final = 1280
"""Every link must carry this much, or fragment and reassemble below IPv6 (RFC 8200, 5)."""
FRAGMENT_HEADER: Final = 8
_HEADER: Final = struct.Struct("!IHBB16s16s")
_FRAGMENT: Final = struct.Struct("!BBHI")

EXTENSIONS: Final = frozenset(
    {Proto.HOP_BY_HOP, Proto.ROUTING, Proto.FRAGMENT, Proto.DESTINATION_OPTIONS}
)  # those a node must know (RFC 8200, 4); AH and ESP are not: they end the walk
PAD1: Final = 0
PADN: Final = 1


@dataclass(slots=True)
class Ipv6:
    """One packet. ``payload`` begins with the extension header or protocol that ``next_header`` names. (Not frozen: one is made for every packet.)"""

    source: bytes
    destination: bytes
    next_header: int
    payload: bytes
    hop_limit: int = 64
    traffic_class: int = 0
    flow_label: int = 0

    @property
    def length(self) -> int:
        """Of the whole packet, bytes."""
        return HEADER + len(self.payload)

    def encode(self) -> bytes:
        """The packet."""
        first = 6 << 28 | self.traffic_class << 20 | self.flow_label
        return (
            _HEADER.pack(first, len(self.payload), self.next_header, self.hop_limit, self.source, self.destination)
            + self.payload
        )


def parse_ipv6(data: bytes) -> Ipv6:
    """A packet from a link; padding after its payload is dropped. Raises PacketError. (No jumbograms: RFC 2675 is for links above 65 575 bytes.)"""
    if len(data) < HEADER:
        raise PacketError("IPv6", len(data), f"{len(data)} bytes, a header has {HEADER}")
    first, length, next_header, hop_limit, source, destination = _HEADER.unpack_from(data)
    if first >> 28 != 6:
        raise PacketError("IPv6", 0, f"version {first >> 28}")
    if HEADER + length > len(data):
        raise PacketError("IPv6", 4, f"a payload of {length} bytes, {len(data) - HEADER} came")
    return Ipv6(
        source,
        destination,
        next_header,
        data[HEADER : HEADER + length],
        hop_limit,
        first >> 20 & 0xFF,
        first & 0xFFFFF,
    )


@dataclass(frozen=True, slots=True)
class Extension:
    """One extension header as met on the walk. ``offset`` counts from the packet's first byte."""

    kind: int
    offset: int
    data: bytes
    """The whole header, its next header and length bytes included."""


@dataclass(frozen=True, slots=True)
class Walk:
    """Where the extension headers of a packet lead."""

    extensions: tuple[Extension, ...]
    protocol: int
    """What comes after them; FRAGMENT where the walk stops at a fragment that is not the first."""
    offset: int
    """Of its first byte in the packet."""
    naming: int
    """Of the next header byte that names it: where a Parameter Problem points for an unknown one."""


def walk(packet: Ipv6) -> Walk:
    """Follow the extension headers in order. Raises PacketError for one that does not fit."""
    data = packet.payload
    kind, at, naming = packet.next_header, 0, 6
    found: list[Extension] = []
    while kind in EXTENSIONS:
        if at + 8 > len(data):
            raise PacketError("IPv6", HEADER + at, f"extension header {kind} is cut short")
        size = FRAGMENT_HEADER if kind == Proto.FRAGMENT else (data[at + 1] + 1) * 8
        if at + size > len(data):
            raise PacketError(
                "IPv6", HEADER + at + 1, f"extension header {kind} of {size} bytes, {len(data) - at} are left"
            )
        found.append(Extension(kind, HEADER + at, data[at : at + size]))
        is_later_fragment = kind == Proto.FRAGMENT and data[at + 2] << 8 | data[at + 3] & 0xF8
        naming = HEADER + at
        kind = data[at]
        at += size
        if is_later_fragment:
            break
    return Walk(tuple(found), kind, HEADER + at, naming)


@dataclass(frozen=True, slots=True)
class FragmentHeader:
    """RFC 8200, 4.5."""

    next_header: int
    offset: int
    """Bytes, a multiple of 8."""
    more: bool
    identification: int

    def encode(self) -> bytes:
        return _FRAGMENT.pack(self.next_header, 0, self.offset | self.more, self.identification)

    @classmethod
    def parse(cls, data: bytes) -> "FragmentHeader":
        """Raises PacketError; its offset counts from the fragment header's first byte."""
        if len(data) < FRAGMENT_HEADER:
            raise PacketError("IPv6 fragment", len(data), "cut short")
        next_header, _reserved, word, identification = _FRAGMENT.unpack_from(data)
        return cls(next_header, word & 0xFFF8, bool(word & 1), identification)


@dataclass(frozen=True, slots=True)
class Ipv6Option:
    """One option of a Hop-by-Hop or Destination Options header. The two high bits of its type say what to do where it is unknown (4.2)."""

    kind: int
    data: bytes
    offset: int = 0
    """Of its type byte, from the extension header's first byte."""


def parse_options(extension: bytes) -> tuple[Ipv6Option, ...]:
    """The options of an options header, padding left out. Raises PacketError."""
    found = []
    at = 2
    while at < len(extension):
        kind = extension[at]
        if kind == PAD1:
            at += 1
            continue
        if at + 2 > len(extension) or at + 2 + extension[at + 1] > len(extension):
            raise PacketError("IPv6 options", at, f"option {kind} runs over its header")
        length = extension[at + 1]
        if kind != PADN:
            found.append(Ipv6Option(kind, extension[at + 2 : at + 2 + length], at))
        at += 2 + length
    return tuple(found)


def build_options(next_header: int, options: tuple[Ipv6Option, ...]) -> bytes:
    """An options header with padding to a multiple of 8."""
    data = b"".join(bytes((each.kind, len(each.data))) + each.data for each in options)
    missing = -(2 + len(data)) & 7
    if missing == 1:
        data += bytes((PAD1,))
    elif missing:
        data += bytes((PADN, missing - 2)) + bytes(missing - 2)
    return bytes((next_header, (2 + len(data)) // 8 - 1)) + data
