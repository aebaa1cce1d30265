"""Allure's own command line builds its report from our results, twice: steps, attachments and links are in it, and history goes on."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.project import Project

ROOT = Path(__file__).resolve().parents[2]
COMMAND = ROOT / ".npm" / "node_modules" / ".bin" / "allure"
SECONDS = 120

pytestmark = [
    pytest.mark.witness,
    pytest.mark.skipif(
        not COMMAND.exists() or shutil.which("node") is None,
        reason="the Allure command line is not installed: make setup-test does it, from npm",
    ),
]

CARD = """sweep: {cards: [1, 2]}
given: {mtu: 64}
steps:
  - power_on: {}
  - assign_addresses: {}
"""
FAILS = "steps:\n  - wait: 1 ms\n  - try_limits: {level: 91}\n    measure: {level: {at_least: 95, marginal: 97}}\n"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project.make(tmp_path)
    project.scenario("chain/numbers", CARD)
    project.scenario("limits/fails", FAILS)
    project.scenario("limits/elsewhere", "needs: {stack: ip}\nsteps:\n  - power_on: {}\n")
    (config,) = re.findall(r"```js\n(.*?)```", (ROOT / "docs" / "allure.md").read_text("utf-8"), re.DOTALL)
    (tmp_path / "allurerc.mjs").write_text(config, "utf-8")
    # A folder of files instead of one page, so that what Allure made of the results can be read.
    (tmp_path / "files.mjs").write_text(config.replace("singleFile: true", "singleFile: false"), "utf-8")
    return project


def generate(project: Project, config: str, results: str) -> Path:
    report = project.path / f"report-{results}"
    command = [str(COMMAND), "generate", "--config", config, "--output", str(report), results]
    done = subprocess.run(
        command,
        cwd=project.path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return report


def test_report_and_history(project: Project) -> None:
    page, files = (project.path / name for name in ("first", "second"))
    for results, options in ((page, ()), (files, ("-n", "2"))):
        ran = project.cardbench("scenarios", "--alluredir", results.name, "--no-report", *options, FAKE_RIG="no")
        assert ran.status == 1, ran.out + ran.err
    text = (generate(project, "allurerc.mjs", page.name) / "index.html").read_text("utf-8")
    assert len(text) > 100_000
    report = generate(project, "files.mjs", files.name)

    lines = (project.path / "allure-history.jsonl").read_text("utf-8").splitlines()
    nights = [json.loads(line)["testResults"] for line in lines]
    assert len(nights) == 2
    assert set(nights[0]) == set(nights[1]), "a point has the same history id on one worker and on two"
    assert sorted(each["status"] for each in nights[1].values()) == ["failed", "passed", "passed", "skipped"]

    told = {each["name"]: each for each in map(read, (report / "data" / "test-results").glob("*.json"))}
    card = told["About numbers [cards-2]"]
    assert [step["name"] for step in steps_of(card)] == ["1 power_on", "2 assign_addresses"]
    assert ("mtu", "64 bytes") in {(each["name"], each["value"]) for each in card["parameters"]}
    assert [link["type"] for link in card["links"]] == ["requirement"]
    attached = {each["link"]["name"]: each["link"] for each in card["attachments"]}
    assert {"trace of exchanges", "durations of exchanges"} <= set(attached)
    first = {each["link"]["name"] for each in told["About numbers [cards-1]"]["attachments"]}
    assert "capture for Wireshark" in first, "the first point of a scenario keeps its bytes"
    assert not any(each["missed"] for each in attached.values()), "every attachment is there"

    categories = read(report / "widgets" / "categories.json")["nodes"].values()
    named = {each["name"] for each in categories if each["type"] == "category"}
    assert named == {"Product faults: the card failed", "Not applicable"}
    facts = {each["name"] for each in json.loads((report / "widgets" / "allure_environment.json").read_text("utf-8"))}
    assert {"station", "rig", "reader", "seed"} <= facts

    failed = told["About fails [single]"]
    assert failed["status"] == "failed"
    assert [step["status"] for step in steps_of(failed)] == ["passed", "failed"]
    (measured,) = [each for each in steps_of(failed)[1]["steps"] if each["name"].startswith("level")]
    assert measured["name"] == "level: fail"
    assert {"name": "value", "value": "91 percent_of_limit"}.items() <= measured["parameters"][0].items()


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return content


def steps_of(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Allure lists a result's attachments among its steps."""
    return [each for each in result["steps"] if each["type"] == "step"]
