"""Sides beside each other: equal ones are told equal, slower ones slower, and what one run cannot tell only seems so."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from bench.cli import cardbench
from bench.observe import Verdict
from reports import ReportError
from reports.compare import Comparison, Options, compare
from reports.compare.model import Basis, Difference, Finding
from reports.stats.profiles import similarity
from tests.stats.runs import run_of, write


def one_run(
    out: Path, factor: float = 1.0, seed: int = 1, *, virtual: bool = False, same: bool = True, number: str = "000000"
) -> Path:
    """A side of one run: 400 exchanges of messages of several lengths."""
    random = np.random.default_rng(seed)
    lengths = np.random.default_rng(0 if same else seed).integers(5, 60, 400)
    durations = factor * 1e4 * lengths * (1 + 0.02 * random.standard_normal(400))
    run = run_of(number, durations=durations.tolist(), goodput=90.0, virtual=virtual, lengths=lengths.tolist())
    write(run, out)
    return out


def sides_in_turns(out: Path, factor: float, count: int = 12) -> list[Path]:
    """Two sides of so many runs each, one after the other: a run of one is 0.7 % beside that before it."""
    random = np.random.default_rng(9)
    for night in range(2 * count):
        level = 1e6 * (1 + 0.007 * random.standard_normal()) * (factor if night % 2 else 1.0)
        durations = level * (1 + 0.01 * random.standard_normal(31))
        write(run_of(f"{night:06}", durations=durations.tolist()), out / "ab"[night % 2])
    return [out / "a", out / "b"]


def of(found: Comparison, name: str) -> Difference:
    (one,) = [one for one in found.differences if one.key.name == name]
    return one


def test_in_virtual_time_one_run_tells(tmp_path: Path) -> None:
    sides = [one_run(tmp_path / "a", virtual=True), one_run(tmp_path / "b", 1.02, 2, virtual=True)]
    found = of(compare(sides), "tpdu C2")
    assert (found.finding, found.basis, found.units) == (Finding.HIGHER, Basis.EXCHANGES_PAIRED, (20, 20))
    assert found.interval is not None
    assert 1.02 in found.interval
    assert found.effect == 1.0
    assert found.first_median.count == 400


def test_other_messages_are_not_paired(tmp_path: Path) -> None:
    sides = [
        one_run(tmp_path / "a", virtual=True, same=False),
        one_run(tmp_path / "b", 4.0, 2, virtual=True, same=False),
    ]
    found = of(compare(sides), "tpdu C2")
    assert (found.finding, found.basis) == (Finding.HIGHER, Basis.EXCHANGES)


def test_on_a_real_clock_one_run_only_seems(tmp_path: Path) -> None:
    sides = [one_run(tmp_path / "a"), one_run(tmp_path / "b", 1.1, 2)]
    found = compare(sides)
    assert of(found, "tpdu C2").finding is Finding.SEEMS_HIGHER
    assert any("not yet two cards" in note for note in found.notes)
    assert of(found, "goodput").why == "one value a side"
    assert of(compare(sides, Options(within_runs=True)), "tpdu C2").finding is Finding.HIGHER


def test_equal_sides_are_equal(tmp_path: Path) -> None:
    sides = [one_run(tmp_path / "a", virtual=True), one_run(tmp_path / "b", 1.0, 2, virtual=True)]
    found = of(compare(sides), "tpdu C2")
    assert found.finding is Finding.EQUAL


def test_runs_in_turns_are_paired_and_tell(tmp_path: Path) -> None:
    found = of(compare(sides_in_turns(tmp_path, 1.03)), "tpdu C2")
    assert (found.finding, found.basis, found.units) == (Finding.HIGHER, Basis.RUNS_PAIRED, (12, 12))
    assert found.ratio == pytest.approx(1.03, abs=0.01)
    assert of(compare(sides_in_turns(tmp_path / "few", 0.95, 7)), "tpdu C2").basis is Basis.RUNS


def test_too_few_runs_are_not_tested_and_say_so(tmp_path: Path) -> None:
    sides = sides_in_turns(tmp_path, 1.5, 3)
    found = compare(sides)
    assert found.family == 0
    assert of(found, "tpdu C2").finding is Finding.NOT_TESTED
    assert "3 against 3 runs cannot show anything" in of(found, "tpdu C2").why
    assert CliRunner().invoke(cardbench, ["compare", *map(str, sides)]).exit_code == 3


def test_profiles_tell_a_faster_clock_from_another_chip() -> None:
    medians = np.array([1.0, 2.0, 5.0, 9.0])
    clock = similarity(medians, medians / 2, np.zeros(4))
    assert (clock.factor, clock.residual, clock.correlation) == (pytest.approx(0.5), pytest.approx(0.0, abs=1e-9), 1.0)
    other = similarity(medians, medians * np.array([1.0, 2.0, 0.5, 1.5]), np.ones(4))
    assert other.residual > 0.3
    assert other.overlap == 1.0


def test_the_command_writes_what_is_asked_for(tmp_path: Path) -> None:
    sides = [
        one_run(tmp_path / "a", virtual=True),
        one_run(tmp_path / "b", 1.2, 2, virtual=True),
        one_run(tmp_path / "c", 1.2, 3, virtual=True),
    ]
    write(run_of("000007", [("x", Verdict.PASS)]), sides[0])
    write(run_of("000007", [("x", Verdict.FAIL)]), sides[1])
    files = {name: tmp_path / f"out.{name}" for name in ("markdown", "json", "picture")}
    options = [part for name, file in files.items() for part in (f"--{name}", str(file))]
    done = CliRunner().invoke(cardbench, ["compare", *map(str, sides), "--all-pairs", *options])
    assert done.exit_code == 0, done.output
    assert "A, B and C: 2 of 3 comparisons differ" in done.output
    assert "apdu/words [x]: pass | fail | not run" in done.output
    content = json.loads(files["json"].read_text())
    assert len(content["profiles"]) == 3
    assert [one["finding"] for one in content["differences"] if one["second"] == "C" and one["first"] == "B"].count(
        "higher"
    ) == 0
    assert "## What differs (2)" in files["markdown"].read_text()
    drawn = ET.fromstring(files["picture"].read_text())
    assert sum(part.tag.endswith("circle") for part in drawn) == 2


@pytest.mark.parametrize(
    ("sides", "said"),
    [
        (["a"], "1 given"),
        (["a", "a"], "a run can be of one side only"),
        (["a", "empty"], "holds no run"),
        (["a", "other"], "no series"),
    ],
    ids=["one", "twice", "empty", "nothing-in-common"],
)
def test_what_cannot_be_compared_is_said(tmp_path: Path, sides: list[str], said: str) -> None:
    one_run(tmp_path / "a")
    (tmp_path / "empty").mkdir()
    write(run_of("000000", [("x", Verdict.PASS)]), tmp_path / "other")
    with pytest.raises(ReportError, match=said):
        compare([tmp_path / name for name in sides])
    done = CliRunner().invoke(cardbench, ["compare", *(str(tmp_path / name) for name in sides)])
    assert done.exit_code == 2
    assert said in done.output
