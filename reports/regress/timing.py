"""Timings against the history: change points since the baseline, how sure they are, when they began and what changed with them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from reports.regress.history import History, differences
from reports.regress.model import Certainty, Course, FactChange, NoiseFloor, SeriesTurn, TimingTally
from reports.regress.nights import Night, NightSeries
from reports.stats.changes import (
    FALSE_ALARMS,
    FIRST_NIGHT,
    GATE,
    Change,
    changes,
    night_correlation,
    night_spread,
    stands_out,
)
from reports.stats.family import holm
from reports.stats.scipy_functions import Floats
from reports.timings import Better

FAMILY_ALPHA: Final = 0.05
DETECTABLE_SIGMAS: Final = 2.9
"""A shift of so many deviations of the nights is found within seven nights in 95 % of series (docs/regress.md, measured)."""
MOST_CORRELATION: Final = 0.3
"""Where neighbouring nights hang together more than this, no change is called sure: the tests take nights to be independent (docs/regress.md)."""
_LOOKED_AT: Final = 70
_COUNTS_AS_ONE: Final = 1e-9
"""Two shares that differ by less are the same."""


@dataclass(frozen=True, slots=True)
class TimingFindings:
    """What the timings say."""

    turns: tuple[SeriesTurn, ...]
    earlier: tuple[SeriesTurn, ...]
    noise: tuple[NoiseFloor, ...]
    tally: TimingTally


@dataclass(frozen=True, slots=True)
class _Followed:
    """One series with its change points (places in `nights`), and what stands against the baseline."""

    series: NightSeries
    nights: Sequence[Night]
    exact: bool
    gate: float
    found: tuple[Change, ...]
    standing: Change | None
    level_before: float
    one_night: float | None
    correlation: float


def judge_timings(history: History, series: Sequence[NightSeries], gate: float = GATE) -> TimingFindings:
    """Follow every series over the runs and tell what is at another level than at the baseline."""
    baseline = -1 if history.baseline is None else history.baseline
    followed = [_follow(one, baseline, gate) for one in series]
    strengths = [0.0 if one.exact else one.standing.p if one.standing else 1.0 for one in followed]
    # Exact series are no hypotheses: they do not count into the family.
    statistical = [place for place, one in enumerate(followed) if not one.exact]
    adjusted = dict(zip(statistical, holm([strengths[place] for place in statistical]), strict=True))
    suspects = _Suspects(history)
    turns: list[SeriesTurn] = []
    earlier: list[SeriesTurn] = []
    for place, one in enumerate(followed):
        certainty = Certainty.EXACT if one.exact else Certainty.SEEMS
        if not one.exact and adjusted[place] <= FAMILY_ALPHA and not one.correlation > MOST_CORRELATION:
            certainty = Certainty.SURE
        if one.standing is not None:
            turns.append(_turn(one, one.standing, one.level_before, certainty, history, suspects))
        elif one.one_night is not None:
            turns.append(_single(one, history))
        old = [change for change in one.found if change is not one.standing]
        kind = Certainty.EXACT if one.exact else Certainty.SEEMS
        earlier += [_turn(one, change, change.before, kind, history, suspects) for change in old]
    turns.sort(key=_gravity)
    earlier.sort(key=lambda turn: (turn.began, -abs(turn.shift)))
    noise = tuple(_noise(one) for one in followed if not one.exact)
    return TimingFindings(tuple(turns), tuple(earlier), noise, _tally(followed))


def _follow(series: NightSeries, baseline: int, gate: float) -> _Followed:
    nights = series.alike()
    exact = nights[-1].seed is not None
    values = np.array([night.median for night in nights])
    coarse = max(night.resolution for night in nights) / float(np.median(values))
    own_gate = max(gate, coarse)
    found = _exact_changes(values, own_gate) if exact else changes(values, own_gate)
    # The place of the baseline among this series' nights: the last one not after it.
    anchor = sum(night.run <= baseline for night in nights) - 1
    after = [change for change in found if change.began > max(anchor, 0)]
    standing, level = None, float("nan")
    if after:
        level = after[0].before
        now = after[-1].after
        if abs(now / level - 1) >= own_gate - _COUNTS_AS_ONE:
            standing = after[-1]
    start = found[-1].began if found else 0
    correlation = float("nan") if exact else night_correlation(values[-_LOOKED_AT:], _last_step(found, values))
    single = None if exact or standing else stands_out(values, start, own_gate)
    return _Followed(series, nights, exact, own_gate, tuple(found), standing, level, single, correlation)


def _exact_changes(values: Floats, gate: float) -> list[Change]:
    """Every step of at least the gate between neighbours: such times repeat to the nanosecond, so each is real."""
    return [
        Change(place, place, float(values[place - 1]), float(values[place]), 0.0)
        for place in range(1, len(values))
        if abs(values[place] / values[place - 1] - 1) >= gate - _COUNTS_AS_ONE
    ]


def _last_step(found: Sequence[Change], values: Floats) -> list[Change]:
    """The last change alone, counted in the nights that the correlation is taken from: a series that has several wanders, and that must show."""
    skipped = max(0, len(values) - _LOOKED_AT)
    return [replace(change, began=change.began - skipped) for change in found[-1:] if change.began > skipped]


class _Suspects:
    """What changed between two runs, asked for many series, found once."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._known: dict[tuple[int, int], tuple[FactChange, ...]] = {}

    def between(self, before: int, after: int) -> tuple[FactChange, ...]:
        key = (before, after)
        if key not in self._known:
            self._known[key] = differences(self._history.runs[before], self._history.runs[after])
        return self._known[key]


