"""The page as text: escaped, self-contained, the same every time; the CSV files beside it."""

from __future__ import annotations

import csv
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.commands.report import report_command
from bench.observe import StepMark, Verdict
from reports import ReportError, build_report
from reports.table import ROWS_IN_PAGE, cell_text, number_text, script_json
from tests.reports.samples import SampleRun, given, measured, verdict, whole_run

EVIL = "</script><script>alert('x')</script><img src=x onerror=alert(1)>&\u2028\"'"


class _Elements(HTMLParser):
    """Every element with its attributes, and the texts of scripts that hold data."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.data: list[str] = []
        self._in_data = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._in_data = tag == "script" and dict(attrs).get("type") == "application/json"

    def handle_data(self, data: str) -> None:
        if self._in_data:
            self.data.append(data)
            self._in_data = False


def test_whatever_a_scenario_or_a_card_says_stays_text(tmp_path: Path) -> None:
    run = SampleRun()
    run.add(
        EVIL,
        EVIL,
        *given(ta1="11", clock_hz=3571200, mtu=64, cards=2, channels=2),
        StepMark(0, 1, EVIL, True),
        measured("goodput", 50.0, "percent_of_limit", EVIL, Verdict.FAIL),
        measured(EVIL, 1.0, EVIL, EVIL, Verdict.FAIL),
        measured("share", 1.0, EVIL, EVIL),
        measured("round_trip" + EVIL, 1.0, "ms"),
        verdict(Verdict.FAIL, EVIL, 1, EVIL, EVIL),
    )
    run.number = "1"
    path = run.write(tmp_path)
    run_json = json.loads((path / "run.json").read_text())
    run_json["rigs"][0]["atr"] = EVIL
    run_json[EVIL] = EVIL
    (path / "run.json").write_text(json.dumps(run_json))
    page = build_report([path]).html.read_text("utf-8")
    assert "alert(" in page
    parsed = _Elements(page)
    assert not [element for element in parsed.elements if element[0] == "img"]
    assert not [name for _, attributes in parsed.elements for name in attributes if name.startswith("on")]
    runnable = [attributes for tag, attributes in parsed.elements if tag == "script" and not attributes.get("type")]
    assert len(runnable) == 1
    for data in parsed.data:
        json.loads(data)


def test_the_page_asks_nothing_of_any_other_place(tmp_path: Path) -> None:
    page = build_report([whole_run().write(tmp_path)]).html.read_text("utf-8")
    parsed = _Elements(page)
    for tag, attributes in parsed.elements:
        for name in ("src", "href", "srcset", "action", "data"):
            address = attributes.get(name) or ""
            assert not re.match(r"\s*([a-z]+:)?//", address, re.IGNORECASE), (tag, address)
            assert address.partition(":")[0] not in ("http", "https", "ftp", "ws", "wss", "javascript"), (tag, address)
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    (policy,) = [attributes["content"] for tag, attributes in parsed.elements if attributes.get("http-equiv")]
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")


def test_same_records_same_bytes_wherever_they_lie(tmp_path: Path) -> None:
    first = build_report([whole_run().write(tmp_path / "one")])
    moved = tmp_path / "elsewhere"
    shutil.copytree(tmp_path / "one", moved)
    again = build_report([moved / first.html.parent.relative_to(tmp_path / "one")])
    assert first.html.read_bytes() == again.html.read_bytes()
    assert [file.name for file in first.csv] == [file.name for file in again.csv]
    for one, other in zip(first.csv, again.csv, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_front_page_tells_what_was_tested(tmp_path: Path) -> None:
    page = build_report([whole_run().write(tmp_path)]).html.read_text("utf-8")
    front = page[: page.index("<nav")]
    for fact in (
        "lab-3",
        "2025-11-23",
        "three-in-a-row",
        "3B 95 96 C0",
        "0123456789abcdef+",
        "0.1.0",
        "CPython 3.12.1",
    ):
        assert f"<dd>{fact}" in front
    assert "The card fails 1 point of 35." in front
    assert "step 2 (transfer)" in page


def test_a_long_table_has_a_hundred_rows_in_the_document_and_all_as_data(tmp_path: Path) -> None:
    run = SampleRun()
    for number in range(250):
        run.add("a/b", f"x-{number}", verdict())
    files = build_report([run.write(tmp_path)])
    page = files.html.read_text("utf-8")
    grid = page[page.index('id="verdict-table"') :]
    assert grid[: grid.index("</tbody>")].count("<tr>") == ROWS_IN_PAGE + 1
    data = next(json.loads(text) for text in _Elements(grid).data)
    assert len(data["rows"]) == 250
    with (files.html.parent / "csv" / "verdicts.csv").open(newline="", encoding="utf-8") as file:
        assert len(list(csv.reader(file))) == 251


def test_csv_holds_the_records_as_they_are(tmp_path: Path) -> None:
    files = build_report([whole_run().write(tmp_path)])
    raw = next(file for file in files.csv if file.name == "records-exchanges.csv")
    with raw.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12 * 41
    assert {row["run"] for row in rows} == {"101500"}
    assert int(rows[0]["duration_ns"]) > 0
    assert all(file.is_file() for file in files.csv)


def test_a_table_too_long_for_csv_is_linked_as_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reports.build.MOST_CSV_ROWS", 100)
    files = build_report([whole_run().write(tmp_path)])
    assert "records-exchanges.csv" not in [file.name for file in files.csv]
    page = files.html.read_text("utf-8")
    assert 'href="./exchanges.parquet"' in page
    assert "records-exchanges.csv" not in page


def test_the_place_to_write_to_may_be_a_directory_or_a_page(tmp_path: Path) -> None:
    path = whole_run((0x11,), (64,)).write(tmp_path / "results")
    assert build_report([path]).html == path / "report.html"
    assert build_report([path], tmp_path / "out").html == tmp_path / "out" / "report.html"
    named = build_report([path], tmp_path / "other" / "page.html")
    assert named.html == tmp_path / "other" / "page.html"
    assert (tmp_path / "other" / "csv" / "verdicts.csv").is_file()
    assert 'href="../results/station%3Dlab-3/' in named.html.read_text("utf-8")


def test_a_place_that_cannot_be_written_is_an_error_that_says_so(tmp_path: Path) -> None:
    path = whole_run((0x11,), (64,)).write(tmp_path)
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(ReportError, match="--out"):
        build_report([path], tmp_path / "taken")


def test_two_runs_stand_in_one_page(tmp_path: Path) -> None:
    for number in ("1", "2"):
        run = whole_run((0x11,), (64,))
        run.number = number
        run.write(tmp_path)
    page = build_report([tmp_path]).html.read_text("utf-8")
    assert "Test report of 2 runs" in page
    assert "<h2>lab-3/2025-11-23/2</h2>" in page


def test_numbers_for_people() -> None:
    assert [number_text(value) for value in (0, 1234567, -1234.5, 0.000012345678, 99.10534, -0.25)] == [
        "0",
        "1\u202f234\u202f567",
        "−1\u202f234.5",
        "1.23457e-05",
        "99.1053",
        "−0.25",
    ]
    assert [cell_text(cell) for cell in (None, True, "text")] == ["–", "yes", "text"]
    assert "<" not in script_json({"a": "</script>"})


def test_the_command_writes_the_page_and_prints_where(tmp_path: Path) -> None:
    path = whole_run((0x11,), (64,)).write(tmp_path)
    done = CliRunner().invoke(report_command, [str(path)])
    assert done.exit_code == 0, done.output
    assert f"report: {path / 'report.html'}" in done.output
    assert "baud-rate/throughput" in done.output


def test_the_command_s_errors_have_status_2_and_no_traceback(tmp_path: Path) -> None:
    done = CliRunner().invoke(report_command, [str(tmp_path)])
    assert done.exit_code == 2
    assert done.stderr.startswith(f"error: {tmp_path}: holds no run")
