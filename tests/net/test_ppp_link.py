"""Two PPP links against each other: HDLC and plain frames, every option, addresses given, loops, echoes, the end."""

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.net.ppp.automaton import Patience, State, patience_on
from bench.net.ppp.hdlc import Deframer, encode_frame, split_frame
from bench.net.ppp.lcp import LcpAgreed, LcpNegotiator, LcpOption, LcpWishes
from bench.net.ppp.link import Phase, PppLink, PppSettings
from bench.net.ppp.ncp import IpcpNegotiator, Ipv6cpNegotiator
from bench.net.ppp.packets import Code, ControlPacket, Option, PppProtocol, parse_control
from bench.net.protocols import V4_ANY, address

A, B = address("10.0.0.1"), address("10.0.0.2")
NUMBER = 1000


class Wires:
    """Two ends; what one sends the other gets."""

    def __init__(
        self, first: PppSettings, second: PppSettings, own: bytes = V4_ANY, give: bytes = B, lost: int = 0
    ) -> None:
        chance = random.Random(5)
        self.now = 0
        self.lost = lost
        self.waiting: list[tuple[PppLink, bytes]] = []
        self.got: list[list[bytes]] = [[], []]
        self.host = PppLink(
            first,
            lambda data: self._send(self.card, data),
            lambda: chance.getrandbits(64),
            IpcpNegotiator(A, give=give, dns=A),
            Ipv6cpNegotiator(b"\x02" + bytes(6) + b"\x01", draw=lambda: chance.randbytes(8)),
        )
        self.card = PppLink(
            second,
            lambda data: self._send(self.host, data),
            lambda: chance.getrandbits(64),
            IpcpNegotiator(own, wants_dns=True),
            Ipv6cpNegotiator(bytes(8), draw=lambda: chance.randbytes(8)),
        )
        self.host.on_datagram = lambda data, _now: self.got[0].append(data)
        self.card.on_datagram = lambda data, _now: self.got[1].append(data)

    def _send(self, to: PppLink, data: bytes) -> None:
        if self.lost:
            self.lost -= 1
        else:
            self.waiting.append((to, data))

    def run(self, until: int = 60_000) -> None:
        while True:
            if self.waiting:
                to, data = self.waiting.pop(0)
                to.receive(data, self.now)
                continue
            dues = [each for each in (self.host.due, self.card.due) if each is not None]
            if not dues or min(dues) > until:
                return
            self.now = max(self.now, min(dues))
            self.host.tick(self.now)
            self.card.tick(self.now)

    def open(self) -> None:
        self.host.open(0)
        self.card.open(0)
        self.run()


