"""The half-duplex transmission of asynchronous characters, T=0 (ISO/IEC 7816-3:2006, clause 10): terminal and card.

Two machines without I/O: bursts and times go in, bursts come out. A command is a header CLA INS P1 P2 P3; the card directs the exchange with
procedure bytes (10.3.3): INS (all the data), INS complemented (one byte), NULL 60 (wait on), or SW1 SW2. What follows upon what: `t0_tables`.

The error signal (7.3) is the line's: a receiver of T=0 gives it for every character whose parity is wrong, and the sender stops there. ``receive`` is
then told of ``damaged`` characters, and the sender's ``signalled`` repeats from that one on. Repetitions are limited to three, as ISO/IEC 7816-3 does
not say and EMV and ETSI do.

Longer than other files: terminal and card beside each other, so that one clause is read in one place.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final, Protocol

from bench.iso7816.line import Burst
from bench.iso7816.t0_line import REPEAT_AFTER_ETU, REPETITIONS, Repeater, T0Timing, damaged_in_a_row, undamaged
from bench.iso7816.t0_tables import CARD, TERMINAL, Action, CardEvent, CardState, TerminalEvent, TerminalState

__all__ = [
    "HEADER_LENGTH",
    "NULL",
    "NULLS",
    "Later",
    "Reply",
    "T0Card",
    "T0Outcome",
    "T0Terminal",
    "T0Timing",
    "TpduHandler",
]

NULL: Final = 0x60
HEADER_LENGTH: Final = 5
NULLS: Final = 65_536
"""How many NULL bytes a terminal takes in one exchange. The standard sets no limit: without one a card could hold it for ever."""


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
    """Empty, or what went wrong: ``mute``, ``parity: …``, ``protocol: …``."""
    retries: int = 0
    """How many characters were repeated, both ways."""


class T0Terminal:
    """The interface device's side. ``begin`` gives the header; ``receive`` gives the next burst, an outcome, or None to wait until ``deadline``."""

    def __init__(self, timing: T0Timing, last_received: int) -> None:
        self.timing = timing
        self.deadline = 0
        """When the card will have been silent too long (work waiting time, 10.2)."""
        self.state = TerminalState.IDLE
        self._last_sent = -(10**30)
        self._last_received = last_received
        self._not_before = 0
        """After a failure the card may be in the middle of a command: it is over when the waiting time has run out there, too."""
        self._command = b""
        self._sent = 0
        self._received = bytearray()
        self._expected = 0
        self._start = 0
        self._characters = 0
        self._card_ticks = 0
        self._damaged = 0
        """Characters with wrong parity in a row."""
        self._retries = 0
        self._nulls = 0
        self._repeater = Repeater()

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
        self.state = TerminalState.IDLE
        self._characters = self._card_ticks = self._damaged = self._retries = self._nulls = 0
        self._step(TerminalEvent.COMMAND)
        earliest = max(now, self._last_sent + self.timing.pitch_to_card, self._not_before)
        burst = self._send(command[:HEADER_LENGTH], earliest)
        self._start = burst.start
        return burst

    def receive(self, burst: Burst, damaged: Collection[int] = ()) -> Burst | T0Outcome | None:
        """The card's burst has been taken; ``damaged`` are the indices of characters with wrong parity, which the card repeats."""
        if self.state is TerminalState.IDLE:
            self._last_received = max(self._last_received, burst.last)
            self._step(TerminalEvent.STRAY)
            return None  # the next command's guard time still runs from them
        if burst.start < self._start:
            return None  # a late answer to a command that failed; the next one waits for its time
        if damaged or self._damaged:
            self._damaged = damaged_in_a_row(burst, damaged, self._damaged)
            if damaged:
                return self._asked_again(burst, damaged)
        timing = self.timing
        turned = self._last_sent > self._last_received
        since = self._last_sent + timing.turnaround if turned else self._last_received + timing.pitch_to_terminal
        self._card_ticks += burst.start - since
        self._last_received = burst.last
        self.deadline = burst.last + timing.waiting_time
        self._characters += len(burst.data)
        return self._take(burst.data, burst)

    def signalled(self, burst: Burst, index: int) -> Burst | T0Outcome | None:
        """The card refused character ``index`` of ``burst`` (error signal, 7.3): what to send again, or the end."""
        if self.state is not TerminalState.PROCEDURE:
            return None
        again = self._repeater.again(burst, index)
        if again is None:
            self._step(TerminalEvent.REFUSED_AGAIN)
            self._last_sent = burst.start + index * burst.pitch
            return self._failed(
                self._last_sent + REPEAT_AFTER_ETU * burst.etu,
                f"parity: the card refused the character {burst.data[index]:02X} {REPETITIONS + 1} times",
            )
        self._step(TerminalEvent.REFUSED)
        self._last_sent = again.last
        self.deadline = again.last + self.timing.waiting_time
        self._characters += 1
        self._retries += 1
        return again

    def sent(self, last: int) -> None:
        """The last character that was to be sent left at ``last``, where a port's characters do not leave just when asked to."""
        self._last_sent = last
        if self.state is not TerminalState.IDLE:
            self.deadline = last + self.timing.waiting_time

    def expire(self, now: int) -> T0Outcome:
        """The work waiting time has run out."""
        self._step(TerminalEvent.SILENCE)
        return self._failed(now, "mute")

    @property
    def awaited(self) -> int:
        """How many characters are sure to come next, if the card goes on: the rest of the data that it has announced, else one."""
        return self._expected - len(self._received) if self.state is TerminalState.DATA else 1

    # -- inside --------------------------------------------------------------------------------------------------------

    def _step(self, event: TerminalEvent) -> Action:
        action, following, _ = TERMINAL[self.state][event]
        if following is not None:
            self.state = following
        return action

    def _asked_again(self, burst: Burst, damaged: Collection[int]) -> Burst | T0Outcome | None:
        """Some characters were damaged: the error signal has gone out for each, and the card repeats them."""
        self._retries += len(damaged)
        if self._damaged > REPETITIONS:
            self._step(TerminalEvent.DAMAGED_AGAIN)
            self._last_received = burst.last
            return self._failed(burst.end, f"parity: {self._damaged} characters in a row from the card were damaged")
        self._step(TerminalEvent.DAMAGED)
        self._last_received = burst.last
        self.deadline = burst.last + self.timing.waiting_time
        self._characters += len(burst.data)
        sound = undamaged(burst, damaged)
        return self._take(sound, burst) if sound else None

    def _take(self, data: bytes, burst: Burst) -> Burst | T0Outcome | None:
        at = 0
        size = len(data)
        ins = self._command[1]
        while at < size:
            state = self.state
            if state is TerminalState.DATA:
                take = min(size - at, self._expected - len(self._received))
                self._received += data[at : at + take]
                at += take
                whole = len(self._received) == self._expected
                self._step(TerminalEvent.LAST if whole else TerminalEvent.SOME)
                continue
            byte = data[at]
            at += 1
            if state is not TerminalState.PROCEDURE:
                self._received.append(byte)
                if self._step(TerminalEvent.BYTE) is Action.END:
                    return self._outcome(burst)
                continue
            match self._step(self._procedure(byte, ins)):
                case Action.SEND_REST:
                    return self._send_data(len(self._command) - self._sent)
                case Action.SEND_ONE:
                    return self._send_data(1)
                case Action.TAKE:
                    self._received.append(byte)
                case Action.GIVE_UP:
                    return self._failed(burst.end, self._broken(byte, ins))
                case _:
                    pass  # wait on
        return None

    def _procedure(self, byte: int, ins: int) -> TerminalEvent:
        """What a procedure byte means now (10.3.3)."""
        if byte == ins or byte == ins ^ 0xFF:
            if self._sent < len(self._command):
                return TerminalEvent.ALL_OUT if byte == ins else TerminalEvent.ONE_OUT
            if len(self._received) < self._expected:
                return TerminalEvent.ALL_IN if byte == ins else TerminalEvent.ONE_IN
            return TerminalEvent.TOO_MUCH
        if byte == NULL:
            self._nulls += 1
            return TerminalEvent.NULL if self._nulls <= NULLS else TerminalEvent.NULLS_UP
        return TerminalEvent.SW1 if byte & 0xF0 in (0x60, 0x90) else TerminalEvent.NO_PROCEDURE

    def _broken(self, byte: int, ins: int) -> str:
        if byte == NULL:
            return f"protocol: {self._nulls} NULL procedure bytes in one exchange"
        if byte in (ins, ins ^ 0xFF):
            return f"protocol: procedure byte {byte:02X} when all data had gone by"
        return f"protocol: procedure byte {byte:02X} is neither INS, its complement, NULL nor SW1"

    def _send_data(self, count: int) -> Burst:
        piece = self._command[self._sent : self._sent + count]
        self._sent += count
        return self._send(piece, 0)

    def _send(self, data: bytes, earliest: int) -> Burst:
        timing = self.timing
        start = max(earliest, self._last_received + timing.turnaround_to_card)
        burst = Burst(data, start, timing.pitch_to_card, timing.etu)
        self._last_sent = burst.last
        self.deadline = self._last_sent + timing.waiting_time
        self._characters += len(data)
        return burst

    def _outcome(self, burst: Burst) -> T0Outcome:
        return T0Outcome(
            bytes(self._received), self._start, burst.end, self._characters, self._card_ticks, "", self._retries
        )

    def _failed(self, end: int, why: str) -> T0Outcome:
        # a little more than the waiting time, since the card may have seen our last character a little later than it was sent
        self._not_before = self._last_sent + self.timing.waiting_time + self.timing.turnaround
        return T0Outcome(b"", self._start, end, self._characters, self._card_ticks, why, self._retries)


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

    def __init__(self, handler: TpduHandler, timing: T0Timing, nulls: int = 0) -> None:
        self.handler = handler
        self.timing = timing
        self.nulls = nulls
        """NULL bytes sent before every other procedure byte: a storm, where there are many."""
        self.deadline: int | None = None
        self.state = CardState.IDLE
        self._buffer = bytearray()
        self._header = b""
        """The command under way, once whole."""
        self._last_in = 0
        self._last_out = -(10**30)
        self._damaged = 0
        """Characters with wrong parity in a row."""
        self._repeater = Repeater()
        self._pending: Reply | None = None
        self._pending_at = 0

    @property
    def busy(self) -> bool:
        """An answer is promised and not yet given."""
        return self.state is CardState.BUSY

    def receive(self, burst: Burst, later: Later, damaged: Collection[int] = ()) -> Burst | None:
        """The terminal's burst has been taken. A gap of the waiting time inside a command means that the terminal gave it up.

        The gap runs from the terminal's own last character: a terminal that missed our procedure byte has counted from there, too.
        ``damaged`` are the indices of characters with wrong parity: the error signal has gone out for each.
        """
        state = self.state
        if state is CardState.BUSY:
            self._step(CardEvent.PART)
            return None  # the terminal must not speak now; ISO leaves the card free to ignore it
        if state is not CardState.IDLE and burst.start - self._last_in >= self.timing.waiting_time:
            self._step(CardEvent.GAP)
            self._buffer.clear()
            self._damaged = 0
        self._last_in = burst.last
        data = burst.data
        if damaged or self._damaged:
            self._damaged = damaged_in_a_row(burst, damaged, self._damaged)
            if damaged:
                if self._damaged > REPETITIONS:
                    self._forget(CardEvent.DAMAGED_AGAIN)
                    return None
                self._step(CardEvent.DAMAGED)
                data = undamaged(burst, damaged)
        if self.state is CardState.DATA:
            return self._take_data(data, later)
        return self._take_header(data, later)

    def signalled(self, burst: Burst, index: int) -> Burst | None:
        """The terminal refused character ``index`` of ``burst`` (error signal, 7.3): what to send again, or None and silence."""
        if burst.last < self._last_out or self.state is CardState.HEADER:
            return None  # long gone
        again = self._repeater.again(burst, index)
        if again is None:
            if self.state is CardState.BUSY:
                self._step(CardEvent.REFUSED_AGAIN)
            else:
                self._forget(CardEvent.REFUSED_AGAIN)
            return None
        self._step(CardEvent.REFUSED)
        self._last_out = again.last
        return again

    def busy_until(self, now: int) -> int:
        """Up to when a command has kept, or may keep, the line: its data are coming, its answer is promised, or going out, or did not arrive.

        A card cannot know whether its answer arrived: where it did not, the terminal waits its time out before it comes again.
        """
        if self.state is CardState.BUSY:
            return now
        if self.state is CardState.DATA:
            return self._last_in + self.timing.waiting_time + self._header[4] * self.timing.pitch_to_card
        return max(self._last_out, self._last_in + self.timing.waiting_time)

    def complete(self, reply: Reply, now: int) -> Burst:
        """The answer that ``execute`` promised. The status word leaves as soon as the guard time since a NULL lets it."""
        self._step(CardEvent.REPLY)
        self.deadline = None
        pitch = self.timing.pitch_to_terminal
        earliest = max(now + reply.ticks, self._last_in + self.timing.turnaround, self._last_out + pitch)
        return self._emit(self._answer_bytes(reply), earliest)

    def remind(self) -> Burst:
        """``deadline`` is here: keep the terminal waiting with a NULL (10.3.3), or give the answer whose time has come."""
        at = self.deadline or 0
        if self._pending is not None and self._pending_at <= at:
            reply, self._pending = self._pending, None
            self._step(CardEvent.REPLY)
            self.deadline = None
            return self._emit(self._answer_bytes(reply), at)
        self._step(CardEvent.TIME_SHORT)
        burst = self._emit(bytes((NULL,)), at)
        self._next_reminder()
        return burst

    # -- inside --------------------------------------------------------------------------------------------------------

    def _step(self, event: CardEvent) -> Action:
        action, following, _ = CARD[self.state][event]
        if following is not None:
            self.state = following
        return action

    def _forget(self, event: CardEvent) -> None:
        self._step(event)
        self._buffer.clear()
        self._damaged = 0

    def _take_header(self, data: bytes, later: Later) -> Burst | None:
        if self._buffer or len(data) != HEADER_LENGTH:
            self._buffer += data
            if len(self._buffer) < HEADER_LENGTH:
                if data:
                    self._step(CardEvent.PART)
                return None
            data = bytes(self._buffer[:HEADER_LENGTH])
            self._buffer.clear()
        self._header = data
        if data[4] and self.handler.takes_data(data):
            self._step(CardEvent.INCOMING)
            ack = data[1:2]
            if not self.nulls:
                return self._send(ack, 0)
            burst = self._send(bytes((NULL,)) * self.nulls + ack, 0)
            self._last_in = burst.last - burst.pitch  # the terminal counts the waiting time from the last NULL, too
            return burst
        self._step(CardEvent.OUTGOING)
        return self._execute(b"", later)

    def _take_data(self, data: bytes, later: Later) -> Burst | None:
        size = self._header[4]
        if self._buffer or len(data) != size:
            self._buffer += data
            if len(self._buffer) < size:
                self._step(CardEvent.PART)
                return None
            data = bytes(self._buffer[:size])
            self._buffer.clear()
        self._step(CardEvent.WHOLE)
        return self._execute(data, later)

    def _execute(self, data: bytes, later: Later) -> Burst | None:
        reply = self.handler.execute(self._header, data, later)
        self._pending = None
        if reply is not None:
            if reply.ticks <= self.timing.waiting_time // 2:
                self._step(CardEvent.REPLY)
                return self._send(self._answer_bytes(reply), reply.ticks)
            self._pending = reply
            self._pending_at = self._last_in + self.timing.turnaround + reply.ticks
        self._step(CardEvent.PROMISE)
        self._next_reminder()
        return None

    def _next_reminder(self) -> None:
        null = max(self._last_in, self._last_out) + self.timing.waiting_time // 2
        if self._pending is not None:
            soonest = self._last_out + self.timing.pitch_to_terminal
            self.deadline = max(self._pending_at, soonest) if self._pending_at <= null else null
        else:
            self.deadline = null

    def _answer_bytes(self, reply: Reply) -> bytes:
        sw = reply.sw.to_bytes(2, "big")
        answer = self._header[1:2] + reply.data + sw if reply.data else sw
        return bytes((NULL,)) * self.nulls + answer if self.nulls else answer

    def _send(self, data: bytes, ticks: int) -> Burst:
        return self._emit(data, self._last_in + self.timing.turnaround + ticks)

    def _emit(self, data: bytes, start: int) -> Burst:
        burst = Burst(data, start, self.timing.pitch_to_terminal, self.timing.etu)
        self._last_out = burst.last
        return burst
