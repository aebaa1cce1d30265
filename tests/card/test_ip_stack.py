"""docs/protocol.md, section 5, from the card's side: addresses, routes, and what it does when its hop goes."""

import pytest

from bench.card.applications.echo import echo
from bench.card.ip_profile import Addressing, IpProfile
from bench.hop.junction import Port
from bench.net.chain_control import AddressPacket, Deed, Refusal
from bench.net.connection import Reason
from bench.net.node import Event
from bench.net.protocols import address
from bench.net.routes import Prefix
from tests.ip_support import IpChain, cards, ip_profile

ECHO = ("echo", echo)


def test_5_2_each_card_has_the_address_of_its_number_and_knows_who_is_beyond() -> None:
    net = IpChain(*cards(4, ECHO)).start_all()
    for number in range(1, 5):
        assert set(net.ip(number).addresses) == {net.address(number, 4), net.address(number, 6)}
        for other in range(6):
            for version in (4, 6):
                route = net.ip(number).node.routes.lookup(net.address(other, version))
                interfaces = net.ip(number).interfaces
                outward = other > number and number < 4
                assert route is not None
                assert route.interface == interfaces[Port.OUTWARD if outward else Port.INWARD].number
    net.assert_sound()


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("mtu", [68, 128, 576, 1280])
def test_every_card_reaches_every_other_without_the_host(mtu: int, version: int) -> None:
    net = IpChain(*cards(3, ECHO), mtu=mtu).start_all()
    forwarded = net.router.counted(Event.FORWARDED)
    for origin in (1, 2, 3):
        for to in (1, 2, 3):
            assert net.ping(net.ip(origin).node, net.address(to, version), 300) == "reply", (origin, to)
    assert net.router.counted(Event.FORWARDED) == forwarded


def test_a_hop_too_narrow_for_ip_carries_none() -> None:
    net = IpChain(*cards(2, ECHO), mtu=64)
    net.host.start()
    net.wait(lambda: len(net.host.cards) == 2)
    net.let(2)
    assert [net.ip(number).addresses for number in (1, 2)] == [(), ()]
    assert not net.router.cards


def test_5_2_a_card_in_the_middle_takes_all_beyond_along_and_all_come_back_with_the_same_addresses() -> None:
    net = IpChain(*cards(4, ECHO), poll_ms=5).start_all()
    before = [net.ip(number).addresses for number in range(1, 5)]
    user = net.connect(net.address(4), 7)
    net.echo_over(user, b"before")
    net.remove(2)
    net.wait(lambda: list(net.router.cards) == [1])
    net.wait(lambda: all(not net.ip(number).addresses for number in (2, 3, 4)))
    assert net.ping(net.peer.node, net.address(3)) == "ICMP type 3 code 1"
    assert net.ping(net.peer.node, net.address(3, 6)) == "ICMP type 1 code 3"
    assert net.ping(net.ip(1).node, net.address(3)) == "ICMP type 3 code 1"
    user.write(b"anybody?")
    net.wait(lambda: user.reason is not None)
    assert user.reason is Reason.RESET
    assert net.router.resets == 1
    net.insert(2)
    net.wait_addresses()
    assert [net.ip(number).addresses for number in range(1, 5)] == before
    net.echo_over(net.connect(net.address(4), 7), b"after")
    net.assert_sound()


def test_5_1_what_has_a_source_from_the_wrong_side_is_dropped() -> None:
    net = IpChain(*cards(3, ECHO)).start_all()
    middle = net.ip(2)
    inward, outward = middle.interfaces[Port.INWARD].number, middle.interfaces[Port.OUTWARD].number
    from bench.net.ipv4 import Ipv4
    from bench.net.protocols import Proto

    def packet(source: bytes) -> bytes:
        return Ipv4(source, net.address(2), Proto.UDP, bytes(8), 64).encode()

    for interface, source in [
        (inward, net.address(3)),  # beyond, and yet from inward
        (outward, net.address(1)),  # before, and yet from outward
        (outward, net.peer.addresses[0]),
        (inward, net.address(2)),  # its own
        (inward, address("127.0.0.1")),
        (inward, address("224.0.0.1")),
    ]:
        middle.node.receive(interface, packet(source), net.engine.now)
    assert middle.counted(Event.SPOOFED) == 6
    net.let(1)
    assert middle.counted(Event.ERRORS_OUT) == 0


def test_5_1_the_hop_limit_ends_at_the_card_where_it_is_used_up() -> None:
    net = IpChain(*cards(4, ECHO)).start_all()
    for version, exceeded in ((4, "ICMP type 11 code 0"), (6, "ICMP type 3 code 0")):
        for limit in (1, 2, 3, 4):
            assert net.ping(net.peer.node, net.address(4, version), hop_limit=limit) == exceeded
        assert net.ping(net.peer.node, net.address(4, version), hop_limit=5) == "reply"
    assert [net.ip(number).counted(Event.HOP_LIMIT) for number in (1, 2, 3)] == [2, 2, 2]


