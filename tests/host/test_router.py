"""The host as a router between the chain and an uplink: what it lets through, what it tells, what it refuses; and the line to the network."""

import pytest

from bench.card.applications.echo import echo
from bench.card.ip_profile import Addressing, IpProfile
from bench.engine import Timebase, VirtualEngine
from bench.host.ip_pool import AddressPool
from bench.host.router import RouterSettings
from bench.host.uplink_line import LineSettings, UplinkLine
from bench.net.chain_control import Refusal
from bench.net.connection import Reason
from bench.net.ipv4 import Ipv4
from bench.net.ipv6 import Ipv6
from bench.net.node import Event
from bench.net.protocols import Proto, address
from bench.net.segment import SYN, Segment, build_segment
from bench.observe import ListSink, NullSink, Packet
from tests.ip_support import IpChain, cards, ip_profile

ECHO = ("echo", echo)
HZ = 10**9


def udp(source: str, destination: bytes, ttl: int = 64) -> bytes:
    return Ipv4(address(source), destination, Proto.UDP, bytes(8), ttl).encode()


@pytest.mark.parametrize("version", [4, 6])
def test_the_host_the_outside_and_the_cards_reach_each_other(version: int) -> None:
    net = IpChain(*cards(2, ECHO)).start_all()
    outside = next(each for each in net.peer.addresses if len(each) == {4: 4, 6: 16}[version])
    for node in (net.router.node, net.peer.node, net.ip(1).node, net.ip(2).node):
        for to in (net.address(0, version), net.address(1, version), net.address(2, version), outside):
            assert net.ping(node, to, 700) == "reply"


def test_spoofed_sources_are_dropped_on_either_side() -> None:
    net = IpChain(*cards(1, ECHO)).start_all()
    card = net.address(1)
    for source in (
        "10.78.16.2",
        "10.78.16.1",
        "10.78.16.77",
        "192.0.2.254",
        "127.0.0.1",
        "224.0.0.1",
        "255.255.255.255",
    ):
        net.line.enter(udp(source, card))
    net.let(1)
    assert net.router.counted(Event.SPOOFED) == 7
    out = net.ip(1)
    for source in ("192.0.2.9", "10.78.16.9"):
        out.node.send(address(source), net.peer.addresses[0], Proto.UDP, bytes(8), net.engine.now)
    net.let(1)
    assert net.router.counted(Event.SPOOFED) == 9
    assert net.router.counted(Event.FORWARDED) == 0
    assert net.ip(1).counted(Event.DELIVERED) == 0


@pytest.mark.parametrize("where", ["10.78.16.99", "10.78.31.255", "10.78.16.0"])
def test_what_lies_in_our_own_prefix_never_goes_out_to_come_back(where: str) -> None:
    net = IpChain(*cards(2, ECHO)).start_all()
    assert net.ping(net.peer.node, address(where)).startswith("ICMP type 3")
    assert net.ping(net.ip(1).node, address(where)).startswith("ICMP type 3")
    assert net.ping(net.router.node, address(where)) == "silence"
    assert net.outside.nowhere == 0


def test_the_router_takes_one_off_the_hop_limit_and_tells_where_it_is_used_up() -> None:
    net = IpChain(*cards(2, ECHO)).start_all()
    assert net.ping(net.peer.node, net.address(1), hop_limit=1) == "ICMP type 11 code 0"
    assert net.ping(net.peer.node, net.address(1), hop_limit=2) == "reply"
    assert net.ping(net.peer.node, net.address(0), hop_limit=1) == "reply"


def test_a_path_that_narrows_is_told_and_found_out() -> None:
    net = IpChain(*cards(1), mtu=300).start_all()
    for version, size in ((4, 4000), (6, 4000)):
        assert net.ping(net.peer.node, net.address(1, version), size) == "reply"
    user = net.connect(net.address(1, 6), 7)
    net.echo_over(user, bytes(5000))
    assert user.connection is not None
    assert user.connection.mss == 300 - 60


