"""What several steps of the IP stack need: who a station is, its addresses, connections of programs, pings.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal

from pydantic import Field, WithJsonSchema

from bench.engine import Engine
from bench.net.chain_control import address_of as numbered
from bench.net.connection import Connection, Reason
from bench.net.icmp import Icmp, Icmp4, Icmp6
from bench.net.node import ErrorReport, Node, Sent
from bench.net.protocols import Proto
from bench.net.tcp import Tcp, TcpError
from bench.net.udp_ports import UdpPorts
from bench.rig.ip_network import IpNetwork
from bench.scenario.context import StepContext
from bench.scenario.errors import BenchFault, NotApplicable
from bench.scenario.steps.support import wait
from bench.scenario.units import Line, Span

OUTSIDE: Final = "outside"
HOST: Final = "host"
VERSIONS: Final = {4: 4, 6: 16}
"""Length of an address by version of IP."""
ERRORS4: Final[dict[int, str]] = {
    Icmp4.UNREACHABLE: "unreachable",
    Icmp4.TIME_EXCEEDED: "time-exceeded",
    Icmp4.PARAMETER_PROBLEM: "problem",
}
ERRORS6: Final[dict[int, str]] = {
    Icmp6.UNREACHABLE: "unreachable",
    Icmp6.TOO_BIG: "too-big",
    Icmp6.TIME_EXCEEDED: "time-exceeded",
    Icmp6.PARAMETER_PROBLEM: "problem",
}
CONNECTIONS: Final = "ip connections"
"""The note that ``ip_connect`` leaves."""

Who = Annotated[
    Line,
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 1}, {"enum": [HOST, OUTSIDE]}, {"pattern": "^[1-9][0-9]*$"}]}
    ),
    Field(description="a card's number, `host`, or `outside`: the computer beyond the uplink"),
]
Version = Annotated[Literal["4", "6"], WithJsonSchema({"enum": [4, 6, "4", "6"]}), Field(description="version of IP")]


@dataclass(frozen=True, slots=True)
class Station:
    """One of those who speak IP."""

    name: str
    known: tuple[bytes, ...]
    """Its addresses as the others know them."""
    layers: "Layers | None"
    """What it is made of; None for a card that is not software of this process."""

    @property
    def node(self) -> Node:
        """Its layer 3. This and the others raise NotApplicable where the bench has only the card's own answers to go by."""
        return self._inside().node

    @property
    def tcp(self) -> Tcp:
        return self._inside().tcp

    @property
    def udp(self) -> UdpPorts:
        return self._inside().udp

    def _inside(self) -> "Layers":
        if self.layers is None:
            raise NotApplicable(f"{self.name} is not of this process: nothing is sent in its name, nothing seen in it")
        return self.layers

    def address(self, version: int) -> bytes | None:
        """Its address in a version of IP."""
        return next((each for each in self.known if len(each) == VERSIONS[version]), None)


@dataclass(frozen=True, slots=True)
class Layers:
    """Layers 3 and 4 of a station of this process."""

    node: Node
    tcp: Tcp
    udp: UdpPorts


def network(context: StepContext) -> IpNetwork:
    """The rig's IP network. Raises NotApplicable where it has none."""
    found = context.rig.network
    if found is None:
        raise NotApplicable("this point has no IP network: `given` must say `stack: ip` or `stack: both`")
    return found


def station(context: StepContext, who: str) -> Station:
    """Whoever is named. Raises BenchFault for a name that is none."""
    net = network(context)
    if who == OUTSIDE:
        peer = net.peer
        return Station(who, peer.addresses, Layers(peer.node, peer.tcp, peer.udp))
    if who == HOST:
        router = net.router
        return Station(who, tuple(router.node.own), Layers(router.node, router.tcp, router.udp))
    chain, cards = context.rig.chain, context.point.given.cards
    if not who.isdigit() or not 1 <= int(who) <= cards:
        raise BenchFault(f"{who!r} is neither `host` nor `outside` nor the number of a card of this chain")
    if chain is None:
        return Station(f"card {who}", net.router.addresses(int(who)), None)
    ip = chain.cards[int(who) - 1].ip
    if ip is None:
        raise NotApplicable(f"card {who} carries no IP stack")
    return Station(f"card {who}", ip.addresses, Layers(ip.node, ip.tcp, ip.udp))


def address_of(context: StepContext, who: str, version: int) -> bytes:
    """The address at which somebody is reached. The card fails the point where it has none."""
    found = station(context, who).address(version)
    if found is None and who.isdigit():
        prefix = network(context).router.prefixes.get(VERSIONS[version])
        if prefix is not None:
            return numbered(prefix, int(who))  # where it would be, were it there
    if found is None:
        context.fail(f"{who} has no IPv{version} address")
    return found


@dataclass(slots=True)
class Echo:
    """What became of one echo request."""

    sequence: int
    sent: int
    back: int | None = None
    report: ErrorReport | None = None
    resent: int = 0
    """How often it went again because the path took less (Packet Too Big)."""


