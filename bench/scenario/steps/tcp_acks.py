"""When a receiver acknowledges (RFC 1122, 4.2.3.2; RFC 5681, 4.2; RFC 9293, 3.8.6.3 and 3.10.7.4)."""

from typing import ClassVar, Final

from bench.card.applications.streams import DISCARD_PORT
from bench.scenario.context import StepContext
from bench.scenario.step import Measure, Step
from bench.scenario.steps.ip_support import Version, Who
from bench.scenario.steps.support import milliseconds
from bench.scenario.steps.tcp_peer import ACK, FIN, Heard, RawPeer
from bench.scenario.units import Span

SETTLE: Final = Span(2 * 10**9)
"""After this nothing more comes that was delayed."""
PIECE: Final = 40


class TcpAcknowledgements(Step):
    """Sends segments alone, in pairs, with gaps between them, late and twice; holds that each is acknowledged with the number that is due.

    Measures how soon that is.

    Example:
        - tcp_acknowledgements: {to: 1}
          measure:
            delayed: {at_most: 500, unit: ms}
            at_once: {at_most: 100, unit: ms}
    """

    verb: ClassVar[str] = "tcp_acknowledgements"
    measures: ClassVar = {
        "delayed": Measure("ms", "a short segment, alone"),
        "second": Measure("ms", "the longest for the second of two full segments"),
        "at_once": Measure("ms", "the longest for what leaves, narrows or fills a gap, comes again, or ends"),
    }

    to: Who
    version: Version = "4"

    def run(self, context: StepContext) -> None:
        with RawPeer(context, self.to, int(self.version), DISCARD_PORT) as peer:
            full = peer.open().mss or 536
            begin = peer.seq
            context.measured("delayed", self._due(context, peer, ((0, PIECE),), PIECE))
            at, second = PIECE, 0.0
            for _ in range(4):
                second = max(second, self._due(context, peer, ((at, full), (at + full, full)), at + 2 * full))
                at += 2 * full
            context.measured("second", second)
            soon = [
                self._due(context, peer, ((at + PIECE, PIECE),), at),
                self._due(context, peer, ((at + 3 * PIECE, PIECE),), at),
                self._due(context, peer, ((at, PIECE),), at + 2 * PIECE),
                self._due(context, peer, ((at + 2 * PIECE, PIECE),), at + 4 * PIECE),
                self._due(context, peer, ((at, PIECE),), at + 4 * PIECE),
                self._due(context, peer, ((at + 3 * PIECE, 2 * PIECE),), at + 5 * PIECE, late=True),
            ]
            at += 5 * PIECE
            soon.append(self._due(context, peer, ((at, PIECE),), at + PIECE + 1, flags=ACK | FIN))
            context.measured("at_once", max(soon[:5] + soon[6:]))
            peer.seq = begin + at + PIECE + 1
            peer.leave()

    def _due(
        self,
        context: StepContext,
        peer: RawPeer,
        pieces: tuple[tuple[int, int], ...],
        due: int,
        flags: int = ACK,
        late: bool = False,
    ) -> float:
        """Send pieces (where they begin, counted from our first byte, and how long they are); milliseconds until the number due is acknowledged."""
        first, since = peer.seq, len(peer.heard)
        for at, size in pieces:
            peer.say(flags, bytes(size), seq=first + at)
        begun = context.engine.now
        number = first + due & 0xFFFF_FFFF
        what = f"bytes {', '.join(f'{at} to {at + size}' for at, size in pieces)}"
        found = peer.answer(since, lambda each: _acknowledges(each, number), what)
        peer.wait(lambda: False, SETTLE)
        beyond = [each for each in peer.heard[since:] if not _acknowledges(each, number) and each.time > found.time]
        if beyond and not late:
            context.fail(f"after {what} number {due} was acknowledged, and then {beyond[0]}")
        return milliseconds(context, found.time - begun)


def _acknowledges(heard: Heard, number: int) -> bool:
    return bool(heard.flags & ACK) and heard.ack == number
