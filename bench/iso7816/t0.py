"""The half-duplex transmission of asynchronous characters, T=0 (ISO/IEC 7816-3:2006, clause 10): terminal and card.

Two machines without I/O: bursts and times go in, bursts come out. A command is a header CLA INS P1 P2 P3; the card directs the exchange with
procedure bytes (10.3.3): INS (all the data), INS complemented (one byte), NULL 60 (wait on), or SW1 SW2.
Left out so far: the error signal and repetition (7.3), which need a line that disturbs.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, Protocol

from bench.engine import Timebase
from bench.iso7816.atr import Atr
from bench.iso7816.line import Burst, etu_ticks
from bench.iso7816.rates import GUARD_ETU, TURNAROUND_T0_ETU, Rate, guard_cycles, wwt_cycles

NULL: Final = 0x60
HEADER_LENGTH: Final = 5


@dataclass(slots=True)
class T0Timing:
    """What both sides go by, in ticks: the etu in use, the distance of characters each way, the work waiting time."""

    etu: int
    pitch_to_card: int
    pitch_to_terminal: int
    waiting_time: int
    turnaround: int = field(init=False)
    """Least distance of two characters in opposite directions (10.2), and so from the terminal's to the card's."""
    turnaround_to_card: int = field(init=False)
    """The same from the card's character to the terminal's: the extra guard time runs from the previous character, whoever sent it (8.3)."""

    def __post_init__(self) -> None:
        self.turnaround = TURNAROUND_T0_ETU * self.etu
        self.turnaround_to_card = max(self.turnaround, self.pitch_to_card)

    @classmethod
    def at_rate(cls, atr: Atr, rate: Rate, clock_hz: int, timebase: Timebase) -> "T0Timing":
        """The timing of a card with this ATR at ``rate``: extra guard time N towards the card only, WWT from Fi."""
        etu = etu_ticks(rate, clock_hz, timebase)
        to_card = guard_cycles(atr.extra_guard_time, 0, rate, atr.rate, atr.has_t15) * timebase.cycles(1, clock_hz)
        if to_card.denominator != 1:
            raise ValueError(f"extra guard time of {atr.extra_guard_time} at {rate} is no whole number of ticks")
        waiting = timebase.cycles(wwt_cycles(atr.wi, atr.fi), clock_hz)
        return cls(etu, to_card.numerator, GUARD_ETU * etu, waiting)


@dataclass(slots=True)
class T0Outcome:
    """How an exchange ended. Times in ticks."""

    response: bytes
    """Data and status word; empty where ``error`` is set."""
    start: int
    end: int
    characters: int
    card_ticks: int
    """What the card took beyond the mandatory turn-arounds and spacing."""
    error: str = ""


class _Await(Enum):
    NOTHING = auto()
    PROCEDURE = auto()
    DATA = auto()
    ONE_DATA = auto()
    SW2 = auto()


class T0Terminal:
    """The interface device's side. ``begin`` gives the header; ``receive`` gives the next burst, an outcome, or None to wait until ``deadline``."""

    def __init__(self, timing: T0Timing, last_received: int) -> None:
        self.timing = timing
        self.deadline = 0
        """When the card will have been silent too long (work waiting time, 10.2)."""
        self._last_sent = -(10**30)
        self._last_received = last_received
        self._await = _Await.NOTHING
        self._command = b""
        self._sent = 0
        self._received = bytearray()
        self._expected = 0
        self._start = 0
        self._characters = 0
        self._card_ticks = 0

    def begin(self, command: bytes, now: int) -> Burst:
        """Start a command TPDU: header and, for an incoming command, exactly P3 bytes of data. Raises ValueError for anything else."""
        size = len(command)
        if size != HEADER_LENGTH and (size < HEADER_LENGTH or command[4] != size - HEADER_LENGTH):
            raise ValueError(
                f"a T=0 command of {size} bytes ({command[:5].hex(' ')} …): must be 5 bytes CLA INS P1 P2 P3, or those and exactly P3 bytes of data"
            )
        self._command = command
        self._sent = HEADER_LENGTH
        self._received.clear()
        self._expected = 0 if size > HEADER_LENGTH else command[4] or 256
        self._await = _Await.PROCEDURE
        self._characters = 0
        self._card_ticks = 0
        burst = self._send(command[:HEADER_LENGTH], max(now, self._last_sent + self.timing.pitch_to_card))
        self._start = burst.start
        return burst

    def receive(self, burst: Burst) -> Burst | T0Outcome | None:
        """The card's burst has been taken."""
        if self._await is _Await.NOTHING:
            self._last_received = max(self._last_received, burst.last)
            return None  # characters nobody asked for: the next command's guard time still runs from them
        timing = self.timing
        data = burst.data
        turned = self._last_sent > self._last_received
        since = self._last_sent + timing.turnaround if turned else self._last_received + timing.pitch_to_terminal
        self._card_ticks += burst.start - since
        self._last_received = burst.last
        self.deadline = burst.last + timing.waiting_time
        self._characters += len(data)
        at = 0
        size = len(data)
        ins = self._command[1]
        while at < size:
            byte = data[at]
            if self._await is _Await.DATA:
                take = min(size - at, self._expected - len(self._received))
                self._received += data[at : at + take]
                at += take
                if len(self._received) == self._expected:
                    self._await = _Await.PROCEDURE
                continue
            at += 1
            if self._await is _Await.SW2:
                self._received.append(byte)
                return self._outcome(burst)
            if self._await is _Await.ONE_DATA:
                self._received.append(byte)
                self._await = _Await.PROCEDURE
                continue
            if byte == ins or byte == ins ^ 0xFF:
                left = len(self._command) - self._sent
                if left:
                    count = left if byte == ins else 1
                    piece = self._command[self._sent : self._sent + count]
                    self._sent += count
                    return self._send(piece, 0)
                if len(self._received) < self._expected:
                    self._await = _Await.DATA if byte == ins else _Await.ONE_DATA
                    continue
                return self._broken(burst, f"procedure byte {byte:02X} when all data had gone by")
            if byte == NULL:
                continue
            if byte & 0xF0 in (0x60, 0x90):
                self._received.append(byte)
                self._await = _Await.SW2
                continue
            return self._broken(burst, f"procedure byte {byte:02X} is neither INS, its complement, NULL nor SW1")
        return None

    def expire(self, now: int) -> T0Outcome:
        """The work waiting time has run out."""
        self._await = _Await.NOTHING
        return T0Outcome(b"", self._start, now, self._characters, self._card_ticks, "mute")

    def _send(self, data: bytes, earliest: int) -> Burst:
        timing = self.timing
        start = max(earliest, self._last_received + timing.turnaround_to_card)
        burst = Burst(data, start, timing.pitch_to_card, timing.etu)
        self._last_sent = burst.last
        self.deadline = self._last_sent + timing.waiting_time
        self._characters += len(data)
        return burst

    def _outcome(self, burst: Burst) -> T0Outcome:
        self._await = _Await.NOTHING
        return T0Outcome(bytes(self._received), self._start, burst.end, self._characters, self._card_ticks)

    def _broken(self, burst: Burst, why: str) -> T0Outcome:
        self._await = _Await.NOTHING
        return T0Outcome(b"", self._start, burst.end, self._characters, self._card_ticks, f"protocol: {why}")


