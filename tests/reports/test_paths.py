"""The table of paths is made from records: what differs is listed, what does not apply has its reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli import cardbench
from bench.engine import Timebase
from bench.observe import PointVerdict, Verdict
from bench.records.fingerprint import RigFingerprint
from bench.records.journal import CaptureMode, Journal
from bench.records.run import RunDirectory
from reports import ReportError
from reports.paths import path_table, render_markdown

PASSED = PointVerdict(
    title="A point",
    requirements="CH-FAIR-1",
    verdict=Verdict.PASS,
    reason="",
    step=0,
    seed=1,
    duration_ticks=10,
    events=1,
)


def record(out: Path, rig: str, verdicts: dict[str, tuple[Verdict, str]]) -> None:
    """A run of one scenario on ``rig``, as the bench leaves it."""
    fingerprint = RigFingerprint.of(rig, f"name: {rig}", reader=f"reader of {rig}", driver="driver 1.0")
    directory = RunDirectory.create(out / rig, "lab", rigs=(fingerprint,))
    journal = Journal.open(directory.journal_path("main"))
    for point, (verdict, reason) in verdicts.items():
        recorder = journal.point("sockets/echo", point, Timebase.for_clocks(3_571_200), CaptureMode.OFF)
        recorder.finish(replace(PASSED, verdict=verdict, reason=reason))
    journal.close()
    directory.close()


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """The software rig, one that agrees, and one that does not."""
    good = (Verdict.PASS, "")
    record(tmp_path, "software", {"a": good, "b": good, "c": good})
    no_rate = (Verdict.NOT_APPLICABLE, "the rate is only observed")
    record(tmp_path, "pcsc", {"a": good, "b": no_rate, "c": no_rate})
    return tmp_path


def test_paths_stand_side_by_side_the_software_rig_first(results: Path) -> None:
    table = path_table([results])
    assert [column.rig for column in table.columns] == ["software", "pcsc"]
    assert table.differences == []
    page = render_markdown(table)
    assert "| sockets/echo | a | pass | pass |" in page
    assert "| sockets/echo | b | pass | – (1) |" in page
    assert "| sockets/echo | c | pass | – (1) |" in page
    assert "\n1. the rate is only observed\n" in page
    assert "| pcsc | 1 | – | – | – | 2 | – |" in page
    assert "reader of pcsc" in page
    assert table.columns[1].date in page


@pytest.mark.parametrize(
    ("verdict", "reason"),
    [
        (Verdict.FAIL, "it did not answer"),
        (Verdict.ERROR, "the reader is gone"),
        (Verdict.NOT_APPLICABLE, ""),
        (Verdict.MARGINAL, "within the margin"),
    ],
)
def test_another_verdict_is_a_difference(results: Path, verdict: Verdict, reason: str) -> None:
    record(results, "serial", {"a": (verdict, reason), "b": (Verdict.PASS, ""), "c": (Verdict.PASS, "")})
    (difference,) = path_table([results]).differences
    assert difference.startswith(f"sockets/echo [a] is {verdict} on serial and is pass on software")


def test_a_point_that_was_not_run_is_a_difference(results: Path) -> None:
    record(results, "serial", {"a": (Verdict.PASS, ""), "b": (Verdict.PASS, "")})
    assert path_table([results]).differences == ["sockets/echo [c] was not run on serial"]


def test_without_the_software_rig_there_is_nothing_to_hold_against(tmp_path: Path) -> None:
    record(tmp_path, "pcsc", {"a": (Verdict.PASS, "")})
    with pytest.raises(ReportError, match="no run of the rig named 'software'"):
        path_table([tmp_path])


def test_the_command_writes_the_page_and_says_whether_paths_agree(results: Path) -> None:
    page = results / "paths.md"
    agreed = CliRunner().invoke(cardbench, ["paths", str(results), "--out", str(page)])
    assert (agreed.exit_code, agreed.output) == (0, "")
    assert page.read_text(encoding="utf-8").startswith("# The same scenarios on every path\n")
    record(results, "serial", {"a": (Verdict.FAIL, "it did not answer")})
    assert CliRunner().invoke(cardbench, ["paths", str(results)]).exit_code == 1
    assert CliRunner().invoke(cardbench, ["paths", str(results / "pcsc")]).exit_code == 2
