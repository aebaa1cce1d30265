"""A reader's own latency: what was measured, how sure it is, where it is kept, and how it divides the time of exchanges.

It is kept beside the rig file (``lab.yaml`` has ``lab.calibration.json``), an entry for each reader and protocol, with every single time, so that
another law can be tried on them later. Law: the median, with the exact interval of order statistics (no distribution is assumed); no value is left
out of it, for a median bears outliers. Values above the third quartile by more than three times the interquartile range are counted and told as
outliers.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from pathlib import Path
from typing import Final

from bench.engine import Timebase
from bench.files.mistakes import FileError, Mistake, Position
from bench.hop.limit import LineLimit, T0Limit, T1Limit
from bench.iso7816.atr import Atr, AtrError, parse_atr
from bench.iso7816.atr_values import Edc
from bench.iso7816.errors import Iso7816Error
from bench.iso7816.port import Answer, ExchangeLevel, TerminalPort
from bench.iso7816.rates import Rate
from bench.iso7816.t0 import T0Timing
from bench.iso7816.t1_line import T1Timing
from bench.readers.times import Times, divided
from bench.serve.pace import Pace

FORMAT: Final = 1
SUFFIX: Final = ".calibration.json"
CONFIDENCE: Final = 0.95
"""The interval of the median covers it at least this often; so many of all exchanges lie within the spread."""
POLICY: Final = "median of all values, none left out; told as outliers: above the third quartile by more than 3 interquartile ranges"
BARE: Final = "bare"
DATA: Final = "data"
HEADER: Final = 5
"""Bytes of a T=0 TPDU without data, and of an APDU that sends none."""


@dataclass(frozen=True, slots=True)
class Series:
    """One kind of neutral command, measured."""

    kind: str
    """bare: without data; data: with data to the card."""
    command: str
    """Hexadecimal."""
    sw: str
    """What the card answered, hexadecimal."""
    wire_ns: int
    """What the line took of each, 0 where the rate is not known."""
    times_ns: tuple[int, ...]
    """The reader's own time of each round: the exchange's less the line's, never below 0."""
    host_ns: int
    """Median of what the bench took from an answer to the next command."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a series says."""

    count: int
    median_ns: int
    low_ns: int
    high_ns: int
    """The interval of the median."""
    coverage: float
    """How often such an interval covers the median, exactly."""
    spread_ns: int
    """How far a single exchange is from the median, in 95 of 100."""
    outliers: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """One reader, calibrated."""

    rig: str
    key: str
    """The reader's identity."""
    protocol: int
    ta1: str
    """F and D in use, hexadecimal; 00 where the reader does not tell."""
    clock_hz: int
    atr: str
    date: str
    """ISO 8601, UTC."""
    reader: str
    driver: str
    cardbench: str
    kernel: str
    policy: str
    series: tuple[Series, ...]

    def of(self, kind: str) -> Series | None:
        return next((each for each in self.series if each.kind == kind), None)


@dataclass(frozen=True, slots=True)
class CalibrationFile:
    """What the file beside a rig file holds."""

    format: int
    calibrations: tuple[Calibration, ...]


