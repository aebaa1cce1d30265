"""A node of the Internet: interfaces, addresses, routes; packets in, out and through (RFC 791, 1122, 1812; RFC 8200, 4443).

Host and router in one: ``forwarding`` says which. Links here join two ends, so no address needs to be resolved; one that does (a bridge, a bus) wraps
``Interface.send``. Nothing here reads a clock: the time comes with each call, in ticks, and ``deadline`` says when ``tick`` is due.
"""

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import Final

from bench.net import ipv4, ipv6
from bench.net.errors import PacketError
from bench.net.errors_out import ErrorBucket, may_answer4, may_answer6, quote4, quote6
from bench.net.fragments import fragment4, fragment6
from bench.net.icmp import (
    Exceeded,
    Icmp,
    Icmp4,
    Icmp6,
    Problem6,
    Unreachable4,
    Unreachable6,
    parse_icmp4,
    parse_icmp6,
)
from bench.net.ipv4 import Ipv4, parse_ipv4
from bench.net.ipv6 import FragmentHeader, Ipv6, Walk, parse_ipv6
from bench.net.protocols import V6_ALL_NODES, V6_ANY, Proto, is_link_local, is_loopback, is_multicast
from bench.net.reassembly import Reassembler, ReassemblyBounds
from bench.net.routes import Prefix, Route, RouteTable

HOP_LIMIT: Final = 64
LOOPBACK: Final = -1
"""The number under which a packet of the node to itself arrives."""


class Event(StrEnum):
    """What a node counts; the names follow the SNMP counters of RFC 4293 where there is one."""

    IN = auto()
    OUT = auto()
    FORWARDED = auto()
    DELIVERED = auto()
    MALFORMED = auto()
    NOT_FOR_US = auto()
    SPOOFED = auto()
    NO_ROUTE = auto()
    HOP_LIMIT = auto()
    TOO_BIG = auto()
    BACK_WHENCE = auto()
    LINK_BUSY = auto()
    REASSEMBLED = auto()
    REASSEMBLY_FAILED = auto()
    ERRORS_OUT = auto()
    ERRORS_HELD_BACK = auto()
    UNKNOWN_PROTOCOL = auto()
    IGNORED = auto()


class Sent(StrEnum):
    """What became of a packet of the node's own."""

    YES = auto()
    NO_ROUTE = auto()
    TOO_BIG = auto()
    """It may not be fragmented and the path's MTU is less: ``path_mtu`` tells."""
    BUSY = auto()
    """The link took nothing: try again when it has room."""


@dataclass(slots=True)
class Interface:
    """One way out of a node: a link between two."""

    number: int
    name: str
    mtu: int
    send: Callable[[bytes], bool]
    """Hands one packet to the link; False where it takes none now."""
    up: bool = True
    addresses: dict[bytes, int] = field(default_factory=dict)
    """The node's own addresses here, with the length of their prefix."""
    checks_sources: bool = True
    """Drop what comes in with a source that would not be reached this way (BCP 38; RFC 3704, strict)."""


