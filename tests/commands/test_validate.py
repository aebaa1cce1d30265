"""`cardbench validate`: the matrix it writes, what it says of a scenario that looks away or accuses, and what a report shows of it."""

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench.cli import cardbench
from reports import ReportError
from reports.detection import (
    CAUGHT,
    MISSED,
    UNSEEN,
    detection_table,
    false_alarms_at_most,
    find_validation,
    read_validation,
)

SCENARIOS = Path(__file__).resolve().parents[2] / "scenarios"
POINT = (
    "title: A scenario\nrequirements: [{requirement}]\ngiven: {{profile: plain}}\nsteps:\n  - power_on: {{}}\n{step}"
)


def validate(*arguments: str) -> Result:
    return CliRunner().invoke(cardbench, ["validate", *arguments])


def scenario(folder: Path, requirement: str, step: str = "") -> str:
    folder.mkdir()
    (folder / "one.yaml").write_text(POINT.format(requirement=requirement, step=step), "utf-8")
    return str(folder)


def test_the_matrix_names_what_caught_each(tmp_path: Path) -> None:
    wrong = ["--defect", "long-answer-cut", "--defect", "directory-stale", "--defect", "impatient"]
    result = validate(str(SCENARIOS), *wrong, "--seeds", "2", "--out", str(tmp_path))
    assert result.exit_code == 0, result.output
    assert "3 of 3 caught by their requirements" in result.output
    assert "at most 78 % of seeds at 95 %" in result.output
    validation = read_validation(tmp_path / "validation.json")
    assert [(row.defect, row.kind, row.requirement, row.result) for row in validation.rows] == [
        ("long-answer-cut", "card", "APDU-CHAIN-1", CAUGHT),
        ("directory-stale", "host", "DIR-2", CAUGHT),
        ("impatient", "reader", "IFD-WT-2", CAUGHT),
    ]
    first = validation.rows[0]
    assert first.point.startswith("apdu/extended-length::")
    assert first.step == "2 transmit"
    assert "255 bytes that are not the 256 expected" in first.reason
    with (tmp_path / "validation.csv").open(encoding="utf-8") as file:
        assert [row["defect"] for row in csv.DictReader(file)] == [row.defect for row in validation.rows]
    page = (tmp_path / "validation.html").read_text("utf-8")
    assert all(row.point in page for row in validation.rows)
    assert "<script" not in page
    assert len(detection_table(validation).rows) == 3


def test_a_scenario_that_looks_away_is_found_out(tmp_path: Path) -> None:
    folder = scenario(tmp_path / "lax", "APDU-CHAIN-1")
    result = validate(folder, "--defect", "long-answer-cut", "--out", str(tmp_path))
    assert result.exit_code == 1
    assert "APDU-CHAIN-1   not caught: 1 points" in result.output
    assert read_validation(tmp_path / "validation.json").rows[0].result == MISSED


def test_a_scenario_that_accuses_what_is_sound_is_found_out(tmp_path: Path) -> None:
    folder = scenario(tmp_path / "strict", "APDU-CHAIN-1", '  - transmit: {apdu: 00 B0 00 00 01, sw: "6A82"}\n')
    result = validate(folder, "--defect", "long-answer-cut", "--out", str(tmp_path))
    assert result.exit_code == 1
    (accused,) = read_validation(tmp_path / "validation.json").accused
    assert accused.verdict == "fail"
    assert "sound, and accused: strict/one::single, seed 1: fail" in result.output


def test_where_nothing_could_be_judged_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = validate(str(tmp_path / "empty"), "--defect", "long-answer-cut", "--out", str(tmp_path))
    assert result.exit_code == 3
    assert read_validation(tmp_path / "validation.json").rows[0].result == UNSEEN


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--defect", "hop-toggle-stuk"], "no defect named 'hop-toggle-stuk'"),
        (["nowhere"], "there is no folder 'nowhere' here"),
        (["--rig-name", "nobody"], "no rig named 'nobody'"),
    ],
)
def test_wrong_use_is_told(arguments: list[str], told: str) -> None:
    result = validate(*arguments)
    assert result.exit_code == 2
    assert told in result.output


def test_the_validation_lies_with_the_results_or_is_told_as_damaged(tmp_path: Path) -> None:
    run = tmp_path / "station=here" / "date=2026-01-01" / "run=000000"
    run.mkdir(parents=True)
    assert find_validation([run]) is None
    file = tmp_path / "validation.json"
    file.write_text(json.dumps({"version": "1", "rows": 3}), "utf-8")
    assert find_validation([run]) == file
    with pytest.raises(ReportError, match=r"validation\.json is no validation: rig: "):
        read_validation(file)


@pytest.mark.parametrize(("accused", "seeds", "bound"), [(0, 1, 0.95), (0, 10, 0.2589), (0, 1000, 0.002991), (0, 0, 1)])
def test_the_bound_is_the_exact_one(accused: int, seeds: int, bound: float) -> None:
    assert false_alarms_at_most(accused, seeds) == pytest.approx(bound, rel=1e-3)
