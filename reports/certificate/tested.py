"""What was tested, with what and under which conditions, as far as the records of a run tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from bench.files.mistakes import FileError
from bench.observe import Verdict
from bench.records.fingerprint import RigFingerprint
from bench.records.run import RunRecord
from bench.requirements.applicability import applicable
from bench.requirements.catalogue import catalogue
from bench.rig.calibration import Calibration, calibration_path, read_calibrations
from bench.rig.declaration import Declaration
from reports.arrow import frames
from reports.captured import packets_of
from reports.certificate.method import Method
from reports.certificate.order import Order
from reports.certificate.standing import Findings, PointResult, judge
from reports.errors import ReportError, TableError
from reports.load import Records
from reports.verdicts import natural

MOST_VALUES: Final = 12
"""So many values of a condition are written out."""
MOST_CAPTURED: Final = 100
"""Of so many points that did not pass the packets are looked up."""


@dataclass(frozen=True, slots=True)
class Timing:
    """What the records say of how sure their times are."""

    virtual: bool
    """The points ran in virtual time."""
    exchanges: int
    calibrated: int
    """Exchanges whose reader time is known from a calibration."""
    largest_ns: int
    """The largest uncertainty of reader and card time of those."""
    step_ns: int
    """All durations are multiples of it: the step of the clock; 0 where there are too few to tell."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """How well one kind of value is known, over the whole run."""

    name: str
    unit: str
    values: int
    largest: float
    """The largest half-width that a value of it came with."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A parameter of the points, and the values it had."""

    name: str
    values: str


@dataclass(frozen=True, slots=True)
class Tested:
    """Everything the report is written from, but for its id and its evidence."""

    order: Order
    declaration: Declaration | None
    record: RunRecord
    findings: Findings
    method: Method
    points: tuple[PointResult, ...]
    unfinished: Mapping[str, int]
    timing: Timing
    resolutions: tuple[Resolution, ...]
    conditions: tuple[Condition, ...]
    calibrations: tuple[Calibration, ...]
    calibration_note: str
    packets: Mapping[tuple[str, str], str]
    """Where the packets of points that decided against a pass stand in the capture, by scenario and point."""
    notes: tuple[str, ...]

    @property
    def rig(self) -> RigFingerprint:
        """The rig the run ran on."""
        return self.record.rigs[0]

    @property
    def missing(self) -> int:
        """Planned points that did not finish."""
        return sum(self.unfinished.values())

    @property
    def exit_status(self) -> int:
        return self.findings.exit_status(self.missing)


def look(
    records: Records,
    record: RunRecord,
    method: Method,
    order: Order,
    declaration: Declaration | None,
    rig_file: Path | None,
    no_calibration: str = "",
) -> Tested:
    """Gather it all from a run's records. Raises ReportError where the run names no rig."""
    if not record.rigs:
        raise ReportError(f"{records.runs[0].path}: run.json names no rig, so there is nothing to certify; run again")
    points = _points(records)
    finished = {(point.scenario, point.point) for point in points}
    unfinished = Counter(key.scenario for key in record.planned if (key.scenario, key.point) not in finished)
    why_not = None if declaration is None else lambda requirement: applicable(requirement, declaration)
    findings = judge(catalogue(), points, unfinished, method.named_by, why_not)
    calibrations, note = _calibrations(record.rigs[0], rig_file)
    note = note or no_calibration
    timing, notes = _timing(records)
    return Tested(
        order,
        declaration,
        record,
        findings,
        method,
        points,
        unfinished,
        timing,
        _resolutions(records),
        _conditions(records),
        calibrations,
        note,
        _packets(records, findings),
        (*records.notes, *notes, *_strange(points)),
    )


def _packets(records: Records, findings: Findings) -> Mapping[tuple[str, str], str]:
    wanted = (Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE)
    lines = [line for one in findings.judged for line in one.evidence if line.verdict in wanted]
    found = {}
    for scenario, point, step in list(dict.fromkeys((line.scenario, line.point, line.step) for line in lines))[
        :MOST_CAPTURED
    ]:
        packets = packets_of(records.runs[0], scenario, point, step)
        if packets is not None:
            found[(scenario, point)] = f"{packets.capture.name}: {packets.frames}"
    return found


