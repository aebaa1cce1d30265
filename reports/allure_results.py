"""What a run adds to its Allure results when it closes: steps with what they measured, traces, captures and pictures, links, environment, categories.

Allure's plugin writes a result a point, with labels that tell which (`fixtures.allure_labels`). All that is added comes from the run's journals, so
that it is the same with one worker, with many, and after a resume. Steps stand at the point's own time, counted from the test's beginning.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from bench.observe import Verdict
from bench.records.capture import Capture
from bench.records.columns import EXCHANGES, MEASUREMENTS, STEPS, VERDICTS
from bench.records.reading import ChosenRun, RowId, RunRows, choose, journal_paths, open_journal, present
from bench.records.tables import as_rows
from reports.load import Run, find_runs
from reports.svg import Curve, curves

POINT_LABEL: Final = "cardbench_point"
RUN_LABEL: Final = "cardbench_run"
REQUIREMENT: Final = "requirement"
"""The type of a link to a requirement."""
MOST_TRACED: Final = 400
"""Exchanges that a trace tells, the last ones; the capture and the tables have them all."""
MOST_DRAWN: Final = 400

_Json: TypeAlias = dict[str, object]

CATEGORIES: Final = (
    {"name": "Product faults: the card failed", "matchedStatuses": ["failed"]},
    {"name": "Bench faults: bench, reader or network", "matchedStatuses": ["broken"]},
    {"name": "Left inconclusive", "matchedStatuses": ["skipped"], "messageRegex": r"[\s\S]*inconclusive:[\s\S]*"},
    {"name": "Not applicable", "matchedStatuses": ["skipped"], "messageRegex": r"[\s\S]*not applicable:[\s\S]*"},
)
_FACTS: Final = (
    ("rig", "rigs.*.name"),
    ("reader", "rigs.*.reader"),
    ("driver", "rigs.*.driver"),
    ("firmware", "rigs.*.firmware"),
    ("ATR", "rigs.*.atr"),
    ("card.clock.Hz", "rigs.*.clock_hz"),
    ("seed", "seed"),
    ("cardbench", "environment.cardbench"),
    ("commit", "environment.commit"),
    ("python", "environment.python"),
    ("kernel", "environment.kernel"),
    ("processor", "environment.cpu"),
)
_STATUS: Final = {Verdict.FAIL: "failed", Verdict.ERROR: "broken", Verdict.INCONCLUSIVE: "skipped"}


def complete(results: Path, run_directory: Path) -> int:
    """Add to the results of this run in the folder `results`; gives how many there were. Raises JournalError, ReportError."""
    (run,) = find_runs([run_directory])
    mine = {}
    for path in sorted(results.glob("*-result.json")):
        content = json.loads(path.read_text("utf-8"))
        labels = {label["name"]: label["value"] for label in content.get("labels", [])}
        if labels.get(RUN_LABEL) == str(run_directory.absolute()):
            mine[labels.get(POINT_LABEL, "")] = (path, content)
    with ExitStack() as stack:
        for one in choose([stack.enter_context(open_journal(path)) for path in journal_paths(run_directory)]):
            known = mine.get(f"{one.run.key.scenario}::{one.run.key.point}")
            if known is not None:
                _complete(results, run, one, *known)
    _write_beside(results, run)
    return len(mine)


def _complete(results: Path, run: Run, one: ChosenRun, path: Path, content: _Json) -> None:
    point = _Point(one, one.journal.rows(one.run))
    start = content.get("start")
    content["steps"] = list(point.steps(start if isinstance(start, int) else 0))
    attachments = []
    for name, media, suffix, data in point.attachments():
        source = f"{path.name.removesuffix('-result.json')}-{suffix}"
        (results / source).write_bytes(data)
        attachments.append({"name": name, "source": source, "type": media})
    _name_run(content, run)
    known = content.get("attachments")
    content["attachments"] = [*(known if isinstance(known, list) else []), *attachments]
    path.write_text(json.dumps(content, ensure_ascii=False), "utf-8")


def _name_run(content: _Json, run: Run) -> None:
    """The run's place on this machine becomes its name, and a link to a requirement leads to the run's report."""
    labels, links = content.get("labels"), content.get("links")
    for label in labels if isinstance(labels, list) else []:
        if label.get("name") == RUN_LABEL:
            label["value"] = "/".join((run.station, run.date, run.number))
    report = run.path / "report.html"
    target = f"{report.absolute().as_uri()}#requirement-table" if report.is_file() else run.path.absolute().as_uri()
    for link in links if isinstance(links, list) else []:
        # With --allure-link-pattern it already leads to where a lab keeps its requirements.
        if link.get("type") == REQUIREMENT and link.get("url") == link.get("name"):
            link["url"] = target


@dataclass(frozen=True, slots=True)
class _Point:
    """A point as its journal holds it."""

    one: ChosenRun
    rows: RunRows

    def _text(self, number: int) -> str:
        return self.one.journal.strings[int(number)]

    def steps(self, start_ms: int) -> Iterator[_Json]:
        """The steps in order, each with what was measured while it ran."""
        (last,) = as_rows(VERDICTS, self.rows)
        decided, word = int(last["step"]), Verdict(self._text(last["verdict"]))
        marks = list(as_rows(STEPS, self.rows))
        for place, mark in enumerate(marks):
            if not mark["began"]:
                continue
            end = next((each for each in marks[place:] if not each["began"] and each["index"] == mark["index"]), None)
            bad = decided == int(mark["index"]) and word in _STATUS
            begin_ns, end_ns = int(mark["time_ns"]), int(end["time_ns"] if end is not None else last["duration_ns"])
            yield {
                "name": f"{mark['index']} {self._text(mark['verb'])}",
                "status": _STATUS[word] if bad else "passed",
                **({"statusDetails": {"message": self._text(last["reason"])}} if bad else {}),
                "parameters": [{"name": "took", "value": f"{(end_ns - begin_ns) / 1e6:.6g} ms"}],
                "steps": list(self._measured(int(mark["seq"]), int(end["seq"]) if end is not None else None, start_ms)),
                "start": start_ms + begin_ns // 1_000_000,
                "stop": start_ms + end_ns // 1_000_000,
            }

    def _measured(self, begin: int, end: int | None, moment: int) -> Iterator[_Json]:
        for row in as_rows(MEASUREMENTS, self.rows):
            if int(row["seq"]) < begin or (end is not None and int(row["seq"]) > end):
                continue
            detail = self._text(row["detail"])
            word = Verdict(self._text(row["verdict"]))
            unit = self._text(row["unit"])
            limits = [
                {"name": name.replace("_", " "), "value": f"{float(row[name]):.12g} {unit}"}
                for name in ("at_least", "at_most")
                if row[present(name)]
            ]
            yield {
                "name": f"{self._text(row['name'])}{f' ({detail})' if detail else ''}: {word}",
                "status": _STATUS.get(word, "passed"),
                "parameters": [{"name": "value", "value": f"{float(row['value']):.12g} {unit}"}, *limits],
                "start": moment,
                "stop": moment,
            }

    def attachments(self) -> Iterator[tuple[str, str, str, bytes]]:
        """Name, media type, end of the file's name and content of each."""
        exchanges = as_rows(EXCHANGES, self.rows)
        if len(exchanges):
            yield "trace of exchanges", "text/plain", "trace.txt", self._trace().encode()
        if self.rows.payloads:
            stream = io.BytesIO()
            capture = Capture(stream)
            capture.add(self.one.run.key, self.one.journal.strings, self.rows, self.one.run.duration_ns or 0)
            if capture.packets:
                yield "capture for Wireshark", "application/octet-stream", "capture.pcapng", stream.getvalue()
        if len(exchanges) > 1:
            yield "durations of exchanges", "image/svg+xml", "durations.svg", self._picture().encode()

    def _trace(self) -> str:
        rows = as_rows(EXCHANGES, self.rows)
        lines = [f"the last {MOST_TRACED} of {len(rows)} exchanges"] if len(rows) > MOST_TRACED else []
        for row in rows[-MOST_TRACED:]:
            command, response = self.rows.payloads.get(RowId(EXCHANGES.name, int(row["seq"])), (b"", b""))
            sent = command.hex(" ").upper() or f"INS {row['ins']:02X}, {row['sent_bytes']} bytes (not kept)"
            received = response.hex(" ").upper() or f"{row['received_bytes']} bytes, {row['sw']:04X}"
            error = self._text(row["error"])
            times = f" x {row['count']}" if row["count"] > 1 else ""
            lines.append(
                f"{row['start_ns'] / 1e6:13.6f} ms  hop {row['hop']}  {self._text(row['level'])}{times}\n  > {sent}\n"
                f"  < {error or received}  after {row['duration_ns'] / 1e6:.6f} ms"
            )
        return "\n".join(lines) + "\n"

    def _picture(self) -> str:
        rows = as_rows(EXCHANGES, self.rows)
        levels = sorted({int(number) for number in rows["level"]})
        drawn = []
        for level in levels:
            mine = rows[rows["level"] == level]
            chosen = mine[:: max(1, len(mine) // MOST_DRAWN)]
            pairs = zip(chosen["start_ns"].tolist(), chosen["duration_ns"].tolist(), strict=True)
            drawn.append(Curve(self._text(level), tuple((start / 1e6, lasted / 1e6) for start, lasted in pairs)))
        return curves("Durations of exchanges", "since the point began (ms)", "duration (ms)", drawn)


def _write_beside(results: Path, run: Run) -> None:
    facts = [(name, run.fact(pattern)) for name, pattern in _FACTS]
    told = [("station", run.station), *facts]
    text = "".join(f"{name} = {_one_line(value)}\n" for name, value in told if value not in ("", "0", "null"))
    (results / "environment.properties").write_text(text, "utf-8")
    (results / "categories.json").write_text(json.dumps(CATEGORIES, indent=1), "utf-8")
    executor = {"name": "cardbench", "type": "cardbench", "buildName": f"{run.station} {run.date} {run.number}"}
    (results / "executor.json").write_text(json.dumps(executor, indent=1), "utf-8")


def _one_line(value: str) -> str:
    return " ".join(value.split()).replace("\\", "\\\\")
