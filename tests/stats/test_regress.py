"""The last run against those before: what broke, was mended, wavers, got slower, since when, who is to blame, and the exit status."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from bench.cli import cardbench
from bench.observe import Verdict
from reports import ReportError
from reports.regress import Options, Regression, regress
from reports.regress.model import Certainty, Course, Turn
from reports.regress.points import flaky
from reports.regress.render import render_json, render_markdown, render_text
from tests.stats.runs import POINT, run_of, write

PASS, FAIL, ERROR = Verdict.PASS, Verdict.FAIL, Verdict.ERROR
OPEN, SKIP = Verdict.INCONCLUSIVE, Verdict.NOT_APPLICABLE
LETTERS = {"p": PASS, "f": FAIL, "e": ERROR, "i": OPEN, "n": SKIP}


def nightly(out: Path, **courses: str) -> Path:
    """A run a letter: p pass, f fail, e error, i inconclusive, n not applicable, blank not run."""
    for night in range(len(next(iter(courses.values())))):
        words = [(name, LETTERS[course[night]]) for name, course in courses.items() if course[night] != " "]
        write(run_of(f"{night:06}", words), out)
    return out


def turns(found: Regression) -> dict[str, Turn]:
    return {point.point: point.turn for point in found.points}


def timed(out: Path, medians: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Path:
    """Nights on a real clock: 21 exchanges about each median."""
    random = np.random.default_rng(5)
    for night, middle in enumerate(medians):
        durations = middle * 1e6 * (1 + 0.001 * random.standard_normal(21))
        write(run_of(f"{night:06}", durations=durations.tolist()), out)
    return out


def test_every_kind_of_news_about_a_point(tmp_path: Path) -> None:
    nightly(
        tmp_path,
        sound="pppppp",
        broke="pppppf",
        still="pppfff",
        mended="ppfffp",
        wavers="pfpfpp",
        once="ppfppp",
        bench="pppppe",
        open="pppppi",
        skipped="pppppn",
        gone="ppppp ",
        fresh="     f",
    )
    found = regress([tmp_path])
    assert turns(found) == {
        "broke": Turn.NEW_FAILURE,
        "fresh": Turn.NEW_FAILURE,
        "still": Turn.STILL_FAILING,
        "wavers": Turn.FLAKY,
        "once": Turn.FLAKY,
        "bench": Turn.NEW_ERROR,
        "open": Turn.INCONCLUSIVE,
        "skipped": Turn.NO_LONGER_JUDGED,
        "gone": Turn.NO_LONGER_PLANNED,
        "mended": Turn.FIXED,
    }
    (still,) = found.turns(Turn.STILL_FAILING)
    assert still.since.endswith("000003")
    assert still.history == "...fff"
    assert found.exit_status == 1


@pytest.mark.parametrize(
    ("courses", "status"),
    [
        ({"a": "ppp"}, 0),
        ({"a": "ppf"}, 1),
        ({"a": "pff"}, 1),
        ({"a": "ppe", "b": "ppp"}, 3),
        ({"a": "ppe", "b": "ppf"}, 1),
        ({"a": "ppi", "b": "ppp"}, 3),
        ({"a": "nnn"}, 3),
        ({"a": "fp"}, 0),
    ],
    ids=lambda value: "-".join(value.values()) if isinstance(value, dict) else str(value),
)
def test_exit_status(tmp_path: Path, courses: dict[str, str], status: int) -> None:
    assert regress([nightly(tmp_path, **courses)]).exit_status == status


def test_fewer_points_than_planned_is_three(tmp_path: Path) -> None:
    write(run_of("000000", [("a", PASS), ("b", PASS)]), tmp_path)
    last = run_of("000001", [("a", PASS)])
    last.planned = [("apdu/words", "a"), ("apdu/words", "b")]
    write(last, tmp_path)
    found = regress([tmp_path])
    assert turns(found) == {"b": Turn.MISSING}
    assert (found.finished, found.planned, found.exit_status) == (1, 2, 3)


def test_a_baseline_that_was_named_decides_what_is_new(tmp_path: Path) -> None:
    nightly(tmp_path, a="pffff")
    assert turns(regress([tmp_path])) == {"a": Turn.STILL_FAILING}
    assert turns(regress([tmp_path], Options(baseline="000000"))) == {"a": Turn.NEW_FAILURE}
    elsewhere = write(run_of("000000", [("a", PASS)], date="2025-10-01"), tmp_path / "kept" / "elsewhere")
    (tmp_path / "kept").rename(tmp_path.with_name(tmp_path.name + "-kept"))
    kept = tmp_path.with_name(tmp_path.name + "-kept") / elsewhere.relative_to(tmp_path / "kept")
    found = regress([tmp_path], Options(baseline=str(kept)))
    assert turns(found) == {"a": Turn.NEW_FAILURE}
    assert found.baseline is not None
    assert found.baseline.path == kept
    with pytest.raises(ReportError, match=r"--baseline 99: no such run .*000004"):
        regress([tmp_path], Options(baseline="99"))


def test_runs_of_other_rigs_and_later_ones_are_left_out(tmp_path: Path) -> None:
    nightly(tmp_path, a="pppf")
    other = write(run_of("000009", [("a", PASS)]), tmp_path)
    file = other / "run.json"
    file.write_text(file.read_text().replace("three-in-a-row", "other"))
    assert regress([tmp_path], Options(rig="three-in-a-row")).runs == 4
    assert regress([tmp_path], Options(last="000002")).exit_status == 0
    assert regress([tmp_path]).runs == 1


def test_flaky_is_three_changes_or_one_night_alone() -> None:
    def verdicts(text: str) -> tuple[Verdict | None, ...]:
        return tuple(LETTERS.get(letter) for letter in text)

    assert flaky(verdicts("pppfpp"))
    assert flaky(verdicts("pfpf"))
    assert flaky(verdicts("ppff pepff ppff"))
    assert not flaky(verdicts("ppppff"))
    assert not flaky(verdicts("ppffpp"))
    assert not flaky(verdicts("pp" + "fp" * 3 + "p" * 28))


def test_a_slower_series_is_found_with_the_run_where_it_began(tmp_path: Path) -> None:
    medians = 1 + 0.007 * np.random.default_rng(2).standard_normal(38)
    medians[30:] *= 1.03
    found = regress([timed(tmp_path, medians)])
    (slower,) = found.slower
    assert (slower.scenario, slower.point) == POINT
    assert (slower.course, slower.certainty) == (Course.WORSE, Certainty.SURE)
    assert slower.shift == pytest.approx(0.03, abs=0.01)
    assert int(slower.began[-6:]) in (29, 30, 31)
    assert slower.suspects == ()
    assert found.exit_status == 1
    assert regress([tmp_path], Options(timing_counts=False)).exit_status == 0
    assert regress([tmp_path], Options(since=slower.began)).slower == ()
    (noise,) = found.noise
    assert noise.night_spread == pytest.approx(0.007, rel=0.6)
    assert noise.median_error > 0


@pytest.mark.parametrize(
    ("changed", "name", "status"),
    [({"kernel": "Linux 7.0"}, "environment.kernel", 3), ({"atr": "3B 00"}, "rigs.1.atr", 1)],
    ids=["bench", "card"],
)
def test_the_card_is_not_blamed_where_the_bench_changed(
    tmp_path: Path, changed: dict[str, str], name: str, status: int
) -> None:
    for night, duration in enumerate((1e6, 1e6, 1.02e6, 1.02e6)):
        run = run_of(f"{night:06}", durations=[duration] * 5, virtual=True)
        write(run, tmp_path, **(changed if night >= 2 else {}))
    found = regress([tmp_path])
    assert [fact.name for fact in found.slower[0].suspects] == [name]
    assert found.exit_status == status


def test_in_virtual_time_one_night_tells(tmp_path: Path) -> None:
    for night, duration in enumerate((1e6, 1e6, 1.02e6)):
        write(run_of(f"{night:06}", durations=[duration] * 5, goodput=90.0 - night, virtual=True), tmp_path)
    found = regress([tmp_path])
    by_name = {one.name: one for one in found.series}
    assert by_name["tpdu C2"].certainty is Certainty.EXACT
    assert by_name["tpdu C2"].began.endswith("000002")
    assert by_name["goodput"].course is Course.WORSE
    assert found.exit_status == 1
    assert found.noise == ()


def test_nothing_is_said_of_few_nights_or_an_even_series(tmp_path: Path) -> None:
    found = regress([timed(tmp_path, np.array([1.0, 1.0, 2.0]))])
    assert found.series == ()
    assert found.timing.too_short == 1


def test_what_is_printed(tmp_path: Path) -> None:
    nightly(tmp_path, broke="ppf", **{"a|b<i>": "ppf"})
    found = regress([tmp_path])
    text, markdown = render_text(found), render_markdown(found)
    assert "three-in-a-row: the card failed" in text
    assert "apdu/words [broke]" in text
    assert "### New failures (2)" in markdown
    assert "a\\|b&lt;i>" in markdown
    content = json.loads(render_json(found))
    assert content["exit_status"] == 1
    assert {point["turn"] for point in content["points"]} == {"new failure"}


def test_the_command(tmp_path: Path) -> None:
    nightly(tmp_path / "runs", a="pf")
    files = ["--markdown", str(tmp_path / "s.md"), "--json", str(tmp_path / "s.json")]
    done = CliRunner().invoke(cardbench, ["regress", str(tmp_path / "runs"), *files])
    assert done.exit_code == 1
    assert (tmp_path / "s.md").read_text().startswith("## three-in-a-row: the card failed")
    assert json.loads((tmp_path / "s.json").read_text())["failed"] == 1
    done = CliRunner().invoke(cardbench, ["regress", str(tmp_path / "nowhere")])
    assert (done.exit_code, "does not exist" in done.output) == (2, True)
    nowhere = str(tmp_path / "no" / "s.md")
    done = CliRunner().invoke(cardbench, ["regress", str(tmp_path / "runs"), "--markdown", nowhere])
    assert (done.exit_code, "name another file" in done.output) == (2, True)


def test_damaged_tables_of_the_last_run_are_told_and_not_judged(tmp_path: Path) -> None:
    nightly(tmp_path, a="pp")
    (file,) = tmp_path.rglob("run=000001/verdicts.parquet")
    file.write_bytes(b"PAR1 and no more")
    found = regress([tmp_path])
    assert found.exit_status == 3
    assert any("verdicts.parquet cannot be read" in note for note in found.notes)
