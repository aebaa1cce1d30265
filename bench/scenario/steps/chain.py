"""The chain: numbering, coming and going."""

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from bench.rig.hands import Move
from bench.scenario.context import StepContext
from bench.scenario.step import Measure, Step
from bench.scenario.steps.hands import Change, able_hands, change, no_polls
from bench.scenario.steps.support import milliseconds, wait
from bench.scenario.units import Count, Duration, Span

if TYPE_CHECKING:
    from bench.rig.build import Rig


class AssignAddresses(Step):
    """Waits until every card of the chain has its number, and holds that the numbers are right.

    Numbers run from 1 without a gap, no identity appears twice, and MTUs never grow outward.

    Example:
        - assign_addresses: {within: 10 s}
          measure:
            numbering_time: {at_most: 5000, unit: ms}
    """

    verb: ClassVar[str] = "assign_addresses"
    measures: ClassVar = {
        "numbering_time": Measure("ms", "from the beginning of the step until the last card reported"),
        "cards": Measure("cards", "how many reported"),
    }

    within: Annotated[Duration, Field(description="how long the whole chain may take")] = Span(60 * 10**9)
    cards: Annotated[Count | None, Field(description="how many cards; those of `given` where it is not said")] = None

    def run(self, context: StepContext) -> None:
        host = context.rig.host
        wanted = self.cards if self.cards is not None else context.point.given.cards
        begun = context.engine.now
        wait(context, lambda: len(host.cards) >= wanted, self.within)
        cards = context.engine.call(lambda: host.cards)
        if len(cards) < wanted:
            context.fail(
                f"{len(cards)} of {wanted} cards reported within {self.within} (numbers {sorted(cards)}); {host.link.last_error or 'hop up'}"
            )
        context.measured("numbering_time", milliseconds(context, context.engine.now - begun))
        context.measured("cards", len(cards))
        if list(cards) != list(range(1, wanted + 1)):
            context.fail(f"cards are numbered {list(cards)}, expected 1 to {wanted}")
        identities = [facts.identity for facts in cards.values() if facts.identity]
        if len(set(identities)) != len(identities):
            context.fail("two cards report the same identity")
        mtu = context.point.given.mtu
        for number, facts in cards.items():
            if facts.mtu > mtu:
                context.fail(f"card {number} reports an MTU of {facts.mtu}, where {mtu} holds before it")
            mtu = facts.mtu


class RemoveCard(Step):
    """Takes a card off the chain, and measures when each side of its hop knows.

    Example:
        - remove_card: {card: 3}
          measure:
            noticed: {at_most: 2, unit: polls}
    """

    verb: ClassVar[str] = "remove_card"
    measures: ClassVar = {
        "noticed": Measure("polls", "polls begun on the hop until the side knew"),
        "noticed_time": Measure("ms", "from the removal until the side knew"),
    }

    card: Annotated[Count, Field(description="which card, by its number")]
    within: Annotated[Duration, Field(description="how long it may take until both sides know")] = Span(30 * 10**9)

    def why_not(self, rig: "Rig") -> str:
        return no_polls(rig, self)

    def run(self, context: StepContext) -> None:
        hands = able_hands(context, Move.PULL, self.card)
        change(context, self, Change(self.card, False, self.within, lambda: hands.pull(self.card)))
        missing = context.engine.call(lambda: sorted(context.rig.host.cards))
        wait(context, lambda: all(number < self.card for number in context.rig.host.cards), self.within)
        left = context.engine.call(lambda: sorted(context.rig.host.cards))
        if any(number >= self.card for number in left):
            context.fail(f"card {self.card} is gone, the host still lists {left} (before: {missing})")


class InsertCard(Step):
    """Puts a card back, and measures when each side of its hop knows.

    Example:
        - insert_card: {card: 3}
    """

    verb: ClassVar[str] = "insert_card"
    measures: ClassVar = {
        "noticed": Measure("polls", "looks for a card begun on the hop until the side knew"),
        "noticed_time": Measure("ms", "from the insertion until the side knew"),
    }

    card: Annotated[Count, Field(description="which card, by its number")]
    within: Annotated[Duration, Field(description="how long it may take until both sides know")] = Span(30 * 10**9)

    def why_not(self, rig: "Rig") -> str:
        return no_polls(rig, self)

    def run(self, context: StepContext) -> None:
        hands = able_hands(context, Move.INSERT, self.card)
        change(context, self, Change(self.card, True, self.within, lambda: hands.insert(self.card)))
