"""A segment that is lost: three duplicate acknowledgements have it sent again (RFC 5681, 2, 3.1 and 3.2; RFC 6928, 2)."""

from typing import ClassVar, Final

from bench.card.applications.streams import CHARGEN_PORT
from bench.scenario.context import StepContext
from bench.scenario.step import Measure, Step
from bench.scenario.steps.ip_support import Version, Who
from bench.scenario.steps.support import milliseconds, wait
from bench.scenario.steps.tcp_peer import ACK, RawPeer, behind, mss_option
from bench.scenario.units import Span

SIZE: Final = 128
"""The peer's MSS: small, so that many segments are under way."""
QUIET: Final = Span(300 * 10**6)
"""After this a sender has sent all it may: its timer, which takes at least a second (RFC 6298, 2.4), has not yet run out."""
NEEDED: Final = 4
"""So many segments must be under way for three duplicates to come of one that is lost."""
ROUNDS: Final = 8
"""Round trips in which a window of two segments must have grown to that."""


class TcpLostSegment(Step):
    """Takes what the card says until enough is under way, and then acts as if the next segment had been lost.

    The first two duplicate acknowledgements must have nothing sent again, the third the segment that is missing, long before the card's timer.

    Example:
        - tcp_lost_segment: {to: 1}
          measure:
            initial_window: {at_most: 10, unit: segments}
            growth: {at_most: 2, unit: ratio}
            too_early: {equals: 0, unit: segments}
            again: {at_most: 300, unit: ms}
    """

    verb: ClassVar[str] = "tcp_lost_segment"
    measures: ClassVar = {
        "initial_window": Measure("segments", "full segments sent before the first acknowledgement of data"),
        "growth": Measure("ratio", "the most that what is under way grew by in one round trip"),
        "too_early": Measure("segments", "segments sent again after two duplicate acknowledgements"),
        "again": Measure("ms", "from the third duplicate acknowledgement to the segment that was missing"),
    }

    to: Who
    version: Version = "4"

    def run(self, context: StepContext) -> None:
        with RawPeer(context, self.to, int(self.version), CHARGEN_PORT) as peer:
            syn = peer.open(options=mss_option(SIZE))

            def came() -> int:
                wait(context, lambda: False, QUIET)
                return max((behind(each.end, syn.end) for each in peer.heard), default=0)

            acknowledged, reached = 0, came()
            context.measured("initial_window", reached / SIZE)
            growth = 0.0
            for _ in range(ROUNDS):
                before = reached - acknowledged
                self._acknowledge(peer, syn.end + reached)
                acknowledged, reached = reached, came()
                growth = max(growth, (reached - acknowledged) / max(1, before))
                if reached - acknowledged >= NEEDED * SIZE:
                    break
            else:
                context.fail(f"{reached - acknowledged} bytes are under way after {ROUNDS} round trips without a loss")
            context.measured("growth", growth)
            self._lose(context, peer)
            reached = came()
            since = len(peer.heard)
            self._acknowledge(peer, syn.end + reached)
            peer.answer(since, lambda each: bool(each.payload), "the end of the gap")
            peer.leave()

    def _acknowledge(self, peer: RawPeer, number: int) -> None:
        """Every other segment up to there, as a receiver does."""
        while behind(number, peer.ack) > 0:
            peer.ack = peer.ack + min(2 * SIZE, behind(number, peer.ack)) & 0xFFFF_FFFF
            peer.say(ACK)

    def _lose(self, context: StepContext, peer: RawPeer) -> None:
        """Three acknowledgements that say the same."""
        missing = peer.ack
        lost = next(each.payload for each in peer.heard if each.seq == missing and each.payload)
        since = len(peer.heard)
        for _ in range(2):
            peer.say(ACK)
            wait(context, lambda: False, Span(QUIET.ns // 6))
        context.measured("too_early", sum(each.seq == missing for each in peer.heard[since:]))
        told = context.engine.now
        peer.say(ACK)
        found = peer.answer(since, lambda each: each.seq == missing and bool(each.payload), "a third duplicate")
        context.measured("again", milliseconds(context, found.time - told))
        if found.payload[: len(lost)] != lost[: len(found.payload)]:
            context.fail("what was sent again is not what had been sent")
