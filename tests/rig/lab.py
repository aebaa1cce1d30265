"""A lab in miniature for tests of faults: scenario, rig file, ``cardbench run`` in a process of its own, and a gate before each point.

A ``FaultPath`` is one way to a card that can be broken. It brings the reader, the card behind it, and for each fault how it is made and mended.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.observe import Verdict
from bench.readers.faults import Fault
from reports.arrow import read_frame

ROOT = Path(__file__).resolve().parents[2]
POINTS = 3
STRUCK = 2
"""The point in which the fault comes: one before it must pass, one after it shows what is left."""
WITHIN_S = 30.0

SCENARIO = """title: A byte is read
requirements: [APDU-READ-1]
sweep: {{mark: [{marks}]}}
real: all
steps:
  - power_on: {{within: 3 s}}
  - transmit: {{apdu: "00 B0 00 0{{mark}} 01", within: 20 s}}
"""
GATE = '''"""Each point waits until the test lets it begin."""

import pathlib
import time

from bench.rig.build import build_rig

HERE = pathlib.Path({folder!r})


def pytest_cardbench_rig_builder(config):
    def build(*arguments):
        number = len(list(HERE.glob("at-*"))) + 1
        (HERE / f"at-{{number}}").touch()
        limit = time.monotonic() + {within}
        while not (HERE / f"go-{{number}}").exists():
            assert time.monotonic() < limit, "the test has forgotten this point"
            time.sleep(0.005)
        return build_rig(*arguments)

    return build
'''


@dataclass(frozen=True, slots=True)
class Trial:
    """One fault on one path."""

    fault: Fault
    says: str
    """What the struck point's reason must say (a regular expression): what happened and what to do."""
    lasting: bool = False
    """Whether the point after it is in quarantine; else it passes."""
    as_nobody: bool = False
    """Run the bench as a user who is nobody in particular (root may open everything)."""
    before: Callable[[], None] | None = None
    """Done before the struck point begins."""
    during: Callable[[], bytes | None] | None = None
    """The card's answer in the struck point, made when its command arrives; None: the card goes without one."""
    after: Callable[[], None] | None = None
    """Done once the struck point has ended."""


class FaultPath(Protocol):
    """One way to a card. Use it with ``with``: it is sound at first."""

    name: str
    rig: str
    """The rig file."""
    environment: Mapping[str, str]

    def __enter__(self) -> "FaultPath": ...

    def __exit__(self, *_error: object) -> None: ...

    def trial(self, fault: Fault) -> Trial:
        """How this fault is made here. Raises KeyError where it cannot be."""

    def arm(self, during: Callable[[], bytes | None] | None) -> None:
        """Answer command ``00 B0 00 02 01`` so, until told otherwise."""


@dataclass(frozen=True, slots=True)
class Told:
    """A point's end."""

    verdict: Verdict
    reason: str
    seconds: float


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that any user may use; pytest's own are for root alone."""
    with tempfile.TemporaryDirectory(prefix="cardbench-lab-") as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield folder


@dataclass(frozen=True, slots=True)
class Ran:
    """How the run ended."""

    status: int
    points: tuple[Told, ...]
    out: str


def run_trial(path: FaultPath, trial: Trial, folder: Path) -> Ran:
    """Run three points, the second one struck."""
    (folder / "conftest.py").write_text(GATE.format(folder=str(folder), within=WITHIN_S))
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "rig.yaml").write_text(path.rig)
    scenario = folder / "struck.yaml"
    scenario.write_text(SCENARIO.format(marks=", ".join(str(mark + 1) for mark in range(POINTS))))
    command = (
        sys.executable,
        "-m",
        "bench.cli",
        "run",
        str(scenario),
        "--rig",
        str(folder / "rig.yaml"),
        "--no-report",
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= {"PYTHONPATH": str(ROOT), "CARDBENCH_LOCKS": str(folder / "locks"), **path.environment}
    if trial.as_nobody:
        command = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *command)
        environment |= {"HOME": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            (*command, "--out", str(folder / "out")),
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        begun = _gates(path, trial, folder, process, log)
        status = process.wait(WITHIN_S)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    begun.append(time.monotonic())
    (table,) = (folder / "out").rglob("verdicts.parquet")
    rows = {row.point: row for row in read_frame(table).itertuples()}
    points = tuple(
        Told(Verdict(rows[f"mark-{mark + 1}"].verdict), rows[f"mark-{mark + 1}"].reason, begun[mark + 1] - begun[mark])
        for mark in range(POINTS)
    )
    return Ran(status, points, log.read_text())


def _gates(path: FaultPath, trial: Trial, folder: Path, process: "subprocess.Popen[bytes]", log: Path) -> list[float]:
    """Let the points begin one by one, making and mending the fault between them; gives when each began."""
    begun: list[float] = []
    for number in range(1, POINTS + 1):
        limit = time.monotonic() + WITHIN_S
        while not (folder / f"at-{number}").exists():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < limit, f"point {number} never came: {log.read_text()}"
            time.sleep(0.005)
        if number == STRUCK:
            path.arm(trial.during)
            if trial.before is not None:
                trial.before()
        if number == STRUCK + 1:
            path.arm(None)
            if trial.after is not None:
                trial.after()
        begun.append(time.monotonic())
        (folder / f"go-{number}").touch()
    return begun