def _turn(
    one: _Followed, change: Change, level: float, certainty: Certainty, history: History, suspects: _Suspects
) -> SeriesTurn:
    first, before = one.nights[change.began], one.nights[change.began - 1]
    shift = change.after / level - 1
    return SeriesTurn(
        scenario=one.series.key.scenario,
        point=one.series.key.point,
        name=one.series.key.name,
        unit=one.series.key.unit,
        course=_course(shift, one.series.better),
        certainty=certainty,
        before=level,
        after=change.after,
        shift=shift,
        began=history.runs[first.run].label,
        found=history.runs[one.nights[change.found].run].label,
        p=change.p,
        suspects=suspects.between(before.run, first.run),
    )


def _single(one: _Followed, history: History) -> SeriesTurn:
    assert one.one_night is not None
    now = one.nights[-1].median
    whole = Change(len(one.nights) - 1, len(one.nights) - 1, now / (1 + one.one_night), now, float("nan"))
    turn = _turn(one, whole, whole.before, Certainty.ONE_NIGHT, history, _Suspects(history))
    return replace(turn, p=1.0)


def _course(shift: float, better: Better) -> Course:
    if better is Better.NEITHER:
        return Course.CHANGED
    return Course.WORSE if (shift > 0) == (better is Better.LESS) else Course.BETTER


def _gravity(turn: SeriesTurn) -> tuple[int, int, float]:
    return list(Certainty).index(turn.certainty), list(Course).index(turn.course), -abs(turn.shift)


def _noise(one: _Followed) -> NoiseFloor:
    now = one.nights[-1]
    values = np.array([night.median for night in one.nights])
    spread = night_spread(values, list(one.found))
    floor = max(one.gate, 0.0 if math.isnan(spread) else DETECTABLE_SIGMAS * spread)
    key = one.series.key
    return NoiseFloor(
        scenario=key.scenario,
        point=key.point,
        name=key.name,
        unit=key.unit,
        median=now.median,
        nights=len(one.nights),
        resolution=now.resolution / now.median,
        median_error=now.error / now.median,
        night_spread=spread,
        correlation=one.correlation,
        detectable=float("nan") if math.isnan(spread) else floor,
    )


def _tally(followed: Sequence[_Followed]) -> TimingTally:
    exact = [one for one in followed if one.exact]
    real = [one for one in followed if not one.exact]
    long = [one for one in real if len(one.nights) > FIRST_NIGHT]
    below = sum(
        len(one.nights) > 1 and 0 < abs(one.nights[-1].median / one.nights[-2].median - 1) < one.gate for one in exact
    )
    return TimingTally(
        series=len(followed),
        exact=len(exact),
        followed=len(long),
        too_short=len(real) - len(long),
        below_gate=below,
        expected_false_alarms=FALSE_ALARMS * len(long),
    )
