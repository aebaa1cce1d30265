"""How much of what a node of the Internet does a card does, and whether it refuses the rest without harm."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Final

from bench.card.applications.datagrams import ECHO_PORT
from bench.card.applications.streams import CHARGEN_PORT
from bench.card.applications.streams import DISCARD_PORT as TCP_DISCARD
from bench.card.profile import MEMORY
from bench.host.peers import PeerSocket
from bench.net.node import Sent
from bench.pattern import pattern
from bench.scenario.context import StepContext
from bench.scenario.step import Measure, Step
from bench.scenario.steps.ip_support import OUTSIDE, Pinger, Program, address_of, connect, station
from bench.scenario.steps.support import wait
from bench.scenario.units import Span

CARD: Final = "1"
WITHIN: Final = Span(20 * 10**9)
"""How long a card may take for each; what has not come by then is refused."""
PINGS: Final = {56: 4, 548: 4, 1452: 6, 4000: 4}
"""Payload by version of IP: the datagrams of 576 and 1500 bytes that RFC 1122, 3.3.2, and RFC 8200, 5, ask a host to join are among them."""
DATAGRAMS: Final = (64, 512, 1400)
AT_ONCE: Final = (1, 2, 4, 8, 16, 32)
"""Connections and channels."""
APPLICATIONS: Final = {"echo": ECHO_PORT, "discard": TCP_DISCARD, "chargen": CHARGEN_PORT, "web": 80}
STREAM: Final = 1024


@dataclass(frozen=True, slots=True)
class Feature:
    """One thing a card may be able to do."""

    name: str
    works: Callable[[StepContext], bool]


class Completeness(Step):
    """Tries a list of features on the first card, from a ping to 32 connections at once, and counts those that work.

    What does not work must do no harm: the card answers a ping after it.

    Example:
        - completeness: {}
          measure:
            harmed: {equals: 0, unit: features}
    """

    verb: ClassVar[str] = "completeness"
    measures: ClassVar = {
        "completeness": Measure("percent", "features that work, of all that were tried"),
        "feature": Measure("percent", "one feature: 100 where it works, else 0"),
        "harmed": Measure("features", "features after whose refusal the card no longer answered a ping"),
        "ram": Measure("bytes", "fast-access memory that the card's preset stands for; of presets only"),
    }

    def run(self, context: StepContext) -> None:
        features = _features()
        working = harmed = 0
        for feature in features:
            works = feature.works(context)
            working += works
            context.measured("feature", 100.0 * works, detail=feature.name)
            if not works and not _ping(context, size=56, version=4):
                harmed += 1
        context.measured("completeness", 100.0 * working / len(features))
        context.measured("harmed", harmed)
        preset = MEMORY.get(context.point.given.profile)
        if preset is not None:
            context.measured("ram", preset.ram)


def _features() -> list[Feature]:
    return [
        *(
            Feature(f"ping of {size} bytes over IPv{version}", partial(_ping, size=size, version=version))
            for size, version in PINGS.items()
        ),
        *(Feature(f"UDP echo of {size} bytes", partial(_datagram, size=size)) for size in DATAGRAMS),
        *(
            Feature(f"application {name}", partial(_together, count=1, port=port))
            for name, port in APPLICATIONS.items()
        ),
        Feature(f"TCP echo of {STREAM} bytes", _stream),
        *(Feature(f"{n} TCP connections at once", partial(_together, count=n, port=ECHO_PORT)) for n in AT_ONCE),
        *(Feature(f"{n} channels at once", partial(_channels, count=n)) for n in AT_ONCE),
    ]


def _ping(context: StepContext, size: int, version: int) -> bool:
    with Pinger(context, station(context, OUTSIDE), address_of(context, CARD, version)) as pinger:
        echo = pinger.ping(1, context.random.randbytes(size), WITHIN)
        return echo.back is not None and not pinger.damaged


def _datagram(context: StepContext, size: int) -> bool:
    """One datagram to the echo service and back."""
    origin, destination = station(context, OUTSIDE), address_of(context, CARD, 4)
    data = context.random.randbytes(size)
    port = origin.udp.bind(remote=(destination, ECHO_PORT))
    came: list[bytes] = []

    def take() -> None:
        while (datagram := port.take()) is not None:
            came.append(datagram.payload)

    port.on_datagram = take
    sent = context.engine.call(lambda: origin.udp.send(port, destination, ECHO_PORT, data, context.engine.now))
    if sent is Sent.YES:
        wait(context, lambda: bool(came), WITHIN)
    context.engine.call(lambda: origin.udp.close(port))
    return came == [data]


def _together(context: StepContext, count: int, port: int) -> bool:
    """So many connections to one service, open at the same time."""
    opened: list[Program] = []
    for _ in range(count):
        program = _connect(context, port)
        opened.append(program)
        if not program.is_open:
            break
    works = all(each.is_open and each.reason is None for each in opened)
    _end(context, opened)
    return works


def _stream(context: StepContext) -> bool:
    """A stream to the echo service and back."""
    program = _connect(context, ECHO_PORT)
    data, received = pattern(0, STREAM), bytearray()
    sent = 0

    def give(room: int) -> bytes:
        nonlocal sent
        piece = data[sent : sent + room]
        sent += len(piece)
        return piece

    if program.is_open:
        program.sink = received.extend
        program.source = give
        context.engine.call(program.pump)
        wait(context, lambda: len(received) >= STREAM or program.reason is not None, WITHIN)
    _end(context, [program])
    return bytes(received) == data


def _channels(context: StepContext, count: int) -> bool:
    """So many channels to the echo service, open at the same time; none on a card without the channel stack."""
    gateway, uplink = context.rig.host.gateway, context.rig.uplink
    listed = next(
        (each for each in gateway.services() if each.name == "echo" and not each.udp and each.card == 1), None
    )
    if listed is None:
        return False
    sockets: list[PeerSocket] = []
    for _ in range(count):
        socket = context.engine.call(lambda: uplink.dial(listed.port))
        sockets.append(socket)
        wait(context, partial(_settled, socket), WITHIN)
        if not socket.open:
            break
    works = all(socket.open for socket in sockets)
    for socket in sockets:
        context.engine.call(socket.close)
    wait(context, lambda: gateway.connections == 0, WITHIN)
    return works


def _settled(socket: PeerSocket) -> bool:
    return socket.open or socket.cause is not None


def _connect(context: StepContext, port: int) -> Program:
    return connect(context, station(context, OUTSIDE), address_of(context, CARD, 4), port, WITHIN)


def _end(context: StepContext, programs: list[Program]) -> None:
    """Break off: a reset leaves nothing behind on the card."""

    def abort() -> None:
        for each in programs:
            if each.connection is not None and each.reason is None:
                each.tcp.abort(each.connection, context.engine.now)

    context.engine.call(abort)
    tcp = station(context, CARD).tcp
    wait(context, lambda: not tcp.connections, WITHIN)