def summary(times_ns: tuple[int, ...]) -> Summary:
    """The law of this page. Raises ValueError for fewer than six values, of which no interval covers the median as often as it should."""
    ordered = sorted(times_ns)
    count = len(ordered)
    rank, coverage = median_rank(count)
    if not rank:
        raise ValueError(f"{count} values: at least 6 are needed for an interval of the median")
    middle = (ordered[(count - 1) // 2] + ordered[count // 2]) // 2
    first, third = _quantile(ordered, 0.25), _quantile(ordered, 0.75)
    fence = third + 3 * (third - first)
    deviations = sorted(abs(each - middle) for each in ordered)
    return Summary(
        count,
        middle,
        ordered[rank - 1],
        ordered[count - rank],
        coverage,
        _quantile(deviations, CONFIDENCE),
        sum(each > fence for each in ordered),
    )


def median_rank(count: int) -> tuple[int, float]:
    """The rank r so that the values of rank r and count + 1 - r hold the median between them, and how often they do: the largest with enough.

    The number of values below the median is binomial with 1/2, whatever the distribution. Rank 0 where even the extremes do not do.
    """
    rank, below, coverage = 0, 0, 0.0
    total = 2**count
    for candidate in range(1, count // 2 + 1):
        below += comb(count, candidate - 1)
        now = 1 - 2 * below / total
        if now < CONFIDENCE:
            break
        rank, coverage = candidate, now
    return rank, coverage


def _quantile(ordered: list[int], share: float) -> int:
    """The smallest value with at least this share of all at or below it."""
    index = -(-len(ordered) * round(share * 1000) // 1000) - 1
    return ordered[max(0, index)]


def calibration_path(rig_file: Path) -> Path:
    """Where the calibrations of a rig file's readers are."""
    return rig_file.with_name(rig_file.stem + SUFFIX)


def read_calibrations(path: Path) -> CalibrationFile:
    """The file at ``path``; one without entries where there is none. Raises FileError."""
    from pydantic import TypeAdapter, ValidationError

    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return CalibrationFile(FORMAT, ())
    except OSError as error:
        raise _mistake(path, f"a file that cannot be read ({error.strerror})") from error
    try:
        file = TypeAdapter(CalibrationFile).validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise _mistake(path, f"{where}: {first['msg']}") from error
    if file.format != FORMAT:
        raise _mistake(path, f"format {file.format}")
    for each in file.calibrations:
        if each.of(BARE) is None or any(not median_rank(len(series.times_ns))[0] for series in each.series):
            raise _mistake(path, f"too few times for {each.key}")
    return file


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Put it into the file at ``path``, in the place of the one for the same reader and protocol. Raises FileError."""
    from pydantic import TypeAdapter

    from bench.records.atomic import write_atomically

    kept = tuple(
        each
        for each in read_calibrations(path).calibrations
        if (each.key, each.protocol) != (calibration.key, calibration.protocol)
    )
    tree = TypeAdapter(CalibrationFile).dump_python(CalibrationFile(FORMAT, (*kept, calibration)), mode="json")
    try:
        write_atomically(path, json.dumps(tree, indent=1, ensure_ascii=False).encode() + b"\n")
    except OSError as error:
        raise _mistake(path, f"a file that cannot be written ({error.strerror})") from error


def _mistake(path: Path, found: str) -> FileError:
    expected = (
        f"calibrations of format {FORMAT}, as `cardbench calibrate` writes them (remove the file, then calibrate)"
    )
    return FileError([Mistake(path, Position(1, 1), found, expected)])


class WireTime:
    """What the line takes of an exchange at the rate in use, where the reader tells that; in nanoseconds."""

    def __init__(self) -> None:
        self._atr: Atr | None = None
        self._known: tuple[int, int, int] | None = None
        self._timebase = Timebase(10**9)
        self._limit: LineLimit | None = None

    def powered(self, atr: bytes) -> None:
        """A card with this ATR is up."""
        self._known = None
        try:
            self._atr = parse_atr(atr)
        except AtrError:
            self._atr = None

    def ns(self, command: bytes, response: bytes, port: TerminalPort) -> int:
        """From the first character's leading edge to the end of the last; 0 where rate, clock or ATR are not known."""
        limit = self._line(port)
        if limit is None or len(command) < 4 or len(response) < 2:
            return 0
        if isinstance(limit, T0Limit) and port.level is ExchangeLevel.APDU:
            ticks = Pace(limit).ticks(command, response)
        else:
            ticks = limit.exchange(len(command), len(response))
        return self._timebase.to_ns(max(0, ticks - limit.tail))

    def _line(self, port: TerminalPort) -> LineLimit | None:
        key = (port.ta1, port.clock_hz, port.protocol)
        if key != self._known:
            self._known, self._limit = key, self._made(*key)
        return self._limit

    def _made(self, ta1: int, clock_hz: int, protocol: int) -> LineLimit | None:
        atr = self._atr
        if atr is None or not ta1 or clock_hz <= 0:
            return None
        self._timebase = timebase = Timebase.for_clocks(clock_hz)
        try:
            if protocol == 0:
                line = T0Timing.at_rate(atr, Rate(ta1), clock_hz, timebase)
                return T0Limit(line.etu, line.pitch_to_card)
            block = T1Timing.at_rate(atr, Rate(ta1), clock_hz, timebase)
        except (Iso7816Error, ValueError):
            return None
        edc = 2 if atr.edc is Edc.CRC else 1
        return T1Limit(block.etu, block.pitch_to_card, block.pitch_to_terminal, atr.ifsc, edc=edc)


class CalibratedSplit:
    """Divides the exchanges of a calibrated reader (``bench.readers.times.Split``), by the calibration of the protocol in use."""

    def __init__(self, calibrations: Sequence[Calibration], timebase: Timebase, *, paced: bool = True) -> None:
        self._timebase = timebase
        self._paced = paced
        """False: the card behind answers without waiting for its line, which then takes no time."""
        self._wire = WireTime()
        self._known = {each.protocol: _latency(each) for each in calibrations}

    def powered(self, atr: bytes) -> None:
        self._wire.powered(atr)

    def times(self, command: bytes, answer: Answer, port: TerminalPort) -> Times:
        ticks = self._timebase.nanoseconds
        duration = answer.end - answer.start
        if not self._paced:
            wire = 0
        elif answer.characters:
            wire = duration - answer.card_ticks  # the reader saw the characters themselves
        else:
            wire = ticks(self._wire.ns(command, answer.response, port))
        latency = self._known.get(port.protocol)
        if latency is None:
            return Times(0, wire if answer.characters else 0, answer.card_ticks, 0)
        known = latency.data if len(command) > HEADER else latency.bare
        return divided(duration, wire, ticks(known.median_ns), ticks(known.spread_ns))


@dataclass(frozen=True, slots=True)
class _Latency:
    """What a calibration says of commands without data, and with."""

    bare: Summary
    data: Summary


def _latency(calibration: Calibration) -> _Latency:
    bare = calibration.of(BARE)
    assert bare is not None, "the file was checked when it was read"
    data = calibration.of(DATA) or bare
    return _Latency(summary(bare.times_ns), summary(data.times_ns))
