"""A report of 10^5 to 10^7 exchanges: wall and CPU time and memory of a process of its own; the summary beside plain pandas on the same rows as CSV.

Sizes, and the two ways, take turns; medians of three rounds. The rows are made up (`benchmarks.synthetic`) and true to the schema.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from statistics import median

from benchmarks.measure import show
from benchmarks.synthetic import synthetic_run
from reports.arrow import CsvAppender

SIZES = (100_000, 1_000_000, 10_000_000)
ROUNDS = 3
PREAMBLE = (
    "import json, resource, sys, time\nbegun = time.perf_counter()\nfrom pathlib import Path\nrun = Path(sys.argv[1])\n"
)
CLOSING = """
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([time.perf_counter() - begun, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]))
"""
REPORT = "from reports import build_report\nbuild_report([run], Path(sys.argv[2]))"
SUMMARY = (
    "from reports.exchanges import exchange_statistics\nfrom reports.load import load\nexchange_statistics(load([run]))"
)
PLAIN = """
import pandas as pd
keys = ["scenario", "point", "level", "ta1", "clock_hz"]
sums = ["sent_bytes", "received_bytes", "characters", "retries", "duration_ns", "wire_ns", "card_ns"]
frame = pd.read_csv(sys.argv[2], usecols=[*keys, *sums, "count", "error"], keep_default_na=False)
kept = frame[(frame["count"] == 1) & (frame["error"] == "")]
quantiles = kept.groupby(keys)["duration_ns"].quantile([0, 0.05, 0.25, 0.5, 0.75, 0.95, 1]).unstack()
rates = kept.groupby(keys[2:])["duration_ns"].quantile([0, 0.05, 0.25, 0.5, 0.75, 0.95, 1]).unstack()
frame[sums] = frame[sums].mul(frame["count"], axis=0)
frame["errors"] = frame["count"].where(frame["error"] != "", 0)
frame.groupby(keys)[[*sums, "count", "errors"]].sum().join(quantiles)
"""
"""What somebody would write: no intervals, no parts, and only the columns needed are read."""


def test_report(tmp_path: Path) -> None:
    runs = {rows: synthetic_run(tmp_path / str(rows), rows) for rows in SIZES}
    found: dict[int, list[list[float]]] = {rows: [] for rows in SIZES}
    for _ in range(ROUNDS):
        for rows, run in runs.items():
            found[rows].append(_child(REPORT, run, tmp_path / f"report-{rows}"))
    lines = []
    for rows, measured in found.items():
        wall, cpu, memory = (median(each) for each in zip(*measured, strict=True))
        lines.append(f"{rows:>10,} rows  {wall:6.2f} s wall  {cpu:6.2f} s CPU  {memory:6.0f} MiB at most")
    show(f"report.html of so many exchanges (medians of {ROUNDS} interleaved rounds, a process each)", lines)


def test_summary_beside_plain_pandas(tmp_path: Path) -> None:
    rows = SIZES[-1]
    run = synthetic_run(tmp_path, rows)
    csv = CsvAppender(tmp_path / "exchanges.csv")
    csv.append(run / "exchanges.parquet", "run")
    csv.close()
    ways = {"DuckDB over Parquet": SUMMARY, "plain pandas from CSV": PLAIN}
    found: dict[str, list[list[float]]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, program in ways.items():
            found[name].append(_child(program, run, tmp_path / "exchanges.csv"))
    medians = {name: [median(each) for each in zip(*measured, strict=True)] for name, measured in found.items()}
    fast, plain = medians.values()
    lines = [
        f"{name:22} {wall:6.2f} s wall  {cpu:6.2f} s CPU  {memory:6.0f} MiB at most"
        for name, (wall, cpu, memory) in medians.items()
    ]
    ratios = f"wall {plain[0] / fast[0]:.1f} x, CPU {plain[1] / fast[1]:.1f} x, memory {plain[2] / fast[2]:.1f} x"
    show(f"The summary of {rows:,} exchanges (medians of {ROUNDS} interleaved rounds)", [*lines, ratios])


def _child(program: str, *arguments: Path) -> list[float]:
    """Wall seconds, CPU seconds and the most memory (MiB) of a fresh interpreter."""
    command = [sys.executable, "-c", PREAMBLE + program + CLOSING, *map(str, arguments)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    measured: list[float] = json.loads(done.stdout.splitlines()[-1])
    return measured
