"""Put together what `compare` says: read the sides, pair the series, test them as one family."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Final

import numpy as np

from bench.observe import Verdict
from reports.compare.judge import Result, Units, adjust, finding, tested, units_of_exchanges, units_of_runs
from reports.compare.model import (
    Basis,
    Comparison,
    Difference,
    Finding,
    Options,
    Profile,
    Side,
    Unlike,
    VerdictDifference,
)
from reports.errors import ReportError
from reports.load import Run, find_runs, load_verdicts
from reports.regress.history import began, rig_of
from reports.stats.medians import median_of
from reports.stats.profiles import similarity
from reports.stats.scipy_functions import Floats, kolmogorov_distance
from reports.timings import Sample, SeriesKey, What, timings_of, virtual_points
from reports.verdicts import natural, worst

MOST_SIDES: Final = 26
_UNLIKE: Final = (
    "rigs.*.name",
    "rigs.*.reader",
    "rigs.*.driver",
    "rigs.*.firmware",
    "rigs.*.atr",
    "rigs.*.clock_hz",
    "rigs.*.sha256",
    "station",
    "seed",
    "environment.kernel",
    "environment.cpu",
    "environment.python",
    "environment.cardbench",
    "environment.commit",
)


@dataclass(frozen=True, slots=True)
class _Loaded:
    """One side with its samples by series and run."""

    side: Side
    runs: tuple[Run, ...]
    samples: Mapping[SeriesKey, Sequence[Sample]]
    virtual: frozenset[tuple[str, str]]
    worst: Mapping[tuple[str, str], Verdict]


@dataclass(frozen=True, slots=True)
class _Pair:
    """One series of two sides, with what its test sees, if anything."""

    first: _Loaded
    second: _Loaded
    key: SeriesKey
    units: Units | None
    capped: bool
    why: str


def compare(sides: Sequence[Path], options: Options | None = None) -> Comparison:
    """Set the runs below each of `sides` side by side. Raises ReportError where one holds no run, or they have no series in common."""
    chosen = options or Options()
    if not 2 <= len(sides) <= MOST_SIDES:
        raise ReportError(
            f"{len(sides)} given; name 2 to {MOST_SIDES} folders, each with the runs of one card or reader"
        )
    notes: list[str] = []
    loaded = [_load(chr(ord("A") + place), path, notes) for place, path in enumerate(sides)]
    _no_run_twice(loaded)
    couples = list(combinations(loaded, 2)) if chosen.all_pairs else [(loaded[0], other) for other in loaded[1:]]
    pairs = [pair for first, second in couples for pair in _pairs(first, second, chosen)]
    if not pairs:
        raise ReportError("the runs have no series of timings in common; run the same scenarios on each side")
    results = {place: tested(pair.units) for place, pair in enumerate(pairs) if pair.units is not None}
    adjusted = dict(zip(results, adjust(list(results.values())), strict=True))
    differences = [
        _difference(pair, results.get(place), adjusted.get(place), chosen.margin) for place, pair in enumerate(pairs)
    ]
    if any(pair.capped for pair in pairs):
        notes.append(
            "One run a side on a real clock tells these two runs apart, not yet two cards: what differs only seems to. "
            "Take 14 runs or so of each, in turns."
        )
    return Comparison(
        sides=tuple(one.side for one in loaded),
        differences=tuple(differences),
        profiles=tuple(_profile(first, second) for first, second in combinations(loaded, 2)),
        verdicts=_verdict_differences(loaded),
        unlike=_unlike(loaded),
        family=sum(value is not None for value in adjusted.values()),
        margin=chosen.margin,
        notes=tuple(dict.fromkeys(notes)),
    )


def _load(letter: str, path: Path, notes: list[str]) -> _Loaded:
    runs = tuple(sorted(find_runs([path]), key=began))
    samples: dict[SeriesKey, list[Sample]] = {}
    virtual: set[tuple[str, str]] = set()
    for run in runs:
        timings, amiss = timings_of(run)
        notes += [f"{letter}: {note}" for note in amiss]
        virtual |= virtual_points(run).keys()
        for key, sample in timings.items():
            samples.setdefault(key, []).append(sample)
    verdicts, amiss = load_verdicts([path])
    notes += [f"{letter}: {note}" for note in amiss]
    points: dict[tuple[str, str], list[Verdict]] = {}
    for row in verdicts[["scenario", "point", "verdict"]].itertuples(index=False):
        points.setdefault((str(row.scenario), str(row.point)), []).append(Verdict(str(row.verdict)))
    worst_of = {point: found for point, several in points.items() if (found := worst(several)) is not None}
    side = Side(
        letter=letter,
        runs=tuple(run.label for run in runs),
        rig=_several(rig_of(run) for run in runs),
        reader=_several(run.fact("rigs.*.reader") for run in runs),
        atr=_several(run.fact("rigs.*.atr") for run in runs),
        virtual=bool(virtual),
        verdicts=dict(Counter(worst_of.values())),
    )
    return _Loaded(side, runs, samples, frozenset(virtual), worst_of)


def _several(texts: object) -> str:
    assert hasattr(texts, "__iter__")
    return "; ".join(dict.fromkeys(str(text) for text in texts if text))


def _no_run_twice(loaded: Sequence[_Loaded]) -> None:
    seen: dict[Path, str] = {}
    for one in loaded:
        for run in one.runs:
            place = run.path.resolve()
            if place in seen:
                raise ReportError(
                    f"{run.path} belongs to {seen[place]} and to {one.side.letter}; a run can be of one side only"
                )
            seen[place] = one.side.letter


def _pairs(first: _Loaded, second: _Loaded, options: Options) -> list[_Pair]:
    keys = sorted(first.samples.keys() & second.samples.keys(), key=lambda key: key.order)
    alternating = _take_turns(first.runs, second.runs)
    return [_pair(first, second, key, alternating, options) for key in keys]


def _pair(first: _Loaded, second: _Loaded, key: SeriesKey, alternating: bool, options: Options) -> _Pair:
    left, right = first.samples[key], second.samples[key]
    virtual = all((key.scenario, key.point) in side.virtual for side in (first, second))
    if not all(np.all(sample.values > 0) for sample in (*left, *right)):
        return _Pair(first, second, key, None, False, "values of 0 or below have no ratio")
    several = max(len(left), len(right)) > 1 and not virtual
    if several:
        return _Pair(first, second, key, units_of_runs(left, right, alternating), False, "")
    if key.what is What.MEASUREMENT:
        return _Pair(first, second, key, None, False, "one value a side")
    units = units_of_exchanges(left[-1], right[-1])
    capped = not virtual and not options.within_runs
    return _Pair(first, second, key, units, capped, "" if units else "too few exchanges")


def _take_turns(first: Sequence[Run], second: Sequence[Run]) -> bool:
    """Whether the runs of both sides took turns: of each two in time one is of each side."""
    order = sorted([(began(run), 0) for run in first] + [(began(run), 1) for run in second])
    whose = [side for _, side in order]
    return len(first) == len(second) and all(
        set(whose[place : place + 2]) == {0, 1} for place in range(0, len(whose), 2)
    )


def _difference(pair: _Pair, result: Result | None, p_family: float | None, margin: float) -> Difference:
    # A run's median each, where there are several; else the values themselves.
    left, right = _values(pair.first.samples[pair.key]), _values(pair.second.samples[pair.key])
    first, second = median_of(left), median_of(right)
    plain = Difference(
        first=pair.first.side.letter,
        second=pair.second.side.letter,
        key=pair.key,
        first_median=first,
        second_median=second,
        basis=Basis.NONE,
        units=(len(left), len(right)),
        ratio=second.value / first.value if first.value else float("nan"),
        interval=None,
        effect=None,
        p=None,
        p_family=None,
        finding=Finding.NOT_TESTED,
        why=pair.why,
    )
    if result is None or pair.units is None:
        return plain
    if p_family is None:
        sizes = " against ".join(str(size) for size in pair.units.sizes)
        return replace(plain, ratio=result.ratio, why=f"{sizes} {pair.units.basis} cannot show anything")
    return replace(
        plain,
        basis=pair.units.basis,
        units=pair.units.sizes,
        ratio=result.ratio,
        interval=result.interval,
        effect=result.effect,
        p=result.p,
        p_family=p_family,
        finding=finding(result, p_family, margin, pair.capped),
        why="one run a side" if pair.capped else "",
    )


def _values(samples: Sequence[Sample]) -> Floats:
    if len(samples) == 1:
        return samples[0].values
    return np.array([np.median(sample.values) for sample in samples])


def _profile(first: _Loaded, second: _Loaded) -> Profile:
    keys = sorted(
        (key for key in first.samples.keys() & second.samples.keys() if key.what is What.EXCHANGES),
        key=lambda key: key.order,
    )
    if not keys:
        return Profile(first.side.letter, second.side.letter, None)
    sides = [
        [np.concatenate([sample.values for sample in side.samples[key]]) for key in keys] for side in (first, second)
    ]
    medians = [np.array([np.median(values) for values in side]) for side in sides]
    overlaps = np.array([1 - kolmogorov_distance(left, right) for left, right in zip(*sides, strict=True)])
    return Profile(first.side.letter, second.side.letter, similarity(medians[0], medians[1], overlaps))


def _verdict_differences(loaded: Sequence[_Loaded]) -> tuple[VerdictDifference, ...]:
    points = sorted(
        {point for one in loaded for point in one.worst}, key=lambda point: (natural(point[0]), natural(point[1]))
    )
    rows = [VerdictDifference(*point, tuple(one.worst.get(point) for one in loaded)) for point in points]
    return tuple(row for row in rows if len(set(row.verdicts)) > 1)


def _unlike(loaded: Sequence[_Loaded]) -> tuple[Unlike, ...]:
    rows = [Unlike(name, tuple(_several(run.fact(name) for run in one.runs) for one in loaded)) for name in _UNLIKE]
    return tuple(row for row in rows if len(set(row.values)) > 1)
