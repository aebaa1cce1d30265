"""Make a report: read, aggregate, draw, write the CSV files and the page."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pandas as pd

from bench.records.columns import TABLES
from reports import collate
from reports.arrow import CsvAppender, row_count, write_parquet
from reports.chain import chains
from reports.detection import detection_table, find_validation, read_validation
from reports.errors import ReportError, TableError
from reports.exchanges import exchange_statistics, packet_counts
from reports.files import ReportFiles
from reports.front import front
from reports.load import Records, load
from reports.parts import parts_table
from reports.pictures import Picture, fairness, latency, memory, share, split, spread, times
from reports.render import Download, Page, render
from reports.table import Field, Kind, Table, table_of
from reports.timeline import timelines

MOST_CSV_ROWS: Final = 1_000_000
"""Longer tables are not copied to CSV (a spreadsheet ends about there, and ten million exchanges are 2 GB); their Parquet file is linked."""


@dataclass(frozen=True, slots=True)
class _Target:
    html: Path
    csv: Path


def build(run_dirs: Sequence[Path], out: Path | None) -> ReportFiles:
    """See `reports.build_report`."""
    records = load(run_dirs)
    statistics = exchange_statistics(records)
    packets, packet_notes = packet_counts(records)
    pictures = [
        *share.pictures(records),
        *latency.pictures(records),
        *fairness.pictures(records),
        memory.picture(records),
        spread.picture(records),
        times.picture(statistics),
        split.picture(statistics),
    ]
    drawn = (
        share.select(records)
        | latency.select(records)
        | latency.select_any(records)
        | fairness.select(records)
        | memory.select(records)
    )
    tables = [
        collate.requirement_table(records),
        collate.scenario_table(records),
        collate.verdict_table(records),
        collate.measurement_table(records),
        collate.other_measurements(records, drawn),
        parts_table(statistics.parts),
        _exchange_table(statistics.by_point),
        _packet_table(packets, len(records.runs)),
    ]
    target = _target(run_dirs, out)
    try:
        target.csv.mkdir(parents=True, exist_ok=True)
        csv = [
            _write(table, target.csv) for table in [*tables, *(picture.table for picture in pictures if picture.table)]
        ]
        downloads, raw, raw_notes = _raw(records, target)
        page = _page(
            records, tables, pictures, downloads, (*records.notes, *statistics.notes, *packet_notes, *raw_notes)
        )
        csv += [_write(table, target.csv) for each in page.timelines for table in each.tables]
        page = replace(page, failures=collate.linked(page.failures, target.html.parent))
        target.html.write_text(render(page), "utf-8", newline="\n")
    except OSError as cause:
        raise ReportError(
            f"the report cannot be written to {target.html.parent}: {cause}; name another place with --out"
        ) from cause
    return ReportFiles(target.html, tuple(sorted({*csv, *raw})))


def _target(run_dirs: Sequence[Path], out: Path | None) -> _Target:
    place = run_dirs[0] if out is None else out
    html = place if place.suffix == ".html" else place / "report.html"
    return _Target(html, html.parent / "csv")


def _page(
    records: Records,
    tables: Sequence[Table],
    pictures: Sequence[Picture],
    downloads: tuple[Download, ...],
    notes: tuple[str, ...],
) -> Page:
    requirements, scenarios, verdicts, measurements, others, parts, exchanges, packets = tables
    failed = collate.failures(records)
    detection, detection_notes = _detection(records)
    return Page(
        front=front(records),
        chains=chains(records),
        timelines=timelines(records),
        fronts=collate.fronts(records),
        tally=collate.tally(records),
        failures=failed[: collate.MOST_FAILURES],
        failures_left_out=len(failed) - len(failed[: collate.MOST_FAILURES]),
        requirements=requirements,
        scenarios=scenarios,
        verdicts=verdicts,
        pictures=tuple(pictures),
        measurements=measurements,
        others=others,
        parts=parts,
        exchanges=exchanges,
        packets=packets,
        detection=detection,
        downloads=downloads,
        notes=tuple(dict.fromkeys((*notes, *detection_notes))),
    )


def _detection(records: Records) -> tuple[Table | None, tuple[str, ...]]:
    """What `cardbench validate` found out of the bench, where it lies with the results; a note where it cannot be read."""
    path = find_validation(run.path for run in records.runs)
    if path is None:
        return None, ()
    try:
        return detection_table(read_validation(path)), ()
    except ReportError as cause:
        return None, (f"{cause}.",)


def _exchange_table(frame: pd.DataFrame) -> Table:
    texts = {"run", "scenario", "point", "level"}
    fields = [
        Field(name, name, Kind.CODE if name in texts else Kind.NUMBER)
        for name in frame.columns
        if name != "run" or frame["run"].nunique() > 1
    ]
    # A TA1 code is read in hexadecimal, as scenarios write it.
    shown = frame.assign(ta1=[f"{int(code):02X}" for code in frame["ta1"]])
    fields = [Field("ta1", "ta1", Kind.CODE) if field.name == "ta1" else field for field in fields]
    return table_of(shown, "exchange-table", "Exchanges of every point", fields, "exchanges-by-point.csv")


def _packet_table(frame: pd.DataFrame, runs: int) -> Table:
    names = [name for name in frame.columns if name != "run" or runs > 1]
    fields = [Field(name, name, Kind.NUMBER if name in ("packets", "bytes") else Kind.CODE) for name in names]
    return table_of(frame, "packet-table", "Packets of every point", fields, "packets-by-point.csv")


def _write(table: Table, directory: Path) -> Path:
    file = directory / table.csv
    frame = pd.DataFrame(list(table.rows), columns=pd.Index([field.label for field in table.fields]), dtype=object)
    frame.to_csv(file, index=False, lineterminator="\n")
    write_parquet(_typed(table, frame), file.with_suffix(".parquet"))
    return file


def _typed(table: Table, frame: pd.DataFrame) -> pd.DataFrame:
    """The cells as columns of one type each: numbers (missing ones null), or text."""
    columns = {
        field.label: pd.to_numeric(frame[field.label], errors="coerce").convert_dtypes()
        if field.kind is Kind.NUMBER
        else frame[field.label].map(lambda cell: None if cell is None else str(cell)).astype("string")
        for field in table.fields
    }
    return pd.DataFrame(columns)


def _raw(records: Records, target: _Target) -> tuple[tuple[Download, ...], list[Path], list[str]]:
    """The record tables as they are: a CSV of each over all runs, and a link to every Parquet file."""
    downloads = []
    written = []
    notes = []
    for table in TABLES:
        name = table.name
        files = [(run, file) for run in records.runs if (file := run.table(name)) is not None]
        rows = 0
        readable = []
        for run, file in files:
            try:
                rows += row_count(file)
                readable.append((run, file))
            except TableError:
                continue  # reading the table has already said so
        csv = target.csv / f"records-{name}.csv"
        csv.unlink(missing_ok=True)
        if readable and rows <= MOST_CSV_ROWS:
            appender = CsvAppender(csv)
            for run, file in readable:
                try:
                    appender.append(file, run.label)
                except TableError as cause:
                    notes.append(f"{cause}.")
            appender.close()
        if csv.is_file():
            written.append(csv)
        parquet = tuple((run.label, Path(os.path.relpath(file, target.html.parent)).as_posix()) for run, file in files)
        meaning = (table.observed.__doc__ or "").split("\n")[0].split(". ")[0].rstrip(".")
        downloads.append(Download(name, meaning, rows, f"csv/{csv.name}" if csv.is_file() else "", parquet))
    return tuple(downloads), written, notes
