"""ARP and Neighbour Discovery around a node's interface (RFC 826, 4861, 4862), and scapy as a second opinion on every message."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.net.arp import Arp, ArpOperation, parse_arp
from bench.net.ethernet import BROADCAST, Ethernet, EtherType, group_of, link_local, parse_ethernet
from bench.net.ethernet_link import NEIGHBOURS, REACHABLE_S, TRIES, WAITING, EthernetLink, OwnAddress
from bench.net.icmp import Icmp, Icmp6, parse_icmp6
from bench.net.ipv6 import Ipv6, parse_ipv6
from bench.net.neighbour import Advertisement, Solicitation, parse_advertisement, parse_solicitation, solicited_node
from bench.net.node import Node, Sent
from bench.net.protocols import V6_ANY, Proto, address
from bench.net.routes import Prefix, Route

HZ = 1000
NO_SCAPY = "scapy is not installed (pip install -e '.[dev]')"
ONE, TWO = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")


class Station:
    """A node on a cable with two ends."""

    def __init__(self, mac: bytes, number: int, advertise: tuple[Prefix, ...] = ()) -> None:
        self.node = Node(HZ)
        self.now = 0
        self.sent: list[bytes] = []
        self.other: Station | None = None
        self.replies: list[bytes] = []
        self.node.on_echo_reply = lambda source, _icmp, _now: self.replies.append(source)
        self.link = EthernetLink(self.node, mac, 1500, self.emit, lambda: self.now, advertise=advertise)
        self.own4, self.own6 = address(f"10.0.0.{number}"), address(f"fd00::{number}")

    def emit(self, frame: bytes) -> bool:
        self.sent.append(frame)
        if self.other is not None:
            self.other.take(frame)
        return True

    def take(self, frame: bytes) -> None:
        packet = self.link.receive(frame, self.now)
        if packet is not None:
            self.node.receive(self.link.interface.number, packet, self.now)

    def begin(self) -> None:
        self.link.begin((OwnAddress(self.own4, 24), OwnAddress(self.own6, 64)), self.now)

    def later(self, seconds: int) -> None:
        self.now += seconds * HZ
        self.link.tick(self.now)

    def ping(self, where: bytes) -> Sent:
        return self.node.ping(where, 1, 1, b"hello", self.now)


@pytest.fixture
def pair() -> tuple[Station, Station]:
    """Two stations whose addresses are in use."""
    one, two = Station(ONE, 1), Station(TWO, 2)
    one.other, two.other = two, one
    for each in (one, two):
        each.begin()
    for each in (one, two):
        each.later(1)
    return one, two


def kinds(frames: list[bytes]) -> list[int]:
    return [parse_ethernet(each).kind for each in frames]


@pytest.mark.parametrize("version", [4, 6])
def test_the_first_packet_waits_for_the_address_and_the_second_goes_at_once(
    pair: tuple[Station, Station], version: int
) -> None:
    one, two = pair
    where = two.own4 if version == 4 else two.own6
    one.link.neighbours.clear()
    one.sent.clear()
    one.ping(where)
    assert one.replies == [where]
    assert len(one.sent) == 2, "the question, then what waited"
    one.ping(where)
    assert len(one.sent) == 3


def test_link_local_addresses_reach_each_other(pair: tuple[Station, Station]) -> None:
    one, _two = pair
    assert one.ping(link_local(TWO)) is Sent.YES
    assert one.replies == [link_local(TWO)]


@pytest.mark.parametrize("where", ["10.0.0.9", "fd00::9"])
def test_nobody_there_is_asked_for_three_times_and_given_up(where: str) -> None:
    one = Station(ONE, 1)
    one.begin()
    one.later(1)
    one.sent.clear()
    for _ in range(WAITING + 5):
        one.ping(address(where))
    for _ in range(TRIES + 1):
        one.later(1)
    assert len(one.sent) == TRIES
    assert one.link.unresolved == WAITING, "no more are kept"
    assert one.link.due is None
    assert not one.link.neighbours


def test_a_neighbour_not_heard_for_long_is_asked_and_used_meanwhile(pair: tuple[Station, Station]) -> None:
    one, two = pair
    one.ping(two.own4)
    for each in pair:
        each.now += (REACHABLE_S + 1) * HZ
    one.sent.clear()
    one.ping(two.own4)
    assert kinds(one.sent) == [EtherType.ARP, EtherType.IPV4]
    assert parse_ethernet(one.sent[0]).destination == TWO, "not everyone is disturbed"
    one.other = None
    one.now += (REACHABLE_S + 1) * HZ
    one.ping(two.own4)
    for _ in range(TRIES + 1):
        one.later(1)
    assert two.own4 not in one.link.neighbours


def test_a_duplicate_is_not_used() -> None:
    """RFC 4862, 5.4: both ask for the same address; the owner answers."""
    owner, late = Station(ONE, 1), Station(TWO, 1)
    owner.begin()
    owner.later(1)
    owner.other, late.other = late, owner
    late.begin()
    late.later(1)
    assert late.own6 not in late.node.own
    assert late.link.duplicates == [late.own6]
    assert link_local(TWO) in late.node.own


def test_two_that_try_the_same_address_at_once_both_leave_it() -> None:
    one, two = Station(ONE, 1), Station(TWO, 1)
    one.other, two.other = two, one
    two.link.begin((), 0)
    two.link._tentative[two.own6] = (OwnAddress(two.own6, 64), HZ)
    one.begin()
    assert two.own6 in two.link.duplicates


def test_another_with_the_same_ipv4_address_is_told(pair: tuple[Station, Station]) -> None:
    one, _two = pair
    arp = Arp(ArpOperation.REQUEST, TWO, one.own4, bytes(6), address("10.0.0.7"))
    one.take(Ethernet(BROADCAST, TWO, EtherType.ARP, arp.encode()).encode())
    assert one.link.duplicates == [one.own4]


def test_messages_that_came_through_a_router_are_none(pair: tuple[Station, Station]) -> None:
    """RFC 4861, 7.1: the hop limit must be 255."""
    one, two = pair
    body = Solicitation(one.own6, TWO).message().encode6(two.own6, one.own6)
    one.sent.clear()
    for hop_limit, answers in ((254, 0), (255, 1)):
        packet = Ipv6(two.own6, one.own6, Proto.ICMPV6, body, hop_limit).encode()
        one.other = None
        one.take(Ethernet(ONE, TWO, EtherType.IPV6, packet).encode())
        assert len(one.sent) == answers
    assert one.link.malformed == 1


def test_the_cache_is_bounded(pair: tuple[Station, Station]) -> None:
    one, _two = pair
    for number in range(100):
        arp = Arp(ArpOperation.REQUEST, TWO, address(f"10.0.0.{number + 100}"), bytes(6), one.own4)
        one.take(Ethernet(BROADCAST, TWO, EtherType.ARP, arp.encode()).encode())
    assert len(one.link.neighbours) <= NEIGHBOURS


def test_what_is_not_on_the_link_goes_to_the_gateway(pair: tuple[Station, Station]) -> None:
    one, two = pair
    one.node.routes.add(Route(Prefix(bytes(4), 0), one.link.interface.number, two.own4))
    one.sent.clear()
    one.ping(address("192.0.2.1"))
    assert parse_ethernet(one.sent[-1]).destination == TWO


def test_prefixes_are_advertised_to_who_asks() -> None:
    one = Station(ONE, 1, (Prefix.parse("fd00::/64"),))
    one.begin()
    one.later(1)
    one.sent.clear()
    where = address("ff02::2")
    body = Icmp(Icmp6.ROUTER_SOLICITATION, 0, 0, bytes.fromhex("0101") + TWO).encode6(link_local(TWO), where)
    packet = Ipv6(link_local(TWO), where, Proto.ICMPV6, body, 255).encode()
    one.take(Ethernet(group_of(where), TWO, EtherType.IPV6, packet).encode())
    [frame] = one.sent
    sent = parse_ipv6(parse_ethernet(frame).payload)
    assert sent.hop_limit == 255
    message = parse_icmp6(sent.source, sent.destination, sent.payload)
    assert message.kind == Icmp6.ROUTER_ADVERTISEMENT
    assert message.payload[4:8] == bytes(4), "nobody's default router"
    scapy6 = pytest.importorskip("scapy.layers.inet6", reason=NO_SCAPY)
    told = scapy6.IPv6(parse_ethernet(frame).payload)
    assert told.routerlifetime == 0
    assert told[scapy6.ICMPv6NDOptPrefixInfo].prefix == "fd00::"
    assert told[scapy6.ICMPv6NDOptSrcLLAddr].lladdr == "02:00:00:00:00:01"
    assert told[scapy6.ICMPv6NDOptMTU].mtu == 1500


macs = st.binary(min_size=6, max_size=6).map(lambda mac: bytes((mac[0] & 0xFE,)) + mac[1:])
v4, v6 = st.binary(min_size=4, max_size=4), st.binary(min_size=15, max_size=15).map(lambda rest: b"\xfd" + rest)


@given(macs, v4, macs, v4, st.sampled_from(list(ArpOperation)))
def test_scapy_reads_our_arp(sender: bytes, here: bytes, target: bytes, there: bytes, what: ArpOperation) -> None:
    layers = pytest.importorskip("scapy.layers.l2", reason=NO_SCAPY)
    arp = Arp(what, sender, here, target, there)
    read = layers.ARP(arp.encode())
    assert (read.op, bytes.fromhex(read.hwsrc.replace(":", "")), address(read.psrc)) == (what, sender, here)
    assert (bytes.fromhex(read.hwdst.replace(":", "")), address(read.pdst)) == (target, there)
    assert (
        parse_arp(bytes(layers.ARP(op=int(what), hwsrc=read.hwsrc, psrc=read.psrc, hwdst=read.hwdst, pdst=read.pdst)))
        == arp
    )


@given(v6, v6, macs, st.booleans(), st.booleans())
def test_neighbour_messages_there_and_back(
    source: bytes, target: bytes, mac: bytes, solicited: bool, override: bool
) -> None:
    scapy6 = pytest.importorskip("scapy.layers.inet6", reason=NO_SCAPY)
    group = solicited_node(target)
    asked = Solicitation(target, mac)
    body = asked.message().encode6(source, group)
    assert parse_solicitation(parse_icmp6(source, group, body)) == asked
    read = scapy6.IPv6(Ipv6(source, group, Proto.ICMPV6, body, 255).encode())
    assert address(read[scapy6.ICMPv6ND_NS].tgt) == target
    told = Advertisement(target, mac, solicited, override)
    body = told.message().encode6(target, source)
    assert parse_advertisement(parse_icmp6(target, source, body)) == told
    read = scapy6.IPv6(Ipv6(target, source, Proto.ICMPV6, body, 255).encode())
    advertised = read[scapy6.ICMPv6ND_NA]
    assert (address(advertised.tgt), advertised.S, advertised.O, advertised.R) == (target, solicited, override, 0)


@given(st.binary(max_size=120), st.sampled_from(list(EtherType)), st.integers(133, 137))
def test_nothing_that_comes_raises(payload: bytes, kind: EtherType, icmp: int) -> None:
    one = Station(ONE, 1)
    one.begin()
    one.later(1)
    one.take(payload)
    one.take(Ethernet(ONE, TWO, kind, payload).encode())
    body = Icmp(icmp, 0, 0, payload).encode6(V6_ANY, one.own6)
    one.take(Ethernet(ONE, TWO, EtherType.IPV6, Ipv6(V6_ANY, one.own6, Proto.ICMPV6, body, 255).encode()).encode())
