"""Who goes next on a hop: deficit round robin with new flows first (DRR++, as in RFC 8290, 4.2), control packets before all.

A flow is whatever the stack above names with a key (a channel and its direction, say). A turn gives a flow one quantum (the MTU) of bytes times its
weight; a packet may overdraw it, which the next turn pays for. A flow that was idle goes first for one turn, so that a short message overtakes
bulk; one that empties during that turn waits behind the others before it counts as new again, so that nobody gains by pausing.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final

from bench.hop.segment import Kind

URGENT: Final[None] = None
"""The key of packets that go before every flow."""


@dataclass(slots=True)
class Queued:
    """A packet waiting for its turn. (Not frozen: one is made for every packet.)"""

    kind: Kind
    data: bytes
    flow: Hashable


class _Flow:
    __slots__ = ("deficit", "waiting")

    def __init__(self, deficit: int) -> None:
        self.deficit = deficit
        self.waiting: deque[Queued] = deque()


class FairQueue:
    """Packets by flow. Bounded in packets per flow and bytes in all; ``on_taken`` tells the owner that a flow has room again."""

    def __init__(self, quantum: int, flow_packets: int = 4, total_bytes: int = 1 << 16) -> None:
        self.quantum = quantum
        self.flow_packets = flow_packets
        self.total_bytes = total_bytes
        self.bytes = 0
        """Bytes waiting."""
        self.on_taken: Callable[[Hashable], None] = _nobody
        self.weights: dict[Hashable, int] = {}
        self._urgent: deque[Queued] = deque()
        self._flows: dict[Hashable, _Flow] = {}
        self._new: deque[Hashable] = deque()
        self._old: deque[Hashable] = deque()
        self._head: Queued | None = None
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def room(self, flow: Hashable) -> int:
        """How many more packets this flow may queue."""
        known = self._flows.get(flow)
        return self.flow_packets - (len(known.waiting) if known is not None else 0)

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
                flow = self._flows[packet.flow] = _Flow(self._allowance(packet.flow))
                self._new.append(packet.flow)
            flow.waiting.append(packet)
        self.bytes += len(packet.data)
        self._count += 1
        return True

    def peek(self) -> Queued | None:
        """The packet ``pop`` will give next: from now on it is that one, whatever comes."""
        if self._head is None:
            self._head = self._take()
        return self._head

    def pop(self) -> Queued | None:
        """The packet whose turn it is."""
        packet = self._head if self._head is not None else self._take()
        self._head = None
        if packet is None:
            return None
        self.bytes -= len(packet.data)
        self._count -= 1
        if packet.flow is not URGENT:
            self.on_taken(packet.flow)
        return packet

    def _take(self) -> Queued | None:
        if self._urgent:
            return self._urgent.popleft()
        new, old, flows = self._new, self._old, self._flows
        while new or old:
            turns = new or old
            key = turns[0]
            flow = flows[key]
            if flow.deficit <= 0:
                flow.deficit += self._allowance(key)
                turns.popleft()
                old.append(key)
            elif not flow.waiting:
                turns.popleft()
                if turns is new:
                    old.append(key)
                else:
                    del flows[key]
            else:
                packet = flow.waiting.popleft()
                flow.deficit -= len(packet.data)
                return packet
        return None

    def _allowance(self, flow: Hashable) -> int:
        return self.quantum * self.weights.get(flow, 1) if self.weights else self.quantum

    def clear(self) -> None:
        """Forget everything (the hop went down)."""
        self._urgent.clear()
        self._flows.clear()
        self._new.clear()
        self._old.clear()
        self._head = None
        self._count = 0
        self.bytes = 0


def _nobody(_flow: Hashable) -> None:
    pass
