"""Guard and hands on a real path, as a lab uses them: a card behind pcscd that the bench knows only by what its rig file says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from bench.card.profile import CardProfile
from bench.rig.guard import Ledger
from bench.rig.locks import DIRECTORY_VARIABLE
from bench.rig.pcscd import missing_parts
from reports.arrow import read_frame
from tests.processes import begun

ROOT = Path(__file__).resolve().parents[2]
MISSING = missing_parts() or ("" if find_spec("smartcard") else "missing pyscard: pip install 'cardbench[pcsc]'")

pytestmark = [
    pytest.mark.witness,
    pytest.mark.real,
    pytest.mark.skipif(bool(MISSING), reason=MISSING or "nothing is missing"),
]

ATR = CardProfile(identity=b"").atr.hex(" ").upper()
SELECT_ICCID, READ_ICCID = "00 A4 00 0C 02 2F E2", "00 B0 00 00 06"
ICCID = b"CB0001".hex(" ").upper()
SCENARIO = """title: {name}
requirements: [APDU-READ-1]
{needs}
real: all
steps:
  - power_on: {{within: 5 s}}
{steps}
"""
SELECT = '  - transmit: {apdu: 00 A4 00 0C 02 00 01, sw: "9000"}\n'
UPDATE = '  - transmit: {apdu: 00 D6 00 00 01 AA, sw: "9000"}\n'
VERIFY = '  - transmit: {apdu: 00 20 00 01 04 31 32 33 34, sw: "6D00"}\n'
SCENARIOS = {
    "declared": ("needs: {writes: 2}", SELECT + UPDATE + UPDATE),
    "undeclared": ("", SELECT + UPDATE),
    "too-much": ("needs: {writes: 90}", SELECT + UPDATE),
    "pin": ("", VERIFY),
    "pin-declared": ("needs: {pin: true}", VERIFY),
    "reading": ("", SELECT + "  - transmit: {apdu: 00 B0 00 00 01}\n"),
}
RIG = """station: lab
rigs:
  - name: {name}
    reader: {{kind: pcsc, name: cardbench 00 00}}
    cards: [{card}]
    guard: {{{guard}}}
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A card in a reader of a pcscd of its own, and a lock directory of the test's own."""
    command = (sys.executable, "-m", "bench.cli", "card", "--serve", "vpcd", "--pcscd")
    with begun(command) as process:
        assert process.stdout is not None
        exported = process.stdout.readline()
        assert exported.startswith("export PCSCLITE_CSOCK_NAME="), process.stderr and process.stderr.read()
        process.stdout.readline()
        yield {
            **os.environ,
            "PCSCLITE_CSOCK_NAME": exported.strip().partition("=")[2],
            DIRECTORY_VARIABLE: str(tmp_path_factory.mktemp("locks")),
        }
        process.send_signal(signal.SIGINT)
        process.wait(60)


def run(
    environment: dict[str, str], folder: Path, name: str, card: str, guard: str, *chosen: str
) -> dict[str, tuple[str, str]]:
    """Run scenarios on a rig; gives verdict and reason of each by its name."""
    scenarios = folder / "scenarios/lab"
    scenarios.mkdir(parents=True, exist_ok=True)
    for each in chosen:
        needs, steps = SCENARIOS[each]
        (scenarios / f"{each}.yaml").write_text(SCENARIO.format(name=each, needs=needs, steps=steps))
    (folder / "rig.yaml").write_text(RIG.format(name=name, card=card, guard=guard))
    out = folder / f"out-{name}"
    ran = subprocess.run(
        [sys.executable, "-m", "bench.cli", "run", "scenarios", "--rig", "rig.yaml", "--out", str(out), "--no-report"],
        env=environment, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    found = list(out.rglob("verdicts.parquet"))
    assert found, ran.stdout + ran.stderr
    frame = read_frame(found[0])
    return {
        str(scenario).rpartition("/")[2]: (str(verdict), str(reason))
        for scenario, verdict, reason in zip(frame["scenario"], frame["verdict"], frame["reason"], strict=True)
    }


NAMED = f"{{profile: plain, atr: {ATR}, identity: {{apdus: [{SELECT_ICCID}, {READ_ICCID}], answer: {ICCID}}}}}"


def test_a_lab_card_is_written_to_only_as_its_rig_file_says(environment: dict[str, str], tmp_path: Path) -> None:
    told = run(environment, tmp_path, "named", NAMED, "write_budget: 5", *SCENARIOS)
    assert told["declared"] == ("pass", "")
    assert told["reading"] == ("pass", "")
    assert told["undeclared"][0] == "error"
    assert "UPDATE BINARY changes the card, and the scenario has not declared it" in told["undeclared"][1]
    assert told["too-much"][0] == "not applicable"
    assert "needs writes 90, declared is " in told["too-much"][1]
    assert told["pin"][0] == "error"
    assert "VERIFY may use up a retry counter" in told["pin"][1]
    assert told["pin-declared"][0] == "not applicable"


def test_another_card_is_left_alone(environment: dict[str, str], tmp_path: Path) -> None:
    unnamed = run(environment, tmp_path, "unnamed", "{profile: plain}", "write_budget: 5", "declared", "reading")
    assert unnamed["declared"][0] == "not applicable"
    assert "does not name the card" in unnamed["declared"][1]
    assert unnamed["reading"][0] == "pass"
    stranger = run(
        environment, tmp_path, "stranger", NAMED.replace(ICCID, "01 02"), "write_budget: 5", "declared", "reading"
    )
    assert stranger["declared"][0] == "error"
    assert f"the card's identity is {ICCID} (9000), the rig names 01 02" in stranger["declared"][1]
    assert stranger["reading"][0] == "pass"


def test_the_budget_ends_over_runs(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = {**environment, DIRECTORY_VARIABLE: str(tmp_path / "locks")}
    verdicts = [
        run(fresh, tmp_path, f"run-{number}", NAMED, "write_budget: 5", "declared")["declared"] for number in range(3)
    ]
    assert [verdict for verdict, _ in verdicts] == ["pass", "pass", "not applicable"]
    assert "needs writes 2, declared is 1" in verdicts[2][1]
    monkeypatch.setenv(DIRECTORY_VARIABLE, str(tmp_path / "locks"))
    assert Ledger(f"card-{bytes.fromhex(ICCID).hex()}").read().written == 4


def test_the_operator_of_an_unattended_run_is_nobody(environment: dict[str, str], tmp_path: Path) -> None:
    scenarios = tmp_path / "scenarios/lab"
    scenarios.mkdir(parents=True)
    (scenarios / "pull.yaml").write_text(
        "title: A card is pulled\nrequirements: [CHAIN-DOWN-1]\nneeds: {removable: true}\nreal: all\n"
        "steps:\n  - power_on: {within: 5 s}\n  - remove_card: {card: 1}\n"
    )
    rig = RIG.format(name="desk", card="{profile: plain}", guard="") + "    hands: {operator: yes}\n"
    (tmp_path / "rig.yaml").write_text(rig)
    ran = subprocess.run(
        [sys.executable, "-m", "bench.cli", "run", "scenarios", "--rig", "rig.yaml", "--out", "out", "--no-report"],
        env=environment, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100, check=False,
        start_new_session=True,
    )  # fmt: skip
    (verdicts,) = (tmp_path / "out").rglob("verdicts.parquet")
    frame = read_frame(verdicts)
    assert frame["verdict"].tolist() == ["not applicable"], ran.stdout
    assert "nobody sits at a terminal" in frame["reason"].tolist()[0]
