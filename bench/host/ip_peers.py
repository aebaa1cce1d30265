"""A network outside in the same process: peers that are nodes of our own IP stack, on one link behind the uplink's line.

Units: times are ticks of the engine's timebase, lengths are bytes.
"""

from dataclasses import replace
from typing import Final

from bench.engine import Engine, Timer
from bench.host.uplink_line import UplinkLine
from bench.net.connection import TcpSettings
from bench.net.flow_key import destination_of
from bench.net.node import Interface, Node
from bench.net.plug import patient
from bench.net.protocols import address
from bench.net.routes import Prefix, Route
from bench.net.tcp import Tcp
from bench.net.udp_ports import UdpBounds, UdpPorts

PEER4: Final = address("192.0.2.1")
PEER6: Final = address("2001:db8::1")
"""The first peer (RFC 5737, RFC 3849: addresses for documentation)."""
BUFFER: Final = 65_535


class IpPeer:
    """A computer outside: ``node``, ``tcp`` and ``udp`` are its own."""

    def __init__(self, outside: "Outside", addresses: tuple[bytes, ...]) -> None:
        self.outside = outside
        self.engine = outside.engine
        hz = self.engine.timebase.hz
        self.node = Node(hz)
        usual = replace(TcpSettings.usual(hz, send_buffer=BUFFER, receive_buffer=BUFFER), msl=30 * hz)
        self.tcp = Tcp(
            self.node, patient(usual, outside.first, outside.floor, outside.delayed_ack), secret=addresses[0]
        )
        self.tcp.on_due = self._rearm
        self.udp = UdpPorts(self.node, UdpBounds(ports=1024, datagrams=4096, bytes=1 << 22))
        self.interface: Interface = self.node.add_interface("outside", outside.line.mtu, self._send)
        self._timer: Timer | None = None
        for each in addresses:
            self.node.assign(0, each)
            self.node.routes.add(Route(Prefix(bytes(len(each)), 0), 0))

    @property
    def addresses(self) -> tuple[bytes, ...]:
        return tuple(self.node.own)

    def receive(self, packet: bytes) -> None:
        """A packet for this peer."""
        self.node.receive(0, packet, self.engine.now)
        self._rearm()

    def resume(self) -> None:
        """The line has room again."""
        self.tcp.resume(self.engine.now)
        self.udp.resume()

    def _send(self, packet: bytes) -> bool:
        return self.outside.carry(packet)

    def _rearm(self) -> None:
        dues = [each for each in (self.tcp.due, self.node.deadline) if each is not None]
        if not dues or (self._timer is not None and self._timer.time <= min(dues)):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.engine.at(min(dues), self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.tcp.tick(self.engine.now)
        self.node.tick(self.engine.now)
        self._rearm()


class Outside:
    """The network behind one or more lines. Every peer reaches every other and, through the line that has it, each router's network."""

    def __init__(
        self, engine: Engine, line: UplinkLine, *, first: int = 0, floor: int = 0, delayed_ack: int = 0
    ) -> None:
        self.engine = engine
        self.line = line
        self.first = max(first, engine.timebase.hz)
        """The peers' first RTO: that of the path to the farthest card."""
        self.floor = max(floor, self.first)
        self.delayed_ack = delayed_ack
        """How long the peers' acknowledgements wait; 0: as usual."""
        """And their minimum RTO."""
        self.lines: list[tuple[Prefix, UplinkLine]] = []
        self.peers: dict[bytes, IpPeer] = {}
        self.nowhere = 0
        """Packets for addresses nobody has."""
        line.on_delivered = self._came
        self.peer = self.add(PEER4, PEER6)

    def add(self, *addresses: bytes) -> IpPeer:
        """One more peer. Raises ValueError where an address is taken."""
        if any(each in self.peers for each in addresses):
            raise ValueError("another peer has this address")
        peer = IpPeer(self, addresses)
        for each in addresses:
            self.peers[each] = peer
        return peer

    def reconnect(self, line: UplinkLine) -> None:
        """The first router has another line now: it was started anew."""
        line.on_delivered = self._came
        self.line = line
        for each in set(self.peers.values()):
            each.interface.mtu = line.mtu

    def join(self, line: UplinkLine, *prefixes: Prefix) -> None:
        """Another router's line: these prefixes are behind it. What no such line has goes to the first one."""
        line.on_delivered = self._came
        self.lines.extend((prefix, line) for prefix in prefixes)

    def carry(self, packet: bytes) -> bool:
        """A peer's packet: to another peer, or into a line. A full line drops it, as a network does."""
        destination = destination_of(packet)
        peer = self.peers.get(destination)
        if peer is not None:
            self.engine.after(0, lambda: peer.receive(packet))
            return True
        self._line(destination).enter(packet)
        return True

    def _line(self, destination: bytes) -> UplinkLine:
        return next((line for prefix, line in self.lines if prefix.holds(destination)), self.line)

    def _came(self, packet: bytes) -> None:
        destination = destination_of(packet)
        peer = self.peers.get(destination)
        if peer is not None:
            peer.receive(packet)
        elif any(prefix.holds(destination) for prefix, _ in self.lines):
            self._line(destination).enter(packet)
        else:
            self.nowhere += 1
