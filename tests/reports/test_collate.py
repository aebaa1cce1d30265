"""Failures, requirements, points: what the front of the page says."""

from __future__ import annotations

from pathlib import Path

from bench.observe import StepMark, Verdict
from reports.collate import failures, measurement_table, other_measurements, requirement_table, verdict_table
from reports.load import load
from reports.pictures import fairness, latency, share
from tests.reports.samples import SampleRun, measured, verdict, whole_run


def test_failures_come_first_then_errors_then_what_stayed_open(tmp_path: Path) -> None:
    found = failures(load([whole_run().write(tmp_path)]))
    assert [(one.verdict, one.scenario) for one in found] == [
        (Verdict.FAIL, "baud-rate/throughput"),
        (Verdict.ERROR, "routing/unplug"),
        (Verdict.INCONCLUSIVE, "routing/late"),
    ]
    first = found[0]
    assert (first.point, first.step) == ("ta1-96-mtu-64", "step 2 (transfer)")
    assert first.reason == "goodput 88.2 percent_of_limit is below 90"
    assert first.evidence == ("goodput 88.2 percent_of_limit, at least 90",)
    assert first.requirements == ("RATE-1", "RATE-2")


def test_points_that_fail_alike_are_told_together(tmp_path: Path) -> None:
    run = SampleRun()
    for mtu in (1024, 64, 256):
        run.add("a/b", f"mtu-{mtu}", StepMark(0, 2, "transfer", True), verdict(Verdict.FAIL, f"bad at {mtu}", 2))
    run.add("a/b", "mtu-32", verdict(Verdict.FAIL, "another step", 3))
    together, alone = failures(load([run.write(tmp_path)]))[::-1]
    assert (together.point, together.reason, together.other_points) == ("mtu-64", "bad at 64", ("mtu-256", "mtu-1024"))
    assert (alone.point, alone.step, alone.other_points) == ("mtu-32", "step 3", ())


def test_a_requirement_has_the_worst_verdict_of_its_points(tmp_path: Path) -> None:
    rows = requirement_table(load([whole_run().write(tmp_path)])).rows
    verdicts = {row[1]: (row[0], row[2]) for row in rows}
    assert verdicts["RATE-1"] == ("fail", "baud-rate/throughput")
    assert verdicts["CHAIN-2"] == ("error", "routing/late, routing/unplug")
    assert verdicts["CHAIN-3"] == ("inconclusive", "routing/late")
    assert verdicts["CH-FAIR-1"] == ("pass", "multi-channel/fairness")
    assert [row[0] for row in rows][:2] == ["fail", "fail"]


def test_not_applicable_counts_only_alone(tmp_path: Path) -> None:
    run = SampleRun()
    run.add("a/b", "x-1", verdict(Verdict.NOT_APPLICABLE, requirements="ONE TWO"))
    run.add("a/b", "x-2", verdict(Verdict.PASS, requirements="ONE"))
    rows = requirement_table(load([run.write(tmp_path)])).rows
    assert {row[1]: row[0] for row in rows} == {"ONE": "pass", "TWO": "not applicable"}


def test_every_point_is_in_the_verdict_table_the_worst_first(tmp_path: Path) -> None:
    table = verdict_table(load([whole_run().write(tmp_path)]))
    assert [row[0] for row in table.rows][:4] == ["fail", "error", "inconclusive", "marginal"]
    assert len(table.rows) == 35
    assert table.rows[-1][0] == "not applicable"


def test_no_measurement_is_hidden(tmp_path: Path) -> None:
    records = load([whole_run().write(tmp_path)])
    drawn = share.select(records) | latency.select(records) | fairness.select(records)
    others = other_measurements(records, drawn)
    assert {(row[1], row[2]) for row in others.rows} == {
        ("multi-channel/fairness", "longest_gap"),
        ("routing/late", "noticed_after"),
    }
    counted = sum(int(str(row[4])) for row in others.rows)
    assert counted + int(drawn.sum()) == len(records.measurements) == len(measurement_table(records).rows)


def test_a_round_trip_without_hops_is_an_other_measurement(tmp_path: Path) -> None:
    run = SampleRun()
    run.add("a/b", "single", measured("round_trip", 3.0, "ms"), measured("round_trip", 3.0, "etu", "card 3"), verdict())
    records = load([run.write(tmp_path)])
    assert not latency.select(records).any()
