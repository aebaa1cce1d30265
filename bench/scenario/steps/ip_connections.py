"""TCP connections between stations: opened, refused, ended."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from bench.net.connection import Reason
from bench.net.protocols import text
from bench.scenario.context import StepContext
from bench.scenario.step import Measure, Step
from bench.scenario.steps.ip_support import CONNECTIONS, OUTSIDE, Version, Who, address_of, connect, programs, station
from bench.scenario.steps.support import milliseconds, wait
from bench.scenario.units import Count, Duration, Span

ENDS = {
    Reason.REFUSED: "refused",
    Reason.RESET: "reset",
    Reason.TIMED_OUT: "no-answer",
    Reason.UNREACHABLE: "unreachable",
    Reason.FINISHED: "finished",
    Reason.ABORTED: "aborted",
}


class IpConnect(Step):
    """Opens TCP connections and keeps them for later steps, or holds that they are refused.

    Example:
        - ip_connect: {to: 3, port: 7, count: 4}
          measure:
            connect_time: {at_most: 2000, unit: ms}
    """

    verb: ClassVar[str] = "ip_connect"
    measures: ClassVar = {"connect_time": Measure("ms", "longest handshake")}

    origin: Annotated[Who, Field(alias="from")] = OUTSIDE
    to: Who
    port: Annotated[Count, Field(description="TCP port", le=65_535)] = 7
    version: Version = "4"
    count: Annotated[Count, Field(description="how many")] = 1
    expect: Annotated[
        Literal["open", "refused", "unreachable", "no-answer"], Field(description="what must become of each")
    ] = "open"
    within: Annotated[Duration, Field(description="how long each may take")] = Span(300 * 10**9)

    def run(self, context: StepContext) -> None:
        origin = station(context, self.origin)
        destination = address_of(context, self.to, int(self.version))
        longest = 0
        known = context.notes.setdefault(CONNECTIONS, [])
        assert isinstance(known, list)
        for _ in range(self.count):
            begun = context.engine.now
            program = connect(context, origin, destination, self.port, self.within)
            longest = max(longest, context.engine.now - begun)
            became = "open" if program.is_open else "no-answer"
            if program.reason is not None and not program.is_open:
                became = ENDS[program.reason]
            if became != self.expect:
                context.fail(
                    f"a connection from {program.name} to {text(destination)} port {self.port}: "
                    f"{became}, expected {self.expect}"
                )
            if program.is_open:
                known.append(program)
        context.measured("connect_time", milliseconds(context, longest))


class ExpectEnded(Step):
    """Holds that every connection that ``ip_connect`` left has ended, or ends now, in the way that is expected.

    Each of them sends a few bytes first, so that a peer which has gone is noticed.

    Example:
        - expect_ended: {by: reset, within: 30 s}
    """

    verb: ClassVar[str] = "expect_ended"
    measures: ClassVar = {"ended": Measure("ms", "until the last one had ended")}

    by: Annotated[Literal["reset", "finished", "no-answer"], Field(description="how")] = "reset"
    within: Annotated[Duration, Field(description="how long it may take")] = Span(60 * 10**9)

    def run(self, context: StepContext) -> None:
        known = programs(context)
        begun = context.engine.now

        def speak() -> None:
            for program in known:
                if program.connection is not None and program.reason is None:
                    program.tcp.send(program.connection, b"are you there?\r\n", context.engine.now)

        context.engine.call(speak)
        wait(context, lambda: all(program.reason is not None for program in known), self.within)
        for number, program in enumerate(known, 1):
            became = "still open" if program.reason is None else ENDS[program.reason]
            if became != self.by:
                context.fail(f"connection {number} of {program.name}: {became}, expected {self.by}")
        context.measured("ended", milliseconds(context, context.engine.now - begun))
        known.clear()