def test_nothing_is_routed_while_the_first_hop_is_down() -> None:
    net = IpChain(*cards(2, ECHO), poll_ms=5).start_all()
    net.remove(1)
    net.wait(lambda: not net.router.cards)
    for version in (4, 6):
        assert net.ping(net.peer.node, net.address(1, version)).startswith("ICMP type")
        assert net.router.route_to(net.address(2, version)) is None
    net.insert(1)
    net.wait_addresses()
    assert net.ping(net.peer.node, net.address(2)) == "reply"


def test_a_connection_to_a_card_that_went_is_reset_in_its_place_over_either_version() -> None:
    net = IpChain(*cards(1, ECHO), poll_ms=5).start_all()
    users = [net.connect(net.address(1, version), 7) for version in (4, 6)]
    net.remove(1)
    net.wait(lambda: not net.router.cards)
    for user in users:
        user.write(b"?")
    net.wait(lambda: all(user.reason is Reason.RESET for user in users))
    late = net.connect(net.address(1), 7, opens=False)
    assert late.reason is Reason.REFUSED
    assert net.ping(net.peer.node, net.address(1)).startswith("ICMP type 3")


def test_nonsense_to_an_address_that_went_is_not_answered_with_resets() -> None:
    net = IpChain(*cards(1, ECHO), poll_ms=5).start_all()
    gone = net.address(1)
    net.remove(1)
    net.wait(lambda: not net.router.cards)
    source = net.peer.addresses[0]
    segment = build_segment(source, gone, Segment(1, 2, 3, 0, SYN, 100))
    sound = Ipv4(source, gone, Proto.TCP, segment, 64).encode()
    for packet in (
        sound[:30],
        sound[:-1] + b"\xff",
        Ipv4(source, gone, Proto.TCP, segment[:10], 64).encode(),
        Ipv4(source, gone, Proto.TCP, segment, 64, 1, more_fragments=True).encode(),
        Ipv6(address("2001:db8::1"), net.address(1, 6), Proto.TCP, bytes(20), 64).encode(),
    ):
        net.line.enter(packet)
    net.let(1)
    assert net.router.resets == 0
    net.line.enter(sound)
    net.let(1)
    assert net.router.resets == 1


# -- pools -------------------------------------------------------------------------------------------------------------


def pools(size: int) -> RouterSettings:
    return RouterSettings(pools=(AddressPool(address("10.78.48.1"), size), AddressPool(address("fd78:18::1"), size)))


def test_a_pool_serves_in_order_tells_when_it_is_exhausted_and_remembers() -> None:
    profile = ip_profile(ECHO, ip=IpProfile(addressing=Addressing.POOL))
    net = IpChain(profile, profile, profile, settings=pools(2), poll_ms=5)
    net.host.start()
    net.wait_addresses(2)
    net.wait(lambda: len(net.ip(3).refusals) == 2)
    assert net.ip(1).addresses == (address("10.78.48.1"), address("fd78:18::1"))
    assert net.ip(2).addresses == (address("10.78.48.2"), address("fd78:18::2"))
    assert net.ip(3).addresses == ()
    assert {each.reason for each in net.ip(3).refusals} == {Refusal.EXHAUSTED}
    net.remove(2)
    net.wait(lambda: list(net.router.cards) == [1])
    net.insert(2)
    net.wait_addresses(2)
    net.wait(lambda: len(net.ip(3).refusals) == 2)
    assert net.ip(2).addresses == (address("10.78.48.2"), address("fd78:18::2"))
    assert net.ping(net.ip(1).node, address("10.78.48.2")) == "reply"
    assert net.ping(net.peer.node, address("fd78:18::2")) == "reply"


