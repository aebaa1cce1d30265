"""The ordinary execution model: one APDU and its answer."""

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from bench.files.models import expected
from bench.hop.terminal_link import ApduOutcome
from bench.iso7816.apdu import CommandApdu, explain_sw, parse_command
from bench.iso7816.errors import ApduError
from bench.scenario.context import StepContext
from bench.scenario.step import Measure, Step
from bench.scenario.steps.support import milliseconds, wait
from bench.scenario.units import Duration, HexBytes, Size, Span, StatusWord, Truth


class Transmit(Step):
    """Sends one APDU to the first card and holds what comes back. ``echo`` sends that many random bytes with the reference card's ECHO instead.

    Example:
        - transmit: {apdu: 00 A4 00 0C 02 2F E2, sw: "9000"}
          measure:
            apdu_time: {at_most: 1000, unit: ms}
    """

    verb: ClassVar[str] = "transmit"
    measures: ClassVar = {"apdu_time": Measure("ms", "from the command to the whole answer")}

    apdu: Annotated[HexBytes | None, Field(description="the command")] = None
    echo: Annotated[Size | None, Field(description="instead of a command: an ECHO of so much, case 4")] = None
    sw: Annotated[StatusWord, Field(description="the status word it must answer")] = 0x9000
    any_sw: Annotated[Truth, Field(description="instead: any status word there may be, 6XYZ (60 excepted) or 9XYZ")] = (
        False
    )
    data: Annotated[HexBytes | None, Field(description="the data it must answer")] = None
    within: Annotated[Duration, Field(description="how long it may take")] = Span(120 * 10**9)

    @model_validator(mode="after")
    def _one_command(self) -> "Transmit":
        if (self.apdu is None) == (self.echo is None):
            raise expected("'apdu' or 'echo'", f"transmit with {'neither' if self.apdu is None else 'both'}")
        if self.apdu is not None:
            try:
                parse_command(self.apdu)
            except ApduError as error:
                raise expected("a command APDU (ISO/IEC 7816-3, 12.1)", str(error)) from None
        return self

    def run(self, context: StepContext) -> None:
        command = self._command(context)
        outcomes: list[ApduOutcome] = []
        context.engine.call(lambda: context.rig.host.apdu(command, outcomes.append))
        wait(context, lambda: bool(outcomes), self.within)
        if not outcomes:
            context.fail(f"no answer to {command.header.hex(' ').upper()} within {self.within}")
        outcome = outcomes[0]
        if outcome.response is None:
            context.fail(f"no answer to {command.header.hex(' ').upper()}: {outcome.error}")
        context.measured("apdu_time", milliseconds(context, outcome.end - outcome.start))
        response = outcome.response
        if self.any_sw:
            self._allowed(context, command, response.sw)
        elif response.sw != self.sw:
            context.fail(
                f"{command.header.hex(' ').upper()} was answered {response.sw:04X} ({explain_sw(response.sw)}), expected {self.sw:04X}"
            )
        wanted = command.data if self.echo is not None else self.data
        if wanted is not None and response.data != wanted:
            context.fail(
                f"{command.header.hex(' ').upper()} was answered with {len(response.data)} bytes that are not the {len(wanted)} expected"
            )

    @staticmethod
    def _allowed(context: StepContext, command: CommandApdu, sw: int) -> None:
        """ISO/IEC 7816-4, 5.6."""
        if sw >> 12 not in (0x6, 0x9) or sw >> 8 == 0x60:
            context.fail(f"{command.header.hex(' ').upper()} was answered {sw:04X}, which is no status word")

    def _command(self, context: StepContext) -> CommandApdu:
        if self.echo is not None:
            return CommandApdu(0xA0, 0xEC, 0, 0, context.random.randbytes(self.echo), max(1, self.echo))
        assert self.apdu is not None
        return parse_command(self.apdu)
