"""A node of the Internet: interfaces, addresses, routes; packets in, out and through (RFC 791, 1122, 1812; RFC 8200, 4443).

Host and router in one: ``forwarding`` says which. Links here join two ends, so no address needs to be resolved; one that does (a bridge, a bus) wraps
``Interface.send``. Nothing here reads a clock: the time comes with each call, in ticks, and ``deadline`` says when ``tick`` is due.
The two versions of IP have their own rules in ``node4`` and ``node6``.
"""

from collections import Counter, deque
from collections.abc import Callable
from typing import Protocol

from bench.net import ipv4, ipv6
from bench.net.errors import PacketError
from bench.net.errors_out import ErrorBucket
from bench.net.fragments import fragment4, fragment6
from bench.net.icmp import Exceeded, Icmp, Icmp4, Icmp6
from bench.net.ipv4 import Ipv4, parse_ipv4
from bench.net.ipv6 import Ipv6, parse_ipv6
from bench.net.layer3 import HOP_LIMIT as HOP_LIMIT
from bench.net.layer3 import LOOPBACK as LOOPBACK
from bench.net.layer3 import Arrived as Arrived
from bench.net.layer3 import ErrorReport as ErrorReport
from bench.net.layer3 import Event as Event
from bench.net.layer3 import Handler as Handler
from bench.net.layer3 import Interface as Interface
from bench.net.layer3 import Sent as Sent
from bench.net.layer3 import unheard
from bench.net.node4 import Ip4
from bench.net.node6 import Ip6
from bench.net.protocols import V4_BROADCAST, V6_ANY, Proto, is_link_local, is_loopback, is_multicast
from bench.net.reassembly import Reassembler, ReassemblyBounds
from bench.net.routes import Prefix, Route, RouteTable


