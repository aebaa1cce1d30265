"""Finding runs and reading what is there, whole or not."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from bench.observe import Verdict
from reports import ReportError, build_report, verdict_summary
from reports.load import find_runs, load
from tests.reports.samples import SampleRun, verdict, whole_run


def test_a_run_is_named_by_its_partitions_and_described_by_run_json(tmp_path: Path) -> None:
    (run,) = find_runs([whole_run().write(tmp_path)])
    assert (run.station, run.date, run.number) == ("lab-3", "2025-11-23", "101500")
    assert run.fact("seed") == "7"
    assert run.fact("rigs.*.atr") == "3B 95 96 C0 01 41 43 4D 45"
    assert run.fact("environment.packages.numpy") == "2.0"
    assert run.fact("environment.nothing") == ""


def test_runs_are_found_at_any_depth_and_counted_once(tmp_path: Path) -> None:
    first = whole_run().write(tmp_path)
    other = SampleRun(number="111500")
    other.add("a/b", "single", verdict())
    other.write(tmp_path)
    runs = find_runs([tmp_path, first])
    assert [run.label for run in runs] == ["lab-3/2025-11-23/101500", "lab-3/2025-11-23/111500"]
    assert set(load([tmp_path]).verdicts["run"]) == {run.label for run in runs}


@pytest.mark.parametrize("what", ["absent", "empty", "file"])
def test_a_place_without_a_run_is_named_with_what_to_do(tmp_path: Path, what: str) -> None:
    place = tmp_path / what
    if what == "empty":
        place.mkdir()
    if what == "file":
        place.write_text("no run")
    for ask in (build_report, verdict_summary):
        with pytest.raises(ReportError, match=f"{what}.*; name a"):
            ask([place])


def test_no_directory_at_all_is_an_error() -> None:
    with pytest.raises(ReportError, match="no directory given"):
        build_report([])


@pytest.mark.parametrize("table", ["verdicts", "measurements", "parameters", "steps", "links", "exchanges", "packets"])
@pytest.mark.parametrize("harm", ["missing", "torn", "no column"])
def test_one_table_gone_costs_a_note_and_nothing_else(tmp_path: Path, table: str, harm: str) -> None:
    path = whole_run((0x11,), (64,)).write(tmp_path)
    file = path / f"{table}.parquet"
    if harm == "missing":
        file.unlink()
    elif harm == "torn":
        file.write_bytes(file.read_bytes()[:-40])
    else:
        whole = pq.read_table(file)
        pq.write_table(whole.drop_columns([whole.column_names[-1]]), file)
    page = build_report([path]).html.read_text("utf-8")
    assert "Read this first" in page
    assert table in page.split("Read this first")[1].split("</div>")[0]


@pytest.mark.parametrize("content", [None, "", "{", "[]", "7", '{"planned": 3}', '{"planned": [[1]]}'])
def test_run_json_may_be_missing_or_half_written(tmp_path: Path, content: str | None) -> None:
    path = whole_run((0x11,), (64,)).write(tmp_path)
    if content is None:
        (path / "run.json").unlink()
    else:
        (path / "run.json").write_text(content)
    records = load([path])
    assert len(records.verdicts) == 24
    if not content or not content.startswith('{"'):
        assert "run.json" in records.notes[0]
    build_report([path])


def test_only_run_json_gives_a_page_that_says_so(tmp_path: Path) -> None:
    run = SampleRun(planned=[("a/b", "single"), ("a/c", "x-1")])
    path = run.write(tmp_path)
    for file in path.glob("*.parquet"):
        file.unlink()
    page = build_report([path]).html.read_text("utf-8")
    assert "No verdict was recorded" in page
    assert "2 of 2 planned points did not finish: a/b [single], a/c [x-1]" in page


def test_an_unknown_verdict_is_an_error_of_the_bench_and_never_a_pass(tmp_path: Path) -> None:
    run = SampleRun()
    run.add("a/b", "single", verdict())
    path = run.write(tmp_path)
    table = pq.read_table(path / "verdicts.parquet")
    place = table.column_names.index("verdict")
    pq.write_table(table.set_column(place, "verdict", [["passed"]]), path / "verdicts.parquet")
    records = load([path])
    assert list(records.verdicts["verdict"]) == [str(Verdict.ERROR)]
    assert "'passed'" in records.notes[0]


def test_seeds_of_64_bits_survive(tmp_path: Path) -> None:
    run = SampleRun()
    run.add("a/b", "single", verdict())
    files = build_report([run.write(tmp_path)])
    assert str(2**64 - 1) in (files.html.parent / "csv" / "verdicts.csv").read_text("utf-8")
    assert str(2**64 - 1) in files.html.read_text("utf-8")


def test_run_json_of_the_records_side_is_understood(tmp_path: Path) -> None:
    """The seam itself: a directory made by `bench.records`."""
    from bench.records.run import RunDirectory

    directory = RunDirectory.create(tmp_path, "lab-9", seed=41)
    directory.close()
    (run,) = find_runs([tmp_path])
    assert run.fact("seed") == "41"
    assert run.fact("environment.python").startswith("CPython")
    assert json.loads((run.path / "run.json").read_text())["station"] == run.station == "lab-9"
    build_report([tmp_path])
