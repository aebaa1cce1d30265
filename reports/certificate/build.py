"""Make a report's directory: evidence copied and hashed, the run judged, HTML, PDF, CSV and JSON written.

evidence/run/…            the run's directory: run.json, tables, journals, capture
evidence/scenarios/…      the scenario files of the run, evidence/requirements/… the catalogue
evidence/rig.yaml, rig.calibration.json, declaration.yaml, order.yaml      where there are such
SHA256SUMS                everything below evidence/; its own hash is printed in the report
test-report.html, test-report.pdf, requirements.csv, matrix.csv, certificate.json
REPORT-SHA256SUMS         those, and SHA256SUMS
"""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.records.errors import RunError
from bench.records.run import RUN_JSON, RunRecord, read_run_json
from bench.requirements.catalogue import FOLDER
from bench.requirements.declarations import load_declaration
from bench.rig.calibration import calibration_path
from reports.certificate.content import document_of, points_text, statement
from reports.certificate.document import Column, Grid, Kind
from reports.certificate.evidence import EVIDENCE, REPORT_SUMS, SUMS, copy_tree, evidence_files, write_sums
from reports.certificate.method import Method, method_of, scenario_texts
from reports.certificate.order import Order
from reports.certificate.page import render_html
from reports.certificate.pdf import render_pdf
from reports.certificate.standing import Standing
from reports.certificate.tested import Tested, look, rig_file_of
from reports.detection import read_validation
from reports.errors import ReportError
from reports.load import find_runs, load

HTML: Final = "test-report.html"
PDF: Final = "test-report.pdf"
JSON: Final = "certificate.json"
REQUIREMENTS_CSV: Final = "requirements.csv"
MATRIX_CSV: Final = "matrix.csv"
RUNS: Final = Path(EVIDENCE) / "run"
FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class Request:
    """What a report is made of. `run` is a directory that holds one run; where it lies below `out` already, it is not copied."""

    run: Path
    out: Path
    order: Order
    order_file: Path | None = None
    declaration: Path | None = None
    rig: Path | None = None
    """The rig file, where it is not the one that the run's command line names."""
    scenarios: tuple[Path, ...] = (Path("scenarios"),)
    validation: Path | None = None
    """validation.json of `cardbench validate`, where the report is to hold the detection matrix."""


@dataclass(frozen=True, slots=True)
class Certified:
    """The report that was written."""

    directory: Path
    id: str
    statement: tuple[str, ...]
    counts: tuple[tuple[Standing, int], ...]
    """Requirements of card and chain, by verdict."""
    open: tuple[tuple[str, str, str], ...]
    """Requirements of card and chain that failed or stayed open: id, verdict, why."""
    list_hash: str
    pdf_hash: str
    exit_status: int


def certify(request: Request) -> Certified:
    """Write the report's directory. Raises ReportError, and FileError for a mistake in the declaration or a file of its kind."""
    run, record = _run(request.run)
    declaration = None if request.declaration is None else load_declaration(request.declaration)
    validation = None if request.validation is None else read_validation(request.validation)
    out = request.out
    try:
        place = _place(out, run)
        rig_file, no_calibration = rig_file_of(record, request.rig)
        records = load([place])
        known = scenario_texts(request.scenarios)
        noted = [(each.name, each.sha256) for each in record.scenarios]
        method = method_of(sorted({key.scenario for key in record.planned}), noted, known)
        tested = look(records, record, method, request.order, declaration, rig_file, no_calibration)
        _beside(request, record, method, rig_file if tested.calibrations else None)
        files = evidence_files(out)
        list_hash = write_sums(out, SUMS, files)
        id = request.order.report or _id(list_hash, request.order)
        document = document_of(tested, id, _evidence_grid(out, files), list_hash, validation)
        (out / HTML).write_text(render_html(document), "utf-8", newline="\n")
        render_pdf(document, out / PDF)
        _write_tables(out, tested)
        _write_json(out, tested, id, list_hash)
        write_sums(out, REPORT_SUMS, [out / name for name in (HTML, PDF, JSON, REQUIREMENTS_CSV, MATRIX_CSV, SUMS)])
        pdf_hash = hashlib.sha256((out / PDF).read_bytes()).hexdigest()
    except OSError as cause:
        raise ReportError(f"the report cannot be written to {out}: {cause}; name another place with --out") from cause
    return _certified(out, tested, id, list_hash, pdf_hash)


def _run(directory: Path) -> tuple[Path, RunRecord]:
    found = find_runs([directory])
    if len(found) > 1:
        names = ", ".join(str(run.path) for run in found[-3:])
        raise ReportError(f"{directory}: holds {len(found)} runs; name the one to certify, such as {names}")
    try:
        record = read_run_json(found[0].path / RUN_JSON)
    except RunError as cause:
        raise ReportError(str(cause)) from cause
    if record.ended is None:
        raise ReportError(f"{found[0].path}: the run was not closed; finish it with `cardbench run --resume`")
    return found[0].path, record


