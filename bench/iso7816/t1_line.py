"""What both sides of T=1 share towards the line: the times they go by, and the making of blocks out of characters.

ISO/IEC 7816-3:2006, 11.2 (character frame), 11.4.3 (waiting times). All times run from leading edge to leading edge.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from bench.engine import Timebase
from bench.iso7816.atr import Atr
from bench.iso7816.errors import Iso7816Error
from bench.iso7816.line import CHARACTER_END_ETU, Burst, etu_ticks
from bench.iso7816.rates import BGT_ETU, Rate, bwt_cycles, card_guard_etu, cwt_etu, guard_cycles
from bench.iso7816.t1_block import (
    INF_MAX,
    PROLOGUE,
    Block,
    BlockError,
    BlockRule,
    EdcScheme,
    block_length,
    decode_block,
)

ATTEMPTS: Final = 3
"""A block is sent, and sent again or asked for at most twice (11.6.3, rule 7.4)."""
STALLED_MAX: Final = 2 * ATTEMPTS
"""Blocks without progress after which a terminal resynchronises, valid or not; ISO leaves it open."""
LONGEST_BLOCK: Final = PROLOGUE + INF_MAX + 2


class T1TimingError(Iso7816Error):
    """An ATR whose times contradict each other, so that no block can be sent."""


class T1UsageError(RuntimeError):
    """This side was asked for what it may not do here; says what, in which state, and what to do."""


@dataclass(frozen=True, slots=True)
class T1Fault:
    """Something the other side did that the standard does not allow. `clause` is of ISO/IEC 7816-3:2006."""

    clause: str
    found: str

    def __str__(self) -> str:
        return f"{self.found} (ISO/IEC 7816-3, {self.clause})"


@dataclass(frozen=True, slots=True)
class T1Timing:
    """What both sides go by, in ticks."""

    etu: int
    pitch_to_card: int
    pitch_to_terminal: int
    cwt: int
    """Character waiting time: the most between two characters of a block."""
    bwt: int
    """Block waiting time: the most between the last character to the card and the first of its answer."""
    bgt: int
    """Block guard time: the least between two characters of opposite directions."""

    @classmethod
    def at_rate(cls, atr: Atr, rate: Rate, clock_hz: int, timebase: Timebase) -> T1Timing:
        """The timing of a card with this ATR at `rate`.

        Raises T1TimingError where the guard time is longer than CWT, ValueError where the timebase cannot hold a time.
        """
        etu = etu_ticks(rate, clock_hz, timebase)

        def ticks(cycles: Fraction, what: str) -> int:
            exact = cycles * timebase.cycles(1, clock_hz)
            if exact.denominator != 1:
                raise ValueError(f"{what} at {rate} and {clock_hz} Hz is no whole number of ticks of {timebase}")
            return exact.numerator

        to_card = ticks(guard_cycles(atr.extra_guard_time, 1, rate, atr.rate, atr.has_t15), "extra guard time")
        to_terminal = card_guard_etu(atr.extra_guard_time, 1) * etu
        cwt = cwt_etu(atr.cwi) * etu
        if cwt < max(to_card, to_terminal):
            raise T1TimingError(
                f"CWI = {atr.cwi} makes CWT {cwt_etu(atr.cwi)} etu, N = {atr.extra_guard_time} makes the guard time "
                f"{max(to_card, to_terminal) / etu:g} etu: no block of such a card can be sent (11.4.3)"
            )
        bwt = ticks(bwt_cycles(atr.bwi, rate), "BWT")
        return cls(etu, to_card, to_terminal, cwt, bwt, BGT_ETU * etu)

    def drifted(self, ppm: int) -> T1Timing:
        """The same by a clock that is slower by so many parts of a million (negative: faster); waiting times are not its business."""
        etu, to_card, to_terminal, bgt = (
            ticks * (1_000_000 + ppm) // 1_000_000
            for ticks in (self.etu, self.pitch_to_card, self.pitch_to_terminal, self.bgt)
        )
        return T1Timing(etu, to_card, to_terminal, self.cwt, self.bwt, bgt)

    @property
    def turnaround_to_card(self) -> int:
        """From the card's last character to the terminal's first: BGT, and the extra guard time, which runs whoever sent the one before (8.3)."""
        return max(self.bgt, self.pitch_to_card)

    @property
    def character(self) -> int:
        """Length of a character without guard time."""
        return CHARACTER_END_ETU * self.etu


class BlockReceiver:
    """Puts bursts together to blocks. `last` is the leading edge of the last character heard."""

    __slots__ = ("_coming", "_damaged", "_data", "_gap", "cwt", "edc", "last")

    def __init__(self, edc: EdcScheme, cwt: int, last: int) -> None:
        self.edc = edc
        self.cwt = cwt
        self.last = last
        self._data = bytearray()
        self._damaged: set[int] = set()
        self._gap = 0
        self._coming: list[Burst] = []

    def incoming(self, burst: Burst) -> None:
        """A burst is on its way: known from its beginning, taken at its end."""
        self._coming.append(burst)

    def extended(self, deadline: int) -> int:
        """A deadline, put off to the end of a burst that begins before it: a block is in time if its beginning is."""
        for burst in self._coming:
            if burst.start <= deadline:
                deadline = max(deadline, burst.taken + 1)
        return deadline

    @property
    def partial(self) -> bool:
        """Whether a block has begun that is not complete: silence for CWT ends it."""
        return bool(self._data)

    def receive(self, burst: Burst, ifs: int, damaged: Collection[int]) -> Block | BlockError | None:
        """Take a burst; a block, or why it is none, or None while characters are missing."""
        data = burst.data
        since = self.last
        self.skip(burst)
        if self._data or burst.pitch > self.cwt:
            begun = len(self._data)
            if begun and burst.start - since > self.cwt:
                self._gap = begun + 1
            elif burst.pitch > self.cwt and len(data) > 1:
                self._gap = begun + 2
            self._damaged.update(begun + index for index in damaged)
            self._data += data
            if not self._complete(self._data):
                return None
            return self.close(ifs)
        if not self._complete(data):
            self._data += data
            self._damaged.update(damaged)
            return None
        try:
            return decode_block(data, self.edc, ifs, damaged)
        except BlockError as error:
            return error

    def skip(self, burst: Burst) -> None:
        """A burst has been taken that is no concern of this side."""
        self.last = burst.last
        if self._coming:
            self._coming = [other for other in self._coming if other.taken > burst.taken]

    def close(self, ifs: int) -> Block | BlockError:
        """Nothing more comes: what has been heard so far, as a block or as why it is none."""
        data, damaged, gap = bytes(self._data), self._damaged, self._gap
        self._data.clear()
        self._damaged = set()
        self._gap = 0
        if gap and not damaged:
            return BlockError(BlockRule.GAP, gap, f"more than {self.cwt} ticks after the character before")
        try:
            return decode_block(data, self.edc, ifs, damaged)
        except BlockError as error:
            return error

    def _complete(self, data: bytes | bytearray) -> bool:
        length = block_length(data, self.edc)
        return len(data) >= (LONGEST_BLOCK if length is None else length)