class Shortcut(Protocol):
    """A fast way for packets between two ports."""

    def take(self, number: int, data: bytes, now: int) -> bool:
        """A packet that came over an interface; False where it must go the strict way."""


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
        self.on_echo_reply: Callable[[bytes, Icmp, int], None] = unheard
        self.on_doubt: Callable[[bytes], None] = _undoubted
        """TCP gets no answer from an address: whoever keeps the routes may look for another way (RFC 1122, 3.3.1.4)."""
        self.flows: dict[bytes, Shortcut] = {}
        """The fast path: see ``flow``. By the addresses and ports of packets that come."""
        self.events: Counter[Event] = Counter()
        self.reassembly_time = 60 * hz
        """How long fragments are waited for (RFC 1122, 3.3.2: 60 to 120 s; RFC 8200, 4.5: 60 s)."""
        self.path_mtu_time = 600 * hz
        """How long a path MTU that was told is believed (RFC 1191, 6.3; RFC 8201, 4)."""
        self.reassembler = Reassembler(bounds)
        self.errors = ErrorBucket(hz // 100)
        self._path_mtus: dict[bytes, tuple[int, int]] = {}
        self._identification = 0
        self._loop: deque[bytes] = deque()
        self._looping = False
        self._ip4 = Ip4(self)
        self._ip6 = Ip6(self)

    # -- configuration -------------------------------------------------------------------------------------------------

    def add_interface(self, name: str, mtu: int, send: Callable[[bytes], bool]) -> Interface:
        """A new way out. Raises ValueError for an MTU below IPv4's least."""
        if mtu < ipv4.MTU_MIN:
            raise ValueError(f"interface {name}: an MTU of {mtu}, IPv4 needs {ipv4.MTU_MIN}")
        number = max(self.interfaces, default=-1) + 1
        interface = self.interfaces[number] = Interface(number, name, mtu, send)
        return interface

    def assign(self, number: int, address: bytes, length: int | None = None) -> None:
        """Give the node an address on an interface; a prefix shorter than the address becomes a route. Raises ValueError where it has it already."""
        if address in self.own:
            raise ValueError("the node has this address already")
        bits = len(address) * 8
        length = bits if length is None else length
        self.own[address] = number
        self.interfaces[number].addresses[address] = length
        self.routes.touch()
        if length < bits:
            self.routes.add(Route(Prefix.of(address, length), number))

    def unassign(self, address: bytes) -> None:
        """Take an address away, and the route that came with it."""
        number = self.own.pop(address)
        length = self.interfaces[number].addresses.pop(address)
        self.routes.touch()
        if length < len(address) * 8:
            self.routes.remove(Prefix.of(address, length), number)

    # -- time ----------------------------------------------------------------------------------------------------------

    @property
    def deadline(self) -> int | None:
        """When ``tick`` has something to do."""
        return self.reassembler.deadline

    def tick(self, now: int) -> None:
        """Give up what is too old; whoever sent the first fragment is told (RFC 1122, 3.3.2; RFC 4443, 3.3)."""
        for partial in self.reassembler.expire(now):
            self.events[Event.REASSEMBLY_FAILED] += 1
            if not partial.first:
                continue
            if partial.first[0] >> 4 == 4:
                self._ip4.error(partial.first, Icmp(Icmp4.TIME_EXCEEDED, Exceeded.REASSEMBLY, 0, b""), now)
            else:
                self._ip6.error(partial.first, Icmp(Icmp6.TIME_EXCEEDED, Exceeded.REASSEMBLY, 0, b""), now)

    # -- in ------------------------------------------------------------------------------------------------------------

    def receive(self, number: int, data: bytes, now: int) -> None:
        """A packet came over an interface. Whatever it is, this returns; what is wrong with it is counted and, where that is due, told its sender."""
        if self.flows:
            flow = self.flows.get(data[12:24] if data[:1] == b"\x45" else data[8:44])
            if flow is not None and flow.take(number, data, now):
                return
        self.events[Event.IN] += 1
        version = data[0] >> 4 if data else 0
        try:
            if version == 4:
                self._ip4.arrived(number, parse_ipv4(data), data, now)
            elif version == 6:
                self._ip6.arrived(number, parse_ipv6(data), data, now)
            else:
                self.events[Event.MALFORMED] += 1
        except PacketError:
            self.events[Event.MALFORMED] += 1
        if self._loop and not self._looping:
            self._run_loop(now)

    def sound_source(self, number: int, source: bytes, destination: bytes) -> bool:
        """Whether a source may come in this way (RFC 1122, 3.2.1.3; RFC 3704)."""
        if number == LOOPBACK:
            return True
        if is_loopback(source) or is_loopback(destination) or is_multicast(source) or source == V4_BROADCAST:
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

    def next_identification(self) -> int:
        """Of the next datagram: 16 bits, as IPv4 has them."""
        self._identification = identification = self._identification + 1 & 0xFFFF
        return identification

    def way(self, destination: bytes) -> Interface | None:
        """The interface towards a destination that is not the node itself."""
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
        out = self.way(destination)
        if out is not None:
            return out.mtu
        return ipv4.REASSEMBLY_MIN if len(destination) == 4 else ipv6.MTU_MIN

    @property
    def knows_path_mtus(self) -> bool:
        """Whether any path is known to take less than its link."""
        return bool(self._path_mtus)

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
        traffic_class: int = 0,
    ) -> Sent:
        """Send a payload of the node's own, in fragments where it must be and may be. (Long: what both versions of IP want, side by side.)"""
        if destination in self.own or is_loopback(destination):
            self._loop.append(_whole(source, destination, protocol, payload, hop_limit))
            if not self._looping:
                self._run_loop(now)
            return Sent.YES
        out = self.way(destination)
        if out is None:
            self.events[Event.NO_ROUTE] += 1
            return Sent.NO_ROUTE
        mtu = self.path_mtu(destination, now) if self._path_mtus else out.mtu
        if len(source) == 4:
            packet = Ipv4(
                source,
                destination,
                protocol,
                payload,
                hop_limit,
                self.next_identification(),
                dont_fragment,
                tos=traffic_class,
            )
            if packet.length > mtu and dont_fragment:
                return Sent.TOO_BIG
            packets = [packet.encode()] if packet.length <= mtu else [each.encode() for each in fragment4(packet, mtu)]
        else:
            packet6 = Ipv6(source, destination, protocol, payload, hop_limit, traffic_class)
            if packet6.length > mtu:
                if dont_fragment:
                    return Sent.TOO_BIG
                packets = [each.encode() for each in fragment6(packet6, mtu, self.next_identification())]
            else:
                packets = [packet6.encode()]
        for data in packets:
            if not out.send(data):
                self.events[Event.LINK_BUSY] += 1
                return Sent.BUSY
        self.events[Event.OUT] += 1
        return Sent.YES

    def ping(
        self,
        destination: bytes,
        identifier: int,
        sequence: int,
        payload: bytes,
        now: int,
        *,
        hop_limit: int = HOP_LIMIT,
    ) -> Sent:
        """Send an echo request; replies come to ``on_echo_reply``."""
        source = self.source_for(destination)
        if source is None:
            return Sent.NO_ROUTE
        rest = identifier << 16 | sequence
        if len(destination) == 4:
            body = Icmp(Icmp4.ECHO, 0, rest, payload).encode4()
            return self.send(source, destination, Proto.ICMP, body, now, hop_limit=hop_limit)
        body = Icmp(Icmp6.ECHO, 0, rest, payload).encode6(source, destination)
        return self.send(source, destination, Proto.ICMPV6, body, now, hop_limit=hop_limit)

    def _run_loop(self, now: int) -> None:
        self._looping = True
        try:
            while self._loop:
                self.receive(LOOPBACK, self._loop.popleft(), now)
        finally:
            self._looping = False

    # -- for the two sides ---------------------------------------------------------------------------------------------

    def report(
        self,
        message: Icmp,
        hard: bool,
        too_big: int,
        source: bytes,
        destination: bytes,
        protocol: int,
        quoted: bytes,
        now: int,
        by: bytes = b"",
    ) -> None:
        """Tell the layer above of an error about something it sent."""
        handler = self.error_handlers.get(protocol)
        if handler is None or source not in self.own:
            self.events[Event.IGNORED] += 1
            return
        reason = f"ICMP type {message.kind} code {message.code}"
        handler(ErrorReport(reason, hard, too_big, source, destination, protocol, quoted, by), now)

    def learn(self, destination: bytes, mtu: int, now: int) -> None:
        """A smaller path MTU was told; a larger one is not believed. Bounded: the oldest goes."""
        if mtu >= self.path_mtu(destination, now):
            return
        while len(self._path_mtus) >= 64:
            del self._path_mtus[next(iter(self._path_mtus))]
        self._path_mtus[destination] = (mtu, now + self.path_mtu_time)


def _whole(source: bytes, destination: bytes, protocol: int, payload: bytes, hop_limit: int) -> bytes:
    if len(source) == 4:
        return Ipv4(source, destination, protocol, payload, hop_limit).encode()
    return Ipv6(source, destination, protocol, payload, hop_limit).encode()


def _undoubted(_destination: bytes) -> None:
    pass
