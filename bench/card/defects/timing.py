"""Cards whose characters come at the wrong time, by one etu or one clock cycle, and cards exactly at each limit (ISO/IEC 7816-3:2006).

Everything here alters bursts on their way from the contacts to the line. The card itself believes that it kept its times.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections.abc import Callable, Collection
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Final

from bench.card.defects import Defect
from bench.iso7816.atr import parse_atr
from bench.iso7816.line import Burst, CardEnd
from bench.iso7816.pps import PPSS
from bench.iso7816.rates import BGT_ETU, FD, INITIAL_WT_ETU, TURNAROUND_T0_ETU, cwt_etu, wwt_cycles

SPLIT_AT: Final = 4
"""After how many characters the answer to reset pauses."""


class Mistimed:
    """A CardEnd before another that alters what it sends. Subclasses say how, in ``altered``."""

    def __init__(self, end: CardEnd) -> None:
        self.end = end
        self.transmit: Callable[[Burst], None] = _nowhere
        self.turn = 0
        """How often the card has begun to answer since power: 0 is the answer to reset."""
        self.heard: Burst | None = None
        """The terminal's last burst, until the card answers it."""
        self.atr: Burst | None = None
        self._under_way: list[tuple[Burst, Burst, int]] = []
        """What went on the line last, which burst of the card's it is of, and from which of its characters on."""
        end.transmit = self._sent

    def altered(self, burst: Burst) -> list[Burst]:
        """What goes on the line instead of ``burst``."""
        return [burst]

    @property
    def etu(self) -> int:
        return self.end.etu

    @property
    def signals(self) -> bool:
        return self.end.signals

    def power_up(self, now: int, clock_hz: int, operating_class: str = "A") -> None:
        self._fresh()
        self.end.power_up(now, clock_hz, operating_class)

    def reset(self, now: int) -> None:
        self._fresh()
        self.end.reset(now)

    def power_down(self, now: int) -> None:
        self.end.power_down(now)

    def receive(self, burst: Burst, damaged: Collection[int] = ()) -> None:
        self.heard = burst
        self.end.receive(burst, damaged)

    def signalled(self, burst: Burst, index: int) -> None:
        for sent, own, first in self._under_way:
            if sent is burst:
                self.end.signalled(own, first + index)

    def _fresh(self) -> None:
        self.turn = 0
        self.heard = None
        self.atr = None

    def _sent(self, burst: Burst) -> None:
        if self.atr is None:
            self.atr = burst
        elif self.heard is not None:
            self.turn += 1
        first = 0
        self._under_way.clear()
        for each in self.altered(burst):
            self._under_way.append((each, burst, first))
            first += len(each.data)
            self.transmit(each)
        self.heard = None


class Pitch(Mistimed):
    """Characters of a burst follow each other every ``distance`` etu."""

    def __init__(self, end: CardEnd, distance: int) -> None:
        super().__init__(end)
        self.distance = distance

    def altered(self, burst: Burst) -> list[Burst]:
        return [replace(burst, pitch=self.distance * burst.etu)]


class TurnAround(Mistimed):
    """The card begins ``distance`` etu after the terminal's last character, whenever it would have begun ``least`` etu after it."""

    def __init__(self, end: CardEnd, distance: int, least: int) -> None:
        super().__init__(end)
        self.distance = distance
        self.least = least

    def altered(self, burst: Burst) -> list[Burst]:
        if self.heard is None or burst.start != self.heard.last + self.least * burst.etu:
            return [burst]
        return [replace(burst, start=self.heard.last + self.distance * burst.etu)]


class Late(Mistimed):
    """One answer begins ``distance`` etu later than the work waiting time allows (earlier, where that is negative).

    It is the first that ends a command: of a late procedure byte the card would go on counting from where it believes to have sent it.
    """

    def __init__(self, end: CardEnd, distance: int) -> None:
        super().__init__(end)
        self.distance = distance
        self.was_late = False

    def altered(self, burst: Burst) -> list[Burst]:
        ends = self.turn and len(burst.data) > 1 and burst.data[0] != PPSS
        if self.was_late or not ends or self.heard is None or self.atr is None:
            return [burst]
        self.was_late = True
        atr = parse_atr(self.atr.data)
        waiting = wwt_cycles(atr.wi, atr.fi) * self.atr.etu // FD
        return [replace(burst, start=self.heard.last + waiting + self.distance * burst.etu)]


class LateBlock(Mistimed):
    """The first block of the card begins ``distance`` etu later than the block waiting time allows (earlier, where that is negative)."""

    def __init__(self, end: CardEnd, distance: int) -> None:
        super().__init__(end)
        self.distance = distance
        self.was_late = False

    def altered(self, burst: Burst) -> list[Burst]:
        if self.was_late or self.heard is None or self.atr is None or burst.data[0] == PPSS:
            return [burst]
        self.was_late = True
        waiting = 11 * burst.etu + (960 << parse_atr(self.atr.data).bwi) * self.atr.etu  # 372 cycles are an initial etu
        return [replace(burst, start=self.heard.last + waiting + self.distance * burst.etu)]


class PausedBlock(Mistimed):
    """The first block of the card pauses for ``distance`` etu more than the character waiting time (less, where that is negative)."""

    def __init__(self, end: CardEnd, distance: int) -> None:
        super().__init__(end)
        self.distance = distance
        self.has_paused = False

    def altered(self, burst: Burst) -> list[Burst]:
        if self.has_paused or burst is self.atr or self.atr is None or burst.data[0] == PPSS:
            return [burst]
        self.has_paused = True
        return paused(burst, 2, cwt_etu(parse_atr(self.atr.data).cwi) + self.distance)


