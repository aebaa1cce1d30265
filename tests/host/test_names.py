"""Names of cards: the zone, the server, and a card that moves to another host."""

import dns.flags
import dns.message
import dns.rcode
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.card.applications.echo import echo
from bench.card.ip_profile import IpProfile
from bench.hop.link import PollPlan
from bench.host.ip_peers import Outside
from bench.host.names import TTL_S, NameZone
from bench.host.peers import InProcessUplink
from bench.host.platform import Host, HostSettings
from bench.host.router import RouterSettings
from bench.host.uplink_line import LineSettings, UplinkLine
from bench.net.connection import Reason
from bench.net.dns import PORT, DnsError, query, read_answer, read_query
from bench.net.protocols import address, text
from bench.net.routes import Prefix
from bench.readers.software import SoftwareReader
from tests.ip_support import IpChain, cards, ip_profile
from tests.support import CLOCK_HZ, FAST

ECHO = ("echo", echo)


def ask(net: IpChain, data: bytes, server: bytes | None = None) -> dns.message.Message | None:
    """What the name server answers, decoded by software that nobody here wrote."""
    server = server if server is not None else net.address(0)
    port = net.peer.udp.bind(remote=(server, PORT))
    net.peer.udp.send(port, server, PORT, data, net.engine.now)
    net.let(2, lambda: len(port) > 0)
    datagram = port.take()
    net.peer.udp.close(port)
    return None if datagram is None else dns.message.from_wire(datagram.payload)


def addresses(net: IpChain, name: str, version: int = 4, server: bytes | None = None) -> list[str]:
    answer = ask(net, query(1, name, version), server)
    assert answer is not None
    assert answer.flags & dns.flags.AA
    assert all(each.ttl <= TTL_S for each in answer.answer + answer.authority)
    return [item.to_text() for each in answer.answer for item in each]


@pytest.mark.parametrize("version", [4, 6])
def test_a_card_is_found_by_its_name_and_not_while_it_is_gone(version: int) -> None:
    net = IpChain(*cards(2, ECHO), zone=NameZone(), poll_ms=5).start_all()
    net.wait(lambda: net.ip(2).name == "card-2")
    server = net.address(0, version)
    assert addresses(net, "card-2.cards.test.", version, server) == [text(net.address(2, version))]
    assert addresses(net, "CARD-2.Cards.Test.", version, server) == [text(net.address(2, version))]
    net.remove(2)
    net.wait(lambda: list(net.router.cards) == [1])
    assert addresses(net, "card-2.cards.test.", version) == []
    assert addresses(net, "card-1.cards.test.", version) == [text(net.address(1, version))]
    net.insert(2)
    net.wait_addresses()
    net.wait(lambda: net.ip(2).name == "card-2")
    assert addresses(net, "card-2.cards.test.", version) == [text(net.address(2, version))]


def test_a_second_card_that_claims_a_name_is_refused_also_while_the_first_is_away() -> None:
    profile = ip_profile(ECHO, ip=IpProfile(name="purse"))
    net = IpChain(profile, profile, zone=NameZone(), poll_ms=5).start_all()
    net.wait(lambda: bool(net.ip(2).refusals))
    assert (net.ip(1).name, net.ip(2).name) == ("purse", "")
    net.remove(1)
    net.wait(lambda: not net.router.cards)
    zone = net.router.zone
    assert zone is not None
    assert not zone.claim("purse", b"somebody", object(), ())
    zone.forget("purse")
    assert zone.claim("purse", b"somebody", object(), ())


def test_names_follow_an_address_that_is_changed() -> None:
    net = IpChain(*cards(1, ECHO), zone=NameZone()).start_all()
    net.wait(lambda: net.ip(1).name == "card-1")
    net.router.reassign(1, address("10.78.32.1"))
    assert addresses(net, "card-1.cards.test.") == ["10.78.32.1"]
    net.router.renumber(Prefix.parse("fd99::/64"))
    assert addresses(net, "card-1.cards.test.", 6) == ["fd99::2"]