class Pinger:
    """Sends echo requests from one station, one after the other. Use it with ``with``."""

    def __init__(self, context: StepContext, origin: Station, destination: bytes) -> None:
        self.context = context
        self.origin = origin
        self.destination = destination
        self.identifier = context.random.getrandbits(16)
        self.hop_limit = 64
        self._under_way: Echo | None = None
        self._payload = b""
        self.damaged = False
        """An answer came whose bytes differ from what was sent."""

    def __enter__(self) -> "Pinger":
        node = self.origin.node
        self.context.engine.call(lambda: self._listen(node))
        return self

    def __exit__(self, *_exception: object) -> None:
        node = self.origin.node
        self.context.engine.call(lambda: self._deafen(node))

    def ping(self, sequence: int, payload: bytes, span: Span) -> Echo:
        """One request; comes back when its fate is known, or the time is over."""
        engine = self.context.engine
        echo = self._under_way = Echo(sequence, engine.now)
        self._payload = payload
        engine.call(lambda: self._send(echo))
        wait(self.context, lambda: echo.back is not None or echo.report is not None, span)
        self._under_way = None
        return echo

    def _send(self, echo: Echo) -> None:
        node, now = self.origin.node, self.context.engine.now
        sent = node.ping(self.destination, self.identifier, echo.sequence, self._payload, now, hop_limit=self.hop_limit)
        if sent is Sent.NO_ROUTE:
            echo.report = ErrorReport("no route at its own node", False, 0, b"", self.destination, 0, b"")

    def _listen(self, node: Node) -> None:
        node.on_echo_reply = self._replied
        node.error_handlers[Proto.ICMP] = self._told
        node.error_handlers[Proto.ICMPV6] = self._told

    def _deafen(self, node: Node) -> None:
        node.on_echo_reply = _unheard
        node.error_handlers.pop(Proto.ICMP, None)
        node.error_handlers.pop(Proto.ICMPV6, None)

    def _replied(self, source: bytes, message: Icmp, now: int) -> None:
        echo = self._under_way
        if echo is None or message.rest != self.identifier << 16 | echo.sequence or source != self.destination:
            return
        self.damaged = self.damaged or message.payload != self._payload
        echo.back = now

    def _told(self, report: ErrorReport, _now: int) -> None:
        echo = self._under_way
        if echo is None or report.destination != self.destination:
            return
        if report.too_big:
            echo.resent += 1
            if echo.resent < 8:
                self._send(echo)
                return
        echo.report = report


def kind_of(report: ErrorReport) -> str:
    """What an ICMP error says, in a word: unreachable, time-exceeded, too-big, problem."""
    words = report.reason.split()
    if words[0] != "ICMP":
        return "unreachable"
    kind = int(words[2])
    names = ERRORS4 if len(report.destination) == 4 else ERRORS6
    return names.get(kind, "problem")


@dataclass(slots=True)
class Program:
    """A program with one TCP connection, at any station: an Owner. ``source`` gives what it sends, ``sink`` takes what it gets."""

    engine: Engine
    tcp: Tcp
    name: str
    source: Callable[[int], bytes] = field(default=lambda _count: b"")
    """Gives up to so many bytes."""
    sink: Callable[[bytes], None] = field(default=lambda _data: None)
    holds: bool = False
    """What comes stays where it is until ``listen``: nobody is there yet to take it."""
    is_open: bool = False
    ended: bool = False
    reason: Reason | None = None
    connection: Connection | None = None
    _held: bytes = b""

    def opened(self, connection: Connection) -> None:
        self.connection = connection
        self.is_open = True
        self.pump()

    def received(self, connection: Connection) -> None:
        if self.holds:
            return
        while data := self.tcp.read(connection, 65_536, self.engine.now):
            self.sink(data)
        self.ended = connection.peer_ended

    def room(self, connection: Connection) -> None:
        del connection
        self.pump()

    def closed(self, connection: Connection, reason: Reason) -> None:
        del connection
        self.reason = reason

    def pump(self) -> None:
        """Send what ``source`` gives, as much as is taken."""
        connection = self.connection
        while connection is not None and self.is_open and self.reason is None:
            data = self._held or self.source(connection.send_room)
            if not data:
                return
            taken = self.tcp.send(connection, data, self.engine.now)
            self._held = data[taken:]
            if self._held:
                return

    def listen(self) -> None:
        """Take what has come, and what comes."""
        self.holds = False
        if self.connection is not None:
            self.received(self.connection)

    def close(self) -> None:
        """Say that no more will be sent, and read no more."""
        if self.connection is not None and self.reason is None:
            self.tcp.close(self.connection, self.engine.now, deaf=True)


def connect(
    context: StepContext, origin: Station, destination: bytes, port: int, span: Span, *, holds: bool = False
) -> Program:
    """A program of a station connects; comes back when it is open, or known that it will not be (``reason``), or the time is over."""
    engine = context.engine
    program = Program(engine, origin.tcp, origin.name, holds=holds)

    def begin() -> None:
        try:
            program.connection = origin.tcp.connect(destination, port, program, engine.now)
        except TcpError as error:
            program.name = f"{origin.name}: {error}"
            program.reason = Reason.UNREACHABLE

    engine.call(begin)
    wait(context, lambda: program.is_open or program.reason is not None, span)
    return program


def programs(context: StepContext) -> list[Program]:
    """The connections that ``ip_connect`` steps left."""
    found = context.note(CONNECTIONS, list)
    if not all(isinstance(each, Program) for each in found):
        raise BenchFault("the note of IP connections holds something else")
    return found


def _unheard(_source: bytes, _message: Icmp, _now: int) -> None:
    pass
