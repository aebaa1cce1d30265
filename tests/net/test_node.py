"""A node as host and as router: what it answers, what it hands on, what it tells whom."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.net.icmp import Icmp, parse_icmp4, parse_icmp6
from bench.net.ipv4 import Ipv4, parse_ipv4
from bench.net.ipv6 import Ipv6, parse_ipv6
from bench.net.node import Event, Node, Sent
from bench.net.protocols import Proto, address
from bench.net.routes import Prefix, Route

HZ = 10**9


class Line:
    """Nodes in a row: 10.0.0.1 and fd00::1 (the host), .2, .3, ... each reachable by a host route; packets wait until ``run``."""

    def __init__(self, count: int, mtu: int = 1280) -> None:
        self.nodes = [Node(HZ, forwarding=True) for _ in range(count)]
        self.now = 0
        self.waiting: list[Callable[[], None]] = []
        self.seen: list[bytes] = []
        self.replies: list[tuple[bytes, bytes]] = []
        for index, node in enumerate(self.nodes):
            node.on_echo_reply = lambda source, message, _now: self.replies.append((source, message.payload))
            if index:
                node.add_interface("inward", mtu, self._wire(index, index - 1))
            if index < count - 1:
                node.add_interface("outward", mtu, self._wire(index, index + 1))
            for own in (v4(index), v6(index)):
                node.assign(0, own)
            for other in range(count):
                if other != index:
                    out = 0 if other < index or index == 0 else 1
                    for far in (v4(other), v6(other)):
                        node.routes.add(Route(Prefix(far, len(far) * 8), out))

    def _wire(self, here: int, there: int) -> Callable[[bytes], bool]:
        number = 0 if there == 0 or there > here else 1

        def send(data: bytes) -> bool:
            self.seen.append(data)
            self.waiting.append(lambda: self.nodes[there].receive(number, data, self.now))
            return True

        return send

    def run(self) -> None:
        for _ in range(10_000):
            if not self.waiting:
                return
            self.waiting.pop(0)()
        raise AssertionError("packets go round")


def v4(index: int) -> bytes:
    return address(f"10.0.0.{index + 1}")


def v6(index: int) -> bytes:
    return address(f"fd00::{index + 1}")


@pytest.mark.parametrize("ip", [v4, v6])
@pytest.mark.parametrize("mtu", [68, 128, 576, 1280])
@pytest.mark.parametrize("size", [0, 1, 500, 4000])
def test_a_ping_of_any_size_comes_back_through_routers(ip: Callable[[int], bytes], mtu: int, size: int) -> None:
    line = Line(4, mtu)
    payload = bytes(index % 251 for index in range(size))
    assert line.nodes[0].ping(ip(3), 7, 1, payload, 0) is Sent.YES
    line.run()
    assert line.replies == [(ip(3), payload)]
    assert max(map(len, line.seen)) <= mtu


@pytest.mark.parametrize("ip", [v4, v6])
def test_the_hop_limit_is_counted_down_and_its_end_is_told(ip: Callable[[int], bytes]) -> None:
    line = Line(4)
    told: list[str] = []
    line.nodes[0].error_handlers[Proto.UDP] = lambda report, _now: told.append(report.reason)
    for limit in (1, 2, 3):
        line.nodes[0].send(ip(0), ip(3), Proto.UDP, bytes(8), 0, hop_limit=limit)
        line.run()
    expected = "ICMP type 11 code 0" if ip is v4 else "ICMP type 3 code 0"
    gone = "ICMP type 3 code 2" if ip is v4 else "ICMP type 4 code 1"  # arrived, and nobody speaks UDP there
    assert told == [expected, expected, gone]
    assert [node.events[Event.HOP_LIMIT] for node in line.nodes] == [0, 1, 1, 0]


@pytest.mark.parametrize("ip", [v4, v6])
def test_no_route_is_told_and_a_loop_is_refused(ip: Callable[[int], bytes]) -> None:
    line = Line(3)
    nowhere = address("192.0.2.1") if ip is v4 else address("2001:db8::1")
    default = Prefix(bytes(len(nowhere)), 0)
    line.nodes[0].routes.add(Route(default, 0))
    told: list[str] = []
    line.nodes[0].error_handlers[Proto.UDP] = lambda report, _now: told.append(report.reason)
    line.nodes[0].send(ip(0), nowhere, Proto.UDP, b"", 0)
    line.run()
    line.nodes[1].routes.add(Route(default, 0))  # back to where it came from
    line.nodes[0].send(ip(0), nowhere, Proto.UDP, b"", HZ)
    line.run()
    assert told == (
        ["ICMP type 3 code 0", "ICMP type 3 code 1"] if ip is v4 else ["ICMP type 1 code 0", "ICMP type 1 code 3"]
    )
    assert (line.nodes[1].events[Event.NO_ROUTE], line.nodes[1].events[Event.BACK_WHENCE]) == (1, 1)


@pytest.mark.parametrize("ip", [v4, v6])
def test_a_spoofed_source_is_dropped_in_silence(ip: Callable[[int], bytes]) -> None:
    line = Line(3)
    stranger = address("192.0.2.9") if ip is v4 else address("2001:db8::9")
    for source in (stranger, ip(2), ip(1)):  # unknown, from the other side, the node's own
        line.nodes[1].receive(0, raw(source, ip(2), Proto.UDP, b""), 0)
    line.run()
    assert line.seen == []
    assert line.nodes[1].events[Event.SPOOFED] == 3


def raw(source: bytes, destination: bytes, protocol: int, payload: bytes) -> bytes:
    if len(source) == 4:
        return Ipv4(source, destination, protocol, payload).encode()
    return Ipv6(source, destination, protocol, payload).encode()


def test_the_path_mtu_is_learnt_in_both_versions() -> None:
    line = Line(3, 1280)
    line.nodes[1].interfaces[1].mtu = 576
    for ip, size in ((v4, 20), (v6, 40)):
        line.nodes[0].send(ip(0), ip(2), 253, bytes(1000), 0, dont_fragment=True)
        line.run()
        assert line.nodes[0].path_mtu(ip(2), 0) == 576
        assert line.nodes[0].send(ip(0), ip(2), 253, bytes(577 - size), 0, dont_fragment=True) is Sent.TOO_BIG
        assert line.nodes[0].path_mtu(ip(2), 601 * HZ) == 1280


def test_fragments_that_stay_alone_are_told_after_a_minute() -> None:
    line = Line(2)
    line.nodes[1].receive(0, Ipv4(v4(0), v4(1), 253, bytes(16), identification=1, more_fragments=True).encode(), 0)
    due = line.nodes[1].deadline
    assert due == 60 * HZ
    line.nodes[1].tick(due)
    told = parse_icmp4(parse_ipv4(line.seen[-1]).payload)
    assert (told.kind, told.code, line.nodes[1].deadline) == (11, 1, None)


def test_no_error_about_an_error_a_group_or_a_later_fragment() -> None:
    line = Line(2)
    node = line.nodes[1]
    error = Icmp(3, 0, 0, raw(v4(1), v4(0), 17, b"")).encode4()
    node.receive(0, Ipv4(v4(0), v4(1), Proto.ICMP, error, ttl=1).encode(), 0)
    node.receive(0, Ipv4(v4(0), address("224.0.0.1"), 253, b"x").encode(), 0)
    node.receive(0, Ipv4(v4(0), address("192.0.2.1"), 253, b"12345678", offset=8).encode(), 0)
    node.receive(0, Ipv4(bytes(4), v4(1), 253, b"x").encode(), 0)
    assert line.seen == []


def test_errors_are_rationed() -> None:
    line = Line(2)
    for _ in range(50):
        line.nodes[1].receive(0, raw(v4(0), v4(1), 253, b"x"), 0)
    assert len(line.seen) == 10
    line.nodes[1].receive(0, raw(v4(0), v4(1), 253, b"x"), HZ)
    assert len(line.seen) == 11


def test_options_of_ipv6_do_as_their_type_says() -> None:
    line = Line(2)
    answers = []
    for kind in (0x1E, 0x5E, 0x9E, 0xDE):
        line.seen.clear()
        echo = Icmp(128, 0, 0, b"hello").encode6(v6(0), v6(1))
        header = bytes((Proto.ICMPV6, 0, kind, 4)) + bytes(4)
        line.nodes[1].receive(0, raw(v6(0), v6(1), Proto.DESTINATION_OPTIONS, header + echo), 0)
        messages = [parse_icmp6(v6(1), v6(0), parse_ipv6(data).payload) for data in line.seen]
        answers.append([(message.kind, message.code, message.rest) for message in messages])
    assert answers == [[(129, 0, 0)], [], [(4, 2, 42)], [(4, 2, 42)]]


@pytest.mark.parametrize("to", ["127.0.0.1", "::1", "10.0.0.1", "fd00::1"])
def test_loop_back_never_leaves_the_node(to: str) -> None:
    line = Line(2)
    assert line.nodes[0].ping(address(to), 1, 1, b"me", 0) is Sent.YES
    assert (line.replies, line.seen) == ([(address(to), b"me")], [])
    line.nodes[1].receive(0, raw(v4(0), address("127.0.0.1"), Proto.UDP, b""), 0)
    assert line.nodes[1].events[Event.SPOOFED] == 1


@given(st.binary(max_size=200), st.sampled_from([b"", b"\x45", b"\x60"]))
def test_whatever_comes_a_node_goes_on(data: bytes, first: bytes) -> None:
    line = Line(2)
    line.nodes[1].receive(0, first + data, 0)
    line.nodes[0].ping(v4(1), 1, 1, b"", 0)
    line.run()
    assert line.replies == [(v4(1), b"")]
