"""VCD (value change dump, IEEE 1364-2005 clause 18), as logic analysers, sigrok and simulators write it: read and written.

Read are wires of one bit; vectors, reals and events are passed over. An undriven line (``z``) is H, as the pull-up makes it. An unknown level (``x``)
is allowed before a wire's first level only. sigrok says the sampling rate in a comment; elsewhere the timescale is taken for it.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Final

from bench.files.mistakes import quoted
from bench.iso7816.edges import HIGH, LOW
from bench.records.waveform import Signal, Waveform, refuse

_UNITS: Final = {"s": 0, "ms": 3, "us": 6, "ns": 9, "ps": 12, "fs": 15}
_TIMESCALE: Final = re.compile(r"(10{0,2}) ?([munpf]?s)")
_RATE: Final = re.compile(r"at ([0-9]+(?:\.[0-9]+)?) ([kMG]?)Hz")
_FACTORS: Final = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}
_LEVELS: Final = {"0": LOW, "1": HIGH, "z": HIGH, "Z": HIGH}
_CLOSED_BY_END: Final = frozenset(
    {"$date", "$version", "$comment", "$timescale", "$scope", "$upscope", "$var", "$enddefinitions"}
)
_DUMPS: Final = frozenset({"$dumpvars", "$dumpall", "$dumpon", "$dumpoff", "$end"})


def hertz(text: str) -> Fraction | None:
    """A sampling rate as sigrok writes it, such as ``at 24 MHz``; None where there is none."""
    match = _RATE.search(text)
    return Fraction(match[1]) * _FACTORS[match[2]] if match else None


# --- reading -----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Wire:
    name: str
    initial: int | None = None
    level: int | None = None
    times: list[int] = field(default_factory=list)

    def set(self, time: int, level: int) -> None:
        if self.level is None:
            self.initial = level
        elif level != self.level:
            if self.times and self.times[-1] == time:
                self.times.pop()
            else:
                self.times.append(time)
        self.level = level


class _Reader:
    """Reads one file line by line; ``line`` is where it stands."""

    def __init__(self, path: Path, lines: Iterable[str]) -> None:
        self.path = path
        self.line = 0
        self._lines = iter(lines)
        self.hz: int | None = None
        self.sample_hz: Fraction | None = None
        self.wires: dict[str, list[_Wire]] = {}
        self.others: set[str] = set()
        """Identifiers of what is no wire of one bit."""

    def tokens(self) -> Iterator[str]:
        for text in self._lines:
            self.line += 1
            yield from text.split()

    def read(self) -> Waveform:
        tokens = self.tokens()
        self._declarations(tokens)
        if self.hz is None:
            refuse(self.path, self.line, "no $timescale before $enddefinitions", "the unit of its times")
        if not self.wires:
            refuse(self.path, self.line, "no wire of one bit", "the capture of I/O")
        self._changes(tokens)
        sample = Fraction(1) if self.sample_hz is None else self.hz / self.sample_hz
        wires = [wire for named in self.wires.values() for wire in named]
        signals = (
            Signal(wire.name, HIGH if wire.initial is None else wire.initial, tuple(wire.times)) for wire in wires
        )
        return Waveform(self.path, self.hz, sample, tuple(signals))

    def _declarations(self, tokens: Iterator[str]) -> None:
        for token in tokens:
            if token == "META":  # sigrok-cli says so before a file that it writes to its standard output
                next(tokens, None), next(tokens, None)
                continue
            if token not in _CLOSED_BY_END:
                refuse(self.path, self.line, quoted(token), "a VCD declaration such as $timescale or $var")
            words = self._until_end(token, tokens)
            match token:
                case "$enddefinitions":
                    return
                case "$timescale":
                    self._timescale(" ".join(words))
                case "$var":
                    self._variable(words)
                case "$comment":
                    self.sample_hz = hertz(" ".join(words)) or self.sample_hz
        refuse(self.path, self.line or 1, "the end of the file", "$enddefinitions")

    def _until_end(self, keyword: str, tokens: Iterator[str]) -> list[str]:
        begun = self.line
        words: list[str] = []
        while (token := next(tokens, None)) != "$end":
            if token is None:
                refuse(self.path, begun, f"{keyword} without $end", "$end")
            words.append(token)
        return words

    def _timescale(self, text: str) -> None:
        match = _TIMESCALE.fullmatch(text)
        if match is None:
            refuse(self.path, self.line, f"timescale {quoted(text)}", "1, 10 or 100 of s, ms, us, ns, ps or fs")
        per_second, rest = divmod(10 ** _UNITS[match[2]], int(match[1]))
        if rest:
            refuse(self.path, self.line, f"timescale {quoted(text)}", "a timescale of 1 s or finer")
        self.hz = per_second

    def _variable(self, words: list[str]) -> None:
        if len(words) < 4 or not words[1].isdecimal():
            refuse(self.path, self.line, f"$var {quoted(' '.join(words))}", "$var, kind, width, identifier and name")
        kind, width, identifier, name = words[:4]
        if width == "1" and kind not in ("event", "real", "parameter", "realtime"):
            self.wires.setdefault(identifier, []).append(_Wire(name))
        else:
            self.others.add(identifier)

    def _changes(self, tokens: Iterator[str]) -> None:
        time = 0
        for token in tokens:
            first = token[0]
            if first == "#":
                time = self._time(token, time)
            elif first in "01xXzZ" and len(token) > 1:
                self._change(token, first, time)
            elif first in "bBrRsS":
                identifier = next(tokens, "")
                if identifier not in self.others and identifier not in self.wires:
                    refuse(
                        self.path, self.line, f"a change of {quoted(identifier)}", "an identifier that $var declared"
                    )
                if identifier in self.wires:
                    self._change(token[1:] + identifier, token[-1], time)
            elif token == "$comment":
                self._until_end(token, tokens)
            elif token not in _DUMPS:
                refuse(
                    self.path,
                    self.line,
                    quoted(token),
                    "a time (#…), a change of level (0, 1, x or z and an identifier)",
                )

    def _time(self, token: str, before: int) -> int:
        if not (token[1:].isascii() and token[1:].isdecimal()):
            refuse(self.path, self.line, f"time {quoted(token)}", "# and a whole number of the timescale")
        time = int(token[1:])
        if time < before:
            refuse(self.path, self.line, f"time {time} after {before}", "times that do not go backwards")
        return time

    def _change(self, token: str, value: str, time: int) -> None:
        identifier = token[1:]
        wires = self.wires.get(identifier)
        if wires is None:
            if identifier in self.others:
                return
            refuse(self.path, self.line, f"a change of {quoted(identifier)}", "an identifier that $var declared")
        level = _LEVELS.get(value)
        for wire in wires:
            if level is not None:
                wire.set(time, level)
            elif wire.level is not None:
                refuse(
                    self.path, self.line, f"an unknown level of {wire.name!r}", "0, 1 or z once the wire had a level"
                )


def read_vcd(path: Path, lines: Iterable[str]) -> Waveform:
    """The capture in the lines of a VCD file. Raises FileError with the line that is wrong."""
    return _Reader(path, lines).read()


# --- writing -----------------------------------------------------------------------------------------------------------

PICOSECONDS: Final = 10**12
"""The usual scale of what the bench writes; times are rounded to it."""


def vcd_lines(waveform: Waveform, scale_hz: int = PICOSECONDS) -> Iterator[str]:
    """The lines of a VCD file. ``scale_hz`` (a power of ten up to 10¹⁵) is how many units of time a second has; times are rounded to it once."""
    unit = next(
        (
            f"{10**rest} {name}"
            for name, power in _UNITS.items()
            for rest in (0, 1, 2)
            if 10 ** (power - rest) == scale_hz
        ),
        None,
    )
    if unit is None:
        raise ValueError(f"no VCD timescale has {scale_hz} units a second: take a power of ten up to 10**15")
    yield "$version cardbench $end\n"
    yield f"$timescale {unit} $end\n"
    yield "$scope module card $end\n"
    marks = [chr(ord("!") + index) for index in range(len(waveform.signals))]
    for mark, signal in zip(marks, waveform.signals, strict=True):
        yield f"$var wire 1 {mark} {signal.name} $end\n"
    yield "$upscope $end\n$enddefinitions $end\n#0\n$dumpvars\n"
    for mark, signal in zip(marks, waveform.signals, strict=True):
        yield f"{signal.initial}{mark}\n"
    yield "$end\n"
    changes = sorted(
        (time, mark, signal.initial ^ (place + 1) & 1)
        for mark, signal in zip(marks, waveform.signals, strict=True)
        for place, time in enumerate(signal.times)
    )
    last = 0
    for time, mark, level in changes:
        scaled = (2 * time * scale_hz + waveform.hz) // (2 * waveform.hz)
        if scaled != last:
            yield f"#{scaled}\n"
            last = scaled
        yield f"{level}{mark}\n"
