"""Routes: who reaches whom."""

from typing import Annotated, ClassVar

from pydantic import Field

from bench.channels.message import Cause
from bench.host.peers import PeerSocket
from bench.scenario.context import StepContext
from bench.scenario.step import Measure, Step
from bench.scenario.steps.services import dial_service
from bench.scenario.steps.support import dial, exchange, milliseconds, service, wait
from bench.scenario.units import Count, Size, Truth, Whole


class ExpectRoute(Step):
    """Holds that one node reaches another (or is told that it cannot), by having bytes echoed.

    From a card, the way is that card's relay: a channel of one of its own applications to the other card. The host stands outside, so the channel is
    opened from there.

    Example:
        - expect_route: {from: 2, to: 5, size: 200 B}
          measure:
            echo_time: {at_most: 500, unit: ms}
    """

    verb: ClassVar[str] = "expect_route"
    measures: ClassVar = {"echo_time": Measure("ms", "until all bytes are back")}

    origin: Annotated[Whole, Field(alias="from", description="the node it starts from; 0 is the host")] = 0
    to: Annotated[Count, Field(description="the card that must be reached")]
    size: Annotated[Size, Field(description="how much is echoed")] = 32
    reachable: Annotated[Truth, Field(description="false: the node must be told that it cannot be reached")] = True
    repeats: Annotated[Count, Field(description="how often it is measured, one after the other")] = 1

    def run(self, context: StepContext) -> None:
        if not self.reachable:
            self._refused(context)
            return
        socket = dial_service(context, "echo", self.to, via=self.origin)
        for _ in range(self.repeats):
            data = context.random.randbytes(self.size)
            ticks = exchange(context, socket, data)
            context.measured("echo_time", milliseconds(context, ticks), detail=f"{self.origin} to {self.to}")
        context.engine.call(socket.close)

    def _refused(self, context: StepContext) -> None:
        if not self.origin:
            if any(listed.card == self.to for listed in context.engine.call(context.rig.host.gateway.services)):
                context.fail(f"the host still lists services of card {self.to}")
            return
        relay: PeerSocket = dial(context, service(context, "relay", self.origin).port)
        context.engine.call(lambda: relay.write(b"%d echo\n" % self.to))
        wait(context, lambda: bytes(relay.received).endswith(b"\n") or relay.ended)
        answer = bytes(relay.received)
        told = b"refused %02x\r\n" % Cause.NOT_REACHABLE
        if answer != told:
            context.fail(
                f"card {self.origin} asked for card {self.to}, which is not there, and was told {answer!r}, not {told!r}"
            )
