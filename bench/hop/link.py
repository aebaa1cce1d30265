"""What a hop looks like to the stack above it, on either side: a link that takes packets and hands packets up."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Protocol

from bench.hop.queue import FairQueue
from bench.hop.segment import Kind


class Link(Protocol):
    """One side of one hop."""

    on_packet: Callable[[Kind, bytes], None]
    """Called with each packet that came whole."""
    on_change: Callable[[bool, str], None]
    """Called when the other side came (True) or went, with the reason."""
    queue: FairQueue

    @property
    def mtu(self) -> int:
        """Longest packet that passes, bytes."""

    @property
    def up(self) -> bool: ...

    def submit(self, kind: Kind, packet: bytes, flow: Hashable, *, force: bool = False) -> bool:
        """Queue a packet; False means busy: ``queue.on_taken`` tells when the flow has room. ``force`` is for a caller that made room before."""


@dataclass(frozen=True, slots=True)
class PollPlan:
    """How often a terminal side asks. Ticks."""

    first: int
    """Period while something is going on."""
    longest: int
    """Longest period; the two are equal on lines of the bench's own."""
