"""The real points of every scenario through Debian's pcscd and vpcd: the same verdicts as on the software rig, or not applicable, with the reason."""

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from bench.observe import NullSink, PointVerdict, Verdict
from bench.rig.loader import load_rig_file
from bench.scenario.loader import load_scenario
from bench.scenario.points import Selection
from bench.scenario.runner import run_point
from reports.arrow import read_frame

ROOT = Path(__file__).parent.parent.parent
RIG = ROOT / "rigs" / "pcsc-vpcd.yaml"

pytestmark = [
    pytest.mark.witness,
    pytest.mark.skipif(shutil.which("pcscd") is None, reason="pcscd is not installed (Debian: pcscd vsmartcard-vpcd)"),
    pytest.mark.skipif(find_spec("smartcard") is None, reason="pyscard is not installed (the extra pcsc)"),
]


class _Nobody(NullSink):
    def finish(self, verdict: PointVerdict, /) -> None:
        """Nobody keeps it: ``run_point`` gives it back as well."""


def _software_verdicts() -> dict[tuple[str, str], Verdict]:
    rig = load_rig_file(ROOT / "rigs" / "default.yaml").rigs[0]
    found: dict[tuple[str, str], Verdict] = {}
    for path in sorted((ROOT / "scenarios").rglob("*.yaml")):
        for point in load_scenario(path).points[Selection.REAL]:
            outcome = run_point(point, rig, 1, lambda _timebase: _Nobody())
            found[point.scenario, point.id] = outcome.verdict.verdict
    return found


def test_real_points_through_pcscd_give_the_verdicts_of_the_software_rig(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "bench.cli",
        "run",
        str(ROOT / "scenarios"),
        "--rig",
        str(RIG),
        "--no-report",
        "--out",
        str(tmp_path),
    ]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=300)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (table,) = tmp_path.rglob("verdicts.parquet")
    frame = read_frame(table)
    real = {(row.scenario, row.point): (row.verdict, row.reason) for row in frame.itertuples()}
    software = _software_verdicts()
    assert real.keys() == software.keys()
    assert sum(verdict == Verdict.PASS for verdict, _ in real.values()) >= 15
    for key, (verdict, reason) in real.items():
        if verdict == Verdict.NOT_APPLICABLE:
            assert reason, f"{key} says not applicable without a reason"
        else:
            assert verdict == software[key], (
                f"{key}: {verdict} ({reason}) through pcscd, {software[key]} on the software rig"
            )
    for name in ("negotiated", "throughput", "throughput-by-mtu", "time-of-an-envelope"):
        (told,) = [each for (scenario, _), each in real.items() if scenario == f"baud-rate/{name}"]
        assert told[0] == Verdict.NOT_APPLICABLE
        assert "cannot choose" in told[1]
