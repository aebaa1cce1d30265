"""The first declaration of a card that Debian's pcscd reads: the same as that of the software rig, line by line."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli import cardbench
from bench.rig.pcscd import missing_parts

ROOT = Path(__file__).resolve().parents[2]
MISSING = missing_parts() or ("" if find_spec("smartcard") else "pyscard is missing: make setup-pcsc")

pytestmark = [
    pytest.mark.witness,
    pytest.mark.real,
    pytest.mark.skipif(bool(MISSING), reason=MISSING or "nothing is missing"),
]


def test_declared_through_pcscd_as_on_the_software_rig(tmp_path: Path) -> None:
    path = tmp_path / "card.yaml"
    command = [sys.executable, "-m", "bench.cli", "declare", str(path), "--rig", "rigs/pcsc-vpcd.yaml"]
    ran = subprocess.run(
        [*command, "--given", "stack=both"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    software = CliRunner().invoke(cardbench, ["declare", "--given", "stack=both"])
    assert path.read_text(encoding="utf-8") == software.output
    assert "answered a ping over IPv4 and IPv6" in software.output
