"""The paper's external support (its figure 3): a full-duplex PPP line outside, the half-duplex hop to the card inside, frames buffered both ways.

It converts asynchronous framing to the hop's plain frames and takes no part in the negotiation (RFC 1662, 6): the card acknowledges the
Async-Control-Character-Map, and it is this converter that does the escaping it means. It learns what was agreed from LCP's packets on their way.
Nothing here does I/O: octets, frames and the time go in, octets and frames come out.

Units: times are ticks, handed in; lengths are bytes.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

from bench.net.ppp.hdlc import ACCM_DEFAULT, ADDRESS, CONTROL, Deframer, encode_frame, split_frame
from bench.net.ppp.lcp import LcpOption
from bench.net.ppp.packets import Code, PppError, PppProtocol, parse_control, parse_options

BUFFER: Final = 8192
"""Bytes of frames that wait each way, unless said otherwise."""


@dataclass(frozen=True, slots=True)
class Fill:
    """How full a buffer was."""

    longest: int
    """Bytes, at most."""
    mean: float
    """Bytes, over time."""
    bound: int
    frames: int
    """Taken in."""
    dropped: int
    """Not taken: there was no room."""


class FrameBuffer:
    """Frames that wait for their turn: bounded, first in first out; its fill is measured over time."""

    def __init__(self, bound: int, now: int) -> None:
        self.bound = bound
        self.bytes = 0
        self._waiting: deque[bytes] = deque()
        self._began = now
        self._since = now
        self._area = 0
        self._longest = 0
        self._frames = 0
        self._dropped = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, frame: bytes, now: int) -> bool:
        """Take a frame; False where it does not fit, and is lost."""
        if self.bytes + len(frame) > self.bound:
            self._dropped += 1
            return False
        self._count(now)
        self._waiting.append(frame)
        self.bytes += len(frame)
        self._longest = max(self._longest, self.bytes)
        self._frames += 1
        return True

    def has_room(self, length: int) -> bool:
        """Whether a frame of this length fits."""
        return self.bytes + length <= self.bound

    def take(self, now: int) -> bytes | None:
        """The frame that has waited longest."""
        if not self._waiting:
            return None
        self._count(now)
        frame = self._waiting.popleft()
        self.bytes -= len(frame)
        return frame

    def clear(self, now: int) -> None:
        """What waits is lost, and counted as dropped."""
        self._count(now)
        self._dropped += len(self._waiting)
        self._waiting.clear()
        self.bytes = 0

    def fill(self, now: int) -> Fill:
        """What was measured since the beginning, or the last ``measure``."""
        self._count(now)
        passed = now - self._began
        mean = self._area / passed if passed else float(self.bytes)
        return Fill(self._longest, mean, self.bound, self._frames, self._dropped)

    def measure(self, now: int) -> None:
        """Begin to measure anew."""
        self._began = self._since = now
        self._area = self._frames = self._dropped = 0
        self._longest = self.bytes

    def _count(self, now: int) -> None:
        self._area += self.bytes * (now - self._since)
        self._since = now


class ExternalSupport:
    """The converter. Octets of the line go in by ``octets``, frames of the hop by ``frame``; ``take_frame`` and ``take_octets`` give what waits."""

    def __init__(self, now: int, bound: int = BUFFER, longest: int = 1500) -> None:
        """``bound``: of each buffer; ``longest``: the longest information field that passes (the hop's MTU)."""
        self.to_card = FrameBuffer(bound, now)
        self.to_line = FrameBuffer(bound, now)
        self.accm = ACCM_DEFAULT
        """What the line's peer wants escaped, once the card has agreed to it."""
        self.short_address = False
        self.malformed = 0
        """Frames of the hop that are none."""
        self._deframer = Deframer(self._came, longest)
        self._now = now

    @property
    def fcs_errors(self) -> int:
        return self._deframer.fcs_errors

    @property
    def aborted(self) -> int:
        """Frames of the line that were too short, too long, or ended with an escape."""
        return self._deframer.aborted

    # -- from the line to the card -------------------------------------------------------------------------------------

    def octets(self, data: bytes, now: int) -> None:
        """Octets came over the line."""
        self._now = now
        self._deframer.feed(data)

    def take_frame(self, now: int) -> bytes | None:
        """The next frame for the hop: protocol and information, as the peer wrote them."""
        return self.to_card.take(now)

    def _came(self, frame: bytes) -> None:
        body = frame[2:] if frame[:2] == bytes((ADDRESS, CONTROL)) else frame
        try:
            protocol, information = split_frame(body)
        except PppError:
            self.malformed += 1
            return
        if protocol == PppProtocol.LCP and information[:1] == bytes((Code.CONFIGURE_REQUEST,)):
            self.accm, self.short_address = ACCM_DEFAULT, False  # a negotiation begins: back to what always holds
            self._deframer.expect(ACCM_DEFAULT)
        elif protocol == PppProtocol.LCP:
            self._learn(information, from_card=False)
        self.to_card.put(body, self._now)

    # -- from the card to the line -------------------------------------------------------------------------------------

    def room_for_frame(self, length: int) -> bool:
        """Whether the buffer to the line takes a frame of this length; where not, the card is not asked for one."""
        return self.to_line.has_room(length)

    def frame(self, frame: bytes, now: int) -> None:
        """A frame came over the hop."""
        try:
            protocol, information = split_frame(frame)
        except PppError:
            self.malformed += 1
            return
        self.to_line.put(frame, now)
        if protocol == PppProtocol.LCP:
            self._learn(information, from_card=True)

    def take_octets(self, now: int) -> bytes:
        """The next frame for the line, framed and escaped; empty where none waits."""
        frame = self.to_line.take(now)
        if frame is None:
            return b""
        protocol, information = split_frame(frame)
        if protocol == PppProtocol.LCP:
            return encode_frame(protocol, information, accm=ACCM_DEFAULT, short_protocol=False, short_address=False)
        short = len(frame) - len(information) == 1
        return encode_frame(
            protocol, information, accm=self.accm, short_protocol=short, short_address=self.short_address
        )

    def reset(self, now: int) -> None:
        """The card or the line has gone: what waits is lost, what was agreed is void."""
        for buffer in (self.to_card, self.to_line):
            buffer.clear(now)
        self.accm, self.short_address = ACCM_DEFAULT, False
        self._deframer.expect(ACCM_DEFAULT)

    def _learn(self, information: bytes, *, from_card: bool) -> None:
        """A Configure-Ack of the card's grants what the line's peer asked for; one of the peer's what the card asked for."""
        if information[:1] != bytes((Code.CONFIGURE_ACK,)):
            return
        try:
            options = {each.kind: each.value for each in parse_options(parse_control(information).data)}
        except PppError:
            return
        accm = int.from_bytes(options.get(LcpOption.ACCM, ACCM_DEFAULT.to_bytes(4, "big")), "big")
        if from_card:
            self.accm = accm
            self.short_address = LcpOption.ACFC in options
        else:
            self._deframer.expect(accm)
