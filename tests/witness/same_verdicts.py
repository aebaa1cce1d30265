"""The real points of every scenario run as a lab runs them, and the verdicts of a path held against the software rig's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from reports.paths import PathTable, path_table

ROOT = Path(__file__).resolve().parents[2]
KEEP = "CARDBENCH_PATHS"
"""Names a directory where the results are kept, for ``cardbench paths`` (make paths)."""


def results_in(otherwise: Path) -> Path:
    """Where results go."""
    kept = os.environ.get(KEEP)
    return Path(kept) if kept else otherwise


def command(rig: str, out: Path) -> list[str]:
    """``cardbench run`` over all real points on one of our rigs."""
    rig_file = "default" if rig == "software" else rig
    words = [sys.executable, "-m", "bench.cli", "run", str(ROOT / "scenarios"), "--real", "--no-report"]
    return [*words, "--rig", str(ROOT / "rigs" / f"{rig_file}.yaml"), "--out", str(out / rig), "--payloads", "off"]


def run(rig: str, out: Path, timeout_s: float = 1800) -> None:
    """Run them here."""
    ran = subprocess.run(command(rig, out), capture_output=True, text=True, check=False, cwd=ROOT, timeout=timeout_s)
    assert ran.returncode in (0, 1), ran.stdout + ran.stderr  # what differs is told by ``held``


def held(out: Path, rig: str, passes: int) -> PathTable:
    """The table of the software rig and this one: no difference, so many passes, nothing that takes too long."""
    table = path_table([out / "software", out / rig])
    assert [each for each in table.differences if f" {rig}" in each] == []
    cells = table.columns[1].cells
    assert sum(cell.verdict == "pass" for cell in cells.values()) >= passes
    assert all(cell.reason for cell in cells.values() if cell.verdict != "pass")
    return table