def test_a_host_that_restarts_with_its_memory_gives_the_same_addresses_and_without_it_in_order() -> None:
    def pool(*remembered: object) -> AddressPool:
        return AddressPool(address("10.78.48.1"), 3, remembered)  # type: ignore[arg-type]

    first = pool()
    assert [first.take(each) for each in (b"A", b"B", b"C")] == [address(f"10.78.48.{n}") for n in (1, 2, 3)]
    assert first.take(b"D") is None
    assert first.take(b"B") == address("10.78.48.2")
    again = pool(*first.leases())
    assert again.take(b"C") == address("10.78.48.3")
    assert again.take(b"A") == address("10.78.48.1")
    assert again.take(b"D") == address("10.78.48.2")  # B is not there, and nothing else is left
    assert again.take(b"B") is None
    fresh = pool()
    assert fresh.take(b"C") == address("10.78.48.1")


def test_the_card_that_has_been_gone_the_longest_loses_its_address_first() -> None:
    pool = AddressPool(address("10.78.48.1"), 2)
    one, two = pool.take(b"A"), pool.take(b"B")
    assert one is not None
    assert two is not None
    pool.release(two)
    pool.release(one)
    assert pool.take(b"C") == two
    assert pool.take(b"A") == one
    assert pool.free == 0
    assert pool.take(b"D", ()) is None
    pool.release(one)
    assert pool.take(b"D", (one,)) is None  # somebody has it in another way


# -- the line ----------------------------------------------------------------------------------------------------------


def line(**settings: int | float) -> tuple[VirtualEngine, UplinkLine, list[tuple[int, bytes]]]:
    engine = VirtualEngine(Timebase(HZ))
    made = UplinkLine(engine, LineSettings(**settings), 7, NullSink())  # type: ignore[arg-type]
    came: list[tuple[int, bytes]] = []
    made.on_delivered = lambda packet: came.append((engine.now, packet))
    return engine, made, came


def packet(number: int, size: int = 100) -> bytes:
    return b"\x45" + number.to_bytes(2, "big") + bytes(size - 3)


def test_a_packet_takes_its_bits_and_the_latency_and_waits_for_those_before() -> None:
    engine, made, came = line(latency=HZ // 2, bandwidth=8000)
    assert all(made.send(packet(number)) for number in range(3))
    engine.run(10 * HZ)
    assert came == [(HZ * (number + 1) // 10 + HZ // 2, packet(number)) for number in range(3)]


def test_what_passes_the_queue_is_dropped_and_what_is_too_long_is_not_taken() -> None:
    engine, made, came = line(bandwidth=8000, queue=250)
    assert [made.send(packet(number)) for number in range(3)] == [True, True, False]
    assert made.dropped == 1
    assert not made.send(packet(9, 1501))
    engine.run(HZ // 10)
    assert made.send(packet(4))
    engine.run(HZ)
    assert [each[1][2] for each in came] == [0, 1, 4]


def test_losses_come_by_chance_but_the_same_ones_for_the_same_seed() -> None:
    seen = []
    for _ in range(2):
        engine, made, came = line(loss=0.1, queue=1 << 24)
        for number in range(2000):
            made.send(packet(number))
        engine.run(HZ)
        assert 140 <= made.lost <= 260
        assert len(came) == 2000 - made.lost
        seen.append(came)
    assert seen[0] == seen[1]


def test_jitter_reorders_within_its_bound() -> None:
    engine, made, came = line(latency=HZ, jitter=HZ // 10)
    for number in range(200):
        made.send(packet(number))
    engine.run(3 * HZ)
    times = [time for time, _ in came]
    assert len(came) == 200
    assert min(times) >= HZ
    assert max(times) <= HZ + HZ // 10
    assert [each[2] for _, each in came] != sorted(each[2] for _, each in came)


def test_packets_on_the_uplink_are_recorded_as_ip_and_nothing_comes_after_the_end() -> None:
    sink = ListSink()
    net = IpChain(*cards(1, ECHO), sink=sink).start_all()
    assert net.ping(net.peer.node, net.address(1, 6)) == "reply"
    seen = [each for each in sink.observations if isinstance(each, Packet) and each.kind == "ipv6"]
    assert [(each.hop, each.direction.value) for each in seen] == [(0, "in"), (1, "out"), (1, "in"), (0, "out")]
    net.host.stop()
    assert not net.line.send(packet(1))
