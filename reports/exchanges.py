"""The two large tables, exchanges and packets, aggregated per point and per rate.

Quantiles are exact, and the interval of a median is a pair of order statistics (`reports.stats.medians`): every duration that counts is kept in
memory, 8 bytes a row, and nothing else of a row is. Rows that stand for several idle polls, and exchanges that ended in an error, count in the sums
and not in the distribution.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from reports import duck
from reports.duck import COUNTS, PACKET_KEYS, PARTS, SUMS
from reports.errors import TableError
from reports.load import Records
from reports.points import baud, rate_label
from reports.stats.medians import order_below
from reports.verdicts import natural

KEYS: Final = ["run", *duck.KEYS]
RATE: Final = ["level", "ta1", "clock_hz"]
QUANTILES: Final = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
QUANTILE_NAMES: Final = ("shortest_ns", "p05_ns", "p25_ns", "median_ns", "p75_ns", "p95_ns", "longest_ns")
INTERVAL_NAMES: Final = ("median_low_ns", "median_high_ns")
"""The ends of the 95 % interval of the median; NaN where fewer than six exchanges cannot bound it."""

_Durations = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ExchangeStatistics:
    """`by_point`: a row per run, scenario, point, level and rate. `by_rate`: a row per level and rate, over all runs.

    `parts`: a row per run, level and rate with how many exchanges ended well (`count`) and the sums of `PARTS` over them.
    """

    by_point: pd.DataFrame
    by_rate: pd.DataFrame
    parts: pd.DataFrame
    notes: tuple[str, ...]


def exchange_statistics(records: Records) -> ExchangeStatistics:
    """Aggregate the exchanges of all runs. A table that is missing or damaged becomes a note."""
    durations: list[_Durations] = []
    frames: list[pd.DataFrame] = []
    notes = []
    for run in records.runs:
        file = run.table("exchanges")
        if file is None:
            notes.append(f"{run.label}: there is no table of exchanges, so times of exchanges are not shown.")
            continue
        try:
            groups = duck.exchange_groups(file)
        except TableError as cause:
            notes.append(f"{run.label}: {cause}; times of its exchanges are left out.")
            continue
        if len(groups.frame):
            durations += groups.durations
            frames.append(groups.frame.assign(run=run.label))
    if not frames:
        return _nothing(tuple(notes))
    whole = pd.concat(frames, ignore_index=True)
    return _finish(whole, durations, tuple(notes))


def packet_counts(records: Records) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Packets and bytes per run, scenario, point, kind and direction, and notes on tables that cannot be read."""
    pieces: list[pd.DataFrame] = []
    notes = []
    for run in records.runs:
        file = run.table("packets")
        if file is None:
            notes.append(f"{run.label}: there is no table of packets.")
            continue
        try:
            pieces.append(duck.packet_groups(file).assign(run=run.label))
        except TableError as cause:
            notes.append(f"{run.label}: {cause}; its packets are not counted.")
    keys = ["run", *PACKET_KEYS]
    columns = [*keys, "packets", "bytes"]
    filled = [piece for piece in pieces if len(piece)]
    if not filled:
        return pd.DataFrame(columns=columns), tuple(notes)
    return _ordered(pd.concat(filled, ignore_index=True), keys)[columns], tuple(notes)


def _finish(whole: pd.DataFrame, durations: list[_Durations], notes: tuple[str, ...]) -> ExchangeStatistics:
    """`durations` has an array for each row of `whole`."""
    by_point = whole.join(_distribution(durations))
    columns = [*KEYS, *COUNTS, *SUMS, *QUANTILE_NAMES, *INTERVAL_NAMES]
    kept = whole[whole["kept"] > 0]
    parts = kept.groupby(["run", *RATE], sort=False)[["kept", *(f"kept_{name}" for name in PARTS)]].sum().reset_index()
    parts = parts.rename(columns={"kept": "count"} | {f"kept_{name}": name for name in PARTS})
    return ExchangeStatistics(
        _ordered(by_point, KEYS)[columns], _by_rate(whole, durations), _ordered(parts, ["run", *RATE]), notes
    )


def _by_rate(whole: pd.DataFrame, durations: list[_Durations]) -> pd.DataFrame:
    places = whole.groupby(RATE, sort=False, dropna=False).ngroup().to_numpy()
    sums = whole.groupby(RATE, sort=False, dropna=False)[[*COUNTS, *SUMS]].sum().reset_index()
    members = [np.flatnonzero(places == place) for place in range(len(sums))]
    pooled = _distribution(np.concatenate([durations[one] for one in rows]) for rows in members)
    by_rate = sums.join(pooled)
    pairs = [(int(ta1), int(clock)) for ta1, clock in zip(by_rate["ta1"], by_rate["clock_hz"], strict=True)]
    by_rate = by_rate.assign(
        rate=[rate_label(*pair) for pair in pairs],
        baud=pd.Series([baud(*pair) for pair in pairs], dtype="float64"),
    )
    return by_rate.sort_values(["baud", "ta1", "clock_hz", "level"], kind="stable", ignore_index=True)


def _distribution(groups: Iterable[_Durations]) -> pd.DataFrame:
    """Quantiles (linear between neighbours) and the interval of the median, a row a group; NaN for a group without a duration."""
    rows = [_order_statistics(durations) for durations in groups]
    names = [*QUANTILE_NAMES, *INTERVAL_NAMES]
    return pd.DataFrame(np.array(rows).reshape(-1, len(names)), columns=pd.Index(names))


def _order_statistics(durations: _Durations) -> npt.NDArray[np.float64]:
    found = np.full(len(QUANTILES) + 2, np.nan)
    count = len(durations)
    if not count:
        return found
    found[: len(QUANTILES)] = np.quantile(durations, QUANTILES)
    outside = order_below(count)
    if outside is not None:
        found[len(QUANTILES) :] = np.partition(durations, [outside, count - 1 - outside])[
            [outside, count - 1 - outside]
        ]
    return found


def _nothing(notes: tuple[str, ...]) -> ExchangeStatistics:
    names = [*COUNTS, *SUMS, *QUANTILE_NAMES, *INTERVAL_NAMES]
    return ExchangeStatistics(
        pd.DataFrame(columns=[*KEYS, *names]),
        pd.DataFrame(columns=[*RATE, *names, "rate", "baud"]),
        pd.DataFrame(columns=["run", *RATE, "count", *PARTS]),
        notes,
    )


def _ordered(frame: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """As people count; what they count alike (01 and 1), as texts: groups come from the database in no order."""
    rows = list(frame[keys].astype(str).itertuples(index=False, name=None))
    order = sorted(range(len(rows)), key=lambda place: (tuple(natural(text) for text in rows[place]), rows[place]))
    return frame.iloc[order].reset_index(drop=True)
