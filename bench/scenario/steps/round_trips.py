"""Latency: small messages there and back, alone or beside bulk."""

from statistics import median
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from bench.scenario.context import StepContext
from bench.scenario.step import Measure, Step
from bench.scenario.steps.services import dial_service
from bench.scenario.steps.support import exchange, milliseconds
from bench.scenario.units import Count, Duration, Size, Span, Whole

if TYPE_CHECKING:
    from bench.rig.build import Rig


class RoundTrips(Step):
    """Sends small messages to a card's echo, one after the other on a channel of its own, and measures until each is back.

    Example:
        - round_trips: {card: 4, count: 20, size: 16 B}
          measure:
            round_trip: {at_most: 400, unit: ms}
    """

    verb: ClassVar[str] = "round_trips"
    measures: ClassVar = {
        "round_trip": Measure("ms", "median"),
        "round_trip_longest": Measure("ms", "longest"),
    }

    card: Annotated[Count, Field(description="the card")] = 1
    via: Annotated[Whole, Field(description="the card whose application is the client; 0: a program outside")] = 0
    count: Annotated[Count, Field(description="how many")] = 10
    size: Annotated[Size, Field(description="length of each message")] = 16
    every: Annotated[Duration, Field(description="pause between two")] = Span(0)

    def run(self, context: StepContext) -> None:
        socket = dial_service(context, "echo", self.card, self.via)
        times: list[float] = []
        for _ in range(self.count):
            times.append(milliseconds(context, exchange(context, socket, context.random.randbytes(self.size))))
            if self.every.ns:
                context.engine.wait(lambda: False, self.every.ticks(context.engine.timebase))
        context.engine.call(socket.close)
        context.measured("round_trip", median(times))
        context.measured("round_trip_longest", max(times))


class CostPerHop(Step):
    """Measures the round trip to every card of the chain, and what each further hop adds.

    Example:
        - cost_per_hop: {}
          measure:
            hop_spread: {at_most: 1.5, unit: ratio}
    """

    verb: ClassVar[str] = "cost_per_hop"
    measures: ClassVar = {
        "round_trip": Measure("ms", "median round trip to one card"),
        "hop_cost": Measure("ms", "what one more hop adds to the median round trip, on average over the chain"),
        "hop_spread": Measure("ratio", "cost of a hop in the farther half of the chain over that in the nearer half"),
    }

    count: Annotated[Count, Field(description="round trips to each card")] = 10
    size: Annotated[Size, Field(description="length of each message")] = 16

    def why_not(self, rig: "Rig") -> str:
        return rig.unpaced

    def run(self, context: StepContext) -> None:
        cards = sorted(context.engine.call(lambda: context.rig.host.cards))
        if len(cards) < 2:
            context.fail(f"{len(cards)} card: the cost of a further hop needs two")
        medians: list[float] = []
        for card in cards:
            socket = dial_service(context, "echo", card)
            data = context.random.randbytes(self.size)
            times = [milliseconds(context, exchange(context, socket, data)) for _ in range(self.count)]
            context.engine.call(socket.close)
            medians.append(median(times))
            context.measured("round_trip", medians[-1], detail=f"card {card}")
        middle = len(cards) // 2
        context.measured("hop_cost", (medians[-1] - medians[0]) / (len(cards) - 1))
        nearer = medians[middle - 1] / middle
        farther = (medians[-1] - medians[middle - 1]) / (len(cards) - middle)
        context.measured("hop_spread", farther / nearer)
