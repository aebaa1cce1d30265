"""A node's interface on a link where addresses must be resolved: ARP (RFC 826, 1122 2.3.2) and Neighbour Discovery (RFC 4861, 4862) around it.

Left out: choosing between routers, and multicast groups other than those every node is in (a link between two floods them anyway).

Units: times are ticks, lengths are bytes.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from bench.net.arp import Arp, ArpOperation, parse_arp
from bench.net.errors import PacketError
from bench.net.ethernet import BROADCAST, Ethernet, EtherType, group_of, is_group, link_local, parse_ethernet
from bench.net.icmp import Icmp, Icmp6, parse_icmp6
from bench.net.ipv6 import Ipv6, parse_ipv6
from bench.net.neighbour import (
    HOP_LIMIT,
    Advertisement,
    RouterAdvertisement,
    Solicitation,
    parse_advertisement,
    parse_router_solicitation,
    parse_solicitation,
    solicited_node,
)
from bench.net.node import Node
from bench.net.protocols import V6_ALL_NODES, V6_ANY, Proto, is_multicast
from bench.net.routes import Prefix

RETRANSMIT_S: Final = 1
TRIES: Final = 3
"""Solicitations before an address is given up (RFC 4861, 10)."""
REACHABLE_S: Final = 30
"""How long a neighbour that was heard needs no new proof."""
NEIGHBOURS: Final = 16
WAITING: Final = 8
"""Packets kept for one address that is being asked for."""


@dataclass(slots=True)
class Neighbour:
    """One entry of the cache."""

    mac: bytes = b""
    """Empty while it is being asked for."""
    confirmed: int = 0
    asked: int = 0
    """Solicitations without an answer so far."""
    due: int | None = None
    """When the next one goes out, or it is given up."""
    waiting: deque[bytes] = field(default_factory=lambda: deque(maxlen=WAITING))


@dataclass(frozen=True, slots=True)
class OwnAddress:
    """An address to be used on the link, with the length of its prefix."""

    address: bytes
    length: int


class EthernetLink:
    """One interface of a node. ``clock`` gives the time of what the node sends; everything else is told it."""

    def __init__(
        self,
        node: Node,
        mac: bytes,
        mtu: int,
        emit: Callable[[bytes], bool],
        clock: Callable[[], int],
        *,
        advertise: tuple[Prefix, ...] = (),
    ) -> None:
        """``emit`` takes a frame for the link, False where it cannot now; ``advertise``: prefixes from which hosts make themselves addresses."""
        self.node = node
        self.mac = mac
        self.neighbours: dict[bytes, Neighbour] = {}
        self.on_due: Callable[[], None] = _nothing
        """``due`` may be earlier than before."""
        self.on_addresses: Callable[[], None] = _nothing
        """An address has proved to be nobody else's and is in use."""
        self.duplicates: list[bytes] = []
        """Addresses that somebody else has, so that they are not used."""
        self.malformed = 0
        self.unresolved = 0
        """Packets dropped because nobody has their next hop's address."""
        self.interface = node.add_interface("ethernet", mtu, self.send)
        self._emit = emit
        self._clock = clock
        self._advertise = advertise
        self._tentative: dict[bytes, tuple[OwnAddress, int]] = {}

    def begin(self, addresses: tuple[OwnAddress, ...], now: int) -> None:
        """The link is up: claim the addresses, and the link-local one. Those of IPv6 are used once nobody has objected for a second."""
        for each in (*addresses, OwnAddress(link_local(self.mac), 64)):
            if len(each.address) == 4:
                self.node.assign(self.interface.number, each.address, each.length)
                arp = Arp(ArpOperation.REQUEST, self.mac, each.address, bytes(6), each.address)  # an announcement
                self._frame(BROADCAST, EtherType.ARP, arp.encode())
            else:
                self._tentative[each.address] = (each, now + RETRANSMIT_S * self.node.hz)
                self._message(V6_ANY, solicited_node(each.address), Solicitation(each.address).message())
        self.on_addresses()
        self.on_due()

    # -- time ----------------------------------------------------------------------------------------------------------

    @property
    def due(self) -> int | None:
        """When ``tick`` has something to do."""
        times = [each.due for each in self.neighbours.values() if each.due is not None]
        times += [due for _, due in self._tentative.values()]
        return min(times, default=None)

    def tick(self, now: int) -> None:
        """Ask again, give up, and use the addresses that nobody else has."""
        for address, (own, due) in list(self._tentative.items()):
            if due <= now:
                del self._tentative[address]
                self.node.assign(self.interface.number, address, own.length)
                self._advertise_prefixes(V6_ALL_NODES)
                self.on_addresses()
        for address, neighbour in list(self.neighbours.items()):
            if neighbour.due is None or neighbour.due > now:
                continue
            if neighbour.asked >= TRIES:
                self.unresolved += len(neighbour.waiting)
                del self.neighbours[address]
            else:
                self._ask(address, neighbour, now)
        self.on_due()

    # -- out -----------------------------------------------------------------------------------------------------------

    def send(self, packet: bytes) -> bool:
        """A packet of the node for this link: False where the link takes none now."""
        kind = EtherType.IPV4 if packet[0] >> 4 == 4 else EtherType.IPV6
        destination = packet[16:20] if kind is EtherType.IPV4 else packet[24:40]
        if is_multicast(destination):
            return self._frame(group_of(destination), kind, packet)
        route = self.node.routes.lookup(destination)
        hop = route.gateway if route is not None and route.gateway else destination
        now = self._clock()
        neighbour = self.neighbours.get(hop)
        if neighbour is None:
            self._make_room()
            neighbour = self.neighbours[hop] = Neighbour()
            self._ask(hop, neighbour, now)
            self.on_due()
        if not neighbour.mac:
            neighbour.waiting.append(packet)
            return True
        if neighbour.due is None and now - neighbour.confirmed > REACHABLE_S * self.node.hz:
            neighbour.asked = 0
            self._ask(hop, neighbour, now)  # used meanwhile, and forgotten if nobody answers
            self.on_due()
        return self._frame(neighbour.mac, kind, packet)

    def _ask(self, address: bytes, neighbour: Neighbour, now: int) -> None:
        neighbour.asked += 1
        neighbour.due = now + RETRANSMIT_S * self.node.hz
        source = self.node.source_for(address)
        if source is None or source not in self.interface.addresses:
            source = next((each for each in self.interface.addresses if len(each) == len(address)), None)
        if source is None:
            return
        if len(address) == 4:
            arp = Arp(ArpOperation.REQUEST, self.mac, source, bytes(6), address)
            self._frame(neighbour.mac or BROADCAST, EtherType.ARP, arp.encode())
        else:
            where = address if neighbour.mac else solicited_node(address)
            self._message(source, where, Solicitation(address, self.mac).message(), neighbour.mac)

    def _message(self, source: bytes, destination: bytes, message: Icmp, mac: bytes = b"") -> None:
        """One of Neighbour Discovery's own, past the node."""
        packet = Ipv6(source, destination, Proto.ICMPV6, message.encode6(source, destination), HOP_LIMIT)
        self._frame(mac or group_of(destination), EtherType.IPV6, packet.encode())

    def _frame(self, destination: bytes, kind: EtherType, payload: bytes) -> bool:
        return self._emit(Ethernet(destination, self.mac, kind, payload).encode())

    def _make_room(self) -> None:
        if len(self.neighbours) >= NEIGHBOURS:
            oldest = min(self.neighbours, key=lambda each: self.neighbours[each].confirmed)
            self.unresolved += len(self.neighbours.pop(oldest).waiting)

    # -- in ------------------------------------------------------------------------------------------------------------

    def receive(self, data: bytes, now: int) -> bytes | None:
        """A frame came. Gives the packet of IP for the node that it carried, None where it was for the link itself, or for nobody here."""
        try:
            frame = parse_ethernet(data)
            if frame.destination != self.mac and not is_group(frame.destination):
                return None
            if frame.kind == EtherType.ARP:
                self._arp(parse_arp(frame.payload), now)
            elif frame.kind == EtherType.IPV4 and frame.payload[:1] and frame.payload[0] >> 4 == 4:
                return frame.payload
            elif frame.kind == EtherType.IPV6:
                packet = parse_ipv6(frame.payload)
                first = packet.payload[:1]
                ours = packet.next_header == Proto.ICMPV6 and first and 133 <= first[0] <= 137
                if not ours:
                    return frame.payload
                self._neighbour(packet, now)
        except PacketError:
            self.malformed += 1
        return None

    def _arp(self, arp: Arp, now: int) -> None:
        mine = self.interface.addresses
        if arp.sender in mine:
            if arp.sender_mac != self.mac and arp.sender not in self.duplicates:
                self.duplicates.append(arp.sender)  # RFC 5227, 2.4: told; the address is kept
            return
        if arp.target in mine:
            self._heard(arp.sender, arp.sender_mac, now, new=True)
            if arp.operation == ArpOperation.REQUEST:
                reply = Arp(ArpOperation.REPLY, self.mac, arp.target, arp.sender_mac, arp.sender)
                self._frame(arp.sender_mac, EtherType.ARP, reply.encode())
        else:
            self._heard(arp.sender, arp.sender_mac, now, new=False)

    def _neighbour(self, packet: Ipv6, now: int) -> None:
        if packet.hop_limit != HOP_LIMIT:
            self.malformed += 1
            return
        message = parse_icmp6(packet.source, packet.destination, packet.payload)
        match message.kind:
            case Icmp6.NEIGHBOUR_SOLICITATION:
                self._solicited(packet, parse_solicitation(message), now)
            case Icmp6.NEIGHBOUR_ADVERTISEMENT:
                self._advertised(parse_advertisement(message), now)
            case Icmp6.ROUTER_SOLICITATION:
                mac = parse_router_solicitation(message)
                if mac and packet.source != V6_ANY:
                    self._heard(packet.source, mac, now, new=True)
                self._advertise_prefixes(V6_ALL_NODES)

    def _solicited(self, packet: Ipv6, asked: Solicitation, now: int) -> None:
        if asked.target in self._tentative:
            if packet.source == V6_ANY:
                self._duplicate(asked.target)  # somebody else is trying it too: neither may have it (RFC 4862, 5.4.3)
            return
        if asked.target not in self.interface.addresses:
            return
        here = Advertisement(asked.target, self.mac, solicited=packet.source != V6_ANY, router=self.node.forwarding)
        if packet.source == V6_ANY:
            self._message(asked.target, V6_ALL_NODES, here.message())
            return
        if asked.mac:
            self._heard(packet.source, asked.mac, now, new=True)
        neighbour = self.neighbours.get(packet.source)
        if neighbour is not None and neighbour.mac:
            self._message(asked.target, packet.source, here.message(), neighbour.mac)

    def _advertised(self, told: Advertisement, now: int) -> None:
        if told.target in self._tentative:
            self._duplicate(told.target)
        elif told.mac:
            self._heard(told.target, told.mac, now, new=False)

    def _duplicate(self, address: bytes) -> None:
        del self._tentative[address]
        self.duplicates.append(address)

    def _heard(self, address: bytes, mac: bytes, now: int, *, new: bool) -> None:
        """A neighbour told its address on the link; ``new``: it is remembered even if nobody asked."""
        neighbour = self.neighbours.get(address)
        if neighbour is None:
            if not new or not any(address) or is_group(mac):
                return
            self._make_room()
            neighbour = self.neighbours[address] = Neighbour()
        if is_group(mac):
            return
        neighbour.mac, neighbour.confirmed, neighbour.asked, neighbour.due = mac, now, 0, None
        kind = EtherType.IPV4 if len(address) == 4 else EtherType.IPV6
        while neighbour.waiting:
            self._frame(mac, kind, neighbour.waiting.popleft())

    def _advertise_prefixes(self, to: bytes) -> None:
        source = link_local(self.mac)
        if self._advertise and source in self.interface.addresses:
            message = RouterAdvertisement(self.mac, self.interface.mtu, self._advertise).message()
            self._message(source, to, message)


def _nothing() -> None:
    pass
