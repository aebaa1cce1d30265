"""Ethernet frames (RFC 894, RFC 2464): addresses of 48 bits, a type, a packet."""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from bench.net.errors import PacketError

HEADER: Final = 14
BROADCAST: Final = b"\xff" * 6
_HEADER: Final = struct.Struct("!6s6sH")
FIRST_TYPE: Final = 0x0600
"""What is less is the length of an IEEE 802.3 frame."""


class EtherType(IntEnum):
    """What a frame carries."""

    IPV4 = 0x0800
    ARP = 0x0806
    IPV6 = 0x86DD


@dataclass(slots=True)
class Ethernet:
    """One frame. (Not frozen: one is made for every packet.)"""

    destination: bytes
    source: bytes
    kind: int
    payload: bytes

    def encode(self) -> bytes:
        """The frame; not padded: that is for links that need it."""
        return _HEADER.pack(self.destination, self.source, self.kind) + self.payload


def parse_ethernet(data: bytes) -> Ethernet:
    """Raises PacketError."""
    if len(data) < HEADER:
        raise PacketError("Ethernet", len(data), f"{len(data)} bytes, a header has {HEADER}")
    destination, source, kind = _HEADER.unpack_from(data)
    if kind < FIRST_TYPE:
        raise PacketError("Ethernet", 12, f"type {kind:04X} is a length: IEEE 802.3 framing is not carried")
    if source[0] & 1:
        raise PacketError("Ethernet", 6, "a group as the source")
    return Ethernet(destination, source, kind, data[HEADER:])


def is_group(mac: bytes) -> bool:
    """Whether an address names several stations."""
    return bool(mac[0] & 1)


def group_of(address: bytes) -> bytes:
    """The group address for a multicast address of IP (RFC 1112, 6.4; RFC 2464, 7)."""
    if len(address) == 16:
        return b"\x33\x33" + address[12:]
    return b"\x01\x00\x5e" + bytes((address[1] & 0x7F,)) + address[2:]


def interface_identifier(mac: bytes) -> bytes:
    """The modified EUI-64 of an address (RFC 2464, 4)."""
    return bytes((mac[0] ^ 2,)) + mac[1:3] + b"\xff\xfe" + mac[3:]


def link_local(mac: bytes) -> bytes:
    """The IPv6 address that an interface has by itself (RFC 4291, 2.5.6)."""
    return b"\xfe\x80" + bytes(6) + interface_identifier(mac)
