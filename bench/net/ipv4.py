"""IPv4 (RFC 791; host rules of RFC 1122, 3.2.1): the datagram as a view, built and strictly parsed."""

import struct
from dataclasses import dataclass
from typing import Final

from bench.net.checksum import checksum, is_sound
from bench.net.errors import PacketError

HEADER: Final = 20
HEADER_MAX: Final = 60
MTU_MIN: Final = 68
"""Every link must carry this much (RFC 791, 3.2)."""
REASSEMBLY_MIN: Final = 576
"""Every host must take datagrams of this size (RFC 791, 3.1)."""
DONT_FRAGMENT: Final = 0x4000
MORE_FRAGMENTS: Final = 0x2000
_HEADER: Final = struct.Struct("!BBHHHBBH4s4s")


@dataclass(slots=True)
class Ipv4:
    """One datagram or fragment. (Not frozen: one is made for every packet.)"""

    source: bytes
    destination: bytes
    protocol: int
    payload: bytes
    ttl: int = 64
    identification: int = 0
    dont_fragment: bool = False
    more_fragments: bool = False
    offset: int = 0
    """Of the payload in the whole datagram's, in bytes: a multiple of 8."""
    tos: int = 0
    options: bytes = b""
    """As on the wire, padded to a multiple of 4."""

    @property
    def is_fragment(self) -> bool:
        return self.more_fragments or self.offset > 0

    @property
    def length(self) -> int:
        """Of the whole packet, bytes."""
        return HEADER + len(self.options) + len(self.payload)

    def encode(self) -> bytes:
        """The packet, header checksum filled in. Raises ValueError for what no header can say."""
        options = self.options
        if len(options) & 3 or len(options) > HEADER_MAX - HEADER:
            raise ValueError(f"options of {len(options)} bytes: a multiple of 4, at most 40")
        flags = self.offset >> 3
        if self.offset & 7 or flags > 0x1FFF:
            raise ValueError(f"a fragment at byte {self.offset}: a multiple of 8, at most 65528")
        if self.dont_fragment:
            flags |= DONT_FRAGMENT
        if self.more_fragments:
            flags |= MORE_FRAGMENTS
        size = HEADER + len(options)
        head = _HEADER.pack(
            0x40 | size >> 2,
            self.tos,
            size + len(self.payload),
            self.identification,
            flags,
            self.ttl,
            self.protocol,
            0,
            self.source,
            self.destination,
        )
        if options:
            head += options
        return b"%b%b%b%b" % (head[:10], checksum(head).to_bytes(2, "big"), head[12:], self.payload)


def parse_ipv4(data: bytes) -> Ipv4:
    """A datagram from a link; padding after its total length is dropped. Raises PacketError (RFC 1122: whoever gets one discards it silently)."""
    if len(data) < HEADER:
        raise PacketError("IPv4", len(data), f"{len(data)} bytes, a header has {HEADER}")
    first, tos, total, identification, flags, ttl, protocol, _sum, source, destination = _HEADER.unpack_from(data)
    if first >> 4 != 4:
        raise PacketError("IPv4", 0, f"version {first >> 4}")
    size = (first & 0x0F) << 2
    if size < HEADER:
        raise PacketError("IPv4", 0, f"a header of {size} bytes")
    if total < size:
        raise PacketError("IPv4", 2, f"a total length of {total} bytes with a header of {size}")
    if len(data) < total:
        raise PacketError("IPv4", 2, f"a total length of {total} bytes, {len(data)} came")
    if not is_sound(data[:size]):
        raise PacketError("IPv4", 10, "header checksum")
    offset = (flags & 0x1FFF) << 3
    more = flags & MORE_FRAGMENTS != 0
    if more and (total - size) & 7:
        raise PacketError("IPv4", 2, f"a fragment of {total - size} bytes that is not the last: a multiple of 8 is due")
    if offset + total - size > 65_535 - size:
        raise PacketError("IPv4", 6, f"a fragment ends at byte {offset + total - size}, beyond the longest datagram")
    return Ipv4(
        source,
        destination,
        protocol,
        data[size:total],
        ttl,
        identification,
        flags & DONT_FRAGMENT != 0,
        more,
        offset,
        tos,
        data[HEADER:size] if size > HEADER else b"",
    )


@dataclass(frozen=True, slots=True)
class Ipv4Option:
    """One option: its type byte (with the copy bit 0x80) and its data without type and length."""

    kind: int
    data: bytes = b""

    @property
    def copied(self) -> bool:
        """Whether every fragment carries it (RFC 791, 3.1)."""
        return self.kind & 0x80 != 0


END_OF_OPTIONS: Final = 0
NO_OPERATION: Final = 1
RECORD_ROUTE: Final = 7
TIMESTAMP: Final = 68
LOOSE_SOURCE_ROUTE: Final = 131
STRICT_SOURCE_ROUTE: Final = 137
ROUTER_ALERT: Final = 148


def parse_options(options: bytes) -> tuple[Ipv4Option, ...]:
    """The options of a header up to the end marker, no-operations left out. Raises PacketError; its offset counts from the header's first byte."""
    found = []
    at = 0
    while at < len(options):
        kind = options[at]
        if kind == END_OF_OPTIONS:
            break
        if kind == NO_OPERATION:
            at += 1
            continue
        if at + 1 >= len(options):
            raise PacketError("IPv4", HEADER + at, f"option {kind} has no length")
        length = options[at + 1]
        if length < 2 or at + length > len(options):
            raise PacketError(
                "IPv4", HEADER + at + 1, f"option {kind} of length {length}, {len(options) - at} are left"
            )
        found.append(Ipv4Option(kind, options[at + 2 : at + length]))
        at += length
    return tuple(found)


def build_options(options: tuple[Ipv4Option, ...]) -> bytes:
    """The bytes of options, padded. Raises ValueError beyond 40 bytes."""
    data = b"".join(bytes((each.kind, 2 + len(each.data))) + each.data for each in options)
    data += bytes(-len(data) & 3)
    if len(data) > HEADER_MAX - HEADER:
        raise ValueError(f"options of {len(data)} bytes, a header has room for 40")
    return data
