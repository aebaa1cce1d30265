"""The external support at its hop: a chain's node 0 that carries PPP frames between a converter and the first card, and nothing else.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections.abc import Callable, Hashable

from bench.engine import Engine
from bench.hop.chain import ChainMember
from bench.hop.control import NodeFacts
from bench.hop.junction import Junction, Port
from bench.hop.link import PollPlan
from bench.hop.segment import PPP_PROTOCOL, Kind
from bench.hop.terminal_link import TerminalLink
from bench.host.external_support import BUFFER, ExternalSupport
from bench.iso7816.port import TerminalPort
from bench.observe import Sink

FLOW = "ppp"
"""All frames keep their order: PPP runs over links that do (RFC 1661, 1)."""


class SupportHost:
    """Everything behind the terminal side of the hop; ``plug`` is what a line is connected to."""

    def __init__(
        self, engine: Engine, port: TerminalPort, poll: PollPlan, sink: Sink, mtu: int = 1500, bound: int = BUFFER
    ) -> None:
        self.engine = engine
        self.link = TerminalLink(engine, port, 1, mtu, poll, sink)
        poll_ms = max(1, -(-poll.longest * 1000 // engine.timebase.hz))
        self.chain = ChainMember(mtu, poll_ms, number=0, channels=0, ports=1)
        self.junction = Junction(self.chain)
        self.plug = SupportPlug(engine, self.junction, mtu, bound)
        self.junction.attach_outward(self.link)
        self.link.has_room = self.plug.has_room

    @property
    def support(self) -> ExternalSupport:
        return self.plug.support

    def start(self) -> None:
        """Power the card."""
        self.link.start()

    def stop(self) -> None:
        """Power down."""
        self.link.stop()


class SupportPlug:
    """The Stack of kind 7 on a junction of node 0, whoever's it is: its host may carry other stacks beside."""

    def __init__(self, engine: Engine, junction: Junction, mtu: int = 1500, bound: int = BUFFER) -> None:
        self.engine = engine
        self.junction = junction
        self.mtu = mtu
        self.support = ExternalSupport(engine.now, bound, mtu)
        self.on_octets: Callable[[], None] = _nothing
        """A frame for the line has come."""
        self.up = False
        junction.plug((Kind.PPP,), self)

    def octets(self, data: bytes) -> None:
        """Octets came over the line."""
        self.support.octets(data, self.engine.now)
        self._push()

    def has_room(self) -> bool:
        """Whether the card may be asked for another frame."""
        return self.support.room_for_frame(self.mtu + PPP_PROTOCOL)

    def receive(self, kind: Kind, packet: bytes, came_by: Port) -> None:
        """See ``Stack``."""
        del kind
        if came_by is Port.OUTWARD:
            self.support.frame(packet, self.engine.now)
            self.on_octets()

    def taken(self, flow: Hashable) -> None:
        """See ``Stack``."""
        if flow == FLOW:
            self._push()

    def forgotten(self) -> None:
        """See ``Stack``."""

    def node_up(self, facts: NodeFacts) -> None:
        """See ``Stack``."""
        if facts.node == 1:
            self.up = True
            self._push()

    def node_down(self, node: int, reason: str) -> None:
        """See ``Stack``."""
        del reason
        if node == 1:
            self.up = False
            self.support.reset(self.engine.now)

    def _push(self) -> None:
        """One frame lies in the link's queue, the others wait here where they are measured."""
        link = self.junction.link(Port.OUTWARD)
        support = self.support
        if link is None or not self.up:
            return
        while len(support.to_card) and link.queue.room(FLOW) == link.queue.flow_packets:
            frame = support.take_frame(self.engine.now)
            if frame is None or not link.submit(Kind.PPP, frame, FLOW):
                return


def _nothing() -> None:
    pass
