"""The I/O line as edges: from characters to edges, and back as a UART hears them (ISO/IEC 7816-3:2006, 7.1, 7.2, 7.3, 8.1).

A character is ten moments of one etu: the start moment at L, eight data moments, parity (even). In the direct convention the first data moment is the
least significant bit and H stands for 1; in the inverse one the first is the most significant bit and L stands for 1. The line rests at H.

`burst_edges` works the edges of bursts out exactly; `on_cycles` moves them to cycles of the transmitter's clock, as hardware must where F/D is
fractional. `Uart` hears a `Wave` as a receiver does: it looks at the line 16 times an etu of its own, takes the majority of three looks in the middle
of each moment, and starts afresh with every start moment, so that the mismatch it tolerates comes out of the sampling and is written nowhere.
Left out: rise and fall times (an edge is an instant), and collisions (two sides that transmit at once).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, reduce
from itertools import pairwise
from operator import xor
from typing import Final

from bench.iso7816.atr_values import Convention
from bench.iso7816.line import CHARACTER_END_ETU, Burst

LOW: Final = 0
HIGH: Final = 1

OVERSAMPLING: Final = 16
"""Looks at the line in an etu, as most UARTs have it."""
_MIDDLE: Final = (7, 8, 9)
"""The looks of a moment that vote."""
_DATA_MOMENTS: Final = 8
_GUARD_LOOK: Final = CHARACTER_END_ETU * OVERSAMPLING + 4
"""Where the guard time must have begun: 10.25 etu, before an error signal may begin (10.3 etu)."""
_ERROR_SIGNAL_LAST: Final = CHARACTER_END_ETU * OVERSAMPLING + 12
"""An error signal has begun by 10.7 etu (7.3); a character 11 etu after the one before begins later."""
_ERROR_SIGNAL_LOOK: Final = 11 * OVERSAMPLING
"""Where the transmitter looks for an error signal: 11 etu (7.3)."""


@dataclass(frozen=True, slots=True)
class Edge:
    """The line changes to `level` at `time` (ticks)."""

    time: int
    level: int


# --- characters to edges -----------------------------------------------------------------------------------------------


def swap(value: int) -> int:
    """A byte of one convention as a receiver of the other one reads it: bits in reverse order and complemented (8.1: 3F reads 03)."""
    return int(f"{value ^ 0xFF:08b}"[::-1], 2)


@cache
def moments(value: int, convention: Convention = Convention.DIRECT, *, parity_error: bool = False) -> tuple[int, ...]:
    """The ten levels of a character: start, eight data moments, parity (7.2)."""
    bits = [value >> bit & 1 for bit in range(_DATA_MOMENTS)]
    bits.append(reduce(xor, bits) ^ parity_error)
    if convention is Convention.INVERSE:
        bits = [1 - bit for bit in (*reversed(bits[:_DATA_MOMENTS]), bits[-1])]
    return (LOW, *bits)


@cache
def _changes(value: int, convention: Convention, parity_error: bool) -> tuple[tuple[int, int], ...]:
    """Where the level changes: moment (counted from 0; 10 is the guard time) and new level."""
    levels = (HIGH, *moments(value, convention, parity_error=parity_error), HIGH)
    return tuple((moment, after) for moment, (before, after) in enumerate(pairwise(levels)) if before != after)


def character_edges(
    value: int, start: int, etu: int, convention: Convention = Convention.DIRECT, *, parity_error: bool = False
) -> list[Edge]:
    """The edges of one character whose leading edge is at `start`. Times in ticks."""
    return [Edge(start + moment * etu, level) for moment, level in _changes(value, convention, parity_error)]


def burst_edges(bursts: Iterable[Burst], convention: Convention = Convention.DIRECT) -> Iterator[Edge]:
    """The edges of bursts, which must not overlap, in their order."""
    for burst in bursts:
        for index, value in enumerate(burst.data):
            yield from character_edges(value, burst.start + index * burst.pitch, burst.etu, convention)


def on_cycles(edges: Iterable[Edge], cycle: int, origin: int = 0) -> Iterator[Edge]:
    """Each edge at the nearest beginning of a clock cycle (`cycle` ticks long, one of them beginning at `origin`): what hardware can do."""
    for edge in edges:
        yield Edge(origin + (2 * (edge.time - origin) + cycle) // (2 * cycle) * cycle, edge.level)


# --- the line ------------------------------------------------------------------------------------------------------------


class Wave:
    """A line over time: H until the first edge, then alternating. Edges that change nothing are dropped.

    Raises ValueError where time goes backwards.
    """

    __slots__ = ("times",)

    def __init__(self, edges: Iterable[Edge]) -> None:
        self.times: list[int] = []
        """Falling edges at even places, rising ones at odd places."""
        last = None
        for edge in edges:
            if last is not None and edge.time < last:
                raise ValueError(f"edges at {last} and then at {edge.time}: they must be in the order of time")
            last = edge.time
            if edge.level != 1 - (len(self.times) & 1):
                if self.times and self.times[-1] == edge.time:
                    self.times.pop()  # there and back at once: nothing to be seen
                else:
                    self.times.append(edge.time)

    @classmethod
    def alternating(cls, times: Iterable[int], initial: int = HIGH) -> Wave:
        """A line at level `initial` that changes at each of `times`, which ascend. At L from the beginning, it fell a tick before."""
        wave = cls(())
        wave.times.extend(times)
        if initial == LOW:
            wave.times.insert(0, min(wave.times[0] - 1, 0) if wave.times else 0)
        return wave

    def level(self, time: int) -> int:
        """H or L at `time`; an edge at that very tick has happened."""
        return 1 - (bisect_right(self.times, time) & 1)

    def falling(self, time: int) -> int | None:
        """The first falling edge at `time` or later."""
        return self._edge(time, 0)

    def rising(self, time: int) -> int | None:
        """The first rising edge at `time` or later."""
        return self._edge(time, 1)

    def between(self, first: int, last: int) -> list[Edge]:
        """The edges from `first` to `last`, both included."""
        begin, end = bisect_left(self.times, first), bisect_right(self.times, last)
        return [Edge(self.times[place], place & 1) for place in range(begin, end)]

    def _edge(self, time: int, parity: int) -> int | None:
        place = bisect_left(self.times, time)
        place += (place & 1) != parity
        return self.times[place] if place < len(self.times) else None


# --- edges to characters -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sampled:
    """One character as a receiver heard it."""

    start: int
    """Its leading edge, where it was on the line."""
    value: int
    parity_ok: bool
    frame_ok: bool
    """The line was back at H 10.25 etu after the leading edge."""
    ready: int
    """From when on the receiver looks for the next start moment."""
    error_signal: int | None = None
    """When the receiving side began to pull the line down because it wants a repetition (7.3), or None."""
    error_signal_end: int | None = None

    @property
    def sound(self) -> bool:
        return self.parity_ok and self.frame_ok


@dataclass(frozen=True, slots=True)
class Uart:
    """A receiver: `etu` is its own, in ticks, whatever the transmitter's is; looks are at `phase` plus whole 16ths of it."""

    etu: int | Fraction
    convention: Convention = Convention.DIRECT
    phase: int = 0
    error_signals: bool = False
    """Whether error signals may be there (T=0): a fall between 10.25 and 10.75 etu that lasts to 11 etu is one."""

    def __post_init__(self) -> None:
        if self.etu <= 0:
            raise ValueError(f"an etu of {self.etu} ticks; it must be positive")

    def read(self, wave: Wave, after: int) -> Sampled | None:
        """The first character whose leading edge is at `after` or later; None where there is no more."""
        edge = wave.falling(after)
        while edge is not None:
            first = self._look_at_or_after(edge)
            if wave.level(self._at(first)) == LOW:
                if self._moment(wave, first, 0) == LOW:
                    return self._character(wave, edge, first)
                edge = wave.falling(self._at(first + _MIDDLE[-1]))  # too short for a start moment: noise
            else:
                edge = wave.falling(edge + 1)  # it came and went between two looks
        return None

    def _character(self, wave: Wave, edge: int, first: int) -> Sampled:
        levels = [self._moment(wave, first, moment) for moment in range(1, _DATA_MOMENTS + 2)]
        parity_ok = sum(levels) & 1 == (1 if self.convention is Convention.INVERSE else 0)
        value = sum(level << bit for bit, level in enumerate(levels[:_DATA_MOMENTS]))
        if self.convention is Convention.INVERSE:
            value = swap(value)
        look = self._at(first + _GUARD_LOOK)
        if wave.level(look) == LOW:
            up = wave.rising(look)
            return Sampled(edge, value, parity_ok, False, look + 1 if up is None else up)
        if self.error_signals:
            fall = wave.falling(look)
            if (
                fall is not None
                and fall <= self._at(first + _ERROR_SIGNAL_LAST)
                and wave.level(self._at(first + _ERROR_SIGNAL_LOOK)) == LOW
            ):
                up = wave.rising(fall)
                end = self._at(first + _ERROR_SIGNAL_LOOK) if up is None else up
                return Sampled(edge, value, parity_ok, True, end, fall, up)
        return Sampled(edge, value, parity_ok, True, look)

    def _moment(self, wave: Wave, first: int, moment: int) -> int:
        base = first + moment * OVERSAMPLING
        return int(sum(wave.level(self._at(base + look)) for look in _MIDDLE) >= 2)

    def _at(self, look: int) -> int:
        """When the receiver looks for the `look`-th time, to the tick below: edges are at whole ticks."""
        return self.phase + look * self.etu.numerator // (OVERSAMPLING * self.etu.denominator)

    def _look_at_or_after(self, time: int) -> int:
        return -((self.phase - time) * OVERSAMPLING * self.etu.denominator // self.etu.numerator)


def sample(
    edges: Iterable[Edge] | Wave,
    etu: int | Fraction,
    convention: Convention = Convention.DIRECT,
    *,
    phase: int = 0,
    error_signals: bool = False,
) -> list[Sampled]:
    """Every character that a receiver with this etu of its own hears. Times in ticks."""
    wave = edges if isinstance(edges, Wave) else Wave(edges)
    uart = Uart(etu, convention, phase, error_signals)
    heard: list[Sampled] = []
    after = wave.times[0] if wave.times else 0
    while (character := uart.read(wave, after)) is not None:
        heard.append(character)
        after = character.ready
    return heard


def values(characters: Sequence[Sampled]) -> bytes:
    """The bytes of characters, sound or not."""
    return bytes(character.value for character in characters)
