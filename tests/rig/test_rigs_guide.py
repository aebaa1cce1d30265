"""docs/rigs.md: what it shows is right, and its numbers are the code's."""

import re
import textwrap
from pathlib import Path

from bench.rig import calibrating, calibration, locks
from bench.rig.loader import parse_rig_file

GUIDE = (Path(__file__).resolve().parents[2] / "docs/rigs.md").read_text(encoding="utf-8")


def test_the_pieces_of_rig_files_it_shows_are_read() -> None:
    pieces = [textwrap.dedent(each) for each in re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)]
    assert len(pieces) == 2
    whole = "name: shown\nreader: {kind: pcsc, name: Gem}\n" + "".join(pieces)
    first, *rest = whole.splitlines()
    text = "station: lab\nrigs:\n  - " + first + "\n" + "".join(f"    {line}\n" for line in rest)
    rig = parse_rig_file(text, Path("lab.yaml")).rigs[0]
    assert rig.guard.write_budget == 5000
    assert rig.cards[0].identity is not None
    assert len(rig.cards[0].identity.apdus) == 2
    assert rig.hands is not None
    assert rig.hands.operator


def test_its_numbers_are_the_codes() -> None:
    rank, coverage = calibration.median_rank(calibrating.ROUNDS)
    low, high = f"{rank}th", f"{calibrating.ROUNDS + 1 - rank}st"
    assert (
        f"with {calibrating.ROUNDS} rounds: from the {low} to the {high} value, {coverage:.2%}".replace("%", " %")
        in GUIDE
    )
    assert f"{calibrating.ROUNDS} rounds after {calibrating.WARM_UP} that are thrown away" in GUIDE
    assert f"with {len(calibrating.DATA_COMMAND.data)} bytes of data" in GUIDE
    assert str(locks.KEPT) in GUIDE
    assert str(locks.USUAL) in GUIDE
    assert locks.DIRECTORY_VARIABLE in GUIDE
