"""Reassembly of fragments within bounds (RFC 791, 3.2; RFC 815; RFC 8200, 4.5; RFC 5722 on overlaps; RFC 8504 on limits).

A datagram under way is given up when its time is over, when fragments overlap, or when memory is short:
the oldest goes first.
Units: times are ticks, handed in; lengths are bytes.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field

LONGEST = 65_535


@dataclass(frozen=True, slots=True)
class ReassemblyBounds:
    """What a node spends on fragments."""

    datagrams: int = 8
    """Under way at once."""
    total: int = 16_384
    """Bytes of payload held in all."""
    longest: int = LONGEST
    """The longest payload put together."""
    pieces: int = 512
    """Fragments of one datagram."""


@dataclass(slots=True)
class Partial:
    """One datagram under way."""

    key: Hashable
    deadline: int
    pieces: dict[int, bytes] = field(default_factory=dict)
    """Payloads by their offsets."""
    size: int | None = None
    """Of the whole payload, known from the last fragment."""
    held: int = 0
    first: bytes = b""
    """The first fragment's packet as it came: what an ICMP error quotes."""
    interface: int = -1


class Reassembler:
    """Puts datagrams together. ``add`` gives the payload when it is whole; ``expire`` gives those whose time is over."""

    def __init__(self, bounds: ReassemblyBounds | None = None) -> None:
        self.bounds = bounds if bounds is not None else ReassemblyBounds()
        self.held = 0
        """Bytes held now."""
        self.dropped = 0
        """Datagrams given up, for whatever reason but time."""
        self._partials: dict[Hashable, Partial] = {}

    def __len__(self) -> int:
        return len(self._partials)

    @property
    def deadline(self) -> int | None:
        """When ``expire`` has something to do; None while nothing is under way."""
        return min((partial.deadline for partial in self._partials.values()), default=None)

    def add(
        self,
        key: Hashable,
        offset: int,
        more: bool,
        payload: bytes,
        packet: bytes,
        interface: int,
        deadline: int,
    ) -> tuple[bytes, Partial] | None:
        """One fragment. Gives the whole payload, and what was known of it, when this was the last one missing. Bad ones drop their datagram."""
        partial = self._partials.get(key)
        if partial is None:
            partial = self._begin(key, deadline, interface)
        if not self._fits(partial, offset, more, payload):
            if partial.pieces.get(offset) != payload:  # an exact repetition is nobody's fault (RFC 8200, 4.5)
                self._drop(partial)
            return None
        partial.pieces[offset] = payload
        partial.held += len(payload)
        self.held += len(payload)
        if not more:
            partial.size = offset + len(payload)
        if offset == 0:
            partial.first = packet
        if partial.held == partial.size:
            del self._partials[key]
            self.held -= partial.held
            return b"".join(partial.pieces[at] for at in sorted(partial.pieces)), partial
        self._keep_bounds(partial)
        return None

    def expire(self, now: int) -> list[Partial]:
        """Give up what is older than its time."""
        late = [partial for partial in self._partials.values() if partial.deadline <= now]
        for partial in late:
            self._forget(partial)
        return late

    def clear(self) -> None:
        """Give up everything."""
        self._partials.clear()
        self.held = 0

    def _begin(self, key: Hashable, deadline: int, interface: int) -> Partial:
        if len(self._partials) >= self.bounds.datagrams:
            self._drop(next(iter(self._partials.values())))
        partial = self._partials[key] = Partial(key, deadline, interface=interface)
        return partial

    def _fits(self, partial: Partial, offset: int, more: bool, payload: bytes) -> bool:
        end = offset + len(payload)
        if end > self.bounds.longest or not payload or len(partial.pieces) >= self.bounds.pieces:
            return False
        if partial.size is not None and (end > partial.size or not more):
            return False
        if not more and any(at + len(piece) > end for at, piece in partial.pieces.items()):
            return False
        return all(end <= at or at + len(piece) <= offset for at, piece in partial.pieces.items())

    def _keep_bounds(self, newest: Partial) -> None:
        while self.held > self.bounds.total:
            oldest = next(iter(self._partials.values()))
            self._drop(oldest)
            if oldest is newest:
                return

    def _drop(self, partial: Partial) -> None:
        self.dropped += 1
        self._forget(partial)

    def _forget(self, partial: Partial) -> None:
        del self._partials[partial.key]
        self.held -= partial.held
