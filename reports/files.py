"""Which files a report consists of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """The files `build_report` wrote."""

    html: Path
    csv: tuple[Path, ...]
