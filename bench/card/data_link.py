"""A card on a link of its own instead of IO#1, such as USB: Ethernet frames, addresses it brings itself, the IP stack and its applications above.

Units: times are ticks of the engine's timebase, lengths are bytes.
"""

from collections.abc import Callable
from typing import Final

from bench.card.card import Card
from bench.card.ip_stack import CardIp
from bench.engine import Timer
from bench.net.ethernet_link import EthernetLink, OwnAddress
from bench.net.protocols import is_link_local
from bench.net.routes import Prefix, Route

MTU: Final = 1500


class CardDataLink:
    """Powers the card while the link is up. ``frame`` takes what comes, ``emit`` what goes."""

    def __init__(
        self,
        card: Card,
        mac: bytes,
        addresses: tuple[OwnAddress, ...],
        emit: Callable[[bytes], bool],
        *,
        gateways: tuple[bytes, ...] = (),
    ) -> None:
        """``gateways``: through whom the card reaches what is not on the link. Raises ValueError for a card without the IP stack."""
        if card.ip is None:
            raise ValueError("the card carries no IP stack: what should go over its data link?")
        self.card = card
        self.ip: CardIp = card.ip
        self.mac = mac
        self.link: EthernetLink | None = None
        """While it is up."""
        self._addresses = addresses
        self._gateways = gateways
        self._emit = emit
        self._timer: Timer | None = None

    def up(self, on: bool) -> None:
        """The link came, or went: the card has power while it is there."""
        self.card.power(False)
        self.link = None
        self._rearm()
        if not on:
            return
        self.card.power(True)
        engine, node = self.card.engine, self.ip.node
        prefixes = tuple(Prefix.of(each.address, each.length) for each in self._addresses if len(each.address) == 16)
        link = EthernetLink(node, self.mac, MTU, self._emit, lambda: engine.now, advertise=prefixes)
        link.on_due = self._rearm
        link.on_addresses = self._readdressed
        self.link = link
        for gateway in self._gateways:
            node.routes.add(Route(Prefix(bytes(len(gateway)), 0), link.interface.number, gateway))
        link.begin(self._addresses, engine.now)

    def frame(self, data: bytes) -> None:
        """A frame came."""
        if self.link is None:
            return
        packet = self.link.receive(data, self.card.engine.now)
        if packet is not None:
            self.ip.accept(self.link.interface, packet)

    def room(self) -> None:
        """``emit`` takes frames again."""
        if self.link is not None:
            self.ip.taken(None)

    def _readdressed(self) -> None:
        assert self.link is not None
        if any(not is_link_local(each) for each in self.link.interface.addresses):
            self.ip.on_addresses()

    def _rearm(self) -> None:
        due = self.link.due if self.link is not None else None
        if self._timer is not None and (due is None or self._timer.time != due):
            self._timer.cancel()
            self._timer = None
        if due is not None and (self._timer is None or not self._timer.pending):
            self._timer = self.card.engine.at(due, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self.link is not None:
            self.link.tick(self.card.engine.now)
