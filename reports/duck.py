"""The one place that touches DuckDB: the two large tables, aggregated in SQL straight from Parquet. No untyped value leaves it.

Nothing is fetched and nothing is written: extensions stay off, and what does not fit into memory is an error rather than a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd

from reports.errors import TableError

KEYS: Final = ("scenario", "point", "level", "ta1", "clock_hz")
SUMS: Final = ("sent_bytes", "received_bytes", "characters", "retries", "duration_ns", "wire_ns", "card_ns")
COUNTS: Final = ("exchanges", "idle_polls", "errors")
PARTS: Final = ("duration_ns", "host_ns", "reader_ns", "wire_ns", "card_ns", "uncertainty_ns")
PACKET_KEYS: Final = ("scenario", "point", "kind", "direction")
_SETTINGS: Final = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "temp_directory": "",
    "preserve_insertion_order": "false",
}
_TABLE: Final = "read_parquet(?, hive_partitioning = false)"
_KEPT: Final = "filter (where count = 1 and coalesce(error, '') = '')"
"""Exchanges that came to their end, each recorded by itself."""


@dataclass(frozen=True, slots=True)
class ExchangeGroups:
    """A row per combination of KEYS: COUNTS, SUMS, and over the exchanges kept `kept` (how many) and `kept_…` (the sums of PARTS).

    `durations` are those of the exchanges kept, in ns: an array a row, in no order.
    """

    frame: pd.DataFrame
    durations: list[npt.NDArray[np.int64]]


def exchange_groups(file: Path) -> ExchangeGroups:
    """The exchanges of a run by group. Raises TableError."""
    counts = (
        "sum(count)",
        "sum(case when count > 1 then count else 0 end)",
        "sum(case when coalesce(error, '') <> '' then count else 0 end)",
    )
    selected = [
        *KEYS,
        *(f"({how})::bigint as {name}" for how, name in zip(counts, COUNTS, strict=True)),
        # All but the count of a row is of one of the polls it stands for.
        *(f"(sum({name} * count))::bigint as {name}" for name in SUMS),
        f"(count(*) {_KEPT})::bigint as kept",
        *(f"(coalesce(sum({name}) {_KEPT}, 0))::bigint as kept_{name}" for name in PARTS),
        f"coalesce(list(duration_ns) {_KEPT}, []::bigint[]) as durations",
    ]
    frame = _grouped(file, selected, KEYS)
    return ExchangeGroups(frame, [np.asarray(durations, np.int64) for durations in frame.pop("durations")])


def packet_groups(file: Path) -> pd.DataFrame:
    """Packets and bytes of a run by PACKET_KEYS. Raises TableError."""
    selected = (*PACKET_KEYS, "count(*)::bigint as packets", "sum(length_bytes)::bigint as bytes")
    return _grouped(file, selected, PACKET_KEYS)


def first_exchanges(file: Path, points: Sequence[tuple[str, str]], columns: Sequence[str], most: int) -> pd.DataFrame:
    """The first exchanges of hop 1 that took time, at most so many a point (scenario, point), in their order. Raises TableError."""
    wanted = " or ".join(["(scenario = ? and point = ?)"] * len(points)) or "false"
    query = (
        f"select {', '.join(columns)} from {_TABLE} where hop = 1 and duration_ns > 0 and ({wanted}) "
        f"qualify row_number() over (partition by scenario, point order by start_ns, seq) <= {most} "
        "order by scenario, point, start_ns, seq"
    )
    return _asked(file, query, [part for pair in points for part in pair])


def _grouped(file: Path, selected: Sequence[str], keys: Sequence[str]) -> pd.DataFrame:
    return _asked(file, f"select {', '.join(selected)} from {_TABLE} group by {', '.join(keys)}")


def _asked(file: Path, query: str, more: Sequence[str] = ()) -> pd.DataFrame:
    try:
        with duckdb.connect(config=dict(_SETTINGS)) as connection:
            frame: pd.DataFrame = connection.sql(query, params=[_no_pattern(file), *more]).df()
            return frame
    except duckdb.BinderException as cause:
        raise TableError(f"{file.name} lacks a column ({_first_line(cause)})") from cause
    except duckdb.Error as cause:
        raise TableError(f"{file.name} cannot be read ({_first_line(cause)})") from cause


def _no_pattern(file: Path) -> str:
    """A path in which nothing stands for other files."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in str(file.absolute()))


def _first_line(cause: BaseException) -> str:
    return (str(cause).splitlines() or [type(cause).__name__])[0]
