"""The four calls on the IP stack: every application of the card runs on it unchanged, over TCP and UDP."""

from dataclasses import replace

import pytest

from bench.card.applications.datagrams import udp_echo
from bench.card.applications.echo import echo
from bench.card.applications.serving import serve
from bench.card.communication import Accept, ChannelError, Client, Communication, Handle, Server, System
from bench.card.ip_profile import IpProfile
from bench.card.profile import MEMORY
from bench.channels.message import Address, AddressKind, Cause
from bench.host.names import NameZone
from bench.iso7816.apdu import CommandApdu
from bench.net.connection import Connection, Reason
from bench.net.node import ErrorReport, Sent
from bench.net.plug import IpSettings
from bench.pattern import pattern
from tests.ip_support import IpChain, User, cards, ip_profile

ECHO = ("echo", echo)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("mtu", [128, 1280])
def test_echo(mtu: int, version: int) -> None:
    net = IpChain(*cards(2), mtu=mtu).start_all()
    for number in (1, 2):
        net.echo_over(net.connect(net.address(number, version), 7), pattern(number, 5000))
    net.assert_sound()


def test_discard_chargen_counter_and_thinker() -> None:
    net = IpChain(*cards(1)).start_all()
    card = net.address(1)
    net.connect(card, 9).write(pattern(0, 20_000))
    chargen = net.connect(card, 19)
    net.wait(lambda: len(chargen.got) >= 20_000)
    assert bytes(chargen.got) == pattern(0, len(chargen.got))
    for visitor in (1, 2):
        counter = net.connect(card, 1001)
        net.wait(lambda counter=counter: b"\n" in counter.got)  # type: ignore[misc]
        assert bytes(counter.got) == b"visitor %d\r\n" % visitor
        counter.write(b"something")
        net.wait(lambda counter=counter: counter.got.count(b"\n") == 2)  # type: ignore[misc]
        assert counter.got.endswith(b"message 1\r\n")
    net.wait(lambda: net.ip(1).tcp.connections != {})
    assert net.cards[0].crashes == []


def get(net: IpChain, user: User, path: str) -> bytes:
    user.write(b"GET %s HTTP/1.1\r\nHost: card\r\nConnection: close\r\n\r\n" % path.encode())
    net.wait(lambda: user.ended, 120)
    return bytes(user.got)


def test_the_web_server() -> None:
    net = IpChain(*cards(2)).start_all()
    page = get(net, net.connect(net.address(2, 6), 80), "/")
    assert page.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"</html>" in page


def test_a_relay_reaches_another_card_itself_and_loop_back_by_name_and_by_port() -> None:
    net = IpChain(*cards(3)).start_all()
    for order in (b"3 echo", b"2 echo", b"2 7", b"1 7"):
        user = net.connect(net.address(2), 1003)
        user.write(order)
        net.wait(lambda user=user: b"\n" in user.got)  # type: ignore[misc]
        assert bytes(user.got) == b"connected\r\n", order
        net.echo_over(user, b"by way of card 2")
    for order, cause in ((b"3 nothing", Cause.SERVICE_UNKNOWN), (b"3 4444", Cause.SERVICE_UNKNOWN)):
        user = net.connect(net.address(2), 1003)
        user.write(order)
        net.wait(lambda user=user: b"\n" in user.got)  # type: ignore[misc]
        assert bytes(user.got) == b"refused %02x\r\n" % cause


class Page:
    """A web server outside, as an Owner."""

    def __init__(self, net: IpChain) -> None:
        self.net = net
        self.asked = b""

    def opened(self, _connection: Connection) -> None: ...

    def received(self, connection: Connection) -> None:
        self.asked += self.net.peer.tcp.read(connection, 4096, self.net.engine.now)
        if self.asked.endswith(b"\r\n\r\n"):
            self.net.peer.tcp.send(connection, b"HTTP/1.0 200 OK\r\n\r\n" + pattern(0, 3000), self.net.engine.now)
            self.net.peer.tcp.close(connection, self.net.engine.now)

    def room(self, _connection: Connection) -> None: ...

    def closed(self, _connection: Connection, _reason: Reason) -> None: ...


