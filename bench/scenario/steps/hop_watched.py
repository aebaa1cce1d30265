"""What the terminal side of the first hop does, as seen on its line: when it polls, which instructions it uses, when it gives up."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from bench.iso7816.line import CHARACTER_END_ETU, etu_near
from bench.iso7816.rates import Rate
from bench.observe import Exchange, LinkChange, Observation
from bench.scenario.context import StepContext
from bench.scenario.errors import NotApplicable
from bench.scenario.step import Measure, Step
from bench.scenario.steps.support import Watch, opened_channels, wait
from bench.scenario.units import Duration, Span

ENVELOPE, GET_RESPONSE = 0xC2, 0xC0
NOTHING = 0x6200
MANY = 100
TURN_ETU = (16 - CHARACTER_END_ETU, 22 - CHARACTER_END_ETU)
"""From the end of the card's last character (of an exchange) to the earliest of the terminal's next: T=0, T=1 (ISO/IEC 7816-3, 10.2, 11.2)."""


class PollTimes(Step):
    """Watches the first hop while nothing is to be said, and holds each poll against the period: from the start of the one before, or when that ends.

    Example:
        - poll_times: {for: 2 s}
          measure:
            deviation: {equals: 0, unit: us}
    """

    verb: ClassVar[str] = "poll_times"
    measures: ClassVar = {
        "deviation": Measure("us", "largest difference of a poll's start from when it was due"),
        "polls": Measure("polls", "how many were seen"),
    }

    duration: Annotated[Duration, Field(alias="for", description="how long")] = Span(2 * 10**9)

    def run(self, context: StepContext) -> None:
        engine = context.engine
        engine.wait(lambda: False, Span(5 * 10**9).ticks(engine.timebase))  # the cards' services have been opened
        with Watch(context, _on_first_hop) as watch:
            engine.wait(lambda: False, self.duration.ticks(engine.timebase))
        seen = [each for each in watch.seen if isinstance(each, Exchange)]
        if any(each.ins != GET_RESPONSE or each.sw != NOTHING for each in seen):
            raise NotApplicable("the cards have something to say all the time: there are no idle polls to watch")
        link = context.rig.host.link
        period = link.poll.longest
        etu = etu_near(Rate(link.port.ta1), link.port.clock_hz, engine.timebase)
        turn = TURN_ETU[link.port.protocol] * etu
        polls = sum(each.count for each in seen)
        worst = 0
        last: int | None = None
        free = 0
        for each in seen:
            if last is not None:
                worst = max(worst, abs(each.start_ticks - max(last + period, free)))
            if each.count > 1:
                worst = max(worst, abs(each.period_ticks - max(period, each.duration_ticks + turn)))
            last = each.start_ticks + (each.count - 1) * each.period_ticks
            free = last + each.duration_ticks + turn
        context.measured("polls", polls)
        context.measured("deviation", engine.timebase.to_ns(worst) / 1000)


class Instructions(Step):
    """Watches which instructions cross the first hop while channels are open and busy: the hop needs two.

    Example:
        - load: {direction: echo}
        - instructions: {for: 5 s}
          measure:
            others: {equals: 0, unit: exchanges}
    """

    verb: ClassVar[str] = "instructions"
    measures: ClassVar = {
        "others": Measure("exchanges", "those that were neither ENVELOPE nor GET RESPONSE"),
        "hop": Measure("exchanges", "those that were"),
    }

    duration: Annotated[Duration, Field(alias="for", description="how long")] = Span(5 * 10**9)

    def run(self, context: StepContext) -> None:
        with Watch(context, _on_first_hop) as watch:
            context.engine.wait(lambda: False, self.duration.ticks(context.engine.timebase))
        found = [each for each in watch.seen if isinstance(each, Exchange)]
        ours = sum(each.count for each in found if each.ins in (ENVELOPE, GET_RESPONSE))
        if not ours:
            context.fail(f"nothing crossed the hop in {self.duration}")
        context.measured("hop", ours)
        context.measured("others", sum(each.count for each in found) - ours)


class GivesUp(Step):
    """Cuts every exchange of the first hop from now on, with a word to carry, and counts how often its command is said before the hop counts as down.

    Example:
        - open_channels: {to: echo}
        - gives_up: {what: answer}
          measure:
            attempts: {equals: 4, unit: exchanges}
    """

    verb: ClassVar[str] = "gives_up"
    measures: ClassVar = {"attempts": Measure("exchanges", "how often the command was said")}

    what: Annotated[Literal["command", "answer"], Field(description="what is lost")] = "answer"

    def run(self, context: StepContext) -> None:
        chain = context.rig.chain
        if chain is None:
            raise NotApplicable("exchanges can be cut only on a rig of the bench's own")
        cutter = chain.places[0].cutter
        socket = opened_channels(context)[0]

        def speak() -> None:
            cut = cutter.cut_commands if self.what == "command" else cutter.cut_answers
            cut.update(range(cutter.count, cutter.count + MANY))
            socket.write(b"is anybody there?")

        with Watch(context, _on_first_hop) as watch:
            context.engine.call(speak)
            wait(context, lambda: any(isinstance(each, LinkChange) for each in watch.seen))
        downs = [at for at, each in enumerate(watch.seen) if isinstance(each, LinkChange) and not each.up]
        if not downs:
            context.fail("the terminal side never considered the hop down")
        failed = [each for each in watch.seen[: downs[0]] if isinstance(each, Exchange) and each.error]
        context.measured("attempts", sum(each.count for each in failed if each.command == failed[-1].command))


def _on_first_hop(observation: Observation) -> bool:
    return isinstance(observation, Exchange | LinkChange) and observation.hop == 1
