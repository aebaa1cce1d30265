"""Segments and commands of the hop (docs/protocol.md, 1.1 to 1.3): what the bytes mean, for both sides."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

HOP_CLASS: Final = 0x80
"""Default class byte of hop commands."""
INS_ENVELOPE: Final = 0xC2
INS_GET_RESPONSE: Final = 0xC0

MAX_SEGMENT: Final = 255
MAX_PAYLOAD: Final = MAX_SEGMENT - 1

AROUND_ENVELOPE: Final = 6
"""Bytes of an ENVELOPE beside its segment: CLA INS P1 P2 Lc and, over T=1, Le."""
AROUND_ANSWER: Final = 2
"""Bytes of an answer beside its segment: the status word."""

FIRST: Final = 0x80
LAST: Final = 0x40
TOGGLE: Final = 0x20
RESERVED: Final = 0x10

SEQUENCED: Final = 0x80
EXPLICIT: Final = 0x40
EXPECT: Final = 0x01

SW_OK: Final = 0x9000
SW_NOTHING: Final = 0x6200
SW_NO_MEMORY: Final = 0x6A84
SW_SENSELESS: Final = 0x6A80
SW_EMPTY: Final = 0x6700
SW_NOT_ANNOUNCED: Final = 0x6985
SW_HOP_DOWN: Final = 0x6985


class Kind(IntEnum):
    """Which stack a packet belongs to."""

    CONTROL = 0
    CHANNEL = 1
    IPV4 = 4
    IPV6 = 6
    PPP = 7


PPP_PROTOCOL: Final = 2
"""Bytes of a PPP frame's protocol field: they do not count, so that an MTU of 1500 carries an MRU of 1500."""
KINDS: Final = {int(kind): kind for kind in Kind}


class SegmentError(ValueError):
    """Bytes that are no segment: says which and why."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One part of a packet."""

    first: bool
    last: bool
    toggle: int
    kind: Kind
    payload: bytes

    def encode(self) -> bytes:
        """Header byte and payload."""
        header = (FIRST if self.first else 0) | (LAST if self.last else 0) | (TOGGLE if self.toggle else 0) | self.kind
        return bytes((header,)) + self.payload


def decode_segment(data: bytes) -> Segment:
    """The segment in ``data`` (1 to 255 bytes). Raises SegmentError."""
    if not 1 <= len(data) <= MAX_SEGMENT:
        raise SegmentError(f"a segment of {len(data)} bytes: must be 1 to {MAX_SEGMENT}")
    header = data[0]
    kind = KINDS.get(header & 0x0F)
    if kind is None:
        raise SegmentError(f"segment header {header:02X}: kind {header & 0x0F} is not assigned")
    if header & RESERVED:
        raise SegmentError(f"segment header {header:02X}: b5 is reserved and must be 0")
    return Segment(bool(header & FIRST), bool(header & LAST), 1 if header & TOGGLE else 0, kind, data[1:])


def envelope(segment: bytes, expect: int, explicit: bool, hop_class: int = HOP_CLASS) -> bytes:
    """The ENVELOPE that carries ``segment``; ``expect`` is R, ``explicit`` E."""
    p1 = SEQUENCED | (EXPLICIT if explicit else 0) | expect
    return bytes((hop_class, INS_ENVELOPE, p1, 0, len(segment))) + segment


def get_response(le: int, expect: int, explicit: bool, hop_class: int = HOP_CLASS) -> bytes:
    """The GET RESPONSE for ``le`` bytes (0: a poll)."""
    return bytes((hop_class, INS_GET_RESPONSE, SEQUENCED | (EXPLICIT if explicit else 0) | expect, 0, le))


def segment_length(protocol: int, ifs: int, around: int) -> int:
    """How long segments that are not the last of their packet should be (1.2): 255 bytes over T=0; over T=1 what fills blocks of ``ifs`` bytes best.

    ``around`` is how many bytes go with a segment.
    """
    if protocol == 0:
        return MAX_SEGMENT
    whole = (MAX_SEGMENT + around) // ifs
    # Each exchange costs its prologues, APDU header, status word and two turns, 200 etu or so; each further block of it half of that.
    candidates = [(min(MAX_SEGMENT, blocks * ifs - around), blocks) for blocks in (whole, whole + 1)]
    return max(2, max(candidates, key=lambda each: (each[0] - 1) / (each[1] + 1))[0])


