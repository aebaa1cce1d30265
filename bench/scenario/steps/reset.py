"""Resets, operating classes, and cards that must not come up."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from bench.scenario.context import StepContext
from bench.scenario.errors import NotApplicable
from bench.scenario.step import Measure, Step
from bench.scenario.steps.support import milliseconds, wait
from bench.scenario.units import Duration, HexBytes, Line, Span

LOWEST_FIRST = "CBA"


class Reset(Step):
    """Resets the first card: warm (RST alone) or cold (power too). It must answer as it did before, unless ``atr`` says otherwise.

    Example:
        - power_on: {}
        - reset: {kind: warm}
          measure:
            answer_time: {at_most: 100, unit: ms}
    """

    verb: ClassVar[str] = "reset"
    short: ClassVar[str] = "kind"
    measures: ClassVar = {"answer_time": Measure("ms", "from RST falling to the end of the answer to reset (and PPS)")}

    kind: Annotated[Literal["warm", "cold"], Field(description="RST alone, or power too")] = "warm"
    within: Annotated[Duration, Field(description="how long the card may take")] = Span(10 * 10**9)
    atr: Annotated[HexBytes | None, Field(description="the answer to reset it must give, where it is another one")] = (
        None
    )

    def run(self, context: StepContext) -> None:
        link = context.rig.host.link
        before = link.atr
        begun = context.engine.now
        context.engine.call(lambda: link.restart(warm=self.kind == "warm"))
        if "no warm reset" in link.last_error:
            raise NotApplicable(link.last_error)
        wait(context, lambda: link.powered or bool(link.last_error), self.within)
        if not link.powered:
            context.fail(f"no usable answer to a {self.kind} reset within {self.within}: {link.last_error or 'mute'}")
        context.measured("answer_time", milliseconds(context, context.engine.now - begun))
        wanted = before if self.atr is None else self.atr
        if link.atr != wanted:
            context.fail(
                f"answer to a {self.kind} reset {link.atr.hex(' ').upper()}, expected {wanted.hex(' ').upper()}"
            )


class ExpectClass(Step):
    """Powers the first card and holds that it came up in the lowest operating class that reader and card share, or not at all where they share none.

    Example:
        - expect_class: {}
    """

    verb: ClassVar[str] = "expect_class"

    within: Annotated[Duration, Field(description="how long that may take")] = Span(30 * 10**9)

    def run(self, context: StepContext) -> None:
        chain = context.rig.chain
        if chain is None:
            raise NotApplicable("the operating class can be seen only on a rig of the bench's own")
        given = context.point.given
        offered, able = given.voltage or "A", given.classes or "ABC"
        wanted = next((each for each in LOWEST_FIRST if each in offered and each in able), "")
        link = context.rig.host.link
        context.engine.call(context.rig.host.start)
        wait(context, lambda: link.powered or bool(link.last_error), self.within)
        if not wanted:
            if link.powered:
                context.fail(f"the card is up in class {chain.places[0].reader.operating_class}: it works in {able}")
            return
        if not link.powered:
            context.fail(f"reader ({offered}) and card ({able}) share class {wanted}: {link.last_error or 'mute'}")
        used = chain.places[0].reader.operating_class
        if used != wanted:
            context.fail(f"the card is up in class {used}; the lowest that reader and card share is {wanted}")


class ExpectRefused(Step):
    """Powers the first card and holds that the terminal deactivates it, and says why.

    Example:
        - expect_refused: {because: PPS}
    """

    verb: ClassVar[str] = "expect_refused"
    short: ClassVar[str] = "because"

    because: Annotated[Line, Field(description="how the reason begins: mute, bad ATR, class:, mode:, PPS")]
    within: Annotated[Duration, Field(description="how long that may take")] = Span(30 * 10**9)

    def run(self, context: StepContext) -> None:
        link = context.rig.host.link
        context.engine.call(context.rig.host.start)
        wait(context, lambda: link.powered or bool(link.last_error), self.within)
        if link.powered:
            context.fail(f"the terminal took the card; it must refuse it because of {self.because}")
        if not link.last_error.startswith(self.because):
            context.fail(f"the terminal refused the card because of {link.last_error!r}, expected {self.because!r}")
