"""The external support: a converter between octets and frames, its buffers, and the whole of the paper's figure 3 in virtual time."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.engine import VirtualEngine
from bench.hop.link import PollPlan
from bench.host.external_support import ExternalSupport, FrameBuffer
from bench.host.external_support_hop import SupportHost
from bench.host.ip_pool import AddressPool
from bench.host.ppp import FIRST4, OWN4, PREFIX6, PppOffer
from bench.host.ppp_line import SerialLine
from bench.net.icmp import Icmp
from bench.net.ppp.automaton import patience_on
from bench.net.ppp.hdlc import Deframer, encode_frame, split_frame
from bench.net.ppp.lcp import LcpWishes
from bench.net.ppp.link import Phase
from bench.net.ppp.packets import PppProtocol
from bench.observe import NullSink
from bench.rig.given import Given
from bench.rig.model import RigModel
from bench.rig.software import SoftwareChain

REQUEST = bytes.fromhex("c021 0101000a 0206 00000000")
ACK = bytes.fromhex("c021 0201000a 0206 00000000")


class Figure3:
    """A PPP program, a serial line, the external support, the hop, the card."""

    def __init__(self, baud: int = 115_200, bound: int = 8192, errors: float = 0.0, **given_: str) -> None:
        values = {"mtu": "1500", "ta1": "97", "stack": "ip", "addressing": "ppp", **given_}
        given = Given.model_validate(values)
        self.engine = VirtualEngine(
            RigModel.model_validate({"name": "x", "reader": {"kind": "software"}}).timebase(given)
        )
        poll = PollPlan(self.engine.timebase.nanoseconds(10**6), self.engine.timebase.nanoseconds(10**6))
        self.chain = SoftwareChain(self.engine, given, poll, False, NullSink())
        self.host = SupportHost(self.engine, self.chain.places[0].port, poll, NullSink(), given.mtu, bound)
        hz = self.engine.timebase.hz
        offer = PppOffer(
            patience_on(hz, hz * 10 // baud, 1506, beyond=hz), LcpWishes(accm=0), pool=AddressPool(FIRST4, 2)
        )
        self.line = SerialLine(self.engine, self.host.plug, offer, baud, errors=errors)
        self.replies: list[Icmp] = []
        self.end = self.line.end
        self.end.node.on_echo_reply = lambda _source, message, _now: self.replies.append(message)

    def wait(self, done: Callable[[], bool], seconds: float = 30) -> bool:
        return self.engine.wait(done, int(seconds * self.engine.timebase.hz))

    def up(self) -> bool:
        self.host.start()
        self.end.open()
        return self.wait(lambda: self.end.link.is_up(PppProtocol.IPCP))

    def ping(self, length: int, where: bytes = FIRST4, seconds: float = 30) -> bool:
        before = len(self.replies)
        header = 28 if len(where) == 4 else 48
        payload = bytes(each & 0xFF for each in range(length - header))
        self.end.node.ping(where, 1, before, payload, self.engine.now)
        return self.wait(lambda: len(self.replies) > before, seconds) and self.replies[-1].payload == payload


def test_a_program_reaches_the_card_through_the_converter() -> None:
    bench = Figure3()
    assert bench.up()
    assert bench.end.face.peers[PppProtocol.IPCP] == FIRST4
    assert bench.ping(84)
    assert bench.ping(1500)
    assert bench.ping(4000)
    assert bench.wait(lambda: bench.end.link.is_up(PppProtocol.IPV6CP))
    card = bench.chain.cards[0].ip
    assert card is not None
    assert bench.wait(lambda: len(card.addresses) == 3)  # IPv4, link-local, and the one of the prefix
    made = next(each for each in card.addresses if PREFIX6.holds(each))
    assert bench.ping(1280, made)
    support = bench.host.support
    assert (support.accm, support.short_address) == (0, True)
    assert support.to_line.fill(bench.engine.now).longest >= 1500
    assert support.to_card.fill(bench.engine.now).dropped == 0


@pytest.mark.parametrize("mru", ["68", "128", "296", "576", "1279", "1280", "1500"])
def test_every_mru_over_the_hop(mru: str) -> None:
    bench = Figure3(mru=mru)
    assert bench.up()
    assert bench.end.link.peer_mru == int(mru)
    for length in {28 + 8, int(mru), 1500}:
        assert bench.ping(length), length


def test_terminate_up_again_and_a_card_that_is_reset() -> None:
    bench = Figure3()
    assert bench.up()
    bench.end.close()
    assert bench.wait(lambda: bench.end.link.phase is Phase.DEAD)
    bench.end.open()
    assert bench.wait(lambda: bench.end.link.is_up(PppProtocol.IPCP))
    assert bench.ping(84)
    bench.host.link.restart(warm=False)
    assert bench.wait(lambda: not bench.end.link.is_up(PppProtocol.IPCP))
    assert bench.wait(lambda: bench.end.link.is_up(PppProtocol.IPCP))
    assert bench.ping(84)


def test_a_line_with_wrong_bits() -> None:
    """Damaged frames are dropped and counted; the link comes up all the same."""
    bench = Figure3(errors=0.002)
    assert bench.up()
    assert sum(bench.ping(84, seconds=2) for _ in range(20)) >= 10
    assert bench.host.support.fcs_errors + bench.end.link.fcs_errors > 0


def test_a_line_faster_than_the_hop_fills_the_buffer_and_drops() -> None:
    bench = Figure3(baud=1_000_000, bound=3000, ta1="11")
    assert bench.up()
    support = bench.host.support
    bench.wait(lambda: False, 5)  # IPV6CP and its advertisement
    support.to_card.measure(bench.engine.now)
    for sequence in range(20):
        bench.end.node.ping(FIRST4, 2, sequence, bytes(500), bench.engine.now)
    bench.wait(lambda: False, 20)
    fill = support.to_card.fill(bench.engine.now)
    assert 2500 < fill.longest <= 3000
    assert fill.dropped > 0
    assert fill.dropped + fill.frames == 20
    assert len(bench.replies) == fill.frames


def test_a_line_slower_than_the_hop_holds_the_card_back_and_nothing_is_lost() -> None:
    bench = Figure3(baud=2400, bound=3010, ta1="97")
    assert bench.up()
    support = bench.host.support
    link = bench.host.link
    before = support.to_line.fill(bench.engine.now).frames
    card = bench.chain.cards[0].ip
    assert card is not None
    for sequence in range(10):
        assert card.node.ping(OWN4, 2, sequence, bytes(600), bench.engine.now)
        bench.wait(lambda: False, 0.5)
    assert not support.room_for_frame(link.mtu)
    bench.wait(lambda: False, 60)
    fill = support.to_line.fill(bench.engine.now)
    assert fill.dropped == 0
    assert fill.longest <= 3010
    assert fill.frames - before >= 4


def test_the_card_agrees_to_what_the_converter_escapes() -> None:
    """RFC 1662, 6: the map holds from the card's Configure-Ack on, LCP itself is always escaped in full."""
    support = ExternalSupport(0)
    heard: list[bytes] = []
    deframer = Deframer(heard.append)
    support.octets(encode_frame(0xC021, REQUEST[2:], accm=0xFFFFFFFF, short_protocol=False, short_address=False), 0)
    assert support.take_frame(0) == REQUEST
    support.frame(ACK, 0)
    assert support.accm == 0
    octets = support.take_octets(0)
    deframer.feed(octets)
    assert not any(each < 0x20 for each in octets)
    support.frame(b"\x00\x21" + bytes(range(40)), 0)
    plain = support.take_octets(0)
    assert bytes(range(40)).replace(b"\x7d", b"") in plain
    deframer.expect(0)
    deframer.feed(plain)
    assert [split_frame(each)[1] for each in heard] == [ACK[2:], bytes(range(40))]
    support.octets(encode_frame(0xC021, REQUEST[2:], accm=0xFFFFFFFF, short_protocol=False, short_address=False), 0)
    assert support.accm == 0xFFFFFFFF, "a new negotiation begins with what always holds"


