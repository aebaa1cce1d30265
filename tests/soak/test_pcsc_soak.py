"""A thousand cards pulled and two hundred daemons killed at random moments of a transfer. (Fifty and ten: tests/witness/test_pcsc_strikes.py.)"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.rig.pcscd import missing_parts
from tests.soak.evidence import Row, section
from tests.witness.strikes import Strike, close_served_reader, strike

pytestmark = [
    pytest.mark.soak,
    pytest.mark.witness,
    pytest.mark.real,
    pytest.mark.skipif(bool(missing_parts()), reason=missing_parts() or "nothing is missing"),
]


@pytest.fixture(scope="module", autouse=True)
def nothing_stays() -> Iterator[None]:
    yield
    close_served_reader()


@pytest.mark.parametrize(("how", "count"), [(Strike.PULL, 1000), (Strike.DAEMON, 200)], ids=["pulls", "daemons"])
def test_many_strikes(how: Strike, count: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tally = strike(how, count, 4711, tmp_path)
    result = (
        f"end of the point after at most {tally.worst_end_s:.2f} s, card up again after at most {tally.worst_recovery_s:.2f} s; "
        f"{tally.in_journal} of {tally.finished} finished points in the journal; left behind: {tally.left or 'nothing'}; "
        f"unexpected verdicts: {len(tally.wrong)}; {tally.seconds:.0f} s in all"
    )
    with capsys.disabled():
        print(
            "\n" + section("PC/SC struck in the middle of a transfer", [Row(f"{how}, pcscd over vpcd", count, result)])
        )
    tally.assert_sound()
