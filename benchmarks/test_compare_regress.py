"""What compare and regress cost against the number of runs: 2 400 points a run, 48 000 exchanges, on a real clock."""

import time
from datetime import timedelta
from pathlib import Path

from benchmarks.measure import show
from benchmarks.synthetic import BEGAN, synthetic_run
from reports.compare import Options as CompareOptions
from reports.compare import compare
from reports.regress import Options as RegressOptions
from reports.regress import regress

ROWS = 48_000
SIDES = (2, 4, 8)
NIGHTS = (9, 18)


def _nights(folder: Path, count: int) -> Path:
    for night in range(count):
        synthetic_run(folder, ROWS, seed=night + 1, began=BEGAN + timedelta(days=night), events=0)
    return folder


def test_compare(tmp_path: Path) -> None:
    lines = []
    for count in SIDES:
        sides = [_nights(tmp_path / f"{count}-{side}", count) for side in ("a", "b")]
        wall, cpu = time.perf_counter(), time.process_time()
        found = compare(sides, CompareOptions())
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        lines.append(f"{count:3} runs a side  {wall:6.2f} s wall  {cpu:6.2f} s CPU  {found.family} tests in the family")
    show(f"cardbench compare (2 400 points, {ROWS:,} exchanges a run)", lines)


def test_regress(tmp_path: Path) -> None:
    lines = []
    for count in NIGHTS:
        nights = _nights(tmp_path / str(count), count)
        wall, cpu = time.perf_counter(), time.process_time()
        found = regress([nights], RegressOptions())
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        lines.append(f"{count:3} nights  {wall:6.2f} s wall  {cpu:6.2f} s CPU  {len(found.series)} timings told")
    show(f"cardbench regress (2 400 points, {ROWS:,} exchanges a run)", lines)
