"""Ping and trace route, between cards, the host and a computer outside."""

from statistics import median
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from bench.net.protocols import text
from bench.scenario.context import StepContext
from bench.scenario.step import Measure, Step
from bench.scenario.steps.ip_support import HOST, OUTSIDE, Pinger, Version, Who, address_of, kind_of, network, station
from bench.scenario.steps.support import milliseconds
from bench.scenario.units import Count, Duration, Size, Span


class Ping(Step):
    """Sends ICMP echo requests and holds that each is answered with the same bytes, or ends in the error that is expected.

    Example:
        - ping: {to: 3, from: outside, size: 1000 B, version: 6, count: 5}
          measure:
            round_trip: {at_most: 2000, unit: ms}
    """

    verb: ClassVar[str] = "ping"
    measures: ClassVar = {
        "round_trip": Measure("ms", "median"),
        "round_trip_longest": Measure("ms", "longest"),
        "lost": Measure("requests", "requests without an answer"),
    }

    origin: Annotated[Who, Field(alias="from")] = OUTSIDE
    to: Who
    version: Version = "4"
    size: Annotated[Size, Field(description="bytes of payload", le=65_000)] = 56
    count: Annotated[Count, Field(description="how many, one after the other")] = 3
    hop_limit: Annotated[Count, Field(description="TTL, or hop limit", le=255)] = 64
    expect: Annotated[
        Literal["reply", "unreachable", "time-exceeded", "silence", "any"],
        Field(description="what must become of each; any: only counted"),
    ] = "reply"
    within: Annotated[Duration, Field(description="how long each may take")] = Span(60 * 10**9)

    def run(self, context: StepContext) -> None:
        origin = station(context, self.origin)
        destination = address_of(context, self.to, int(self.version))
        times: list[float] = []
        lost = 0
        with Pinger(context, origin, destination) as pinger:
            pinger.hop_limit = self.hop_limit
            for sequence in range(1, self.count + 1):
                echo = pinger.ping(sequence, context.random.randbytes(self.size), self.within)
                became = "reply" if echo.back is not None else "silence"
                if echo.report is not None:
                    became = kind_of(echo.report)
                if echo.back is not None:
                    times.append(milliseconds(context, echo.back - echo.sent))
                else:
                    lost += 1
                if self.expect not in (became, "any"):
                    why = f" ({echo.report.reason})" if echo.report is not None else ""
                    context.fail(
                        f"echo request {sequence} of {self.size} bytes from {origin.name} to {text(destination)}: "
                        f"{became}{why}, expected {self.expect}"
                    )
        if pinger.damaged:
            context.fail("an echo reply brought other bytes back than were sent")
        if times:
            context.measured("round_trip", median(times))
            context.measured("round_trip_longest", max(times))
        context.measured("lost", lost)


class TraceRoute(Step):
    """Finds each node on the way with growing hop limits, and holds that they are the host and the cards before the one asked for, in order.

    Example:
        - trace_route: {to: 5, from: outside}
    """

    verb: ClassVar[str] = "trace_route"
    measures: ClassVar = {"hops": Measure("hops", "nodes on the way, the last one included")}

    origin: Annotated[Who, Field(alias="from")] = OUTSIDE
    to: Who
    version: Version = "4"
    within: Annotated[Duration, Field(description="how long each probe may take")] = Span(60 * 10**9)

    def run(self, context: StepContext) -> None:
        version = int(self.version)
        origin = station(context, self.origin)
        destination = address_of(context, self.to, version)
        expected = [self._known(context, who) for who in self._way()]
        with Pinger(context, origin, destination) as pinger:
            for hop, known in enumerate(expected, 1):
                pinger.hop_limit = hop
                echo = pinger.ping(hop, b"", self.within)
                last = hop == len(expected)
                if last and echo.back is not None:
                    break
                if echo.report is None or kind_of(echo.report) != "time-exceeded":
                    became = "reached" if echo.back is not None else "silence"
                    became = echo.report.reason if echo.report is not None else became
                    context.fail(f"hop {hop} towards {text(destination)}: {became}, expected time exceeded")
                if last or echo.report.by not in known:
                    names = " or ".join(text(each) for each in known)
                    context.fail(f"hop {hop} towards {text(destination)} is {text(echo.report.by)}, expected {names}")
        context.measured("hops", len(expected))

    def _way(self) -> list[str]:
        """Who is on the way, without the origin."""
        places = {OUTSIDE: -1, HOST: 0}
        first = places.get(self.origin, int(self.origin) if self.origin.isdigit() else 0)
        last = places.get(self.to, int(self.to) if self.to.isdigit() else 0)
        step = 1 if last >= first else -1
        names = {-1: OUTSIDE, 0: HOST}
        return [names.get(place, str(place)) for place in range(first + step, last + step, step)]

    def _known(self, context: StepContext, who: str) -> tuple[bytes, ...]:
        if who == HOST:
            return tuple(network(context).router.node.own)
        return station(context, who).known
