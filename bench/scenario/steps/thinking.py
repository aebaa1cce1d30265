"""An application that computes: it must hold up nobody."""

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from bench.observe import Exchange, Observation
from bench.scenario.context import StepContext
from bench.scenario.step import Measure, Step
from bench.scenario.steps.services import dial_service
from bench.scenario.steps.support import Watch, exchange, milliseconds, wait
from bench.scenario.units import Count, Duration, Span

if TYPE_CHECKING:
    from bench.rig.build import Rig


class KeepBusy(Step):
    """Has an application of the card compute, and meanwhile measures another's round trips and the card's longest silence.

    Layers 1 and 2 run asynchronously from the applications (the paper, 2.2): no exchange may exceed the waiting time, and another application's
    round trip may grow by at most one exchange.

    Example:
        - keep_busy: {for: 10 s}
          measure:
            growth: {at_most: 1, unit: exchanges}
    """

    verb: ClassVar[str] = "keep_busy"
    measures: ClassVar = {
        "growth": Measure("exchanges", "how much the longest round trip grew, in exchanges of its own size"),
        "longest_answer": Measure("ms", "longest round trip of the other application meanwhile"),
        "longest_exchange": Measure("ms", "longest single exchange meanwhile"),
    }

    duration: Annotated[Duration, Field(alias="for", description="how long it computes, at most 60 s")] = Span(
        10 * 10**9
    )
    card: Annotated[Count, Field(description="the card")] = 1
    count: Annotated[Count, Field(description="how many round trips are measured before and meanwhile")] = 20

    def why_not(self, rig: "Rig") -> str:
        return rig.unpaced if any(limits.judged for limits in self.measure.values()) else ""

    def run(self, context: StepContext) -> None:
        other = dial_service(context, "echo", self.card)
        thinker = dial_service(context, "thinker", self.card)
        message = context.random.randbytes(16)
        before = max(exchange(context, other, message) for _ in range(self.count))
        context.engine.call(lambda: thinker.write(b"%d" % (self.duration.ns // 10**6)))
        with Watch(context, _on_first_hop) as watch:
            meanwhile = max(exchange(context, other, message) for _ in range(self.count))
        if bytes(thinker.received):
            context.fail(f"the application answered before it had computed for {self.duration}")
        wait(context, lambda: bytes(thinker.received) == b"done\r\n", Span(self.duration.ns + 30 * 10**9))
        if bytes(thinker.received) != b"done\r\n":
            context.fail(f"the computing application answered {bytes(thinker.received)!r}")
        durations = [seen.duration_ticks for seen in watch.seen if isinstance(seen, Exchange)]
        longest = max(durations)
        context.measured("longest_answer", milliseconds(context, meanwhile))
        context.measured("longest_exchange", milliseconds(context, longest))
        context.measured("growth", max(0, meanwhile - before) / longest)


def _on_first_hop(observation: Observation) -> bool:
    return isinstance(observation, Exchange) and observation.hop == 1
