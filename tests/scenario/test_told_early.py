"""What is wrong in a step, or not to be judged on a rig, is told before anything is powered."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli import cardbench
from bench.files.mistakes import FileError
from bench.observe import StepMark, Verdict
from bench.scenario.loader import load_scenario
from bench.scenario.steps.wait import Wait
from tests.scenario.test_runner import run

HEAD = "title: Wrong\nrequirements: [HOP-SEG-1]\nsteps:\n"


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ("transfer: {}", "transfer with none of them; expected one of 'for', 'messages' and 'size'"),
        (
            "transfer: {for: 1 s, size: 3 B}",
            "transfer with for and size; expected one of 'for', 'messages' and 'size'",
        ),
        ("transmit: {}", "transmit with neither; expected 'apdu' or 'echo'"),
        ("transmit: {apdu: 00 A4 00 00, echo: 5 B}", ":4:15: transmit with both; expected 'apdu' or 'echo'"),
        ("transmit: {apdu: 00 A4 00}", "3 bytes; a command APDU has at least CLA INS P1 P2"),
        ("converse: {to: web, say: 'GET \\x'}", "expected ASCII text with the escapes of JSON strings"),
    ],
)
def test_a_step_that_makes_no_sense_is_told_when_its_file_is_read(tmp_path: Path, step: str, told: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(f"{HEAD}  - {step}\n")
    with pytest.raises(FileError) as caught:
        load_scenario(path)
    assert told in str(caught.value)


@pytest.mark.parametrize("rig", [(), ("--rig", "rigs.yaml")])
def test_a_rig_that_the_file_has_not_is_wrong_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rig: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rigs.yaml").write_text("station: lab\nrigs: [{name: software, reader: {kind: software}}]\n")
    (tmp_path / "one.yaml").write_text(f"{HEAD}  - wait: 1 s\n")
    ended = CliRunner().invoke(cardbench, ["run", "one.yaml", "--rig-name", "third", *rig])
    assert ended.exit_code == 2
    assert "has no rig named 'third'; it has software" in ended.output
    assert "Traceback" not in ended.output


def test_what_a_rig_cannot_show_is_told_before_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Wait, "why_not", lambda step, _rig: "nobody waits here" if step.duration.ns > 10**9 else "")
    outcome, kept = run("  - wait: 1 s\n  - wait: 2 s\n")
    assert outcome.verdict.verdict is Verdict.NOT_APPLICABLE
    assert (outcome.verdict.reason, outcome.verdict.step) == ("nobody waits here", 2)
    assert not [each for each in kept.seen if isinstance(each, StepMark)]
