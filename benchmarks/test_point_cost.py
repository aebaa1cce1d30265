"""What a point costs beside an empty pytest test in the same run: rig built, card powered, hop greeted, verdict recorded."""

import subprocess
import sys
import time
from pathlib import Path

from benchmarks.measure import show

COUNT = 200
POINTS = f"""title: Nothing but a card that answers
requirements: [CHAIN-NUM-1]
given: {{mtu: 64}}
sweep: {{turn: [1]}}
full: {{turn: [{", ".join(str(n) for n in range(COUNT))}]}}
steps:
  - power_on: {{}}
  - assign_addresses: {{}}
"""
TESTS = f"import pytest\n\n@pytest.mark.parametrize('turn', range({COUNT}))\ndef test_nothing(turn):\n    pass\n"


def test_point_beside_empty_test(tmp_path: Path) -> None:
    scenario = tmp_path / "cost" / "point.yaml"
    scenario.parent.mkdir()
    scenario.write_text(POINTS)
    empty = tmp_path / "test_empty.py"
    empty.write_text(TESTS)
    wall: dict[str, list[float]] = {"tests": [], "points": []}
    for turn in range(3):
        wall["tests"].append(_run(tmp_path, empty, turn))
        wall["points"].append(_run(tmp_path, scenario, turn))
    tests, points = min(wall["tests"]), min(wall["points"])
    show(
        f"{COUNT} points beside {COUNT} empty tests (a pytest of its own each, wall time, best of 3; start-up and the points' report included)",
        [
            f"empty tests {tests:7.2f} s, {1e3 * tests / COUNT:7.3f} ms each",
            f"points      {points:7.2f} s, {1e3 * points / COUNT:7.3f} ms each",
        ],
    )


def _run(folder: Path, target: Path, turn: int) -> float:
    begun = time.perf_counter()
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        str(target),
        "--full",
        "--out",
        str(folder / f"out-{turn}"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    taken = time.perf_counter() - begun
    assert f"{COUNT} passed" in done.stdout, done.stdout + done.stderr
    return taken
