"""The card as a PPP peer: its IP stack behind a PPP link whose frames (kind 7) the hop carries plain, without HDLC framing (docs/ppp.md).

Addresses come by IPCP and IPV6CP instead of chain numbering. This is for the first card of a chain; what hangs on its IO#2 is not reached this way.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections.abc import Callable, Hashable
from random import Random
from typing import Final

from bench.card.ip_profile import IpProfile, PppProfile
from bench.card.ip_stack import CardIp
from bench.engine import Engine, Timer
from bench.hop.control import NodeFacts
from bench.hop.junction import Junction, Port
from bench.hop.queue import URGENT
from bench.hop.segment import Kind
from bench.net.flow_key import flow_of, is_later_fragment
from bench.net.path_time import packet_ticks
from bench.net.ppp.automaton import RESTART_SLACK_MS, Patience
from bench.net.ppp.interface import PppInterface
from bench.net.ppp.lcp import LcpWishes
from bench.net.ppp.link import PppLink, PppSettings
from bench.net.ppp.ncp import IpcpNegotiator, Ipv6cpNegotiator
from bench.net.ppp.packets import PppProtocol
from bench.net.protocols import V4_ANY

PATIENCE_S: Final = 3
"""RFC 1661, 4.6: the restart timer where nothing is known of the line."""


def hop_patience(hz: int, mtu: int, etu: int, longest_poll: int) -> Patience:
    """Timers for a hop: a frame of each direction before ours, ours and its answer, and a poll for each. Never less than the usual 3 s, since
    what lies behind the hop may be a slower line (an external support's).
    """
    scaled = 2 * (2 * packet_ticks(mtu, etu) + 2 * longest_poll) + hz * RESTART_SLACK_MS // 1000
    return Patience(max(PATIENCE_S * hz, scaled))


class CardPpp(CardIp):
    """Layer 3 and 4 of a card with a PPP link for IO#1. ``link`` is new after ``reset``."""

    def __init__(self, engine: Engine, junction: Junction, profile: IpProfile, etu: Callable[[], int]) -> None:
        assert profile.ppp is not None
        self.wishes: PppProfile = profile.ppp
        self.remembered = V4_ANY
        """The IPv4 address it had, where it is one that remembers."""
        self._draw = Random(profile.settings.secret)
        self._link_timer: Timer | None = None
        self._flow: Hashable = URGENT
        super().__init__(engine, junction, profile, etu)
        self._begin()
        junction.plug((Kind.PPP,), _Frames(self))

    def _begin(self) -> None:
        wishes = self.wishes
        lcp = LcpWishes(mru=wishes.mru, takes=wishes.takes, accm=wishes.accm)
        settings = PppSettings(Patience(PATIENCE_S * self.engine.timebase.hz), lcp, hdlc=False)
        draw = self._draw
        self.link = PppLink(
            settings,
            self._send_frame,
            lambda: draw.getrandbits(64),
            IpcpNegotiator(wishes.address, remembered=self.remembered, wants_dns=wishes.asks_dns),
            Ipv6cpNegotiator(wishes.identifier, draw=lambda: draw.randbytes(8)),
        )
        self.face = PppInterface(self.link, self.node, self._send_datagram, self.abandon)
        self.face.on_addresses = self._changed

    # -- coming and going ----------------------------------------------------------------------------------------------

    def numbered(self, poll_ms: int) -> None:
        chain = self.junction.chain
        if chain.number is None:
            return
        again = self._number == chain.number and self.link.lcp.opened
        self._poll_ms = poll_ms
        self._number = chain.number
        self._measure_path()
        hz = self.engine.timebase.hz
        patience = hop_patience(hz, chain.mtu, self.etu(), poll_ms * hz // 1000)
        for each in (self.link.lcp, *self.link.networks.values()):
            each.patience = patience
        if not again:
            self._at(lambda now: self.link.open(now))

    def forgotten(self) -> None:
        number = self.junction.chain.number
        if number != self._number:
            self._at(self.link.line_down)
        super().forgotten()

    def node_up(self, facts: NodeFacts) -> None:
        """Whatever is beyond IO#2 has no part in the PPP link."""

    def reset(self) -> None:
        self._at(self.link.line_down)
        super().reset()
        if not self.wishes.remembers:
            self.remembered = V4_ANY
        self._begin()

    def _readdress(self, size: int) -> None:
        """The chain's prefix gives no addresses here."""

    def _changed(self) -> None:
        options = self.link.ipcp
        if options is not None and self.link.is_up(PppProtocol.IPCP) and self.wishes.remembers:
            self.remembered = options.local
        self.on_addresses()

    # -- frames --------------------------------------------------------------------------------------------------------

    def frame(self, frame: bytes) -> None:
        """A frame came over IO#1."""
        self._at(lambda now: self.link.receive(frame, now))
        if self.node.deadline is not None:
            self.rearm()

    def _send_frame(self, frame: bytes) -> None:
        link = self.junction.link(Port.INWARD)
        if link is not None:
            link.submit(Kind.PPP, frame, self._flow, force=True)

    def _send_datagram(self, packet: bytes) -> bool:
        """As the node's own interface does: a flow has its share of the queue."""
        link = self.junction.link(Port.INWARD)
        if link is None:
            return False
        flow = flow_of(packet)
        queue = link.queue
        waiting = queue.flow_packets - queue.room(flow)
        busy = waiting >= self.settings.flow_packets or queue.bytes + len(packet) > queue.total_bytes
        if busy and not is_later_fragment(packet):  # its first fragment had room, and is of no use alone
            return False
        self._flow = flow
        try:
            return self.link.send_datagram(packet)
        finally:
            self._flow = URGENT

    # -- time ----------------------------------------------------------------------------------------------------------

    def _at(self, action: Callable[[int], None]) -> None:
        action(self.engine.now)
        self._arm()

    def _arm(self) -> None:
        due = self.link.due
        if self._link_timer is not None:
            if self._link_timer.time == due and self._link_timer.action is not None:
                return
            self._link_timer.cancel()
            self._link_timer = None
        if due is not None:
            self._link_timer = self.engine.at(due, self._due)

    def _due(self) -> None:
        self._link_timer = None
        self._at(self.link.tick)


class _Frames:
    """The stack of frames of the card's junction."""

    def __init__(self, card: CardPpp) -> None:
        self.card = card

    def receive(self, kind: Kind, packet: bytes, came_by: Port) -> None:
        """See ``Stack``."""
        del kind
        if came_by is Port.INWARD:
            self.card.frame(packet)

    def taken(self, flow: Hashable) -> None:
        """See ``Stack``: the card's IP is told as a stack of its own."""

    def forgotten(self) -> None:
        """See ``Stack``."""

    def node_up(self, facts: NodeFacts) -> None:
        """See ``Stack``."""

    def node_down(self, node: int, reason: str) -> None:
        """See ``Stack``."""
