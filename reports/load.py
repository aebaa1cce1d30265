"""Find runs, read their tables and their `run.json`.

A run is a directory with a `run.json` or with record tables (`results/station=…/date=…/run=…/`). What is missing or damaged becomes a note
that the page shows; only a directory without any run is an error.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import pandas as pd

from bench import observe
from bench.records.columns import POINT_COLUMNS, TABLES, VERDICTS, ColumnKind, Table
from bench.records.reading import PointKey
from bench.records.run import RUN_JSON
from reports.arrow import read_frame
from reports.errors import ReportError, TableError

JSON_LIMIT_BYTES: Final = 8 << 20
LARGE: Final = ("exchanges", "packets")
"""Tables that are read in pieces (`reports.exchanges`)."""
MOST_NAMED: Final = 5
"""Unfinished points that a note names."""
_LISTS: Final = ("planned", "scenarios")
"""Entries of `run.json` that are too long for facts."""
_HOW_TO_CLOSE: Final = "`cardbench run --resume` finishes a run that was not closed."


@dataclass(frozen=True, slots=True)
class Fact:
    """One entry of `run.json`: a dotted path and its value as text."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Run:
    """One run directory. `label` tells it from the others of the report; `planned` are the points it was to run."""

    path: Path
    label: str
    station: str
    date: str
    number: str
    facts: tuple[Fact, ...]
    planned: frozenset[PointKey]

    def table(self, name: str) -> Path | None:
        """The Parquet file of a record table, None where the run has none."""
        file = self.path / f"{name}.parquet"
        return file if file.is_file() else None

    def fact(self, pattern: str) -> str:
        """The entries of `run.json` whose dotted path matches `pattern` (such as `rigs.*.atr`), each value once; empty where there are none."""
        values = [fact.value for fact in self.facts if fnmatchcase(fact.name, pattern)]
        return "; ".join(dict.fromkeys(values))


@dataclass(frozen=True, slots=True)
class Records:
    """The small tables of all runs below one another, each with a leading column `run`, and what was amiss while reading."""

    runs: tuple[Run, ...]
    verdicts: pd.DataFrame
    measurements: pd.DataFrame
    parameters: pd.DataFrame
    steps: pd.DataFrame
    links: pd.DataFrame
    notes: tuple[str, ...]


def find_runs(directories: Sequence[Path]) -> tuple[Run, ...]:
    """The runs that `directories` are or hold, each once, in order. Raises ReportError where one is missing or holds none."""
    if not directories:
        raise ReportError("no directory given; name a run, or the folder that holds runs (results)")
    paths: list[Path] = []
    known: set[Path] = set()
    for directory in directories:
        if not directory.is_dir():
            what = "is a file" if directory.exists() else "does not exist"
            raise ReportError(f"{directory}: {what}; name a run directory, such as results/station=…/date=…/run=…")
        found = [directory] if is_run(directory) else _runs_below(directory)
        if not found:
            raise ReportError(
                f"{directory}: holds no run (neither run.json nor a table such as verdicts.parquet here or below); "
                "name a directory that `cardbench run` wrote, results by default"
            )
        for path in found:
            if (place := path.resolve()) not in known:
                known.add(place)
                paths.append(path)
    return tuple(_run(path, len(paths) > 1) for path in paths)


def is_run(directory: Path) -> bool:
    """Whether a run was recorded in this very directory."""
    names = (RUN_JSON, *(f"{table.name}.parquet" for table in TABLES))
    return any((directory / name).is_file() for name in names)


def load(directories: Sequence[Path]) -> Records:
    """Read every table but the two large ones. Raises ReportError as `find_runs`."""
    runs = find_runs(directories)
    notes: list[str] = []
    tables = {table.name: _stack(runs, table, notes) for table in TABLES if table.name not in LARGE}
    _known_verdicts(tables, notes)
    for run in runs:
        notes += _unfinished(run, tables["verdicts"])
    return Records(runs=runs, notes=tuple(notes), **tables)


