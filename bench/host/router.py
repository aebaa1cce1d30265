"""The host as a router between a chain of cards and a network (the paper, 3.3): two interfaces, the addresses of the cards, and their names.

Longer than other files: both interfaces of one machine, whose routes, leases and names change together.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from bench.engine import Engine
from bench.hop.control import NodeFacts
from bench.hop.junction import Junction, Port
from bench.hop.queue import URGENT
from bench.hop.segment import Kind
from bench.host.ip_pool import AddressPool
from bench.host.memory import HostMemory
from bench.host.names import NameServer, NameZone
from bench.host.packet_uplink import PacketUplink
from bench.net.chain_control import (
    ADDRESS,
    NAME,
    PREFIX,
    AddressPacket,
    ChainControlError,
    Deed,
    NamePacket,
    PrefixPacket,
    Refusal,
    address_of,
    decode_chain_control,
)
from bench.net.errors import PacketError
from bench.net.flow_key import destination_of, source_of
from bench.net.ipv4 import parse_ipv4
from bench.net.ipv6 import parse_ipv6
from bench.net.node import Interface
from bench.net.plug import IpPlug, IpSettings
from bench.net.protocols import Proto, address
from bench.net.routes import Prefix, Route
from bench.net.segment import ACK, RST, Segment, build_segment, parse_segment, seq_add

PREFIX4: Final = Prefix.parse("10.78.16.0/20")
PREFIX6: Final = Prefix.parse("fd78:16::/64")
UPLINK4: Final = address("192.0.2.254")
UPLINK6: Final = address("2001:db8::fe")
NOWHERE: Final = -2
"""An interface no node has: a route over it means that there is nobody (RFC 1812, 5.2.4.3: what lies in our own prefix never goes out)."""
LAST: Final = 1
"""The metric of such a route: a card's own one goes before it."""
GONE_KEPT: Final = 512
"""Addresses of cards that went, of which the router knows that nobody has them now."""
ROUTER: Final = IpSettings(connections=256, send_buffer=65_535, receive_buffer=65_535, flow_packets=1024)
"""A flow to the cards is held back by the window that its card offers: the host holds what a card has no memory for (the paper, 3.4)."""
HELD: Final = 1 << 20
"""Bytes for the chain that the host holds in all; what comes beyond is dropped, as in any router."""


@dataclass(frozen=True, slots=True)
class RouterSettings:
    """What the host brings to the network."""

    prefixes: tuple[Prefix, ...] = (PREFIX4, PREFIX6)
    """The chain's, handed along it: at most one of each version."""
    uplink: tuple[bytes, ...] = (UPLINK4, UPLINK6)
    """The host's own addresses on its second interface."""
    static: tuple[Prefix, ...] = ()
    """Where cards may bring addresses of their own from."""
    pools: tuple[AddressPool, ...] = ()
    """Where cards that ask are given addresses from."""
    hold_s: int = 5
    """How long an address that was taken from a card is still routed to it, so that it can reset its connections."""
    ip: IpSettings = field(default_factory=lambda: ROUTER)


@dataclass(slots=True)
class CardRecord:
    """What the router knows of one card."""

    facts: NodeFacts
    addresses: dict[bytes, str] = field(default_factory=dict)
    """And where each comes from: numbered, static or pool."""
    name: str = ""


