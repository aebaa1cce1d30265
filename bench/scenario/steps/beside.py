"""A word, or an APDU, beside channels that are always busy: how long it takes, and what the line itself asks for.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from functools import partial
from statistics import median
from typing import Annotated, ClassVar

from pydantic import Field

from bench.hop.limit import LineLimit
from bench.hop.terminal_link import ApduOutcome
from bench.iso7816.apdu import parse_command
from bench.iso7816.errors import ApduError
from bench.observe import Exchange, Observation
from bench.scenario.context import StepContext
from bench.scenario.errors import BenchFault, NotApplicable
from bench.scenario.step import Measure, Step
from bench.scenario.steps.line_limits import line_limit
from bench.scenario.steps.services import dial_service
from bench.scenario.steps.support import Watch, exchange, milliseconds, wait
from bench.scenario.units import Count, Duration, HexBytes, Size, Span

MESSAGE_HEADER = 5
LONGEST_EXCHANGE = 255


class Interactive(Step):
    """Speaks short words to a card's echo, at moments of no pattern, while other channels are busy, and measures until each is back.

    ``of_bound`` is the longest round trip over what it may be: the word there and back, a full message each way, and one longest poll.

    Example:
        - load: {direction: echo}
        - interactive: {count: 20, size: 16 B, every: 1 s}
          measure:
            of_bound: {at_most: 1, unit: ratio}
    """

    verb: ClassVar[str] = "interactive"
    measures: ClassVar = {
        "word_median": Measure("ms", "median round trip"),
        "word_longest": Measure("ms", "longest round trip"),
        "word_bound": Measure("ms", "the word there and back, a full message each way, and the longest poll"),
        "of_bound": Measure("ratio", "longest round trip over that bound"),
    }

    card: Annotated[Count, Field(description="the card")] = 1
    count: Annotated[Count, Field(description="how many words")] = 20
    size: Annotated[Size, Field(description="length of a word")] = 16
    every: Annotated[Duration, Field(description="average pause between two")] = Span(10**9)

    def run(self, context: StepContext) -> None:
        socket = dial_service(context, "echo", self.card)
        pause = self.every.ticks(context.engine.timebase)
        exchanges: list[Exchange] = []
        ticks: list[int] = []
        with Watch(context, _on_first_hop) as watch:
            for _ in range(self.count):
                context.engine.wait(lambda: False, round(pause * (0.5 + context.random.random())))
                ticks.append(exchange(context, socket, context.random.randbytes(self.size)))
            exchanges += [seen for seen in watch.seen if isinstance(seen, Exchange)]
        context.engine.call(socket.close)
        context.measured("word_median", milliseconds(context, round(median(ticks))))
        context.measured("word_longest", milliseconds(context, max(ticks)))
        limit = line_limit(context, exchanges)
        if limit is None:
            if self.measure.keys() & {"word_bound", "of_bound"}:
                raise NotApplicable(
                    "this reader shows neither the rate nor the clock: there is no bound to compare with"
                )
            return
        mtu, word = context.rig.host.link.mtu, MESSAGE_HEADER + self.size
        bound = (
            self.card * (limit.carry([word], [word]) + limit.carry([mtu], [mtu])) + context.rig.host.link.poll.longest
        )
        context.measured("word_bound", milliseconds(context, bound))
        context.measured("of_bound", max(ticks) / bound)


class ApduTimes(Step):
    """Sends one APDU again and again, at moments of no pattern, and measures from its submission to its answer.

    ``of_bound`` is the longest time over what it may be: its own, one exchange of 255 bytes and one quantum (the MTU) of the channels.

    Example:
        - apdu_times: {apdu: 00 A4 00 0C 02 3F 00, count: 20}
          measure:
            of_bound: {at_most: 1, unit: ratio}
    """

    verb: ClassVar[str] = "apdu_times"
    measures: ClassVar = {
        "apdu_longest": Measure("ms", "longest time"),
        "of_bound": Measure("ratio", "longest time over its own, one exchange of 255 bytes and one quantum"),
    }

    apdu: Annotated[HexBytes, Field(description="the command; it must be answered 9000")]
    count: Annotated[Count, Field(description="how many")] = 20
    every: Annotated[Duration, Field(description="average pause between two")] = Span(5 * 10**8)

    def run(self, context: StepContext) -> None:
        try:
            command = parse_command(self.apdu)
        except ApduError as error:
            raise BenchFault(f"apdu_times: {error}") from error
        pause = self.every.ticks(context.engine.timebase)
        times: list[int] = []
        own = 0
        with Watch(context, _on_first_hop) as watch:
            for _ in range(self.count):
                context.engine.wait(lambda: False, round(pause * (0.5 + context.random.random())))
                outcomes: list[ApduOutcome] = []
                begun = context.engine.now
                context.engine.call(partial(context.rig.host.apdu, command, outcomes.append))
                wait(context, partial(bool, outcomes))
                if not outcomes or outcomes[0].response is None or outcomes[0].response.sw != 0x9000:
                    context.fail(f"{command.header.hex(' ').upper()} was not answered 9000: {outcomes or 'silence'}")
                times.append(outcomes[0].end - begun)
                own = max(own, outcomes[0].end - outcomes[0].start)
        context.measured("apdu_longest", milliseconds(context, max(times)))
        limit = line_limit(context, [seen for seen in watch.seen if isinstance(seen, Exchange)])
        if limit is not None:
            context.measured("of_bound", max(times) / (own + _others(limit, context.rig.host.link.mtu)))
        elif "of_bound" in self.measure:
            raise NotApplicable("this reader shows neither the rate nor the clock: there is no bound to compare with")


def _others(limit: LineLimit, mtu: int) -> int:
    """One exchange of 255 bytes, and a quantum the other way."""
    return limit.envelope(LONGEST_EXCHANGE) + max(limit.carry([mtu], []), limit.carry([], [mtu]))


def _on_first_hop(observation: Observation) -> bool:
    return isinstance(observation, Exchange) and observation.hop == 1
