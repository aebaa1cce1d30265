"""Each fault on each path, as a lab meets it: an error with a name that says what to do, never the card's failure; and the run goes on."""

import re
from collections.abc import Callable
from importlib.util import find_spec

import pytest

from bench.observe import Verdict
from bench.readers.faults import Fault
from bench.rig.pcscd import missing_parts
from tests.rig.lab import STRUCK, FaultPath, open_folder, run_trial
from tests.rig.pcsc_path import PcscPath

MISSING = missing_parts() or ("" if find_spec("smartcard") else "missing pyscard: pip install 'cardbench[pcsc]'")

pytestmark = [pytest.mark.witness, pytest.mark.real]

HANG_S = 10
NOT_JUDGED = 3
PCSC = pytest.param(
    PcscPath, id="pcsc", marks=pytest.mark.skipif(bool(MISSING), reason=MISSING or "nothing is missing")
)


@pytest.mark.parametrize("path", [PCSC])
@pytest.mark.parametrize(
    "fault",
    [
        Fault.ABSENT,
        Fault.READER,
        Fault.DAEMON,
        Fault.BUSY,
        Fault.DENIED,
        Fault.FROZEN,
        Fault.TRUNCATED,
        Fault.GARBLED,
    ],
    ids=lambda fault: fault.name.lower(),
)
def test_a_fault_is_an_error_with_a_name(path: Callable[[], FaultPath], fault: Fault) -> None:
    with open_folder() as folder, path() as broken:
        trial = broken.trial(fault)
        ran = run_trial(broken, trial, folder)
    before, struck, after = ran.points
    assert before.verdict is Verdict.PASS, before.reason
    assert struck.verdict is Verdict.ERROR, struck
    assert re.search(trial.says, struck.reason), struck.reason
    assert struck.seconds < HANG_S
    if trial.lasting:
        assert after.verdict is Verdict.ERROR
        assert "in quarantine since: " in after.reason
        assert str(fault) in after.reason
        assert re.search(trial.says, after.reason), "the first cause is kept"
    else:
        assert after.verdict is Verdict.PASS, after.reason
    assert after.seconds < HANG_S
    assert ran.status == NOT_JUDGED
    assert str(fault) in ran.out
    assert STRUCK == 2