def setup(**options: object) -> PppSettings:
    return PppSettings(Patience(3 * NUMBER), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("hdlc", [True, False])
@pytest.mark.parametrize("lost", [0, 1, 2, 3])
def test_a_link_comes_up_gives_an_address_and_carries_datagrams(hdlc: bool, lost: int) -> None:
    wishes = LcpWishes(accm=0) if hdlc else LcpWishes()
    wires = Wires(setup(hdlc=hdlc, lcp=wishes), setup(hdlc=hdlc, lcp=replace(wishes, mru=1296)), lost=lost)
    wires.open()
    assert wires.host.phase is wires.card.phase is Phase.NETWORK
    assert wires.host.is_up(PppProtocol.IPCP)
    assert wires.card.is_up(PppProtocol.IPV6CP)
    assert wires.card.ipcp is not None
    assert (wires.card.ipcp.local, wires.card.ipcp.peer, wires.card.ipcp.server) == (B, A, A)
    assert wires.host.ipv6cp is not None
    assert wires.host.ipv6cp.peer not in (bytes(8), wires.host.ipv6cp.local)
    assert (wires.host.peer_mru, wires.card.peer_mru) == (1296, 1500)
    four, six = b"\x45" + bytes(range(255)), b"\x60" + bytes(range(255))
    assert wires.host.send_datagram(four)
    assert wires.card.send_datagram(six)
    assert not wires.host.send_datagram(b"\x45" + bytes(1296))
    wires.run()
    assert wires.got == [[six], [four]]


def test_termination_and_up_again() -> None:
    wires = Wires(setup(), setup())
    wires.open()
    wires.card.close(wires.now)
    wires.run()
    assert (wires.card.lcp.state, wires.host.lcp.state) == (State.CLOSED, State.STOPPED)
    assert not wires.host.is_up(PppProtocol.IPCP)
    assert wires.card.phase is Phase.DEAD
    wires.card.lcp.open(wires.now)
    wires.run(wires.now + 60_000)
    assert wires.card.is_up(PppProtocol.IPCP)


def test_a_static_address_is_kept_and_a_foreign_one_is_corrected() -> None:
    wires = Wires(setup(), setup(), own=B)
    wires.open()
    assert wires.host.ipcp is not None
    assert wires.host.ipcp.peer == B
    wires = Wires(setup(), setup(), own=address("192.0.2.1"))
    wires.open()
    assert wires.host.ipcp is not None
    assert wires.host.ipcp.peer == V4_ANY  # it insists, and so does the host: no address is agreed on
    assert wires.host.is_up(PppProtocol.IPV6CP)


def test_an_exhausted_pool_is_told() -> None:
    wires = Wires(setup(), setup(), give=V4_ANY)
    wires.open()
    assert wires.card.ipcp is not None
    assert wires.card.ipcp.local == V4_ANY
    assert wires.card.is_up(PppProtocol.IPV6CP)


def test_a_loop_is_found_by_the_magic_number() -> None:
    chance = random.Random(1)
    sent: list[bytes] = []
    link = PppLink(setup(), sent.append, lambda: chance.getrandbits(64))
    link.open(0)
    now = 0
    while link.phase is not Phase.DEAD and now < 200 * NUMBER:
        while sent:
            link.receive(sent.pop(0), now)
        now += NUMBER
        link.tick(now)
    assert link.looped
    assert now < 100 * NUMBER


def test_a_silent_peer_is_given_up_after_four_echoes() -> None:
    wires = Wires(setup(echo_every=10 * NUMBER), setup())
    wires.open()
    wires.run(wires.now + 100 * NUMBER)
    assert wires.host.echoes_answered == 16  # a minute and 100 s
    wires.lost = 10_000
    wires.run(wires.now + 60 * NUMBER)
    assert wires.host.phase is Phase.DEAD


def test_an_unknown_protocol_is_rejected_and_the_link_stays() -> None:
    wires = Wires(setup(hdlc=False), setup(hdlc=False))
    wires.open()
    wires.card.receive(bytes.fromhex("80fd 01010004"), wires.now)  # CCP
    assert wires.waiting[-1][1][:4] == bytes.fromhex("c021 08 01")
    wires.run()
    assert wires.card.is_up(PppProtocol.IPCP)


@pytest.mark.parametrize("hdlc", [True, False])
@pytest.mark.parametrize("mru", [*range(68, 1500, 113), 1279, 1280, 1499, 1500])
def test_every_mru(mru: int, hdlc: bool) -> None:
    """A card with a smaller buffer says so, and gets no more; the other way 1500 bytes go. IPv6 only where both ways take 1280."""
    wires = Wires(setup(hdlc=hdlc), setup(hdlc=hdlc, lcp=LcpWishes(mru=mru)))
    wires.open()
    assert (wires.host.peer_mru, wires.card.own_mru, wires.card.peer_mru) == (mru, mru, 1500)
    assert wires.card.is_up(PppProtocol.IPV6CP) is wires.host.is_up(PppProtocol.IPV6CP) is (mru >= 1280)
    down, up = b"\x45" + bytes(mru - 1), b"\x45" + b"\xff" * 1499
    assert wires.host.send_datagram(down)
    assert not wires.host.send_datagram(down + b"x")
    assert wires.card.send_datagram(up)
    wires.run()
    assert wires.got == [[up], [down]]


@pytest.mark.parametrize("takes", [296, 1500])
def test_1500_bytes_are_still_taken_unless_it_is_declared_that_they_are_not(takes: int) -> None:
    """RFC 1661, 6.1: the full 1500 octets "in case link synchronization is lost"."""
    wires = Wires(setup(), setup(lcp=LcpWishes(mru=296, takes=takes)))
    wires.open()
    whole = b"\x45" + bytes(1499)
    wires.host._frame(PppProtocol.IPV4, whole)
    wires.run()
    assert (wires.got[1] == [whole], wires.card.aborted) == ((True, 0) if takes == 1500 else (False, 1))


def test_a_side_that_cannot_take_what_the_peer_insists_on_says_so() -> None:
    """pppd takes no MRU below 128: it answers with a Nak of 128, which a card with 100 bytes cannot hold."""
    wires = Wires(setup(), setup(lcp=LcpWishes(mru=100, takes=100)))
    wires.host.lcp_options._take = _at_least_128(wires.host.lcp_options)  # type: ignore[method-assign, assignment]
    wires.open()
    assert wires.card.phase is Phase.DEAD
    assert wires.card.why == "the peer wants an MRU of 128, 100 bytes are all this side takes"


def _at_least_128(options: LcpNegotiator) -> Callable[[Option, LcpAgreed], Option | None]:
    take = options._take

    def taken(option: Option, agreed: LcpAgreed) -> Option | None:
        if option.kind == LcpOption.MRU and int.from_bytes(option.value, "big") < 128:
            return Option(option.kind, (128).to_bytes(2, "big"))
        return take(option, agreed)

    return taken


@pytest.mark.parametrize("hdlc", [True, False])
def test_what_the_peer_asked_for_holds_after_it_has_begun_again(hdlc: bool) -> None:
    """A Configure-Request in Opened begins a new negotiation; its own options are not forgotten over it."""
    wires = Wires(setup(hdlc=hdlc), setup(hdlc=hdlc, lcp=LcpWishes(mru=296)))
    wires.open()
    wires.card.line_down(wires.now)
    wires.card.open(wires.now)
    wires.run(wires.now + 60_000)
    assert (wires.host.peer_mru, wires.card.own_mru) == (296, 296)
    assert wires.host.is_up(PppProtocol.IPCP)
    assert wires.card.ipcp is not None
    assert wires.card.ipcp.local == B


@pytest.mark.parametrize("remembered", [True, False])
def test_a_card_with_memory_asks_for_the_address_it_had(remembered: bool) -> None:
    asked: list[bytes] = []
    wires = Wires(setup(hdlc=False), setup(hdlc=False))
    wires.open()
    assert wires.card.ipcp is not None
    send = wires.card.send

    def heard(data: bytes) -> None:
        asked.append(data)
        send(data)

    wires.card.send = heard
    wires.card.ipcp.remembered = wires.card.ipcp.local if remembered else V4_ANY
    wires.card.line_down(wires.now)
    wires.card.open(wires.now)
    wires.run(wires.now + 60_000)
    request = next(each for each in asked if each[:3] == bytes.fromhex("8021 01"))
    assert (B in request) is remembered
    assert wires.card.ipcp.local == B


def test_two_sides_of_one_address_do_not_come_up() -> None:
    wires = Wires(setup(), setup(), own=A, give=V4_ANY)
    wires.open()
    assert not wires.host.is_up(PppProtocol.IPCP) or not wires.card.is_up(PppProtocol.IPCP)
    assert any("address" in each for each in wires.host.reasons + wires.card.reasons)
    assert wires.host.ipcp is not None
    assert wires.host.ipcp.refused > 0


def test_both_sides_without_an_identifier_have_no_ipv6() -> None:
    """RFC 5072, 4.1: both zero is rejected, and IPV6CP stays down."""
    wires = Wires(setup(), setup())
    assert wires.host.ipv6cp is not None
    wires.host.ipv6cp.own = bytes(8)
    wires.open()
    assert not wires.card.is_up(PppProtocol.IPV6CP)
    assert wires.card.is_up(PppProtocol.IPCP)


def test_equal_identifiers_are_told_apart() -> None:
    wires = Wires(setup(), setup())
    assert wires.host.ipv6cp is not None
    assert wires.card.ipv6cp is not None
    wires.card.ipv6cp.own = wires.host.ipv6cp.own
    wires.open()
    assert wires.card.is_up(PppProtocol.IPV6CP)
    assert wires.card.ipv6cp.local not in (bytes(8), wires.host.ipv6cp.local)
    assert wires.card.ipv6cp.local == wires.host.ipv6cp.peer


def test_an_echo_longer_than_the_peer_takes_is_answered_in_part_and_well_formed() -> None:
    wires = Wires(setup(hdlc=False, lcp=LcpWishes(mru=100)), setup(hdlc=False))
    wires.open()
    wires.waiting.clear()
    wires.card.receive(bytes.fromhex("c021 0907") + (404).to_bytes(2, "big") + bytes(400), wires.now)
    ((_, answer),) = wires.waiting
    assert len(answer) == 2 + 100
    assert parse_control(answer[2:]).code == Code.ECHO_REPLY


def test_control_characters_put_in_on_the_way_are_dropped() -> None:
    found: list[bytes] = []
    deframer = Deframer(found.append)
    frame = encode_frame(0xC021, b"\x01\x01\x00\x04", accm=0xFFFFFFFF, short_protocol=False, short_address=False)
    spoilt = frame[:5] + b"\x11" + frame[5:9] + b"\x13" + frame[9:]
    deframer.feed(spoilt)
    assert [split_frame(each) for each in found] == [(0xC021, b"\x01\x01\x00\x04")]
    deframer.expect(0)
    deframer.feed(spoilt)
    assert deframer.fcs_errors == 1


def test_a_peer_that_is_never_content_is_given_up() -> None:
    """Naks and Rejects for ever: 30 rounds, then the negotiation is over and says why."""
    sent: list[bytes] = []
    link = PppLink(setup(hdlc=False), sent.append, lambda: 77)
    link.open(0)
    while sent and link.phase is not Phase.DEAD:
        request = parse_control(sent.pop()[2:])
        nak = ControlPacket(
            Code.CONFIGURE_NAK, request.identifier, bytes((1, 4)) + bytes(random.Random(len(sent)).randbytes(2))
        )
        link.receive(b"\xc0\x21" + nak.encode(), 0)
    assert link.lcp.state is State.STOPPED
    assert link.reasons == ("LCP: no agreement after 30 rounds",)


@pytest.mark.parametrize(("baud", "seconds"), [(9600, 6.6), (115_200, 0.64), (625_000, 0.2)])
def test_timers_are_scaled_to_the_line(baud: int, seconds: float) -> None:
    hz = 9600 * 125
    octet = hz * 10 // baud
    assert patience_on(hz, octet, 1506).restart / hz == pytest.approx(seconds, rel=0.1)


class Noise(Wires):
    """Frames are lost, doubled and damaged for a while; then the line is good."""

    def __init__(self, seed: int, rate: float, frames: int, hdlc: bool) -> None:
        self.chance = random.Random(seed)
        self.rate = rate
        self.left = frames
        host = setup(hdlc=hdlc, echo_every=20 * NUMBER)
        super().__init__(host, setup(hdlc=hdlc, echo_every=20 * NUMBER, lcp=LcpWishes(mru=1400)))

    def _send(self, to: PppLink, data: bytes) -> None:
        self.left -= 1
        if self.left < 0 or self.chance.random() > self.rate:
            self.waiting.append((to, data))
            return
        match self.chance.randrange(3):
            case 0:
                pass
            case 1:
                self.waiting += [(to, data)] * 2
            case 2:
                at = self.chance.randrange(len(data))
                self.waiting.append(
                    (to, data[:at] + bytes((data[at] ^ 1 << self.chance.randrange(8),)) + data[at + 1 :])
                )


@settings(max_examples=120, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0.1, 0.3, 0.6, 1.0]), st.integers(1, 120))
def test_over_a_line_that_loses_doubles_and_damages_both_ends_come_up_or_say_why(
    seed: int, rate: float, frames: int
) -> None:
    wires = Noise(seed, rate, frames, hdlc=True)
    wires.host.open(0)
    wires.card.open(0)
    wires.run(400 * NUMBER)
    if not all(end.is_up(each) for end in (wires.host, wires.card) for each in end.networks):
        assert wires.host.reasons or wires.card.reasons
        wires.host.open(wires.now)
        wires.card.open(wires.now)
        wires.left = 0
        wires.run(wires.now + 400 * NUMBER)
    assert wires.host.is_up(PppProtocol.IPCP)
    assert wires.card.is_up(PppProtocol.IPCP)
    assert wires.host.is_up(PppProtocol.IPV6CP)
    assert wires.card.is_up(PppProtocol.IPV6CP)
    assert wires.card.own_mru == wires.host.peer_mru == 1400
    wires.got, wires.left = [[], []], 0
    assert wires.host.send_datagram(b"\x45and on")
    wires.run(wires.now)
    assert wires.got[1] == [b"\x45and on"]


