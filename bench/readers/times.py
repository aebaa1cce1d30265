"""Where the time of an exchange went: the bench itself, the reader, the line, the card.

The parts add up, and none is below zero: an exchange lasts ``reader + wire + card``, and the bench takes ``host`` beyond that. The line's own time is
taken first (what its characters and mandatory turn-arounds take at the rate in use; nothing where the rate is not known), then the reader's own
latency as it was calibrated, no more than is left; the rest is the card's. A card's time that is not above ``uncertainty`` is below what the reader
resolves: it may be nothing.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from dataclasses import dataclass
from typing import Protocol

from bench.iso7816.port import Answer, TerminalPort


@dataclass(slots=True)
class Times:
    """The parts of one exchange."""

    reader: int
    wire: int
    card: int
    uncertainty: int
    """Half-width of ``reader``, and so of ``card``."""


class Split(Protocol):
    """Divides exchanges of one reader."""

    def powered(self, atr: bytes) -> None:
        """A card with this ATR is up: its guard times count."""

    def times(self, command: bytes, answer: Answer, port: TerminalPort) -> Times:
        """The parts of an exchange that has just ended."""


def divided(duration: int, wire: int, latency: int, uncertainty: int) -> Times:
    """The law of this page: the line first, then the reader, the rest is the card's."""
    wire = min(max(0, wire), max(0, duration))
    reader = min(max(0, latency), max(0, duration) - wire)
    return Times(reader, wire, max(0, duration) - wire - reader, uncertainty)
