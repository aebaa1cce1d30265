"""Steps that only tests use: one that measures what it is told, one that ends as it is told."""

import os
import signal
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from bench.scenario.context import StepContext
from bench.scenario.errors import BenchFault, CardFailed, NotApplicable
from bench.scenario.step import Measure, Step
from bench.scenario.units import HexBytes, Line, Number, Size, StatusWord, Truth


class TryLimits(Step):
    """Measures what it is told."""

    verb: ClassVar[str] = "try_limits"
    beside: ClassVar[frozenset[str]] = frozenset({"expect"})
    measures: ClassVar[Mapping[str, Measure]] = {
        "level": Measure("percent_of_limit", "the level", {"window": "over how much"}),
        "draw": Measure("ratio", "a number drawn from the point's own randomness"),
    }

    level: Annotated[Number, Field(description="the value of level")]
    resolution: Annotated[Number, Field(description="its resolution")] = 0.0
    silent: Annotated[Truth, Field(description="true: measure nothing")] = False
    size: Annotated[Size, Field(description="a size")] = 1024
    sw: Annotated[StatusWord, Field(description="a status word")] = 0x9000
    bytes: Annotated[HexBytes, Field(description="some bytes")] = b""
    expect: Annotated[Line | None, Field(description="something beside the verb")] = None

    def run(self, context: StepContext) -> None:
        if self.silent:
            return
        context.measured("level", self.level, resolution=self.resolution)
        context.measured("draw", context.random.random(), detail="first")


class End(Step):
    """Ends as it is told."""

    verb: ClassVar[str] = "end"
    short: ClassVar[str] = "by"

    by: Annotated[Literal["nothing", "card", "bench", "reason", "crash", "process"], Field(description="how")] = (
        "nothing"
    )

    def run(self, context: StepContext) -> None:
        match self.by:
            case "card":
                context.fail("the card did what it must not")
            case "bench":
                raise BenchFault("the reader burst")
            case "reason":
                raise NotApplicable("this rig has no wheels")
            case "crash":
                raise ZeroDivisionError("one by nothing")
            case "process":
                os.kill(os.getpid(), signal.SIGKILL)
            case "nothing":
                return


__all__ = ["CardFailed", "End", "TryLimits"]
