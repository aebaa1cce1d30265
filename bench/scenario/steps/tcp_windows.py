"""Windows of TCP: a closed one that is probed, and silly ones that nobody sends into or offers (RFC 9293, 3.8.6)."""

from itertools import pairwise
from typing import Annotated, ClassVar, Final

from pydantic import Field

from bench.card.applications.streams import CHARGEN_PORT, DISCARD_PORT
from bench.pattern import pattern
from bench.scenario.context import StepContext
from bench.scenario.step import Measure, Step
from bench.scenario.steps.ip_support import Version, Who
from bench.scenario.steps.support import milliseconds, wait
from bench.scenario.steps.tcp_peer import ACK, ANSWER, RST, RawPeer, behind, mss_option
from bench.scenario.units import Count, Duration, Span

WINDOW: Final = 400
STEP: Final = 20
"""By so little a silly window grows."""
PAUSE: Final = Span(15 * 10**6)
STEPS: Final = 6
"""So many pauses last less than the 0.1 s after which a sender may send little after all (SHLD-29)."""


class TcpZeroWindow(Step):
    """Closes the window to a card that has much to say, and holds that it asks again, more and more seldom, and goes on when the window opens.

    Each probe is acknowledged with a window of zero: the card must not give up, however long that lasts (MUST-35 to 37).

    Example:
        - tcp_zero_window: {to: 1, probes: 6}
          measure:
            resumed: {at_most: 1000, unit: ms}
    """

    verb: ClassVar[str] = "tcp_zero_window"
    measures: ClassVar = {
        "first_probe": Measure("ms", "from the closed window to the first probe"),
        "longest_pause": Measure("ms", "between two probes"),
        "resumed": Measure("ms", "from the window that opens to the first data"),
    }

    to: Who
    version: Version = "4"
    probes: Annotated[Count, Field(description="how many are answered with a window of zero")] = 6
    within: Annotated[Duration, Field(description="how long the card may take to each")] = Span(130 * 10**9)

    def run(self, context: StepContext) -> None:
        with RawPeer(context, self.to, int(self.version), CHARGEN_PORT) as peer:
            peer.window = 0
            peer.open(options=mss_option(536))
            times = [context.engine.now]
            seen = len(peer.heard)
            for number in range(1, self.probes + 1):
                probe = peer.answer(seen, lambda each: not each.flags & RST, f"window zero ({number})", self.within)
                seen = len(peer.heard)
                if len(probe.payload) > 1:
                    context.fail(f"{len(probe.payload)} bytes were sent into a window of zero")
                if behind(probe.end, peer.ack) > 1:
                    context.fail(f"a probe is beyond what was acknowledged: {probe}, acknowledged {peer.ack}")
                times.append(probe.time)
                peer.say(ACK)
            pauses = [later - sooner for sooner, later in pairwise(times[1:])]
            if any(later < sooner * 9 // 10 for sooner, later in pairwise(pauses)):
                shown = ", ".join(f"{milliseconds(context, each):.0f}" for each in pauses)
                context.fail(f"probes come less and less seldom: pauses of {shown} ms")
            context.measured("first_probe", milliseconds(context, times[1] - times[0]))
            context.measured("longest_pause", milliseconds(context, max(pauses, default=0)))
            peer.window, peer.answers = 4096, True
            opened = context.engine.now
            peer.say(ACK)
            if not peer.wait(lambda: len(peer.received) >= 1024, ANSWER):
                context.fail(f"{len(peer.received)} bytes came within {ANSWER} after the window had opened")
            context.measured("resumed", milliseconds(context, peer.heard[seen].time - opened))
            if bytes(peer.received[:1024]) != pattern(0, 1024):
                context.fail("what came after the window had opened is not what the card had to say")
            peer.leave()


class TcpSillyWindow(Step):
    """Offers windows that grow by a few bytes, and holds that the card does not fill each (MUST-38), nor offers such windows itself (MUST-39).

    Example:
        - tcp_silly_window: {to: 1}
          measure:
            silly: {equals: 0, unit: segments}
            smallest_step: {at_least: 100, unit: bytes}
    """

    verb: ClassVar[str] = "tcp_silly_window"
    measures: ClassVar = {
        "silly": Measure("segments", "segments sent into windows too small to be worth it"),
        "smallest_step": Measure("bytes", "the least by which the card moved the right edge of its own window"),
    }

    to: Who
    version: Version = "4"

    def run(self, context: StepContext) -> None:
        with RawPeer(context, self.to, int(self.version), CHARGEN_PORT) as peer:
            self._sends(context, peer)
        with RawPeer(context, self.to, int(self.version), DISCARD_PORT) as peer:
            self._offers(context, peer)

    def _sends(self, context: StepContext, peer: RawPeer) -> None:
        """The card as the sender: nothing below a full segment, and half the largest window it ever saw."""
        peer.window = WINDOW
        syn = peer.open(options=mss_option(536))

        def came() -> int:
            return max((behind(each.end, syn.end) for each in peer.heard), default=0)

        if not peer.wait(lambda: came() >= WINDOW):
            context.fail(f"{came()} bytes came for a window of {WINDOW}")
        peer.ack = syn.end + came() & 0xFFFF_FFFF
        edge, since = peer.ack, len(peer.heard)
        for number in range(1, STEPS + 1):
            peer.window = number * STEP
            peer.say(ACK)
            wait(context, lambda: False, PAUSE)
        context.measured("silly", sum(bool(each.payload) for each in peer.heard[since:]))
        peer.window = WINDOW
        peer.say(ACK)
        found = peer.answer(since, lambda each: bool(each.payload), "a window worth sending into")
        if found.seq != edge:
            context.fail(f"after the small windows comes {found}, expected what begins at {edge}")
        peer.leave()

    def _offers(self, context: StepContext, peer: RawPeer) -> None:
        """The card as the receiver: the right edge stays, or moves by a step worth it."""
        peer.open()
        edges: list[int] = []
        for number in range(2 * -(-context.point.given.mtu // STEP)):
            since = len(peer.heard)
            peer.say(ACK, pattern(number * STEP, STEP))
            expected = peer.seq
            # acknowledgements may be delayed: every second one says what both had
            if number % 2:
                found = peer.answer(since, lambda each: each.ack == expected, "data")  # noqa: B023 - asked at once
                edges.append(found.ack + found.window & 0xFFFF_FFFF)
        steps = [behind(later, sooner) for sooner, later in pairwise(edges)]
        if any(each < 0 for each in steps):
            context.fail("the card took a part of its window back")
        moved = [each for each in steps if each]
        if moved:
            context.measured("smallest_step", min(moved))
        peer.leave()