def test_a_card_fetches_a_page_from_outside_by_address_and_from_another_card_by_name() -> None:
    net = IpChain(*cards(2), zone=NameZone()).start_all()
    page = Page(net)
    net.peer.tcp.listen(80, lambda _connection: page)
    net.wait(lambda: net.ip(2).name == "card-2")
    assert get(net, net.connect(net.address(1), 8008), "/http://192.0.2.1/x").endswith(pattern(0, 3000))
    assert page.asked.startswith(b"GET /x HTTP/1.0\r\n")
    assert get(net, net.connect(net.address(1), 8008), "/http://card-2.cards.test/").startswith(b"HTTP/1.1 200")
    answer = get(net, net.connect(net.address(1), 8008), "/http://nobody.cards.test/")
    assert answer.startswith(b"HTTP/1.1 502")


def test_both_stacks_at_once_beside_the_apdu_model() -> None:
    profiles = [ip_profile(ECHO, channel=True), ip_profile(ECHO, channel=True)]
    net = IpChain(*profiles, mtu=256).start_all()
    net.wait(lambda: len(net.host.services()) == 2)
    by_channel = net.uplink.dial(net.host.services()[1].port)
    by_ip = net.connect(net.address(2), 7)
    net.wait(lambda: by_channel.open)
    by_channel.write(pattern(0, 4000))
    by_ip.write(pattern(9, 4000))
    answer = net.apdu(CommandApdu(0xA0, 0xEC, 0, 0, b"regular", 256))
    assert answer.response is not None
    assert answer.response.data == b"regular"
    net.wait(lambda: len(by_channel.received) == 4000 and len(by_ip.got) == 4000)
    assert (bytes(by_channel.received), bytes(by_ip.got)) == (pattern(0, 4000), pattern(9, 4000))
    net.assert_sound()


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("size", [0, 1, 500, 3000])
def test_udp_echo_of_any_size(size: int, version: int) -> None:
    net = IpChain(*cards(2)).start_all()
    port = net.peer.udp.bind(remote=(net.address(2, version), 7))
    for _ in range(3):  # the first large one over IPv6 only finds out what the path takes
        net.peer.udp.send(port, net.address(2, version), 7, pattern(3, size), net.engine.now)
        net.let(3, lambda: len(port) > 0)
    datagram = port.take()
    assert datagram is not None
    assert datagram.payload == pattern(3, size)
    assert datagram.source == net.address(2, version)


def test_udp_visitors_are_told_apart_go_when_silent_and_the_oldest_gives_way() -> None:
    profile = ip_profile(("udp-echo", udp_echo), ip=IpProfile(visitors=2))
    net = IpChain(profile).start_all()
    ports = [net.peer.udp.bind(remote=(net.address(1), 7)) for _ in range(3)]
    for number, port in enumerate(ports):
        net.peer.udp.send(port, net.address(1), 7, b"%d" % number, net.engine.now)
        net.wait(lambda port=port: len(port) == 1)  # type: ignore[misc]
        taken = port.take()
        assert taken is not None
        assert taken.payload == b"%d" % number
    assert net.cards[0].threads.running == 1 + 2
    net.let(61)
    assert net.cards[0].threads.running == 1
    net.peer.udp.send(ports[0], net.address(1), 7, b"again", net.engine.now)
    net.wait(lambda: len(ports[0]) == 1)


def test_a_udp_port_nobody_serves_is_told_to_who_asked() -> None:
    net = IpChain(*cards(2, ECHO)).start_all()
    for version in (4, 6):
        port = net.peer.udp.bind()
        told: list[ErrorReport] = []
        port.on_error = told.append
        assert net.peer.udp.send(port, net.address(2, version), 999, b"?", net.engine.now) is Sent.YES
        net.wait(lambda told=told: bool(told))  # type: ignore[misc]
        assert told[0].hard
        assert told[0].by == net.address(2, version)


def test_a_card_client_of_udp_hears_that_nobody_is_there() -> None:
    heard: list[str] = []

    async def asking(io: Communication, system: System) -> None:
        del system
        channel = await io.open(Client(4000, Address(AddressKind.IPV4, b"\xc0\x00\x02\x01"), udp=True))
        await io.send(channel, b"?")
        try:
            await io.receive(channel)
        except ChannelError as error:
            heard.append(error.cause.name)

    net = IpChain(ip_profile(("asking", asking))).start_all()
    net.wait(lambda: bool(heard))
    assert heard == ["SERVICE_UNKNOWN"]