def _points(records: Records) -> tuple[PointResult, ...]:
    verbs = {
        (str(scenario), str(point), str(index)): str(verb)
        for scenario, point, index, verb in _rows(records.steps, "scenario", "point", "index", "verb")
    }
    found = []
    columns = ("scenario", "title", "point", "verdict", "reason", "step", "requirements")
    for scenario, title, point, verdict, reason, step, requirements in _rows(records.verdicts, *columns):
        index = step if isinstance(step, int) else 0
        found.append(
            PointResult(
                str(scenario),
                str(title),
                str(point),
                Verdict(str(verdict)),
                str(reason),
                index,
                verbs.get((str(scenario), str(point), str(index)), ""),
                tuple(str(requirements).split()),
            )
        )
    return tuple(found)


def _rows(frame: pd.DataFrame, *names: str) -> Sequence[tuple[object, ...]]:
    return list(zip(*(frame[name].tolist() for name in names), strict=True))


def _strange(points: Sequence[PointResult]) -> list[str]:
    """Requirements that the run speaks to and this catalogue does not have."""
    known = catalogue()
    strange = sorted({name for point in points for name in point.requirements} - known.keys())
    if not strange:
        return []
    return [
        f"The run speaks to requirements that this catalogue does not have: {', '.join(strange)}. They are not judged."
    ]


def _conditions(records: Records) -> tuple[Condition, ...]:
    """Of the points that were judged: what did not apply was tried under no conditions."""
    verdicts, frame = records.verdicts, records.parameters
    ran = verdicts.loc[verdicts["verdict"].astype(str) != str(Verdict.NOT_APPLICABLE), ["scenario", "point"]].astype(
        str
    )
    frame = frame.assign(scenario=frame["scenario"].astype(str), point=frame["point"].astype(str)).merge(ran)
    found = []
    for name, values in frame.groupby("name", sort=True)["value"]:
        distinct = sorted({str(value) for value in values}, key=natural)
        text = ", ".join(distinct[:MOST_VALUES])
        if len(distinct) > MOST_VALUES:
            text += f" and {len(distinct) - MOST_VALUES} more (table parameters)"
        found.append(Condition(str(name), text))
    return tuple(found)


def _resolutions(records: Records) -> tuple[Resolution, ...]:
    frame = records.measurements
    if frame.empty:
        return ()
    frame = frame.assign(resolution=pd.to_numeric(frame["resolution"], errors="coerce"))
    found = [
        Resolution(str(name), str(unit), len(values), float(values.fillna(0).max()))
        for (name, unit), values in frame.groupby(["name", "unit"], sort=True)["resolution"]
    ]
    return tuple(found)


def _timing(records: Records) -> tuple[Timing, list[str]]:
    events = pd.to_numeric(records.verdicts["events"], errors="coerce").fillna(0)
    virtual = bool((events > 0).any())
    exchanges = calibrated = largest = step = 0
    file = records.runs[0].table("exchanges")
    if file is None:
        return Timing(virtual, 0, 0, 0, 0), []
    try:
        for frame in frames(file, ("duration_ns", "uncertainty_ns", "count")):
            exchanges += int(frame["count"].sum())
            sure = frame["uncertainty_ns"] > 0
            calibrated += int(frame.loc[sure, "count"].sum())
            largest = max(largest, int(frame["uncertainty_ns"].max()))
            step = int(np.gcd(step, int(np.gcd.reduce(frame["duration_ns"].to_numpy(np.int64)))))
    except TableError as cause:
        return Timing(virtual, 0, 0, 0, 0), [f"{cause}; how sure the times are cannot be told."]
    return Timing(virtual, exchanges, calibrated, largest, step if exchanges > 100 else 0), []


def rig_file_of(record: RunRecord, named: Path | None) -> tuple[Path | None, str]:
    """The rig file of a run, where it still reads as it did; else why not. `named` is the one that the caller names."""
    path = named
    if path is None:
        words = [word for part in record.command_line for word in part.split("=", 1)]
        places = [index + 1 for index, word in enumerate(words[:-1]) if word == "--rig"]
        path = Path(words[places[-1]]) if places else None
    if path is None:
        return None, "none"
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return None, f"not stated: the rig file {path.name} is not to be found"
    # The record holds the texts of declarations behind that of the rig file.
    if record.rigs and record.rigs[0].text != text and not record.rigs[0].text.startswith(f"{text}\n# "):
        return None, f"not stated: the rig file {path.name} has changed since the run"
    return path, ""


def _calibrations(rig: RigFingerprint, rig_file: Path | None) -> tuple[tuple[Calibration, ...], str]:
    if rig_file is None:
        return (), ""
    try:
        kept = read_calibrations(calibration_path(rig_file)).calibrations
    except FileError as error:
        return (), f"not stated: {error}"
    mine = tuple(each for each in kept if each.rig == rig.name)
    return mine, "" if mine else "none"
