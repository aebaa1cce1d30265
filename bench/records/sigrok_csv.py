"""CSV as sigrok-cli and PulseView export it (libsigrok's output module ``csv``): a row a sample, a column a channel.

The sampling rate stands in a comment. Its optional first column of times does not serve: libsigrok writes sample numbers times a period that is cut
to whole units, so that at 24 MHz it counts 41 ns for 41.67. What is read from it is the number of the sample (rows that repeat may be left
out), and times come from the sampling rate. Columns of analogue channels and of the trigger are passed over.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

from bench.files.mistakes import quoted
from bench.records.vcd import hertz
from bench.records.waveform import Signal, Waveform, refuse

_META: Final = re.compile(r"META samplerate: ([0-9]+)")
_SAMPLERATE: Final = re.compile(r"; ?Samplerate: (.*)")
_CHANNELS: Final = re.compile(r"; ?Channels \(([0-9]+)/[0-9]+\): (.*)")
_ANALOGUE: Final = re.compile(r"[^,]*: [-+0-9.eE]+ .*")
_TIME_LABELS: Final = (
    "Time",
    "samples",
    "milliseconds",
    "microseconds",
    "nanoseconds",
    "picoseconds",
    "femtoseconds",
    "attoseconds",
)
_LEVELS: Final = {"0": 0, "1": 1}


@dataclass(slots=True)
class _Header:
    rate: Fraction | None
    channels: list[str]
    labels: list[str]


@dataclass(slots=True)
class _Columns:
    """Which columns are levels, and whether the first one is a time."""

    names: list[str]
    places: list[int]
    timed: bool
    count: int


def read_csv(path: Path, lines: Iterable[str], sample_hz: int | None = None) -> Waveform:
    """The capture in the lines of a sigrok CSV file. ``sample_hz`` overrides the sampling rate that the file says.

    Raises FileError with the line that is wrong.
    """
    header = _Header(None if sample_hz is None else Fraction(sample_hz), [], [])
    columns: _Columns | None = None
    period = 0
    levels: list[int] = []
    times: list[list[int]] = []
    initial: list[int] = []
    before = ""
    sample = -1
    number = 0
    for number, line in enumerate(lines, 1):
        if columns is not None and not columns.timed and line == before:
            sample += 1
            continue
        text = line.strip()
        if not text or (columns is None and _in_header(text, header)):
            continue
        cells = [cell.strip() for cell in text.split(",")]
        if columns is None:
            columns = _columns(path, number, header, cells)
            period = _period(path, number, header)
        if len(cells) != columns.count:
            refuse(path, number, f"{len(cells)} columns", f"{columns.count}, as in the rows before")
        sample = _sample(path, number, cells[0], period, sample) if columns.timed else sample + 1
        now = [_LEVELS.get(cells[place], -1) for place in columns.places]
        if -1 in now:
            wrong = cells[columns.places[now.index(-1)]]
            refuse(path, number, f"level {quoted(wrong)}", "0 or 1")
        if not levels:
            initial = now
            times = [[] for _ in now]
        else:
            for place, (was, is_now) in enumerate(zip(levels, now, strict=True)):
                if was != is_now:
                    times[place].append(sample)
        levels = now
        before = line
    if columns is None or header.rate is None:
        refuse(path, number or 1, "the end of the file", "rows of samples")
    signals = tuple(
        Signal(name, first, tuple(own)) for name, first, own in zip(columns.names, initial, times, strict=True)
    )
    return _waveform(path, header.rate, signals)


def _waveform(path: Path, rate: Fraction, signals: tuple[Signal, ...]) -> Waveform:
    """Ticks are samples where the rate is whole hertz, else fractions of them."""
    scale = rate.denominator
    if scale != 1:
        signals = tuple(Signal(each.name, each.initial, tuple(time * scale for time in each.times)) for each in signals)
    return Waveform(path, rate.numerator, Fraction(scale), signals)


def _in_header(text: str, header: _Header) -> bool:
    """Whether a line is no row of samples; what it says goes to ``header``."""
    if match := _META.fullmatch(text):
        header.rate = header.rate or Fraction(int(match[1])) or None
    elif match := _SAMPLERATE.fullmatch(text):
        header.rate = header.rate or hertz(f"at {match[1]}")
    elif match := _CHANNELS.fullmatch(text):
        header.channels = [name.strip() for name in match[2].split(",")]
    elif text.startswith(";") or _ANALOGUE.fullmatch(text):
        pass
    elif not header.labels and not re.fullmatch(r"[-+0-9.eE,\s]+", text):
        header.labels = [cell.strip() for cell in text.split(",")]
    elif not header.labels and header.channels and _are_names(text, header.channels):
        header.labels = header.channels
    else:
        return False
    return True


def _are_names(text: str, channels: list[str]) -> bool:
    """A line of channel names that are numbers (as `sigrok-cli -I csv` names them), not of levels."""
    names = [cell.strip() for cell in text.split(",")]
    return names == channels and any(name not in _LEVELS for name in names)


def _columns(path: Path, number: int, header: _Header, cells: list[str]) -> _Columns:
    labels, channels = header.labels, header.channels
    count = len(cells)
    timed = labels[0] in _TIME_LABELS if labels else bool(channels) and count > len(channels)
    if labels and len(labels) != count:
        refuse(path, number, f"{count} columns below {len(labels)} labels", "a column for each label")
    first = int(timed)
    named = bool(labels) and all(label in channels for label in labels[first : first + max(1, len(channels))])
    names: list[str] = []
    places: list[int] = []
    for place in range(first, count):
        label = labels[place] if labels else ""
        if label == "Trigger" or (channels and place - first >= len(channels)):
            continue
        if label and label != "logic" and not named and channels:
            continue  # an analogue channel is labelled with its unit
        if not label and channels and cells[place] not in _LEVELS:
            continue  # an analogue channel without label
        name = channels[place - first] if channels else label if label and label != "logic" else f"column{place + 1}"
        names.append(name)
        places.append(place)
    if not places:
        refuse(path, number, f"{quoted(','.join(cells))}", "a row of samples, at least one of them 0 or 1")
    return _Columns(names, places, timed, count)


def _period(path: Path, number: int, header: _Header) -> int:
    """The period that the column of times counts in: cut to whole units, as libsigrok cuts it."""
    if header.rate is None:
        refuse(path, number, "no sampling rate", "the comment '; Samplerate: 24 MHz', or --sample-hz")
    if header.labels and header.labels[0] == "samples":
        return 1
    unit = 1
    while unit < header.rate:
        unit *= 1000
    return int(unit // header.rate) or 1


def _sample(path: Path, number: int, cell: str, period: int, before: int) -> int:
    if not (cell.isascii() and cell.isdecimal()):
        refuse(path, number, f"time {quoted(cell)}", "a whole number")
    sample, rest = divmod(int(cell), period)
    if rest:
        refuse(
            path,
            number,
            f"time {cell}",
            f"a multiple of the sample period {period}; export again without the column of times",
        )
    if sample <= before:
        refuse(path, number, f"time {cell} not after that of the row above", "times that ascend; export without them")
    return sample
