"""Bulk over TCP and UDP, from a station to a card, from it, or there and back."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from bench.card.applications.datagrams import DISCARD_PORT, ECHO_PORT, NUMBER, SOURCE_PORT
from bench.card.applications.streams import CHARGEN_PORT
from bench.card.applications.streams import DISCARD_PORT as TCP_DISCARD
from bench.net.node import Event, Sent
from bench.net.udp_ports import UdpPort
from bench.observe import Direction, Observation
from bench.pattern import pattern
from bench.scenario.context import StepContext
from bench.scenario.errors import BenchFault, NotApplicable
from bench.scenario.judge import PERCENT_OF_LIMIT
from bench.scenario.step import Measure, Step
from bench.scenario.steps.ip_line import TCP, UDP, of_interest, sent_again, share_of_limit
from bench.scenario.steps.ip_support import HOST, OUTSIDE, Program, Station, Version, Who, address_of, connect, station
from bench.scenario.steps.support import Watch, wait
from bench.scenario.units import Count, Duration, Size, Span, Truth

TCP_PORTS = {"down": TCP_DISCARD, "up": CHARGEN_PORT, "echo": ECHO_PORT}
UDP_PORTS = {"down": DISCARD_PORT, "up": SOURCE_PORT, "echo": ECHO_PORT}
PROTOCOLS = {"tcp": TCP, "udp": UDP}
DIRECTIONS = {
    "down": frozenset({Direction.OUT}),
    "up": frozenset({Direction.IN}),
    "echo": frozenset({Direction.OUT, Direction.IN}),
}
UNDER_WAY = 4
"""Datagrams of an echo that wait for their answers at a time: UDP has no window of its own."""


class IpTransfer(Step):
    """Moves data over one or more TCP connections, or in UDP datagrams, and holds that every byte of a stream arrives unchanged.

    The direction follows from the service of the card: discard (down), chargen or the source of datagrams (up), echo. Payload is counted where it
    arrives. A datagram may be lost; that is counted, not failed.

    Example:
        - ip_transfer: {to: 1, direction: up, protocol: tcp, size: 64 KiB, connections: 4}
          measure:
            retransmissions: {equals: 0, unit: segments}
            goodput: {at_least: 95, unit: percent_of_limit}
    """

    verb: ClassVar[str] = "ip_transfer"
    measures: ClassVar = {
        "goodput": Measure(
            PERCENT_OF_LIMIT,
            "payload per second on the first hop, over what the shortest legal sequence of exchanges would carry; not where a card is the origin",
        ),
        "goodput_rate": Measure(
            "B/s", "payload per second, from the first byte that arrives to the last; an echo counts once"
        ),
        "retransmissions": Measure("segments", "TCP segments sent again, by either end"),
        "fairness": Measure("jain", "Jain index of what the connections had moved when the first one was done"),
        "lost": Measure("datagrams", "UDP datagrams that did not arrive (for an echo, that did not come back)"),
    }

    origin: Annotated[Who, Field(alias="from")] = OUTSIDE
    to: Who
    direction: Annotated[
        Literal["down", "up", "echo"], Field(description="to the card, from the card, or there and back")
    ] = "down"
    protocol: Annotated[Literal["tcp", "udp"], Field(description="transport")] = "tcp"
    version: Version = "4"
    size: Annotated[Size, Field(description="how much each connection moves")] = 16_384
    datagram: Annotated[Size | None, Field(description="UDP: payload of a datagram; by default what the MTU takes")] = (
        None
    )
    connections: Annotated[Count, Field(description="how many at once")] = 1
    verify: Annotated[Truth, Field(description="compare what arrives with the pattern")] = True
    within: Annotated[Duration, Field(description="how long it may take")] = Span(3600 * 10**9)

    def run(self, context: StepContext) -> None:
        origin = station(context, self.origin)
        with Watch(context, of_interest) as watch:
            if self.protocol == "tcp":
                self._tcp(context, origin, watch)
            else:
                self._udp(context, origin)
        if "goodput" in self.measure:
            self._share(context, watch.seen)

    def _share(self, context: StepContext, seen: Sequence[Observation]) -> None:
        if self.origin not in (OUTSIDE, HOST):
            raise BenchFault("the share of the limit is the first hop's: 'from' must be host or outside")
        longest = self.datagram if self.protocol == "udp" else None
        share = share_of_limit(context, seen, DIRECTIONS[self.direction], PROTOCOLS[self.protocol], longest)
        if share is None:
            context.fail("fewer than three packets with data crossed the first hop whole")
        context.measured("goodput", share)

    # -- TCP -----------------------------------------------------------------------------------------------------------

    def _tcp(self, context: StepContext, origin: Station, watch: Watch) -> None:
        destination = address_of(context, self.to, int(self.version))
        flows: list[_Stream] = []
        for number in range(1, self.connections + 1):
            program = connect(context, origin, destination, TCP_PORTS[self.direction], Span(300 * 10**9), holds=True)
            if not program.is_open:
                why = program.reason.value if program.reason is not None else "no answer"
                context.fail(f"connection {number} of {self.connections} could not be opened: {why}")
            flows.append(_Stream(program, self.direction, self.size, self.verify, lambda: context.engine.now))
        far = station(context, self.to)
        before = context.engine.call(lambda: _sent_again(origin) + _sent_again(far))
        begun = context.engine.now
        context.engine.call(lambda: _each(flow.start for flow in flows))
        first: list[list[int]] = []

        def done() -> bool:
            if not first and any(flow.done for flow in flows):
                first.append([flow.moved for flow in flows])
            return all(flow.done or flow.broken for flow in flows)

        wait(context, done, self.within)
        for number, flow in enumerate(flows, 1):
            if flow.broken:
                context.fail(f"connection {number}: {flow.broken}")
            if not flow.done:
                context.fail(f"connection {number} moved {flow.moved} of {self.size} bytes within {self.within}")
        again = context.engine.call(lambda: _sent_again(origin) + _sent_again(far))
        if far.layers is None:  # what such a card sends again is seen on its line
            again += sent_again(watch.seen, Direction.IN)
        ended = max(flow.last for flow in flows)
        context.measured("goodput_rate", self.size * len(flows) * context.engine.timebase.hz / max(1, ended - begun))
        context.measured("retransmissions", again - before)
        shares = first[0]
        context.measured("fairness", sum(shares) ** 2 / (len(shares) * sum(each * each for each in shares)))
        context.engine.call(lambda: _each(flow.stop for flow in flows))

    # -- UDP -----------------------------------------------------------------------------------------------------------

    def _udp(self, context: StepContext, origin: Station) -> None:
        destination = address_of(context, self.to, int(self.version))
        if self.direction == "down" and station(context, self.to).layers is None:
            raise NotApplicable("whether a datagram arrived is seen inside a card alone: use up, or echo")
        flows = context.engine.call(lambda: [self._flow(context, origin, destination) for _ in range(self.connections)])
        begun = context.engine.now
        context.engine.call(lambda: _each(flow.start for flow in flows))
        quiet = Span(30 * 10**9)

        def progress() -> int:
            far = sum(station(context, self.to).node.events.values()) if self.direction == "down" else 0
            return sum(flow.arrived for flow in flows) + far

        last = -1
        while not all(flow.done for flow in flows) and progress() != last:
            last = progress()
            wait(context, lambda: all(flow.done for flow in flows), quiet)
        for flow in flows:
            if flow.broken:
                context.fail(flow.broken)
        arrived = sum(flow.arrived for flow in flows)
        ended = max((flow.last for flow in flows), default=begun)
        moved = sum(flow.moved for flow in flows)
        if not moved:
            context.fail("not one datagram arrived")
        context.measured("goodput_rate", moved * context.engine.timebase.hz / max(1, ended - begun))
        context.measured("lost", sum(flow.count for flow in flows) - arrived)
        context.engine.call(lambda: _each(flow.stop for flow in flows))

    def _flow(self, context: StepContext, origin: Station, destination: bytes) -> "_Datagrams":
        room = origin.udp.room(destination, context.engine.now)
        size = (
            self.datagram
            if self.datagram is not None
            else min(room, context.point.given.mtu - (28 if len(destination) == 4 else 48))
        )
        port = origin.udp.bind(remote=(destination, UDP_PORTS[self.direction]))
        count = max(1, -(-self.size // size))
        return _Datagrams(context, origin, port, self.direction, max(size, NUMBER), count, station(context, self.to))


def _sent_again(end: Station) -> int:
    """Segments sent again so far, as far as this end tells of them."""
    if end.layers is None:
        return 0
    return sum(each.counts.retransmissions for each in end.tcp.connections.values())


class _Stream:
    """One TCP connection kept busy."""

    def __init__(self, program: Program, direction: str, size: int, verify: bool, now: Callable[[], int]) -> None:
        self.program = program
        self.direction = direction
        self.size = size
        self.verify = verify
        self.now = now
        self.sent = 0
        self.received = 0
        self.last = 0
        self.wrong = ""

    @property
    def moved(self) -> int:
        """What has arrived, as far as the origin can know: acknowledged, or received."""
        connection = self.program.connection
        if self.direction != "down" or connection is None:
            return min(self.received, self.size)
        return self.sent - connection.unsent - connection.flight

    @property
    def done(self) -> bool:
        moved = self.moved >= self.size
        if moved and not self.last:
            self.last = self.now()
        return moved

    @property
    def broken(self) -> str:
        """Why it will come to nothing; empty where it will not."""
        if self.wrong:
            return self.wrong
        program = self.program
        if program.reason is not None and not self.done:
            return f"ended after {self.moved} bytes: {program.reason.value}"
        return ""

    def start(self) -> None:
        self.program.sink = self._take
        self.program.listen()
        if self.direction != "up":
            self.program.source = self._give
            self.program.pump()

    def stop(self) -> None:
        self.program.sink = _forget
        self.program.close()

    def _give(self, room: int) -> bytes:
        count = min(room, self.size - self.sent)
        data = pattern(self.sent, count)
        self.sent += count
        return data

    def _take(self, data: bytes) -> None:
        if self.verify and not self.wrong and data != pattern(self.received, len(data)):
            self.wrong = f"what came differs from the pattern in the {len(data)} bytes from byte {self.received} on"
        self.received += len(data)


@dataclass(slots=True)
class _Datagrams:
    """One UDP port kept busy. Each datagram begins with its number."""

    context: StepContext
    origin: Station
    port: UdpPort
    direction: str
    size: int
    count: int
    far: Station
    sent: int = 0
    last: int = 0
    broken: str = ""
    seen: set[int] = field(default_factory=set)
    _delivered: int = 0

    @property
    def arrived(self) -> int:
        """Datagrams that have arrived where they were to."""
        if self.direction != "down":
            return len(self.seen)
        return min(self.count, self._taken() - self._delivered)

    @property
    def moved(self) -> int:
        return self.arrived * self.size

    @property
    def done(self) -> bool:
        complete = self.arrived >= self.count
        if complete and self.direction == "down":
            self.last = self.last or self.context.engine.now
        return complete or bool(self.broken)

    def start(self) -> None:
        if self.direction == "down":
            self._delivered = self._taken()
        self.port.on_datagram = self._came
        self.port.on_room = self._pump
        if self.direction == "up":
            self._order()
        else:
            self._pump()

    def stop(self) -> None:
        self.origin.udp.close(self.port)

    def _order(self) -> None:
        self._send(b"%d %d" % (self.count, self.size))

    def _pump(self) -> None:
        if self.direction == "up":
            return
        while self.sent < self.count:
            if self.direction == "echo" and self.sent - len(self.seen) >= UNDER_WAY:
                return
            if not self._send(self._datagram(self.sent)):
                return
            self.sent += 1

    def _send(self, data: bytes) -> bool:
        assert self.port.remote is not None
        address, port = self.port.remote
        sent = self.origin.udp.send(self.port, address, port, data, self.context.engine.now)
        if sent is Sent.NO_ROUTE:
            self.broken = "there is no way to the card"
        return sent is Sent.YES

    def _datagram(self, number: int) -> bytes:
        return number.to_bytes(NUMBER, "big") + pattern(0, self.size - NUMBER)

    def _came(self) -> None:
        while (datagram := self.port.take()) is not None:
            number = int.from_bytes(datagram.payload[:NUMBER], "big")
            if number >= self.count or datagram.payload != self._datagram(number):
                self.broken = f"a datagram of {len(datagram.payload)} bytes came that nobody sent"
                return
            self.seen.add(number)
            self.last = self.context.engine.now
        self._pump()

    def _taken(self) -> int:
        """Datagrams that layer 3 of the card has delivered."""
        return self.far.node.events[Event.DELIVERED]


def _each(actions: Iterable[Callable[[], None]]) -> None:
    for action in actions:
        action()


def _forget(_data: bytes) -> None:
    pass
