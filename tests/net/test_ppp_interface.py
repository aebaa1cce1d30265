"""A node's interface on a PPP link: addresses and routes come and go with it, and a prefix is told and learnt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.engine import Timebase, VirtualEngine
from bench.host.ip_pool import AddressPool
from bench.host.ppp import FIRST4, OWN4, PREFIX6, PppEnd, PppOffer
from bench.net.icmp import Icmp
from bench.net.node import Node
from bench.net.ppp.advertise import advertised, advertisement, is_solicitation, link_local, solicitation
from bench.net.ppp.automaton import Patience
from bench.net.ppp.interface import PppInterface
from bench.net.ppp.lcp import LcpWishes
from bench.net.ppp.link import PppLink, PppSettings
from bench.net.ppp.ncp import IpcpNegotiator, Ipv6cpNegotiator
from bench.net.ppp.packets import PppProtocol
from bench.net.routes import Prefix

SOURCE = link_local(bytes(7) + b"\x09")


class Pair:
    """The host's end, and a node that has its default route over the link."""

    def __init__(self, pool: AddressPool | None, mru: int = 1500) -> None:
        self.engine = VirtualEngine(Timebase.for_clocks(3_571_200))
        hz = self.engine.timebase.hz
        self.host = PppEnd(self.engine, PppOffer(Patience(hz), pool=pool), self._to_card, hdlc=False, seed=1)
        self.node = Node(hz)
        self.link = PppLink(
            PppSettings(Patience(hz), LcpWishes(mru=mru), hdlc=False),
            lambda frame: self._soon(lambda: self.host.receive(frame)),
            lambda: 4,
            IpcpNegotiator(),
            Ipv6cpNegotiator(bytes(8), draw=lambda: bytes(7) + b"\x07"),
        )
        self.face = PppInterface(self.link, self.node, self.link.send_datagram, self.node.unassign)
        self.link.open(0)
        self.host.open()
        self.run()

    def _soon(self, action: object) -> None:
        self.engine.after(1, action)  # type: ignore[arg-type]

    def _to_card(self, frame: bytes) -> None:
        self._soon(lambda: self.link.receive(frame, self.engine.now))

    def run(self) -> None:
        self.engine.run(self.engine.now + self.engine.timebase.hz // 2)


def test_addresses_and_routes_come_and_go_with_the_link() -> None:
    pair = Pair(AddressPool(FIRST4, 1))
    assert FIRST4 in pair.node.own
    assert pair.face.peers[PppProtocol.IPCP] == OWN4
    (made,) = [each for each in pair.node.own if PREFIX6.holds(each)]
    answers: list[bytes] = []
    pair.node.on_echo_reply = lambda source, message, _now: answers.append(source + message.payload)
    outside = PREFIX6.address[:8] + bytes(7) + b"\x01"
    pair.node.ping(OWN4, 1, 1, b"four", pair.engine.now)
    pair.node.ping(outside, 1, 2, b"six", pair.engine.now)
    pair.host.node.on_echo_reply = lambda source, message, _now: answers.append(source + message.payload)
    pair.host.node.ping(made, 1, 3, b"back", pair.engine.now)
    pair.run()
    assert sorted(answers) == sorted([OWN4 + b"four", outside + b"six", made + b"back"])
    pair.host.close()
    pair.run()
    assert pair.node.own == {}
    assert list(pair.node.routes) == []
    assert not pair.face.interface.up
    assert pair.host.node.own == {}
    pair.host.lost()
    assert pair.host.offer.pool is not None
    assert pair.host.offer.pool.free == 1


def test_an_interface_sends_no_more_than_either_side_takes() -> None:
    assert Pair(AddressPool(FIRST4, 1), mru=296).face.interface.mtu == 296


@pytest.mark.parametrize("pool", [None, "held"])
def test_without_an_address_left_ipv4_stays_down_and_ipv6_works(pool: str | None) -> None:
    held = None
    if pool is not None:
        held = AddressPool(FIRST4, 1)
        held.take(b"another")
    pair = Pair(held)
    assert not pair.link.is_up(PppProtocol.IPCP)
    assert not pair.host.link.is_up(PppProtocol.IPCP)
    assert pair.host.ipcp.refused > 0
    assert any("address" in each for each in (*pair.link.reasons, *pair.host.link.reasons))
    assert pair.link.is_up(PppProtocol.IPV6CP)
    assert all(len(each) == 16 for each in pair.node.own)


def test_the_same_card_is_given_the_same_address_again() -> None:
    pool = AddressPool(FIRST4, 4)
    pool.take(b"another")
    pair = Pair(pool)
    first = pair.face.peers, [each for each in pair.node.own if len(each) == 4]
    pair.host.lost()
    pair.host.open()
    pair.run()
    assert [each for each in pair.node.own if len(each) == 4] == first[1]


def test_a_prefix_comes_back_from_its_advertisement() -> None:
    packet = advertisement(SOURCE, PREFIX6)
    assert advertised(packet) == PREFIX6
    assert not is_solicitation(packet)
    assert is_solicitation(solicitation(SOURCE))
    with pytest.raises(ValueError, match="64 bits"):
        advertisement(SOURCE, Prefix.parse("fd78::/48"))


@pytest.mark.parametrize(
    ("at", "to", "why"),
    [
        (7, 64, "was forwarded"),
        (40, 133, "is another message"),
        (42, 0, "has a wrong checksum"),
        (8, 0x20, "has a source that is not of the link"),
    ],
)
def test_an_advertisement_that_cannot_be_believed_is_not(at: int, to: int, why: str) -> None:
    packet = bytearray(advertisement(SOURCE, PREFIX6))
    packet[at] = to
    assert advertised(bytes(packet)) is None, why


@given(st.binary(max_size=60), st.integers(0, 255))
def test_whatever_an_advertisement_holds(options: bytes, at: int) -> None:
    body = Icmp(134, 0, 0, bytes(8) + options).encode6(SOURCE, bytes.fromhex("ff020000000000000000000000000001"))
    packet = bytearray(advertisement(SOURCE, PREFIX6)[:40] + body)
    packet[4:6] = len(body).to_bytes(2, "big")
    found = advertised(bytes(packet))
    assert found is None or found.length == 64
    advertised(bytes(packet[:at]))
