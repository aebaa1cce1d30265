"""A calibration on a real port, from the command line, and what a run makes of it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.rig.loader import load_rig_file
from bench.serve.uart import Pacing
from reports.arrow import read_frame
from tests.serial_support import card, served_uart, serving

ROOT = Path(__file__).resolve().parents[2]

RIG = """station: lab
rigs:
  - name: lab-serial
    reader: {{kind: serial, port: "{port}", clock_hz: 3571200, reset: rts, detect: cts}}
    cards: [{{profile: plain}}]
    poll_ms: {{first: 5, longest: 20}}
"""

pytestmark = pytest.mark.real


def cardbench(*words: str | Path) -> str:
    command = (sys.executable, "-m", "bench.cli", *map(str, words))
    ran = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_a_serial_reader_is_calibrated_and_no_part_of_an_exchange_is_negative(tmp_path: Path) -> None:
    """The card keeps to its line's pace, as one in a real adapter would."""
    rig = tmp_path / "serial.yaml"
    with serving("rfc2217", served_uart(card(), pacing=Pacing.LINE)) as served:
        rig.write_text(RIG.format(port=served.loop.address))
        said = cardbench("calibrate", "--rig", rig, "--rounds", "20")
        scenario = ROOT / "scenarios" / "apdu" / "unknown-instruction.yaml"
        cardbench("run", scenario, "--rig", rig, "--out", tmp_path / "out", "--no-report", "-k", "T-0")
    assert "bare: 00 02 00 00 00 -> 6D00: median " in said
    assert "20 rounds" in said
    (calibration,) = load_rig_file(rig).rigs[0].calibrations
    assert all(each >= 0 for series in calibration.series for each in series.times_ns)
    assert all(series.wire_ns > 0 for series in calibration.series)
    (table,) = (tmp_path / "out").rglob("exchanges.parquet")
    rows = read_frame(table)
    parts = ["host_ns", "reader_ns", "wire_ns", "card_ns", "uncertainty_ns"]
    assert len(rows)
    assert (rows[[*parts, "duration_ns"]] >= 0).all().all()
    assert (rows["reader_ns"] + rows["wire_ns"] + rows["card_ns"] == rows["duration_ns"]).all()
    assert (rows["wire_ns"] > 0).any()


def test_a_card_that_waits_for_no_line_leaves_the_whole_time_to_the_path() -> None:
    said = cardbench("calibrate", "--rig", ROOT / "rigs" / "serial-pty.yaml", "--rounds", "20", "--dry-run")
    series = re.findall(r"(bare|data): .* median ([0-9.]+) µs, .* line ([0-9.]+) µs", said)
    assert [name for name, _, _ in series] == ["bare", "data"]
    assert all(float(median) > 0 for _, median, _ in series)
    assert all(float(line) == 0 for _, _, line in series)
