"""How a node handles IPv4: for itself, through it, and the errors it sends (RFC 791, 792, 1122, 1812)."""

from typing import TYPE_CHECKING, Final

from bench.net import ipv4
from bench.net.errors import PacketError
from bench.net.errors_out import may_answer4, quote4
from bench.net.fragments import fragment4
from bench.net.icmp import Exceeded, Icmp, Icmp4, Unreachable4, parse_icmp4
from bench.net.ipv4 import Ipv4
from bench.net.layer3 import LOOPBACK, Arrived, Event
from bench.net.protocols import V4_BROADCAST, Proto, is_link_local, is_loopback, is_multicast, is_one_host

if TYPE_CHECKING:
    from bench.net.node import Node


class Ip4:
    """The IPv4 side of a node."""

    def __init__(self, node: "Node") -> None:
        self.node = node

    def arrived(self, number: int, packet: Ipv4, data: bytes, now: int) -> None:
        if not self.node.sound_source(number, packet.source, packet.destination):
            self.node.events[Event.SPOOFED] += 1
            return
        if packet.destination in self.node.own or (number == LOOPBACK and is_loopback(packet.destination)):
            if packet.options and not _options_sound(packet.options):
                self.error(data, Icmp(Icmp4.PARAMETER_PROBLEM, 0, ipv4.HEADER << 24, b""), now)
                return
            self._local(number, packet, data, now)
        elif (
            is_multicast(packet.destination)
            or packet.destination == V4_BROADCAST
            or not self.node.forwarding
            or is_loopback(packet.destination)
        ):
            self.node.events[Event.NOT_FOR_US] += 1
        elif not is_one_host(packet.source) or is_link_local(packet.source) or is_link_local(packet.destination):
            self.node.events[Event.SPOOFED] += 1  # never to be forwarded (RFC 1812, 5.3.7; RFC 3927, 7)
        else:
            self._forward(number, packet, data, now)

    def _local(self, number: int, packet: Ipv4, data: bytes, now: int) -> None:
        payload = packet.payload
        if packet.is_fragment:
            key = (packet.source, packet.destination, packet.protocol, packet.identification)
            due = now + self.node.reassembly_time
            whole = self.node.reassembler.add(key, packet.offset, packet.more_fragments, payload, data, number, due)
            if whole is None:
                return
            self.node.events[Event.REASSEMBLED] += 1
            payload, data = whole[0], whole[1].first
        arrived = Arrived(packet.source, packet.destination, payload, number, packet.ttl)
        if packet.protocol == Proto.ICMP:
            self._icmp(arrived, now)
            return
        handler = self.node.handlers.get(packet.protocol)
        if handler is None:
            self.node.events[Event.UNKNOWN_PROTOCOL] += 1
            self.error(data, Icmp(Icmp4.UNREACHABLE, Unreachable4.PROTOCOL, 0, b""), now)
        elif not handler(arrived, now):
            self.error(data, Icmp(Icmp4.UNREACHABLE, Unreachable4.PORT, 0, b""), now)
        else:
            self.node.events[Event.DELIVERED] += 1

    def _forward(self, number: int, packet: Ipv4, data: bytes, now: int) -> None:
        if packet.ttl <= 1:
            self.node.events[Event.HOP_LIMIT] += 1
            self.error(data, Icmp(Icmp4.TIME_EXCEEDED, Exceeded.TRANSIT, 0, b""), now)
            return
        out = self.node.way(packet.destination)
        if out is None:
            self.node.events[Event.NO_ROUTE] += 1
            known = self.node.routes.lookup(packet.destination)  # one that leads to nobody is no lack of a route
            code = Unreachable4.NET if known is None else Unreachable4.HOST
            self.error(data, Icmp(Icmp4.UNREACHABLE, code, 0, b""), now)
            return
        if out.number == number:  # over a link between two it would only come back
            self.node.events[Event.BACK_WHENCE] += 1
            self.error(data, Icmp(Icmp4.UNREACHABLE, Unreachable4.HOST, 0, b""), now)
            return
        packet.ttl -= 1
        if packet.length > out.mtu and packet.dont_fragment:
            self.node.events[Event.TOO_BIG] += 1
            self.error(data, Icmp(Icmp4.UNREACHABLE, Unreachable4.FRAGMENTATION_NEEDED, out.mtu, b""), now)
            return
        pieces = (packet,) if packet.length <= out.mtu else fragment4(packet, out.mtu)
        for piece in pieces:
            if not out.send(piece.encode()):
                self.node.events[Event.LINK_BUSY] += 1
                return
        self.node.events[Event.FORWARDED] += 1

    # -- ICMP ----------------------------------------------------------------------------------------------------------

    def _icmp(self, arrived: Arrived, now: int) -> None:
        message = parse_icmp4(arrived.payload)
        if message.kind == Icmp4.ECHO:
            reply = Icmp(Icmp4.ECHO_REPLY, 0, message.rest, message.payload).encode4()
            self.node.send(arrived.destination, arrived.source, Proto.ICMP, reply, now)
        elif message.kind == Icmp4.ECHO_REPLY:
            self.node.on_echo_reply(arrived.source, message, now)
        elif message.kind in (Icmp4.UNREACHABLE, Icmp4.TIME_EXCEEDED, Icmp4.PARAMETER_PROBLEM):
            self._told(message, arrived.source, now)
        else:
            self.node.events[Event.IGNORED] += (
                1  # unknown types are discarded silently (RFC 1122, 3.2.2); a link between two has no redirects
            )

    def _told(self, message: Icmp, by: bytes, now: int) -> None:
        try:
            about = _quoted4(message.payload)
        except PacketError:
            self.node.events[Event.MALFORMED] += 1
            return
        too_big = 0
        hard = False
        if message.kind == Icmp4.UNREACHABLE:
            hard = message.code in (Unreachable4.PROTOCOL, Unreachable4.PORT)
            if message.code == Unreachable4.FRAGMENTATION_NEEDED:
                told = message.rest & 0xFFFF
                too_big = max(ipv4.MTU_MIN, told if told else _plateau(about.length))
                if about.source in self.node.own:
                    self.node.learn(about.destination, too_big, now)
        self.node.report(
            message, hard, too_big, about.source, about.destination, about.protocol, about.payload, now, by
        )

    def error(self, data: bytes, error: Icmp, now: int) -> None:
        packet = _quoted4(data)
        if not may_answer4(packet):
            return
        source = packet.destination if packet.destination in self.node.own else self.node.source_for(packet.source)
        if source is None or self.node.way(packet.source) is None:
            return
        if not self.node.errors.take(now):
            self.node.events[Event.ERRORS_HELD_BACK] += 1
            return
        error.payload = quote4(data, self.node.path_mtu(packet.source, now))
        self.node.events[Event.ERRORS_OUT] += 1
        self.node.send(source, packet.source, Proto.ICMP, error.encode4(), now)


_PLATEAUS: Final = (32_000, 17_914, 8166, 4352, 2002, 1492, 1006, 508, 296, ipv4.MTU_MIN)


def _plateau(length: int) -> int:
    """What to believe where an old router names no MTU (RFC 1191, 7.1)."""
    return next((each for each in _PLATEAUS if each < length), ipv4.MTU_MIN)


def _options_sound(options: bytes) -> bool:
    try:
        ipv4.parse_options(options)
    except PacketError:
        return False
    return True


def _quoted4(data: bytes) -> Ipv4:
    """The packet of which a quotation holds at least the header: lengths and checksum of what was cut are not asked for."""
    if len(data) < ipv4.HEADER or data[0] >> 4 != 4:
        raise PacketError("ICMP", 8, "quotes no IPv4 header")
    size = (data[0] & 0x0F) << 2
    word = data[6] << 8 | data[7]
    return Ipv4(
        data[12:16],
        data[16:20],
        data[9],
        data[size:],
        data[8],
        data[4] << 8 | data[5],
        bool(word & ipv4.DONT_FRAGMENT),
        bool(word & ipv4.MORE_FRAGMENTS),
        (word & 0x1FFF) << 3,
        data[1],
    )
