"""What a long check found, as a section for a page of docs/evidence: printed, so that it can be put there as it is."""

import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    what: str
    count: int
    result: str


def commit() -> str:
    """The commit that was checked, with a note where files differ from it."""

    def git(*arguments: str) -> str:
        done = subprocess.run(("git", *arguments), cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    changed = " (with changes of the work tree)" if git("status", "--porcelain", "--untracked-files=no") else ""
    return (git("rev-parse", "HEAD") or "no commit known") + changed


def section(title: str, rows: Sequence[Row]) -> str:
    """The section: date, commit, machine, then a row a check."""
    cores = os.cpu_count() or 1
    machine = f"{cores} cores, {platform.system()} {platform.release()}, {platform.python_implementation()} {platform.python_version()}"
    lines = [f"# {title}, {date.today().isoformat()}", "", f"Commit {commit()}; {machine}.", ""]
    lines += ["| what | count | result |", "|---|---|---|"]
    lines += [f"| {row.what} | {format(row.count, '_').replace('_', ' ')} | {row.result} |" for row in rows]
    return "\n".join([*lines, ""])
