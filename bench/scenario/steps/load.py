"""Load in the background, and channels opened for a direction."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from bench.host.peers import PeerSocket
from bench.pattern import pattern
from bench.scenario.context import StepContext
from bench.scenario.step import Step
from bench.scenario.steps.services import dial_service
from bench.scenario.steps.support import CHANNELS
from bench.scenario.units import Count, Whole

SERVICES = {"down": "discard", "up": "chargen", "echo": "echo"}
"""Which service of the reference card moves data which way."""


class OpenByDirection(Step):
    """Opens channels to the service that moves data the given way: discard (down), chargen (up), echo (both).

    Example:
        - open_by_direction: {count: 8, direction: up}
    """

    verb: ClassVar[str] = "open_by_direction"

    count: Annotated[Whole, Field(description="how many")] = 1
    direction: Annotated[
        Literal["down", "up", "echo"], Field(description="to the card, from the card, or there and back")
    ] = "down"
    card: Annotated[Count, Field(description="the card that serves")] = 1
    to: Annotated[
        Literal["card", "all", "outer", "last"],
        Field(description="which cards serve, each so many: the one named, all of the chain, its outer half, the last"),
    ] = "card"
    weight: Annotated[Literal["1", "2", "4", "8"], Field(description="shares of each line that a channel asks for")] = (
        "1"
    )

    def run(self, context: StepContext) -> None:
        known = context.notes.setdefault(CHANNELS, [])
        assert isinstance(known, list)
        last = context.point.given.cards
        first = {"card": self.card, "all": 1, "outer": last // 2 + 1, "last": last}[self.to]
        for card in range(first, last + 1) if self.to != "card" else [self.card]:
            for _ in range(self.count):
                known.append(dial_service(context, SERVICES[self.direction], card, weight=int(self.weight)))


class Load(Step):
    """Keeps every open channel busy from now on, while later steps measure something else.

    Example:
        - open_by_direction: {count: 8, direction: down}
        - load: {direction: down}
        - round_trips: {count: 20}
    """

    verb: ClassVar[str] = "load"

    direction: Annotated[
        Literal["down", "up", "echo"], Field(description="to the card, from the card, or there and back")
    ] = "down"

    def run(self, context: StepContext) -> None:
        sockets = context.notes.get(CHANNELS, [])
        assert isinstance(sockets, list)
        context.engine.call(lambda: self._start(sockets))

    def _start(self, sockets: list[PeerSocket]) -> None:
        for socket in sockets:
            socket.on_data = _forget
            if self.direction != "up":
                socket.source = _Source()
                socket.flush()


class _Source:
    def __init__(self) -> None:
        self.sent = 0

    def __call__(self, count: int) -> bytes:
        data = pattern(self.sent, count)
        self.sent += count
        return data


def _forget(_data: bytes) -> None:
    pass
