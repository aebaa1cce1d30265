"""Fifty cards pulled and ten daemons killed at random moments of a transfer, through pcscd and vpcd. (A thousand, two hundred: tests/soak.)"""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from bench.rig.pcscd import missing_parts
from tests.witness.strikes import Strike, close_served_reader, strike

MISSING = missing_parts() or ("" if find_spec("smartcard") else "missing pyscard: pip install 'cardbench[pcsc]'")

pytestmark = [
    pytest.mark.witness,
    pytest.mark.real,
    pytest.mark.skipif(bool(MISSING), reason=MISSING or "nothing is missing"),
]


@pytest.fixture(scope="module", autouse=True)
def nothing_stays() -> Iterator[None]:
    yield
    close_served_reader()


@pytest.mark.parametrize(
    ("how", "count", "seed"),
    [(Strike.PULL, 25, 1), (Strike.PULL, 25, 2), (Strike.DAEMON, 10, 3)],
    ids=["pulled-25", "pulled-25-more", "pcscd-killed-10"],
)
def test_each_strike_is_an_error_with_its_cause_and_the_next_point_runs(
    how: Strike, count: int, seed: int, tmp_path: Path
) -> None:
    tally = strike(how, count, seed, tmp_path)
    assert tally.count == count
    tally.assert_sound()
