"""The fast path: what all packets of one TCP connection have in common, computed once.

``take`` looks at a packet as a whole (one unpack, one sum over all) and hands it to ``Connection.predicted``; ``carry`` builds one with one pack.
Both do the usual case only. Whatever is not usual, or not right, goes the strict way through ``Node`` and ``Tcp`` as if this file were not there.
A flow is known to its node once a packet has come in the strict way, and as long as no route or address changes.
"""

import struct
from typing import TYPE_CHECKING, Final

from bench.net import ipv4, ipv6
from bench.net.checksum import pseudo_header
from bench.net.layer3 import Event, Interface, Sent
from bench.net.protocols import Proto, is_loopback
from bench.net.segment import ACK, HEADER, Segment, build_segment
from bench.net.tcp_types import Endpoints, State, TcpSettings

if TYPE_CHECKING:
    from bench.net.connection import Connection
    from bench.net.node import Node
    from bench.net.tcp import Tcp

_V4: Final = struct.Struct("!HHHHHH12sIIHHHH")
_V4_IN: Final = struct.Struct("!2xH2xHH2x12xIIHHHH")
_V6: Final = struct.Struct("!IHBB36sIIHHHH")
_V6_IN: Final = struct.Struct("!IHBx36xIIHHHH")
_HEADERS4: Final = ipv4.HEADER + HEADER
_HEADERS6: Final = ipv6.HEADER + HEADER
_TCP: Final = int(Proto.TCP)
_FRAGMENTED: Final = 0x3FFF
_NO_OPTIONS: Final = HEADER << 10
_UNUSUAL: Final = 0xF037
"""Of offset and flags: all but reserved bits and PSH."""
_USUAL: Final = _NO_OPTIONS | ACK