@dataclass(frozen=True, slots=True)
class ErrorReport:
    """An ICMP error about something the node sent."""

    reason: str
    hard: bool
    """Whether trying again is of no use (RFC 1122, 4.2.3.9: protocol and port)."""
    too_big: int
    """The MTU that would pass, 0 where that is not what it is about."""
    source: bytes
    destination: bytes
    protocol: int
    quoted: bytes
    """The beginning of the payload that it is about."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """One payload for a protocol above."""

    source: bytes
    destination: bytes
    payload: bytes
    interface: int
    hop_limit: int


Handler = Callable[[Arrived, int], bool]
"""Takes a payload and the time. False: nobody is there for it (a port unreachable goes back)."""


class Node:
    """Layer 3 of a card or a host."""

    def __init__(self, hz: int, *, forwarding: bool = False, bounds: ReassemblyBounds | None = None) -> None:
        self.hz = hz
        """Ticks a second."""
        self.forwarding = forwarding
        self.interfaces: dict[int, Interface] = {}
        self.routes = RouteTable()
        self.own: dict[bytes, int] = {}
        """The node's addresses, and the interface of each."""
        self.handlers: dict[int, Handler] = {}
        self.error_handlers: dict[int, Callable[[ErrorReport, int], None]] = {}
        self.on_echo_reply: Callable[[bytes, Icmp, int], None] = _unheard
        self.events: Counter[Event] = Counter()
        self.reassembly_time = 60 * hz
        """How long fragments are waited for (RFC 1122, 3.3.2: 60 to 120 s; RFC 8200, 4.5: 60 s)."""
        self.path_mtu_time = 600 * hz
        """How long a path MTU that was told is believed (RFC 1191, 6.3; RFC 8201, 4)."""
        self._reassembler = Reassembler(bounds)
        self._errors = ErrorBucket(hz // 100)
        self._path_mtus: dict[bytes, tuple[int, int]] = {}
        self._identification = 0
        self._loop: deque[bytes] = deque()
        self._looping = False

    # -- configuration -------------------------------------------------------------------------------------------------

    def add_interface(self, name: str, mtu: int, send: Callable[[bytes], bool]) -> Interface:
        """A new way out. Raises ValueError for an MTU below IPv4's least."""
        if mtu < ipv4.MTU_MIN:
            raise ValueError(f"interface {name}: an MTU of {mtu}, IPv4 needs {ipv4.MTU_MIN}")
        number = max(self.interfaces, default=-1) + 1
        interface = self.interfaces[number] = Interface(number, name, mtu, send)
        return interface

    def remove_interface(self, number: int) -> None:
        """The link has gone: its addresses and routes go with it."""
        interface = self.interfaces.pop(number)
        for address in list(interface.addresses):
            del self.own[address]
        self.routes.withdraw(number)

    def assign(self, number: int, address: bytes, length: int | None = None) -> None:
        """Give the node an address on an interface; a prefix shorter than the address becomes a route. Raises ValueError where it has it already."""
        if address in self.own:
            raise ValueError("the node has this address already")
        bits = len(address) * 8
        length = bits if length is None else length
        self.own[address] = number
        self.interfaces[number].addresses[address] = length
        if length < bits:
            self.routes.add(Route(Prefix.of(address, length), number))

    def unassign(self, address: bytes) -> None:
        """Take an address away, and the route that came with it."""
        number = self.own.pop(address)
        length = self.interfaces[number].addresses.pop(address)
        if length < len(address) * 8:
            self.routes.remove(Prefix.of(address, length), number)

    # -- time ----------------------------------------------------------------------------------------------------------

    @property
    def deadline(self) -> int | None:
        """When ``tick`` has something to do."""
        return self._reassembler.deadline

    def tick(self, now: int) -> None:
        """Give up what is too old; whoever sent the first fragment is told (RFC 1122, 3.3.2; RFC 4443, 3.3)."""
        for partial in self._reassembler.expire(now):
            self.events[Event.REASSEMBLY_FAILED] += 1
            if not partial.first:
                continue
            if partial.first[0] >> 4 == 4:
                self._error4(partial.first, Icmp(Icmp4.TIME_EXCEEDED, Exceeded.REASSEMBLY, 0, b""), now)
            else:
                self._error6(partial.first, Icmp(Icmp6.TIME_EXCEEDED, Exceeded.REASSEMBLY, 0, b""), now)

    # -- in ------------------------------------------------------------------------------------------------------------

    def receive(self, number: int, data: bytes, now: int) -> None:
        """A packet came over an interface. Whatever it is, this returns; what is wrong with it is counted and, where that is due, told its sender."""
        self.events[Event.IN] += 1
        version = data[0] >> 4 if data else 0
        try:
            if version == 4:
                self._in4(number, parse_ipv4(data), data, now)
            elif version == 6:
                self._in6(number, parse_ipv6(data), data, now)
            else:
                self.events[Event.MALFORMED] += 1
        except PacketError:
            self.events[Event.MALFORMED] += 1
        if self._loop and not self._looping:
            self._run_loop(now)

    def _in4(self, number: int, packet: Ipv4, data: bytes, now: int) -> None:
        if not self._sound_source(number, packet.source, packet.destination):
            self.events[Event.SPOOFED] += 1
            return
        if packet.destination in self.own or (number == LOOPBACK and is_loopback(packet.destination)):
            if packet.options and not _options_sound(packet.options):
                self._error4(data, Icmp(Icmp4.PARAMETER_PROBLEM, 0, ipv4.HEADER << 24, b""), now)
                return
            self._local4(number, packet, data, now)
        elif (
            is_multicast(packet.destination)
            or packet.destination == b"\xff" * 4
            or not self.forwarding
            or is_loopback(packet.destination)
        ):
            self.events[Event.NOT_FOR_US] += 1
        else:
            self._forward4(number, packet, data, now)

    def _local4(self, number: int, packet: Ipv4, data: bytes, now: int) -> None:
        payload = packet.payload
        if packet.is_fragment:
            key = (packet.source, packet.destination, packet.protocol, packet.identification)
            due = now + self.reassembly_time
            whole = self._reassembler.add(key, packet.offset, packet.more_fragments, payload, data, number, due)
            if whole is None:
                return
            self.events[Event.REASSEMBLED] += 1
            payload, data = whole[0], whole[1].first
        arrived = Arrived(packet.source, packet.destination, payload, number, packet.ttl)
        if packet.protocol == Proto.ICMP:
            self._icmp4(arrived, now)
            return
        handler = self.handlers.get(packet.protocol)
        if handler is None:
            self.events[Event.UNKNOWN_PROTOCOL] += 1
            self._error4(data, Icmp(Icmp4.UNREACHABLE, Unreachable4.PROTOCOL, 0, b""), now)
        elif not handler(arrived, now):
            self._error4(data, Icmp(Icmp4.UNREACHABLE, Unreachable4.PORT, 0, b""), now)
        else:
            self.events[Event.DELIVERED] += 1

    def _in6(self, number: int, packet: Ipv6, data: bytes, now: int) -> None:
        if not self._sound_source(number, packet.source, packet.destination) or is_multicast(packet.source):
            self.events[Event.SPOOFED] += 1
            return
        mine = packet.destination in self.own or (number == LOOPBACK and is_loopback(packet.destination))
        if mine or packet.destination == V6_ALL_NODES:
            self._local6(number, packet, data, now)
        elif (
            is_multicast(packet.destination)
            or not self.forwarding
            or is_loopback(packet.destination)
            or is_link_local(packet.destination)
            or is_link_local(packet.source)
        ):
            self.events[Event.NOT_FOR_US] += 1
        elif packet.next_header == Proto.HOP_BY_HOP and not self._options_done(packet, ipv6.walk(packet), data, now, 1):
            return
        else:
            self._forward6(number, packet, data, now)

    def _local6(self, number: int, packet: Ipv6, data: bytes, now: int) -> None:
        try:
            found = ipv6.walk(packet)
        except PacketError as error:
            self.events[Event.MALFORMED] += 1
            self._error6(data, Icmp(Icmp6.PARAMETER_PROBLEM, Problem6.HEADER, error.offset, b""), now)
            return
        for place, each in enumerate(found.extensions):
            if each.kind == Proto.HOP_BY_HOP and place:  # only right after the IPv6 header (RFC 8200, 4.1)
                naming = found.extensions[place - 1].offset
                self._error6(data, Icmp(Icmp6.PARAMETER_PROBLEM, Problem6.NEXT_HEADER, naming, b""), now)
                return
            if each.kind == Proto.ROUTING and each.data[3]:
                self._error6(data, Icmp(Icmp6.PARAMETER_PROBLEM, Problem6.HEADER, each.offset + 2, b""), now)
                return
        if not self._options_done(packet, found, data, now, len(found.extensions)):
            return
        if any(each.kind == Proto.FRAGMENT for each in found.extensions):
            self._fragment6(number, packet, found, data, now)
        else:
            self._deliver6(number, packet, found, data, now)

    def _fragment6(self, number: int, packet: Ipv6, found: Walk, data: bytes, now: int) -> None:
        header = next(each for each in found.extensions if each.kind == Proto.FRAGMENT)
        fragment = FragmentHeader.parse(header.data)
        at = header.offset + ipv6.FRAGMENT_HEADER - ipv6.HEADER
        payload = packet.payload[at:]
        if fragment.more and len(payload) & 7:
            self._error6(data, Icmp(Icmp6.PARAMETER_PROBLEM, Problem6.HEADER, 4, b""), now)
            return
        if fragment.offset + len(payload) > 65_535:
            self._error6(data, Icmp(Icmp6.PARAMETER_PROBLEM, Problem6.HEADER, header.offset + 2, b""), now)
            return
        if fragment.offset or fragment.more:  # otherwise an atomic fragment: whole by itself (RFC 6946)
            key = (packet.source, packet.destination, fragment.identification)
            due = now + self.reassembly_time
            whole = self._reassembler.add(key, fragment.offset, fragment.more, payload, data, number, due)
            if whole is None:
                return
            self.events[Event.REASSEMBLED] += 1
            payload, data = whole[0], whole[1].first
            first = ipv6.walk(parse_ipv6(data))  # the first fragment's headers count (RFC 8200, 4.5)
            fragment = FragmentHeader.parse(next(each for each in first.extensions if each.kind == Proto.FRAGMENT).data)
        rest = Ipv6(packet.source, packet.destination, fragment.next_header, payload, packet.hop_limit)
        self._deliver6(number, rest, ipv6.walk(rest), data, now)

    def _deliver6(self, number: int, packet: Ipv6, found: Walk, data: bytes, now: int) -> None:
        payload = packet.payload[found.offset - ipv6.HEADER :]
        arrived = Arrived(packet.source, packet.destination, payload, number, packet.hop_limit)
        if found.protocol == Proto.ICMPV6:
            self._icmp6(arrived, now)
            return
        if found.protocol == Proto.NO_NEXT_HEADER:
            self.events[Event.IGNORED] += 1
            return
        handler = self.handlers.get(found.protocol)
        if handler is None:
            self.events[Event.UNKNOWN_PROTOCOL] += 1
            self._error6(data, Icmp(Icmp6.PARAMETER_PROBLEM, Problem6.NEXT_HEADER, found.naming, b""), now)
        elif not handler(arrived, now):
            self._error6(data, Icmp(Icmp6.UNREACHABLE, Unreachable6.PORT, 0, b""), now)
        else:
            self.events[Event.DELIVERED] += 1

    def _options_done(self, packet: Ipv6, found: Walk, data: bytes, now: int, count: int) -> bool:
        """Whether every option of the first ``count`` extension headers lets the packet go on (RFC 8200, 4.2)."""
        for each in found.extensions[:count]:
            if each.kind not in (Proto.HOP_BY_HOP, Proto.DESTINATION_OPTIONS):
                continue
            try:
                options = ipv6.parse_options(each.data)
            except PacketError as error:
                problem = Icmp(Icmp6.PARAMETER_PROBLEM, Problem6.HEADER, each.offset + error.offset, b"")
                self._error6(data, problem, now)
                return False
            for option in options:
                action = option.kind >> 6
                if not action or option.kind == _ROUTER_ALERT6:
                    continue
                if action == 2 or (action == 3 and not is_multicast(packet.destination)):
                    pointer = each.offset + option.offset
                    self._error6(data, Icmp(Icmp6.PARAMETER_PROBLEM, Problem6.OPTION, pointer, b""), now)
                self.events[Event.IGNORED] += 1
                return False
        return True

    def _sound_source(self, number: int, source: bytes, destination: bytes) -> bool:
        """Whether a source may come in this way (RFC 1122, 3.2.1.3; RFC 3704)."""
        if number == LOOPBACK:
            return True
        if is_loopback(source) or is_loopback(destination) or is_multicast(source) or source == b"\xff" * 4:
            return False
        if source in self.own:
            return False
        interface = self.interfaces.get(number)
        if interface is None or not interface.up:
            return False
        if not interface.checks_sources or is_link_local(source) or source in (bytes(4), V6_ANY):
            return True
        route = self.routes.lookup(source)
        return route is not None and route.interface == number

    # -- through -------------------------------------------------------------------------------------------------------

    def _forward4(self, number: int, packet: Ipv4, data: bytes, now: int) -> None:
        if packet.ttl <= 1:
            self.events[Event.HOP_LIMIT] += 1
            self._error4(data, Icmp(Icmp4.TIME_EXCEEDED, Exceeded.TRANSIT, 0, b""), now)
            return
        out = self._way(packet.destination)
        if out is None:
            self.events[Event.NO_ROUTE] += 1
            self._error4(data, Icmp(Icmp4.UNREACHABLE, Unreachable4.NET, 0, b""), now)
            return
        if out.number == number:  # over a link between two it would only come back
            self.events[Event.BACK_WHENCE] += 1
            self._error4(data, Icmp(Icmp4.UNREACHABLE, Unreachable4.HOST, 0, b""), now)
            return
        packet.ttl -= 1
        if packet.length > out.mtu and packet.dont_fragment:
            self.events[Event.TOO_BIG] += 1
            self._error4(data, Icmp(Icmp4.UNREACHABLE, Unreachable4.FRAGMENTATION_NEEDED, out.mtu, b""), now)
            return
        pieces = (packet,) if packet.length <= out.mtu else fragment4(packet, out.mtu)
        for piece in pieces:
            if not out.send(piece.encode()):
                self.events[Event.LINK_BUSY] += 1
                return
        self.events[Event.FORWARDED] += 1

    def _forward6(self, number: int, packet: Ipv6, data: bytes, now: int) -> None:
        if packet.hop_limit <= 1:
            self.events[Event.HOP_LIMIT] += 1
            self._error6(data, Icmp(Icmp6.TIME_EXCEEDED, Exceeded.TRANSIT, 0, b""), now)
            return
        out = self._way(packet.destination)
        if out is None:
            self.events[Event.NO_ROUTE] += 1
            self._error6(data, Icmp(Icmp6.UNREACHABLE, Unreachable6.NO_ROUTE, 0, b""), now)
            return
        if out.number == number:  # RFC 4443, 3.1: must not go back over a link between two
            self.events[Event.BACK_WHENCE] += 1
            self._error6(data, Icmp(Icmp6.UNREACHABLE, Unreachable6.ADDRESS, 0, b""), now)
            return
        if packet.length > out.mtu:
            self.events[Event.TOO_BIG] += 1
            self._error6(data, Icmp(Icmp6.TOO_BIG, 0, out.mtu, b""), now)
            return
        packet.hop_limit -= 1
        if out.send(packet.encode()):
            self.events[Event.FORWARDED] += 1
        else:
            self.events[Event.LINK_BUSY] += 1

    def _way(self, destination: bytes) -> Interface | None:
        route = self.routes.lookup(destination)
        interface = None if route is None else self.interfaces.get(route.interface)
        return interface if interface is not None and interface.up else None

    # -- out -----------------------------------------------------------------------------------------------------------

    def source_for(self, destination: bytes) -> bytes | None:
        """The address the node would send from; None where there is no way."""
        if destination in self.own or is_loopback(destination):
            return destination
        route = self.routes.lookup(destination)
        if route is None or route.interface not in self.interfaces:
            return None
        size = len(destination)
        scoped = is_link_local(destination)
        own = [each for each in self.interfaces[route.interface].addresses if len(each) == size]
        fitting = [each for each in own if is_link_local(each) is scoped] or [
            each for each in self.own if len(each) == size and is_link_local(each) is scoped
        ]
        return next(iter(fitting or own), None)

    def link_mtu(self, destination: bytes) -> int:
        """The MTU of the interface towards ``destination``."""
        if destination in self.own or is_loopback(destination):
            return 65_535
        out = self._way(destination)
        if out is not None:
            return out.mtu
        return ipv4.REASSEMBLY_MIN if len(destination) == 4 else ipv6.MTU_MIN

    def path_mtu(self, destination: bytes, now: int) -> int:
        """The largest packet that goes to ``destination`` unfragmented, as far as is known."""
        mtu = self.link_mtu(destination)
        told = self._path_mtus.get(destination)
        if told is None:
            return mtu
        if told[1] <= now:
            del self._path_mtus[destination]
            return mtu
        return min(mtu, told[0])

    def send(
        self,
        source: bytes,
        destination: bytes,
        protocol: int,
        payload: bytes,
        now: int,
        *,
        hop_limit: int = HOP_LIMIT,
        dont_fragment: bool = False,
    ) -> Sent:
        """Send a payload of the node's own, in fragments where it must be and may be."""
        if destination in self.own or is_loopback(destination):
            self._loop.append(_whole(source, destination, protocol, payload, hop_limit))
            if not self._looping:
                self._run_loop(now)
            return Sent.YES
        out = self._way(destination)
        if out is None:
            self.events[Event.NO_ROUTE] += 1
            return Sent.NO_ROUTE
        mtu = self.path_mtu(destination, now) if self._path_mtus else out.mtu
        if len(source) == 4:
            self._identification = self._identification + 1 & 0xFFFF
            packet = Ipv4(
                source, destination, protocol, payload, hop_limit, self._identification, dont_fragment=dont_fragment
            )
            if packet.length > mtu and dont_fragment:
                return Sent.TOO_BIG
            packets = [packet.encode()] if packet.length <= mtu else [each.encode() for each in fragment4(packet, mtu)]
        else:
            packet6 = Ipv6(source, destination, protocol, payload, hop_limit)
            if packet6.length > mtu:
                if dont_fragment:
                    return Sent.TOO_BIG
                self._identification = self._identification + 1 & 0xFFFF_FFFF
                packets = [each.encode() for each in fragment6(packet6, mtu, self._identification)]
            else:
                packets = [packet6.encode()]
        for data in packets:
            if not out.send(data):
                self.events[Event.LINK_BUSY] += 1
                return Sent.BUSY
        self.events[Event.OUT] += 1
        return Sent.YES

    def ping(self, destination: bytes, identifier: int, sequence: int, payload: bytes, now: int) -> Sent:
        """Send an echo request; replies come to ``on_echo_reply``."""
        source = self.source_for(destination)
        if source is None:
            return Sent.NO_ROUTE
        rest = identifier << 16 | sequence
        if len(destination) == 4:
            body = Icmp(Icmp4.ECHO, 0, rest, payload).encode4()
            return self.send(source, destination, Proto.ICMP, body, now)
        body = Icmp(Icmp6.ECHO, 0, rest, payload).encode6(source, destination)
        return self.send(source, destination, Proto.ICMPV6, body, now)

    def _run_loop(self, now: int) -> None:
        self._looping = True
        try:
            while self._loop:
                self.receive(LOOPBACK, self._loop.popleft(), now)
        finally:
            self._looping = False

    # -- ICMP ----------------------------------------------------------------------------------------------------------

    def _icmp4(self, arrived: Arrived, now: int) -> None:
        message = parse_icmp4(arrived.payload)
        if message.kind == Icmp4.ECHO:
            reply = Icmp(Icmp4.ECHO_REPLY, 0, message.rest, message.payload).encode4()
            self.send(arrived.destination, arrived.source, Proto.ICMP, reply, now)
        elif message.kind == Icmp4.ECHO_REPLY:
            self.on_echo_reply(arrived.source, message, now)
        elif message.kind in (Icmp4.UNREACHABLE, Icmp4.TIME_EXCEEDED, Icmp4.PARAMETER_PROBLEM):
            self._told4(message, now)
        else:
            self.events[Event.IGNORED] += (
                1  # unknown types are discarded silently (RFC 1122, 3.2.2); a link between two has no redirects
            )

    def _told4(self, message: Icmp, now: int) -> None:
        try:
            about = _quoted4(message.payload)
        except PacketError:
            self.events[Event.MALFORMED] += 1
            return
        too_big = 0
        hard = False
        if message.kind == Icmp4.UNREACHABLE:
            hard = message.code in (Unreachable4.PROTOCOL, Unreachable4.PORT)
            if message.code == Unreachable4.FRAGMENTATION_NEEDED:
                told = message.rest & 0xFFFF
                too_big = max(ipv4.MTU_MIN, told if told else _plateau(about.length))
                self._learn(about.destination, too_big, now)
        self._report(message, hard, too_big, about.source, about.destination, about.protocol, about.payload, now)

    def _icmp6(self, arrived: Arrived, now: int) -> None:
        message = parse_icmp6(arrived.source, arrived.destination, arrived.payload)
        if message.kind == Icmp6.ECHO:
            source = self.source_for(arrived.source) if is_multicast(arrived.destination) else arrived.destination
            if source is not None:
                reply = Icmp(Icmp6.ECHO_REPLY, 0, message.rest, message.payload).encode6(source, arrived.source)
                self.send(source, arrived.source, Proto.ICMPV6, reply, now)
        elif message.kind == Icmp6.ECHO_REPLY:
            self.on_echo_reply(arrived.source, message, now)
        elif message.kind < 128:
            self._told6(message, now)
        else:
            self.events[Event.IGNORED] += 1

    def _told6(self, message: Icmp, now: int) -> None:
        try:
            about = parse_ipv6(message.payload.ljust(ipv6.HEADER, b"\x00") + bytes(65_535))
            found = ipv6.walk(about)
        except PacketError:
            self.events[Event.MALFORMED] += 1
            return
        too_big = 0
        if message.kind == Icmp6.TOO_BIG:
            too_big = max(ipv4.MTU_MIN, message.rest)
            self._learn(about.destination, too_big, now)
        hard = (message.kind, message.code) in (
            (Icmp6.UNREACHABLE, Unreachable6.PORT),
            (Icmp6.PARAMETER_PROBLEM, Problem6.NEXT_HEADER),
        )
        quoted = message.payload[found.offset :]
        self._report(message, hard, too_big, about.source, about.destination, found.protocol, quoted, now)

    def _report(
        self,
        message: Icmp,
        hard: bool,
        too_big: int,
        source: bytes,
        destination: bytes,
        protocol: int,
        quoted: bytes,
        now: int,
    ) -> None:
        handler = self.error_handlers.get(protocol)
        if handler is None or source not in self.own:
            self.events[Event.IGNORED] += 1
            return
        reason = f"ICMP type {message.kind} code {message.code}"
        handler(ErrorReport(reason, hard, too_big, source, destination, protocol, quoted), now)

    def _learn(self, destination: bytes, mtu: int, now: int) -> None:
        """A smaller path MTU was told; a larger one is not believed. Bounded: the oldest goes."""
        if mtu >= self.path_mtu(destination, now):
            return
        while len(self._path_mtus) >= 64:
            del self._path_mtus[next(iter(self._path_mtus))]
        self._path_mtus[destination] = (mtu, now + self.path_mtu_time)

    def _error4(self, data: bytes, error: Icmp, now: int) -> None:
        packet = _quoted4(data)
        if not may_answer4(packet):
            return
        source = packet.destination if packet.destination in self.own else self.source_for(packet.source)
        out = self._way(packet.source)
        if source is None or out is None:
            return
        if not self._errors.take(now):
            self.events[Event.ERRORS_HELD_BACK] += 1
            return
        error.payload = quote4(data, out.mtu)
        self.events[Event.ERRORS_OUT] += 1
        self.send(source, packet.source, Proto.ICMP, error.encode4(), now)

    def _error6(self, data: bytes, error: Icmp, now: int) -> None:
        packet = parse_ipv6(data)
        if not may_answer6(packet, error):
            return
        source = packet.destination if packet.destination in self.own else self.source_for(packet.source)
        out = self._way(packet.source)
        if source is None or out is None:
            return
        if not self._errors.take(now):
            self.events[Event.ERRORS_HELD_BACK] += 1
            return
        error.payload = quote6(data, out.mtu)
        self.events[Event.ERRORS_OUT] += 1
        self.send(source, packet.source, Proto.ICMPV6, error.encode6(source, packet.source), now)


_ROUTER_ALERT6: Final = 0x05
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


def _whole(source: bytes, destination: bytes, protocol: int, payload: bytes, hop_limit: int) -> bytes:
    if len(source) == 4:
        return Ipv4(source, destination, protocol, payload, hop_limit).encode()
    return Ipv6(source, destination, protocol, payload, hop_limit).encode()


def _unheard(_source: bytes, _message: Icmp, _now: int) -> None:
    pass
