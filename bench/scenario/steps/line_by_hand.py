"""The I/O line in the hand of a step: characters go to the first card as they are told, past the reader that powered it.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections.abc import Collection, Sequence

from bench.engine import TO_CARD
from bench.iso7816.line import Burst
from bench.iso7816.port import PowerUp
from bench.scenario.context import StepContext
from bench.scenario.errors import BenchFault, NotApplicable
from bench.scenario.steps.support import wait


class LineHand:
    """Cold reset and PPS by the reader; then the line is ours. Raises NotApplicable where no line of the bench's own is there."""

    def __init__(self, context: StepContext, protocol: int) -> None:
        chain = context.rig.chain
        if chain is None or context.point.given.protocol != f"T={protocol}":
            raise NotApplicable(f"characters are sent by hand on a rig of the bench's own, over T={protocol}")
        self.context = context
        self.reader = reader = chain.places[0].reader
        ups: list[PowerUp] = []
        context.engine.call(lambda: reader.power_up(ups.append))
        wait(context, lambda: bool(ups))
        card = reader.card_here()
        if not ups or ups[0].error or reader.atr is None or card is None:
            raise BenchFault(f"the card could not be powered: {ups[0].error if ups else 'no answer'}")
        if reader.protocol != protocol:
            raise NotApplicable(f"the card goes on with T={reader.protocol}")
        self.card = card
        self.atr = reader.atr
        self.answers: list[Burst] = []
        self.last_out = self.last = context.engine.now
        """Leading edges of the last character to the card, and of the last one either way."""
        card.transmit = self.answers.append

    def send_after(self, gap: int, pieces: Sequence[bytes], damaged: Collection[int], pitch: int, etu: int) -> None:
        """Bursts whose characters are ``pitch`` apart, ``gap`` after the last character of either side; ``damaged`` have wrong parity."""
        engine, card = self.context.engine, self.card
        start = max(engine.now, self.last + gap)
        self.answers.clear()

        def send(burst: Burst) -> None:
            engine.call(lambda: engine.at(burst.taken, lambda: card.receive(burst, damaged), TO_CARD))

        for piece in pieces:
            burst = Burst(piece, start, pitch, etu)
            send(burst)
            self.last_out = self.last = burst.last
            start = burst.last + pitch

    def heard_within(self, limit: int) -> Burst | None:
        """What the card sends, once it has arrived, if it does so within ``limit`` of our last character. Two at once fail the point."""
        engine = self.context.engine
        engine.wait(lambda: bool(self.answers), max(0, self.last + limit - engine.now))
        if not self.answers:
            return None
        answer = self.answers[-1]
        self.last = answer.last
        engine.wait(lambda: False, max(0, answer.taken - engine.now))
        self.must(len(self.answers) == 1, f"{len(self.answers)} bursts came where one was due")
        return answer

    def must(self, held: bool, otherwise: str) -> None:
        """The card fails the point where it does not hold."""
        if not held:
            self.context.fail(otherwise)