class Flow:
    """The wire of one connection (``tcp_types.Wire``)."""

    __slots__ = (
        "_changes",
        "_first",
        "_headers",
        "_ip_sum",
        "_known_changes",
        "_names",
        "_out",
        "_sum",
        "_sum_in",
        "_ttl",
        "_v4",
        "connection",
        "ends",
        "interface",
        "key",
        "node",
        "settings",
        "tcp",
    )

    connection: "Connection"

    def __init__(self, tcp: "Tcp", ends: Endpoints, settings: TcpSettings) -> None:
        self.tcp = tcp
        self.node: Node = tcp.node
        self.ends = ends
        self.settings = settings
        here, there = ends.local_port.to_bytes(2, "big"), ends.remote_port.to_bytes(2, "big")
        self.key = ends.remote + ends.local + there + here
        """The addresses and ports of packets that come for the connection: what ``Node.receive`` looks up."""
        self.interface: Interface | None = None
        """Where the peer's packets come from."""
        self._names = ends.local + ends.remote + here + there
        self._sum_in = pseudo_header(ends.local, ends.remote, Proto.TCP, 0)
        self._sum = self._sum_in + ends.local_port + ends.remote_port
        self._v4 = v4 = len(ends.local) == 4
        self._headers = _HEADERS4 if v4 else _HEADERS6
        self._first = 0x4500 | settings.traffic_class if v4 else 6 << 28 | settings.traffic_class << 20
        self._ttl = settings.hop_limit << 8 | Proto.TCP
        self._ip_sum = pseudo_header(ends.local, ends.remote, self._first + self._ttl, ipv4.DONT_FRAGMENT)
        self._out: Interface | None = None
        self._changes = -1
        self._known_changes = -1

    # -- in ------------------------------------------------------------------------------------------------------------

    def take(self, number: int, data: bytes, now: int) -> bool:
        """A packet with this flow's addresses and ports, if they are addresses and ports. False: go the strict way, nothing was done."""
        interface, connection = self.interface, self.connection
        if (
            interface is None
            or interface.number != number
            or not interface.up
            or self._known_changes != self.node.routes.changes
            or connection.state is not State.ESTABLISHED
        ):
            return False
        opened = self._open4(data) if self._v4 else self._open6(data)
        if opened is None:
            return False
        ack, window, payload = opened
        tcp = self.tcp
        tcp.inside = connection
        try:
            if not connection.predicted(ack, window, payload, now):
                return False
        finally:
            tcp.inside = None
        events = self.node.events
        events[Event.IN] += 1
        events[Event.DELIVERED] += 1
        tcp.settle(connection)
        return True

    def _open4(self, data: bytes) -> tuple[int, int, bytes] | None:
        """ACK field, window and payload of an IPv4 packet; None where anything is unusual."""
        if len(data) < _HEADERS4:
            return None
        total, fragment, ttl_protocol, seq, ack, flags, window, _sum, _urgent = _V4_IN.unpack_from(data)
        if (
            seq != self.connection.rcv_nxt
            or flags & _UNUSUAL != _USUAL
            or data[0] != 0x45
            or total != len(data)
            or fragment & _FRAGMENTED
            or ttl_protocol & 0xFF != _TCP
            or int.from_bytes(data[: ipv4.HEADER], "big") % 0xFFFF
        ):
            return None
        value = int.from_bytes(data, "big")  # the IP header sums to nothing: it does no harm here
        if total & 1:
            value <<= 8
        if (value + self._sum_in + total - ipv4.HEADER) % 0xFFFF:
            return None
        return ack, window, data[_HEADERS4:]

    def _open6(self, data: bytes) -> tuple[int, int, bytes] | None:
        """The same of an IPv6 packet."""
        if len(data) < _HEADERS6:
            return None
        first, length, next_header, seq, ack, flags, window, _sum, _urgent = _V6_IN.unpack_from(data)
        if (
            seq != self.connection.rcv_nxt
            or flags & _UNUSUAL != _USUAL
            or first >> 28 != 6
            or length + ipv6.HEADER != len(data)
            or next_header != _TCP
        ):
            return None
        value = int.from_bytes(data[ipv6.HEADER :], "big")
        if length & 1:
            value <<= 8
        if (value + self._sum_in + length) % 0xFFFF:
            return None
        return ack, window, data[_HEADERS6:]

    def known(self, number: int) -> None:
        """A packet of the open connection has come the strict way: the next may take the fast one, if routes lead back the same way."""
        route = self.node.routes.lookup(self.ends.remote)
        if route is None or route.interface != number:
            return
        self.interface = self.node.interfaces.get(number)
        self._known_changes = self.node.routes.changes
        self.node.flows[self.key] = self

    # -- out -----------------------------------------------------------------------------------------------------------

    def carry(self, flags: int, seq: int, ack: int, window: int, payload: bytes | bytearray, now: int) -> bool:
        """Send a segment; whether the link took it. (Long, and without calls: it runs for every segment.)"""
        node = self.node
        if self._changes != node.routes.changes:
            self._find_way()
        out = self._out
        size = len(payload)
        if out is None or not out.up or node.knows_path_mtus or self._headers + size > out.mtu:
            ends = self.ends
            segment = Segment(ends.local_port, ends.remote_port, seq, ack, flags, window, bytes(payload))
            return self.emit(segment, now)
        word = _NO_OPTIONS | flags
        value = int.from_bytes(payload, "big") << ((size & 1) << 3) if size else 0
        tcp_sum = -(value + self._sum + HEADER + size + seq + ack + word + window) % 0xFFFF
        if self._v4:
            total = _HEADERS4 + size
            identification = node.next_identification()
            head = _V4.pack(
                self._first,
                total,
                identification,
                ipv4.DONT_FRAGMENT,
                self._ttl,
                -(self._ip_sum + total + identification) % 0xFFFF,
                self._names,
                seq,
                ack,
                word,
                window,
                tcp_sum,
                0,
            )
        else:
            head = _V6.pack(
                self._first,
                HEADER + size,
                _TCP,
                self._ttl >> 8,
                self._names,
                seq,
                ack,
                word,
                window,
                tcp_sum,
                0,
            )
        if out.send(head + payload if size else head):
            node.events[Event.OUT] += 1
            return True
        node.events[Event.LINK_BUSY] += 1
        self.tcp.block(self.connection)
        return False

    def _find_way(self) -> None:
        remote = self.ends.remote
        self._out = None if remote in self.node.own or is_loopback(remote) else self.node.way(remote)
        self._changes = self.node.routes.changes

    def emit(self, segment: Segment, now: int) -> bool:
        """Any segment, the strict way."""
        ends, settings = self.ends, self.settings
        data = build_segment(ends.local, ends.remote, segment)
        sent = self.node.send(
            ends.local,
            ends.remote,
            Proto.TCP,
            data,
            now,
            hop_limit=settings.hop_limit,
            dont_fragment=True,
            traffic_class=settings.traffic_class,
        )
        if sent is Sent.BUSY:
            self.tcp.block(self.connection)
            return False
        return True  # what has no way or is too long is as good as lost: the timer, or ``too_big``, sees to it

    def segment_limit(self, now: int) -> int:
        return segment_room(self.ends, self.node.path_mtu(self.ends.remote, now))

    def doubt(self) -> None:
        self.node.on_doubt(self.ends.remote)


def segment_room(ends: Endpoints, mtu: int) -> int:
    """The longest payload of a segment without options in a packet of ``mtu`` bytes."""
    return mtu - HEADER - (ipv4.HEADER if len(ends.local) == 4 else ipv6.HEADER)
