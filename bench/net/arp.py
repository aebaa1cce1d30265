"""Address resolution for IPv4 on Ethernet (RFC 826)."""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from bench.net.errors import PacketError

SIZE: Final = 28
_PACKET: Final = struct.Struct("!HHBBH6s4s6s4s")
_ETHERNET: Final = 1
_IPV4: Final = 0x0800


class ArpOperation(IntEnum):
    """What is said."""

    REQUEST = 1
    REPLY = 2


@dataclass(frozen=True, slots=True)
class Arp:
    """One packet."""

    operation: int
    """An ArpOperation, or another number."""
    sender_mac: bytes
    sender: bytes
    target_mac: bytes
    target: bytes

    def encode(self) -> bytes:
        """The payload of a frame."""
        return _PACKET.pack(
            _ETHERNET, _IPV4, 6, 4, self.operation, self.sender_mac, self.sender, self.target_mac, self.target
        )


def parse_arp(data: bytes) -> Arp:
    """Raises PacketError; padding behind the packet is dropped."""
    if len(data) < SIZE:
        raise PacketError("ARP", len(data), f"{len(data)} bytes, a packet has {SIZE}")
    hardware, protocol, mac_size, size, operation, *addresses = _PACKET.unpack_from(data)
    if (hardware, protocol, mac_size, size) != (_ETHERNET, _IPV4, 6, 4):
        raise PacketError("ARP", 0, f"hardware {hardware}, protocol {protocol:04X}: only IPv4 on Ethernet is resolved")
    return Arp(operation, *addresses)
