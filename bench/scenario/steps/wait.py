"""Waiting."""

from typing import Annotated, ClassVar

from pydantic import Field

from bench.scenario.context import StepContext
from bench.scenario.step import Step
from bench.scenario.units import Duration


class Wait(Step):
    """Lets time pass while the reader, the cards and the host go on with what they do.

    On the virtual clock a minute costs only the events that fall into it.

    Example:
        - wait: 5 s
    """

    verb: ClassVar[str] = "wait"
    short: ClassVar[str] = "for"

    duration: Annotated[Duration, Field(alias="for", description="how long, in the point's own time")]

    def run(self, context: StepContext) -> None:
        context.engine.wait(_never, self.duration.ticks(context.engine.timebase))


def _never() -> bool:
    return False
