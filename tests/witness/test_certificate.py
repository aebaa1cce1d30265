"""A small certificate, read and checked by software from outside: coreutils' sha256sum, poppler's pdfinfo and pdftotext, Chromium and axe."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli import cardbench
from reports.certificate.build import Request, certify
from reports.certificate.order import load_order
from reports.detection import CAUGHT, DetectionRow, Validation, write_validation
from tests.witness.axe import violations
from tests.witness.chromium import PROGRAM, Browser, browser
from tests.witness.programs import run, tool

ROOT = Path(__file__).parents[2]
PATIENCE_S = 300
POLLS = ("link", "hop-polls")
ORDER = """\
order: O-17
laboratory: {name: "Zkušebna čipových karet", address: Brno}
customer: {name: "Żółć & Αθήνα <test>"}
sample: {id: S-0007, received: 2026-11-20}
deviations: [the reader was not warmed up]
"""
IS_OPEN = "location.pathname.endsWith('/test-report.html')"
PAGE = {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 24, 29)"}
DECLARATION = """\
card: Acme 7
protocols: [T=1]
stack: none
"""


@dataclass(frozen=True)
class Made:
    """What `cardbench certify` left: of a wrong card, beside a sound point."""

    folder: Path
    status: int
    said: str

    @property
    def report(self) -> Path:
        return self.folder / "report"

    def text(self, name: str = "report") -> str:
        return run(tool("pdftotext"), "-layout", str(self.folder / name / "test-report.pdf"), "-").decode()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("certify")
    link = folder / "scenarios" / "link"
    link.mkdir(parents=True)
    shutil.copy(ROOT / "scenarios/link/hop-polls.yaml", link)
    guard = (ROOT / "scenarios/link/guard-time.yaml").read_text()
    guard, changed = re.subn(
        r"^given: \{profile: plain\}$", "given: {profile: plain, defect: guard-11-etu}", guard, flags=re.M
    )
    guard, cut = re.subn(r"^  ta1: \[.*\]$", "  ta1: [11, 96]", guard, count=1, flags=re.M)
    assert changed == cut == 1
    (link / "guard-time.yaml").write_text(guard)
    (folder / "order.yaml").write_text(ORDER)
    (folder / "declaration.yaml").write_text(DECLARATION)
    command = [
        sys.executable,
        "-P",
        "-m",
        "bench.cli",
        "certify",
        "--order",
        "order.yaml",
        "--out",
        "report",
        "--no-report",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    return Made(folder, ended.returncode, ended.stdout + ended.stderr)


def again(made: Made, name: str, declaration: Path | None = None, validation: Path | None = None) -> None:
    order, run_dir, known = made.folder / "order.yaml", made.report / "evidence/run", (made.folder / "scenarios",)
    certify(Request(run_dir, made.folder / name, load_order(order), order, declaration, None, known, validation))


def test_a_wrong_card_fails_with_its_requirement_and_what_was_seen(made: Made) -> None:
    assert made.status == 1, made.said
    assert "The item does not conform: it fails CHAR-GT-1." in made.said
    assert re.search(r"fail: CHAR-GT-1: link/guard-time \[ta1-11\]: .*11 etu .*at least 12 etu", made.said)


def test_sha256sum_finds_every_file_as_listed_and_names_the_changed_one(made: Made, tmp_path: Path) -> None:
    report = tmp_path / "report"
    shutil.copytree(made.report, report)
    for sums in ("SHA256SUMS", "REPORT-SHA256SUMS"):
        subprocess.run([tool("sha256sum"), "--strict", "--quiet", "-c", sums], cwd=report, check=True, timeout=60)
    checked = CliRunner().invoke(cardbench, ["certify", "--check", str(report)])
    assert checked.exit_code == 0, checked.output
    (table,) = report.glob("evidence/run/*/*/*/verdicts.parquet")
    data = bytearray(table.read_bytes())
    data[len(data) // 2] ^= 1
    table.write_bytes(data)
    (report / "evidence/more").write_text("")
    name = table.relative_to(report).as_posix()
    found = subprocess.run(
        [tool("sha256sum"), "-c", "SHA256SUMS"], cwd=report, capture_output=True, text=True, timeout=60
    )
    assert found.returncode == 1
    assert [line for line in found.stdout.splitlines() if not line.endswith(": OK")] == [f"{name}: FAILED"]
    checked = CliRunner().invoke(cardbench, ["certify", "--check", str(report)])
    assert checked.exit_code == 1
    assert checked.output.splitlines() == ["added: evidence/more", f"changed: {name}", "2 differences"]


def test_the_pdf_says_what_a_test_report_must(made: Made) -> None:
    text = made.text()
    pages = text.split("\f")[:-1]
    facts = dict(
        re.findall(
            r"^(\w+):\s+(.*)$", run(tool("pdfinfo"), "-isodates", str(made.report / "test-report.pdf")).decode(), re.M
        )
    )
    assert int(facts["Pages"]) == len(pages) > 2
    (id,) = set(re.findall(r"CB-[0-9A-F]{12}", text))
    for number, page in enumerate(pages, 1):
        assert re.search(rf"Test report {id}\s+Page {number} of {len(pages)}$", page.rstrip())
    assert f"End of test report {id}" in pages[-1]
    assert facts["Title"] == f"Conformance test report {id}"
    for label, value in (
        ("Order", "O-17"),
        ("Laboratory", "Zkušebna čipových karet"),
        ("Customer", "Żółć & Αθήνα <test>"),
        ("Sample", "S-0007"),
        ("Item received", "2026-11-20"),
        ("Operator", "not stated"),
        ("Calibration of the reader", "none: the line is virtual"),
    ):
        assert re.search(rf"^{label}\s+{re.escape(value)}$", text, re.M), label
    begun = re.search(r"^Tests ended\s+(\S+)\.\d+Z$", text, re.M)
    assert begun is not None
    assert facts["CreationDate"] == f"{begun[1]}Z"
    for sentence in (
        "The item does not conform: it fails CHAR-GT-1.",
        "relate only to the item tested",
        "Decision rule",
        "Measurement uncertainty",
        "Stated by the laboratory: the reader was not warmed up",
        "what is outside it",
        "Authorised by: not stated",
    ):
        assert sentence in text
    hash_of_list = run(tool("sha256sum"), str(made.report / "SHA256SUMS")).decode().split()[0]
    assert hash_of_list in text
    assert re.search(r"^CHAR-GT-1\s+\[\d+\] 7\.2\s.*fail", text, re.M)
    assert re.search(r"capture\.pcapng:\s+frames? \d", text)
    assert re.search(r"^HOP-POLL-1\s.*\spass\s+2 pass", text, re.M)


def test_html_and_tables_say_the_same(made: Made) -> None:
    html = (made.report / "test-report.html").read_text()
    assert "Żółć &amp; Αθήνα &lt;test&gt;" in html
    assert "<script" not in html
    rows = (made.report / "requirements.csv").read_text().splitlines()
    assert any(row.startswith("CHAR-GT-1,") and ",fail," in row for row in rows)
    assert any(row.startswith("HOP-POLL-1,") and ",pass," in row for row in rows)


def test_the_same_run_gives_the_same_bytes(made: Made) -> None:
    again(made, "second")
    first, second = made.report, made.folder / "second"
    names = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(second) for path in second.rglob("*") if path.is_file())
    assert [name for name in names if (first / name).read_bytes() != (second / name).read_bytes()] == []


def test_what_is_declared_not_to_be_there_is_not_applicable_with_the_reason(made: Made) -> None:
    caught = DetectionRow(
        "guard-11-etu",
        "card",
        "sends too fast",
        "CHAR-GT-1",
        CAUGHT,
        "link/guard-time::ta1-11",
        "fail",
        "4 check_timing",
        "",
        1,
        (),
    )
    validation = write_validation(Validation("0.1.0", "software", 1, 10, 20, (caught,), ()), made.folder)[0]
    again(made, "declared", made.folder / "declaration.yaml", validation)
    text = made.text("declared")
    rows = (made.folder / "declared/requirements.csv").read_text().splitlines()
    (polls,) = [row for row in rows if row.startswith("HOP-POLL-1,")]
    assert "not applicable" in polls
    assert "needs stack channel" in polls
    assert "Acme 7" in text
    assert re.search(r"^guard-11-etu\s+sends too fast\s+CHAR-GT-1\s+caught", text, re.M)
    assert (made.folder / "declared/evidence/declaration.yaml").read_text() == DECLARATION


def test_a_folder_that_holds_something_is_not_written_to(made: Made) -> None:
    run_dir = str(made.report / "evidence/run")
    refused = CliRunner().invoke(
        cardbench, ["certify", str(made.folder / "scenarios"), "--from", run_dir, "--out", str(made.report)]
    )
    assert refused.exit_code == 2
    assert "not an empty folder" in refused.output


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if PROGRAM is None:
        pytest.skip("chromium is not installed (Debian: apt-get install chromium)")
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.mark.parametrize(("width", "scheme"), [(400, "dark"), (1600, "light"), (400, "light"), (1600, "dark")])
def test_its_page_fits_asks_for_nothing_and_axe_finds_nothing(
    made: Made, tab: Browser, width: int, scheme: str
) -> None:
    page = made.report / "test-report.html"
    tab.troubles.clear()
    tab.requests.clear()
    tab.open(page, width, scheme, ready=IS_OPEN)
    assert tab.requests == [page.resolve().as_uri()]
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == PAGE[scheme]
    assert violations(tab) == []
    assert tab.troubles == []


def test_its_page_on_paper_is_black_on_white_within_the_margins_and_whole(
    made: Made, tab: Browser, tmp_path: Path
) -> None:
    # A4 upright without its margins is 180 mm, 680 CSS pixels.
    tab.open(made.report / "test-report.html", 680, "dark", "print", ready=IS_OPEN)
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == PAGE["light"]
    wide = (
        "[...document.querySelectorAll('table, dl, p')]"
        ".filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 120))"
    )
    assert tab.evaluate(wide) == []
    pdf = tmp_path / "certificate.pdf"
    printed = tab.call("Page.printToPDF", preferCSSPageSize=True, printBackground=True)
    pdf.write_bytes(base64.b64decode(printed["data"]))
    text = run(tool("pdftotext"), "-layout", str(pdf), "-").decode()
    for said in ("The item does not conform: it fails CHAR-GT-1.", "Signature", "End of test report CB-"):
        assert said in text
