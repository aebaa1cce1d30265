"""Put together what `regress` says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from reports.load import load_verdicts
from reports.regress.history import differences, history, run_name
from reports.regress.model import Options, Regression
from reports.regress.nights import series_of
from reports.regress.points import judge_points
from reports.regress.timing import judge_timings


def regress(directories: Sequence[Path], options: Options | None = None) -> Regression:
    """Judge the last run below `directories` against baseline and history. Raises ReportError where there is no such run."""
    chosen = options or Options()
    past = history(directories, chosen)
    verdicts, amiss = load_verdicts([run.path for run in past.runs])
    judged = judge_points(past, verdicts)
    series, without_ratio, notes = series_of(past.runs)
    timing = judge_timings(past, series, chosen.gate)
    mine = [note for note in amiss if note.startswith(f"{past.last.label}:")]
    if without_ratio:
        notes = (*notes, f"{without_ratio} series have values of 0 or below, and are not followed.")
    if len(past.runs) == 1:
        notes = (*notes, "This is the first run of this rig: there is nothing to compare it with.")
    return Regression(
        rig=past.rig,
        last=run_name(past.last),
        previous=run_name(past.previous) if past.previous else None,
        baseline=None if past.baseline is None else run_name(past.runs[past.baseline]),
        runs=len(past.runs),
        judged=judged.judged,
        passed=judged.passed,
        failed=judged.failed,
        errors=judged.errors,
        planned=len(past.last.planned) or judged.finished,
        finished=judged.finished,
        mandatory_inconclusive=judged.mandatory_inconclusive,
        points=judged.turns,
        series=timing.turns,
        earlier=timing.earlier,
        noise=timing.noise,
        timing=timing.tally,
        environment=differences(past.previous, past.last) if past.previous else (),
        notes=tuple(dict.fromkeys([*mine, *notes])),
        timing_counts=chosen.timing_counts,
    )