@pytest.mark.parametrize(
    ("protocol", "information", "frame"),
    [
        (0xC021, "01010004", "7e ff 7d 23 c0 21 7d 21 7d 21 7d 20 7d 24 d1 b5 7e"),
        (0xC021, "01010008 01040500", "7e ff 7d 23 c0 21 7d 21 7d 21 7d 20 7d 28 7d 21 7d 24 7d 25 7d 20 b0 dd 7e"),
        (
            0x8021,
            "0101000a 030600000000",
            "7e ff 7d 23 80 21 7d 21 7d 21 7d 20 7d 2a 7d 23 7d 26 7d 20 7d 20 7d 20 7d 20 7d 33 28 7e",
        ),
    ],
)
def test_vectors(protocol: int, information: str, frame: str) -> None:
    data = bytes.fromhex(information)
    wanted = bytes.fromhex(frame)
    assert encode_frame(protocol, data, accm=0xFFFFFFFF, short_protocol=False, short_address=False) == wanted
    found: list[bytes] = []
    Deframer(found.append).feed(wanted)
    assert [split_frame(each) for each in found] == [(protocol, data)]


@given(
    st.lists(st.binary(min_size=1, max_size=80), min_size=1, max_size=4),
    st.integers(0, 2**32 - 1),
    st.booleans(),
    st.integers(1, 9),
    st.sampled_from([0x21, 0x57, 0x8021, 0xC021]),
)
def test_frames_come_back_in_pieces_of_any_size(
    informations: list[bytes], accm: int, short: bool, piece: int, protocol: int
) -> None:
    line = b"".join(
        encode_frame(protocol, each, accm=accm, short_protocol=short, short_address=short) for each in informations
    )
    found: list[bytes] = []
    deframer = Deframer(found.append)
    deframer.expect(accm)
    for at in range(0, len(line), piece):
        deframer.feed(line[at : at + piece])
    assert [split_frame(each) for each in found] == [(protocol, each) for each in informations]
    assert (deframer.fcs_errors, deframer.aborted) == (0, 0)


@given(st.binary(max_size=300))
def test_whatever_comes_a_link_goes_on(data: bytes) -> None:
    wires = Wires(setup(), setup())
    wires.open()
    wires.card.receive(data + b"\x7e", wires.now)
    wires.run(wires.now + 60 * NUMBER)
    if wires.card.is_up(PppProtocol.IPCP) and wires.host.is_up(PppProtocol.IPCP):
        assert wires.host.send_datagram(b"\x45still here")
        wires.run(wires.now + 60 * NUMBER)
        assert wires.got[1][-1] == b"\x45still here"


def test_a_line_without_flags_does_not_fill_the_memory() -> None:
    deframer = Deframer(lambda _frame: None)
    for _ in range(1000):
        deframer.feed(bytes(1000).replace(b"\x00", b"a"))
    assert len(deframer._held) <= 4000
    deframer.feed(b"\x7e")
    assert deframer.aborted == 1
