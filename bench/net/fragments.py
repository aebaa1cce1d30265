"""Cutting packets to an MTU (RFC 791, 3.2; RFC 8200, 4.5)."""

from collections.abc import Iterator

from bench.net import ipv4, ipv6
from bench.net.ipv4 import Ipv4, build_options, parse_options
from bench.net.ipv6 import FRAGMENT_HEADER, FragmentHeader, Ipv6
from bench.net.protocols import Proto


def fragment4(packet: Ipv4, mtu: int) -> Iterator[Ipv4]:
    """A datagram (or a fragment) in pieces of at most ``mtu`` bytes; later ones carry the options marked to be copied only."""
    copied = b""
    if packet.options:
        copied = build_options(tuple(each for each in parse_options(packet.options) if each.copied))
    at, data = 0, packet.payload
    while at < len(data):
        options = copied if at else packet.options
        room = mtu - ipv4.HEADER - len(options)
        size = len(data) - at
        last = size <= room
        if not last:
            size = room & ~7
        yield Ipv4(
            packet.source,
            packet.destination,
            packet.protocol,
            data[at : at + size],
            packet.ttl,
            packet.identification,
            False,
            packet.more_fragments or not last,
            packet.offset + at,
            packet.tos,
            options,
        )
        at += size


def fragment6(packet: Ipv6, mtu: int, identification: int) -> Iterator[Ipv6]:
    """A packet of the node's own in pieces of at most ``mtu`` bytes. Everything after its header is cut: it has no per-fragment headers."""
    room = (mtu - ipv6.HEADER - FRAGMENT_HEADER) & ~7
    data = packet.payload
    for at in range(0, len(data), room):
        header = FragmentHeader(packet.next_header, at, at + room < len(data), identification)
        yield Ipv6(
            packet.source,
            packet.destination,
            Proto.FRAGMENT,
            header.encode() + data[at : at + room],
            packet.hop_limit,
            packet.traffic_class,
            packet.flow_label,
        )
