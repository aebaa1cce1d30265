"""From the records of runs to what people read: one HTML page, CSV files, a table for the terminal.

Knows the record tables (`bench.observe`) and the names of rates, and nothing of readers or cards. The heavy libraries behind the page are imported
when a page is asked for, so that a terminal summary stays quick.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from reports.errors import ReportError
from reports.files import ReportFiles
from reports.summary import ScenarioLine, VerdictSummary, verdict_summary

__all__ = ["ReportError", "ReportFiles", "ScenarioLine", "VerdictSummary", "build_report", "verdict_summary"]


def build_report(run_dirs: Sequence[Path], out: Path | None = None) -> ReportFiles:
    """Collate the runs in `run_dirs` into `report.html` and `csv/*.csv`.

    A directory may be a run or hold runs at any depth. `out` is the directory to write to (or a path that ends in `.html`); by default the first of
    `run_dirs`. The same records give the same bytes. Raises ReportError where a directory holds no run or nothing can be written.
    """
    from reports.build import build

    return build(run_dirs, out)
