"""Who goes next on a hop: deficit round robin with new flows first (DRR++, as in RFC 8290, 4.2), control packets before all.

A flow is whatever the stack above names with a key (a channel and its direction, say). A turn gives a flow one quantum (the MTU) of bytes times its
weight; a packet may overdraw it, which the next turn pays for. A flow that was idle goes first for one turn, so that a short message overtakes
bulk; one that empties during that turn waits behind the others before it counts as new again, so that nobody gains by pausing.

A flow that has no more than a short packet waiting (or two: a credit and a word) goes before all turns: a conversation of single words does not wait
for a round of bulk. What it may send so is bounded: as many bytes as its turns would give it, and ``BURST`` quanta beyond that. They are paid for in
its next turn, as far as one turn reaches.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final

from bench.hop.segment import Kind

URGENT: Final[None] = None
"""The key of packets that go before every flow."""
BURST: Final = 8
"""Quanta that a flow may have saved for short packets."""
SHORT: Final = 2
"""What waits in a flow is short up to the quantum divided by this, ..."""
WORDS: Final = 2
"""... and in no more packets than this."""
REMEMBERED: Final = 64
"""Flows whose spending is remembered while they are idle."""


@dataclass(slots=True)
class Queued:
    """A packet waiting for its turn. (Not frozen: one is made for every packet.)"""

    kind: Kind
    data: bytes
    flow: Hashable


@dataclass(slots=True)
class _Before:
    """What taking a packet changed. (Not frozen: one is made for every packet.)"""

    deficit: int
    savings: int
    short: bool


class _Flow:
    __slots__ = ("allowance", "counted", "deficit", "period", "savings", "waiting", "weight")

    def __init__(self, weight: int, quantum: int, counted: int, period: int) -> None:
        self.weight = weight
        self.allowance = weight * quantum
        """Bytes of a turn."""
        self.deficit = self.allowance
        self.waiting: deque[Queued] = deque()
        self.savings = BURST * self.allowance
        """Bytes it may send as short packets before its turn."""
        self.counted = counted
        """What all flows together had been given when its savings were last counted, ..."""
        self.period = period
        """... and in which busy period."""


class FairQueue:
    """Packets by flow. Bounded in packets per flow and bytes in all; ``on_taken`` tells the owner that a flow has room again."""

    def __init__(self, quantum: int, flow_packets: int = 4, total_bytes: int = 1 << 16) -> None:
        self.quantum = quantum
        self.flow_packets = flow_packets
        self.total_bytes = total_bytes
        self.bytes = 0
        """Bytes waiting."""
        self.on_taken: Callable[[Hashable], None] = _nobody
        self.may_overtake: Callable[[Kind, bytes], bool] = _any
        """Whether a short packet has somebody who waits for it."""
        self.weigh: Callable[[Kind, bytes], int] = _one
        """How many shares the flow that begins with a packet has."""
        self._urgent: deque[Queued] = deque()
        self._flows: dict[Hashable, _Flow] = {}
        self._shares = 0
        """Weights of all flows together."""
        self._new: deque[Hashable] = deque()
        self._old: deque[Hashable] = deque()
        self._short: deque[Hashable] = deque()
        self._refused: dict[Hashable, None] = {}
        """Flows that found no room for want of bytes, in that order."""
        self._called: Hashable = None
        """The one of them that may queue one packet now."""
        self._spent: dict[Hashable, _Flow] = {}
        """Idle flows that had spent some of their savings in this busy period."""
        self._given = 0
        """Bytes that all flows together were given."""
        self._period = 0
        """Times that the queue was empty: then nobody owes anybody anything."""
        self._head: Queued | None = None
        self._before = _Before(0, 0, False)
        """How the flow of ``_head`` stood before it was taken."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def room(self, flow: Hashable, length: int = 0) -> int:
        """How many more packets of such a length (0: the longest) this flow may queue.

        Where bytes are short it is one at a time, in turn: ``on_taken`` tells when.
        """
        known = self._flows.get(flow)
        waiting = len(known.waiting) if known is not None else 0
        if waiting < self.flow_packets and (
            self._is_full(length) or (waiting and self._refused and flow != self._called)
        ):
            self._refused[flow] = None
            return 0
        return self.flow_packets - waiting

    def _is_full(self, length: int = 0) -> bool:
        """What asks for room leaves two packets' worth to those that pass through, or that the other side sends; what is short leaves one."""
        left = 1 if length and SHORT * length <= self.quantum else 2
        return self.bytes + (length or self.quantum) > max(self.total_bytes - left * self.quantum, self.quantum)

    def push(self, packet: Queued, *, force: bool = False) -> bool:
        """Queue a packet; False (busy) where that would pass a bound. Urgent packets and those of a caller that made room before are always taken."""
        if packet.flow is URGENT:
            self._urgent.append(packet)
        else:
            flow = self._flows.get(packet.flow)
            full = self.bytes + len(packet.data) > self.total_bytes or (
                flow is not None and len(flow.waiting) >= self.flow_packets
            )
            if full and not force:
                return False
            if flow is None:
                flow = self._flows[packet.flow] = self._flow(packet)
                self._shares += flow.weight
                self._new.append(packet.flow)
            flow.waiting.append(packet)
            self._called = None
            if self._is_short(flow) and self.may_overtake(packet.kind, packet.data):
                self._count_savings(flow)
                self._short.append(packet.flow)
        self.bytes += len(packet.data)
        self._count += 1
        return True

    def peek(self) -> Queued | None:
        """The packet ``pop`` will give next: from now on it is that one, whatever comes."""
        if self._head is None:
            self._head = self._take()
        return self._head

    def withdraw(self) -> None:
        """What ``peek`` gave is free to be another packet again."""
        packet, self._head = self._head, None
        if packet is None:
            return
        if packet.flow is URGENT:
            self._urgent.appendleft(packet)
            return
        flow = self._flows[packet.flow]
        before = self._before
        flow.waiting.appendleft(packet)
        flow.deficit, flow.savings = before.deficit, before.savings
        self._given -= len(packet.data)
        if before.short:
            self._short.appendleft(packet.flow)

    def pop(self) -> Queued | None:
        """The packet whose turn it is."""
        packet = self._head if self._head is not None else self._take()
        self._head = None
        if packet is None:
            return None
        self.bytes -= len(packet.data)
        self._count -= 1
        if not self._count:
            self._period += 1
            self._spent.clear()
        refused = self._refused
        for _ in range(len(refused)):  # whoever is refused again waits for the next packet to go
            if not refused or self._is_full():
                break
            flow = self._called = next(iter(refused))
            del refused[flow]
            self.on_taken(flow)
            self._called = None
        if packet.flow is not URGENT:
            self.on_taken(packet.flow)
        return packet

    def _take(self) -> Queued | None:
        if self._urgent:
            return self._urgent.popleft()
        new, old, flows = self._new, self._old, self._flows
        while self._short:
            key = self._short.popleft()
            flow = flows[key]
            if flow.waiting and self._is_short(flow) and flow.savings >= len(flow.waiting[0].data):
                return self._overtake(flow)
        while new or old:
            turns = new or old
            key = turns[0]
            flow = flows[key]
            if flow.deficit <= 0:
                flow.deficit += flow.allowance
                turns.popleft()
                old.append(key)
            elif not flow.waiting:
                turns.popleft()
                if turns is new:
                    old.append(key)
                else:
                    self._forget(key, flow)
            else:
                packet = flow.waiting.popleft()
                self._before = _Before(flow.deficit, flow.savings, False)
                length = len(packet.data)
                flow.deficit -= length
                flow.savings -= length
                self._given += length
                return packet
        return None

    def _overtake(self, flow: _Flow) -> Queued:
        packet = flow.waiting.popleft()
        length = len(packet.data)
        self._before = _Before(flow.deficit, flow.savings, True)
        flow.savings -= length
        flow.deficit = max(flow.deficit - length, 1 - flow.allowance)
        self._given += length
        return packet

    def _is_short(self, flow: _Flow) -> bool:
        waiting = flow.waiting
        return len(waiting) <= WORDS and SHORT * sum([len(each.data) for each in waiting]) <= self.quantum

    def _count_savings(self, flow: _Flow) -> None:
        """Add an equal part (by weight) of what all were given meanwhile; all that can be saved, where the queue was empty meanwhile."""
        most = BURST * flow.allowance
        if flow.period != self._period:
            flow.period = self._period
            flow.savings = most
        else:
            earned = (self._given - flow.counted) * flow.weight // max(1, self._shares)
            flow.savings = min(most, max(0, flow.savings + earned))
        flow.counted = self._given

    def _flow(self, packet: Queued) -> _Flow:
        """A flow that begins: with all savings, or with what it had left a short while ago."""
        weight = self.weigh(packet.kind, packet.data)
        known = self._spent.pop(packet.flow, None) if self._spent else None
        if known is None or known.weight != weight:
            return _Flow(weight, self.quantum, self._given, self._period)
        known.deficit = known.allowance
        return known

    def _forget(self, key: Hashable, flow: _Flow) -> None:
        """A flow has been idle for a round."""
        del self._flows[key]
        self._shares -= flow.weight
        if flow.period == self._period and flow.savings < BURST * flow.allowance:
            self._spent[key] = flow
            if len(self._spent) > REMEMBERED:
                del self._spent[next(iter(self._spent))]

    def clear(self) -> None:
        """Forget everything (the hop went down)."""
        self._urgent.clear()
        self._flows.clear()
        self._shares = 0
        self._new.clear()
        self._old.clear()
        self._short.clear()
        self._spent.clear()
        self._refused.clear()
        self._head = None
        self._count = 0
        self.bytes = 0


def _any(_kind: Kind, _packet: bytes) -> bool:
    return True


def _nobody(_flow: Hashable) -> None:
    pass


def _one(_kind: Kind, _packet: bytes) -> int:
    return 1
