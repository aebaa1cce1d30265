"""The host's end of a PPP link with a card: over the hop (frames of kind 7), or, as a program such as pppd would, over a serial line.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from random import Random
from typing import Final

from bench.engine import Engine, Timer
from bench.hop.control import NodeFacts
from bench.hop.junction import Junction, Port
from bench.hop.segment import Kind
from bench.host.ip_pool import AddressPool
from bench.net.node import Node
from bench.net.ppp.automaton import Patience
from bench.net.ppp.interface import PppInterface
from bench.net.ppp.lcp import LcpWishes
from bench.net.ppp.link import PppLink, PppSettings
from bench.net.ppp.ncp import IpcpNegotiator, Ipv6cpNegotiator
from bench.net.protocols import V4_ANY, address
from bench.net.routes import Prefix

OWN4: Final = address("10.78.64.1")
FIRST4: Final = address("10.78.64.2")
PREFIX6: Final = Prefix.parse("fd78:19::/64")
IDENTIFIER: Final = bytes(7) + b"\x01"
POOL_SIZE: Final = 8


@dataclass(slots=True)
class PppOffer:
    """What the host brings to the link."""

    patience: Patience
    lcp: LcpWishes = field(default_factory=LcpWishes)
    own: bytes = OWN4
    pool: AddressPool | None = None
    """Where the card's IPv4 address is from; None: there is none to give."""
    identity: bytes = b"ppp"
    """Under which the pool remembers the card."""
    dns: bytes = V4_ANY
    prefix: Prefix | None = PREFIX6
    echo_every: int = 0
    ipv6_least: int = 1280


class PppEnd:
    """A node with one PPP interface. ``send`` takes octets (HDLC) or a frame; ``receive`` is to be given what comes."""

    def __init__(
        self, engine: Engine, offer: PppOffer, send: Callable[[bytes], None], *, hdlc: bool, seed: int
    ) -> None:
        self.engine = engine
        self.offer = offer
        self.node = Node(engine.timebase.hz)
        self._draw = Random(seed)
        settings = PppSettings(
            offer.patience, offer.lcp, hdlc=hdlc, echo_every=offer.echo_every, ipv6_least=offer.ipv6_least
        )
        self.ipcp = IpcpNegotiator(offer.own, dns=offer.dns)
        self.ipv6cp = Ipv6cpNegotiator(IDENTIFIER, draw=lambda: self._draw.randbytes(8))
        self.link = PppLink(settings, send, lambda: self._draw.getrandbits(64), self.ipcp, self.ipv6cp)
        self.face = PppInterface(
            self.link, self.node, self.link.send_datagram, self.node.unassign, prefix=offer.prefix, default=False
        )
        self._timer: Timer | None = None

    def open(self) -> None:
        """The line is there."""
        pool = self.offer.pool
        given = None if pool is None else pool.take(self.offer.identity, (self.offer.own,))
        self.ipcp.give = given or V4_ANY
        self._at(self.link.open)

    def close(self) -> None:
        """Terminate in good order."""
        self._at(self.link.close)

    def lost(self) -> None:
        """The line is gone; the card's address is free again."""
        self._at(self.link.line_down)
        if self.offer.pool is not None:
            self.offer.pool.release(self.ipcp.give)

    def receive(self, data: bytes) -> None:
        """What came over the line or the hop."""
        self._at(lambda now: self.link.receive(data, now))

    def _at(self, action: Callable[[int], None]) -> None:
        action(self.engine.now)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self.link.due
        if due is not None:
            self._timer = self.engine.at(due, self._due)

    def _due(self) -> None:
        self._timer = None
        self._at(self.link.tick)


class PppOverHop:
    """The Stack of kind 7 on node 0's junction: ``end`` is the card's peer."""

    def __init__(self, engine: Engine, junction: Junction, offer: PppOffer, seed: int = 1) -> None:
        self.junction = junction
        self.end = PppEnd(engine, offer, self._send, hdlc=False, seed=seed)
        junction.plug((Kind.PPP,), self)

    def receive(self, kind: Kind, packet: bytes, came_by: Port) -> None:
        """See ``Stack``."""
        del kind
        if came_by is Port.OUTWARD:
            self.end.receive(packet)

    def taken(self, flow: Hashable) -> None:
        """See ``Stack``: what does not fit the queue is dropped."""

    def forgotten(self) -> None:
        """See ``Stack``."""

    def node_up(self, facts: NodeFacts) -> None:
        """See ``Stack``."""
        if facts.node == 1:
            self.end.open()

    def node_down(self, node: int, reason: str) -> None:
        """See ``Stack``."""
        del reason
        if node == 1:
            self.end.lost()

    def _send(self, frame: bytes) -> None:
        link = self.junction.link(Port.OUTWARD)
        if link is not None:
            link.submit(Kind.PPP, frame, "ppp", force=link.queue.bytes + len(frame) <= link.queue.total_bytes)
