"""Bulk transfer over the open channels: how fast, how fair, how intact."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from bench.channels.limit import shortest
from bench.files.models import expected
from bench.host.peers import PeerSocket
from bench.observe import Direction, Exchange, Observation, Packet
from bench.readers.contract import StampedAt
from bench.scenario.context import StepContext
from bench.scenario.errors import BenchFault, NotApplicable
from bench.scenario.judge import PERCENT_OF_LIMIT
from bench.scenario.step import Measure, Step
from bench.scenario.steps.fairness import HEADER_LENGTH, Sample, Shares, busy, sample_of, shares
from bench.scenario.steps.flow import Crossed, Flow
from bench.scenario.steps.line_limits import character_time, exchange_error, line_limit
from bench.scenario.steps.support import Watch, milliseconds, opened_channels, wait
from bench.scenario.units import Count, Duration, Size, Span, Truth, Whole

if TYPE_CHECKING:
    from bench.rig.build import Rig

OF_THE_LINE = frozenset({"goodput", "raw_share", "exchange_error"})
"""What is measured against the time that characters take on the line."""
NO_MEMORY = 0x6A84
"""docs/protocol.md, 1.3."""
FULL = 0.9
"""A line that is in use for this part of the time is busy all the time: the rest are guard times."""
ALL = 0.95
"""A hop that carries less than this part of what the busiest one does has time to spare."""
LONGEST = Span(3600 * 10**9)
"""How long a transfer up to a size or a number of messages may take, in the point's own time."""


