"""The verdict table for the terminal: a line per scenario, and the worst reason where it did not simply pass."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pandas as pd

from bench.observe import Verdict
from bench.records.journal import CAPTURED_VERDICTS
from reports.captured import Packets, packets_of
from reports.load import Run, find_runs, load_verdicts
from reports.verdicts import RANK, Tally, natural

_HEADS: Final = (
    (Verdict.PASS, "pass"),
    (Verdict.MARGINAL, "marginal"),
    (Verdict.FAIL, "fail"),
    (Verdict.INCONCLUSIVE, "inconcl."),
    (Verdict.NOT_APPLICABLE, "n/a"),
    (Verdict.ERROR, "error"),
)
_NARROWEST_NAME: Final = 12


@dataclass(frozen=True, slots=True)
class ScenarioLine:
    """All points of one scenario, over all runs asked for."""

    scenario: str
    title: str
    tally: Tally
    worst: Verdict
    worst_point: str
    reason: str
    packets: Packets | None = None
    """What the capture has of the step that decided."""


@dataclass(frozen=True, slots=True)
class VerdictSummary:
    """What came out, scenario by scenario, and the whole."""

    scenarios: tuple[ScenarioLine, ...]
    tally: Tally
    notes: tuple[str, ...]

    def render(self, width: int = 100) -> str:
        """The table as plain text of at most `width` columns (but never under 76)."""
        heads = [head for _, head in _HEADS]
        room = max(_NARROWEST_NAME, width - 8 - sum(len(head) + 2 for head in heads))
        name = min(room, max([len(line.scenario) for line in self.scenarios] + [len("scenario")]))
        lines = ["  ".join([f"{'scenario':<{name}}", "points", *heads])]
        lines.append("-" * len(lines[0]))
        for entry in self.scenarios:
            lines.append(_row(_shortened(entry.scenario, name), entry.tally, name))
            if entry.worst is not Verdict.PASS:
                lines.append(_reason(entry, max(width, 76)))
            if entry.packets is not None:
                lines.append(
                    _printable(
                        f"    packets: {entry.packets.capture.name} {entry.packets.frames}: {entry.packets.display_filter}"
                    )
                )
        lines += ["-" * len(lines[0]), _row("all", self.tally, name)]
        lines += [_printable(f"note: {note}") for note in self.notes]
        return "\n".join(lines)


def verdict_summary(run_dirs: Sequence[Path]) -> VerdictSummary:
    """Count the verdicts of the runs in `run_dirs`. Raises ReportError where a directory holds no run."""
    frame, notes = load_verdicts(run_dirs)
    runs = {run.label: run for run in find_runs(run_dirs)}
    lines = [_line(str(scenario), points, runs) for scenario, points in frame.groupby("scenario", sort=False)]
    lines.sort(key=lambda line: natural(line.scenario))
    return VerdictSummary(tuple(lines), Tally.of(Verdict(word) for word in frame["verdict"]), notes)


def _line(scenario: str, points: pd.DataFrame, runs: Mapping[str, Run]) -> ScenarioLine:
    verdicts = [Verdict(word) for word in points["verdict"]]
    order = sorted(
        range(len(points)), key=lambda place: (RANK[verdicts[place]], natural(str(points["point"].iloc[place])))
    )
    first = points.iloc[order[0]]
    packets = None
    if verdicts[order[0]] in CAPTURED_VERDICTS:
        step = pd.to_numeric(first["step"], errors="coerce")
        decided = int(step) if pd.notna(step) else 0
        packets = packets_of(runs[str(first["run"])], scenario, str(first["point"]), decided)
    return ScenarioLine(
        scenario=scenario,
        title=str(first["title"]),
        tally=Tally.of(verdicts),
        worst=verdicts[order[0]],
        worst_point=str(first["point"]),
        reason=str(first["reason"]),
        packets=packets,
    )


def _row(name: str, tally: Tally, width: int) -> str:
    cells = [f"{tally.count(verdict) or '.':>{len(head)}}" for verdict, head in _HEADS]
    return "  ".join([f"{_printable(name):<{width}}", f"{tally.total:>6}", *cells])


def _reason(line: ScenarioLine, width: int) -> str:
    text = f"{line.worst}: {line.worst_point}: {line.reason or 'no reason given'}"
    return textwrap.indent(textwrap.shorten(_printable(text), width - 4, placeholder=" …"), "    ")


def _shortened(name: str, width: int) -> str:
    return name if len(name) <= width else "…" + name[-(width - 1) :]


def _printable(text: str) -> str:
    """Names and reasons may come from a card; no control character of theirs reaches the terminal."""
    return "".join(character if character.isprintable() else " " for character in text)
