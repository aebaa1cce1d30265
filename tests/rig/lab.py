"""A lab in miniature for tests of faults: scenario, rig file, ``cardbench run`` in a process of its own, and a gate before each point.

A ``FaultPath`` is one way to a card that can be broken. It brings the reader, the card behind it, and for each fault how it is made and mended.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.observe import Verdict
from bench.readers.faults import Fault
from reports.arrow import read_frame

ROOT = Path(__file__).resolve().parents[2]
WITHIN_S = 30.0
POWER_S = 2.0
"""For powering a card, and the patience of the path on top; where another program holds the card, so long is waited for it."""

SLOW_POWER_S = 7.0
"""Where a network is asked first: pyserial waits 3 s for a server."""

SCENARIO = """title: A byte is read
requirements: [APDU-READ-1]
sweep: {{mark: [{marks}]}}
real: all
steps:
  - power_on: {{within: {power_s:.0f} s}}
  - transmit: {{apdu: "00 B0 00 {{mark}} 01", within: 20 s}}
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


def pytest_runtest_logfinish():
    (HERE / f"end-{{len(list(HERE.glob('at-*')))}}").touch()
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
    patience: float
    """By how much everything takes longer than on this machine."""
    slow: bool
    """Whether opening the reader may take SLOW_POWER_S."""
    folder: Path | None
    """Where its files are to lie; None: anywhere."""

    def __enter__(self) -> "FaultPath": ...

    def __exit__(self, *_error: object) -> None: ...

    def trial(self, fault: Fault) -> Trial:
        """How this fault is made here. Raises KeyError where it cannot be."""

    def arm(self, during: Callable[[], bytes | None] | None) -> None:
        """Answer READ BINARY so, until told otherwise."""

    def launch(self, command: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path) -> "Process":
        """Start the bench where the reader is."""


class Process(Protocol):
    """What of ``subprocess.Popen`` is used here."""

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def kill(self) -> None: ...


class OnThisMachine:
    """For paths that need no other."""

    slow = False
    patience = 1.0
    folder: Path | None = None

    def launch(self, command: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path) -> Process:
        with log.open("wb") as output:
            return subprocess.Popen(
                command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )


@dataclass(frozen=True, slots=True)
class Told:
    """A point's end."""

    verdict: Verdict
    reason: str
    seconds: float


@contextmanager
def open_folder(path: FaultPath) -> Iterator[Path]:
    """A folder that any user may use; pytest's own are for root alone."""
    with tempfile.TemporaryDirectory(prefix="cardbench-lab-", dir=path.folder) as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield folder


@dataclass(frozen=True, slots=True)
class Ran:
    """How the run ended: its first point, then for each trial the point that was struck and the one after it."""

    status: int
    first: Told
    struck: tuple[Told, ...]
    after: tuple[Told, ...]
    out: str


def run_trials(path: FaultPath, trials: Sequence[Trial], folder: Path) -> Ran:
    """Run a point that is left alone, then two for each trial. (Nothing passes after a fault that lasts: such a trial is the last.)"""
    marks = [f"{mark:02X}" for mark in range(1 + 2 * len(trials))]
    (folder / "conftest.py").write_text(GATE.format(folder=str(folder), within=WITHIN_S * path.patience))
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "rig.yaml").write_text(path.rig)
    scenario = folder / "struck.yaml"
    scenario.write_text(
        SCENARIO.format(
            power_s=(SLOW_POWER_S if path.slow else POWER_S) + path.patience,
            marks=", ".join(f'"{mark}"' for mark in marks),
        )
    )
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
    if any(trial.as_nobody for trial in trials):
        command = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *command)
        environment |= {"HOME": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    log = folder / "log"
    process = path.launch((*command, "--out", str(folder / "out")), folder, environment, log)
    try:
        took = _gates(path, trials, folder, process, log)
        status = process.wait(WITHIN_S * path.patience)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    (table,) = (folder / "out").rglob("verdicts.parquet")
    rows = {row.point: row for row in read_frame(table).itertuples()}
    told = [
        Told(Verdict(rows[f"mark-{mark}"].verdict), rows[f"mark-{mark}"].reason, seconds)
        for mark, seconds in zip(marks, took, strict=True)
    ]
    return Ran(status, told[0], tuple(told[1::2]), tuple(told[2::2]), log.read_text())


def _gates(path: FaultPath, trials: Sequence[Trial], folder: Path, process: Process, log: Path) -> list[float]:
    """Let the points begin one by one, making and mending the faults between them; gives how many seconds each took."""
    took: list[float] = []
    begun = 0.0
    count = 1 + 2 * len(trials)
    for number in range(count):
        _reached(folder / f"at-{number + 1}", process, log, path.patience)
        if number:
            took.append(time.monotonic() - begun)
        trial = trials[(number - 1) // 2] if number else None
        if trial is not None and number % 2:
            path.arm(trial.during)
            if trial.before is not None:
                trial.before()
        elif trial is not None:
            path.arm(None)
            if trial.after is not None:
                trial.after()
        begun = time.monotonic()
        (folder / f"go-{number + 1}").touch()
    _reached(folder / f"end-{count}", process, log, path.patience)
    return [*took, time.monotonic() - begun]


def _reached(file: Path, process: Process, log: Path, patience: float) -> None:
    limit = time.monotonic() + WITHIN_S * patience
    while not file.exists():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < limit, f"{file.name} never came: {log.read_text()}"
        time.sleep(0.005)


HANG_S = 10.0
"""No point may take longer, whatever breaks."""
NOT_JUDGED = 3
"""Exit status: something could not be judged."""


def assert_passing(ran: Ran, trials: Sequence[Trial], patience: float = 1.0) -> None:
    """Each struck point is an error with its name, and the point after it passes."""
    assert ran.first.verdict is Verdict.PASS, ran.first
    for trial, struck, after in zip(trials, ran.struck, ran.after, strict=True):
        assert not trial.lasting
        _assert_error(trial, struck, patience)
        assert after.verdict is Verdict.PASS, after
        assert after.seconds < HANG_S * patience
    assert ran.status == NOT_JUDGED


def assert_lasting(ran: Ran, trials: Sequence[Trial], patience: float = 1.0) -> None:
    """The last trial's fault puts the rig in quarantine, with its first cause; what was before passed."""
    last = len(trials) - 1
    assert_passing(Ran(ran.status, ran.first, ran.struck[:last], ran.after[:last], ran.out), trials[:last], patience)
    assert trials[last].lasting
    _assert_error(trials[last], ran.struck[last], patience)
    after = ran.after[last]
    assert after.verdict is Verdict.ERROR
    assert "in quarantine since: " in after.reason
    assert re.search(trials[last].says, after.reason), "the first cause is kept"
    assert after.seconds < patience


def _assert_error(trial: Trial, struck: Told, patience: float) -> None:
    assert struck.verdict is Verdict.ERROR, struck
    assert re.search(trial.says, struck.reason), struck.reason
    assert struck.seconds < HANG_S * patience
