"""A card as a client: its relay is told whom to connect to (``bench.card.applications.relay``)."""

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from bench.card.applications.datagrams import ECHO_PORT
from bench.card.applications.relay import PORT as RELAY_PORT
from bench.net.chain_control import address_of as numbered
from bench.net.protocols import address, text
from bench.pattern import pattern
from bench.scenario.context import StepContext
from bench.scenario.step import Measure, Step
from bench.scenario.steps.ip_streams import serve_outside
from bench.scenario.steps.ip_support import (
    OUTSIDE,
    VERSIONS,
    Program,
    Version,
    Who,
    address_of,
    connect,
    network,
    station,
)
from bench.scenario.steps.support import milliseconds, wait
from bench.scenario.units import Duration, Size, Span

CONNECTED: Final = b"connected\r\n"
NOBODY: Final = 4444
NOWHERE: Final = {4: "198.51.100.77", 6: "2001:db8:77::1"}
"""Addresses outside that nobody has (RFC 5737, RFC 3849): what goes there is dropped without a word."""
EMPTY_PLACE: Final = 200
"""A card of no chain here."""


def order(context: StepContext, via: str, version: int, words: str, span: Span) -> tuple[Program, bytearray]:
    """A connection to the relay of card ``via`` with its order, and what comes back. The card fails the point where it has no relay."""
    origin = station(context, OUTSIDE)
    program = connect(context, origin, address_of(context, via, version), RELAY_PORT, span)
    if not program.is_open:
        context.fail(f"the relay of card {via} cannot be reached")
    back = bytearray()

    def begin() -> None:
        program.sink = back.extend
        assert program.connection is not None
        program.tcp.send(program.connection, words.encode(), context.engine.now)

    context.engine.call(begin)
    wait(context, lambda: back.endswith(b"\n") or program.reason is not None, span)
    return program, back


class TcpRelay(Step):
    """Has a card open a connection to an echo, of a card or outside, and holds that what is sent through it comes back.

    Example:
        - tcp_relay: {via: 1, to: 3, size: 4 KiB}
        - tcp_relay: {via: 1, to: outside}
    """

    verb: ClassVar[str] = "tcp_relay"
    measures: ClassVar = {"open_time": Measure("ms", "from the order to the card's word that it is connected")}

    via: Annotated[Who, Field(description="the card that is the client")]
    to: Who
    version: Version = "4"
    size: Annotated[Size, Field(description="how much is echoed", ge=1, le=1 << 20)] = 4096
    within: Annotated[Duration, Field(description="how long it may take")] = Span(300 * 10**9)

    def run(self, context: StepContext) -> None:
        if self.to == OUTSIDE:
            serve_outside(context)
        begun = context.engine.now
        where = text(address_of(context, self.to, int(self.version)))
        program, back = order(context, self.via, int(self.version), f"tcp {where} {ECHO_PORT}", self.within)
        if bytes(back) != CONNECTED:
            context.fail(f"card {self.via} could not connect to {where}: {bytes(back)!r}")
        context.measured("open_time", milliseconds(context, context.engine.now - begun))
        back.clear()
        sent = 0

        def give(room: int) -> bytes:
            nonlocal sent
            piece = pattern(sent, min(room, self.size - sent))
            sent += len(piece)
            return piece

        def begin() -> None:
            program.source = give
            program.pump()

        context.engine.call(begin)
        wait(context, lambda: len(back) >= self.size or program.reason is not None, self.within)
        if bytes(back) != pattern(0, self.size):
            context.fail(
                f"{len(back)} of {self.size} bytes came back through card {self.via}, or others than were sent"
            )
        context.engine.call(program.close)


class TcpRelayRefused(Step):
    """Has a card open a connection that comes to nothing, and holds that its application is told.

    `port`: one without a service, of the card itself; `place`: a card that is not there; `silence`: a host outside that does not answer.

    Example:
        - tcp_relay_refused: {via: 1, to: silence}
          measure:
            told: {at_most: 300000, unit: ms}
    """

    verb: ClassVar[str] = "tcp_relay_refused"
    measures: ClassVar = {"told": Measure("ms", "from the order to the application's word that it was refused")}

    via: Annotated[Who, Field(description="the card that is the client")]
    to: Annotated[Literal["port", "place", "silence"], Field(description="where nobody is")]
    version: Version = "4"
    within: Annotated[Duration, Field(description="how long it may take")] = Span(1200 * 10**9)

    def run(self, context: StepContext) -> None:
        version = int(self.version)
        port = ECHO_PORT
        if self.to == "port":
            where, port = text(address_of(context, self.via, version)), NOBODY
        elif self.to == "place":
            where = text(numbered(network(context).router.prefixes[VERSIONS[version]], EMPTY_PLACE))
        else:
            where = text(address(NOWHERE[version]))
        begun = context.engine.now
        program, back = order(context, self.via, version, f"tcp {where} {port}", self.within)
        if not back.startswith(b"refused"):
            context.fail(
                f"card {self.via} asked for {where} port {port} says {bytes(back)!r}, expected that it is refused"
            )
        context.measured("told", milliseconds(context, context.engine.now - begun))
        context.engine.call(program.close)
