"""How a node handles IPv6: extension headers, fragments, for itself, through it, and the errors it sends (RFC 8200, 4443)."""

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from bench.net import ipv4, ipv6
from bench.net.errors import PacketError
from bench.net.errors_out import may_answer6, quote6
from bench.net.icmp import Exceeded, Icmp, Icmp6, Problem6, Unreachable6, parse_icmp6
from bench.net.ipv6 import FragmentHeader, Ipv6, Walk, parse_ipv6
from bench.net.layer3 import LOOPBACK, Arrived, Event
from bench.net.protocols import V6_ALL_NODES, V6_ANY, Proto, is_link_local, is_loopback, is_multicast

if TYPE_CHECKING:
    from bench.net.node import Node

_ROUTER_ALERT6: Final = 0x05


class Ip6:
    """The IPv6 side of a node."""

    def __init__(self, node: "Node") -> None:
        self.node = node

    def arrived(self, number: int, packet: Ipv6, data: bytes, now: int) -> None:
        if not self.node.sound_source(number, packet.source, packet.destination) or is_multicast(packet.source):
            self.node.events[Event.SPOOFED] += 1
            return
        mine = packet.destination in self.node.own or (number == LOOPBACK and is_loopback(packet.destination))
        if mine or packet.destination == V6_ALL_NODES:
            self._local(number, packet, data, now)
        elif (
            is_multicast(packet.destination)
            or not self.node.forwarding
            or is_loopback(packet.destination)
            or is_link_local(packet.destination)
            or is_link_local(packet.source)
            or packet.source == V6_ANY  # RFC 4291, 2.5.2
        ):
            self.node.events[Event.NOT_FOR_US] += 1
        elif packet.next_header == Proto.HOP_BY_HOP and not self._options_done(packet, ipv6.walk(packet), data, now, 1):
            return
        else:
            self._forward(number, packet, data, now)

    def _local(self, number: int, packet: Ipv6, data: bytes, now: int) -> None:
        try:
            found = ipv6.walk(packet)
        except PacketError as error:
            self.node.events[Event.MALFORMED] += 1
            self.error(data, Icmp(Icmp6.PARAMETER_PROBLEM, Problem6.HEADER, error.offset, b""), now)
            return
        for place, each in enumerate(found.extensions):
            if each.kind == Proto.HOP_BY_HOP and place:  # only right after the IPv6 header (RFC 8200, 4.1)
                naming = found.extensions[place - 1].offset
                self.error(data, Icmp(Icmp6.PARAMETER_PROBLEM, Problem6.NEXT_HEADER, naming, b""), now)
                return
            if each.kind == Proto.ROUTING and each.data[3]:
                self.error(data, Icmp(Icmp6.PARAMETER_PROBLEM, Problem6.HEADER, each.offset + 2, b""), now)
                return
        if not self._options_done(packet, found, data, now, len(found.extensions)):
            return
        if any(each.kind == Proto.FRAGMENT for each in found.extensions):
            self._fragment(number, packet, found, data, now)
        else:
            self._deliver(number, packet, found, data, now)

    def _fragment(self, number: int, packet: Ipv6, found: Walk, data: bytes, now: int) -> None:
        header = next(each for each in found.extensions if each.kind == Proto.FRAGMENT)
        fragment = FragmentHeader.parse(header.data)
        at = header.offset + ipv6.FRAGMENT_HEADER - ipv6.HEADER
        payload = packet.payload[at:]
        if fragment.more and len(payload) & 7:
            self.error(data, Icmp(Icmp6.PARAMETER_PROBLEM, Problem6.HEADER, 4, b""), now)
            return
        if fragment.offset + len(payload) > 65_535:
            self.error(data, Icmp(Icmp6.PARAMETER_PROBLEM, Problem6.HEADER, header.offset + 2, b""), now)
            return
        if fragment.offset or fragment.more:  # otherwise an atomic fragment: whole by itself (RFC 6946)
            key = (packet.source, packet.destination, fragment.identification)
            due = now + self.node.reassembly_time
            whole = self.node.reassembler.add(key, fragment.offset, fragment.more, payload, data, number, due)
            if whole is None:
                return
            self.node.events[Event.REASSEMBLED] += 1
            payload, data = whole[0], whole[1].first
            first = ipv6.walk(parse_ipv6(data))  # the first fragment's headers count (RFC 8200, 4.5)
            header = next(each for each in first.extensions if each.kind == Proto.FRAGMENT)
            fragment = FragmentHeader.parse(header.data)
        rest = Ipv6(packet.source, packet.destination, fragment.next_header, payload, packet.hop_limit)
        inside = ipv6.walk(rest)
        behind = (
            header.offset + ipv6.FRAGMENT_HEADER - ipv6.HEADER
        )  # an error quotes the first fragment, and points into that
        naming = inside.naming + behind if inside.extensions else header.offset
        self._deliver(number, rest, replace(inside, naming=naming), data, now)

    def _deliver(self, number: int, packet: Ipv6, found: Walk, data: bytes, now: int) -> None:
        payload = packet.payload[found.offset - ipv6.HEADER :]
        arrived = Arrived(packet.source, packet.destination, payload, number, packet.hop_limit)
        if found.protocol == Proto.ICMPV6:
            self._icmp(arrived, now)
            return
        if found.protocol == Proto.NO_NEXT_HEADER:
            self.node.events[Event.IGNORED] += 1
            return
        handler = self.node.handlers.get(found.protocol)
        if handler is None:
            self.node.events[Event.UNKNOWN_PROTOCOL] += 1
            self.error(data, Icmp(Icmp6.PARAMETER_PROBLEM, Problem6.NEXT_HEADER, found.naming, b""), now)
        elif not handler(arrived, now):
            self.error(data, Icmp(Icmp6.UNREACHABLE, Unreachable6.PORT, 0, b""), now)
        else:
            self.node.events[Event.DELIVERED] += 1

    def _options_done(self, packet: Ipv6, found: Walk, data: bytes, now: int, count: int) -> bool:
        """Whether every option of the first ``count`` extension headers lets the packet go on (RFC 8200, 4.2)."""
        for each in found.extensions[:count]:
            if each.kind not in (Proto.HOP_BY_HOP, Proto.DESTINATION_OPTIONS):
                continue
            try:
                options = ipv6.parse_options(each.data)
            except PacketError as error:
                problem = Icmp(Icmp6.PARAMETER_PROBLEM, Problem6.HEADER, each.offset + error.offset, b"")
                self.error(data, problem, now)
                return False
            for option in options:
                action = option.kind >> 6
                if not action or option.kind == _ROUTER_ALERT6:
                    continue
                if action == 2 or (action == 3 and not is_multicast(packet.destination)):
                    pointer = each.offset + option.offset
                    self.error(data, Icmp(Icmp6.PARAMETER_PROBLEM, Problem6.OPTION, pointer, b""), now)
                self.node.events[Event.IGNORED] += 1
                return False
        return True

    def _forward(self, number: int, packet: Ipv6, data: bytes, now: int) -> None:
        if packet.hop_limit <= 1:
            self.node.events[Event.HOP_LIMIT] += 1
            self.error(data, Icmp(Icmp6.TIME_EXCEEDED, Exceeded.TRANSIT, 0, b""), now)
            return
        out = self.node.way(packet.destination)
        if out is None:
            self.node.events[Event.NO_ROUTE] += 1
            known = self.node.routes.lookup(packet.destination)
            code = Unreachable6.NO_ROUTE if known is None else Unreachable6.ADDRESS
            self.error(data, Icmp(Icmp6.UNREACHABLE, code, 0, b""), now)
            return
        if out.number == number:  # RFC 4443, 3.1: must not go back over a link between two
            self.node.events[Event.BACK_WHENCE] += 1
            self.error(data, Icmp(Icmp6.UNREACHABLE, Unreachable6.ADDRESS, 0, b""), now)
            return
        if packet.length > out.mtu:
            self.node.events[Event.TOO_BIG] += 1
            self.error(data, Icmp(Icmp6.TOO_BIG, 0, out.mtu, b""), now)
            return
        packet.hop_limit -= 1
        if out.send(packet.encode()):
            self.node.events[Event.FORWARDED] += 1
        else:
            self.node.events[Event.LINK_BUSY] += 1

    # -- ICMP ----------------------------------------------------------------------------------------------------------

    def _icmp(self, arrived: Arrived, now: int) -> None:
        message = parse_icmp6(arrived.source, arrived.destination, arrived.payload)
        if message.kind == Icmp6.ECHO:
            source = self.node.source_for(arrived.source) if is_multicast(arrived.destination) else arrived.destination
            if source is not None:
                reply = Icmp(Icmp6.ECHO_REPLY, 0, message.rest, message.payload).encode6(source, arrived.source)
                self.node.send(source, arrived.source, Proto.ICMPV6, reply, now)
        elif message.kind == Icmp6.ECHO_REPLY:
            self.node.on_echo_reply(arrived.source, message, now)
        elif message.kind < 128:
            self._told(message, arrived.source, now)
        else:
            self.node.events[Event.IGNORED] += 1

    def _told(self, message: Icmp, by: bytes, now: int) -> None:
        try:
            about = parse_ipv6(message.payload.ljust(ipv6.HEADER, b"\x00") + bytes(65_535))
            found = ipv6.walk(about)
        except PacketError:
            self.node.events[Event.MALFORMED] += 1
            return
        too_big = 0
        if message.kind == Icmp6.TOO_BIG:
            too_big = max(ipv4.MTU_MIN, message.rest)
            if about.source in self.node.own:
                self.node.learn(about.destination, too_big, now)
        hard = (message.kind, message.code) in (
            (Icmp6.UNREACHABLE, Unreachable6.PORT),
            (Icmp6.PARAMETER_PROBLEM, Problem6.NEXT_HEADER),
        )
        quoted = message.payload[found.offset :]
        self.node.report(message, hard, too_big, about.source, about.destination, found.protocol, quoted, now, by)

    def error(self, data: bytes, error: Icmp, now: int) -> None:
        packet = parse_ipv6(data)
        if not may_answer6(packet, error):
            return
        source = packet.destination if packet.destination in self.node.own else self.node.source_for(packet.source)
        if source is None or self.node.way(packet.source) is None:
            return
        if not self.node.errors.take(now):
            self.node.events[Event.ERRORS_HELD_BACK] += 1
            return
        error.payload = quote6(data, self.node.path_mtu(packet.source, now))
        self.node.events[Event.ERRORS_OUT] += 1
        self.node.send(source, packet.source, Proto.ICMPV6, error.encode6(source, packet.source), now)
