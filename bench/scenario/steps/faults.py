"""Faults made on purpose."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from bench.scenario.context import StepContext
from bench.scenario.errors import NotApplicable
from bench.scenario.step import Step
from bench.scenario.units import Count


class Cut(Step):
    """Cuts one exchange in every so many on a hop, from now on: the command is lost before the card, or the answer after it.

    Example:
        - cut: {what: answer, every: 7}
        - transfer: {size: 2 KiB}
    """

    verb: ClassVar[str] = "cut"

    what: Annotated[Literal["command", "answer"], Field(description="what is lost")] = "answer"
    every: Annotated[Count, Field(description="one exchange in so many", ge=2)] = 7
    exchanges: Annotated[Count, Field(description="over how many exchanges")] = 10_000
    hop: Annotated[Count, Field(description="which hop")] = 1

    def run(self, context: StepContext) -> None:
        chain = context.rig.chain
        if chain is None:
            raise NotApplicable("exchanges can be cut only on a rig of the bench's own")
        cutter = chain.places[self.hop - 1].cutter
        chosen = range(cutter.count + self.every - 1, cutter.count + self.exchanges, self.every)

        def cut() -> None:
            (cutter.cut_commands if self.what == "command" else cutter.cut_answers).update(chosen)

        context.engine.call(cut)
