"""The contract on the paths that need a real USB stack: the same suite, run inside the guest, whose readers are our device, or QEMU's own."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.rig.model import ServeWay
from tests.guest.machine import ROOT, Guest
from tests.readers.contract.stations import PATHS

pytestmark = [pytest.mark.witness, pytest.mark.real]

RUN_S = 1200
BEGINS_S = 60
ENDS_S = 30


@contextmanager
def serving(guest: Guest, way: ServeWay) -> Iterator[None]:
    """The card in a reader in the guest's port, served by a process on the host that takes its orders from the guest."""
    socket = guest.directory / f"{way}.sock"
    socket.unlink(missing_ok=True)  # one left by a process that was ended is no sign of the next
    command = (sys.executable, "-m", "bench.rig.served", way, str(socket), "--orders", str(guest.orders))
    setpriv = shutil.which("setpriv")
    dies = (setpriv, "--pdeathsig", "KILL") if setpriv is not None else ()
    passed_through = guest.plug_ccid(socket) if way is ServeWay.VSCARD else None
    with (guest.directory / "served.log").open("wb") as log:
        process = subprocess.Popen((*dies, *command), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        plugged = passed_through
        if plugged is None:
            _wait_for(socket, process, Path(log.name))
            plugged = guest.plug(socket)
        with plugged:
            yield
    finally:
        process.terminate()
        process.wait(ENDS_S)


def _wait_for(socket: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    limit = time.monotonic() + BEGINS_S
    while not socket.exists():
        assert process.poll() is None, f"the process that serves has ended: {log.read_text(errors='replace')}"
        assert time.monotonic() < limit, "nobody listens"
        time.sleep(0.02)


@pytest.mark.parametrize("way", [ServeWay.USBREDIR, ServeWay.VSCARD])
def test_the_contract_is_kept_in_the_guest(guest: Guest, way: ServeWay) -> None:
    """All paths of one way in one run: most of its time goes into the first imports there."""
    names = [path.name for path in PATHS if path.guest and path.model.serve is not None and path.model.serve.way is way]
    report = guest.share / f"contract-{way}.xml"
    suite = Path(__file__).with_name("test_contract.py")
    words = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "--path", ",".join(names), str(suite)]
    with serving(guest, way):
        ran = guest.run([*words, "--junitxml", report], RUN_S)
    assert ran.status == 0, ran.stdout + ran.stderr
    cases = list(ElementTree.parse(report).getroot().iter("testcase"))
    assert not [case.get("name") for case in cases if case.find("skipped") is not None]
    for name in names:
        assert sum(f"[{name}" in str(case.get("name")) for case in cases) >= 25, name