def load_verdicts(directories: Sequence[Path]) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The verdicts alone, and what was amiss with them. Raises ReportError as `find_runs`."""
    runs = find_runs(directories)
    notes: list[str] = []
    tables = {"verdicts": _stack(runs, VERDICTS, notes)}
    _known_verdicts(tables, notes)
    for run in runs:
        notes += _unfinished(run, tables["verdicts"])
    return tables["verdicts"], tuple(notes)


def _runs_below(directory: Path) -> list[Path]:
    found = {file.parent for name in (RUN_JSON, "verdicts.parquet") for file in directory.rglob(name)}
    return sorted(found)


def _run(path: Path, several: bool) -> Run:
    parts = dict(part.split("=", 1) for part in path.resolve().parts if "=" in part)
    station, date, number = (unquote(parts.get(name, "")) for name in ("station", "date", "run"))
    label = "/".join(part for part in (station, date, number) if part) or path.resolve().name
    content = _run_json(path / RUN_JSON)
    facts = tuple(fact for name, value in content.items() if name not in _LISTS for fact in _flatten(name, value, 0))
    return Run(
        path, label if several else number or label, station, date, number, facts, _planned(content.get("planned"))
    )


def _run_json(file: Path) -> dict[str, object]:
    """The entries of `run.json` as they are. Read leniently: an older format, or half a file, must not cost a lab its report."""
    try:
        if file.stat().st_size > JSON_LIMIT_BYTES:
            return {}
        content: object = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return {str(name): value for name, value in content.items()} if isinstance(content, dict) else {}


def _flatten(name: str, value: object, depth: int) -> list[Fact]:
    if isinstance(value, dict) and depth < 8:
        if set(value) == {"name", "version"}:
            return [Fact(f"{name.rpartition('.')[0]}.{value['name']}", str(value["version"]))]
        return [fact for key, inner in value.items() for fact in _flatten(f"{name}.{key}", inner, depth + 1)]
    if isinstance(value, list):
        if all(isinstance(inner, str | int | float) for inner in value):
            return [Fact(name, " ".join(str(inner) for inner in value))]
        return [fact for place, inner in enumerate(value, 1) for fact in _flatten(f"{name}.{place}", inner, depth + 1)]
    return [Fact(name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))]


def _planned(value: object) -> frozenset[PointKey]:
    if not isinstance(value, list):
        return frozenset()
    pairs = [entry for entry in value if isinstance(entry, list) and len(entry) == 2]
    return frozenset(PointKey(str(scenario), str(point)) for scenario, point in pairs)


def _stack(runs: Sequence[Run], table: Table, notes: list[str]) -> pd.DataFrame:
    columns = (*POINT_COLUMNS, *table.columns)
    frames = []
    for run in runs:
        file = run.table(table.name)
        if file is None:
            notes.append(f"{run.label}: there is no table of {table.name}. {_HOW_TO_CLOSE}")
            continue
        try:
            frame = read_frame(file)
        except TableError as cause:
            notes.append(f"{run.label}: {cause}; what it would have told is left out. {_HOW_TO_CLOSE}")
            continue
        absent = [column for column in columns if column.name not in frame.columns]
        if absent:
            notes.append(f"{run.label}: the table of {table.name} lacks {', '.join(column.name for column in absent)}.")
        for column in absent:
            frame[column.name] = "" if column.kind is ColumnKind.TEXT else None
        frames.append(frame.assign(run=run.label))
    order = ["run", *(column.name for column in columns)]
    filled = [frame[order] for frame in frames if len(frame)]
    if not filled:
        return pd.DataFrame({column: pd.Series(dtype="object") for column in order})
    stacked = pd.concat(filled, ignore_index=True)
    for column in columns:
        if column.kind is ColumnKind.TEXT:
            stacked[column.name] = stacked[column.name].fillna("").astype(str)
    return stacked


def _known_verdicts(tables: dict[str, pd.DataFrame], notes: list[str]) -> None:
    """A word that is no verdict must not pass for one, nor stop the report: it is the bench's error."""
    known = [str(verdict) for verdict in observe.Verdict]
    for name, table in tables.items():
        if "verdict" not in table.columns:
            continue
        unknown = ~table["verdict"].isin(known)
        if unknown.any():
            words = ", ".join(sorted({repr(word) for word in table.loc[unknown, "verdict"]})[:5])
            notes.append(
                f"{int(unknown.sum())} rows of {name} hold no known verdict ({words}); they are counted as errors of the bench."
            )
            table.loc[unknown, "verdict"] = str(observe.Verdict.ERROR)


def _unfinished(run: Run, verdicts: pd.DataFrame) -> list[str]:
    """What `run.json` tells of points that are not among the verdicts."""
    if not run.facts:
        return [f"{run.label}: {RUN_JSON} is missing or cannot be read, so it is not known what was tested with."]
    mine = verdicts[verdicts["run"] == run.label]
    finished = {
        PointKey(str(scenario), str(point)) for scenario, point in zip(mine["scenario"], mine["point"], strict=True)
    }
    missing = sorted(run.planned - finished)
    if not missing:
        return []
    named = ", ".join(f"{scenario} [{point}]" for scenario, point in missing[:MOST_NAMED])
    more = f" and {len(missing) - MOST_NAMED} more" if len(missing) > MOST_NAMED else ""
    return [
        f"{run.label}: {len(missing)} of {len(run.planned)} planned points did not finish: {named}{more}. `cardbench run --resume` runs them."
    ]
