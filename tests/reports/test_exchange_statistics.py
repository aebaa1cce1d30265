"""The fast way through ten million rows says what plain pandas says, to the bit; intervals of medians are exact order statistics."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from benchmarks.synthetic import synthetic_run
from reports.duck import COUNTS, KEYS, PACKET_KEYS, PARTS, SUMS
from reports.exchanges import (
    INTERVAL_NAMES,
    QUANTILE_NAMES,
    QUANTILES,
    RATE,
    ExchangeStatistics,
    exchange_statistics,
    packet_counts,
)
from reports.load import Records, load

ROWS = 100_000


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Records:
    """A run in a folder whose name a database might take for a pattern or for a column."""
    return load([synthetic_run(tmp_path_factory.mktemp("runs") / "odd [1] *?" / "level=tpdu", ROWS)])


@pytest.fixture(scope="module")
def fast(records: Records) -> ExchangeStatistics:
    return exchange_statistics(records)


@pytest.fixture(scope="module")
def plain(records: Records) -> pd.DataFrame:
    """Every row in memory, with what each adds to the sums."""
    table = records.runs[0].table("exchanges")
    assert table is not None
    frame = pd.read_parquet(table)
    return frame.assign(
        exchanges=frame["count"],
        idle_polls=frame["count"].where(frame["count"] > 1, 0),
        errors=frame["count"].where(frame["error"] != "", 0),
        **{name: frame[name] * frame["count"] for name in SUMS},
        one_ns=frame["duration_ns"],
        kept=(frame["count"] == 1) & (frame["error"] == ""),
    )


def expected(plain: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    sums = plain.groupby(keys)[[*COUNTS, *SUMS]].sum()
    kept = plain[plain["kept"]].groupby(keys)["one_ns"]
    quantiles = kept.quantile(QUANTILES).unstack()
    quantiles.columns = pd.Index(QUANTILE_NAMES)
    intervals = pd.DataFrame(
        {key: interval(np.sort(durations.to_numpy())) for key, durations in kept}, index=pd.Index(INTERVAL_NAMES)
    ).T
    intervals.index.names = keys
    return sums.join(quantiles).join(intervals).reset_index()


def interval(ordered: np.ndarray) -> tuple[float, float]:
    """The two order statistics nearest to the middle of which the binomial distribution says at least 95 %."""
    count = len(ordered)
    for rank in range(count // 2, 0, -1):
        if binom.cdf(count - rank, count, 0.5) - binom.cdf(rank - 1, count, 0.5) >= 0.95:
            return float(ordered[rank - 1]), float(ordered[count - rank])
    return float("nan"), float("nan")


@pytest.mark.parametrize("keys", [list(KEYS), RATE], ids=["by point", "by rate"])
def test_the_same_to_the_bit(fast: ExchangeStatistics, plain: pd.DataFrame, keys: list[str]) -> None:
    found = fast.by_point if "point" in keys else fast.by_rate
    columns = [*keys, *COUNTS, *SUMS, *QUANTILE_NAMES, *INTERVAL_NAMES]
    mine = found[columns].sort_values(keys, ignore_index=True)
    other = expected(plain, keys)[columns].sort_values(keys, ignore_index=True)
    assert len(mine) > 10
    # pandas weighs the two neighbours of a quantile in another order than numpy: the last bit may differ.
    weighed = ["p05_ns", "p25_ns", "p75_ns", "p95_ns"]
    pd.testing.assert_frame_equal(mine[weighed], other[weighed], rtol=4e-16, atol=0.0)
    exact = [name for name in columns if name not in weighed]
    pd.testing.assert_frame_equal(mine[exact], other[exact], check_exact=True, check_dtype=False)


def test_parts_add_up(fast: ExchangeStatistics, records: Records) -> None:
    table = records.runs[0].table("exchanges")
    assert table is not None
    frame = pd.read_parquet(table)
    kept = frame[(frame["count"] == 1) & (frame["error"] == "")]
    other = kept.groupby(RATE)[["count", *PARTS]].sum().reset_index()
    mine = fast.parts.drop(columns="run").sort_values(RATE, ignore_index=True)
    pd.testing.assert_frame_equal(mine, other, check_exact=True, check_dtype=False)


def test_packets(records: Records) -> None:
    table = records.runs[0].table("packets")
    assert table is not None
    other = pd.read_parquet(table).groupby([*PACKET_KEYS])["length_bytes"].agg(["size", "sum"]).reset_index()
    found, notes = packet_counts(records)
    assert notes == ()
    mine = found.drop(columns="run").rename(columns={"packets": "size", "bytes": "sum"})
    mine = mine.sort_values([*PACKET_KEYS], ignore_index=True)
    pd.testing.assert_frame_equal(mine, other, check_exact=True, check_dtype=False)


def test_the_same_order_every_time(fast: ExchangeStatistics, records: Records) -> None:
    again = exchange_statistics(records)
    pd.testing.assert_frame_equal(fast.by_point, again.by_point, check_exact=True)
    pd.testing.assert_frame_equal(fast.by_rate, again.by_rate, check_exact=True)


@pytest.mark.parametrize("harm", ["torn", "column missing"])
def test_what_cannot_be_read_is_a_note(tmp_path: Path, harm: str) -> None:
    run = synthetic_run(tmp_path, 1_000)
    file = run / "exchanges.parquet"
    if harm == "torn":
        file.write_bytes(file.read_bytes()[:-100])
    else:
        pd.read_parquet(file).drop(columns="wire_ns").to_parquet(file)
    found = exchange_statistics(load([run]))
    assert found.by_point.empty
    (note,) = found.notes
    assert "exchanges.parquet" in note
    assert "left out" in note
