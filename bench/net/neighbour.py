"""Messages of Neighbour Discovery for IPv6 (RFC 4861): solicitations and advertisements of neighbours and routers, and their options.

Left out: redirects, which a link between two does not have.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from bench.net.errors import PacketError
from bench.net.icmp import Icmp, Icmp6
from bench.net.routes import Prefix

HOP_LIMIT: Final = 255
"""Of every message: what came through a router is none of this link's (RFC 4861, 3.1)."""
SOLICITED_NODE: Final = bytes.fromhex("ff0200000000000000000001ff")
"""The first 13 bytes of the group in which the owner of an address is asked for (RFC 4291, 2.7.1)."""
_OVERRIDE, _SOLICITED, _ROUTER = 1 << 29, 1 << 30, 1 << 31
_ON_LINK_AUTONOMOUS: Final = 0xC0
_PREFIX: Final = struct.Struct("!BBBBIII16s")


class OptionKind(IntEnum):
    """Options (RFC 4861, 4.6)."""

    SOURCE = 1
    TARGET = 2
    PREFIX = 3
    MTU = 5


@dataclass(frozen=True, slots=True)
class Solicitation:
    """Who has this address?"""

    target: bytes
    mac: bytes = b""
    """The asker's; empty where it has no address yet (duplicate address detection)."""

    def message(self) -> Icmp:
        """As ICMPv6."""
        return Icmp(Icmp6.NEIGHBOUR_SOLICITATION, 0, 0, self.target + _mac(OptionKind.SOURCE, self.mac))


@dataclass(frozen=True, slots=True)
class Advertisement:
    """This address is here."""

    target: bytes
    mac: bytes = b""
    solicited: bool = False
    override: bool = True
    router: bool = False

    def message(self) -> Icmp:
        """As ICMPv6."""
        rest = _OVERRIDE * self.override | _SOLICITED * self.solicited | _ROUTER * self.router
        return Icmp(Icmp6.NEIGHBOUR_ADVERTISEMENT, 0, rest, self.target + _mac(OptionKind.TARGET, self.mac))


@dataclass(frozen=True, slots=True)
class RouterAdvertisement:
    """Prefixes of this link, from which hosts make themselves addresses (RFC 4862). Its router is nobody's default."""

    mac: bytes
    mtu: int
    prefixes: tuple[Prefix, ...]
    lifetime: int = 86_400
    """Of the prefixes, in seconds."""

    def message(self) -> Icmp:
        """As ICMPv6."""
        options = _mac(OptionKind.SOURCE, self.mac) + struct.pack("!BBHI", OptionKind.MTU, 1, 0, self.mtu)
        for each in self.prefixes:
            head = (OptionKind.PREFIX, 4, each.length, _ON_LINK_AUTONOMOUS)
            options += _PREFIX.pack(*head, self.lifetime, self.lifetime, 0, each.address)
        hop_limit = 64
        return Icmp(Icmp6.ROUTER_ADVERTISEMENT, 0, hop_limit << 24, bytes(8) + options)


def parse_solicitation(message: Icmp) -> Solicitation:
    """Raises PacketError."""
    return Solicitation(_target(message), _find(message.payload[16:], OptionKind.SOURCE))


def parse_advertisement(message: Icmp) -> Advertisement:
    """Raises PacketError."""
    rest = message.rest
    return Advertisement(
        _target(message),
        _find(message.payload[16:], OptionKind.TARGET),
        bool(rest & _SOLICITED),
        bool(rest & _OVERRIDE),
        bool(rest & _ROUTER),
    )


def parse_router_solicitation(message: Icmp) -> bytes:
    """The asker's address on the link, empty where it does not say. Raises PacketError."""
    return _find(message.payload, OptionKind.SOURCE)


def solicited_node(address: bytes) -> bytes:
    """The group in which the owner of an address is asked for."""
    return SOLICITED_NODE + address[13:]


def _mac(kind: OptionKind, mac: bytes) -> bytes:
    return bytes((kind, 1)) + mac if mac else b""


def _target(message: Icmp) -> bytes:
    if message.code:
        raise PacketError("Neighbour Discovery", 1, f"code {message.code}")
    target = message.payload[:16]
    if len(target) < 16:
        raise PacketError("Neighbour Discovery", 8, f"a target of {len(target)} bytes")
    if target[0] == 0xFF:
        raise PacketError("Neighbour Discovery", 8, "a group as the target")
    return target


def _find(options: bytes, wanted: OptionKind) -> bytes:
    """The link-layer address in one option; empty where there is none. Every option must be sound (RFC 4861, 7.1)."""
    found, at = b"", 0
    while at < len(options):
        size = options[at + 1] * 8 if at + 1 < len(options) else 0
        if not size or at + size > len(options):
            raise PacketError("Neighbour Discovery", 24 + at, "an option of no length, or longer than the message")
        if options[at] == wanted and size == 8:
            found = options[at + 2 : at + 8]
        at += size
    return found
