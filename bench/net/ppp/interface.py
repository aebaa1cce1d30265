"""The interface of a node that a PPP link carries: addresses as IPCP and IPV6CP agree on them, an IPv6 prefix told or learnt, routes.

Units: times are ticks, lengths are bytes.
"""

from collections.abc import Callable

from bench.net.node import Interface, Node
from bench.net.ppp.advertise import advertised, advertisement, is_solicitation, link_local, solicitation
from bench.net.ppp.link import PppLink
from bench.net.ppp.packets import PppProtocol
from bench.net.routes import Prefix, Route

_EVERYWHERE = {PppProtocol.IPCP: Prefix(bytes(4), 0), PppProtocol.IPV6CP: Prefix(bytes(16), 0)}


class PppInterface:
    """One link's. A side that gives a prefix is a router to the other; the other one's default routes lead over the link."""

    def __init__(
        self,
        link: PppLink,
        node: Node,
        send: Callable[[bytes], bool],
        abandon: Callable[[bytes], None],
        *,
        name: str = "ppp0",
        prefix: Prefix | None = None,
        default: bool = True,
        mtu: int = 1500,
    ) -> None:
        """``send`` takes the node's packets (where there is room, to ``link.send_datagram``); ``abandon`` takes an address away from the node.

        ``prefix`` is told the peer (64 bits); ``default``: routes to everywhere lead here; ``mtu`` bounds what both MRUs would allow.
        """
        self.link = link
        self.node = node
        self.prefix = prefix
        self.on_addresses: Callable[[], None] = _nothing
        self.interface: Interface = node.add_interface(name, mtu, send)
        self.interface.up = False
        self.peers: dict[PppProtocol, bytes] = {}
        """The peer's addresses as far as they are known: IPv4, IPv6."""
        self._abandon = abandon
        self._default = default
        self._mtu = mtu
        self._own: dict[PppProtocol, list[bytes]] = {}
        self._routes: dict[PppProtocol, list[Prefix]] = {}
        link.on_network = self._network
        link.on_datagram = self._datagram

    @property
    def addresses(self) -> tuple[bytes, ...]:
        """The node's own on this interface."""
        return tuple(address for each in self._own.values() for address in each)

    def _network(self, protocol: PppProtocol, up: bool, now: int) -> None:
        if not up:
            self._lower(protocol)
        elif protocol is PppProtocol.IPCP:
            options = self.link.ipcp
            assert options is not None
            self._raise(protocol, options.local, options.peer)
        else:
            identifiers = self.link.ipv6cp
            assert identifiers is not None
            own = link_local(identifiers.local)
            self._raise(protocol, own, link_local(identifiers.peer))
            if self.prefix is None:
                self.link.send_datagram(solicitation(own))
            else:
                self._advertise(own)
        self.on_addresses()
        del now

    def _raise(self, protocol: PppProtocol, own: bytes, peer: bytes) -> None:
        self.interface.up = True
        self.interface.mtu = min(self._mtu, self.link.peer_mru, self.link.own_mru)
        self._assign(protocol, own)
        self.peers[protocol] = peer
        self._route(protocol, Prefix.of(peer, len(peer) * 8))
        if self._default:
            self._route(protocol, _EVERYWHERE[protocol])

    def _lower(self, protocol: PppProtocol) -> None:
        for address in self._own.pop(protocol, []):
            self._abandon(address)
        for prefix in self._routes.pop(protocol, []):
            self.node.routes.remove(prefix, self.interface.number)
        self.peers.pop(protocol, None)
        if not self._own:
            self.interface.up = False

    def _assign(self, protocol: PppProtocol, address: bytes) -> None:
        held = self._own.setdefault(protocol, [])
        if address not in self.node.own:
            self.node.assign(self.interface.number, address)
            held.append(address)

    def _route(self, protocol: PppProtocol, prefix: Prefix) -> None:
        self.node.routes.add(Route(prefix, self.interface.number))
        self._routes.setdefault(protocol, []).append(prefix)

    def _advertise(self, own: bytes) -> None:
        identifiers = self.link.ipv6cp
        assert identifiers is not None
        assert self.prefix is not None
        self._assign(PppProtocol.IPV6CP, self.prefix.address[:8] + identifiers.local)
        self._route(PppProtocol.IPV6CP, self.prefix)
        self.link.send_datagram(advertisement(own, self.prefix))

    def _datagram(self, packet: bytes, now: int) -> None:
        if packet[0] >> 4 == 6 and PppProtocol.IPV6CP in self._own:
            if self.prefix is None and (prefix := advertised(packet)) is not None:
                identifiers = self.link.ipv6cp
                assert identifiers is not None
                self._assign(PppProtocol.IPV6CP, prefix.address[:8] + identifiers.local)
                self.on_addresses()
                return
            if self.prefix is not None and is_solicitation(packet):
                self._advertise(self._own[PppProtocol.IPV6CP][0])
                return
        self.node.receive(self.interface.number, packet, now)


def _nothing() -> None:
    pass
