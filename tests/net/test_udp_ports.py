"""UDP ports: RFC 1122, 4.1, rule by rule, between two nodes joined in memory."""

import pytest

from bench.net.node import ErrorReport, Node, Sent
from bench.net.protocols import Proto, address
from bench.net.udp import UdpDatagram, build_udp
from bench.net.udp_ports import UdpBounds, UdpError, UdpPorts

HZ = 10**9
A, B, B2 = address("10.0.0.1"), address("10.0.0.2"), address("10.0.0.3")
A6, B6 = address("fd00::1"), address("fd00::2")


class Two:
    """Two nodes with UDP; packets arrive when ``carry`` is called."""

    def __init__(self, mtu: int = 576, bounds: UdpBounds | None = None) -> None:
        self.now = 0
        self.a, self.b = Node(HZ), Node(HZ)
        self.waiting: list[tuple[Node, bytes]] = []
        self.takes = True
        self.a.add_interface("a", mtu, lambda data: self._send(self.b, data))
        self.b.add_interface("b", mtu, lambda data: self._send(self.a, data))
        for node, four, six in ((self.a, A, A6), (self.b, B, B6)):
            node.assign(0, four, 24)
            node.assign(0, six, 64)
        self.b.assign(0, B2, 24)
        self.ua, self.ub = UdpPorts(self.a, bounds), UdpPorts(self.b, bounds)

    def _send(self, to: Node, data: bytes) -> bool:
        if not self.takes:
            return False
        self.waiting.append((to, data))
        return True

    def carry(self) -> None:
        while self.waiting:
            to, data = self.waiting.pop(0)
            to.receive(0, data, self.now)


@pytest.mark.parametrize(("here", "there"), [(A, B), (A6, B6)], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("size", [0, 1, 500, 1300, 9000])
def test_a_datagram_arrives_whole_and_unchanged(here: bytes, there: bytes, size: int) -> None:
    two = Two()
    server, client = two.ub.bind(7), two.ua.bind()
    payload = bytes(range(256)) * (size // 256) + bytes(size % 256)
    assert two.ua.send(client, there, 7, payload, 0) is Sent.YES
    two.carry()
    came = server.take()
    assert came is not None
    assert (came.source, came.source_port, came.destination, came.payload) == (here, client.port, there, payload)
    assert server.take() is None


def test_4_1_3_5_an_answer_comes_from_the_address_that_was_asked() -> None:
    two = Two()
    server, client = two.ub.bind(7), two.ua.bind(remote=(B2, 7))
    two.ua.send(client, B2, 7, b"?", 0)
    two.carry()
    asked = server.take()
    assert asked is not None
    two.ub.send(server, asked.source, asked.source_port, b"!", 0, source=asked.destination)
    two.carry()
    answer = client.take()
    assert answer is not None
    assert answer.source == B2


@pytest.mark.parametrize("there", [B, B6], ids=["ipv4", "ipv6"])
def test_4_1_3_1_a_port_nobody_has_is_told_and_4_1_3_3_the_sender_hears_of_it(there: bytes) -> None:
    two = Two()
    client, other = two.ua.bind(), two.ua.bind()
    told: list[ErrorReport] = []
    client.on_error = told.append
    other.on_error = lambda _report: pytest.fail("another port's error")
    two.ua.send(client, there, 9, b"nobody", 0)
    two.carry()
    assert [(each.hard, each.destination) for each in told] == [(True, there)]
    assert int.from_bytes(told[0].quoted[2:4], "big") == 9


def test_an_error_about_an_error_never_comes() -> None:
    two = Two()
    client = two.ua.bind()
    two.ua.send(client, B, 9, b"nobody", 0)
    two.ua.close(client)  # the port unreachable now finds nobody either
    two.carry()
    assert not two.waiting


def test_bounds_hold_and_what_is_dropped_is_counted() -> None:
    two = Two(bounds=UdpBounds(ports=2, datagrams=3, bytes=100))
    server, client = two.ub.bind(7), two.ua.bind()
    for _ in range(5):
        two.ua.send(client, B, 7, b"x", 0)
    two.carry()
    assert (len(server), server.dropped) == (3, 2)
    while server.take():
        pass
    for size in (60, 41, 101, 40):
        two.ua.send(client, B, 7, bytes(size), 0)
    two.carry()
    assert (len(server), server.waiting_bytes, server.dropped) == (2, 100, 4)
    two.ub.bind(8)
    with pytest.raises(UdpError, match="no memory"):
        two.ub.bind(9)


def test_ports_in_use_are_refused_and_the_closest_fit_is_chosen() -> None:
    two = Two()
    anyone, address_only, peer_only = two.ub.bind(7), two.ub.bind(7, address=B2), two.ub.bind(7, remote=(A, 5000))
    with pytest.raises(UdpError, match="in use"):
        two.ub.bind(7)
    with pytest.raises(UdpError, match="in use"):
        two.ub.bind(7, address=B2)
    ordinary, special = two.ua.bind(4000), two.ua.bind(5000)
    two.ua.send(ordinary, B, 7, b"1", 0)
    two.ua.send(ordinary, B2, 7, b"2", 0)
    two.ua.send(special, B, 7, b"3", 0)
    two.carry()
    assert [port.take().payload for port in (anyone, address_only, peer_only)] == [b"1", b"2", b"3"]  # type: ignore[union-attr]
    two.ub.close(anyone)
    two.ub.close(anyone)
    assert two.ub.bind(7).port == 7


def test_dynamic_ports_are_distinct_and_come_back() -> None:
    two = Two(bounds=UdpBounds(ports=20_000))
    ports = {two.ua.bind().port for _ in range(16_384)}
    assert len(ports) == 16_384
    assert min(ports) == 49_152
    with pytest.raises(UdpError, match="no dynamic port"):
        two.ua.bind()


def test_a_busy_link_is_told_and_so_is_that_it_has_room_again() -> None:
    two = Two()
    client, silent = two.ua.bind(), two.ua.bind()
    told: list[str] = []
    client.on_room = lambda: told.append("room")
    silent.on_room = lambda: told.append("nobody asked")
    two.takes = False
    assert two.ua.send(client, B, 7, b"x", 0) is Sent.BUSY
    two.takes = True
    two.ua.resume()
    two.ua.resume()
    assert told == ["room"]


def test_what_cannot_be_sent_says_so() -> None:
    two = Two()
    client = two.ua.bind()
    with pytest.raises(UdpError, match="at most 65507"):
        two.ua.send(client, B, 7, bytes(65_508), 0)
    with pytest.raises(UdpError, match="no port 0"):
        two.ua.send(client, B, 0, b"", 0)
    assert two.ua.send(client, address("192.0.2.1"), 7, b"", 0) is Sent.NO_ROUTE
    assert two.ua.send(client, B, 7, bytes(1000), 0, dont_fragment=True) is Sent.TOO_BIG
    with pytest.raises(UdpError, match="no port 65536"):
        two.ua.bind(65_536)


def test_a_damaged_datagram_is_dropped_without_an_answer() -> None:
    two = Two()
    two.ub.bind(7)
    body = bytearray(build_udp(A, B, UdpDatagram(1, 7, b"sound")))
    body[-1] ^= 1
    two.a.send(A, B, Proto.UDP, bytes(body), 0)
    two.carry()
    assert two.ub.malformed == 1
    assert not two.waiting
