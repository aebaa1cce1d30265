"""Moving cards: what steps that do it share, and the step that puts a card into another reader.

Where the cards are software of this process each side of a hop tells when it knew, in polls as well; elsewhere only the host can, and the moment at
which a hand or a command acted is known no better than its beginning and end.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from bench.iso7816.port import PowerUp
from bench.observe import LinkChange, Observation, Parameter
from bench.rig.hands import Done, Hands, Move, Side
from bench.rig.software_hands import SoftwareHands
from bench.scenario.context import StepContext
from bench.scenario.errors import NotApplicable
from bench.scenario.step import Measure, Step
from bench.scenario.steps.support import Watch, milliseconds, wait
from bench.scenario.units import Count, Duration, Span

if TYPE_CHECKING:
    from bench.rig.build import Rig

POLLS = "noticed"
TIME = "noticed_time"


@dataclass(frozen=True, slots=True)
class Change:
    """A card that comes or goes, and what makes it."""

    card: int
    up: bool
    within: Span
    act: Callable[[], Done]


class MoveCard(Step):
    """Puts a card into the other reader, or back into its own, and holds that it answers its reset there, where the bench can see that.

    The software card's other reader is one of the bench's own. A lab's hands are told which (`move` in the rig file's `hands`, or the operator).

    Example:
        - move_card: {card: 1, to: other}
        - move_card: {card: 1, to: home}
    """

    verb: ClassVar[str] = "move_card"
    measures: ClassVar = {TIME: Measure("ms", "from the move until the side knew that the card had gone, or come")}

    card: Annotated[Count, Field(description="which card, by its number")]
    to: Annotated[Literal["other", "home"], Field(description="the other reader, or its own again")] = "other"
    within: Annotated[Duration, Field(description="how long it may take until both sides know")] = Span(30 * 10**9)

    def run(self, context: StepContext) -> None:
        hands = able_hands(context, Move.MOVE, self.card)
        side = Side(self.to)
        home = side is Side.HOME
        change(context, self, Change(self.card, home, self.within, lambda: hands.move(self.card, side)))
        if isinstance(hands, SoftwareHands) and not home:
            self._answers(context, hands)

    def _answers(self, context: StepContext, hands: SoftwareHands) -> None:
        ups: list[PowerUp] = []
        context.engine.call(lambda: hands.other.power_up(ups.append))
        wait(context, lambda: bool(ups), self.within)
        if not ups or ups[0].error:
            context.fail(f"card {self.card} does not answer in the other reader: {ups[0].error if ups else 'silence'}")


def able_hands(context: StepContext, move: Move, card: int) -> Hands:
    """The rig's hands, where they can do it. Raises NotApplicable with the reason."""
    hands = context.rig.hands
    if reason := hands.why_not(move, card):
        raise NotApplicable(reason)
    return hands


def no_polls(rig: "Rig", step: Step) -> str:
    """Why what ``step`` judges cannot be seen on this rig; else empty."""
    limits = step.measure.get(POLLS)
    counted = limits is not None and limits.judged and rig.chain is None
    return (
        "polls are counted on software rigs only: this rig shows when a change was noticed, as a time"
        if counted
        else ""
    )


def change(context: StepContext, step: Step, wanted: Change) -> None:
    """Make the change, and measure when each side of the hop noticed, as far as the rig can tell."""
    if context.rig.chain is not None:
        _on_software(context, step, wanted)
    else:
        _on_real(context, wanted)


def _on_software(context: StepContext, step: Step, wanted: Change) -> None:
    """When each side noticed, and by the how manyth poll (or look for a card) the terminal side did."""
    chain = context.rig.chain
    assert chain is not None
    card, up = wanted.card, wanted.up
    cutter = chain.places[card - 1].cutter
    polls: dict[str, int] = {}

    def seen(observation: Observation) -> bool:
        if not (isinstance(observation, LinkChange) and observation.hop == card and observation.up is up):
            return False
        polls.setdefault(observation.side, cutter.looks if up else cutter.attempts)
        return True

    with Watch(context, seen) as watch:
        begun = context.engine.now
        before = context.engine.call(lambda: cutter.looks if up else cutter.attempts)
        wanted.act()
        wait(
            context,
            lambda: {seen.side for seen in watch.seen if isinstance(seen, LinkChange)} >= {"terminal", "card"},
            wanted.within,
        )
    known = {seen.side: seen for seen in watch.seen if isinstance(seen, LinkChange)}
    for side in ("terminal", "card"):
        noticed = known.get(side)
        if noticed is None:
            context.fail(f"the {side} side of hop {card} did not notice within {wanted.within}")
        context.measured(TIME, milliseconds(context, noticed.time_ticks - begun), detail=side)
        if POLLS in step.measures:
            context.measured(POLLS, polls[side] - before, detail=side)


def _on_real(context: StepContext, wanted: Change) -> None:
    """When the host noticed: by its link where it is the first card, else by its list of cards."""
    rig, card, up = context.rig, wanted.card, wanted.up
    times: list[int] = []

    def seen(observation: Observation) -> bool:
        if isinstance(observation, LinkChange) and observation.hop == 1 and card == 1 and observation.up is up:
            times.append(observation.time_ticks)
        return False

    def noticed() -> bool:
        if not times and card > 1 and (card in rig.host.cards) is up:
            times.append(context.engine.now)
        return bool(times)

    with Watch(context, seen):
        rig.away = True
        begun = context.engine.now
        done = wanted.act()
        ended = context.engine.now
        if done.text:
            context.emit(Parameter("hands", f"{done.by}: {done.text}", False))
        wait(context, noticed, wanted.within)
    rig.away = not up
    if not times:
        context.fail(f"card {card} {'came' if up else 'went'}, and the host did not notice within {wanted.within}")
    middle, half = (begun + ended) // 2, -(-(ended - begun) // 2)
    value = max(0, times[0] - middle)
    context.measured(TIME, milliseconds(context, value), detail="host", resolution=milliseconds(context, half))
