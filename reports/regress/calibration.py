"""The alarm held against nights on which nothing changed: how often does it cry wolf on a lab's own?

The nights are judged shuffled, which leaves their scatter and takes away what hangs together, and in the order they came, which has both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from reports.errors import ReportError
from reports.numbers import percent
from reports.regress.history import history
from reports.regress.model import Options
from reports.regress.nights import series_of
from reports.stats.changes import BEFORE, FALSE_ALARMS, RECENT, look, night_correlation, night_spread
from reports.stats.scipy_functions import Floats
from reports.stats.simulate import SEED, Rate

THRESHOLDS: Final = (None, 0.0005, 0.001, 0.002, 0.0042, 0.008, 0.016)
"""Two-sided p of the rank rule at which alarms are counted; None is the rule as it is in use."""
WINDOW: Final = BEFORE + RECENT
SHUFFLES: Final = 1000


@dataclass(frozen=True, slots=True)
class Step:
    """Alarms at one threshold."""

    threshold: float | None
    shuffled: Rate
    in_order: Rate


@dataclass(frozen=True, slots=True)
class Calibration:
    """What the nights tell: how many runs and series, their typical scatter and how they hang together, and the alarms at each threshold."""

    runs: int
    series: int
    spread: float
    correlation: float
    steps: tuple[Step, ...]

    @property
    def sound(self) -> bool:
        """Whether the threshold in use keeps its promise on these nights, shuffled."""
        return any(step.threshold is None and step.shuffled.value <= FALSE_ALARMS for step in self.steps)


def calibrate(directories: Sequence[Path], options: Options | None = None) -> Calibration:
    """Judge all nights below `directories` as if nothing had changed. Raises ReportError where fewer than 35 have a series that scatters."""
    chosen = options or Options()
    past = history(directories, chosen)
    series, _, _ = series_of(past.runs)
    rows = [np.array([night.median for night in one.alike()]) for one in series if one.nights[-1].seed is None]
    rows = [values for values in rows if len(values) >= WINDOW and np.ptp(values) > 0]
    if not rows:
        raise ReportError(
            f"{len(past.runs)} runs of this rig hold no series of {WINDOW} nights on a real clock; calibrate with as many as that"
        )
    steps = tuple(_step(rows, threshold, chosen.gate) for threshold in THRESHOLDS)
    return Calibration(
        runs=len(past.runs),
        series=len(rows),
        spread=float(np.median([night_spread(values, []) for values in rows])),
        correlation=float(np.nanmedian([night_correlation(values, []) for values in rows])),
        steps=steps,
    )


def render(found: Calibration) -> str:
    """A table for people, in Markdown."""
    scatter = f"nights scatter by {percent(found.spread, False)} (the middle series)"
    resemble = f"neighbours resemble each other by {found.correlation:.2f} (Spearman, likewise)"
    lines = [
        f"{found.series} series over {found.runs} runs; {scatter}, {resemble}.",
        "",
        "| p of the rank rule | alarms, shuffled nights | at most (95 %) | alarms, nights in order |",
        "|---|---|---|---|",
    ]
    for step in found.steps:
        name = "as in use" if step.threshold is None else f"{step.threshold:g}"
        cells = (step.shuffled.value, step.shuffled.upper, step.in_order.value)
        lines.append(f"| {name} | " + " | ".join(f"{100 * cell:.3g} %" for cell in cells) + " |")
    said = "keeps" if found.sound else "does not keep"
    lines += [
        "",
        f"The rule in use {said} to {100 * FALSE_ALARMS:g} % a series and night where nights are independent.",
    ]
    return "\n".join(lines) + "\n"


def _step(rows: Sequence[Floats], threshold: float | None, gate: float) -> Step:
    random = np.random.default_rng(SEED)
    shuffled = in_order = nights = ordered = 0
    for values in rows:
        # Windows of one shuffle have no night in common.
        each = len(values) // WINDOW
        order = np.array([random.permutation(len(values))[: each * WINDOW] for _ in range(SHUFFLES)])
        windows = values[order].reshape(-1, WINDOW)
        shuffled += int(look(windows[:, :BEFORE], windows[:, BEFORE:], gate, threshold).alarm.sum())
        nights += len(windows)
        windows = np.lib.stride_tricks.sliding_window_view(values, WINDOW)
        in_order += int(look(windows[:, :BEFORE], windows[:, BEFORE:], gate, threshold).alarm.sum())
        ordered += len(windows)
    return Step(threshold, Rate(shuffled, nights), Rate(in_order, ordered))
