"""The fastest legal exchange, from character edges: what every efficiency refers to (ISO/IEC 7816-3:2006, 10 and 11; docs/protocol.md, section 1).

Times run from the leading edge of an exchange's first character to the earliest legal leading edge of the next exchange's first character. Nothing
legal is faster than a limit; where the cheapest choice cannot be written in one formula the limit lies below it.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from bench.hop.segment import MAX_PAYLOAD, MAX_SEGMENT, segment_length
from bench.iso7816.line import CHARACTER_END_ETU
from bench.iso7816.rates import BGT_ETU, GUARD_ETU, TURNAROUND_T0_ETU
from bench.iso7816.t0 import HEADER_LENGTH

COMMAND_HEADER: Final = 4
LENGTH_FIELD: Final = 1
STATUS_WORD: Final = 2
SEGMENT_HEADER: Final = 1


class LineLimit(Protocol):
    """What the fastest legal use of a line takes, in ticks, whichever protocol it speaks."""

    @property
    def tail(self) -> int:
        """From the end of an exchange's last character (its parity bit) to the next exchange's earliest leading edge."""

    @property
    def densest(self) -> int:
        """How many bytes of data the ENVELOPE carries that uses the line best."""

    def envelope(self, data: int) -> int:
        """An ENVELOPE with ``data`` bytes, answered with a status word."""

    def exchange(self, sent: int, received: int) -> int:
        """The exchange of a command of ``sent`` bytes, as the port is given it, and an answer of ``received`` bytes."""

    def carry(self, to_card: Sequence[int], from_card: Sequence[int]) -> int:
        """Packets of these lengths, each way, in the cheapest order."""


@dataclass(frozen=True, slots=True)
class T0Limit:
    """Shortest exchanges over T=0. ``pitch_to_card`` is 12 etu and the extra guard time; ``card`` what a command may take beyond."""

    etu: int
    pitch_to_card: int
    card: int = 0

    @property
    def tail(self) -> int:
        return self._turns - (TURNAROUND_T0_ETU + CHARACTER_END_ETU) * self.etu

    @property
    def _turns(self) -> int:
        """A turn to the terminal and one to the card: the extra guard time runs whoever sent the character before (8.3)."""
        return TURNAROUND_T0_ETU * self.etu + max(TURNAROUND_T0_ETU * self.etu, self.pitch_to_card)

    @property
    def densest(self) -> int:
        return MAX_SEGMENT

    def envelope(self, data: int) -> int:
        """Header, INS back, data, SW1 SW2 back, and the turn to the next command: four reversals."""
        there = (HEADER_LENGTH - 1 + data - 1) * self.pitch_to_card
        return there + GUARD_ETU * self.etu + 2 * self._turns + self.card

    def fetch(self, data: int) -> int:
        """A GET RESPONSE for exactly ``data`` bytes: header, then INS, data and SW1 SW2 in one go: two reversals."""
        back = (1 + data + 2 - 1) * GUARD_ETU * self.etu
        return (HEADER_LENGTH - 1) * self.pitch_to_card + back + self._turns + self.card

    def status(self) -> int:
        """A command answered with a status word alone (a fruitless poll)."""
        return (HEADER_LENGTH - 1) * self.pitch_to_card + GUARD_ETU * self.etu + self._turns + self.card

    def exchange(self, sent: int, received: int) -> int:
        if sent > HEADER_LENGTH:
            return self.envelope(sent - HEADER_LENGTH)
        return self.fetch(received - STATUS_WORD) if received > STATUS_WORD else self.status()

    def carry(self, to_card: Sequence[int], from_card: Sequence[int]) -> int:
        """One way costs the other nothing and saves it nothing; every segment from the card is announced by the exchange before it."""
        there = sum(self.envelope(SEGMENT_HEADER + piece) for length in to_card for piece in _pieces(length))
        return there + sum(self.fetch(SEGMENT_HEADER + piece) for length in from_card for piece in _pieces(length))


@dataclass(frozen=True, slots=True)
class T1Limit:
    """Shortest exchanges over T=1. ``card`` is what a command may take beyond; ``edc`` the characters of an EDC.

    An exchange whose command takes b blocks and its answer a blocks has n = b + a - 1 blocks each way: n - b R-blocks ask for the rest of the answer,
    n - a R-blocks for the rest of the command. A block of k characters spans k - 1 pitches, and BGT follows before the other side's first character;
    so with s characters to the card and r from it the exchange takes (s - n) pitches there, (r - n) pitches back, and 2n turns of BGT (N may make
    those to the card longer).
    """

    etu: int
    pitch_to_card: int
    """11 etu with N = 255, else 12 etu and N."""
    pitch_from_card: int
    ifsc: int = 254
    ifsd: int = 254
    edc: int = 1
    card: int = 0

    @property
    def tail(self) -> int:
        return self._turns - (BGT_ETU + CHARACTER_END_ETU) * self.etu

    @property
    def _turns(self) -> int:
        """A turn to the terminal and one to the card: the extra guard time runs whoever sent the character before (8.3)."""
        return BGT_ETU * self.etu + max(BGT_ETU * self.etu, self.pitch_to_card)

    @property
    def densest(self) -> int:
        return segment_length(1, self.ifsc, COMMAND_HEADER + LENGTH_FIELD)

    def envelope(self, data: int) -> int:
        return self.exchange(COMMAND_HEADER + LENGTH_FIELD + data, STATUS_WORD)

    def exchange(self, sent: int, received: int) -> int:
        return self._timed(_blocks(sent, self.ifsc) + _blocks(received, self.ifsd) - 1, sent, received)

    def _timed(self, blocks: int, sent: int, received: int) -> int:
        """An exchange of so many blocks each way."""
        around = blocks * (3 + self.edc)
        there = (around + sent - blocks) * self.pitch_to_card
        back = (around + received - blocks) * self.pitch_from_card
        return there + back + blocks * self._turns + self.card

    def carry(self, to_card: Sequence[int], from_card: Sequence[int]) -> int:
        """Each segment to the card is an ENVELOPE of its own. A segment from the card rides in the answer of an ENVELOPE, where it costs Le and
        its own characters; only what is left over needs a GET RESPONSE of its own.

        With n segments to the card and m from it the total is the sum of what each packet costs by itself, every segment from the card riding, and
        max(0, m - n) times what a GET RESPONSE costs beyond that. How a packet is cut is free: fewer segments in more blocks, or more segments. For
        any price p between nothing and the whole of that difference, max(0, m - n) times the difference is at least p (m - n); so each packet may
        choose its own cheapest cut, segments to the card paid p and segments from it paying p, and the sum is never above the true minimum. It is
        the true minimum at one end or the other wherever packets do not pull different ways.
        """
        rides = LENGTH_FIELD * self.pitch_to_card + SEGMENT_HEADER * self.pitch_from_card
        fetch = COMMAND_HEADER + LENGTH_FIELD
        alone = self._timed(_blocks(fetch, self.ifsc), fetch, STATUS_WORD + SEGMENT_HEADER)
        envelope = self._timed(1, fetch + SEGMENT_HEADER, STATUS_WORD)
        ticks = sum(to_card) * self.pitch_to_card + sum(from_card) * self.pitch_from_card
        best = 0
        for price in (0, alone - rides):
            there = sum(
                count * self._cut(length, fetch + SEGMENT_HEADER, self.ifsc, envelope - price)
                for length, count in Counter(to_card).items()
            )
            back = sum(
                count * self._cut(length, STATUS_WORD + SEGMENT_HEADER, self.ifsd, rides + price)
                for length, count in Counter(from_card).items()
            )
            best = max(best, there + back)
        return ticks + best

    def _cut(self, length: int, around: int, ifs: int, segment: int) -> int:
        """The cheapest cut of a packet: its segments at the price of ``segment`` each, and the blocks beyond one a segment; bytes are not in it.

        ``around`` bytes go with each segment.
        """
        fewest = max(1, -(-length // MAX_PAYLOAD))
        most = max(fewest, -(-length // max(1, ifs - around)))
        pitches = 2 + self.edc  # a block more one way is an R-block the other way, of 3 characters and EDC each
        block = pitches * (self.pitch_to_card + self.pitch_from_card) + self._turns
        return min(
            count * segment
            + (_fewest_blocks(length + count * around, count, ifs, MAX_PAYLOAD + around) - count) * block
            for count in range(fewest, most + 1)
        )


def _blocks(length: int, ifs: int) -> int:
    return max(1, -(-length // ifs))


def _fewest_blocks(length: int, count: int, ifs: int, longest: int) -> int:
    """How few blocks ``count`` commands (or answers) of together ``length`` bytes take, none of them longer than ``longest``.

    Whole blocks first: the last one of a longest command may have little in it.
    """
    whole = longest // ifs
    beyond = length - count * whole * ifs
    if not whole or beyond <= 0:
        return max(count, _blocks(length, ifs))
    return count * whole + -(-beyond // (longest - whole * ifs))


def _pieces(length: int) -> list[int]:
    whole, rest = divmod(length, MAX_PAYLOAD)
    return [MAX_PAYLOAD] * whole + ([rest] if rest or not whole else [])
