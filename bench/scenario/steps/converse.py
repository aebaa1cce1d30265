"""A conversation in text with a service of a card."""

from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from bench.files.models import expected
from bench.scenario.context import StepContext
from bench.scenario.step import Measure, Step
from bench.scenario.steps.services import dial_service
from bench.scenario.steps.support import milliseconds, wait
from bench.scenario.units import Count, Duration, Line, Span, Whole


def _bytes(text: str) -> bytes:
    return text.encode("ascii").decode("unicode_escape").encode("latin-1")


def _escaped(text: str) -> str:
    try:
        _bytes(text)
    except UnicodeError as error:
        raise expected("ASCII text with the escapes of JSON strings", f"{text!r}: {error}") from None
    return text


class Converse(Step):
    """Connects to a service, says something (or nothing), and holds what the card says.

    Texts may hold the escapes of JSON strings (``\\r\\n``).

    Example:
        - converse: {to: counter, expect: 'visitor 1\\r\\n'}
    """

    verb: ClassVar[str] = "converse"
    measures: ClassVar = {"answer_time": Measure("ms", "until the whole of what is expected has come")}

    to: Annotated[Line, Field(description="name of the service")]
    card: Annotated[Count, Field(description="the card that serves")] = 1
    via: Annotated[Whole, Field(description="the card whose application is the client; 0: a program outside")] = 0
    say: Annotated[str, AfterValidator(_escaped), Field(description="what is sent first")] = ""
    expect: Annotated[str, AfterValidator(_escaped), Field(description="what must come")] = ""
    later: Annotated[str, AfterValidator(_escaped), Field(description="what must come, too, anywhere behind that")] = ""
    within: Annotated[Duration, Field(description="how long it may take")] = Span(60 * 10**9)

    def run(self, context: StepContext) -> None:
        say, expect, later = _bytes(self.say), _bytes(self.expect), _bytes(self.later)
        begun = context.engine.now
        socket = dial_service(context, self.to, self.card, self.via)
        if say:
            context.engine.call(lambda: socket.write(say))

        def complete() -> bool:
            return len(socket.received) >= len(expect) and socket.received.find(later, len(expect)) >= 0

        wait(context, lambda: complete() or socket.ended, self.within)
        if bytes(socket.received[: len(expect)]) != expect:
            context.fail(f"{self.to} of card {self.card} said {bytes(socket.received)!r}, expected {expect!r}")
        if not complete():
            context.fail(
                f"{self.to} of card {self.card} said {bytes(socket.received)!r}, expected {later!r} in it, too"
            )
        context.measured("answer_time", milliseconds(context, context.engine.now - begun))
        context.engine.call(socket.close)
