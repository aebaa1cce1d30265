"""The shortest legal sequence of exchanges that carries given DATA messages over one hop, with the credits it cannot do without."""

from collections.abc import Mapping, Sequence

from bench.channels.message import HEADER_LENGTH
from bench.hop.limit import T0Limit


def shortest(
    limit: T0Limit,
    to_card: Mapping[int, Sequence[int]],
    from_card: Mapping[int, Sequence[int]],
    window_card: int,
    window_host: int,
) -> int:
    """Ticks that no legal sequence can beat.

    ``to_card`` and ``from_card`` give, per channel, the lengths in bytes of the packets that carry DATA each way. A channel may start with the
    whole window; beyond that every message needs credit, which a receiver returns in halves of its window, for nothing where DATA goes the other way.
    """
    ticks = 0
    for channel, packets in to_card.items():
        ticks += sum(limit.packet_to_card(length) for length in packets)
        ticks += _credits(len(packets), window_card, len(from_card.get(channel, ()))) * limit.packet_from_card(
            HEADER_LENGTH
        )
    for channel, packets in from_card.items():
        ticks += sum(limit.packet_from_card(length) for length in packets)
        ticks += _credits(len(packets), window_host, len(to_card.get(channel, ()))) * limit.packet_to_card(
            HEADER_LENGTH
        )
    return ticks


def _credits(messages: int, window: int, carriers: int) -> int:
    """CREDIT messages needed for ``messages`` beyond the first window, where ``carriers`` DATA messages the other way take some along."""
    half = -(-window // 2)
    return max(0, -(-(messages - window) // half) - carriers)
