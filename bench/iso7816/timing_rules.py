"""The rules of character timing as a table, and what an interval judged by one of them looks like (ISO/IEC 7816-3:2006).

Each rule has one bound. With value v, limit l, uncertainty u (half-width) and an allowance t that the laboratory states, "at least" is

    pass where v - u >= l - t,    fail where v + u < l - t,    inconclusive otherwise,

and "at most" the mirror image. The model has u = t = 0, so that a tick decides; a capture has its calibration.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum
from fractions import Fraction
from typing import Final

from bench.iso7816 import rates
from bench.iso7816.rates import Rate
from bench.iso7816.session import Side
from bench.observe import Verdict

EDGE_TOLERANCE_ETU: Final = Fraction(1, 5)
"""How far an edge of a character may lie from its place (7.2): 0.2 etu."""


class Bound(StrEnum):
    """On which side of its limit an interval has to lie."""

    AT_LEAST = "at least"
    AT_MOST = "at most"


class TimingRule(Enum):
    """Every rule: its name in files, bound, clause, text."""

    ATR_EARLIEST = "atr_earliest", Bound.AT_LEAST, "6.2.2", "from RST to the answer, at least 400 clock cycles"
    ATR_LATEST = "atr_latest", Bound.AT_MOST, "6.2.2", "from RST to the answer, at most 40 000 clock cycles"
    ATR_GUARD = "atr_guard", Bound.AT_LEAST, "8.1", "between characters of the answer to reset, at least 12 etu"
    ATR_WAITING = "atr_waiting", Bound.AT_MOST, "8.1", "between characters of the answer to reset, at most 9600 etu"
    PPS_GUARD = "pps_guard", Bound.AT_LEAST, "9.1", "between characters of PPS, at least the guard time"
    PPS_WAITING = "pps_waiting", Bound.AT_MOST, "9.1", "between characters of PPS, at most 9600 etu"
    GUARD = "guard", Bound.AT_LEAST, "8.3", "between characters of one direction, at least the guard time"
    TURNAROUND = (
        "turnaround",
        Bound.AT_LEAST,
        "10.2",
        "between characters of opposite directions on T=0, at least 16 etu",
    )
    WWT = "work_waiting", Bound.AT_MOST, "10.2", "before a character of the card on T=0, at most the work waiting time"
    BGT = "block_guard", Bound.AT_LEAST, "11.4.3", "between characters of opposite directions on T=1, at least 22 etu"
    CWT = "character_waiting", Bound.AT_MOST, "11.4.3", "between characters of a block, at most CWT"
    BWT = "block_waiting", Bound.AT_MOST, "11.4.3", "before the card's block, at most BWT (as extended by WTX)"
    EDGE = "edge", Bound.AT_MOST, "7.2", "an edge from its place within a character, at most 0.2 etu"
    SIGNAL_EARLIEST = "error_signal_earliest", Bound.AT_LEAST, "7.3", "an error signal begins at 10.3 etu or later"
    SIGNAL_LATEST = "error_signal_latest", Bound.AT_MOST, "7.3", "an error signal begins at 10.7 etu or earlier"
    SIGNAL_SHORTEST = "error_signal_shortest", Bound.AT_LEAST, "7.3", "an error signal lasts 1 etu or longer"
    SIGNAL_LONGEST = "error_signal_longest", Bound.AT_MOST, "7.3", "an error signal lasts 2 etu or less"
    REPETITION = "repetition", Bound.AT_LEAST, "7.3", "a character is repeated 13 etu later or later still"

    @property
    def label(self) -> str:
        """Its name in files and tables."""
        return self.value[0]

    @property
    def bound(self) -> Bound:
        return self.value[1]

    @property
    def clause(self) -> str:
        """The clause of ISO/IEC 7816-3:2006."""
        return self.value[2]

    @property
    def text(self) -> str:
        return self.value[3]


WITHOUT_ALLOWANCE: Final = frozenset(
    {
        TimingRule.ATR_EARLIEST,
        TimingRule.ATR_LATEST,
        TimingRule.EDGE,
        TimingRule.SIGNAL_EARLIEST,
        TimingRule.SIGNAL_LATEST,
        TimingRule.SIGNAL_SHORTEST,
        TimingRule.SIGNAL_LONGEST,
    }
)
"""Rules in clock cycles, and those that are tolerances already."""


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """Half-width of what is known of an interval: a constant part in ticks, and a part of the interval itself."""

    ticks: Fraction = Fraction(0)
    ppm: Fraction = Fraction(0)

    def of(self, interval: int | Fraction) -> Fraction:
        """For an interval of so many ticks."""
        return self.ticks + abs(Fraction(interval)) * self.ppm / 1_000_000


EXACT: Final = Uncertainty()


@dataclass(frozen=True, slots=True)
class TimingConditions:
    """What times are counted in: the card clock, ticks a second, what is uncertain about them, and the allowance in etu."""

    clock_hz: int
    hz: int
    uncertainty: Uncertainty = EXACT
    allowance_etu: Fraction = Fraction(0)

    def __post_init__(self) -> None:
        rates.check_clock(self.clock_hz)

    @property
    def cycle(self) -> Fraction:
        """A clock cycle in ticks."""
        return Fraction(self.hz, self.clock_hz)

    def etu(self, rate: Rate) -> Fraction:
        """An etu of `rate` in ticks."""
        return rate.etu_cycles * self.cycle


@dataclass(frozen=True, slots=True)
class Interval:
    """One interval, judged. Times in ticks; `etu` and `cycle` say how long those are."""

    number: int
    """The character it ends with, from 1."""
    rule: TimingRule
    side: Side | None
    """Who answers for it; None where a capture does not tell."""
    value: int | Fraction
    limit: Fraction
    uncertainty: Fraction
    allowance: Fraction
    etu: Fraction
    cycle: Fraction
    room: Fraction
    """Ticks by which the value keeps the limit; negative where it does not."""
    verdict: Verdict
    note: str = ""

    @property
    def value_etu(self) -> float:
        return float(self.value / self.etu)

    @property
    def limit_etu(self) -> float:
        return float(self.limit / self.etu)

    @property
    def uncertainty_etu(self) -> float:
        return float(self.uncertainty / self.etu)

    @property
    def value_cycles(self) -> float:
        return float(self.value / self.cycle)

    @property
    def limit_cycles(self) -> float:
        return float(self.limit / self.cycle)

    @property
    def uncertainty_cycles(self) -> float:
        return float(self.uncertainty / self.cycle)

    def __str__(self) -> str:
        sender = f" from the {self.side}" if self.side else ""
        uncertain = (
            f" ± {self.uncertainty_etu:.4g} etu (± {self.uncertainty_cycles:.4g} clocks)" if self.uncertainty else ""
        )
        allowed = f", {float(self.allowance / self.etu):.4g} etu allowed beyond" if self.allowance else ""
        return (
            f"character {self.number}{sender}: {self.rule.label} is {self.value_etu:.10g} etu "
            f"({self.value_cycles:.10g} clocks){uncertain}, {self.rule.bound} {self.limit_etu:.10g} etu "
            f"({self.limit_cycles:.10g} clocks) is required{allowed} (ISO/IEC 7816-3, {self.rule.clause})"
            + (f": {self.note}" if self.note else "")
            + (": both sides send at once" if self.value < 0 else "")
        )


def room_of(value: int | Fraction, bound: Bound, limit: Fraction) -> Fraction:
    """By how much a value keeps its limit; negative where it does not."""
    return value - limit if bound is Bound.AT_LEAST else limit - value


def verdict_of(room: Fraction, uncertainty: Fraction, allowance: Fraction) -> Verdict:
    """Pass, fail or inconclusive, as this module's docstring says."""
    room += allowance
    if room >= uncertainty:
        return Verdict.PASS
    return Verdict.FAIL if room < -uncertainty else Verdict.INCONCLUSIVE
