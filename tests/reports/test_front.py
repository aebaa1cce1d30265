"""What stands before the tables: verdict and meaning, layers, the chain hop by hop, the time line of a beginning."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from bench.engine import Timebase
from bench.iso7816.line import Burst
from bench.iso7816.session import Side
from bench.observe import Observation, StepMark, Verdict
from bench.records.vcd import vcd_lines
from bench.records.waveform import from_bursts
from reports import build_report
from reports.chain import chain, chains
from reports.front import OTHER, front
from reports.load import Records, load
from reports.timeline import timelines
from tests.reports.samples import CLOCK_HZ, MS, SampleRun, exchange, given, measured, verdict


def _records(tmp_path: Path, *points: tuple[str, list[Observation]]) -> Records:
    run = SampleRun()
    for name, observations in points:
        run.add("a/b", name, *observations)
    return load([run.write(tmp_path)])


def test_the_worst_verdict_is_the_report_s_and_a_failed_requirement_is_told_in_words(tmp_path: Path) -> None:
    records = _records(
        tmp_path,
        ("x-1", [verdict(Verdict.FAIL, "late", requirements="ATR-TIME-1")]),
        ("x-2", [verdict(Verdict.PASS, requirements="ATR-TIME-1 IP-TCP-1")]),
        ("x-3", [verdict(Verdict.ERROR, "gone", requirements="NO-SUCH-1")]),
    )
    said = front(records)
    assert (said.word, said.css) == ("Fail", "fail")
    assert said.meaning[0].startswith("1 mandatory requirement not met: ATR-TIME-1 (The answer begins between 400")
    assert any("Of 1 requirement nothing can be said" in sentence for sentence in said.meaning)
    assert [(line.layer, line.requirements, line.tally.total) for line in said.layers] == [
        ("link", 1, 2),
        ("tcp", 1, 1),
        (OTHER, 0, 1),
    ]
    assert said.layers[0].tally.worst is Verdict.FAIL


def test_a_run_without_a_verdict_says_so(tmp_path: Path) -> None:
    said = front(_records(tmp_path, ("x-1", [*given(cards=1)])))
    assert (said.word, said.layers, said.meaning) == ("No verdict", (), ())


def test_a_value_that_names_its_hop_accuses_that_hop_alone(tmp_path: Path) -> None:
    records = _records(
        tmp_path,
        ("cards-1", [*given(cards=1), verdict()]),
        (
            "cards-3",
            [*given(cards=3), measured("gap", 9.0, "ms", "hop 2 out", Verdict.FAIL), verdict(Verdict.FAIL, "gap")],
        ),
    )
    hops = chain(records)
    assert [(hop.first, hop.last, hop.verdict) for hop in hops] == [
        (1, 1, Verdict.PASS),
        (2, 2, Verdict.FAIL),
        (3, 3, None),
    ]


def test_a_failure_that_names_no_hop_counts_on_each_and_equal_hops_stand_together(tmp_path: Path) -> None:
    hops = chain(_records(tmp_path, ("cards-5", [*given(cards=5), verdict(Verdict.FAIL, "lost")])))
    assert [(hop.first, hop.last, hop.points.fail) for hop in hops] == [(1, 5, 1)]
    assert chain(_records(tmp_path / "none", ("single", [verdict()]))) == ()


def test_the_time_line_runs_from_power_to_the_last_byte_and_prefers_what_failed(tmp_path: Path) -> None:
    first, second = exchange(10 * MS), exchange(10 * MS)
    first.start_ticks, second.start_ticks = 5 * MS, 20 * MS
    beginning = [*given(False, atr="3B 00"), StepMark(0, 1, "power_on", True), first, second]
    records = _records(
        tmp_path,
        ("x-1", [exchange(MS), verdict()]),
        ("x-2", [*beginning, verdict(Verdict.FAIL, "late <b>")]),
    )
    (drawn,) = timelines(records)
    assert drawn.sentence.startswith("a/b, x-2, ta1 11 @ 3.5712 MHz")
    assert drawn.table is not None
    assert drawn.table.rows[0] == ("card", "power, reset, answer to reset 3B 00 (and PPS)", 0.0, 5.0)
    # 8 of 10 ms on the line, 37 of 39 characters of them the host's; then 2 ms of the card, then the answer.
    assert [row[2] for row in drawn.table.rows[1:4]] == [5.0, round(5 + 8 * 37 / 39, 6), round(5 + 8 * 37 / 39 + 2, 6)]
    assert max(float(str(row[2])) + float(str(row[3])) for row in drawn.table.rows) == 30.0
    assert drawn.svg.count("<rect") == 7


def test_no_exchange_no_time_line(tmp_path: Path) -> None:
    assert timelines(_records(tmp_path, ("x-1", [verdict()])))[0].svg == ""


def test_each_stack_has_a_chain_and_a_time_line_and_what_failed_comes_first(tmp_path: Path) -> None:
    records = _records(
        tmp_path,
        ("a", [*given(False, stack="channel", protocol="T=0", cards=2), exchange(MS), verdict()]),
        ("b", [*given(False, stack="ip", protocol="T=1", cards=2), exchange(MS), verdict(Verdict.FAIL, "lost")]),
        ("c", [*given(False, stack="ip", protocol="T=1", cards=1), verdict(Verdict.NOT_APPLICABLE, "no")]),
    )
    assert [each.name for each in timelines(records)] == ["stack ip, T=1", "stack channel, T=0"]
    assert [(each.name, [hop.verdict for hop in each.hops]) for each in chains(records)] == [
        ("all", [Verdict.FAIL, Verdict.FAIL]),
        ("stack channel", [Verdict.PASS]),
        ("stack ip", [Verdict.FAIL, Verdict.FAIL]),
    ]


def test_where_the_run_kept_the_line_its_characters_are_drawn(tmp_path: Path) -> None:
    # An answer to reset of two characters, 12 etu of 372 clocks apart.
    timebase = Timebase.for_clocks(CLOCK_HZ)
    etu = timebase.cycles(372, CLOCK_HZ)
    spoken = [(Burst(b"\x3b\x00", timebase.hz // 1000, 12 * etu, etu), Side.CARD)]
    records = _records(tmp_path, ("x-1", [exchange(10 * MS), verdict()]))
    file = records.runs[0].path / "waveforms/a/b/x-1-hop-1.vcd"
    file.parent.mkdir(parents=True)
    file.write_text("".join(vcd_lines(from_bursts(spoken, (timebase.hz // 2000,), timebase, CLOCK_HZ), 10**9)))
    (drawn,) = timelines(records)
    assert drawn.character_table is not None
    assert [row[:4] for row in drawn.character_table.rows] == [(1, "card", "ATR", "3B"), (2, "card", "ATR", "00")]
    assert drawn.character_table.rows[1][5] == 12.0
    assert drawn.characters.count("<rect") == 2
    file.write_text("no waveform")
    assert timelines(records)[0].characters == ""


def test_every_table_is_there_as_parquet_too(tmp_path: Path) -> None:
    run = SampleRun()
    run.add("a/b", "x-1", *given(cards=2), measured("goodput", 97.5, "percent_of_limit"), exchange(MS), verdict())
    files = build_report([run.write(tmp_path)])
    derived = [file for file in files.csv if not file.name.startswith("records-")]
    for file in derived:
        assert list(pd.read_parquet(file.with_suffix(".parquet")).columns) == list(pd.read_csv(file).columns)
    values = pd.read_parquet(files.html.parent / "csv" / "measurements.parquet")
    assert values["value"].tolist() == [97.5]
