"""Streams that go on while something happens to the cards: echoes over TCP, compared byte by byte until they end."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from bench.card.applications.datagrams import ECHO_PORT
from bench.net.connection import Connection, Reason
from bench.net.protocols import text
from bench.net.tcp import TcpError
from bench.pattern import pattern
from bench.scenario.context import StepContext
from bench.scenario.errors import BenchFault
from bench.scenario.step import Measure, Step
from bench.scenario.steps.ip_connections import ENDS
from bench.scenario.steps.ip_support import (
    OUTSIDE,
    Program,
    Station,
    Version,
    Who,
    address_of,
    connect,
    network,
    station,
)
from bench.scenario.steps.support import milliseconds, wait
from bench.scenario.units import Count, Duration, Size, Span

STREAMS: Final = "ip streams"
"""The note that ``start_streams`` leaves."""
SERVED: Final = "echo outside"
"""The note that there is a server outside."""
FOR_EVER: Final = 1 << 60


@dataclass(slots=True)
class Stream:
    """One connection that sends a pattern and compares what comes back."""

    program: Program
    now: int
    goal: int = 0
    sent: int = 0
    received: int = 0
    wrong: str = ""
    ended_at: int | None = None

    @classmethod
    def open(cls, context: StepContext, origin: Station, destination: bytes, span: Span) -> "Stream":
        """A connection to an echo. The card fails the point where it cannot be had."""
        program = connect(context, origin, destination, ECHO_PORT, span)
        if not program.is_open:
            why = ENDS[program.reason] if program.reason is not None else "no answer"
            context.fail(f"a connection from {origin.name} to {text(destination)} port {ECHO_PORT}: {why}")
        stream = cls(program, context.engine.now)
        program.source, program.sink = stream._give, stream._take
        return stream

    def go_on(self, goal: int = FOR_EVER) -> None:
        """Send up to so many bytes in all."""
        self.goal = goal
        self.program.pump()

    @property
    def over(self) -> bool:
        return self.program.reason is not None

    def check(self, context: StepContext) -> None:
        """The card fails the point where anything came back altered."""
        if self.wrong:
            context.fail(self.wrong)

    def _give(self, room: int) -> bytes:
        count = min(room, self.goal - self.sent)
        data = pattern(self.sent, count)
        self.sent += count
        return data

    def _take(self, data: bytes) -> None:
        if not self.wrong and data != pattern(self.received, len(data)):
            self.wrong = f"what came back differs in the {len(data)} bytes from byte {self.received} on"
        self.received += len(data)


class StartStreams(Step):
    """Opens TCP connections to an echo that send and compare without end, also during the steps that follow, until `expect_streams`.

    Example:
        - start_streams: {to: 2, count: 3}
        - reassign_address: {card: 2}
        - expect_streams: {end: reset}
    """

    verb: ClassVar[str] = "start_streams"

    origin: Annotated[Who, Field(alias="from")] = OUTSIDE
    to: Who
    version: Version = "4"
    count: Annotated[Count, Field(description="how many")] = 1
    moved: Annotated[Size, Field(description="how much each must have moved before the next step")] = 1024
    within: Annotated[Duration, Field(description="how long that may take")] = Span(300 * 10**9)

    def run(self, context: StepContext) -> None:
        if self.to == OUTSIDE:
            serve_outside(context)
        origin, destination = station(context, self.origin), address_of(context, self.to, int(self.version))
        new = [Stream.open(context, origin, destination, self.within) for _ in range(self.count)]
        known = context.notes.setdefault(STREAMS, [])
        if not isinstance(known, list):
            raise BenchFault("the note of streams holds something else")
        known.extend(new)

        def begin() -> None:
            for each in new:
                each.go_on()

        context.engine.call(begin)
        wait(context, lambda: all(each.received >= self.moved or each.over for each in new), self.within)
        for number, each in enumerate(new, 1):
            each.check(context)
            if each.received < self.moved:
                context.fail(f"stream {number} moved {each.received} bytes within {self.within}, not {self.moved}")


class ExpectStreams(Step):
    """Holds that every stream of `start_streams` has ended, or ends now, as is expected, or goes on; and that everything that came back was right.

    Example:
        - expect_streams: {end: reset, within: 30 s}
          measure:
            ended: {at_most: 5000, unit: ms}
        - expect_streams: {end: none}
    """

    verb: ClassVar[str] = "expect_streams"
    measures: ClassVar = {
        "ended": Measure("ms", "from the beginning of the step until the last one had ended"),
        "moved": Measure("bytes", "what the stream that moved least had back"),
    }

    end: Annotated[Literal["reset", "none"], Field(description="by a reset, or not at all: each must move on")] = (
        "reset"
    )
    more: Annotated[Size, Field(description="how much more each must move, where none may end")] = 1024
    within: Annotated[Duration, Field(description="how long it may take")] = Span(120 * 10**9)

    def run(self, context: StepContext) -> None:
        streams = context.note(STREAMS, list)
        begun = context.engine.now
        goals = [each.received + self.more for each in streams]
        if self.end == "reset":
            wait(context, lambda: all(each.over for each in streams), self.within)
        else:
            wait(
                context,
                lambda: all(each.received >= goal for each, goal in zip(streams, goals, strict=True)),
                self.within,
            )
        for number, (each, goal) in enumerate(zip(streams, goals, strict=True), 1):
            each.check(context)
            became = "goes on" if each.program.reason is None else ENDS[each.program.reason]
            if self.end == "reset" and became != "reset":
                context.fail(f"stream {number}: {became}, expected a reset within {self.within}")
            if self.end == "none" and (each.over or each.received < goal):
                context.fail(f"stream {number}: {became}, {each.received} bytes came back, expected {goal}")
        context.measured("ended", milliseconds(context, context.engine.now - begun))
        context.measured("moved", min(each.received for each in streams))

        def stop() -> None:
            for each in streams:
                each.program.close()

        if self.end == "none":
            context.engine.call(stop)
        streams.clear()


class _Echo:
    """What the server outside does with a connection: everything goes back."""

    def __init__(self, context: StepContext) -> None:
        self.context = context
        self.tcp = network(context).peer.tcp
        self.held = bytearray()

    def opened(self, connection: Connection) -> None:
        """Nothing is said first."""

    def received(self, connection: Connection) -> None:
        now = self.context.engine.now
        while data := self.tcp.read(connection, 65_536, now):
            self.held += data
        self.room(connection)
        if connection.peer_ended and not self.held:
            self.tcp.close(connection, now)

    def room(self, connection: Connection) -> None:
        taken = self.tcp.send(connection, bytes(self.held), self.context.engine.now) if self.held else 0
        del self.held[:taken]
        if connection.peer_ended and not self.held:
            self.tcp.close(connection, self.context.engine.now)

    def closed(self, connection: Connection, reason: Reason) -> None:
        """It was the client's."""


def serve_outside(context: StepContext) -> None:
    """The computer outside has an echo from now on."""
    if SERVED in context.notes:
        return
    tcp = network(context).peer.tcp
    try:
        context.engine.call(lambda: tcp.listen(ECHO_PORT, lambda _connection: _Echo(context)))
    except TcpError as error:
        raise BenchFault(f"the computer outside: {error}") from None
    context.notes[SERVED] = True