def test_other_questions_are_answered_as_a_zone_must() -> None:
    net = IpChain(*cards(1, ECHO), zone=NameZone()).start_all()
    net.wait(lambda: net.ip(1).name == "card-1")
    for name, kind, rcode, authority in [
        ("nobody.cards.test.", "A", dns.rcode.NXDOMAIN, 1),
        ("card-1.cards.test.", "MX", dns.rcode.NOERROR, 1),
        ("cards.test.", "A", dns.rcode.NOERROR, 1),
        ("example.com.", "A", dns.rcode.REFUSED, 0),
    ]:
        answer = ask(net, dns.message.make_query(name, kind).to_wire())
        assert answer is not None
        assert (answer.rcode(), len(answer.authority), answer.answer) == (rcode, authority, [])
    server = net.router.name_server
    assert server is not None
    for nonsense in (b"", b"\x00" * 11, b"\xff" * 40, query(1, "a.cards.test.", 4)[:-3]):
        assert ask(net, nonsense) is None
    response = bytearray(query(1, "card-1.cards.test.", 4))
    response[2] |= 0x80  # answers are not answered: two servers would never stop
    assert ask(net, bytes(response)) is None
    assert server.malformed == 5


@given(st.binary(max_size=120))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_a_query_or_an_error(data: bytes) -> None:
    for read in (read_query, lambda wire: read_answer(wire, 1, "a.cards.test.")):
        try:
            read(data)
        except DnsError:
            continue


def test_a_ttl_beyond_five_seconds_is_refused() -> None:
    with pytest.raises(ValueError, match="found again"):
        NameZone(ttl=6)


def test_a_card_moved_to_another_host_keeps_its_name_and_its_old_connections_are_reset() -> None:
    """Two hosts on one network, each with a chain of its own, and one zone."""
    zone = NameZone()
    net = IpChain(*cards(2, ECHO), zone=zone, poll_ms=5).start_all()
    reader = SoftwareReader(net.engine, CLOCK_HZ, FAST)
    period = net.ticks(0.005)
    other = Host(net.engine, reader, InProcessUplink(), HostSettings(576, PollPlan(period, period)), net.sink)
    prefixes = (Prefix.parse("10.90.0.0/24"), Prefix.parse("fd90::/64"))
    uplink = (address("192.0.2.253"), address("2001:db8::fd"))
    router = other.route(RouterSettings(prefixes=prefixes, uplink=uplink), zone)
    line = UplinkLine(net.engine, LineSettings(), 2, net.sink)
    router.connect(line)
    net.outside.join(line, *prefixes, Prefix.of(uplink[0], 32), Prefix.of(uplink[1], 128))
    other.start()
    assert isinstance(net.outside, Outside)
    net.wait(lambda: net.ip(2).name == "card-2")
    assert addresses(net, "card-2.cards.test.") == ["10.78.16.3"]
    user = net.connect(address("10.78.16.3"), 7)
    net.echo_over(user, b"at home")

    net.remove(2)
    reader.insert(net.cards[1].contacts)
    net.wait(lambda: bool(router.cards) and net.ip(2).name == "card-2")
    assert net.ip(2).addresses == (address("10.90.0.2"), address("fd90::2"))
    for server in (net.address(0), address("10.90.0.1")):
        assert addresses(net, "card-2.cards.test.", server=server) == ["10.90.0.2"]
        assert addresses(net, "card-2.cards.test.", 6, server=server) == ["fd90::2"]
    user.write(b"where are you?")
    net.wait(lambda: user.reason is not None)
    assert user.reason is Reason.RESET
    net.echo_over(net.connect(address("10.90.0.2"), 7), b"at the other host")
    net.wait(lambda: list(net.router.cards) == [1])
    assert addresses(net, "card-2.cards.test.") == ["10.90.0.2"]  # the first host noticed later, and spoils nothing
    other.stop()