class Pause(Mistimed):
    """The answer to reset pauses for ``distance`` etu in its midst."""

    def __init__(self, end: CardEnd, distance: int) -> None:
        super().__init__(end)
        self.distance = distance

    def altered(self, burst: Burst) -> list[Burst]:
        return paused(burst, SPLIT_AT, self.distance) if burst is self.atr else [burst]


def paused(burst: Burst, after: int, etu: int) -> list[Burst]:
    """A burst in two, the second beginning ``etu`` etu after the last of the first ``after`` characters."""
    first = replace(burst, data=burst.data[:after])
    return [first, replace(burst, data=burst.data[after:], start=first.last + etu * burst.etu)]


class OwnEtu(Mistimed):
    """The card's etu is longer than the rate says; its characters begin when they should."""

    def __init__(self, end: CardEnd, factor: Fraction) -> None:
        super().__init__(end)
        self.factor = factor

    def altered(self, burst: Burst) -> list[Burst]:
        return [replace(burst, etu=round(burst.etu * self.factor))]


def _atr_delay(cycles: int, requirement: str = "") -> Defect:
    return Defect(
        f"atr-after-{cycles}-cycles",
        f"answers to reset {cycles} clock cycles after RST",
        requirement,
        profile=lambda profile: replace(profile, atr_delay_cycles=cycles),
    )


DEFECTS: Final = (
    Defect("guard-11-etu", "sends its characters 11 etu apart", "CHAR-GT-1", end=partial(Pitch, distance=11)),
    Defect("guard-12-etu", "sends its characters 12 etu apart", end=partial(Pitch, distance=12)),
    Defect("guard-13-etu", "sends its characters 13 etu apart", end=partial(Pitch, distance=13)),
    Defect(
        "turnaround-15-etu",
        "answers 15 etu after the terminal",
        "T0-GT-1",
        end=partial(TurnAround, distance=15, least=TURNAROUND_T0_ETU),
    ),
    Defect(
        "turnaround-16-etu",
        "answers 16 etu after the terminal",
        end=partial(TurnAround, distance=16, least=TURNAROUND_T0_ETU),
    ),
    Defect(
        "turnaround-17-etu",
        "answers 17 etu after the terminal",
        end=partial(TurnAround, distance=17, least=TURNAROUND_T0_ETU),
    ),
    Defect("waiting-1-etu-early", "answers once 1 etu before WWT runs out", end=partial(Late, distance=-1)),
    Defect("waiting-at-limit", "answers once just when WWT runs out", end=partial(Late, distance=0)),
    Defect(
        "waiting-1-etu-late", "answers once 1 etu after WWT, without a NULL", "T0-WT-1", end=partial(Late, distance=1)
    ),
    Defect(
        "block-guard-21-etu",
        "T=1: answers 21 etu after the terminal's block",
        "T1-GT-1",
        end=partial(TurnAround, distance=21, least=BGT_ETU),
    ),
    Defect(
        "block-guard-22-etu",
        "T=1: answers 22 etu after the terminal's block",
        end=partial(TurnAround, distance=22, least=BGT_ETU),
    ),
    Defect(
        "character-waiting-1-etu-early", "T=1: pauses once 1 etu less than CWT", end=partial(PausedBlock, distance=-1)
    ),
    Defect("character-waiting-at-limit", "T=1: pauses once for CWT", end=partial(PausedBlock, distance=0)),
    Defect(
        "character-waiting-1-etu-late",
        "T=1: pauses once 1 etu more than CWT",
        "T1-WT-1",
        end=partial(PausedBlock, distance=1),
    ),
    Defect(
        "block-waiting-1-etu-early", "T=1: answers once 1 etu before BWT runs out", end=partial(LateBlock, distance=-1)
    ),
    Defect("block-waiting-at-limit", "T=1: answers once just when BWT runs out", end=partial(LateBlock, distance=0)),
    Defect(
        "block-waiting-1-etu-late",
        "T=1: answers once 1 etu after BWT, without S(WTX)",
        "T1-WT-2",
        end=partial(LateBlock, distance=1),
    ),
    _atr_delay(399, "ATR-TIME-1"),
    _atr_delay(400),
    _atr_delay(401),
    _atr_delay(39_999),
    _atr_delay(40_000),
    _atr_delay(40_001, "ATR-TIME-1"),
    Defect(
        "atr-gap-9599-etu", "pauses 9599 etu in its answer to reset", end=partial(Pause, distance=INITIAL_WT_ETU - 1)
    ),
    Defect("atr-gap-9600-etu", "pauses 9600 etu in its answer to reset", end=partial(Pause, distance=INITIAL_WT_ETU)),
    Defect(
        "atr-gap-9601-etu",
        "pauses 9601 etu in its answer to reset",
        "ATR-TIME-2",
        end=partial(Pause, distance=INITIAL_WT_ETU + 1),
    ),
    Defect(
        "etu-2-percent-long",
        "has an etu 2 % long: its last edge is 0.2 etu late",
        end=partial(OwnEtu, factor=Fraction(102, 100)),
    ),
    Defect(
        "etu-3-percent-long",
        "has an etu 3 % long: its last edge is 0.3 etu late",
        "CHAR-EDGE-1",
        end=partial(OwnEtu, factor=Fraction(103, 100)),
    ),
)


def _nowhere(_burst: Burst) -> None:
    pass
