"""Powering the first card, and what its answer to reset says."""

from typing import Annotated, ClassVar

from pydantic import Field

from bench.iso7816.atr import AtrError, parse_atr
from bench.observe import Parameter
from bench.readers.pcsc_errors import Trouble
from bench.scenario.context import StepContext
from bench.scenario.errors import BenchFault, NotApplicable
from bench.scenario.step import Measure, Step
from bench.scenario.steps.support import milliseconds, wait
from bench.scenario.units import Duration, HexBytes, Span, Ta1


class PowerOn(Step):
    """Powers the first card and reads its answer to reset; the host then looks for the chain by itself.

    A card that stays mute, or whose answer to reset breaks a rule of ISO/IEC 7816-3, fails.

    Example:
        - power_on: {}
          measure:
            answer_time: {at_most: 100, unit: ms}
    """

    verb: ClassVar[str] = "power_on"
    measures: ClassVar = {"answer_time": Measure("ms", "from power to the end of the answer to reset (and PPS)")}

    within: Annotated[Duration, Field(description="how long the card may take")] = Span(10 * 10**9)
    atr: Annotated[HexBytes | None, Field(description="the answer to reset it must give, byte for byte")] = None

    def run(self, context: StepContext) -> None:
        link = context.rig.host.link
        begun = context.engine.now
        context.engine.call(context.rig.host.start)
        wait(context, lambda: link.powered or link.last_error.startswith(Trouble.PROTOCOL), self.within)
        if not link.powered:
            if not link.last_error and context.rig.chain is None:
                raise BenchFault(
                    f"the reader has told nothing of its card within {self.within}: opening it may take longer"
                )
            reason = link.last_error or "mute"
            if reason.startswith(Trouble.PROTOCOL):
                raise NotApplicable(reason)  # PC/SC asked for one, and the card offers another
            if reason == "mute" or reason.startswith(("bad ATR", "PPS", "protocol")):
                context.fail(f"no card that can be spoken to within {self.within}: {reason}")
            raise BenchFault(f"the reader could not power the card: {reason}")
        context.emit(Parameter("atr", link.atr.hex(" ").upper(), False))
        context.measured("answer_time", milliseconds(context, context.engine.now - begun))
        try:
            parse_atr(link.atr)
        except AtrError as error:
            context.fail(f"answer to reset {link.atr.hex(' ').upper()}: {error}")
        if self.atr is not None and link.atr != self.atr:
            context.fail(f"answer to reset {link.atr.hex(' ').upper()}, expected {self.atr.hex(' ').upper()}")


class Negotiate(Step):
    """Holds that the rate in use is the one asked for by PPS, as ``given.ta1`` says.

    Example:
        - negotiate: {}
    """

    verb: ClassVar[str] = "negotiate"

    ta1: Annotated[Ta1 | None, Field(description="the rate expected; that of `given` where it is not said")] = None

    def run(self, context: StepContext) -> None:
        wanted = context.point.given.ta1 if self.ta1 is None else self.ta1
        used = context.rig.host.link.port.ta1
        if not used:
            raise NotApplicable("this reader does not show the rate in use")
        if used != wanted:
            context.fail(f"the card is at TA1 = {used:02X} after PPS for {wanted:02X}")
