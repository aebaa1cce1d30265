"""The channel stack of one node, as figure 1 of the paper draws it: reception, resolution, route table, emission, and the messages' own stack of
channels. Host and card are both such nodes; what differs is which links they have and who decides about OPEN.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections.abc import Hashable
from typing import Final

from bench.channels.loopback import Loopback
from bench.channels.message import HEADER_LENGTH, TYPE_BITS, VERSION_BITS, Cause, MessageType, weight_of
from bench.channels.route_table import Port, RouteTable
from bench.channels.table import ChannelTable
from bench.engine import Engine
from bench.hop.chain import ChainMember
from bench.hop.control import NodeFacts
from bench.hop.junction import Junction
from bench.hop.link import Link
from bench.hop.segment import Kind
from bench.hop.terminal_link import TerminalLink

LONGEST_QUEUE: Final = 8192
"""Packets waiting for one hop. DATA is bounded by room and credit; answers of other kinds are not queued beyond this: their asker takes none."""


class Emission:
    """The last module before a link: resolves, queues by flow, tells the source what cannot be delivered."""

    def __init__(self, routes: RouteTable) -> None:
        self.routes = routes
        self.unreachable = 0
        self.dropped = 0
        """Answers to a peer that asks without end and takes nothing."""

    def emit(self, packet: bytes, force: bool) -> bool:
        """Send a message of this node's own."""
        return self.forward(packet, None, force)

    def forward(self, packet: bytes, came_by: Port | None, force: bool = True) -> bool:
        """Send a message on; never back where it came from."""
        route = self.routes.resolve(packet[1])
        if route.link is None or (route.port is came_by and came_by is not None):
            self._tell_source(packet)
            return True
        if len(route.link.queue) >= LONGEST_QUEUE and packet[0] & TYPE_BITS != MessageType.DATA:
            self.dropped += 1
            return True
        return route.link.submit(Kind.CHANNEL, packet, packet[1:4], force=force)

    def room(self, flow: bytes, length: int) -> int:
        """How many more messages the flow to ``flow[0]`` may queue; a closed way takes any number (they are answered UNREACHABLE)."""
        link = self.routes.resolve(flow[0]).link
        return link.queue.room(flow, length) if link is not None else 1

    def _tell_source(self, packet: bytes) -> None:
        self.unreachable += 1
        if packet[0] & TYPE_BITS == MessageType.UNREACHABLE:
            return
        back = self.routes.resolve(packet[2]).link
        if back is not None and len(back.queue) < LONGEST_QUEUE:
            number = self.routes.chain.number or 0
            answer = bytes((VERSION_BITS | MessageType.UNREACHABLE, packet[2], number, 0, 0)) + packet[:12]
            back.submit(Kind.CHANNEL, answer, answer[1:4], force=True)


class Reception:
    """The first module behind a link: own messages to the channels, the rest on."""

    def __init__(self, chain: ChainMember, table: ChannelTable, emission: Emission) -> None:
        self.chain = chain
        self.table = table
        self.emission = emission
        self.unknown = 0
        """Messages too short to have a destination."""

    def receive(self, kind: Kind, packet: bytes, came_by: Port) -> None:
        """A message came whole over one of the links."""
        del kind
        if len(packet) < HEADER_LENGTH:
            self.unknown += 1
        elif packet[1] == self.chain.number:
            self.table.receive(packet)
        else:
            self.emission.forward(packet, came_by)


class ChannelNode:
    """One node: put links on it, open channels through ``table``. A Stack: ``plugged`` False leaves it without packets."""

    def __init__(
        self,
        engine: Engine,
        chain: ChainMember,
        channels: int,
        junction: Junction | None = None,
        *,
        plugged: bool = True,
    ) -> None:
        self.engine = engine
        self.chain = chain
        self.junction = junction if junction is not None else Junction(chain)
        if plugged:
            self.junction.plug((Kind.CHANNEL,), self)
            self.junction.may_overtake = _is_waited_for
            self.junction.weigh = _weigh
        loopback = Loopback(engine, chain.own_mtu)
        loopback.queue.weigh = _weigh
        self.routes = RouteTable(chain, loopback)
        self.emission = Emission(self.routes)
        self.table = ChannelTable(channels, self.emission.emit, self.emission.room)
        self.reception = Reception(chain, self.table, self.emission)
        self.table.mtu = chain.own_mtu
        loopback.on_packet = lambda kind, packet: self.reception.receive(kind, packet, Port.LOCAL)
        loopback.queue.on_taken = self.table.taken
        if chain.number is not None:
            self.table.number = chain.number

    def attach_inward(self, link: Link) -> None:
        """IO#1: towards the host."""
        self.junction.attach_inward(link)

    def attach_outward(self, link: TerminalLink) -> None:
        """IO#2: towards the next card."""
        self.junction.attach_outward(link)

    def numbered(self) -> None:
        """The chain gave this node its number and MTU."""
        if self.chain.number is not None:
            self.table.number = self.chain.number
            self.table.mtu = self.chain.mtu

    # -- a Stack -------------------------------------------------------------------------------------------------------

    def receive(self, kind: Kind, packet: bytes, came_by: Port) -> None:
        self.reception.receive(kind, packet, came_by)

    def taken(self, flow: Hashable) -> None:
        self.table.taken(flow)

    def forgotten(self) -> None:
        self.table.lose(lambda _node: True, Cause.NOT_REACHABLE)

    def node_up(self, facts: NodeFacts) -> None:
        self.table.lose(lambda peer: peer == facts.node, Cause.NOT_REACHABLE)

    def node_down(self, node: int, reason: str) -> None:
        del reason
        self.table.lose(lambda peer: peer >= node, Cause.NOT_REACHABLE)


def _is_waited_for(kind: Kind, packet: bytes) -> bool:
    """Everything but CREDIT: half a window of messages may still come before it is missed, and many channels send theirs in one breath."""
    return kind is not Kind.CHANNEL or packet[0] & TYPE_BITS != MessageType.CREDIT


def _weigh(kind: Kind, packet: bytes) -> int:
    """The shares that a flow has of a line, as its first message says. What is of no channel yet (OPEN) has one."""
    return weight_of(packet) if kind is Kind.CHANNEL and len(packet) >= HEADER_LENGTH and packet[3] else 1
