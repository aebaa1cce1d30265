"""Two PPP links against each other: HDLC and plain frames, every option, addresses given, loops, echoes, the end."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.net.ppp.automaton import Patience, State
from bench.net.ppp.hdlc import Deframer, encode_frame, split_frame
from bench.net.ppp.lcp import LcpWishes
from bench.net.ppp.link import Phase, PppLink, PppSettings
from bench.net.ppp.ncp import IpcpNegotiator, Ipv6cpNegotiator
from bench.net.ppp.packets import PppProtocol
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
    wires = Wires(setup(hdlc=hdlc, lcp=wishes), setup(hdlc=hdlc, lcp=replace(wishes, mru=296)), lost=lost)
    wires.open()
    assert wires.host.phase is wires.card.phase is Phase.NETWORK
    assert wires.host.is_up(PppProtocol.IPCP)
    assert wires.card.is_up(PppProtocol.IPV6CP)
    assert wires.card.ipcp is not None
    assert (wires.card.ipcp.local, wires.card.ipcp.peer, wires.card.ipcp.server) == (B, A, A)
    assert wires.host.ipv6cp is not None
    assert wires.host.ipv6cp.peer not in (bytes(8), wires.host.ipv6cp.local)
    assert (wires.host.peer_mru, wires.card.peer_mru) == (296, 1500)
    four, six = b"\x45" + bytes(range(255)), b"\x60" + bytes(range(255))
    assert wires.host.send_datagram(four)
    assert wires.card.send_datagram(six)
    assert not wires.host.send_datagram(b"\x45" + bytes(296))
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
    assert wires.host.phase is Phase.NETWORK
    wires._send = lambda _to, _data: None  # type: ignore[method-assign]
    wires.host.send = lambda _data: None
    wires.run(wires.now + 60 * NUMBER)
    assert wires.host.phase is Phase.DEAD


def test_an_unknown_protocol_is_rejected_and_the_link_stays() -> None:
    wires = Wires(setup(hdlc=False), setup(hdlc=False))
    wires.open()
    wires.card.receive(bytes.fromhex("80fd 01010004"), wires.now)  # CCP
    assert wires.waiting[-1][1][:4] == bytes.fromhex("c021 08 01")
    wires.run()
    assert wires.card.is_up(PppProtocol.IPCP)


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
