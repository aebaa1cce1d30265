"""The command line in the guest: a reader comes and goes and is listed, with and without pcscd; a rig file is written for it; it is calibrated."""

import json
import signal
import sys
import time
from pathlib import Path

import pytest

from bench.rig.loader import load_rig_file
from bench.rig.model import ReaderKind, ServeWay
from tests.guest.machine import ROOT, Guest
from tests.readers.contract.test_in_guest import serving

pytestmark = [pytest.mark.witness, pytest.mark.real]

CARDBENCH = (sys.executable, "-m", "bench.cli")
WITHIN_S = 180
DEVICE = "08e6:3437:0001"


def listed(guest: Guest, *interfaces: str) -> dict[str, dict[str, object]]:
    """What ``cardbench readers`` lists, by interface, once it is that; serial ports left out. udevd takes its time."""
    limit = time.monotonic() + WITHIN_S
    while True:
        ran = guest.run([*CARDBENCH, "readers", "--json"], WITHIN_S)
        assert ran.status == 0, ran.stdout + ran.stderr
        readers = json.loads(ran.stdout)["readers"]
        found = {str(each["interface"]): each for each in readers if each["interface"] != "serial"}
        if set(found) == set(interfaces) or time.monotonic() > limit:
            assert set(found) == set(interfaces)
            return found


def test_a_served_reader_is_listed_by_whom_it_is_used_and_gets_a_rig(guest: Guest) -> None:
    lab = guest.share / "lab.yaml"
    with guest.start([*CARDBENCH, "card", "--serve", "usbip"]) as served:
        served.wait_for("serving a card in a USB reader (tpdu)", WITHIN_S)
        found = listed(guest, "usb")
        assert found["usb"]["address"] == DEVICE
        assert found["usb"]["stable"] is True
        assert found["usb"]["holder"] == ""
        abilities = found["usb"]["abilities"]
        assert isinstance(abilities, dict)
        assert (abilities["level"], abilities["rate"], abilities["slots"]) == ("tpdu", "selectable", 1)

        nothing = guest.share / "no-readers"
        nothing.mkdir(exist_ok=True)
        guest.run(["mkdir", "-p", "/run/pcscd"]).checked()
        with guest.start(["pcscd", "--foreground", "--config", nothing, "--debug"]) as pcscd:
            pcscd.wait_for("Card ATR", 60)
            found = listed(guest, "usb", "pcsc")
        assert "pcscd (process " in str(found["usb"]["holder"])
        assert "CCID" in str(found["pcsc"]["address"])
        assert found["pcsc"]["card"] is True

        guest.run([*CARDBENCH, "rig", "scan", "--only", "usb", "--station", "guest", "--out", lab], WITHIN_S).checked()
        (rig,) = load_rig_file(lab).rigs
        assert rig.reader.kind is ReaderKind.USB
        assert rig.reader.device in (DEVICE, DEVICE.rpartition(":")[0])
        again = guest.run([*CARDBENCH, "rig", "scan", "--only", "usb", "--out", lab], WITHIN_S).checked()
        assert "is up to date" in again

        served.signal(signal.SIGINT)
        assert served.wait(60).status == 0
    listed(guest)


def test_raw_usb_is_calibrated(guest: Guest) -> None:
    rig = guest.share / "usb.yaml"
    rig.write_text((ROOT / "rigs" / "usb-raw-t1.yaml").read_text())
    with serving(guest, ServeWay.USBREDIR):
        said = guest.run([*CARDBENCH, "calibrate", "--rig", rig, "--rounds", "20"], 2 * WITHIN_S).checked()
    assert "T=1, TA1=" in said
    assert "20 rounds" in said
    (model,) = load_rig_file(Path(rig)).rigs
    (calibration,) = model.calibrations
    for series in calibration.series:
        assert len(series.times_ns) == 20
        assert min(series.times_ns) >= 0, (
            "the served card keeps no pace: less than its line would take is nothing, not less"
        )
        assert series.host_ns > 0
