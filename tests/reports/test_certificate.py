"""The decision rule, the lists of evidence, and what people state."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from bench.files.mistakes import FileError
from bench.observe import Verdict
from bench.requirements.catalogue import Dut, Requirement, Strength
from reports.certificate.document import Column, Document, Fact, Facts, Grid, Items, Kind, Section, Signature, Text
from reports.certificate.evidence import SUMS, Change, Difference, check, evidence_files, write_sums
from reports.certificate.order import Order, load_order, with_options
from reports.certificate.page import render_html
from reports.certificate.pdf import render_pdf
from reports.certificate.standing import Findings, PointResult, Standing, judge
from reports.errors import ReportError


def point(name: str, verdict: Verdict, *requirements: str, scenario: str = "link/a") -> PointResult:
    reason = "" if verdict is Verdict.PASS else f"why {name}"
    return PointResult(scenario, "A title", name, verdict, reason, 0, "", requirements)


def found(
    *points: PointResult,
    unfinished: int = 0,
    why_not: Callable[[Requirement], str] | None = None,
    dut: Dut = Dut.CARD,
    strength: Strength = Strength.MUST,
    uncovered: str = "",
) -> Findings:
    asked = Requirement.model_validate(
        {"id": "R-1", "clause": "1", "text": "t", "layer": "link", "dut": dut, "strength": strength}
        | ({"uncovered": uncovered} if uncovered else {})
    )
    missing = {"link/a": unfinished} if unfinished else {}
    return judge({"R-1": asked}, points, missing, {"R-1": ("link/a",)}, why_not)


ORDER = (Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.MARGINAL, Verdict.PASS, Verdict.NOT_APPLICABLE)


@pytest.mark.parametrize("place", range(len(ORDER)))
def test_the_worst_of_all_points_of_all_scenarios_counts(place: int) -> None:
    points = [point(str(n), verdict, "R-1", scenario=f"link/{n % 2}") for n, verdict in enumerate(ORDER[place:])]
    (one,) = found(*reversed(points)).judged
    assert one.standing == Standing(ORDER[place].value)
    assert one.tally.total == len(points)
    if ORDER[place] is not Verdict.PASS:
        assert "why 0" in one.reason


def test_what_was_planned_and_did_not_finish_is_an_error_unless_something_failed() -> None:
    passed, failed = point("p", Verdict.PASS, "R-1"), point("q", Verdict.FAIL, "R-1")
    (one,) = found(passed, unfinished=2).judged
    assert (one.standing, one.unfinished) == (Standing.ERROR, 2)
    assert "2 of 3 planned points did not finish" in one.reason
    assert found(unfinished=1).judged[0].standing is Standing.ERROR
    assert found(passed, failed, unfinished=2).judged[0].standing is Standing.FAIL


def test_what_the_declaration_rules_out_is_not_applicable_whatever_its_points_say() -> None:
    (one,) = found(point("p", Verdict.FAIL, "R-1"), why_not=lambda _: "declared is no ip").judged
    assert one.standing is Standing.NOT_APPLICABLE
    assert one.reason == "declared is no ip; 1 points that were run are not counted"


def test_what_applies_and_this_rig_cannot_show_is_not_covered() -> None:
    beyond = point("p", Verdict.NOT_APPLICABLE, "R-1")
    assert found(beyond).judged[0].standing is Standing.NOT_APPLICABLE
    (one,) = found(beyond, why_not=lambda _: "").judged
    assert one.standing is Standing.NOT_COVERED
    assert "no point could be judged: why p" in one.reason


def test_why_a_requirement_is_not_covered() -> None:
    assert found().judged[0].reason == "not part of this run: link/a"
    assert found(uncovered="nobody knows how").judged[0].reason == "nobody knows how"
    assert found().judged[0].standing is Standing.NOT_COVERED


@pytest.mark.parametrize(
    ("verdict", "dut", "strength", "status"),
    [
        (Verdict.PASS, Dut.CARD, Strength.MUST, 0),
        (Verdict.MARGINAL, Dut.CHAIN, Strength.MUST, 0),
        (Verdict.FAIL, Dut.CARD, Strength.MUST, 1),
        (Verdict.FAIL, Dut.CHAIN, Strength.MUST, 1),
        (Verdict.FAIL, Dut.CARD, Strength.SHOULD, 0),
        (Verdict.FAIL, Dut.HOST, Strength.MUST, 3),
        (Verdict.ERROR, Dut.CARD, Strength.MUST, 3),
        (Verdict.INCONCLUSIVE, Dut.CARD, Strength.MUST, 3),
        (Verdict.NOT_APPLICABLE, Dut.CARD, Strength.MUST, 3),
    ],
)
def test_exit_status(verdict: Verdict, dut: Dut, strength: Strength, status: int) -> None:
    findings = found(point("p", verdict, "R-1"), dut=dut, strength=strength)
    assert findings.exit_status(0) == status
    assert findings.exit_status(1) == (status or 3)


def evidence(directory: Path) -> str:
    for name, text in (("run/a", "one"), ("run/odd\\name\nhere", "two"), ("rig.yaml", "three")):
        path = directory / "evidence" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    digest = write_sums(directory, SUMS, evidence_files(directory))
    (directory / "report.html").write_text("the report")
    write_sums(directory, "REPORT-SHA256SUMS", [directory / "report.html", directory / SUMS])
    return digest


def test_every_change_to_the_evidence_is_told_by_its_file(tmp_path: Path) -> None:
    digest = evidence(tmp_path)
    assert check(tmp_path, digest) == ()
    (tmp_path / "evidence/run/a").write_text("One")
    (tmp_path / "evidence/rig.yaml").unlink()
    (tmp_path / "evidence/run/odd\\name\nhere").rename(tmp_path / "evidence/run/b")
    (tmp_path / "report.html").unlink()
    (tmp_path / "elsewhere").write_text("the report")
    (tmp_path / "report.html").symlink_to(tmp_path / "elsewhere")
    assert check(tmp_path) == (
        Difference("elsewhere", Change.ADDED),
        Difference("evidence/rig.yaml", Change.MISSING),
        Difference("evidence/run/a", Change.CHANGED),
        Difference("evidence/run/b", Change.ADDED),
        Difference("evidence/run/odd\\name\nhere", Change.MISSING),
        Difference("report.html", Change.CHANGED, "a link stands in its place"),
    )


def test_evidence_and_lists_that_were_changed_together_differ_from_the_printed_hash(tmp_path: Path) -> None:
    printed = evidence(tmp_path)
    (tmp_path / "evidence/run/a").write_text("One")
    write_sums(tmp_path, SUMS, evidence_files(tmp_path))
    write_sums(tmp_path, "REPORT-SHA256SUMS", [tmp_path / "report.html", tmp_path / SUMS])
    assert check(tmp_path) == ()
    assert check(tmp_path, printed) == (Difference(SUMS, Change.CHANGED, "its hash is not the one given"),)


def test_lines_that_lead_out_of_the_directory_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / SUMS).write_text(f"{'0' * 64}  ../secret\n{'0' * 64}  /etc/passwd\nno hash at all\n")
    assert check(tmp_path) == (
        Difference("REPORT-SHA256SUMS", Change.MISSING),
        *(Difference(SUMS, Change.UNREADABLE, f"line {line}") for line in (1, 2, 3)),
    )


def test_a_directory_without_a_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="holds no SHA256SUMS"):
        check(tmp_path)


def test_mistakes_of_an_order_are_told_with_their_place(tmp_path: Path) -> None:
    path = tmp_path / "order.yaml"
    path.write_text("customer: {nme: Acme}\nissued: 23.11.2026\nsample: {received: 2026-02-30}\n")
    with pytest.raises(FileError) as raised:
        load_order(path)
    text = str(raised.value)
    assert f"{path}:1:12: the unknown key 'nme' (did you mean 'name'?)" in text
    assert f"{path}:2:9: '23.11.2026'; expected a date of the form 2026-11-23" in text
    assert f"{path}:3:20: '2026-02-30'; expected a date" in text


def test_options_say_it_instead_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "order.yaml"
    path.write_text("customer: {name: Acme, contact: Jo}\nsample: {state: sealed}\n")
    order = with_options(load_order(path), {"customer": "Other", "sample": "S-7", "operator": None})
    assert order.customer is not None
    assert (order.customer.name, order.customer.contact) == ("Other", "Jo")
    assert (order.sample.id, order.sample.state, order.operator) == ("S-7", "sealed", None)
    with pytest.raises(ValidationError):
        with_options(Order(), {"issued": "yesterday"})


def test_the_order_that_the_page_shows_is_one(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "certify.md").read_text()
    (shown,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    path = tmp_path / "order.yaml"
    path.write_text(shown)
    order = load_order(path)
    assert all(getattr(order, name) is not None for name in Order.model_fields)
    assert order.model_fields_set == Order.model_fields.keys()


@pytest.mark.parametrize("text", ["x" * 6_000, "many words " * 600, "<b>&amp;</style>\x00\x1b[31m\ud800漢\n\t</p>", ""])
def test_a_report_can_be_set_whatever_its_texts_hold(tmp_path: Path, text: str) -> None:
    columns = (Column("narrow", 1), Column("verdict", 1, Kind.VERDICT), Column("wide", 30))
    blocks = (
        Text(text, strong=True),
        Items((text,)),
        Facts((Fact(text[:100], text, code=True),)),
        Grid(columns, ((text, text, text), (text, "fail", ""))),
        Signature(text, text, ""),
    )
    document = Document(
        "Report", text[:50], text[:50], "pass", (Section(text[:200], blocks),), "2026-11-23T10:00:00Z", "x"
    )
    html = render_html(document)
    assert html.count("<b>") == html.count("</p><p") == 0
    assert html.count("</style>") == 1
    render_pdf(document, tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF-")
