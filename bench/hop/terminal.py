"""The terminal's side of a hop as a machine (docs/protocol.md, 1.4 to 1.7): answers and the time go in, commands and packets come out.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from bench.hop.queue import FairQueue
from bench.hop.segment import (
    HOP_CLASS,
    MAX_SEGMENT,
    SW_NO_MEMORY,
    SW_NOTHING,
    SW_SENSELESS,
    Cutter,
    Joiner,
    Kind,
    SegmentError,
    envelope,
    get_response,
)

MAX_ATTEMPTS = 4


@dataclass(frozen=True, slots=True)
class Delivered:
    """A packet came whole."""

    kind: Kind
    data: bytes


class HopDownError(Exception):
    """The hop cannot go on; ``reason`` is one of mute, absent, bad protocol."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


class _Last(Enum):
    NONE = auto()
    ENVELOPE = auto()
    POLL = auto()
    FETCH = auto()


class HopTerminal:
    """Decides what to send next. ``next_command`` gives a command, or None until ``deadline``; each is followed by ``answered`` or ``failed``."""

    def __init__(
        self,
        queue: FairQueue,
        mtu: int,
        *,
        explicit: bool,
        inline: bool,
        period: int,
        longest: int | None = None,
        hop_class: int = HOP_CLASS,
        segment: int = MAX_SEGMENT,
    ) -> None:
        self.queue = queue
        self.explicit = explicit
        self.inline = inline
        """Whether Le travels beside data (T=1, APDU level), so that answers may come inline."""
        self.first = period
        self.longest = period if longest is None else max(longest, period)
        self.period = period
        """Ticks between the starts of two polls now: ``first`` while something is going on, doubled by each fruitless poll up to ``longest``."""
        self.has_room: Callable[[], bool] = _always
        self.on_sent: Callable[[int, bytes], None] = _unseen
        """Called with kind and bytes of each packet that the card has taken whole."""
        self.hop_class = hop_class
        self.cutter = Cutter(segment)
        self.joiner = Joiner(mtu)
        self.deadline = 0
        self.senseless = 0
        """Packets the card discarded as making no sense."""
        self._announced: int | None = None
        self._must_fetch = False
        self._refused_until: int | None = None
        self._fetched_last = False
        self._begun = 0
        self._poll_due = 0
        self._last = _Last.NONE
        self._command = b""
        self._attempts = 0
        self._repeat = False

    @property
    def in_exchange(self) -> bool:
        """Whether the exchange is not over: a repetition, or the fetch of what was just announced, comes next (1.6)."""
        return self._repeat or (self._must_fetch and self._announced is not None and self.has_room())

    @property
    def idle(self) -> bool:
        """Whether nothing but polls at the longest period is to come, as far as this side knows."""
        return (
            self._announced is None
            and (self.first == self.longest or (self.polled and self.period == self.longest))
            and not self._repeat
            and self._refused_until is None
            and not self.cutter.current
            and not len(self.queue)
        )

    @property
    def polled(self) -> bool:
        """Whether the last command was a poll."""
        return self._last is _Last.POLL

    @property
    def poll(self) -> bytes:
        """The next poll."""
        return get_response(0, self.joiner.expect, self.explicit, self.hop_class)

    @property
    def poll_due(self) -> int:
        """When the next poll is due, if nothing else comes before it."""
        return self._poll_due

    @property
    def attempts(self) -> int:
        """Failed attempts at the command under way."""
        return self._attempts

    def next_command(self, now: int) -> bytes | None:
        """What to send now, if anything; None until ``deadline`` (or until something is queued)."""
        if self._repeat:
            self._repeat = False
            return self._command
        command = self._choose(now)
        if command is not None:
            self._command = command
            self._begun = now
            if self._last is not _Last.POLL:
                self.period = self.first
            self._poll_due = now + self.period
        return command

    def _choose(self, now: int) -> bytes | None:
        room = self.has_room()
        announced = self._announced
        if announced is not None and room and (self._must_fetch or not self._fetched_last or not self._can_send(now)):
            self._last = _Last.FETCH
            self._must_fetch = False
            return get_response(announced, self.joiner.expect, self.explicit, self.hop_class)
        if self._can_send(now):
            cutter = self.cutter
            if not cutter.current:
                packet = self.queue.pop()
                assert packet is not None
                cutter.load(packet.kind, packet.data)
            self._last = _Last.ENVELOPE
            self._must_fetch = False
            command = envelope(cutter.current, self.joiner.expect, self.explicit, self.hop_class)
            return command + b"\x00" if self.inline else command
        if now >= self._poll_due:  # without room, too: the card must hear that somebody is there
            self._last = _Last.POLL
            return self.poll
        self.deadline = self._poll_due
        if self._refused_until is not None and self._refused_until < self.deadline:
            self.deadline = self._refused_until
        return None

    def _can_send(self, now: int) -> bool:
        if not self.cutter.current and not len(self.queue):
            return False
        return self._refused_until is None or now >= self._refused_until

    def answered(self, response: bytes, now: int) -> Delivered | None:
        """The answer to the command last given: data and status word. Raises HopDownError where it is against the protocol."""
        self._attempts = 0
        if len(response) < 2:
            raise HopDownError("bad protocol", f"an answer of {len(response)} bytes has no status word")
        sw1, sw2 = response[-2], response[-1]
        if self._last is _Last.ENVELOPE:
            self._envelope_answered(sw1 << 8 | sw2, now)
        if len(response) > 2:
            self._announced = sw2 or 256 if sw1 == 0x61 else None
            if sw1 != 0x61 and not (sw1 == 0x90 and sw2 == 0):
                raise HopDownError("bad protocol", f"a segment with status word {sw1:02X}{sw2:02X}")
            self._fetched_last = True
            self.period = self.first
            if not self.has_room():
                return None  # not taken, so not acknowledged: the card gives it again
            self._poll_due = now  # more may follow what just came
            return self._segment(response[:-2])
        self._fetched_last = False
        if sw1 == 0x61 or (sw1 == 0x6C and self._last is not _Last.ENVELOPE):
            self._announced = sw2 or 256
            self._must_fetch = True
            return None
        self._announced = None
        if self._last is not _Last.ENVELOPE and sw1 << 8 | sw2 != SW_NOTHING:
            raise HopDownError("bad protocol", f"GET RESPONSE answered with {sw1:02X}{sw2:02X}")
        if self._last is _Last.POLL:
            self.period = min(2 * self.period, self.longest)
            self._poll_due = self._begun + self.period
        return None

    def _envelope_answered(self, sw: int, now: int) -> None:
        if sw == SW_NO_MEMORY:
            self._refused_until = now + self.period
            self._poll_due = now
            return
        self._refused_until = None
        if sw == SW_SENSELESS:
            self.senseless += 1
            self.cutter.drop()
            return
        if sw != 0x9000 and sw >> 8 != 0x61:
            raise HopDownError("bad protocol", f"ENVELOPE answered with {sw:04X}")
        sent = self.cutter.taken()
        if sent is not None:
            self.on_sent(*sent)

    def _segment(self, data: bytes) -> Delivered | None:
        joiner = self.joiner
        if not joiner.is_new(data):
            return None
        try:
            whole = joiner.take(data)
        except SegmentError as error:
            raise HopDownError("bad protocol", str(error)) from error
        return Delivered(*whole) if whole is not None else None

    def failed(self, reason: str) -> None:
        """No answer came. The same command goes again; raises HopDownError after four attempts (two for a poll)."""
        self._attempts += 1
        limit = 2 if self._last is _Last.POLL else MAX_ATTEMPTS
        if self._attempts >= limit or reason == "absent":
            raise HopDownError(
                "absent" if reason == "absent" else "mute",
                f"{self._attempts} attempts at {self._command[:5].hex(' ')} failed: {reason}",
            )
        self._repeat = True


def _unseen(_kind: int, _packet: bytes) -> None:
    pass


def _always() -> bool:
    return True
