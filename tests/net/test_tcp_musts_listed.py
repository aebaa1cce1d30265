"""Every MUST of RFC 9293 is a test, or is listed in docs/tcp.md with the reason."""

import re
from pathlib import Path

HERE = Path(__file__).parent
LAST = 69


def test_every_number_is_a_test_or_is_listed_as_kept_out() -> None:
    tested = {
        int(number)
        for path in HERE.glob("test_tcp_musts_*.py")
        for name in re.findall(r"^def (test_must_\w+)", path.read_text("utf-8"), re.MULTILINE)
        for number in re.findall(r"must_(\d+)_", name)
    }
    kept_out = {
        int(number)
        for number in re.findall(
            r"^\| MUST-(\d+) \|", (HERE.parents[1] / "docs/tcp.md").read_text("utf-8"), re.MULTILINE
        )
    }
    assert tested | kept_out == set(range(1, LAST + 1))
    assert not tested & kept_out
    assert len(tested) >= 60
