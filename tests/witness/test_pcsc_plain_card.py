"""A card that knows nothing of IP, in a reader of pcscd that is not the bench's: what a lab with an ordinary card gets from ``cardbench run``."""

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from bench.observe import Verdict
from bench.rig.pcscd import READER, PrivatePcscd, missing_parts
from reports.arrow import read_frame
from tests.rig.pcsc_path import ToldCard

MISSING = missing_parts() or ("" if find_spec("smartcard") else "missing pyscard: pip install 'cardbench[pcsc]'")

pytestmark = [
    pytest.mark.witness,
    pytest.mark.real,
    pytest.mark.skipif(bool(MISSING), reason=MISSING or "nothing is missing"),
]

ROOT = Path(__file__).parents[2]
RIG = f"""station: lab
rigs:
  - name: ordinary
    reader: {{kind: pcsc, name: {READER}}}
    cards: [{{profile: plain}}]
"""
USEFUL = {
    "link/answer-to-reset",
    "link/reset-again",
    "apdu/status-words",
    "apdu/unknown-class",
    "apdu/unknown-instruction",
    "apdu/unknown-name",
}
"""What holds on any card whatever."""


class Ordinary:
    """Commands of ISO/IEC 7816-4, answered in thirty lines that share nothing with the reference card."""

    def answer(self, command: bytes) -> bytes:
        cla, ins = command[0], command[1]
        if cla >> 4:
            return b"\x6e\x00"
        if ins == 0xA4:
            return b"\x90\x00" if command[5:7] == b"\x3f\x00" else b"\x6a\x82"
        if ins == 0xB0:
            return b"\x69\x86"
        if ins == 0x84:
            return bytes(range(command[4])) + b"\x90\x00"
        return b"\x6d\x00"


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    """Where programs find the daemon with the card."""
    daemon = PrivatePcscd()
    daemon.start()
    card = ToldCard(lambda: daemon.port, Ordinary().answer)
    yield {**os.environ, "PCSCLITE_CSOCK_NAME": str(daemon.socket)}
    card.close()
    daemon.remove()


def test_layers_1_and_2_and_apdus_are_judged_and_ip_does_not_apply(environment: dict[str, str], tmp_path: Path) -> None:
    rig = tmp_path / "rig.yaml"
    rig.write_text(RIG)
    command = (sys.executable, "-m", "bench.cli", "run", str(ROOT / "scenarios"), "--rig", str(rig), "--no-report")
    environment["CARDBENCH_LOCKS"] = str(tmp_path / "locks")
    done = subprocess.run(
        (*command, "--out", str(tmp_path / "out")),
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (table,) = (tmp_path / "out").rglob("verdicts.parquet")
    rows = list(read_frame(table).itertuples())
    assert {row.verdict for row in rows} == {Verdict.PASS, Verdict.NOT_APPLICABLE}
    passed = {row.scenario for row in rows if row.verdict == Verdict.PASS}
    assert passed >= USEFUL
    for row in rows:
        if row.verdict == Verdict.NOT_APPLICABLE:
            assert row.reason, row.scenario
    ip = [row for row in rows if row.scenario.partition("/")[0] in ("routing", "sockets", "address-assignment")]
    assert ip
    assert {row.verdict for row in ip} == {Verdict.NOT_APPLICABLE}


def test_a_card_that_breaks_a_rule_fails_it(environment: dict[str, str], tmp_path: Path) -> None:
    """The same card, held to what it does not do: it finds no application, and says 6A82 instead of 9000."""
    rig, scenario = tmp_path / "rig.yaml", tmp_path / "own.yaml"
    rig.write_text(RIG)
    scenario.write_text(
        "title: Its own application is found\nrequirements: [APDU-SELECT-2]\nsweep: {turn: [1]}\nreal: all\n"
        "steps:\n  - power_on: {}\n  - transmit: {apdu: 00 A4 04 0C 02 AB CD}\n"
    )
    environment["CARDBENCH_LOCKS"] = str(tmp_path / "locks")
    done = subprocess.run(
        (sys.executable, "-m", "bench.cli", "run", str(scenario), "--rig", str(rig), "--no-report"),
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "6A82" in done.stdout
