"""Rates, times and limits at a card clock: the table behind `cardbench rates`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from bench.iso7816 import rates
from bench.iso7816.errors import RateError
from bench.iso7816.explain import Duration, number, table
from bench.iso7816.rates import Rate


@dataclass(frozen=True, slots=True)
class RateRow:
    """One rate at the clock of the table.

    `t0_bytes_per_s` and `t1_bytes_per_s` are what characters every 12 or 11 etu carry: no protocol on top can be
    faster.
    """

    ta1: str
    f: int
    d: int
    fmax_hz: int
    etu_cycles: Fraction
    baud: float
    character_t0_s: float
    t0_bytes_per_s: float
    t1_bytes_per_s: float


@dataclass(frozen=True, slots=True)
class RatesExplanation:
    """Rates at `clock_hz`. `ta1` is None for the table of all rates, else the card whose range and times are shown.

    `above_fmax` counts the codes left out because the clock lies above their f(max).
    """

    clock_hz: int
    ta1: str | None
    rows: tuple[RateRow, ...]
    above_fmax: int
    times: tuple[Duration, ...]

    def text(self) -> str:
        """For people."""
        if self.ta1 is None:
            title = f"rates at clock_hz={self.clock_hz}"
        else:
            title = f"rates that a card with ta1={self.ta1} may be swept over at clock_hz={self.clock_hz}"
        head = ("ta1", "F", "D", "clk/etu", "bit/s", "character (12 etu)", "T=0 at most", "T=1 at most", "f(max)")
        body = [
            (
                row.ta1,
                str(row.f),
                str(row.d),
                number(row.etu_cycles),
                f"{row.baud:.1f}",
                f"{row.character_t0_s * 1e6:.3f} µs",
                f"{row.t0_bytes_per_s:.1f} B/s",
                f"{row.t1_bytes_per_s:.1f} B/s",
                f"{row.fmax_hz / 1e6:g} MHz",
            )
            for row in self.rows
        ]
        parts = [title, table([head, *body])]
        if self.above_fmax:
            parts.append(f"left out: {self.above_fmax} codes whose f(max) lies below {self.clock_hz} Hz")
        if self.times:
            parts.append(
                f"times at ta1={self.ta1}, default WI, BWI, CWI and N\n" + table([t.row() for t in self.times])
            )
        return "\n\n".join(parts)


def explain_rates(clock_hz: int, ta1: int | None = None) -> RatesExplanation:
    """Every rate usable at a card clock in hertz, or those of one card.

    Raises RateError for a clock that is not positive, a reserved TA1, or a clock above that TA1's f(max).
    """
    rates.check_clock(clock_hz)
    if ta1 is None:
        every = rates.all_rates()
        usable = tuple(rate for rate in every if clock_hz <= rate.fmax_hz)
        return RatesExplanation(
            clock_hz, None, tuple(_row(rate, clock_hz) for rate in usable), len(every) - len(usable), ()
        )
    own = Rate(ta1)
    if clock_hz > own.fmax_hz:
        raise RateError(
            f"clock_hz={clock_hz} lies above f(max) of {own}, {own.fmax_hz} Hz (ISO/IEC 7816-3, 8.3, table 7); "
            "no rate may be used with this card at that clock"
        )
    rows = tuple(_row(rate, clock_hz) for rate in rates.sweep_range(ta1, clock_hz))
    return RatesExplanation(clock_hz, f"{ta1:02X}", rows, 0, tuple(_times(own, clock_hz)))


def _row(rate: Rate, clock_hz: int) -> RateRow:
    baud = rate.baud(clock_hz)
    return RateRow(
        ta1=f"{rate.ta1:02X}",
        f=rate.f,
        d=rate.d,
        fmax_hz=rate.fmax_hz,
        etu_cycles=rate.etu_cycles,
        baud=float(baud),
        character_t0_s=float(rates.GUARD_ETU / baud),
        t0_bytes_per_s=float(baud / rates.GUARD_ETU),
        t1_bytes_per_s=float(baud / rates.GUARD_ETU_T1_SHORT),
    )


def _times(rate: Rate, clock_hz: int) -> Iterator[Duration]:
    etu = rate.etu_cycles
    rows: tuple[tuple[str, Fraction, str, str], ...] = (
        ("GT", rates.GUARD_ETU * etu, "least between characters", "8.3"),
        ("GT", rates.GUARD_ETU_T1_SHORT * etu, "the same under T=1 with TC1 = FF", "11.2"),
        ("turn-around", rates.TURNAROUND_T0_ETU * etu, "least between opposite directions, T=0", "10.2"),
        ("BGT", rates.BGT_ETU * etu, "least between opposite directions, T=1", "11.4.3"),
        ("WWT", Fraction(rates.wwt_cycles(10, rate.f)), "WI = 10: longest between characters, T=0", "10.2"),
        ("CWT", rates.cwt_etu(13) * etu, "CWI = 13: longest within a block", "11.4.3"),
        ("BWT", rates.bwt_cycles(4, rate), "BWI = 4: longest until the answer", "11.4.3"),
    )
    for name, cycles, meaning, clause in rows:
        yield Duration.of(name, cycles, etu, clock_hz, meaning, clause)
