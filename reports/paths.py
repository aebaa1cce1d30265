"""Verdicts of the same points on several paths, side by side: the page docs/paths.md, from what runs recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.observe import Verdict
from reports.errors import ReportError
from reports.load import Run, find_runs, load_verdicts

SOFTWARE: Final = "software"
"""The rig that every other is held against."""
WORDS: Final = {
    Verdict.PASS: "pass",
    Verdict.MARGINAL: "marginal",
    Verdict.FAIL: "**fail**",
    Verdict.INCONCLUSIVE: "inconclusive",
    Verdict.NOT_APPLICABLE: "–",
    Verdict.ERROR: "**error**",
}
EXCUSED: Final = frozenset({Verdict.NOT_APPLICABLE, Verdict.INCONCLUSIVE})
"""With a reason, these are the same verdict on another path."""
PACKAGES: Final = ("pyscard", "pyserial", "pyusb")


@dataclass(frozen=True, slots=True)
class Cell:
    """One point on one path."""

    verdict: Verdict
    reason: str = ""


@dataclass(frozen=True, slots=True)
class PathColumn:
    """One path: its rig, when and with what it was run, and the verdicts by scenario and point."""

    rig: str
    date: str
    reader: str
    driver: str
    software: str
    cells: dict[tuple[str, str], Cell]


@dataclass(slots=True)
class PathTable:
    """All paths, the software rig first, the others in the order of their names."""

    columns: list[PathColumn]
    notes: tuple[str, ...] = ()
    differences: list[str] = field(default_factory=list)
    """Points whose verdict on a path is neither that of the software rig nor excused with a reason."""


def path_table(directories: Sequence[Path]) -> PathTable:
    """The newest run of each rig below ``directories``. Raises ReportError where there is none, or none of the software rig."""
    newest: dict[str, Run] = {}
    for run in find_runs(directories):
        name = run.fact("rigs.*.name")
        if name and (name not in newest or (newest[name].date, newest[name].number) <= (run.date, run.number)):
            newest[name] = run
    if SOFTWARE not in newest:
        raise ReportError(f"no run of the rig named {SOFTWARE!r} among them; cardbench run scenarios --real makes one")
    names = [SOFTWARE, *sorted(name for name in newest if name != SOFTWARE)]
    columns: list[PathColumn] = []
    notes: list[str] = []
    for name in names:
        column, amiss = _column(name, newest[name])
        columns.append(column)
        notes += amiss
    table = PathTable(columns, tuple(notes))
    first = columns[0].cells
    for column in columns[1:]:
        for key, cell in column.cells.items():
            wanted = first.get(key)
            same = wanted is not None and cell.verdict is wanted.verdict
            if not same and not (cell.verdict in EXCUSED and cell.reason):
                there = "was not run" if wanted is None else f"is {wanted.verdict}"
                table.differences.append(
                    f"{key[0]} [{key[1]}] is {cell.verdict} on {column.rig} and {there} on {SOFTWARE}: {cell.reason}"
                )
        missing = first.keys() - column.cells.keys()
        table.differences += [
            f"{scenario} [{point}] was not run on {column.rig}" for scenario, point in sorted(missing)
        ]
    return table


def _column(name: str, run: Run) -> tuple[PathColumn, tuple[str, ...]]:
    verdicts, notes = load_verdicts([run.path])
    cells = {
        (str(row.scenario), str(row.point)): Cell(Verdict(str(row.verdict)), str(row.reason))
        for row in verdicts.itertuples()
    }
    packages = [f"{each} {version}" for each in PACKAGES if (version := run.fact(f"environment.packages.{each}"))]
    software = ", ".join(
        [f"cardbench {run.fact('environment.cardbench')}", f"Python {run.fact('environment.python')}", *packages]
    )
    return PathColumn(name, run.date, run.fact("rigs.*.reader"), run.fact("rigs.*.driver"), software, cells), notes


def render_markdown(table: PathTable) -> str:
    """The page: what each path is, the table, the reasons as notes."""
    reasons: dict[str, int] = {}
    lines = ["| scenario | point | " + " | ".join(column.rig for column in table.columns) + " |"]
    lines.append("|---|---|" + "---|" * len(table.columns))
    keys = sorted({key for column in table.columns for key in column.cells})
    for scenario, point in keys:
        row = [_cell(column.cells.get((scenario, point)), reasons) for column in table.columns]
        lines.append(f"| {scenario} | {point} | " + " | ".join(row) + " |")
    head = ["| path | run on | reader | driver | software |", "|---|---|---|---|---|"]
    head += [
        f"| {column.rig} | {column.date} | {column.reader} | {column.driver or '–'} | {column.software} |"
        for column in table.columns
    ]
    counted = ["| path | " + " | ".join(str(verdict) for verdict in Verdict) + " |", "|---|" + "---|" * len(Verdict)]
    for column in table.columns:
        counts = [sum(cell.verdict is verdict for cell in column.cells.values()) for verdict in Verdict]
        counted.append(f"| {column.rig} | " + " | ".join(str(count or "–") for count in counts) + " |")
    differ = [f"- {each}" for each in table.differences] or ["None."]
    footnotes = [f"{number}. {reason}" for reason, number in reasons.items()]
    parts = [
        ["## The paths", "", *head],
        ["## How many", "", *counted],
        ["## Where a path differs from the software rig", "", *differ],
        ["## Point by point", "", "– is not applicable; the number is its reason, below.", "", *lines],
        ["## Reasons", "", *footnotes],
    ]
    if table.notes:
        parts.append(["## What was amiss with the records", "", *[f"- {note}" for note in table.notes]])
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _cell(cell: Cell | None, reasons: dict[str, int]) -> str:
    if cell is None:
        return ""
    word = WORDS[cell.verdict]
    if not cell.reason or cell.verdict in (Verdict.PASS, Verdict.MARGINAL):
        return word
    number = reasons.setdefault(cell.reason, len(reasons) + 1)
    return f"{word} ({number})"