class Router(IpPlug):
    """Layer 3 and 4 of the host. ``connect`` gives it its second interface."""

    def __init__(
        self,
        engine: Engine,
        junction: Junction,
        settings: RouterSettings | None = None,
        zone: NameZone | None = None,
        *,
        etu: Callable[[], int] | None = None,
    ) -> None:
        self.router_settings = settings if settings is not None else RouterSettings()
        self.zone = zone
        self.etu = etu or _unknown
        self.cards: dict[int, CardRecord] = {}
        """By node number, as far as they are there."""
        self.gone: dict[bytes, None] = {}
        self.resets = 0
        """Connections to addresses of cards that went, which the router has reset."""
        self.refused: list[AddressPacket | NamePacket] = []
        """Claims that were refused, the last 100."""
        self.on_routes: Callable[[], None] = _nothing
        """The routes to cards have changed."""
        self.prefixes: dict[int, Prefix] = {len(each.address): each for each in self.router_settings.prefixes}
        self.uplink: PacketUplink | None = None
        self.uplink_interface: Interface | None = None
        self.name_server: NameServer | None = None
        super().__init__(engine, junction, self.router_settings.ip, forces=False)
        for kind in (PREFIX, ADDRESS, NAME):
            junction.chain.others[kind] = self._control
        chain_side = self.raise_port(Port.OUTWARD, max(junction.chain.mtu, 68))
        assert chain_side is not None
        chain_side.up = False
        link = junction.link(Port.OUTWARD)
        if link is not None:
            link.queue.total_bytes = max(link.queue.total_bytes, HELD)
        for prefix in self.prefixes.values():
            self.node.assign(chain_side.number, address_of(prefix, 0))
            self.node.routes.add(Route(prefix, NOWHERE, metric=LAST))
        for each in self.router_settings.static:
            self.node.routes.add(Route(each, NOWHERE, metric=LAST))
        for pool in self.router_settings.pools:
            for bits in _cover(pool):
                self.node.routes.add(Route(bits, NOWHERE, metric=LAST))
        if zone is not None:
            self.name_server = NameServer(self.udp, zone, lambda: self.engine.now)

    def connect(self, uplink: PacketUplink) -> None:
        """The second interface: everything that is not the chain's goes there."""
        self.uplink = uplink
        interface = self.uplink_interface = self.node.add_interface("uplink", uplink.mtu, self._up)
        for each in self.router_settings.uplink:
            self.node.assign(interface.number, each)
            self.node.routes.add(Route(Prefix(bytes(len(each)), 0), interface.number))
        uplink.on_packet = self._came
        uplink.on_room = lambda: self.taken(None)

    def close(self) -> None:
        """Let go of the uplink."""
        if self.uplink is not None:
            self.uplink.close()

    def route_to(self, where: bytes) -> int | None:
        """The interface over which an address is reached now; None where it is not."""
        route = self.node.routes.lookup(where)
        interface = None if route is None else self.node.interfaces.get(route.interface)
        return interface.number if interface is not None and interface.up else None

    def addresses(self, node: int) -> tuple[bytes, ...]:
        """Every address of a card."""
        record = self.cards.get(node)
        return () if record is None else tuple(record.addresses)

    def memory(self) -> HostMemory:
        """What is to be kept over a restart: leases of the pools, and whose the names are."""
        leases = tuple(lease for pool in self.router_settings.pools for lease in pool.leases())
        return HostMemory(leases, self.zone.owners() if self.zone is not None else ())

    # -- a Stack -------------------------------------------------------------------------------------------------------

    def receive(self, kind: Kind, packet: bytes, came_by: Port) -> None:
        if self.gone and packet and packet[0] >> 4 == kind and self._to_gone(packet):
            return
        super().receive(kind, packet, came_by)

    def node_up(self, facts: NodeFacts) -> None:
        if facts.node == 1:
            self._first(facts)
        if facts.node in self.cards:
            self._drop(facts.node)
        interface = self.interfaces.get(Port.OUTWARD)
        if interface is None or not interface.up or facts.mtu < 68:
            return
        self.cards[facts.node] = CardRecord(facts)
        for prefix in self.prefixes.values():
            numbered = address_of(prefix, facts.node)
            if self._holder(numbered) is None:
                self._route(facts.node, numbered, "numbered")
        self._measure_path(facts.mtu)
        self.on_routes()

    def node_down(self, node: int, reason: str) -> None:
        del reason
        for each in [number for number in self.cards if number >= node]:
            self._drop(each)
        interface = self.interfaces.get(Port.OUTWARD)
        if node == 1 and interface is not None:
            interface.up = False
        self.on_routes()

    def _first(self, facts: NodeFacts) -> None:
        """The first card was greeted: what is to go along the chain begins here."""
        for each in list(self.cards):
            self._drop(each)
        if self.raise_port(Port.OUTWARD, facts.mtu) is None:
            return
        for prefix in self.prefixes.values():
            self._tell(PrefixPacket(prefix).encode())
        self.taken(None)

    def _measure_path(self, mtu: int) -> None:
        poll = self.junction.chain.poll_ms * self.engine.timebase.hz // 1000
        self.patience(max(self.cards), mtu, self.etu(), poll)

    # -- claims --------------------------------------------------------------------------------------------------------

    def _control(self, packet: bytes, from_inward: bool) -> None:
        chain = self.junction.chain
        try:
            control = decode_chain_control(packet)
        except ChainControlError:
            chain.malformed += 1
            return
        if from_inward or isinstance(control, PrefixPacket):
            chain.malformed += 1
            return
        record = self.cards.get(control.node)
        if record is None:
            return  # it went while its claim was under way, or its hop is too narrow for IP
        if control.deed is Deed.REFUSE and isinstance(control, AddressPacket):
            self._unroute(control.node, control.address)  # a card between has no memory for the route
            self._refuse(control)
        elif control.deed is Deed.RELEASE and isinstance(control, AddressPacket):
            self._unroute(control.node, control.address)
        elif control.deed is not Deed.CLAIM:
            chain.malformed += 1
        elif isinstance(control, NamePacket):
            self._name(record, control)
        else:
            self._claimed(record, control)

    def _claimed(self, record: CardRecord, claim: AddressPacket) -> None:
        node, wanted = claim.node, claim.address
        if not any(wanted):
            self._lease(record, claim)
            return
        if record.addresses.get(wanted) == "static":
            self._grant(node, wanted, "static")
        elif self._holder(wanted) is not None or wanted in self.node.own:
            self._refuse(AddressPacket(node, Deed.REFUSE, Refusal.IN_USE, wanted))
        elif not any(each.holds(wanted) for each in self.router_settings.static):
            self._refuse(AddressPacket(node, Deed.REFUSE, Refusal.NOT_PERMITTED, wanted))
        else:
            self._grant(node, wanted, "static")

    def _lease(self, record: CardRecord, claim: AddressPacket) -> None:
        node, size = claim.node, len(claim.address)
        pools = [each for each in self.router_settings.pools if len(each.first) == size]
        if not pools:
            self._refuse(AddressPacket(node, Deed.REFUSE, Refusal.NOT_PERMITTED, claim.address))
            return
        held = next((each for each, how in record.addresses.items() if how == "pool" and len(each) == size), None)
        if held is not None:
            self._grant(node, held, "pool")  # the card asks again: it is given what it has
            return
        taken = [each for each in self.node.own if len(each) == size]
        taken += [each for other in self.cards.values() for each in other.addresses if len(each) == size]
        for pool in pools:
            found = pool.take(record.facts.identity or b"node %d" % node, taken)
            if found is not None:
                self._grant(node, found, "pool")
                return
        self._refuse(AddressPacket(node, Deed.REFUSE, Refusal.EXHAUSTED, claim.address))

    def reassign(self, node: int, new: bytes) -> None:
        """Give a card another address, whatever it is doing: its connections from the old one are reset. Raises ValueError where it is taken."""
        record = self.cards.get(node)
        if record is None:
            raise ValueError(f"there is no card {node}")
        if self._holder(new) is not None or new in self.node.own:
            raise ValueError("the address is in use")
        hold = self.router_settings.hold_s * self.engine.timebase.hz
        for each in [each for each in record.addresses if len(each) == len(new)]:
            del record.addresses[each]
            self.engine.after(hold, lambda each=each: self._expire(node, each))  # type: ignore[misc]
        self._grant(node, new, "static")

    def renumber(self, prefix: Prefix) -> None:
        """Give the chain another prefix of this version, whatever it is doing."""
        size = len(prefix.address)
        old = self.prefixes.get(size)
        interface = self.interfaces[Port.OUTWARD]
        hold = self.router_settings.hold_s * self.engine.timebase.hz
        self.prefixes[size] = prefix
        self.node.routes.add(Route(prefix, NOWHERE, metric=LAST))
        self.node.assign(interface.number, address_of(prefix, 0))
        for node, record in self.cards.items():
            if old is not None:
                was = address_of(old, node)
                if record.addresses.pop(was, None) is not None:
                    self.engine.after(hold, lambda node=node, was=was: self._expire(node, was))  # type: ignore[misc]
            self._route(node, address_of(prefix, node), "numbered")
            self._renamed(record)
        if old is not None:
            self.abandon(address_of(old, 0))
        if interface.up:
            self._tell(PrefixPacket(prefix).encode())
        self.on_routes()

    def _grant(self, node: int, granted: bytes, how: str) -> None:
        self._route(node, granted, how)
        record = self.cards[node]
        for each, was in list(record.addresses.items()):
            if was == "numbered" and len(each) == len(granted):
                self._unroute(node, each)  # a card that brings or asks for an address has no other of that version
        self._tell(AddressPacket(node, Deed.GRANT, Refusal.NONE, granted).encode())
        self._renamed(record)
        self.on_routes()

    def _refuse(self, refused: AddressPacket | NamePacket) -> None:
        self.refused = [*self.refused[-99:], refused]
        self._tell(refused.encode())

    def _name(self, record: CardRecord, claim: NamePacket) -> None:
        zone = self.zone
        if zone is None:
            self._refuse(NamePacket(claim.node, Deed.REFUSE, Refusal.NOT_PERMITTED, claim.name))
        elif not record.facts.identity or not zone.claim(
            claim.name, record.facts.identity, self, tuple(record.addresses)
        ):
            self._refuse(NamePacket(claim.node, Deed.REFUSE, Refusal.IN_USE, claim.name))
        else:
            record.name = claim.name
            self._tell(NamePacket(claim.node, Deed.GRANT, Refusal.NONE, claim.name).encode())

    def _renamed(self, record: CardRecord) -> None:
        if self.zone is not None and record.name:
            self.zone.update(record.name, self, tuple(record.addresses))

    def _tell(self, packet: bytes) -> None:
        link = self.junction.link(Port.OUTWARD)
        if link is not None:
            link.submit(Kind.CONTROL, packet, URGENT)

    # -- routes --------------------------------------------------------------------------------------------------------

    def _holder(self, wanted: bytes) -> int | None:
        return next((node for node, record in self.cards.items() if wanted in record.addresses), None)

    def _route(self, node: int, where: bytes, how: str) -> None:
        interface = self.interfaces[Port.OUTWARD]
        self.cards[node].addresses[where] = how
        self.gone.pop(where, None)
        self.node.routes.add(Route(Prefix.of(where, len(where) * 8), interface.number))

    def _unroute(self, node: int, where: bytes) -> None:
        record = self.cards.get(node)
        if record is not None and record.addresses.pop(where, None) is not None:
            self._withdraw(where)
            self._renamed(record)

    def _withdraw(self, where: bytes) -> None:
        interface = self.interfaces[Port.OUTWARD]
        self.node.routes.remove(Prefix.of(where, len(where) * 8), interface.number)
        for pool in self.router_settings.pools:
            pool.release(where)
        while len(self.gone) >= GONE_KEPT:
            del self.gone[next(iter(self.gone))]
        self.gone[where] = None

    def _expire(self, node: int, where: bytes) -> None:
        """An address that was taken from a card is routed no longer, unless somebody has it again."""
        if self._holder(where) is None:
            self._withdraw(where)
            if node in self.cards:
                self._tell(AddressPacket(node, Deed.RELEASE, Refusal.NONE, where).encode())
            self.on_routes()

    def _drop(self, node: int) -> None:
        record = self.cards.pop(node)
        for each in record.addresses:
            self._withdraw(each)
        if self.zone is not None and record.name:
            self.zone.leave(record.name, self)

    # -- the uplink ----------------------------------------------------------------------------------------------------

    def _up(self, packet: bytes) -> bool:
        return self.uplink is not None and self.uplink.send(packet)

    def _came(self, packet: bytes) -> None:
        assert self.uplink_interface is not None
        if not packet or (self.gone and self._to_gone(packet)):
            return
        self.accept(self.uplink_interface, packet)

    def _to_gone(self, packet: bytes) -> bool:
        """A TCP segment to the address of a card that went is answered with a reset in its place: its peers need not wait until they give up."""
        if len(packet) < 40 or destination_of(packet) not in self.gone or source_of(packet) in self.node.own:
            return False
        try:
            if packet[0] >> 4 == 4:
                whole = parse_ipv4(packet)
                protocol, payload, fragment = whole.protocol, whole.payload, whole.is_fragment
            else:
                whole6 = parse_ipv6(packet)
                protocol, payload, fragment = whole6.next_header, whole6.payload, False
            if protocol != Proto.TCP or fragment:
                return False
            source, destination = source_of(packet), destination_of(packet)
            segment = parse_segment(source, destination, payload)
        except PacketError:
            return False
        if self.node.source_for(source) is None:
            return False
        if not segment.flags & RST:
            self.resets += 1
            reset = _reset(segment)
            data = build_segment(destination, source, reset)
            self.node.send(destination, source, Proto.TCP, data, self.engine.now, dont_fragment=True)
        return True


def _reset(segment: Segment) -> Segment:
    """RFC 9293, 3.10.7.1."""
    if segment.flags & ACK:
        return Segment(segment.destination_port, segment.source_port, segment.ack, 0, RST, 0)
    ack = seq_add(segment.seq, segment.length)
    return Segment(segment.destination_port, segment.source_port, 0, ack, RST | ACK, 0)


def _cover(pool: AddressPool) -> list[Prefix]:
    """Prefixes that cover a pool exactly."""
    size = len(pool.first)
    at = int.from_bytes(pool.first, "big")
    end = at + pool.size
    found = []
    while at < end:
        step = at & -at or 1 << (size * 8 - 1)
        while at + step > end:
            step >>= 1
        found.append(Prefix(at.to_bytes(size, "big"), size * 8 - step.bit_length() + 1))
        at += step
    return found


def _unknown() -> int:
    return 0


def _nothing() -> None:
    pass
