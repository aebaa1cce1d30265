"""Listening to a software reader's line: every burst and every reset, kept for a judge or a capture."""

from dataclasses import dataclass, field

from bench.engine import Timebase
from bench.iso7816.atr_values import Convention
from bench.iso7816.edges import character_edges
from bench.iso7816.line import Burst
from bench.iso7816.rates import RESET_LOW_MIN_CYCLES
from bench.iso7816.session import SessionError, Side
from bench.iso7816.timing import TimingJudge
from bench.readers.software import SoftwareReader


@dataclass(slots=True)
class LineSession:
    """What a line carried from one reset to the next."""

    reset: int | None
    """When RST rose, in ticks; None where the recording began later."""
    spoken: list[tuple[Burst, Side]] = field(default_factory=list)
    """Every burst in the order of sending, and who sent it."""
    end: int | None = None
    """When RST fell again; None while it has not."""


class LineRecorder:
    """Keeps what the line of ``reader`` carries from now on, until ``stop``. One recorder a reader, beside one that is ``shared``."""

    def __init__(self, reader: SoftwareReader, *, shared: bool = False) -> None:
        self.shared: bool = shared
        below = getattr(reader.on_burst, "__self__", None)
        self._below = below if isinstance(below, LineRecorder) and below.shared else None
        if reader.on_burst is not None and self._below is None:
            raise RuntimeError("this line is recorded already: stop the other recorder first")
        self.reader = reader
        self.sessions: list[LineSession] = [LineSession(None)]
        reader.on_burst = self._heard
        reader.on_reset = self._reset

    def stop(self) -> None:
        """Listen no more; what was heard stays."""
        below = self._below
        self.reader.on_burst = below._heard if below is not None else None
        self.reader.on_reset = below._reset if below is not None else None

    @property
    def spoken(self) -> list[tuple[Burst, Side]]:
        """Every burst of every session."""
        return [each for session in self.sessions for each in session.spoken]

    @property
    def resets(self) -> list[int]:
        """When RST rose, in ticks."""
        return [session.reset for session in self.sessions if session.reset is not None]

    def judged(self, judge: TimingJudge) -> None:
        """Tell a judge everything, in the order of time. A session that ends in a way nobody can follow is judged up to there."""
        for session in self.sessions:
            if session.reset is not None:
                judge.reset(session.reset)
            try:
                _tell(judge, session)
            except SessionError:
                continue

    def _heard(self, burst: Burst, side: Side) -> None:
        if self._below is not None:
            self._below._heard(burst, side)
        self.sessions[-1].spoken.append((burst, side))

    def _reset(self, time: int) -> None:
        if self._below is not None:
            self._below._reset(time)
        timebase: Timebase = self.reader.engine.timebase
        self.sessions[-1].end = time - timebase.cycles(RESET_LOW_MIN_CYCLES, self.reader.clock_hz)
        self.sessions.append(LineSession(time))


def _tell(judge: TimingJudge, session: LineSession) -> None:
    follower = judge.follower
    for burst, side in sorted(session.spoken, key=lambda each: each[0].start):
        for index, value in enumerate(burst.data):
            start = burst.start + index * burst.pitch
            if session.end is not None and start >= session.end:
                return
            rate = follower.rate
            judge.take(start, value, side)
            # The edges of a burst lie on one grid: where that is the nominal one, one character speaks for all.
            if not index or burst.etu != judge.conditions.etu(rate):
                convention = Convention.DIRECT if follower.atr is None else follower.atr.convention
                judge.shape(start, rate, side, character_edges(value, start, burst.etu, convention)[1:])
