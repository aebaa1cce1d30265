"""The card's side of a hop as a machine (docs/protocol.md, 1.3 to 1.6): hop commands go in, answers come out.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections.abc import Callable
from dataclasses import dataclass

from bench.hop.queue import FairQueue
from bench.hop.segment import (
    EXPECT,
    EXPLICIT,
    MAX_PAYLOAD,
    SEQUENCED,
    SW_EMPTY,
    SW_NO_MEMORY,
    SW_NOT_ANNOUNCED,
    SW_NOTHING,
    SW_OK,
    SW_SENSELESS,
    TOGGLE,
    Cutter,
    Joiner,
    Kind,
    SegmentError,
)


@dataclass(frozen=True, slots=True)
class HopAnswer:
    """Data (one segment or nothing) and status word."""

    data: bytes
    sw: int


class HopCard:
    """Takes ENVELOPE and GET RESPONSE. Whole packets go to ``on_packet``; packets to send come from ``queue``."""

    def __init__(self, queue: FairQueue, mtu: int) -> None:
        self.queue = queue
        self.on_packet: Callable[[Kind, bytes], None] = _drop
        self.has_room: Callable[[int], bool] = _always
        """Whether a packet of so many bytes can be taken now."""
        self.settle: Callable[[], None] = _nothing
        """Called between a packet and the answer to the command that brought it: what is said to it at once goes with that answer."""
        self.cutter = Cutter()
        self.joiner = Joiner(mtu)
        self.announced = False
        """The last answer was a 61xx: a plain fetch now gets that segment."""
        self._given = False

    def reset(self) -> None:
        """The card was reset: both directions start again."""
        self.cutter = Cutter(self.cutter.segment)
        self.joiner = Joiner(self.joiner.limit)
        self.announced = False
        self._given = False
        self.queue.clear()

    def envelope(self, p1: int, segment: bytes, le: int | None) -> HopAnswer:
        """ENVELOPE. ``le`` is what the transport carries beside data (256 for Le = 00), None on T=0."""
        self._acknowledge(p1)
        self.announced = False
        self.queue.withdraw()  # announced and not given: what has come meanwhile may go before it
        if not segment:
            return HopAnswer(b"", SW_EMPTY)
        if self.joiner.is_new(segment):
            if not self.has_room(self.joiner.pending + (len(segment) - 1 if segment[0] & 0x40 else MAX_PAYLOAD)):
                return HopAnswer(b"", SW_NO_MEMORY)
            try:
                whole = self.joiner.take(segment)
            except SegmentError:
                return HopAnswer(b"", SW_SENSELESS)
            if whole is not None:
                self.on_packet(*whole)
                self.settle()
        waiting = self._load()
        if not waiting:
            return HopAnswer(b"", SW_OK)
        if le is not None and len(waiting) <= le:
            return self._give(waiting, p1)
        self.announced = True
        return HopAnswer(b"", 0x6100 | len(waiting) & 0xFF)

    def get_response(self, p1: int, le: int, inline: bool) -> HopAnswer:
        """GET RESPONSE with Le = ``le`` (256 for 00). ``inline`` where the transport may return fewer bytes than Le."""
        if not p1 & SEQUENCED:
            return self.plain_fetch(le, inline)
        self._acknowledge(p1)
        self.announced = False
        waiting = self._load()
        if not waiting:
            return HopAnswer(b"", SW_NOTHING)
        if len(waiting) == le or (inline and len(waiting) < le):
            return self._give(waiting, p1)
        return HopAnswer(b"", 0x6C00 | len(waiting) & 0xFF)

    def silent(self, p1: int) -> bool:
        """Whether a poll with this P1 would be answered with nothing."""
        if len(self.queue):
            return False
        current = self.cutter.current
        if not current:
            return True
        acknowledged = self._given and (p1 & EXPECT) != (1 if current[0] & TOGGLE else 0)
        return acknowledged and not self.cutter.rest

    def plain_fetch(self, le: int, inline: bool) -> HopAnswer:
        """A reader fetches by itself what was announced just before."""
        waiting = self.cutter.current
        if not self.announced or not waiting:
            return HopAnswer(b"", SW_NOT_ANNOUNCED)
        if len(waiting) != le and not (inline and len(waiting) < le):
            return HopAnswer(b"", 0x6C00 | len(waiting) & 0xFF)
        self.announced = False
        self._given = True
        return HopAnswer(waiting, SW_OK)

    def withdraw(self) -> None:
        """Another command came in between: the announcement no longer stands."""
        self.announced = False

    def _acknowledge(self, p1: int) -> None:
        current = self.cutter.current
        if p1 & SEQUENCED and self._given and current and (p1 & EXPECT) != (1 if current[0] & TOGGLE else 0):
            self.cutter.taken()
            self._given = False

    def _load(self) -> bytes:
        cutter = self.cutter
        if not cutter.current:
            packet = self.queue.pop()
            if packet is None:
                return b""
            cutter.load(packet.kind, packet.data)
        return cutter.current

    def _give(self, segment: bytes, p1: int) -> HopAnswer:
        self._given = True
        if p1 & EXPLICIT:
            follows = self._following(segment)
            if follows:
                self.announced = True
                return HopAnswer(segment, 0x6100 | follows & 0xFF)
        return HopAnswer(segment, SW_OK)

    def _following(self, _segment: bytes) -> int:
        """Length of the segment after this one, 0 if there is none."""
        cutter = self.cutter
        if cutter.rest:
            return cutter.ahead(cutter.rest)
        packet = self.queue.peek()
        return cutter.ahead(len(packet.data)) if packet is not None else 0


def _drop(_kind: Kind, _packet: bytes) -> None:
    pass


def _nothing() -> None:
    pass


def _always(_size: int) -> bool:
    return True
