"""Logic-analyser captures: signals over time, and what is known of their times.

A capture is read from a file (`read_waveform`: VCD or sigrok CSV), or made from what a rig's line carried (`from_bursts`). Times are whole ticks of
the file's own; nothing is rounded on the way in. A file that cannot be used ends in a FileError with its line.

What the analyser saw lies up to a sample after what was; its clock and the card's are known to so many ppm: `Calibration` makes the uncertainty
of every interval from that.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from operator import attrgetter
from pathlib import Path
from typing import NoReturn

from bench.engine import Timebase
from bench.files.mistakes import FileError, Mistake, Position
from bench.iso7816.atr_values import Convention
from bench.iso7816.captured import Lines
from bench.iso7816.edges import HIGH, LOW, Edge, Wave, burst_edges
from bench.iso7816.line import Burst
from bench.iso7816.rates import RESET_LOW_MIN_CYCLES
from bench.iso7816.session import Side
from bench.iso7816.timing_rules import Uncertainty

IO = "io"
RST = "rst"
CARD = "card_sends"
"""Names of the signals that the bench writes."""
_CLOCK_EDGES = 100
"""Rising edges of CLK below which no clock is measured."""


def refuse(path: Path, line: int, found: str, expected: str) -> NoReturn:
    """Raise the FileError for one line of a capture."""
    raise FileError([Mistake(path, Position(line, 1), found, expected)])


@dataclass(frozen=True, slots=True)
class Signal:
    """One wire: its level at the beginning, and when it changed (ticks, ascending)."""

    name: str
    initial: int
    times: tuple[int, ...]

    @property
    def wave(self) -> Wave:
        return Wave.alternating(self.times, self.initial)


@dataclass(frozen=True, slots=True)
class Waveform:
    """A capture: ticks a second, the sample period in ticks, the signals."""

    path: Path
    """Where it comes from, for messages."""
    hz: int
    sample: Fraction
    """How far after an edge its time may lie, in ticks."""
    signals: tuple[Signal, ...]

    def signal(self, name: str) -> Signal:
        """The signal of that name, whatever the case. Raises FileError with the names there are."""
        found = [each for each in self.signals if each.name.lower() == name.lower()]
        if len(found) != 1:
            names = ", ".join(each.name for each in self.signals) or "none"
            many = f"{len(found)} signals" if found else "no signal"
            refuse(self.path, 1, f"{many} named {name!r}", f"one of this capture's signals: {names}")
        return found[0]

    def has(self, name: str) -> bool:
        """Whether there is a signal of this name."""
        return any(each.name.lower() == name.lower() for each in self.signals)

    def lines(self, io: str | None = None, rst: str | None = None, direction: str | None = None) -> Lines:
        """I/O, RST and direction by name; without names those that are called ``io``, ``rst`` and ``card_sends``, or the only signal as I/O.

        Raises FileError for a name that is not there, and where nothing says which signal is I/O.
        """
        if io is None:
            io = self.signals[0].name if len(self.signals) == 1 else IO
        return Lines(self.signal(io).wave, self._other(rst, RST), self._other(direction, CARD))

    def _other(self, name: str | None, usual: str) -> Wave | None:
        if name is not None:
            return self.signal(name).wave
        return self.signal(usual).wave if self.has(usual) else None

    def clock(self, name: str) -> tuple[int, Fraction]:
        """The card clock as measured at signal ``name``: hertz, rounded, and the half-width in ppm that comes with it.

        Raises FileError where the signal is no steady clock.
        """
        rising = self.signal(name).wave.times[1::2]
        if len(rising) < _CLOCK_EDGES:
            refuse(
                self.path,
                1,
                f"{len(rising)} rising edges of {name!r}",
                f"a card clock with {_CLOCK_EDGES} edges or more",
            )
        span = rising[-1] - rising[0]
        exact = Fraction((len(rising) - 1) * self.hz, span)
        longest = max(after - before for before, after in pairwise(rising))
        if longest * exact > 2 * self.hz + 4 * self.sample * exact:
            refuse(
                self.path, 1, f"{name!r} pauses for {longest} ticks", "a clock that runs all the time; give --clock-hz"
            )
        hertz = round(exact)
        return hertz, (abs(hertz - exact) / exact + 2 * self.sample / span) * 1_000_000


@dataclass(frozen=True, slots=True)
class Calibration:
    """What is known of a capture's times beyond the file: the sampling rate (None: as the file says), and the errors of both clocks."""

    sample_hz: int | None = None
    analyser_ppm: Fraction = Fraction(0)
    card_clock_ppm: Fraction = Fraction(0)

    def uncertainty(self, waveform: Waveform) -> Uncertainty:
        """Half-width of an interval between two edges: a sample either way, and both clocks' errors."""
        sample = waveform.sample if self.sample_hz is None else Fraction(waveform.hz, self.sample_hz)
        rounding = 1 if sample.denominator != 1 else 0  # each time was rounded to a tick when the file was written
        return Uncertainty(sample + rounding, self.analyser_ppm + self.card_clock_ppm)


def read_waveform(path: Path, sample_hz: int | None = None) -> Waveform:
    """Read a capture by its file's name: ``.vcd``, or ``.csv`` as sigrok writes it. ``sample_hz`` is needed where a CSV does not say.

    Raises FileError.
    """
    from bench.records import sigrok_csv, vcd

    kind = path.suffix.lower()
    if kind not in (".vcd", ".csv"):
        refuse(path, 1, f"a file of kind {kind or 'nothing'!r}", "a capture: .vcd, or .csv as sigrok writes it")
    try:
        with path.open(encoding="utf-8", errors="strict") as file:
            return vcd.read_vcd(path, file) if kind == ".vcd" else sigrok_csv.read_csv(path, file, sample_hz)
    except UnicodeDecodeError as error:
        refuse(path, 1, f"byte {error.start} is no text ({error.reason})", "a capture as text")
    except OSError as error:
        refuse(path, 1, str(error.strerror or error), "a file that can be read")


def from_bursts(
    spoken: Iterable[tuple[Burst, Side]],
    resets: Sequence[int],
    timebase: Timebase,
    clock_hz: int,
    convention: Convention = Convention.DIRECT,
) -> Waveform:
    """What a rig's line carried, as a capture: I/O, RST (low for the 400 cycles before each of ``resets``) and who sends."""
    bursts = sorted(spoken, key=lambda each: each[0].start)
    low = timebase.cycles(RESET_LOW_MIN_CYCLES, clock_hz)
    io = Wave(sorted(burst_edges((burst for burst, _ in bursts), convention), key=attrgetter("time")))
    card = Wave(Edge(burst.start, HIGH if side is Side.CARD else LOW) for burst, side in bursts)
    rst = [time for reset in resets for time in (max(0, reset - low), reset)]
    return Waveform(
        Path("rig"),
        timebase.hz,
        Fraction(0),
        (
            Signal(IO, HIGH, tuple(io.times)),
            Signal(RST, HIGH, tuple(rst)),
            Signal(CARD, HIGH, tuple(card.times)),
        ),
    )
