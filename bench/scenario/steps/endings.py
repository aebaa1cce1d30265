"""How channels stall and end: readers that read no more, half-close, resets, peers that vanish, no channel left.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from bench.channels.message import Cause
from bench.host.peers import PeerSocket
from bench.observe import Direction, Observation, Packet
from bench.pattern import pattern
from bench.scenario.context import StepContext
from bench.scenario.step import Measure, Step
from bench.scenario.steps.services import dial_service
from bench.scenario.steps.support import Watch, exchange, opened_channels, service, wait
from bench.scenario.units import Count, Duration, Line, Size, Span

DATA = 4
UNDER_WAY = 16
"""Messages a channel after which a transfer is under way: on a slow line it is broken off before."""
UNDER_WAY_WITHIN = Span(2 * 10**9)
CAUSES = {"reset": Cause.CHANNEL_CLOSED, "vanish": Cause.NOT_REACHABLE}


class Stall(Step):
    """The last of the open channels read no more, while all others go on; then they read again, and nothing has been lost.

    The channels are those of `open_by_direction`, up (chargen) or echo: behind an echo nobody reads, so its application receives no more either.

    Example:
        - open_by_direction: {count: 4, direction: up}
        - stall: {count: 1, for: 20 s, direction: up}
          measure:
            held: {at_most: 10, unit: messages}
            others: {at_least: 1, unit: ratio}
    """

    verb: ClassVar[str] = "stall"
    measures: ClassVar = {
        "held": Measure("messages", "what one stalled channel still brought over the first hop after it had stalled"),
        "others": Measure("ratio", "what the slowest other channel moved meanwhile, over as long a time before"),
    }

    count: Annotated[Count, Field(description="how many stall")] = 1
    duration: Annotated[Duration, Field(alias="for", description="how long")] = Span(20 * 10**9)
    direction: Annotated[Literal["up", "echo"], Field(description="from the card, or there and back")] = "up"

    def run(self, context: StepContext) -> None:
        readers = [_Reader(socket, self.direction) for socket in opened_channels(context)]
        stalled, others = readers[-self.count :], readers[: -self.count]
        span = self.duration.ticks(context.engine.timebase)
        context.engine.call(lambda: _each(each.start for each in readers))
        context.engine.wait(lambda: False, span)
        before = [each.count for each in others]
        halted = [each.count for each in stalled]

        def stall() -> None:
            for each in stalled:
                each.socket.reading = False

        with Watch(context, _is_data_from_card) as watch:
            context.engine.call(stall)
            context.engine.wait(lambda: False, span)
            crossed = [seen for seen in watch.seen if isinstance(seen, Packet)]
        meanwhile = [each.count - first for each, first in zip(others, before, strict=True)]
        if any(each.count != at for each, at in zip(stalled, halted, strict=True)):
            context.fail("a channel that did not read was given something")
        ours = sum(meanwhile)
        carried = sum(len(packet.data) - 5 for packet in crossed)
        payload = max(len(packet.data) - 5 for packet in crossed) if crossed else 1
        context.measured("held", max(0, carried - ours) / payload / self.count)
        context.measured("others", min(now / max(1, first) for now, first in zip(meanwhile, before, strict=True)))
        context.engine.call(lambda: _each(each.socket.resume for each in stalled))
        wait(context, lambda: all(each.count > at for each, at in zip(stalled, halted, strict=True)))
        for number, each in enumerate(readers, 1):
            if each.broken:
                context.fail(f"channel {number}: what came is not what was sent, from byte {each.broken} on")
        if any(each.count <= at for each, at in zip(stalled, halted, strict=True)):
            context.fail("a channel that reads again gets nothing")


class HalfClose(Step):
    """Sends to a card's echo and says that no more will come: everything must come back, and then the end.

    Example:
        - half_close: {size: 500 B}
    """

    verb: ClassVar[str] = "half_close"

    card: Annotated[Count, Field(description="the card that serves")] = 1
    size: Annotated[Size, Field(description="how much is sent before")] = 500

    def run(self, context: StepContext) -> None:
        socket = dial_service(context, "echo", self.card)
        data = context.random.randbytes(self.size)

        def send() -> None:
            socket.write(data)
            socket.finish()

        context.engine.call(send)
        wait(context, lambda: socket.ended)
        if bytes(socket.received) != data:
            context.fail(f"{len(socket.received)} of {len(data)} bytes came back after the end of what was sent")
        if not socket.ended:
            context.fail("the echo did not end after the other side had")


class BreakOff(Step):
    """Ends all open channels without a word, in the middle of a transfer, and holds that nothing of them is left and the service serves on.

    Example:
        - open_channels: {count: 4, to: echo}
        - load: {direction: echo}
        - break_off: {how: reset}
          measure:
            left: {equals: 0, unit: channels}
    """

    verb: ClassVar[str] = "break_off"
    measures: ClassVar = {
        "left": Measure("channels", "channels the host still has after it, those of services left out")
    }

    how: Annotated[Literal["reset", "vanish"], Field(description="RST from the peer, or a peer that is gone")] = "reset"
    service: Annotated[Line, Field(description="the service that must serve on (an echo)")] = "echo"
    card: Annotated[Count, Field(description="its card")] = 1

    def run(self, context: StepContext) -> None:
        sockets = opened_channels(context)
        context.notes.pop("channels")
        with Watch(context, _is_data_from_card) as watch:
            wait(context, lambda: len(watch.seen) >= UNDER_WAY * len(sockets), UNDER_WAY_WITHIN)
        context.engine.call(lambda: _each(partial(socket.close, CAUSES[self.how]) for socket in sockets))
        host = context.rig.host
        services = host.gateway.services
        wait(context, lambda: host.gateway.connections == 0 and len(host.node.table) <= len(services()))
        context.measured("left", context.engine.call(lambda: len(host.node.table) - len(services())))
        exchange(context, dial_service(context, self.service, self.card), context.random.randbytes(40))


class OpenUntilRefused(Step):
    """Opens channels to a service until one is refused, and holds that those there are go on, and that one closed makes room for one more.

    Example:
        - open_until_refused: {to: echo}
          measure:
            opened: {at_least: 8, unit: channels}
    """

    verb: ClassVar[str] = "open_until_refused"
    measures: ClassVar = {"opened": Measure("channels", "how many were open when one was refused")}

    to: Annotated[Line, Field(description="name of the service (an echo)")] = "echo"
    card: Annotated[Count, Field(description="the card that serves")] = 1
    most: Annotated[Count, Field(description="that many must not all be had", le=255)] = 255

    def run(self, context: StepContext) -> None:
        port = service(context, self.to, self.card).port
        there: list[PeerSocket] = []
        while len(there) < self.most:
            socket = context.engine.call(lambda: context.rig.uplink.dial(port))
            wait(context, partial(_answered, socket))
            if not socket.open:
                break
            there.append(socket)
        else:
            context.fail(f"all of {self.most} channels were opened, and none refused")
        if socket.cause is not Cause.NO_CHANNEL:
            context.fail(f"one channel too many was refused with {socket.cause!r}, expected 01 (no channel available)")
        if not there:
            context.fail(f"no channel to {self.to} of card {self.card} could be opened")
        context.measured("opened", len(there))
        for each in there:
            exchange(context, each, context.random.randbytes(20))
        context.engine.call(there.pop().close)
        host = context.rig.host
        wait(context, lambda: host.gateway.connections == len(there))
        exchange(context, dial_service(context, self.to, self.card), context.random.randbytes(20))


class _Reader:
    """A program outside that reads a channel and holds what comes against the pattern."""

    def __init__(self, socket: PeerSocket, direction: str) -> None:
        self.socket = socket
        self.direction = direction
        self.count = 0
        self.sent = 0
        self.broken = 0

    def start(self) -> None:
        self._take(bytes(self.socket.received))
        self.socket.received.clear()
        self.socket.on_data = self._take
        if self.direction == "echo":
            self.socket.source = self._give
            self.socket.flush()

    def _take(self, data: bytes) -> None:
        if data != pattern(self.count, len(data)) and not self.broken:
            self.broken = max(1, self.count)
        self.count += len(data)

    def _give(self, count: int) -> bytes:
        data = pattern(self.sent, count)
        self.sent += count
        return data


def _answered(socket: PeerSocket) -> bool:
    return socket.open or socket.cause is not None


def _each(actions: Iterable[Callable[[], None]]) -> None:
    for action in actions:
        action()


def _is_data_from_card(seen: Observation) -> bool:
    return (
        isinstance(seen, Packet)
        and seen.hop == 1
        and seen.direction is Direction.IN
        and seen.kind == "channel"
        and seen.data[0] & 0x0F == DATA
    )
