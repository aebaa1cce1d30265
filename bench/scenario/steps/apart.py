"""Streams on many channels at once, each different from all others: what is sent on one must arrive on it alone."""

from typing import Annotated, ClassVar

from pydantic import Field

from bench.host.peers import PeerSocket
from bench.scenario.context import StepContext
from bench.scenario.step import Step
from bench.scenario.steps.support import opened_channels, wait
from bench.scenario.units import Size, Span

LONGEST = Span(3600 * 10**9)


class KeepApart(Step):
    """Sends bytes of its own on every open channel (to an echo), in pieces of any length, all at once.

    Each must get back what is its own, unchanged and in order.

    Example:
        - open_channels: {count: 8, to: echo}
        - keep_apart: {size: 2 KiB}
    """

    verb: ClassVar[str] = "keep_apart"

    size: Annotated[Size, Field(description="how much goes each way on each", ge=1)] = 1000

    def run(self, context: StepContext) -> None:
        sockets = opened_channels(context)
        streams = [context.random.randbytes(self.size) for _ in sockets]

        def send() -> None:
            for socket, stream in zip(sockets, streams, strict=True):
                at = 0
                while at < len(stream):
                    length = context.random.randint(1, 300)
                    socket.write(stream[at : at + length])
                    at += length

        context.engine.call(send)
        wait(context, lambda: all(_whole(socket, self.size) for socket in sockets), LONGEST)
        for number, (socket, stream) in enumerate(zip(sockets, streams, strict=True), 1):
            got = bytes(socket.received)
            if got == stream:
                continue
            at = next(
                (i for i, (a, b) in enumerate(zip(got, stream, strict=False)) if a != b), min(len(got), len(stream))
            )
            other = next((n for n, each in enumerate(streams, 1) if n != number and got[at : at + 8] in each), 0)
            whose = f", which is of channel {other}" if other and len(got) > at + 7 else ""
            context.fail(f"channel {number} got {len(got)} of {len(stream)} bytes, another one at byte {at}{whose}")
        for socket in sockets:
            socket.received.clear()


def _whole(socket: PeerSocket, size: int) -> bool:
    return len(socket.received) >= size or socket.ended
