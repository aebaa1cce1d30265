"""Protocol numbers (IANA), and what the rest of layer 3 calls addresses: four or sixteen bytes in network order."""

import ipaddress
from enum import IntEnum
from typing import Final


class Proto(IntEnum):
    """Numbers of the IPv4 protocol and IPv6 next header fields."""

    HOP_BY_HOP = 0
    ICMP = 1
    TCP = 6
    UDP = 17
    ROUTING = 43
    FRAGMENT = 44
    ESP = 50
    AH = 51
    ICMPV6 = 58
    NO_NEXT_HEADER = 59
    DESTINATION_OPTIONS = 60


V4_ANY: Final = bytes(4)
V4_BROADCAST: Final = b"\xff" * 4
V6_ANY: Final = bytes(16)
V6_LOOPBACK: Final = bytes(15) + b"\x01"
V6_ALL_NODES: Final = bytes.fromhex("ff020000000000000000000000000001")
V6_ALL_ROUTERS: Final = bytes.fromhex("ff020000000000000000000000000002")


def address(text: str) -> bytes:
    """An address from its text. Raises ValueError."""
    return ipaddress.ip_address(text).packed


def text(packed: bytes) -> str:
    """An address as text."""
    return str(ipaddress.ip_address(packed))


def is_multicast(packed: bytes) -> bool:
    """A group: 224/4 or ff00::/8."""
    return packed[0] >> 4 == 0xE if len(packed) == 4 else packed[0] == 0xFF


def is_loopback(packed: bytes) -> bool:
    """127/8 or ::1."""
    return packed[0] == 127 if len(packed) == 4 else packed == V6_LOOPBACK


def is_link_local(packed: bytes) -> bool:
    """169.254/16 or fe80::/10."""
    if len(packed) == 4:
        return packed[:2] == b"\xa9\xfe"
    return packed[0] == 0xFE and packed[1] & 0xC0 == 0x80


def is_one_host(packed: bytes) -> bool:
    """Whether an address can name a single host (RFC 1122, 3.2.1.3; RFC 4443, 2.4 e.6): no group, no broadcast, not the unspecified one."""
    if len(packed) == 4:
        return packed[0] not in (0, 127) and packed[0] < 0xE0
    return packed[0] != 0xFF and packed != V6_ANY and packed != V6_LOOPBACK
