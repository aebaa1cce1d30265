"""Packets at the edges of what RFC 791, 792, 768, 8200 and 4443 allow, and beyond, written byte by byte: what each must be answered with."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Final

from pydantic import Field

from bench.observe import Direction, Packet
from bench.scenario.context import StepContext
from bench.scenario.step import Measure, Step
from bench.scenario.steps.ip_packets import hop_limit, is_ip, packets, sound_header, told, unaltered
from bench.scenario.steps.ip_support import HOST, Version, address_of, station
from bench.scenario.steps.ip_told import way_out
from bench.scenario.steps.odd_packets4 import cases4
from bench.scenario.steps.odd_packets6 import cases6
from bench.scenario.steps.odd_support import Case, own_length, upper
from bench.scenario.steps.support import Watch, wait
from bench.scenario.units import Count, Span

SETTLE: Final = Span(500 * 10**6)
"""After this a second answer, or one that must not come, has come."""
TRIES: Final = 20
"""How often a packet is offered to a line that is busy."""
MAKERS: Final[dict[str, Callable[[bytes, bytes], list[Case]]]] = {"4": cases4, "6": cases6}


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the card said to the host about one case, and what the cards before it passed on."""

    answers: list[Packet]
    passed: list[Packet]

    def __str__(self) -> str:
        return "; ".join(each.data[:48].hex() for each in self.answers) or "nothing"


class OddPackets(Step):
    """Sends a card, in the host's name, packets at the edges of the standards and beyond them, and holds that each is answered with exactly
    what they ask for, or with nothing.

    What is wrong goes no further than the first card. A card beyond it is sent what is allowed, and those before it must pass it on as it came.

    Example:
        - odd_packets: {version: 6}
          measure:
            cases: {at_least: 20, unit: cases}
        - odd_packets: {to: 2}
    """

    verb: ClassVar[str] = "odd_packets"
    measures: ClassVar = {"cases": Measure("cases", "how many were answered as they must be")}

    to: Annotated[Count, Field(description="the card's number")] = 1
    version: Version = "4"

    def run(self, context: StepContext) -> None:
        version = int(self.version)
        source, card = address_of(context, HOST, version), address_of(context, str(self.to), version)
        cases = [each for each in MAKERS[self.version](source, card) if self.to == 1 or each.goes_on]
        for case in cases:
            seen = self._tried(context, case, card)
            self._judge(context, case, seen)
            if self.to > 1:
                self._follow(context, case, seen)
        context.measured("cases", len(cases))

    def _tried(self, context: StepContext, case: Case, card: bytes) -> _Seen:
        out = way_out(context, station(context, HOST), card)

        def send(packet: bytes) -> bool:
            for _ in range(TRIES):
                if context.engine.call(lambda: out.send(packet)):
                    return True
                wait(context, lambda: False, SETTLE)
            return False

        with Watch(context, is_ip) as watch:

            def on(hop: int, direction: Direction) -> list[Packet]:
                return [each for each in packets(watch) if each.hop == hop and each.direction is direction]

            for packet in case.packets:
                if not send(packet):
                    context.fail(f"{case.name}: the card takes no more packets")
            if case.wanted:
                wait(context, lambda: len(on(1, Direction.IN)) >= len(case.wanted), Span(case.within_s * 10**9))
            wait(context, lambda: False, SETTLE)
            passed = on(self.to, Direction.OUT)  # but what the host says to echoes of datagrams: it has no such port
            return _Seen(on(1, Direction.IN), [each for each in passed if told(each) is None])

    def _follow(self, context: StepContext, case: Case, seen: _Seen) -> None:
        """All but the hop limit and the header's checksum must have come to the last hop as it was sent."""
        sent = [own_length(each) for each in case.packets]
        if len(seen.passed) != len(sent):
            context.fail(f"{case.name}: of {len(sent)} packets {len(seen.passed)} came to hop {self.to}")
        for before, after in zip(sent, seen.passed, strict=True):
            was = replace(after, data=before)
            if unaltered(after) != unaltered(was) or not sound_header(after):
                context.fail(f"{case.name}: {before[:48].hex()} came to hop {self.to} as {after.data[:48].hex()}")
            if hop_limit(after) != hop_limit(was) - self.to + 1:
                context.fail(f"{case.name}: hop limit {hop_limit(was)} is {hop_limit(after)} on hop {self.to}")

    def _judge(self, context: StepContext, case: Case, seen: _Seen) -> None:
        if case.optional and not seen.answers:
            return
        if len(seen.answers) != len(case.wanted):
            due = " and ".join(each.name for each in case.wanted) or "silence"
            context.fail(f"{case.name} ({case.clause}): {due} is due; it said {seen}")
        for wanted, answer in zip(case.wanted, seen.answers, strict=True):
            if not sound_header(answer):
                context.fail(f"{case.name}: the header of the answer is wrong: {answer.data[:40].hex()}")
            reason = wanted.differs(*upper(answer.data))
            if reason:
                context.fail(f"{case.name} ({case.clause}): {wanted.name} is due; {reason}")
