"""A prefix for a PPP link: Router Solicitation and Advertisement with one prefix (RFC 4861, 4.1, 4.2, 4.6.2), from which the other side makes its
address with the identifier that IPV6CP gave it (RFC 4862, 5.5.3). A link between two needs no more of neighbour discovery (RFC 5072, 5).
"""

import struct
from typing import Final

from bench.net.errors import PacketError
from bench.net.icmp import Icmp, Icmp6, parse_icmp6
from bench.net.ipv6 import Ipv6, parse_ipv6
from bench.net.protocols import V6_ALL_NODES, V6_ALL_ROUTERS, Proto, is_link_local
from bench.net.routes import Prefix

HOP_LIMIT: Final = 255
"""Of everything here: whatever was forwarded has less, and is dropped (RFC 4861, 6.1)."""
LIFETIME_S: Final = 1800
"""As a router: what RFC 4861, 6.2.1 has for the usual interval."""
PREFIX_LIFETIME_S: Final = 2_592_000
"""RFC 4861, 6.2.1: 30 days; the link goes with its card."""
LENGTH: Final = 64
"""Bits of a prefix that leaves room for an interface identifier."""
_ADVERTISEMENT: Final = struct.Struct("!II")
_PREFIX_OPTION: Final = struct.Struct("!BBBBIII16s")
_PREFIX: Final = 3
_AUTONOMOUS: Final = 0x40


def link_local(identifier: bytes) -> bytes:
    """The address that every interface has (RFC 4291, 2.5.6)."""
    return b"\xfe\x80" + bytes(6) + identifier


def solicitation(source: bytes) -> bytes:
    """A packet that asks for an advertisement."""
    return _packet(source, V6_ALL_ROUTERS, Icmp(Icmp6.ROUTER_SOLICITATION, 0, 0, b""))


def advertisement(source: bytes, prefix: Prefix) -> bytes:
    """A packet that tells a prefix of 64 bits, and that its sender is a router. Raises ValueError for a prefix of another length."""
    if prefix.length != LENGTH or len(prefix.address) != 16:
        raise ValueError(f"{prefix}: an interface identifier goes with a prefix of {LENGTH} bits")
    option = _PREFIX_OPTION.pack(
        _PREFIX, 4, LENGTH, _AUTONOMOUS, PREFIX_LIFETIME_S, PREFIX_LIFETIME_S, 0, prefix.address
    )
    body = _ADVERTISEMENT.pack(0, 0) + option
    return _packet(source, V6_ALL_NODES, Icmp(Icmp6.ROUTER_ADVERTISEMENT, 0, HOP_LIMIT << 24 | LIFETIME_S, body))


def is_solicitation(packet: bytes) -> bool:
    """Whether a packet asks for an advertisement."""
    return _message(packet, Icmp6.ROUTER_SOLICITATION) is not None


def advertised(packet: bytes) -> Prefix | None:
    """The prefix of 64 bits that a packet tells for addresses; None where it is no sound advertisement, or tells none."""
    message = _message(packet, Icmp6.ROUTER_ADVERTISEMENT)
    if message is None or not is_link_local(packet[8:24]):
        return None
    options = message.payload[_ADVERTISEMENT.size :]
    while len(options) >= 8:
        length = options[1] * 8
        if not length or length > len(options):
            return None
        if options[0] == _PREFIX and length == _PREFIX_OPTION.size:
            _kind, _units, bits, flags, valid, _preferred, _reserved, address = _PREFIX_OPTION.unpack(options[:length])
            usable = flags & _AUTONOMOUS and valid and bits == LENGTH
            if usable and not is_link_local(address) and address[0] != 0xFF:
                return Prefix.of(address, LENGTH)
        options = options[length:]
    return None


def _packet(source: bytes, destination: bytes, message: Icmp) -> bytes:
    return Ipv6(source, destination, Proto.ICMPV6, message.encode6(source, destination), HOP_LIMIT, 0).encode()


def _message(packet: bytes, kind: Icmp6) -> Icmp | None:
    if len(packet) < 48 or packet[6] != Proto.ICMPV6 or packet[7] != HOP_LIMIT or packet[40] != kind:
        return None
    try:
        whole = parse_ipv6(packet)
        return parse_icmp6(whole.source, whole.destination, whole.payload)
    except PacketError:
        return None