def _place(out: Path, run: Path) -> Path:
    """Where the run lies below the report's directory; copied there where it does not yet."""
    if run.resolve().is_relative_to((out / RUNS).resolve()):
        return run
    parts = [part for part in run.resolve().parts if part.startswith(("station=", "date=", "run="))]
    place = (out / RUNS).joinpath(*(parts or [run.resolve().name]))
    place.mkdir(parents=True, exist_ok=True)
    copy_tree(run, place)
    return place


def _beside(request: Request, record: RunRecord, method: Method, calibrated: Path | None) -> None:
    """What the run was made of, copied beside it."""
    evidence = request.out / EVIDENCE
    for text in method.files.values():
        _copy(text.path, evidence / "scenarios" / f"{text.name}.yaml")
    for path in sorted(FOLDER.glob("*.yaml")):
        _copy(path, evidence / "requirements" / path.name)
    if record.rigs:
        (evidence / "rig.yaml").write_text(record.rigs[0].text, "utf-8", newline="")
    if calibrated is not None:
        _copy(calibration_path(calibrated), evidence / "rig.calibration.json")
    beside = (
        (request.declaration, "declaration.yaml"),
        (request.order_file, "order.yaml"),
        (request.validation, "validation.json"),
    )
    for source, name in beside:
        if source is not None:
            _copy(source, evidence / name)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _id(list_hash: str, order: Order) -> str:
    """A report's own number where the laboratory gives none: the same evidence and the same order have the same."""
    digest = hashlib.sha256(f"{list_hash}\n{order.model_dump_json()}".encode()).hexdigest()
    return f"CB-{digest[:12].upper()}"


def _evidence_grid(out: Path, files: Sequence[Path]) -> Grid:
    """The files of the run one by one, those of method and catalogue as a whole: the list itself has them all."""
    rows = []
    bundles: dict[str, list[Path]] = {}
    for path in files:
        name = path.relative_to(out).as_posix()
        bundle = next((each for each in ("scenarios", "requirements", "csv") if f"/{each}/" in name), "")
        if bundle:
            bundles.setdefault(name[: name.index(f"/{bundle}/") + len(bundle) + 2], []).append(path)
        else:
            rows.append((name, str(path.stat().st_size)))
    for folder, inside in bundles.items():
        rows.append((f"{folder} ({len(inside)} files)", str(sum(path.stat().st_size for path in inside))))
    return Grid((Column("file", 8, Kind.CODE), Column("bytes", 1, Kind.NUMBER)), tuple(sorted(rows)))


def _write_tables(out: Path, tested: Tested) -> None:
    with (out / REQUIREMENTS_CSV).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["requirement", "source", "clause", "text", "strength", "dut", "verdict", "reason", "points"])
        for one in tested.findings.judged:
            asked = one.requirement
            words = (asked.id, asked.source, asked.clause, asked.text, asked.strength.value, asked.dut.value)
            writer.writerow([*words, one.standing.value, one.reason, points_text(one.tally, one.unfinished)])
    with (out / MATRIX_CSV).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["requirement", "scenario", "title", "verdict", "points", "point", "step", "verb", "reason"])
        for one in tested.findings.judged:
            for line in one.evidence:
                points = points_text(line.tally, line.unfinished)
                writer.writerow(
                    [
                        line.requirement,
                        line.scenario,
                        line.title,
                        line.verdict.value,
                        points,
                        line.point,
                        line.step or "",
                        line.verb,
                        line.reason,
                    ]
                )


def _write_json(out: Path, tested: Tested, id: str, list_hash: str) -> None:
    """The same for other programs."""
    content = {
        "format": FORMAT,
        "report": id,
        "evidence_list_sha256": list_hash,
        "scenario_set_sha256": tested.method.scenario_hash,
        "catalogue_sha256": tested.method.catalogue_hash,
        "started": tested.record.started,
        "ended": tested.record.ended,
        "statement": list(statement(tested)),
        "exit_status": tested.exit_status,
        "planned": len(tested.record.planned),
        "unfinished": tested.missing,
        "requirements": [
            {
                "id": one.requirement.id,
                "dut": one.requirement.dut.value,
                "strength": one.requirement.strength.value,
                "verdict": one.standing.value,
                "reason": one.reason,
                "scenarios": [line.scenario for line in one.evidence],
            }
            for one in tested.findings.judged
        ],
    }
    (out / JSON).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8", newline="\n")


def _certified(out: Path, tested: Tested, id: str, list_hash: str, pdf_hash: str) -> Certified:
    item = [one for one in tested.findings.judged if one.of_item]
    bad = tested.findings.of(Standing.FAIL, Standing.ERROR, Standing.INCONCLUSIVE, item=True)
    return Certified(
        out,
        id,
        statement(tested),
        tuple((standing, sum(one.standing is standing for one in item)) for standing in Standing),
        tuple((one.requirement.id, one.standing.value, one.reason) for one in bad),
        list_hash,
        pdf_hash,
        tested.exit_status,
    )
