"""Run directories of any size, true to the schema: what a night at many points leaves, made in seconds and written by the bench's own writer.

The same rows and seed give the same tables. Durations follow from length and rate and scatter by a few percent; a tenth of the rows stands for
parked polls, one in a thousand ended in an error. The exchanges of a point lie together, as in every run.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.iso7816.rates import Rate
from bench.observe import Verdict
from bench.records.arrow import ROW_GROUP, ParquetFile, Values
from bench.records.columns import EXCHANGES, POINT_COLUMNS, TABLES, ColumnKind, Table
from bench.records.reading import PointKey
from bench.records.run import RunDirectory

CLOCK_HZ: Final = 3_571_200
RATES: Final = (0x11, 0x13, 0x18, 0x94, 0x95, 0x96, 0x97, 0x38)
MTUS: Final = (64, 128, 256, 512)
HOPS: Final = (1, 2, 4)
SCENARIOS: Final = 25
PACKETS_PER_EXCHANGE: Final = 0.4
PARKED: Final = 0.1
FAILED: Final = 0.001
BEGAN: Final = datetime(2025, 11, 23, 1, 0, 0, tzinfo=UTC)

_Integers = NDArray[np.int64]
_TYPES: Final = {ColumnKind.UNSIGNED: np.uint64, ColumnKind.FLOAT: np.float64, ColumnKind.BOOLEAN: np.bool_}


def synthetic_run(out: Path, rows: int, seed: int = 1, began: datetime = BEGAN, events: int = 1_000) -> Path:
    """Write a run of 2 400 points with so many exchanges below `out`; gives its directory. Without events it was made on a real clock."""
    directory = RunDirectory.create(out, "synthetic", seed=seed, now=began)
    names = [f"subject-{number % 5}/scenario-{number}" for number in range(SCENARIOS)]
    sweep = [(ta1, mtu, hops) for ta1 in RATES for mtu in MTUS for hops in HOPS]
    keys = sorted(PointKey(name, f"ta1-{ta1:02X}-mtu-{mtu}-cards-{hops}") for name in names for ta1, mtu, hops in sweep)
    chance = np.random.default_rng(seed)
    for table in TABLES:
        match table.name:
            case "exchanges":
                _large(table, directory.table_path(table.name), keys, rows, chance)
            case "packets":
                _large(table, directory.table_path(table.name), keys, int(rows * PACKETS_PER_EXCHANGE), chance)
            case _:
                _small(table, directory.table_path(table.name), keys, chance, events)
    directory.plan(tuple(keys))
    return directory.path


def _large(table: Table, path: Path, keys: list[PointKey], rows: int, chance: np.random.Generator) -> None:
    """Points have shares of the rows between a tenth of the mean and several times it."""
    shares = chance.gamma(2.0, 1.0, len(keys)) + 0.1
    ends = np.round(np.cumsum(shares) / shares.sum() * rows).astype(np.int64)
    file = ParquetFile(path, table)
    for begin in range(0, rows, ROW_GROUP):
        places = np.arange(begin, min(begin + ROW_GROUP, rows))
        points = np.searchsorted(ends, places, side="right")
        sequence = places - np.concatenate([[0], ends])[points]
        made = _exchanges(keys, points, chance) if table is EXCHANGES else _packets(points, chance)
        _write(file, table, keys, points, sequence, made)
    file.close()


def _exchanges(keys: list[PointKey], points: _Integers, chance: np.random.Generator) -> Mapping[str, Values]:
    count = len(points)
    codes = np.array([int(key.point[4:6], 16) for key in keys], np.int64)[points]
    etu_ns = {code: float(Rate(code).etu_cycles) / CLOCK_HZ * 1e9 for code in RATES}
    etus = np.array([etu_ns[int(key.point[4:6], 16)] for key in keys])[points]
    sent = chance.choice(np.array([5, 5, 5, 37, 69, 133, 260]), count)
    received = chance.choice(np.array([2, 2, 11, 34, 66, 130, 257]), count)
    wire = np.round((sent + received) * 12 * etus).astype(np.int64)
    card = np.round(chance.lognormal(11.0, 0.3, count)).astype(np.int64)
    parked = np.where(chance.random(count) < PARKED, chance.integers(2, 400, count), 1)
    failed = (chance.random(count) < FAILED).astype(np.int64)
    return {
        "hop": Values(chance.integers(1, 5, count)),
        "level": Values(points % 2, ("tpdu", "apdu")),
        "start_ns": Values(np.cumsum(wire + card)),
        "duration_ns": Values(wire + card),
        "ins": Values(chance.choice(np.array([0xC0, 0xC2]), count)),
        "sent_bytes": Values(sent),
        "received_bytes": Values(received),
        "sw": Values(np.full(count, 0x9000)),
        "ta1": Values(codes),
        "clock_hz": Values(np.full(count, CLOCK_HZ)),
        "characters": Values(sent + received + 1),
        "wire_ns": Values(wire),
        "card_ns": Values(card),
        "error": Values(failed, ("", "MuteError")),
        "count": Values(parked),
        "period_ns": Values(np.where(parked > 1, 1_000_000, 0)),
    }


def _packets(points: _Integers, chance: np.random.Generator) -> Mapping[str, Values]:
    count = len(points)
    return {
        "direction": Values(chance.integers(0, 2, count), ("in", "out")),
        "kind": Values(chance.integers(0, 3, count), ("control", "channel", "ipv4")),
        "length_bytes": Values(chance.integers(4, 513, count)),
    }


def _small(table: Table, path: Path, keys: list[PointKey], chance: np.random.Generator, events: int) -> None:
    """One to three rows a point: verdict, step marks, parameters, measurements."""
    words = {"parameters": 3, "measurements": 2, "steps": 2, "verdicts": 1}
    each = words.get(table.name, 0)
    file = ParquetFile(path, table)
    if not each:
        file.close()
        return
    points = np.repeat(np.arange(len(keys)), each)
    turn = np.tile(np.arange(each), len(keys))
    file_rows = {
        "parameters": _parameters(keys, points, turn),
        "measurements": _measurements(keys, points, turn, chance),
        "steps": {"index": Values(turn + 1), "verb": Values(turn, ("open_channels", "transfer"))},
        "verdicts": _verdicts(points, chance, events),
    }[table.name]
    _write(file, table, keys, points, turn, file_rows)
    file.close()


def _parameters(keys: list[PointKey], points: _Integers, turn: _Integers) -> Mapping[str, Values]:
    parts = [key.point.split("-") for key in keys]
    texts = sorted({part for one in parts for part in one[1::2]})
    numbers = {text: number for number, text in enumerate(texts)}
    values = np.array([[numbers[part] for part in one[1::2]] for one in parts])[points, turn]
    return {
        "name": Values(turn, ("ta1", "mtu", "cards")),
        "value": Values(values, texts),
        "swept": Values(np.ones(len(points), np.bool_)),
    }


def _measurements(
    keys: list[PointKey], points: _Integers, turn: _Integers, chance: np.random.Generator
) -> Mapping[str, Values]:
    count = len(points)
    hops = np.array([int(key.point.rpartition("-")[2]) for key in keys])[points]
    share, latency = chance.normal(97.0, 0.5, count), 6.0 * hops + chance.normal(0.0, 0.1, count)
    return {
        "name": Values(turn, ("goodput", "round_trip_median")),
        "value": Values(np.where(turn == 0, share, latency)),
        "unit": Values(turn, ("percent_of_limit", "ms")),
        "at_least": Values(np.full(count, 90.0), valid=turn == 0),
        "at_most": Values(np.zeros(count), valid=np.zeros(count, np.bool_)),
        "marginal": Values(np.zeros(count), valid=np.zeros(count, np.bool_)),
        "verdict": Values(np.zeros(count, np.int64), (str(Verdict.PASS),)),
    }


def _verdicts(points: _Integers, chance: np.random.Generator, events: int) -> Mapping[str, Values]:
    count = len(points)
    words = (Verdict.PASS, Verdict.MARGINAL, Verdict.FAIL)
    return {
        "title": Values(np.zeros(count, np.int64), ("A point made up",)),
        "requirements": Values(points % 20, [f"REQ-{number}" for number in range(20)]),
        "verdict": Values(chance.choice(3, count, p=(0.97, 0.02, 0.01)), [str(word) for word in words]),
        "duration_ns": Values(np.full(count, 10**9)),
        "events": Values(np.full(count, events)),
    }


def _write(
    file: ParquetFile,
    table: Table,
    keys: list[PointKey],
    points: _Integers,
    sequence: _Integers,
    made: Mapping[str, Values],
) -> None:
    """A row group; columns that nothing was made for are zero or empty."""
    heads = [Values(points, [key.scenario for key in keys]), Values(points, [key.point for key in keys])]
    columns = [*heads, Values(sequence.astype(np.int64))]
    for column in table.columns:
        nothing = np.zeros(len(points), _TYPES.get(column.kind, np.int64))
        columns.append(made.get(column.name, Values(nothing, ("",) if column.kind is ColumnKind.TEXT else None)))
    assert len(columns) == len(POINT_COLUMNS) + len(table.columns)
    file.write_group(columns)
