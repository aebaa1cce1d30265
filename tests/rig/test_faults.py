"""Each fault on each path, as a lab meets it: an error with a name that says what to do, never the card's failure; and the run goes on."""

from collections.abc import Callable
from importlib.util import find_spec

import pytest
from _pytest.mark import ParameterSet

from bench.readers.faults import Fault
from bench.rig.pcscd import Driver, missing_parts
from tests.rig.gempc_path import GempcPath
from tests.rig.lab import FaultPath, assert_lasting, assert_passing, open_folder, run_trials
from tests.rig.pcsc_path import PcscPath
from tests.rig.serial_path import PtyPath, Rfc2217Path

MISSING = missing_parts() or ("" if find_spec("smartcard") else "missing pyscard: pip install 'cardbench[pcsc]'")

pytestmark = [pytest.mark.witness, pytest.mark.real]

LIBCCID = MISSING or missing_parts(Driver.serial("", ""))
SERIAL = "" if find_spec("serial") else "missing pyserial: pip install 'cardbench[serial]'"


def _path(path: Callable[[], FaultPath], missing: str, *faults: Fault) -> ParameterSet:
    marks = pytest.mark.skipif(bool(missing), reason=missing or "nothing is missing")
    name = getattr(path, "name", "")
    return pytest.param(path, faults, id=f"{name}-{'-'.join(fault.name.lower() for fault in faults)}", marks=marks)


PASSING = [
    _path(PcscPath, MISSING, Fault.ABSENT, Fault.TRUNCATED, Fault.READER),
    _path(PcscPath, MISSING, Fault.GARBLED, Fault.DAEMON, Fault.BUSY),
    _path(GempcPath, LIBCCID, Fault.ABSENT, Fault.TRUNCATED, Fault.GARBLED, Fault.READER, Fault.DAEMON),
    _path(Rfc2217Path, SERIAL, Fault.ABSENT, Fault.TRUNCATED, Fault.READER, Fault.GARBLED, Fault.BUSY),
    _path(PtyPath, SERIAL, Fault.TRUNCATED, Fault.READER, Fault.GARBLED, Fault.BUSY, Fault.FROZEN),
]
"""What a hand, a daemon or nothing at all mends: the next point runs. (A pty tells nothing of who is frozen: what was sent does not come back.)"""
LASTING = [
    _path(PcscPath, MISSING, Fault.FROZEN),
    _path(PcscPath, MISSING, Fault.DENIED),
    _path(GempcPath, LIBCCID, Fault.FROZEN),
    _path(PtyPath, SERIAL, Fault.DENIED),
    _path(Rfc2217Path, SERIAL, Fault.FROZEN),
]


@pytest.mark.parametrize(("path", "faults"), PASSING)
def test_a_fault_that_passes_is_an_error_with_a_name_and_the_next_point_runs(
    path: Callable[[], FaultPath], faults: tuple[Fault, ...]
) -> None:
    with path() as broken, open_folder(broken) as folder:
        trials = [broken.trial(fault) for fault in faults]
        ran = run_trials(broken, trials, folder)
    assert_passing(ran, trials)


@pytest.mark.parametrize(("path", "faults"), LASTING)
def test_a_fault_that_lasts_puts_the_reader_in_quarantine_with_its_first_cause(
    path: Callable[[], FaultPath], faults: tuple[Fault, ...]
) -> None:
    with path() as broken, open_folder(broken) as folder:
        trials = [broken.trial(fault) for fault in faults]
        ran = run_trials(broken, trials, folder)
    assert_lasting(ran, trials)
