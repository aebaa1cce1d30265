"""Cards as clients of the outside, ports that the host chooses, services over UDP, chains with all their channels in use.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from bench.channels.message import Address, AddressKind, Cause
from bench.host.peers import PeerSocket
from bench.observe import Direction, Observation, Packet
from bench.scenario.context import StepContext
from bench.scenario.errors import NotApplicable
from bench.scenario.step import Measure, Step
from bench.scenario.steps.services import dial_service
from bench.scenario.steps.support import Watch, dial, exchange, milliseconds, service, wait
from bench.scenario.units import Count, Line, Size, Span

FAR_PORT = 9100
"""The first of the ports outside that cards are sent to."""
ADDRESSES = {"ipv4": "192.0.2.7", "ipv6": "2001:db8::7", "name": "purse.example"}
CONNECTED = b"connected\r\n"
LONGEST = Span(3600 * 10**9)
OPENS = "opens"
"""The note that ``watch_opens`` leaves."""
OPEN, OPENED = 1, 2
SERVERS = (0x03, 0x83)
HEADER_LENGTH = 5


class ReachOut(Step):
    """Has a card's application (its relay) connect to servers outside, all at once, and holds that the host went to the address and port it named,
    and that what is sent either way on each arrives on it alone.

    Example:
        - reach_out: {card: 2, protocol: udp, address: ipv6, count: 4}
    """

    verb: ClassVar[str] = "reach_out"

    card: Annotated[Count, Field(description="the card that connects")] = 1
    protocol: Annotated[Literal["tcp", "udp"], Field(description="transport outside the host")] = "tcp"
    address: Annotated[Literal["ipv4", "ipv6", "name"], Field(description="how the card names the server")] = "ipv4"
    count: Annotated[Count, Field(description="how many connections at a time, each to a server of its own")] = 1
    size: Annotated[Size, Field(description="bytes sent each way on each", ge=1)] = 20

    def run(self, context: StepContext) -> None:
        udp = self.protocol == "udp"
        host = ADDRESSES[self.address]
        far: dict[int, PeerSocket] = {}
        near: list[PeerSocket] = []
        for port in range(FAR_PORT, FAR_PORT + self.count):
            accepted = partial(far.__setitem__, port)
            context.engine.call(partial(context.rig.uplink.serve, port, accepted, udp=udp))
            socket = dial_service(context, "relay", self.card)
            context.engine.call(partial(socket.write, f"{self.protocol} {host} {port}\n".encode()))
            wait(context, partial(_heard, socket, len(CONNECTED)))
            if bytes(socket.received) != CONNECTED:
                context.fail(f"card {self.card} could not connect to {host} port {port}: {bytes(socket.received)!r}")
            socket.received.clear()
            near.append(socket)
            there = far.get(port)
            if there is None or there.asked != _address(host):
                context.fail(f"card {self.card} asked for {host}, the host went to {there and there.asked}")
        for way, senders, takers in (("out", near, list(far.values())), ("back", list(far.values()), near)):
            words = [context.random.randbytes(self.size) for _ in senders]
            context.engine.call(lambda: _each_writes(senders, words))  # noqa: B023 - called at once
            for number, (taker, word) in enumerate(zip(takers, words, strict=True), 1):
                wait(context, partial(_heard, taker, len(word)))
                if bytes(taker.received) != word:
                    context.fail(
                        f"connection {number}: {bytes(taker.received)!r} arrived on the way {way}, sent was {word!r}"
                    )
        for socket in near:
            context.engine.call(socket.close)


class WatchOpens(Step):
    """Notes from now on how cards ask for servers and what the host answers; put it before `power_on`. For `ports_told`.

    Example:
        - watch_opens: {}
        - power_on: {}
    """

    verb: ClassVar[str] = "watch_opens"

    def run(self, context: StepContext) -> None:
        watch = Watch(context, _of_servers)
        watch.__enter__()
        context.notes[OPENS] = watch


class PortsTold(Step):
    """Holds that each server that left its port to the host was told one: not 0, no other card's, listed, and the one on which it is reached.

    Example:
        - ports_told: {service: echo}
          measure:
            chosen: {at_least: 1, unit: services}
    """

    verb: ClassVar[str] = "ports_told"
    measures: ClassVar = {"chosen": Measure("services", "how many servers left their port to the host")}

    service: Annotated[Line, Field(description="a service that every card offers (an echo): each is spoken to")] = (
        "echo"
    )

    def run(self, context: StepContext) -> None:
        for card in range(1, context.point.given.cards + 1):
            service(context, self.service, card)
        watch = context.note(OPENS, Watch)
        wait(context, lambda: all(_answer(watch, asked) is not None for asked in _left_to_host(watch)))
        watch.__exit__()
        listed = context.engine.call(context.rig.host.gateway.services)
        told: list[_Told] = []
        for asked in _left_to_host(watch):
            answer = _answer(watch, asked)
            if answer is None:
                context.fail(f"card {asked[2]} left a port to the host and was told none")
            told.append(_Told(asked[2], asked[12:].decode("ascii"), int.from_bytes(answer[6:8], "big")))
        for each in told:
            if not each.port:
                context.fail(f"card {each.card} left the port of {each.name} to the host and was told 0")
            if [(one.name, one.card) for one in listed if one.port == each.port] != [(each.name, each.card)]:
                context.fail(
                    f"port {each.port} was told to card {each.card} for {each.name}, and is not listed as its alone"
                )
            if each.name == self.service:
                exchange(context, dial(context, each.port), context.random.randbytes(20))
        context.measured("chosen", len(told))


class Datagrams(Step):
    """Sends datagrams to a card's echo over UDP and holds that each comes back as it was sent, bounds and all; one too long goes nowhere.

    Example:
        - datagrams: {count: 50}
          measure:
            too_long: {equals: 1, unit: datagrams}
    """

    verb: ClassVar[str] = "datagrams"
    measures: ClassVar = {"too_long": Measure("datagrams", "how many the host dropped because no message holds them")}

    card: Annotated[Count, Field(description="the card that serves")] = 1
    count: Annotated[Count, Field(description="how many, of lengths from 1 byte to what one message holds")] = 50

    def run(self, context: StepContext) -> None:
        gateway = context.rig.host.gateway
        dropped = gateway.oversized
        socket = dial_service(context, "udp-echo", self.card)
        back: list[bytes] = []
        longest = context.rig.host.cards[self.card].mtu - HEADER_LENGTH
        sizes = [1, longest, *(context.random.randint(1, longest) for _ in range(self.count - 2))][: self.count]
        sent = [context.random.randbytes(size) for size in sizes]

        def send() -> None:
            socket.on_data = back.append
            socket.write(bytes(longest + 1))
            for datagram in sent:
                socket.write(datagram)

        context.engine.call(send)
        wait(context, lambda: len(back) >= len(sent), LONGEST)
        if back != sent:
            wrong = next((n for n, (a, b) in enumerate(zip(sent, back, strict=False), 1) if a != b), len(back) + 1)
            context.fail(
                f"{len(back)} of {len(sent)} datagrams came back; the first that is not as it was sent is number {wrong}"
            )
        context.measured("too_long", gateway.oversized - dropped)
        context.engine.call(socket.close)


class FillChain(Step):
    """Opens channels to all cards in turn until each refuses one more, and holds that all of them carry a word, and that one closed makes room.

    Example:
        - fill_chain: {to: echo}
          measure:
            numbers: {equals: 255, unit: channels}
    """

    verb: ClassVar[str] = "fill_chain"
    measures: ClassVar = {
        "opened": Measure("channels", "how many were opened"),
        "numbers": Measure("channels", "how many the host then has, those of services included"),
        "least": Measure("channels", "how many the card has that got the fewest"),
    }

    to: Annotated[Line, Field(description="name of the service (an echo)")] = "echo"

    def run(self, context: StepContext) -> None:
        host = context.rig.host
        ports = {card: service(context, self.to, card).port for card in range(1, context.point.given.cards + 1)}
        there: list[PeerSocket] = []
        whose: list[int] = []
        counts = dict.fromkeys(ports, 0)
        willing = list(ports)
        while willing:
            for card in tuple(willing):
                socket = context.engine.call(partial(context.rig.uplink.dial, ports[card]))
                wait(context, partial(_settled, socket))
                if socket.open:
                    there.append(socket)
                    whose.append(card)
                    counts[card] += 1
                    continue
                if socket.cause is not Cause.NO_CHANNEL:
                    context.fail(
                        f"card {card} refused channel {counts[card] + 1} with {socket.cause!r}, expected 01 (no channel)"
                    )
                willing.remove(card)
        context.measured("opened", len(there))
        context.measured("numbers", context.engine.call(lambda: len(host.node.table)))
        context.measured("least", min(counts.values()))
        words = [context.random.randbytes(20) for _ in there]
        context.engine.call(lambda: _each_writes(there, words))
        for number, (socket, word) in enumerate(zip(there, words, strict=True), 1):
            wait(context, partial(_heard, socket, len(word)))
            if bytes(socket.received) != word:
                context.fail(
                    f"channel {number} of {len(there)} gave back {bytes(socket.received)!r}, sent was {word!r}"
                )
        numbers = len(host.node.table)
        context.engine.call(there.pop().close)
        wait(context, lambda: len(host.node.table) < numbers)
        exchange(context, dial(context, ports[whose.pop()]), context.random.randbytes(20))


class Unanswered(Step):
    """A card stops answering OPEN: the host must give up in its time, tell the visitor, keep no number, and carry on with what is open.

    Only on software cards, which are told to.

    Example:
        - unanswered: {card: 1}
          measure:
            patience: {at_least: 29, at_most: 31, unit: s}
    """

    verb: ClassVar[str] = "unanswered"
    measures: ClassVar = {"patience": Measure("s", "until the visitor was told")}

    to: Annotated[Line, Field(description="name of the service (an echo)")] = "echo"
    card: Annotated[Count, Field(description="its card")] = 1

    def run(self, context: StepContext) -> None:
        chain = context.rig.chain
        if chain is None:
            raise NotApplicable("only a card of the bench's own can be told not to answer OPEN")
        open_before = dial_service(context, self.to, self.card)
        port = service(context, self.to, self.card).port
        host = context.rig.host
        table = chain.cards[self.card - 1].node.table
        answering: Callable[..., None] = table.on_open
        context.engine.call(lambda: setattr(table, "on_open", _says_nothing))
        begun = context.engine.now
        socket = context.engine.call(lambda: context.rig.uplink.dial(port))
        exchange(context, open_before, context.random.randbytes(20))
        wait(context, lambda: socket.cause is not None, Span(300 * 10**9))
        context.engine.call(lambda: setattr(table, "on_open", answering))
        if socket.cause is not Cause.NOT_REACHABLE:
            context.fail(
                f"a visitor whose OPEN was not answered was told {socket.cause!r}, expected 07 (not reachable)"
            )
        context.measured("patience", milliseconds(context, context.engine.now - begun) / 1000)
        wait(context, lambda: len(host.node.table) == len(host.gateway.services()) + 1)
        left = context.engine.call(lambda: len(host.node.table) - len(host.gateway.services()))
        if left != 1:
            context.fail(
                f"the host has {left} channels after it, the open one among them: the unanswered one keeps its number"
            )
        exchange(context, open_before, context.random.randbytes(20))
        exchange(context, dial_service(context, self.to, self.card), context.random.randbytes(20))


@dataclass(frozen=True, slots=True)
class _Told:
    """A server whose port the host chose."""

    card: int
    name: str
    port: int


def _of_servers(seen: Observation) -> bool:
    """OPENs of servers on their way to the host, and OPENEDs to cards."""
    if not isinstance(seen, Packet) or seen.hop != 1 or seen.kind != "channel" or len(seen.data) < 2 * HEADER_LENGTH:
        return False
    kind = seen.data[0] & 0x0F
    if seen.direction is Direction.IN:
        return kind == OPEN and seen.data[6] in SERVERS
    return kind == OPENED


def _left_to_host(watch: Watch) -> list[bytes]:
    """The OPENs of servers with port 0."""
    packets = [each.data for each in watch.seen if isinstance(each, Packet)]
    return [each for each in packets if each[0] & 0x0F == OPEN and each[7:9] == b"\0\0"]


def _answer(watch: Watch, asked: bytes) -> bytes | None:
    """The OPENED that answers an OPEN: after it, to its node, for the number it gave its end."""
    packets = [each.data for each in watch.seen if isinstance(each, Packet)]
    later = packets[next(at for at, each in enumerate(packets) if each is asked) :]
    return next(
        (each for each in later if each[0] & 0x0F == OPENED and (each[1], each[3]) == (asked[2], asked[5])), None
    )


def _address(host: str) -> Address:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return Address.name(host)
    return Address(AddressKind.IPV4 if address.version == 4 else AddressKind.IPV6, address.packed)


def _each_writes(sockets: list[PeerSocket], words: list[bytes]) -> None:
    for socket, word in zip(sockets, words, strict=True):
        socket.write(word)


def _heard(socket: PeerSocket, count: int) -> bool:
    return len(socket.received) >= count or socket.ended


def _settled(socket: PeerSocket) -> bool:
    return socket.open or socket.cause is not None


def _says_nothing(*_asked: object) -> None:
    pass
