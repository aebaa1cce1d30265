"""The shortest legal sequence of exchanges that carries given DATA messages over one hop, with the credits it cannot do without.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

from bench.channels.message import HEADER_LENGTH
from bench.hop.limit import LineLimit

Key = TypeVar("Key", bound=Hashable)


def shortest(
    limit: LineLimit,
    to_card: Mapping[Key, Sequence[int]],
    from_card: Mapping[Key, Sequence[int]],
    window_card: int,
    window_host: int,
) -> int:
    """Ticks that no legal sequence can beat.

    ``to_card`` and ``from_card`` give, per channel, the lengths in bytes of the packets that carry DATA each way. A channel may start with the
    whole of its window; beyond that every message needs credit of its own channel, which a receiver returns in halves of the window. It rides for
    nothing with DATA that goes the other way: the two directions of a channel need not have the same key, any DATA is taken to carry any credit.
    """
    there = [length for packets in to_card.values() for length in packets]
    back = [length for packets in from_card.values() for length in packets]
    credits_back = [HEADER_LENGTH] * max(0, _credits(to_card, window_card) - len(back))
    credits_there = [HEADER_LENGTH] * max(0, _credits(from_card, window_host) - len(there))
    return limit.carry(there + credits_there, back + credits_back)


def _credits(channels: Mapping[Key, Sequence[int]], window: int) -> int:
    """Messages with credit that these channels need beyond their first windows."""
    half = -(-window // 2)
    return sum(max(0, -(-(len(packets) - window) // half)) for packets in channels.values())
