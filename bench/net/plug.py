"""IP over the links of one node of a chain: a Stack that carries layer 3 and 4 of a card or a host, with its timers on the engine.

Back-pressure: a packet of the node's own is refused (``Sent.BUSY``) while its flow has its share of the queue, and TCP and UDP are told when the link
has taken one. A packet that is passed on was let in because there was room for it.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final

from bench.engine import Engine, Timer
from bench.hop.control import NodeFacts
from bench.hop.junction import Junction, Port
from bench.hop.segment import Kind
from bench.net import ipv4
from bench.net.connection import TcpSettings
from bench.net.flow_key import flow_of, is_later_fragment, source_of
from bench.net.node import Event, Interface, Node
from bench.net.path_time import delayed_ack, rto_floor, window_ticks
from bench.net.reassembly import ReassemblyBounds
from bench.net.tcp import Tcp
from bench.net.udp_ports import UdpBounds, UdpPorts

KINDS: Final = (Kind.IPV4, Kind.IPV6)
WINDOW_USUAL: Final = 8192
"""What a card's window is at the most, where its own profile does not say less."""
MTU_MIN: Final = ipv4.MTU_MIN
"""Below this a hop carries no IP."""


@dataclass(frozen=True, slots=True)
class IpSettings:
    """What a node spends on IP."""

    connections: int = 64
    """TCP connections of all states."""
    send_buffer: int = 8192
    receive_buffer: int = 8192
    initial_segments: int = 2
    msl_s: int = 30
    """The maximum segment lifetime in seconds: half of TIME-WAIT. (RFC 9293 proposes two minutes.)"""
    flow_packets: int = 4
    """Packets of one flow that may wait for a link."""
    udp: UdpBounds = field(default_factory=UdpBounds)
    reassembly: ReassemblyBounds = field(default_factory=ReassemblyBounds)
    secret: bytes = b""
    """Makes initial sequence numbers hard to guess (RFC 6528)."""


