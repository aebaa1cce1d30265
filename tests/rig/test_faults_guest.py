"""Each fault on raw USB, in the guest: an error with a name that says what to do, the run goes on, and what lasts ends in quarantine."""

import pytest

from bench.readers.faults import Fault
from tests.guest.machine import Guest
from tests.rig.lab import assert_lasting, open_folder, run_trials
from tests.rig.usb_path import UsbPath

pytestmark = [pytest.mark.witness, pytest.mark.real]


@pytest.mark.parametrize(
    "faults",
    [
        (Fault.ABSENT, Fault.READER, Fault.BUSY, Fault.DENIED),
        (Fault.TRUNCATED, Fault.GARBLED, Fault.FROZEN),
    ],
    ids=lambda faults: "-".join(fault.name.lower() for fault in faults),
)
def test_faults_of_raw_usb(guest: Guest, faults: tuple[Fault, ...]) -> None:
    """What passes leaves the next point alone; the last of each keeps the reader in quarantine."""
    with UsbPath(guest) as broken, open_folder(broken) as folder:
        trials = [broken.trial(fault) for fault in faults]
        ran = run_trials(broken, trials, folder)
    assert_lasting(ran, trials, broken.patience)
