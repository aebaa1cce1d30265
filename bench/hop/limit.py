"""The fastest legal exchange, from character edges: what every efficiency refers to (ISO/IEC 7816-3:2006, 10; docs/protocol.md, section 1).

Times run from the leading edge of an exchange's first character to the earliest legal leading edge of the next exchange's first character.
"""

from dataclasses import dataclass

from bench.hop.segment import MAX_PAYLOAD
from bench.iso7816.rates import GUARD_ETU, TURNAROUND_T0_ETU
from bench.iso7816.t0 import HEADER_LENGTH


@dataclass(frozen=True, slots=True)
class T0Limit:
    """Shortest exchanges over T=0, in ticks. ``pitch_to_card`` is 12 etu and the extra guard time; ``card`` what a command may take beyond."""

    etu: int
    pitch_to_card: int
    card: int = 0

    def envelope(self, data: int) -> int:
        """An ENVELOPE with ``data`` bytes: header, INS back, data, SW1 SW2 back, and the turn to the next command: four reversals."""
        there = (HEADER_LENGTH - 1 + data - 1) * self.pitch_to_card
        return there + (GUARD_ETU + 4 * TURNAROUND_T0_ETU) * self.etu + self.card

    def fetch(self, data: int) -> int:
        """A GET RESPONSE for exactly ``data`` bytes: header, then INS, data and SW1 SW2 in one go: two reversals."""
        back = (1 + data + 2 - 1) * GUARD_ETU * self.etu
        return (HEADER_LENGTH - 1) * self.pitch_to_card + back + 2 * TURNAROUND_T0_ETU * self.etu + self.card

    def status(self) -> int:
        """A command answered with a status word alone (a fruitless poll)."""
        return (HEADER_LENGTH - 1) * self.pitch_to_card + (GUARD_ETU + 2 * TURNAROUND_T0_ETU) * self.etu + self.card

    def packet_to_card(self, length: int) -> int:
        """A packet of ``length`` bytes as segments to the card."""
        return sum(self.envelope(1 + piece) for piece in _pieces(length))

    def packet_from_card(self, length: int) -> int:
        """A packet of ``length`` bytes as segments from the card, each announced by the exchange before it."""
        return sum(self.fetch(1 + piece) for piece in _pieces(length))


def _pieces(length: int) -> list[int]:
    whole, rest = divmod(length, MAX_PAYLOAD)
    return [MAX_PAYLOAD] * whole + ([rest] if rest or not whole else [])
