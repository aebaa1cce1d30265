"""Each fault on each path, as a lab meets it: an error with a name that says what to do, never the card's failure; and the run goes on."""

import re
from collections.abc import Callable
from importlib.util import find_spec

import pytest

from bench.observe import Verdict
from bench.readers.faults import Fault
from bench.rig.pcscd import missing_parts
from tests.rig.lab import FaultPath, Told, Trial, open_folder, run_trials
from tests.rig.pcsc_path import PcscPath

MISSING = missing_parts() or ("" if find_spec("smartcard") else "missing pyscard: pip install 'cardbench[pcsc]'")

pytestmark = [pytest.mark.witness, pytest.mark.real]

HANG_S = 10
NOT_JUDGED = 3
PCSC = pytest.param(
    PcscPath, id="pcsc", marks=pytest.mark.skipif(bool(MISSING), reason=MISSING or "nothing is missing")
)


PASSING = (Fault.ABSENT, Fault.TRUNCATED, Fault.READER, Fault.GARBLED, Fault.DAEMON, Fault.BUSY)
"""What a hand, a daemon or nothing at all mends: the next point runs."""
LASTING = (Fault.FROZEN, Fault.DENIED)


@pytest.mark.parametrize("path", [PCSC])
@pytest.mark.parametrize(
    "faults", [PASSING[:3], PASSING[3:]], ids=lambda faults: "-".join(fault.name.lower() for fault in faults)
)
def test_a_fault_that_passes_is_an_error_with_a_name_and_the_next_point_runs(
    path: Callable[[], FaultPath], faults: tuple[Fault, ...]
) -> None:
    with open_folder() as folder, path() as broken:
        trials = [broken.trial(fault) for fault in faults]
        ran = run_trials(broken, trials, folder)
    assert ran.first.verdict is Verdict.PASS, ran.first
    for trial, struck, after in zip(trials, ran.struck, ran.after, strict=True):
        _is_error(trial, struck)
        assert not trial.lasting
        assert after.verdict is Verdict.PASS, after
        assert after.seconds < HANG_S
        assert str(trial.fault) in ran.out
    assert ran.status == NOT_JUDGED


@pytest.mark.parametrize("path", [PCSC])
@pytest.mark.parametrize("fault", LASTING, ids=lambda fault: fault.name.lower())
def test_a_fault_that_lasts_puts_the_reader_in_quarantine_with_its_first_cause(
    path: Callable[[], FaultPath], fault: Fault
) -> None:
    with open_folder() as folder, path() as broken:
        trial = broken.trial(fault)
        ran = run_trials(broken, [trial], folder)
    assert ran.first.verdict is Verdict.PASS, ran.first
    _is_error(trial, ran.struck[0])
    assert trial.lasting
    after = ran.after[0]
    assert after.verdict is Verdict.ERROR
    assert "in quarantine since: " in after.reason
    assert re.search(trial.says, after.reason), "the first cause is kept"
    assert after.seconds < 1
    assert ran.status == NOT_JUDGED


def _is_error(trial: Trial, struck: Told) -> None:
    assert struck.verdict is Verdict.ERROR, struck
    assert re.search(trial.says, struck.reason), struck.reason
    assert struck.seconds < HANG_S
