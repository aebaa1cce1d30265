"""The table for the terminal."""

from __future__ import annotations

from pathlib import Path

from bench.observe import Verdict
from reports import verdict_summary
from reports.verdicts import Tally, natural, worst
from tests.reports.samples import SampleRun, verdict, whole_run


def test_counts_per_scenario_and_in_all(tmp_path: Path) -> None:
    summary = verdict_summary([whole_run().write(tmp_path)])
    by_name = {line.scenario: line for line in summary.scenarios}
    throughput = by_name["baud-rate/throughput"]
    assert throughput.tally == Tally(passed=10, marginal=1, fail=1)
    assert (throughput.worst, throughput.worst_point) == (Verdict.FAIL, "ta1-96-mtu-64")
    assert summary.tally == Tally(30, 1, 1, 1, 1, 1)
    assert summary.tally.total == sum(line.tally.total for line in summary.scenarios) == 35


def test_the_text_shows_every_scenario_and_the_worst_reason(tmp_path: Path) -> None:
    text = verdict_summary([whole_run().write(tmp_path)]).render(100)
    assert "    fail: ta1-96-mtu-64: goodput 88.2 percent_of_limit is below 90" in text
    row = next(line for line in text.splitlines() if line.startswith("baud-rate/throughput"))
    assert row.split() == ["baud-rate/throughput", "12", "10", "1", "1", ".", ".", "."]
    assert max(len(line) for line in text.splitlines()) <= 100


def test_long_names_and_reasons_stay_within_the_width(tmp_path: Path) -> None:
    run = SampleRun()
    run.add("folder/" + "long-" * 40, "single", verdict(Verdict.FAIL, "because " * 60))
    text = verdict_summary([run.write(tmp_path)]).render(80)
    assert max(len(line) for line in text.splitlines()) <= 80


def test_control_characters_do_not_reach_the_terminal(tmp_path: Path) -> None:
    run = SampleRun()
    run.add("a/b", "single", verdict(Verdict.FAIL, "\x1b[2Jgone\r\nnew line"))
    text = verdict_summary([run.write(tmp_path)]).render()
    assert "\x1b" not in text
    assert "\r" not in text


def test_a_pass_is_worse_than_not_applicable_and_a_fail_than_an_error() -> None:
    assert worst([Verdict.NOT_APPLICABLE, Verdict.PASS]) is Verdict.PASS
    assert worst([Verdict.ERROR, Verdict.FAIL, Verdict.PASS]) is Verdict.FAIL
    assert worst([]) is None


def test_points_sort_as_people_count() -> None:
    assert sorted(["mtu-256", "mtu-64", "mtu-1024"], key=natural) == ["mtu-64", "mtu-256", "mtu-1024"]


def test_headlines_keep_the_card_and_the_bench_apart() -> None:
    assert Tally().headline() == "No verdict was recorded."
    assert Tally(passed=3).headline() == "All 3 points pass."
    assert Tally(passed=1).headline() == "1 point passes."
    said = Tally(passed=5, fail=2, error=1).headline()
    assert said.startswith("The card fails 2 points of 8. The bench, a reader or the network failed on 1 point;")
