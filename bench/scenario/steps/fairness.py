"""How evenly channels share a hop: Jain's index over sliding windows, the longest gap of one channel, each channel's part.

A channel of weight w is meant to carry w times as much as one of weight 1: everything here is counted per share.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.observe import Direction, Exchange, Packet
from bench.scenario.errors import BenchFault

WINDOW_MESSAGES = 10
"""Messages a share has, on average, in the window over which fairness is taken."""
HEADER_LENGTH = 5
DATA = 4
TYPE_BITS = 0x0F
WEIGHTS = (1, 2, 4, 8)
NOTHING = 0x6200
"""What docs/protocol.md, 1.3 and 3, says: a judge does not ask the code it judges."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One DATA message crossing a hop."""

    time: int
    direction: Direction
    channel: bytes
    """What tells channels apart: destination, source and number."""
    length: int
    """Bytes of the packet."""
    weight: int = 1
    hop: int = 1


@dataclass(frozen=True, slots=True)
class Shares:
    """How the channels that cross a hop in one direction shared it."""

    hop: int
    direction: Direction
    parts: tuple[float, ...]
    """Percent of the payload per share, by channel: what it carried over its weight. 0 for each that should be served and never was."""
    fairness: float
    """Jain's index of the worst window."""
    short: str
    """Why there is no window to speak of; empty where there is one."""
    gap: int
    messages: int


def sample_of(packet: Packet) -> Sample | None:
    """The sample that a packet is; None for what is no DATA message."""
    if packet.kind != "channel" or packet.data[0] & TYPE_BITS != DATA:
        return None
    weight = WEIGHTS[packet.data[0] >> 4 & 3]
    return Sample(packet.time_ticks, packet.direction, packet.data[1:4], packet.length_bytes, weight, packet.hop)


def shares(samples: Iterable[Sample], hop: int, direction: Direction, weights: Sequence[int], span: range) -> Shares:
    """How channels of these weights, which should all be served, shared one direction of one hop during ``span``. Raises BenchFault."""
    mine = [sample for sample in samples if sample.hop == hop and sample.direction is direction]
    totals = Counter[bytes]()
    borne: dict[bytes, int] = {}
    for sample in mine:
        totals[sample.channel] += sample.length - HEADER_LENGTH
        borne[sample.channel] = sample.weight
    channels = max(len(weights), len(totals))
    a_share = {channel: totals[channel] / borne[channel] for channel in sorted(totals)}
    everything = sum(a_share.values()) or 1
    parts = [100.0 * each / everything for each in a_share.values()] + [0.0] * (channels - len(totals))
    unseen = Counter(weights) - Counter(borne.values())
    window = WINDOW_MESSAGES * (sum(borne.values()) + sum(unseen.elements()))
    fairness, short = 1.0, ""
    if len(mine) < window:
        short = f"{len(mine)} messages crossed hop {hop} ({direction}), a window of {channels} channels takes {window}"
    else:
        fairness = worst_jain(mine, channels, window)
    return Shares(
        hop, direction, tuple(parts), fairness, short, longest_gap(mine, channels, span.start, span.stop), len(mine)
    )


def busy(exchanges: Iterable[Exchange], hop: int, span: range) -> float:
    """Part of the time that the exchanges of a hop take, polls that bring nothing left out."""
    used = [
        each.duration_ticks for each in exchanges if each.hop == hop and each.start_ticks in span and each.sw != NOTHING
    ]
    return sum(used) / max(1, span.stop - span.start)


def worst_jain(samples: Sequence[Sample], channels: int, window: int | None = None) -> float:
    """The worst Jain index of bytes per share over sliding windows of so many messages (10 a channel), for so many channels that should be served.

    One that is never seen counts as 0. Raises BenchFault where not even one window is full.
    """
    size = WINDOW_MESSAGES * channels if window is None else window
    if len(samples) < size:
        raise BenchFault(f"{len(samples)} messages make no window of {size}")
    inside: deque[Sample] = deque()
    share: dict[bytes, int] = defaultdict(int)
    total = squares = 0
    worst = 1.0
    most = WEIGHTS[-1]
    for sample in samples:
        inside.append(sample)
        for sign, each in ((-1, inside[0]), (1, sample)) if len(inside) > size else ((1, sample),):
            change = sign * each.length * most // each.weight
            squares += (share[each.channel] + change) ** 2 - share[each.channel] ** 2
            share[each.channel] += change
            total += change
        if len(inside) > size:
            inside.popleft()
        if len(inside) == size:
            worst = min(worst, total * total / (channels * squares))
    return worst


def longest_gap(samples: Sequence[Sample], channels: int, begin: int, end: int) -> int:
    """The longest time between ``begin`` and ``end`` in which one of so many channels was not served: all of it, for one never seen."""
    last: dict[bytes, int] = {}
    longest = 0
    for sample in samples:
        longest = max(longest, sample.time - last.get(sample.channel, begin))
        last[sample.channel] = sample.time
    if len(last) < channels:
        return end - begin
    return max([longest, *(end - time for time in last.values())])
