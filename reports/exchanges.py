"""The two large tables, read in pieces: exchanges and packets, aggregated per point and per rate.

Quantiles are exact: only the durations (8 bytes a row) and their group are kept in memory. Rows that stand for several idle polls, and exchanges
that ended in an error, count in the sums and not in the distribution.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from reports.arrow import frames
from reports.errors import TableError
from reports.load import Records
from reports.points import baud, rate_label
from reports.verdicts import natural

KEYS: Final = ["scenario", "point", "level", "ta1", "clock_hz"]
RATE: Final = ["level", "ta1", "clock_hz"]
SUMS: Final = ["sent_bytes", "received_bytes", "characters", "retries", "duration_ns", "wire_ns", "card_ns"]
QUANTILES: Final = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
QUANTILE_NAMES: Final = ("shortest_ns", "p05_ns", "p25_ns", "median_ns", "p75_ns", "p95_ns", "longest_ns")
COUNTS: Final = ["exchanges", "idle_polls", "errors"]
PARTS: Final = ["duration_ns", "host_ns", "reader_ns", "wire_ns", "card_ns", "uncertainty_ns"]
"""Where the time of an exchange went; summed over exchanges that came to their end, each recorded by itself."""

PACKET_KEYS: Final = ["scenario", "point", "kind", "direction"]


@dataclass(frozen=True, slots=True)
class ExchangeStatistics:
    """`by_point`: a row per run, scenario, point, level and rate. `by_rate`: a row per level and rate, over all runs.

    `parts`: a row per run, level and rate with how many exchanges ended well (`count`) and the sums of `PARTS` over them.
    """

    by_point: pd.DataFrame
    by_rate: pd.DataFrame
    parts: pd.DataFrame
    notes: tuple[str, ...]


@dataclass(slots=True)
class _Gathering:
    """Sums of the pieces, and the durations with the group each belongs to."""

    places: dict[tuple[object, ...], int] = field(default_factory=dict)
    sums: list[pd.DataFrame] = field(default_factory=list)
    groups: list[npt.NDArray[np.int32]] = field(default_factory=list)
    durations: list[npt.NDArray[np.int64]] = field(default_factory=list)
    parts: list[pd.DataFrame] = field(default_factory=list)

    def place(self, key: tuple[object, ...]) -> int:
        return self.places.setdefault(key, len(self.places))


def exchange_statistics(records: Records) -> ExchangeStatistics:
    """Aggregate the exchanges of all runs. A table that is missing or damaged becomes a note."""
    gathering = _Gathering()
    notes = []
    for run in records.runs:
        file = run.table("exchanges")
        if file is None:
            notes.append(f"{run.label}: there is no table of exchanges, so times of exchanges are not shown.")
            continue
        before = (len(gathering.sums), len(gathering.groups), len(gathering.parts))
        try:
            _gather(file, run.label, gathering)
        except TableError as cause:
            notes.append(f"{run.label}: {cause}; times of its exchanges are left out.")
            del gathering.sums[before[0] :], gathering.groups[before[1] :], gathering.durations[before[1] :]
            del gathering.parts[before[2] :]
    return _finish(gathering, tuple(notes))


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
            mine = [
                frame.groupby(PACKET_KEYS, observed=True, sort=False)["length_bytes"].agg(["size", "sum"]).reset_index()
                for frame in frames(file, [*PACKET_KEYS, "length_bytes"])
            ]
        except TableError as cause:
            notes.append(f"{run.label}: {cause}; its packets are not counted.")
            continue
        pieces += [_plain(piece).assign(run=run.label) for piece in mine]
    keys = ["run", *PACKET_KEYS]
    if not pieces:
        return pd.DataFrame(columns=[*keys, "packets", "bytes"]), tuple(notes)
    total = pd.concat(pieces, ignore_index=True).groupby(keys, sort=False)[["size", "sum"]].sum().reset_index()
    return _ordered(total.rename(columns={"size": "packets", "sum": "bytes"}), keys), tuple(notes)


def _gather(file: Path, run: str, gathering: _Gathering) -> None:
    columns = list(dict.fromkeys([*KEYS, *SUMS, *PARTS, "count", "error"]))
    for frame in frames(file, columns):
        failed = (frame["error"].fillna("") != "").to_numpy()
        count = frame["count"].to_numpy()
        flagged = frame.assign(
            exchanges=count, idle_polls=np.where(count > 1, count, 0), errors=np.where(failed, count, 0)
        )
        parked = count > 1  # all but the count is of one of them
        if parked.any():
            flagged.loc[parked, SUMS] = flagged.loc[parked, SUMS].mul(count[parked], axis=0)
        grouped = flagged.groupby(KEYS, observed=True, sort=False, dropna=False)
        gathering.sums.append(_plain(grouped[[*COUNTS, *SUMS]].sum().reset_index()).assign(run=run))
        local = grouped.ngroup().to_numpy()
        first = np.unique(local, return_index=True)[1]
        keys = frame[KEYS].iloc[first].astype(object).itertuples(index=False, name=None)
        places = np.array([gathering.place((run, *key)) for key in keys], dtype=np.int32)
        kept = (count == 1) & ~failed
        gathering.groups.append(places[local[kept]])
        gathering.durations.append(frame["duration_ns"].to_numpy(dtype=np.int64)[kept])
        mine = frame.loc[kept, [*RATE, "count", *PARTS]].groupby(RATE, observed=True, sort=False)
        gathering.parts.append(mine.sum().reset_index().assign(run=run))


def _finish(gathering: _Gathering, notes: tuple[str, ...]) -> ExchangeStatistics:
    keys = ["run", *KEYS]
    if not gathering.sums:
        names = [*COUNTS, *SUMS, *QUANTILE_NAMES]
        return ExchangeStatistics(
            pd.DataFrame(columns=[*keys, *names]),
            pd.DataFrame(columns=[*RATE, *names, "rate", "baud"]),
            pd.DataFrame(columns=["run", *RATE, "count", *PARTS]),
            notes,
        )
    total = pd.concat(gathering.sums, ignore_index=True).groupby(keys, sort=False)[[*COUNTS, *SUMS]].sum().reset_index()
    groups = np.concatenate(gathering.groups)
    durations = np.concatenate(gathering.durations)
    known = pd.DataFrame(list(gathering.places), columns=pd.Index(keys))
    by_point = known.join(_quantiles(groups, durations, len(known))).merge(total, on=keys, how="inner")
    rates = known.groupby(RATE, sort=False).ngroup().to_numpy()
    of_rate = known.assign(place=rates).drop_duplicates("place").sort_values("place")[RATE].reset_index(drop=True)
    by_rate = of_rate.join(_quantiles(rates[groups], durations, len(of_rate)))
    by_rate = by_rate.merge(total.groupby(RATE, sort=False)[[*COUNTS, *SUMS]].sum().reset_index(), on=RATE, how="inner")
    pairs = [(int(ta1), int(clock)) for ta1, clock in zip(by_rate["ta1"], by_rate["clock_hz"], strict=True)]
    by_rate = by_rate.assign(
        rate=[rate_label(*pair) for pair in pairs],
        baud=pd.Series([baud(*pair) for pair in pairs], dtype="float64"),
    )
    ordered = by_rate.sort_values(["baud", "ta1", "clock_hz", "level"], kind="stable", ignore_index=True)
    columns = [*keys, *COUNTS, *SUMS, *QUANTILE_NAMES]
    parts = pd.concat(gathering.parts, ignore_index=True).astype({"level": object})
    whole = parts.groupby(["run", *RATE], sort=False)[["count", *PARTS]].sum().reset_index()
    return ExchangeStatistics(_ordered(by_point, keys)[columns], ordered, _ordered(whole, ["run", *RATE]), notes)


def _quantiles(groups: npt.NDArray[np.integer], durations: npt.NDArray[np.int64], count: int) -> pd.DataFrame:
    """Exact quantiles of each group (linear between neighbours); NaN for a group without a duration."""
    order = np.argsort(groups, kind="stable")
    ends = np.searchsorted(groups[order], np.arange(count + 1))
    result = np.full((count, len(QUANTILES)), np.nan)
    for place in range(count):
        mine = durations[order[ends[place] : ends[place + 1]]]
        if len(mine):
            result[place] = np.quantile(mine, QUANTILES)
    return pd.DataFrame(result, columns=pd.Index(QUANTILE_NAMES))


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Categories as ordinary texts: pieces do not share their categories."""
    return frame.astype({"scenario": object, "point": object})


def _ordered(frame: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    rows = frame[keys].astype(str).itertuples(index=False, name=None)
    places = sorted((tuple(natural(text) for text in row), place) for place, row in enumerate(rows))
    return frame.iloc[[place for _, place in places]].reset_index(drop=True)
