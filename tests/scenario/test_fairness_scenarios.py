"""The scenarios of shares and weights accuse a chain that gives each line away otherwise, whichever hop it is on."""

from pathlib import Path

import pytest

from bench.channels import node
from bench.hop.segment import Kind
from bench.observe import Verdict
from bench.scenario.loader import load_scenario
from bench.scenario.points import Selection
from bench.scenario.runner import Outcome, run_point

from .fakes import SOFTWARE, Kept

SOCKETS = Path(__file__).resolve().parents[2] / "scenarios" / "sockets"


def run(name: str, **values: str) -> Outcome:
    points = load_scenario(SOCKETS / f"{name}.yaml").points[Selection.ORDINARY]
    (point,) = [each for each in points if all(each.values[key] == value for key, value in values.items())]
    return run_point(point, SOFTWARE, 1, Kept)


@pytest.mark.parametrize("direction", ["down", "up"])
def test_a_chain_that_knows_no_weights(direction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = {"weight": "8", "direction": direction, "cards": "2"}
    assert run("fair-by-weight", **wanted).verdict.verdict is Verdict.PASS
    monkeypatch.setattr(node, "_weigh", lambda _kind, _packet: 1)
    outcome = run("fair-by-weight", **wanted)
    assert outcome.verdict.verdict is Verdict.FAIL
    wrong = {each.detail for each in outcome.measurements if each.verdict is Verdict.FAIL}
    assert {detail.split()[1] for detail in wrong} == {"1", "2"}, "on both hops"


@pytest.mark.parametrize("direction", ["down", "up"])
def test_a_chain_that_favours_one_channel(direction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def favour(_kind: Kind, packet: bytes) -> int:
        return 4 if packet[2:3] + packet[1:2] in (b"\x00\x04", b"\x04\x00") and packet[3] % 2 else 1

    monkeypatch.setattr(node, "_weigh", favour)
    outcome = run("fair-on-every-hop", to="last", direction=direction)
    assert outcome.verdict.verdict is Verdict.FAIL
    wrong = {each.detail for each in outcome.measurements if each.verdict is Verdict.FAIL}
    assert wrong >= {f"hop 4 {'out' if direction == 'down' else 'in'}"}
