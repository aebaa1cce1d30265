"""Runs made by hand for compare and regress: nights of a rig on a real clock, or in virtual time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.observe import Exchange, Measurement, Verdict
from tests.reports.samples import SampleRun, exchange, measured, verdict

POINT = ("sockets/echo", "mtu-64")


def run_of(
    number: str,
    verdicts: Sequence[tuple[str, Verdict]] = (),
    durations: Sequence[float] = (),
    goodput: float | None = None,
    *,
    virtual: bool = False,
    lengths: Sequence[int] = (),
    date: str = "2025-11-01",
) -> SampleRun:
    """A run with one timed point (`POINT`) and points that were only judged."""
    run = SampleRun(date=date, number=number)
    made: list[Exchange | Measurement] = [
        replace(exchange(round(duration)), sent_bytes=lengths[place] if lengths else 37)
        for place, duration in enumerate(durations)
    ]
    if goodput is not None:
        made.append(measured("goodput", goodput, "percent_of_limit", at_least=80.0))
    if made:
        run.add(*POINT, *made, replace(verdict(), events=10 if virtual else 0))
    for name, word in verdicts:
        run.add("apdu/words", name, replace(verdict(word, f"said {word}", requirements="APDU-SW-1"), events=0))
    return run


def write(run: SampleRun, out: Path, **environment: str) -> Path:
    """Write it below `out`; `environment` changes entries of run.json. The run begins at its date and number."""
    path = run.write(out)
    file = path / "run.json"
    content = json.loads(file.read_text())
    content["started"] = f"{run.date}T{run.number}"
    content["environment"]["commit"] = "0123456789abcdef"
    content["environment"] |= {name: value for name, value in environment.items() if name != "atr"}
    if "atr" in environment:
        content["rigs"][0]["atr"] = environment["atr"]
    file.write_text(json.dumps(content))
    return path