class Transfer(Step):
    """Moves data over every open channel, all of them backlogged, for a time or up to a size, and measures what crossed the first hop.

    The direction follows from the service: ``discard`` takes (down), ``chargen`` gives (up), ``echo`` does both. What comes back is compared
    with the pattern that was sent, byte for byte.

    Example:
        - open_channels: {count: 8, to: echo}
        - transfer: {for: 60 s, direction: echo}
          measure:
            fairness: {at_least: 0.98, marginal: 0.99, unit: jain}
            goodput: {at_least: 90, unit: percent_of_limit}
    """

    verb: ClassVar[str] = "transfer"
    measures: ClassVar = {
        "goodput": Measure(
            PERCENT_OF_LIMIT, "payload per second over what the shortest legal sequence of exchanges would carry"
        ),
        "goodput_rate": Measure("B/s", "payload per second on the first hop, both directions together"),
        "raw_share": Measure(
            "percent_of_wire",
            "payload per second over what back-to-back ENVELOPEs of the best length (255 bytes over T=0) carry (not with 'size')",
        ),
        "fairness": Measure(
            "jain",
            "worst Jain index over sliding windows of 10 messages a channel, each direction by itself, on the first hop; "
            "a channel that is never served counts as 0, one of weight w has w shares",
        ),
        "longest_gap": Measure(
            "ms", "longest time between two messages of one channel; all the time, for one that is never served"
        ),
        "character_time": Measure(
            "etu",
            "average distance of leading edges within an exchange, turn-arounds included and card time not",
        ),
        "hop_fairness": Measure(
            "jain",
            "the same on each hop that carries as much as the busiest, its line in use all the time; each direction by itself",
        ),
        "spare_fairness": Measure(
            "jain",
            "the same on each hop whose line has time to spare: there nobody waits for a turn but for credit, which comes in halves of a window",
        ),
        "hop_gap": Measure("ms", "the longest gap on each hop, each direction by itself"),
        "refusals": Measure(
            "exchanges", "segments the first card had no memory for (6A84) and was asked to take again"
        ),
        "share": Measure("percent", "one channel's part of the payload, per share where weights differ"),
        "exchange_error": Measure(
            "ns",
            "largest difference of a hop exchange's time on the wire from the time its characters must take (not with 'size')",
        ),
    }

    duration: Annotated[Duration | None, Field(alias="for", description="how long to keep all channels backlogged")] = (
        None
    )
    messages: Annotated[
        Count | None,
        Field(
            description="instead of a time: until so many messages a channel, on average, have crossed the first hop in each direction"
        ),
    ] = None
    size: Annotated[Size | None, Field(description="instead of a time: how much each channel moves")] = None
    direction: Annotated[
        Literal["down", "up", "echo"], Field(description="to the card, from the card, or there and back")
    ] = "echo"
    backlogged: Annotated[Literal["all"], Field(description="which channels always have something to send")] = "all"
    verify: Annotated[Truth, Field(description="compare what arrives with the pattern")] = True
    silent: Annotated[Whole, Field(description="how many of the open channels, from the last one on, stay silent")] = 0

    @model_validator(mode="after")
    def _one_end(self) -> "Transfer":
        given = {"for": self.duration, "messages": self.messages, "size": self.size}
        found = [name for name, value in given.items() if value is not None]
        if len(found) != 1:
            raise expected(
                "one of 'for', 'messages' and 'size'", f"transfer with {' and '.join(found) or 'none of them'}"
            )
        return self

    def why_not(self, rig: "Rig") -> str:
        judged = {name for name, limits in self.measure.items() if limits.judged}
        if rig.unpaced and judged and judged <= OF_THE_LINE:
            return rig.unpaced
        if judged == {"exchange_error"} and rig.stamped is not StampedAt.LINE:
            return _stamped_elsewhere(rig)
        return ""

    def run(self, context: StepContext) -> None:
        sockets = opened_channels(context)
        sockets = sockets[: len(sockets) - self.silent]
        if not sockets:
            raise BenchFault("transfer needs open channels: put an open_channels step before it")
        flows = [Flow(socket, self.direction, self.size, self.verify) for socket in sockets]
        with Watch(context, _of_interest) as watch:
            context.engine.call(lambda: _each(flow.start for flow in flows))
            self._let_flow(context, flows, watch)
            context.engine.call(lambda: _each(flow.stop for flow in flows))
        for index, flow in enumerate(flows, 1):
            if flow.broken:
                context.fail(f"channel {index}: {flow.broken}")
            if self.size is not None and not flow.done:
                context.fail(f"channel {index} moved {flow.moved} of {self.size} bytes")
        samples = [
            sample for seen in watch.seen if isinstance(seen, Packet) and (sample := sample_of(seen)) is not None
        ]
        exchanges = [seen for seen in watch.seen if isinstance(seen, Exchange)]
        self._measure(context, samples, exchanges, sockets)

    def _let_flow(self, context: StepContext, flows: list[Flow], watch: Watch) -> None:
        if self.duration is not None:
            context.engine.wait(
                lambda: any(flow.broken for flow in flows), self.duration.ticks(context.engine.timebase)
            )
        elif self.messages is not None:
            crossed = Crossed(watch, self.messages * len(flows), self._directions)
            wait(context, lambda: crossed.enough() or any(flow.broken for flow in flows), LONGEST)
            if not crossed.enough():
                context.fail(f"{crossed.text} of {crossed.wanted} messages crossed the first hop within {LONGEST}")
        else:
            wait(context, lambda: all(flow.done for flow in flows) or any(flow.broken for flow in flows), LONGEST)

    # -- measuring -----------------------------------------------------------------------------------------------------

    @property
    def _directions(self) -> list[Direction]:
        """Which ways DATA is counted."""
        return {"down": [Direction.OUT], "up": [Direction.IN]}.get(self.direction, [Direction.OUT, Direction.IN])

    def _measure(
        self, context: StepContext, samples: list[Sample], everywhere: list[Exchange], sockets: list[PeerSocket]
    ) -> None:
        exchanges = [seen for seen in everywhere if seen.hop == 1]
        counted = [sample for sample in samples if sample.hop == 1 and sample.direction in self._directions]
        if len(counted) < 3:
            context.fail(f"only {len(counted)} messages crossed the first hop")
        first, last = counted[0].time, counted[-1].time
        span = last - first
        payload = sum(sample.length - HEADER_LENGTH for sample in counted[1:])
        rate = payload * context.engine.timebase.hz / span
        context.measured("goodput_rate", rate)
        self._shares(context, samples, sockets, everywhere, range(first, last))
        context.measured("refusals", sum(exchange.sw == NO_MEMORY for exchange in exchanges))
        average = character_time(exchanges, context.engine.timebase)
        if average is not None:
            context.measured("character_time", average)
        elif "character_time" in self.measure:
            raise NotApplicable("this reader shows no characters, or neither the rate nor the clock")
        if self.size is not None:
            return  # too short to speak of a steady flow
        rig = context.rig
        of_the_line = self.measure.keys() & OF_THE_LINE
        if rig.unpaced:
            if of_the_line:
                raise NotApplicable(rig.unpaced)
            return
        limit = line_limit(context, exchanges)
        if limit is not None:
            window_card, window_host = _windows(context)
            best = shortest(
                limit,
                _lengths(counted, Direction.OUT),
                _lengths(counted, Direction.IN),
                window_card,
                window_host,
            )
            goodput = 100.0 * best / span
            context.measured("goodput", goodput, resolution=self._unknown(rig, goodput))
            densest = limit.densest
            whole = (densest - 1) * context.engine.timebase.hz / limit.envelope(densest)
            context.measured("raw_share", 100.0 * rate / whole)
            if rig.stamped is StampedAt.LINE:
                context.measured("exchange_error", exchange_error(context, limit, exchanges))
            elif "exchange_error" in self.measure:
                raise NotApplicable(_stamped_elsewhere(rig))
        elif of_the_line:
            raise NotApplicable("this reader shows neither the rate nor the clock: there is no limit to compare with")

    def _unknown(self, rig: "Rig", goodput: float) -> float:
        """How far off the card's own goodput may be: what a real path itself takes out of each exchange is not known, so that what falls short
        may be the path's doing.
        """
        limits = self.measure.get("goodput")
        short = limits is not None and limits.lower is not None and goodput < limits.lower
        return 100.0 - goodput if short and rig.stamped is not StampedAt.LINE else 0.0

    def _shares(
        self,
        context: StepContext,
        samples: Sequence[Sample],
        sockets: Sequence[PeerSocket],
        exchanges: Sequence[Exchange],
        span: range,
    ) -> None:
        cards = {service.port: service.card for service in context.rig.host.gateway.services()}
        found: list[Shares] = []
        for hop in sorted({sample.hop for sample in samples} | {1}):
            weights = [socket.weight for socket in sockets if cards.get(socket.port, 1) >= hop]
            found.extend(shares(samples, hop, direction, weights, span) for direction in self._directions)
        any_full = False
        for each in found:
            if each.hop == 1:
                for number, part in enumerate(each.parts, 1):
                    context.measured("share", part, detail=f"{each.direction} {number}")
            same = [other for other in found if other.direction is each.direction]
            # A line that not all channels cross cannot be what holds them up: what is queued at the beginning only makes it look busy for a while.
            all_cross = len(each.parts) == max(len(other.parts) for other in same)
            most = max(other.messages for other in same)
            full = all_cross and each.messages >= ALL * most and busy(exchanges, each.hop, span) >= FULL
            any_full = any_full or full
            name = "hop_fairness" if full else "spare_fairness"
            self._fair(context, name, each.fairness, each.short, f"hop {each.hop} {each.direction}")
            context.measured("hop_gap", milliseconds(context, each.gap), detail=f"hop {each.hop} {each.direction}")
        if not any_full:
            spare = "no line of the chain was in use all the time: nobody had to wait for a turn"
            self._fair(context, "hop_fairness", min(each.fairness for each in found), spare)
        first = [each for each in found if each.hop == 1]
        short = next((each.short for each in reversed(first) if each.short), "")
        self._fair(context, "fairness", min(each.fairness for each in first), short)
        context.measured("longest_gap", milliseconds(context, max(each.gap for each in first)))

    def _fair(self, context: StepContext, name: str, value: float, short: str, detail: str = "") -> None:
        limits = self.measure.get(name)
        if not short:
            context.measured(name, value, detail=detail)
        elif limits is not None and limits.judged:
            context.measured(name, value, detail=detail, undecided=short)


def _stamped_elsewhere(rig: "Rig") -> str:
    return f"this path takes its time stamps from {rig.stamped}, not from the line"


def _of_interest(observation: Observation) -> bool:
    return isinstance(observation, Packet | Exchange)


def _lengths(samples: Sequence[Sample], direction: Direction) -> dict[bytes, list[int]]:
    """Packet lengths of one direction by channel.

    The first in each direction is left out: a part of it had crossed before the span that is judged began.
    """
    found: dict[bytes, list[int]] = defaultdict(list)
    for sample in [sample for sample in samples if sample.direction is direction][1:]:
        found[sample.channel].append(sample.length)
    return found


def _windows(context: StepContext) -> tuple[int, int]:
    chain = context.rig.chain
    card = chain.cards[0].profile.window if chain is not None else 8
    return card, context.rig.host.gateway.window


def _each(actions: Iterable[Callable[[], None]]) -> None:
    for action in actions:
        action()