@dataclass(slots=True)
class Reply:
    """A card's answer to one command: data and status word, and how long the card takes beyond the mandatory times, in ticks."""

    data: bytes
    sw: int
    ticks: int = 0


Later = Callable[[Reply], None]


class TpduHandler(Protocol):
    """What stands above T=0 in a card."""

    def takes_data(self, header: bytes) -> bool:
        """Whether this header announces data to the card: T=0 itself does not say (10.3.2)."""

    def execute(self, header: bytes, data: bytes, later: Later) -> Reply | None:
        """Answer a command. None promises an answer through ``later``; T=0 keeps the terminal waiting with NULL meanwhile."""


class T0Card:
    """The card's side: ``receive`` and ``complete`` give the burst to send, or None; ``deadline`` (if any) is when ``remind`` must be called."""

    def __init__(self, handler: TpduHandler, timing: T0Timing) -> None:
        self.handler = handler
        self.timing = timing
        self.deadline: int | None = None
        self._buffer = bytearray()
        self._header: bytes | None = None
        self._last_in = 0
        self._last_out = -(10**30)
        self.busy = False
        """An answer is promised and not yet given."""
        self._asked = b""
        self._pending: Reply | None = None
        self._pending_at = 0

    def receive(self, burst: Burst, later: Later) -> Burst | None:
        """The terminal's burst has been taken. A gap of the waiting time inside a command means that the terminal gave it up.

        The gap runs from the terminal's own last character: a terminal that missed our procedure byte has counted from there, too.
        """
        if self.busy:
            return None  # the terminal must not speak now; ISO leaves the card free to ignore it
        if (self._buffer or self._header is not None) and burst.start - self._last_in >= self.timing.waiting_time:
            self._buffer.clear()
            self._header = None
        self._last_in = burst.last
        header = self._header
        if header is None:
            data = burst.data
            if self._buffer or len(data) != HEADER_LENGTH:
                self._buffer += data
                if len(self._buffer) < HEADER_LENGTH:
                    return None
                data = bytes(self._buffer[:HEADER_LENGTH])
                self._buffer.clear()
            if data[4] and self.handler.takes_data(data):
                self._header = data
                return self._send(data[1:2], 0)
            return self._execute(data, b"", later)
        if not self._buffer and len(burst.data) == header[4]:
            data = burst.data
        else:
            self._buffer += burst.data
            if len(self._buffer) < header[4]:
                return None
            data = bytes(self._buffer[: header[4]])
            self._buffer.clear()
        self._header = None
        return self._execute(header, data, later)

    def under_way(self, now: int) -> bool:
        """Whether a command has begun and may yet go on: its data are coming, or its answer is promised."""
        header = self._header
        if header is None:
            return self.busy
        return now <= self._last_in + self.timing.waiting_time + header[4] * self.timing.pitch_to_card

    def complete(self, reply: Reply, now: int) -> Burst:
        """The answer that ``execute`` promised. The status word leaves as soon as the guard time since a NULL lets it."""
        self.busy = False
        self.deadline = None
        pitch = self.timing.pitch_to_terminal
        earliest = max(now + reply.ticks, self._last_in + self.timing.turnaround, self._last_out + pitch)
        return self._emit(self._answer_bytes(reply), earliest)

    def remind(self) -> Burst:
        """``deadline`` is here: keep the terminal waiting with a NULL (10.3.3), or give the answer whose time has come."""
        at = self.deadline or 0
        if self._pending is not None and self._pending_at <= at:
            reply, self._pending = self._pending, None
            self.busy = False
            self.deadline = None
            return self._emit(self._answer_bytes(reply), at)
        burst = self._emit(bytes((NULL,)), at)
        self._next_reminder()
        return burst

    def _execute(self, header: bytes, data: bytes, later: Later) -> Burst | None:
        self._asked = header
        reply = self.handler.execute(header, data, later)
        if reply is None:
            self.busy = True
            self._pending = None
            self._next_reminder()
            return None
        if reply.ticks > self.timing.waiting_time // 2:
            self.busy = True
            self._pending = reply
            self._pending_at = self._last_in + self.timing.turnaround + reply.ticks
            self._next_reminder()
            return None
        return self._send(self._answer_bytes(reply), reply.ticks)

    def _next_reminder(self) -> None:
        null = max(self._last_in, self._last_out) + self.timing.waiting_time // 2
        if self._pending is not None:
            soonest = self._last_out + self.timing.pitch_to_terminal
            self.deadline = max(self._pending_at, soonest) if self._pending_at <= null else null
        else:
            self.deadline = null

    def _answer_bytes(self, reply: Reply) -> bytes:
        sw = reply.sw.to_bytes(2, "big")
        return self._asked[1:2] + reply.data + sw if reply.data else sw

    def _send(self, data: bytes, ticks: int) -> Burst:
        return self._emit(data, self._last_in + self.timing.turnaround + ticks)

    def _emit(self, data: bytes, start: int) -> Burst:
        burst = Burst(data, start, self.timing.pitch_to_terminal, self.timing.etu)
        self._last_out = burst.last
        return burst