class IpPlug:
    """Node, TCP and UDP on the links of a junction. ``node``, ``tcp`` and ``udp`` are new after ``restart``."""

    node_class: ClassVar[type[Node]] = Node
    """What its layer 3 is made of: a card that is wrong on purpose has another one."""
    tcp_class: ClassVar[type[Tcp]] = Tcp

    def __init__(self, engine: Engine, junction: Junction, settings: IpSettings, *, forces: bool) -> None:
        """``forces``: what is passed on is always queued (room was made when it was let in); else as many packets of a flow as of the node's own."""
        self.engine = engine
        self.junction = junction
        self.settings = settings
        self.malformed = 0
        """Packets whose version is not their kind's."""
        self._forces = forces
        self._timer: Timer | None = None
        self.interfaces: dict[Port, Interface] = {}
        self.restart()
        junction.plug(KINDS, self)

    def restart(self) -> None:
        """Begin afresh, as after power-up: nobody is told."""
        hz = self.engine.timebase.hz
        settings = self.settings
        self.node = self.node_class(hz, forwarding=True, bounds=settings.reassembly)
        usual = TcpSettings.usual(hz, send_buffer=settings.send_buffer, receive_buffer=settings.receive_buffer)
        usual = replace(usual, msl=settings.msl_s * hz, initial_segments=settings.initial_segments)
        self.tcp = self.tcp_class(self.node, usual, secret=settings.secret, limit=settings.connections)
        self.tcp.on_due = self.rearm
        self.udp = UdpPorts(self.node, settings.udp)
        self.interfaces = {}
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- links ---------------------------------------------------------------------------------------------------------

    def raise_port(self, port: Port, mtu: int) -> Interface | None:
        """The link of a port carries packets of up to ``mtu`` bytes from now on; None where that is too little for IP."""
        interface = self.interfaces.get(port)
        if mtu < MTU_MIN:
            self.lower_port(port)
            return None
        if interface is None:
            interface = self.interfaces[port] = self.node.add_interface(
                port.value, mtu, lambda packet: self._send(port, packet)
            )
        interface.mtu = mtu
        interface.up = True
        return interface

    def lower_port(self, port: Port) -> None:
        """The link of a port is gone: no route leads over it any more."""
        interface = self.interfaces.get(port)
        if interface is not None:
            interface.up = False
            self.node.routes.withdraw(interface.number)

    def is_up(self, port: Port) -> bool:
        """Whether IP can be sent over a port."""
        interface = self.interfaces.get(port)
        return interface is not None and interface.up

    def patience(self, hops: int, mtu: int, etu: int, longest_poll: int, beyond: int = 0) -> None:
        """The path is so many equal hops long: the minimum RTO of connections from now on."""
        first = rto_floor(self.engine.timebase.hz, hops, mtu, etu, longest_poll, beyond)
        window = min(self.settings.receive_buffer, WINDOW_USUAL)
        waits = delayed_ack(self.engine.timebase.hz, mtu, etu)
        self.tcp.settings = patient(self.tcp.settings, first, first + window_ticks(window, etu), waits)

    # -- addresses -----------------------------------------------------------------------------------------------------

    def abandon(self, address: bytes) -> None:
        """Take an address of the node's own away; connections from it are reset first, while their resets can still be sent."""
        if address not in self.node.own:
            return
        now = self.engine.now
        for connection in list(self.tcp.connections.values()):
            if connection.ends.local == address:
                self.tcp.abort(connection, now)
        self.node.unassign(address)

    def own_addresses(self) -> Iterable[bytes]:
        """Every address of the node."""
        return tuple(self.node.own)

    # -- a Stack -------------------------------------------------------------------------------------------------------

    def receive(self, kind: Kind, packet: bytes, came_by: Port) -> None:
        interface = self.interfaces.get(came_by)
        if interface is None or not interface.up:
            return
        if not packet or packet[0] >> 4 != kind:
            self.malformed += 1
            return
        self.accept(interface, packet)

    def accept(self, interface: Interface, packet: bytes) -> None:
        """A packet came in over an interface."""
        self.node.receive(interface.number, packet, self.engine.now)
        if self.node.deadline is not None:
            self.rearm()

    def taken(self, _flow: Hashable) -> None:
        """A link has room again."""
        self.tcp.resume(self.engine.now)
        self.udp.resume()

    def forgotten(self) -> None:
        """See ``Stack``."""

    def node_up(self, facts: NodeFacts) -> None:
        """See ``Stack``."""

    def node_down(self, node: int, reason: str) -> None:
        """See ``Stack``."""

    # -- time ----------------------------------------------------------------------------------------------------------

    def rearm(self) -> None:
        """One timer, at the earliest of all deadlines."""
        due = self.tcp.due
        other = self.node.deadline
        if other is not None and (due is None or other < due):
            due = other
        if due is None or (self._timer is not None and self._timer.time <= due):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.engine.at(due, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = self.engine.now
        self.tcp.tick(now)
        self.node.tick(now)
        self.rearm()

    # -- out -----------------------------------------------------------------------------------------------------------

    def _send(self, port: Port, packet: bytes) -> bool:
        link = self.junction.link(port)
        if link is None:
            return False
        flow = flow_of(packet)
        queue = link.queue
        force = is_later_fragment(packet) or (self._forces and source_of(packet) not in self.node.own)
        if not force:
            waiting = queue.flow_packets - queue.room(flow)
            if waiting >= self.settings.flow_packets or queue.bytes + len(packet) > queue.total_bytes:
                return False
        return link.submit(Kind.IPV4 if packet[0] >> 4 == 4 else Kind.IPV6, packet, flow, force=True)

    def counted(self, event: Event) -> int:
        """How often something happened at layer 3 since the last restart."""
        return self.node.events[event]


def patient(settings: TcpSettings, initial: int, floor: int, waits: int = 0) -> TcpSettings:
    """The same settings with another first and minimum RTO (what depends on them grows along), and delay of acknowledgements (0: as it is)."""
    return replace(
        settings,
        rto_floor=floor,
        rto_initial=initial,
        delayed_ack=waits or settings.delayed_ack,
        rto_ceiling=max(settings.rto_ceiling, 2 * floor),
        r2=max(settings.r2, 8 * floor),
        r2_syn=max(settings.r2_syn, 8 * floor),
    )
