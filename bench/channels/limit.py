"""The shortest legal sequence of exchanges that carries given DATA messages over one hop, with the credits it cannot do without.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections.abc import Mapping, Sequence

from bench.channels.message import HEADER_LENGTH
from bench.hop.limit import LineLimit


def shortest(
    limit: LineLimit,
    to_card: Mapping[int, Sequence[int]],
    from_card: Mapping[int, Sequence[int]],
    window_card: int,
    window_host: int,
) -> int:
    """Ticks that no legal sequence can beat.

    ``to_card`` and ``from_card`` give, per channel, the lengths in bytes of the packets that carry DATA each way. A channel may start with the
    whole window; beyond that every message needs credit, which a receiver returns in halves of its window, for nothing where DATA goes the other way.
    """
    there = [length for packets in to_card.values() for length in packets]
    back = [length for packets in from_card.values() for length in packets]
    for channel, packets in to_card.items():
        back += [HEADER_LENGTH] * _credits(len(packets), window_card, len(from_card.get(channel, ())))
    for channel, packets in from_card.items():
        there += [HEADER_LENGTH] * _credits(len(packets), window_host, len(to_card.get(channel, ())))
    return limit.carry(there, back)


def _credits(messages: int, window: int, carriers: int) -> int:
    """CREDIT messages needed for ``messages`` beyond the first window, where ``carriers`` DATA messages the other way take some along."""
    half = -(-window // 2)
    return max(0, -(-(messages - window) // half) - carriers)