def test_5_3_addresses_of_their_own_are_claimed_granted_and_routed() -> None:
    from bench.host.router import RouterSettings

    own = [address("10.78.32.9"), address("10.78.32.5"), address("10.78.32.7")]
    profiles = [ip_profile(ECHO, ip=IpProfile(addressing=Addressing.STATIC, static=(each,))) for each in own]
    net = IpChain(*profiles, settings=RouterSettings(static=(Prefix.parse("10.78.32.0/24"),)))
    net.start_all(addresses=1)
    assert [net.ip(number).addresses for number in (1, 2, 3)] == [(each,) for each in own]
    assert net.ping(net.peer.node, own[2]) == "reply"
    assert net.ping(net.ip(1).node, own[2]) == "reply"
    assert net.ping(net.ip(3).node, own[0]) == "reply"
    assert net.ping(net.peer.node, net.address(2)).startswith("ICMP type 3")  # the numbered one is nobody's now


def test_5_3_an_address_in_use_or_not_permitted_is_refused() -> None:
    from bench.host.router import RouterSettings

    twice = address("10.78.32.9")
    profiles = [
        ip_profile(ECHO, ip=IpProfile(addressing=Addressing.STATIC, static=(each,)))
        for each in (twice, twice, address("192.0.2.1"), address("10.78.16.1"))
    ]
    net = IpChain(*profiles, settings=RouterSettings(static=(Prefix.parse("10.78.32.0/24"),)))
    net.host.start()
    net.wait(lambda: all(net.ip(number).refusals for number in (2, 3, 4)))
    assert net.ip(1).addresses == (twice,)
    assert [net.ip(number).refusals for number in (2, 3, 4)] == [
        [AddressPacket(2, Deed.REFUSE, Refusal.IN_USE, twice)],
        [AddressPacket(3, Deed.REFUSE, Refusal.NOT_PERMITTED, address("192.0.2.1"))],
        [AddressPacket(4, Deed.REFUSE, Refusal.IN_USE, address("10.78.16.1"))],
    ]


def test_5_3_a_card_between_without_memory_for_the_route_says_so() -> None:
    from bench.host.router import RouterSettings

    own = [address(f"10.78.32.{number}") for number in range(1, 5)]
    profiles = [
        ip_profile(ECHO, ip=IpProfile(addressing=Addressing.STATIC, static=(each,), far_routes=2)) for each in own
    ]
    net = IpChain(*profiles, settings=RouterSettings(static=(Prefix.parse("10.78.32.0/24"),)))
    net.host.start()
    net.wait(lambda: bool(net.router.refused))
    net.let(2)
    assert net.router.refused == [AddressPacket(4, Deed.REFUSE, Refusal.NO_MEMORY, own[3])]
    assert net.router.route_to(own[3]) is None
    assert [net.ip(number).addresses for number in (1, 2, 3, 4)] == [(own[0],), (own[1],), (own[2],), ()]


def test_5_3_another_address_while_traffic_flows_resets_what_was_open() -> None:
    net = IpChain(*cards(2, ECHO)).start_all()
    user = net.connect(net.address(2), 7)
    net.echo_over(user, b"x" * 2000)
    user.write(b"y" * 5000)
    new = address("10.78.32.99")
    net.router.reassign(2, new)
    net.wait(lambda: user.reason is not None)
    assert user.reason is Reason.RESET
    assert net.router.resets == 0  # it was the card itself
    assert new in net.ip(2).addresses
    assert net.address(2) not in net.ip(2).addresses
    net.echo_over(net.connect(new, 7), b"again")
    net.let(6)
    late = net.connect(net.address(2), 7, opens=False)
    assert late.reason is Reason.REFUSED  # by the host, in the place of nobody


def test_5_2_another_prefix_while_traffic_flows() -> None:
    net = IpChain(*cards(3, ECHO)).start_all()
    users = [net.connect(net.address(number), 7) for number in (1, 2, 3)]
    net.router.renumber(Prefix.parse("10.99.0.0/24"))
    net.wait(lambda: all(user.reason is Reason.RESET for user in users))
    net.let(1)
    for number in (1, 2, 3):
        assert net.address(number) == address(f"10.99.0.{number + 1}")
        net.echo_over(net.connect(net.address(number), 7), b"here")


def test_a_card_reset_forgets_everything_and_is_addressed_again() -> None:
    net = IpChain(*cards(2, ECHO)).start_all()
    user = net.connect(net.address(1), 7)
    old = net.ip(1).node
    net.host.link.restart(warm=False)
    net.wait(lambda: net.ip(1).node is not old)
    assert net.ip(1).addresses == ()
    net.wait_addresses()
    user.write(b"still there?")
    net.wait(lambda: user.reason is not None)
    assert user.reason is Reason.RESET  # the card knows nothing of it
    net.echo_over(net.connect(net.address(2), 7), b"through the card that was reset")


def test_what_is_no_control_packet_of_ours_is_counted_and_harms_nothing() -> None:
    net = IpChain(*cards(2, ECHO)).start_all()
    chain = net.cards[0].chain
    before = net.ip(1).addresses
    for packet, from_inward in [
        (b"\x05", True),
        (b"\x05\x14\x0a\x4e\x10\x00", False),  # a prefix from outward
        (AddressPacket(1, Deed.CLAIM, Refusal.NONE, address("10.0.0.1")).encode(), False),  # not from beyond
        (b"\x06\x00\x01\x00\x0a\x00\x00\x01", True),
    ]:
        chain.receive(packet, from_inward=from_inward)
    assert chain.malformed == 4
    assert net.ip(1).addresses == before