class Cutter:
    """Cuts packets into segments of one direction and keeps that direction's toggle. The current segment stays until ``taken``."""

    __slots__ = ("_at", "_kind", "_packet", "current", "segment", "toggle")

    def __init__(self, segment: int = MAX_SEGMENT) -> None:
        self.toggle = 0
        self.segment = segment
        """Length of a segment that is not the last of its packet. The last may be longer: that costs a block of T=1, not another exchange."""
        self.current = b""
        """The segment to send or being sent; empty when there is none."""
        self._packet = b""
        self._at = 0
        self._kind = 0

    def load(self, kind: int, packet: bytes) -> None:
        """Take the next packet; only when there is no current segment."""
        self._packet = packet
        self._kind = kind
        self._at = 0
        self._cut(FIRST)

    @property
    def rest(self) -> int:
        """Bytes of the packet that are in no segment yet."""
        return len(self._packet) - self._at

    def ahead(self, packet: int) -> int:
        """Length of the segment that so many bytes of a packet begin with."""
        return 1 + (packet if packet <= MAX_PAYLOAD else self.segment - 1)

    def taken(self) -> "tuple[int, bytes] | None":
        """The other side has the current segment. Gives kind and packet if that was the last of its packet."""
        self.toggle ^= 1
        if self._at < len(self._packet):
            self._cut(0)
            return None
        self.current = b""
        return self._kind, self._packet

    def drop(self) -> None:
        """The packet is not wanted any more: its remaining segments are not sent."""
        self.toggle ^= 1
        self.current = b""

    def _cut(self, first: int) -> None:
        piece = self._packet[self._at : self._at + self.ahead(self.rest) - 1]
        self._at += len(piece)
        last = LAST if self._at >= len(self._packet) else 0
        self.current = bytes((first | last | (TOGGLE if self.toggle else 0) | self._kind,)) + piece


class Joiner:
    """Joins the segments of one direction to packets and keeps the toggle it expects."""

    __slots__ = ("_kind", "_parts", "expect", "limit")

    def __init__(self, limit: int) -> None:
        self.expect = 0
        self.limit = limit
        """Longest packet, bytes."""
        self._parts: bytearray | None = None
        self._kind = Kind.CONTROL

    def is_new(self, segment: bytes) -> bool:
        """Whether this segment has not been taken before."""
        return (1 if segment[0] & TOGGLE else 0) == self.expect

    @property
    def pending(self) -> int:
        """Bytes of the packet under way."""
        return len(self._parts) if self._parts is not None else 0

    def take(self, segment: bytes) -> "tuple[Kind, bytes] | None":
        """Take a new segment. Gives the packet it completes. Raises SegmentError (the segment counts as taken, its packet is lost)."""
        self.expect ^= 1
        header = segment[0]
        kind = KINDS.get(header & 0x0F)
        parts = self._parts
        if kind is None or header & RESERVED:
            self._parts = None
            raise SegmentError(f"segment header {header:02X}: kind or reserved bit not assigned")
        if bool(header & FIRST) is not (parts is None) or (parts is not None and kind is not self._kind):
            self._parts = None
            raise SegmentError(
                f"segment header {header:02X}: {'a first segment' if header & FIRST else 'a further segment'} "
                f"{'inside a packet' if parts is not None else 'without a first'}"
            )
        length = (len(parts) if parts is not None else 0) + len(segment) - 1
        if length > self.limit and (kind is not Kind.PPP or length > self.limit + PPP_PROTOCOL):
            self._parts = None
            raise SegmentError(f"a packet longer than the MTU of {self.limit} bytes")
        if header & FIRST:
            if header & LAST:
                return kind, segment[1:]
            self._parts = bytearray(segment[1:])
            self._kind = kind
            return None
        assert parts is not None
        parts += segment[1:]
        if header & LAST:
            self._parts = None
            return kind, bytes(parts)
        return None
