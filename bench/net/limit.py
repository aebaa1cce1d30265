"""The shortest legal sequence of exchanges that carries bulk over TCP or UDP on one hop, with the acknowledgements it cannot do without.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from dataclasses import dataclass
from typing import Final

from bench.hop.limit import LineLimit

SEGMENTS_AN_ACK: Final = 2
"""RFC 9293, SHLD-19 (RFC 1122, 4.2.3.2): at least every second full-sized segment is acknowledged."""
LONGEST_DELAY_S: Final = 0.5
"""RFC 9293, MUST-40: an acknowledgement waits for less. Segments that come further apart are acknowledged one by one."""


@dataclass(frozen=True, slots=True)
class Bulk:
    """What crosses a hop in one direction."""

    payload: int = 0
    """Bytes of the application, each counted once."""
    longest: int = 1
    """Payload that the longest packet takes: what the MTU leaves."""
    headers: int = 0
    """Headers of a packet, layers 3 and 4; a pure acknowledgement is no more than that."""
    acknowledged: int = 0
    """How many pure acknowledgements of it crossed the other way: none more are asked of the limit. UDP has none."""

    @property
    def packets(self) -> list[int]:
        """Lengths of the fewest packets that carry it."""
        whole, rest = divmod(self.payload, self.longest)
        return [self.headers + self.longest] * whole + ([self.headers + rest] if rest else [])

    def acknowledgements(self, carriers: int, apart: int, longest_delay: int) -> list[int]:
        """Lengths of the pure acknowledgements it cannot do without, where ``carriers`` packets the other way take one along each.

        ``apart``: ticks that a full packet takes, so that they cannot come closer together; ``longest_delay``: for what an acknowledgement may wait.
        """
        needed = len(self.packets) // (1 if apart >= longest_delay else SEGMENTS_AN_ACK) - carriers
        return [self.headers] * max(0, min(self.acknowledged, needed))


def shortest(limit: LineLimit, to_card: Bulk, from_card: Bulk, hz: int) -> int:
    """Ticks (``hz`` a second) that no legal sequence can beat."""
    there, back = to_card.packets, from_card.packets
    delay = round(hz * LONGEST_DELAY_S)
    down = limit.carry([to_card.headers + to_card.longest], [])
    up = limit.carry([], [from_card.headers + from_card.longest])
    return limit.carry(
        there + from_card.acknowledgements(len(there), up, delay),
        back + to_card.acknowledgements(len(back), down, delay),
    )
