"""Packets at the edges of what RFC 791, 792, 768, 8200 and 4443 allow, and beyond, written byte by byte: what each must be answered with."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Final

from bench.observe import Direction, Packet
from bench.scenario.context import StepContext
from bench.scenario.step import Measure, Step
from bench.scenario.steps.ip_packets import is_ip, packets, sound_header
from bench.scenario.steps.ip_support import HOST, Version, address_of, station
from bench.scenario.steps.ip_told import way_out
from bench.scenario.steps.odd_packets4 import cases4
from bench.scenario.steps.odd_packets6 import cases6
from bench.scenario.steps.odd_support import Case, upper
from bench.scenario.steps.support import Watch, wait
from bench.scenario.units import Span

FIRST_CARD: Final = "1"
"""Whatever is wrong would go no further than the node before the card: only the host's neighbour can be sent it."""
SETTLE: Final = Span(500 * 10**6)
"""After this a second answer, or one that must not come, has come."""
TRIES: Final = 20
"""How often a packet is offered to a line that is busy."""
MAKERS: Final[dict[str, Callable[[bytes, bytes], list[Case]]]] = {"4": cases4, "6": cases6}


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the card said to the host about one case."""

    answers: list[Packet]

    def __str__(self) -> str:
        return "; ".join(each.data[:48].hex() for each in self.answers) or "nothing"


class OddPackets(Step):
    """Sends the first card, in the host's name, packets at the edges of the standards and beyond them, and holds that each is answered with exactly
    what they ask for, or with nothing.

    Example:
        - odd_packets: {version: 6}
          measure:
            cases: {at_least: 20, unit: cases}
    """

    verb: ClassVar[str] = "odd_packets"
    measures: ClassVar = {"cases": Measure("cases", "how many were answered as they must be")}

    version: Version = "4"

    def run(self, context: StepContext) -> None:
        source, card = address_of(context, HOST, int(self.version)), address_of(context, FIRST_CARD, int(self.version))
        cases = MAKERS[self.version](source, card)
        for case in cases:
            seen = self._tried(context, case, card)
            self._judge(context, case, seen)
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

            def answers() -> list[Packet]:
                return [each for each in packets(watch) if each.hop == 1 and each.direction is Direction.IN]

            for packet in case.packets:
                if not send(packet):
                    context.fail(f"{case.name}: the card takes no more packets")
            if case.wanted:
                wait(context, lambda: len(answers()) >= len(case.wanted), Span(case.within_s * 10**9))
            wait(context, lambda: False, SETTLE)
            return _Seen(answers())

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