def test_refused_reset_and_calls_that_make_no_sense() -> None:
    heard: list[str] = []

    async def careless(io: Communication, system: System) -> None:
        async def attempt(what: str, *requests: object) -> None:
            try:
                for request in requests:
                    await io.open(request)  # type: ignore[arg-type]
            except ChannelError as error:
                heard.append(f"{what} {error.cause.name}")

        await attempt("nobody", Client(4000, Address(AddressKind.IPV4, b"\xc0\x00\x02\x01")))
        await attempt("no address", Client(4000, Address.none()))
        await attempt("no name", Client(4000, Address.name("nowhere.cards.test")))
        await attempt("twice", Server(5, "a"), Server(5, "b"))
        await attempt("twice over udp", Server(5, "a", udp=True), Server(5, "b", udp=True))
        await attempt("accept", Accept(Handle(9, 9, 9, 9)))
        server = await io.open(Server(6, "c"))
        for call in (io.send(server, b""), io.receive(server), io.send(Handle(9, 9, 9, 9), b"")):
            try:
                await call
            except ChannelError as error:
                heard.append(error.cause.name)
        await io.close(server)
        await io.close(server)
        del system

    net = IpChain(ip_profile(("careless", careless))).start_all()
    net.wait(lambda: not net.cards[0].threads.running, 120)
    assert heard == [
        "nobody SERVICE_UNKNOWN",
        "no address NOT_REACHABLE",
        "no name NOT_REACHABLE",
        "twice PORT_NOT_AVAILABLE",
        "twice over udp PORT_NOT_AVAILABLE",
        "accept NOT_VALID",
        "NOT_VALID",
        "NOT_VALID",
        "NOT_VALID",
    ]
    assert net.cards[0].crashes == []


def test_as_many_connections_as_there_is_memory_for() -> None:
    ip = IpProfile(settings=IpSettings(connections=3))
    net = IpChain(ip_profile(ECHO, ip=ip)).start_all()
    users = [net.connect(net.address(1), 7) for _ in range(3)]
    fourth = User(net)
    net.peer.tcp.connect(net.address(1), 7, fourth, net.engine.now)
    net.let(2)
    assert not fourth.open
    users[0].finish()
    net.wait(lambda: fourth.open, 60)  # its SYN came again
    net.echo_over(fourth, b"room again")


def test_visitors_nobody_takes_are_refused_beyond_the_backlog() -> None:
    async def deaf(io: Communication, system: System) -> None:
        await io.open(Server(7, "deaf"))
        while True:
            await system.sleep(1000)

    net = IpChain(ip_profile(("deaf", deaf))).start_all()
    for _ in range(4):
        net.connect(net.address(1), 7)
    assert net.connect(net.address(1), 7, opens=False).reason is Reason.REFUSED


@pytest.mark.parametrize("preset", sorted(MEMORY))
def test_a_card_keeps_within_its_memory_while_it_sends_and_passes_on(preset: str) -> None:
    async def flood(io: Communication, system: System) -> None:
        async def talk(io: Communication, channel: Handle) -> None:
            while True:
                await io.send(channel, pattern(0, channel.payload))

        await serve(io, system, Server(19, "flood"), talk)

    profile = replace(ip_profile(ECHO, ("flood", flood))).with_memory(preset)
    profile = replace(profile, applications=(ECHO, ("flood", flood)))
    net = IpChain(profile, replace(profile), mtu=1280).start_all()
    users = [net.connect(net.address(number), 19) for number in (1, 2)]
    most = 0
    for _ in range(400):
        net.let(0.01)
        most = max(most, net.cards[0].io1.queue.bytes)
    packet = profile.mtu
    assert most <= profile.buffer + packet, (
        most,
        profile.buffer,
    )  # a packet that was let in may find the room taken by an answer
    assert all(len(user.got) > 1000 for user in users)
    for card in net.cards:
        assert card.ip is not None
        assert len(card.ip.tcp.connections) <= profile.ip.settings.connections  # type: ignore[union-attr]