@given(st.lists(st.binary(min_size=1, max_size=60), max_size=6), st.integers(1, 20))
def test_frames_pass_both_ways_unchanged(informations: list[bytes], piece: int) -> None:
    support = ExternalSupport(0)
    line = b"".join(
        encode_frame(0x8021, each, accm=0xFFFFFFFF, short_protocol=False, short_address=False) for each in informations
    )
    for at in range(0, len(line), piece):
        support.octets(line[at : at + piece], 0)
    for each in informations:
        frame = support.take_frame(0)
        assert frame == b"\x80\x21" + each
        support.frame(frame, 0)
    assert support.take_frame(0) is None
    heard: list[bytes] = []
    deframer = Deframer(heard.append)
    while octets := support.take_octets(0):
        deframer.feed(octets)
    assert [split_frame(each) for each in heard] == [(0x8021, each) for each in informations]


@given(st.binary(max_size=400))
def test_whatever_comes_is_survived(data: bytes) -> None:
    support = ExternalSupport(0, bound=600)
    support.octets(data + b"\x7e", 0)
    support.frame(data, 0)
    while support.take_octets(0):
        pass
    assert support.to_card.bytes <= 600


def test_fill_is_a_mean_over_time() -> None:
    buffer = FrameBuffer(100, 0)
    assert buffer.put(bytes(60), 10)
    assert not buffer.put(bytes(60), 10)
    assert buffer.put(bytes(40), 20)
    assert buffer.take(40) == bytes(60)
    fill = buffer.fill(50)
    assert (fill.longest, fill.frames, fill.dropped, fill.mean) == (100, 2, 1, (60 * 10 + 100 * 20 + 40 * 10) / 50)
