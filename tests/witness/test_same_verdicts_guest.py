"""The real points of every scenario on the USB paths: the bench runs in the guest, its readers are our device or QEMU's own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench.rig.loader import load_rig_file
from tests.guest.machine import Guest
from tests.readers.contract.test_in_guest import serving
from tests.witness.same_verdicts import ROOT, command, held, results_in, run

PATHS = {"usb-raw-t0": 60, "usb-raw-t1": 60, "usb-qemu": 40, "pcsc-usb-t0": 50, "pcsc-usb-t1": 50}
"""By rig: how many points pass at least."""
RUN_S = 3600

pytestmark = [
    pytest.mark.witness,
    pytest.mark.real,
    pytest.mark.soak,
]  # minutes a rig: Python in the guest is some fourteen times slower


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where results are; the software rig's are there."""
    directory = results_in(tmp_path_factory.mktemp("paths"))
    if not (directory / "software").exists():
        run("software", directory)
    return directory


@pytest.mark.parametrize("rig", PATHS)
def test_the_verdicts_are_those_of_the_software_rig_in_the_guest(guest: Guest, rig: str, out: Path) -> None:
    serve = load_rig_file(ROOT / "rigs" / f"{rig}.yaml").rigs[0].serve
    assert serve is not None
    with serving(guest, serve.way):
        ran = guest.run(command(rig, guest.share), RUN_S)
    assert ran.status in (0, 1), ran.stdout + ran.stderr
    shutil.rmtree(out / rig, ignore_errors=True)
    shutil.copytree(guest.share / rig, out / rig)
    held(out, rig, PATHS[rig])
