"""Judging the timing of a captured line: from its edges to characters, as a UART hears them, and to the judge of timing.

The rate follows the session (ISO/IEC 7816-3:2006, 9.3), the convention TS (8.1). Where RST was captured, each rise of it begins a session; where the
direction was captured too, it tells who sends; otherwise the protocol does. A refused character (7.3) and its repetitions count as one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from bench.iso7816.atr_values import Convention
from bench.iso7816.edges import HIGH, Sampled, Uart, Wave, swap
from bench.iso7816.session import Character, Follower, Phase, SessionError, Side
from bench.iso7816.timing import TimingJudge, TimingReport
from bench.iso7816.timing_rules import Interval, TimingConditions

_SHAPE_END_ETU = Fraction(41, 4)
"""Until when the edges of a character are its own: an error signal may begin soon after."""


@dataclass(frozen=True, slots=True)
class Lines:
    """What was captured: I/O, and where they are there RST and the direction (H while the card sends)."""

    io: Wave
    rst: Wave | None = None
    from_card: Wave | None = None


@dataclass(frozen=True, slots=True)
class Heard:
    """One character of a capture with everything that was judged at it."""

    character: Character
    parity_ok: bool
    repetitions: int
    intervals: tuple[Interval, ...]


class CaptureJudge:
    """Judges a capture. Iterate over `heard()`; `report` holds what came out so far."""

    def __init__(self, lines: Lines, conditions: TimingConditions, follower: Follower) -> None:
        self.lines = lines
        self.conditions = conditions
        self.judge = TimingJudge(conditions, follower)
        self._after = lines.io.times[0] if lines.io.times else 0
        self._session_end: int | None = None
        self._convention = Convention.DIRECT if follower.atr is None else follower.atr.convention
        self._begun = False

    @property
    def report(self) -> TimingReport:
        return self.judge.report

    def heard(self) -> Iterator[Heard]:
        """Every character in order. Raises SessionError where the capture cannot be followed any further."""
        if self.lines.rst is not None and not self._next_session(self.lines.rst, 0):
            return
        while (first := self._read(self._after)) is not None:
            rst = self.lines.rst
            if rst is not None and self._session_end is not None and first.start >= self._session_end:
                if not self._next_session(rst, self._session_end):
                    return
                continue
            self._after = first.ready
            if not first.frame_ok:
                if self._begun:
                    raise self._broken(first)
                continue  # the line rises when the card is powered
            self._begun = True
            yield self._take(first)
        if not self.report.characters and self.lines.io.times:
            rate = self.judge.follower.rate
            raise SessionError(
                f"nothing on the line is a character of {rate} at {self.conditions.clock_hz} Hz; where the capture begins "
                "later than the answer to reset, the ATR must be given, and the rate"
            )

    # -- inside --------------------------------------------------------------------------------------------------------

    def _next_session(self, rst: Wave, after: int) -> bool:
        """Go on at the next rise of RST; a card that is out of reset when the capture begins is in its session already."""
        if not after and rst.level(self._after) == HIGH and (not rst.times or rst.times[0] > self._after):
            self._session_end = rst.falling(self._after)
            return True
        rise = rst.rising(after)
        if rise is None:
            return False
        self._after = rise
        self._session_end = rst.falling(rise)
        self._begun = False
        self._convention = Convention.DIRECT
        self.judge.reset(rise)
        return True

    def _read(self, after: int) -> Sampled | None:
        follower = self.judge.follower
        etu = self.conditions.etu(follower.rate)
        uart = Uart(etu, self._convention, error_signals=follower.error_signals)
        heard = uart.read(self.lines.io, after)
        if heard is None or self._begun or follower.phase is not Phase.ATR:
            return heard
        if self._convention is Convention.DIRECT and heard.value == swap(Convention.INVERSE):
            self._convention = Convention.INVERSE
            return self._read(after)
        return heard

    def _take(self, first: Sampled) -> Heard:
        judge = self.judge
        attempts = [first]
        while attempts[-1].error_signal is not None:
            again = self._read(self._after)
            if again is None:
                break
            attempts.append(again)
            self._after = again.ready
        rate = judge.follower.rate
        etu = self.conditions.etu(rate)
        intervals = judge.take(first.start, attempts[-1].value, self._side(first, etu))
        character = judge.last
        assert character is not None
        sender = character.side
        for one in attempts:
            own = self.lines.io.between(one.start + 1, int(one.start + _SHAPE_END_ETU * etu))
            intervals += judge.shape(one.start, rate, sender, own)
            if one.error_signal is not None:
                refuser = None if sender is None else sender.other
                intervals += judge.error_signal(one.start, rate, refuser, one.error_signal, one.error_signal_end)
        for one, other in pairwise(attempts):
            intervals += judge.repetition(one.start, other.start, rate, sender)
        return Heard(character, attempts[-1].parity_ok, len(attempts) - 1, tuple(intervals))

    def _side(self, heard: Sampled, etu: Fraction) -> Side | None:
        if self.lines.from_card is None:
            return None
        return Side.CARD if self.lines.from_card.level(int(heard.start + etu / 2)) == HIGH else Side.TERMINAL

    def _broken(self, heard: Sampled) -> SessionError:
        return SessionError(
            f"character {self.report.characters + 1}, {heard.start / self.conditions.hz:.9f} s after the capture's beginning: I/O is still "
            f"low 10.25 etu after the leading edge; {self.judge.follower.rate} at {self.conditions.clock_hz} Hz is not its rate, "
            "or something disturbs the line"
        )
