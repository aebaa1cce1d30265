"""A line that disturbs, and what comes through it."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from bench.hop.terminal_link import ApduOutcome
from bench.iso7816.apdu import CommandApdu
from bench.iso7816.disturbance import Disturbance, Fault, NoiseBurst, Towards
from bench.observe import Exchange, Observation
from bench.scenario.context import StepContext
from bench.scenario.errors import BenchFault, NotApplicable
from bench.scenario.step import Measure, Step
from bench.scenario.steps.support import Watch, milliseconds, wait
from bench.scenario.units import Count, Duration, Number, Signed, Size, Span, Whole

OK = 0x9000


class Disturb(Step):
    """From now on characters of one line suffer: from noise, jitter, a terminal whose rate does not fit its clock, or from one fault made on purpose.

    Example:
        - disturb: {noise: 0.0001}
        - disturb: {fault: flip, towards: card, burst: 1, character: 7, bit: 3}
    """

    verb: ClassVar[str] = "disturb"

    hop: Annotated[Count, Field(description="which line: 1 is between the reader and the first card")] = 1
    noise: Annotated[Number, Field(description="probability that an etu of a character is inverted", ge=0, le=0.5)] = (
        0.0
    )
    noise_length: Annotated[
        Count | None, Field(description="noise in bursts of so many etu; `noise` is how often one begins")
    ] = None
    mismatch_ppm: Annotated[
        Signed, Field(description="how much longer the terminal's etu is than its clock says", ge=-200_000, le=200_000)
    ] = 0
    jitter: Annotated[Duration, Field(description="largest displacement of an edge")] = Span(0)
    fault: Annotated[
        Literal["flip", "lost", "extra", "mute"] | None,
        Field(description="one fault: a bit inverted, a character lost, one too many, or a card that falls silent"),
    ] = None
    towards: Annotated[Literal["card", "terminal"], Field(description="which way the character goes")] = "card"
    burst: Annotated[Whole, Field(description="in which burst that way, counted from 0 from now on")] = 0
    character: Annotated[Whole, Field(description="which character of the burst, from 0")] = 0
    bit: Annotated[
        Whole, Field(description="which etu: 0 start, 1 to 8 data, 9 parity, 10 and 11 guard time", le=11)
    ] = 1

    def run(self, context: StepContext) -> None:
        chain = context.rig.chain
        if chain is None:
            raise NotApplicable("characters can be disturbed only on a rig of the bench's own")
        if self.hop > len(chain.places):
            raise BenchFault(f"there is no hop {self.hop}: the chain has {len(chain.places)}")
        reader = chain.places[self.hop - 1].reader
        disturbance = self._disturbance(context)
        context.engine.call(lambda: reader.disturb(disturbance, self.mismatch_ppm))

    def _disturbance(self, context: StepContext) -> Disturbance:
        jitter = self.jitter.ticks(context.engine.timebase)
        seed = context.random.getrandbits(32)
        bursts = None if self.noise_length is None else NoiseBurst(self.noise, self.noise_length)
        made = Disturbance(seed, 0.0 if bursts else self.noise, jitter, bursts)
        match self.fault:
            case "flip":
                fault = Fault(flips=1 << self.bit)
            case "lost":
                fault = Fault(lost=True)
            case "extra":
                fault = Fault(extra=b"\x55")
            case "mute":
                made.mute_after = self.burst
                return made
            case None:
                return made
        made.planned[Towards(self.towards), self.burst] = {self.character: fault}
        return made


@dataclass(slots=True)
class _Tally:
    """What became of exchanges."""

    intact: int = 0
    named: int = 0
    residual: int = 0
    octets: int = 0


class Echoes(Step):
    """Sends random bytes to the first card's ECHO again and again, and tells what became of each: it came back as it was sent (intact), the reader
    named an error, or something else came back that nobody noticed (a residual error). An APDU whose error was named is not sent again.

    Example:
        - echoes: {count: 100, size: 200 B}
          measure:
            residual: {at_most: 0, unit: exchanges}
    """

    verb: ClassVar[str] = "echoes"
    measures: ClassVar = {
        "goodput": Measure("B/s", "bytes that came back as they were sent, per second"),
        "intact": Measure("percent", "exchanges whose bytes came back as they were sent"),
        "named": Measure("exchanges", "exchanges that ended in a named error"),
        "residual": Measure("exchanges", "exchanges whose answer was wrong without anybody noticing"),
        "repeated": Measure("characters", "characters that were repeated after an error signal, both ways"),
        "longest": Measure("ms", "the longest exchange: within it every error was corrected or named"),
    }

    count: Annotated[Count, Field(description="how many", le=1_000_000)] = 100
    size: Annotated[Size, Field(description="bytes in each", ge=1, le=255)] = 200
    within: Annotated[Duration, Field(description="how long each may take, at most")] = Span(120 * 10**9)

    def run(self, context: StepContext) -> None:
        tally = _Tally()
        begun = context.engine.now
        with Watch(context, _exchange) as watch:
            for _ in range(self.count):
                self._one(context, tally)
        exchanges = [each for each in watch.seen if isinstance(each, Exchange)]
        seconds = (context.engine.now - begun) / context.engine.timebase.hz
        context.measured("goodput", tally.octets / seconds)
        context.measured("intact", 100.0 * tally.intact / self.count)
        context.measured("named", tally.named)
        context.measured("residual", tally.residual)
        context.measured("repeated", sum(each.retries for each in exchanges))
        longest = max((each.duration_ticks for each in exchanges), default=0)
        context.measured("longest", milliseconds(context, longest))

    def _one(self, context: StepContext, tally: _Tally) -> None:
        data = context.random.randbytes(self.size)
        outcomes: list[ApduOutcome] = []
        command = CommandApdu(0xA0, 0xEC, 0, 0, data, self.size)
        context.engine.call(lambda: context.rig.host.apdu(command, outcomes.append))
        wait(context, lambda: bool(outcomes), self.within)
        if not outcomes:
            context.fail(f"no answer and no error within {self.within}: an error was neither corrected nor named")
        response = outcomes[0].response
        if response is None:
            tally.named += 1
        elif response.sw == OK and response.data == data:
            tally.intact += 1
            tally.octets += len(data)
        else:
            tally.residual += 1


def _exchange(observation: Observation) -> bool:
    return isinstance(observation, Exchange) and observation.hop == 1
