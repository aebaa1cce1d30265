"""Steps that speak to a card's services take the stack that the point is given, and hold it to the same."""

import sys
from pathlib import Path

import pytest

from bench.card.applications import echo
from bench.card.communication import Communication, Handle
from bench.engine import Timebase
from bench.observe import Packet, Verdict
from bench.rig.given import Given
from bench.scenario.loader import parse_scenario
from bench.scenario.points import Selection
from bench.scenario.runner import Outcome, run_point

from .fakes import SOFTWARE, Kept

TEXT = """\
title: T
requirements: [IPSC-MULTI-1]
needs: {{stack: {stack}}}
given: {{stack: {stack}, mtu: 128, ta1: "96", cards: 2}}
steps:
  - power_on: {{}}
  - assign_addresses: {{}}
  - open_channels: {{count: 3, to: {service}, card: 2}}
  - keep_apart: {{size: 400 B}}
  - half_close: {{card: 2}}
  - round_trips: {{card: 2, count: 2}}
"""


def run(stack: str, service: str = "echo") -> tuple[Outcome, Kept]:
    (point,) = parse_scenario(TEXT.format(stack=stack, service=service), Path("x.yaml")).points[Selection.ORDINARY]
    assert isinstance(point.given, Given)
    kept: list[Kept] = []

    def recorder(timebase: Timebase) -> Kept:
        kept.append(Kept(timebase))
        return kept[0]

    return run_point(point, SOFTWARE, 1, recorder), kept[0]


@pytest.mark.parametrize(("stack", "kind"), [("channel", "channel"), ("ip", "ipv4")])
def test_data_goes_over_the_stack_given(stack: str, kind: str) -> None:
    outcome, kept = run(stack)
    assert outcome.verdict.verdict is Verdict.PASS, outcome.text()
    carried = {each.kind for each in kept.seen if isinstance(each, Packet) and each.length_bytes > 60}
    assert kind in carried
    assert not carried & ({"channel", "ipv4"} - {kind})


@pytest.mark.parametrize("stack", ["channel", "ip"])
def test_a_card_that_changes_a_byte_is_accused_on_either_stack(stack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def wrong(io: Communication, channel: Handle) -> None:
        while (message := await io.receive(channel)) is not None:
            await io.send(channel, message[:-1] + bytes((message[-1] ^ 1,)))

    monkeypatch.setattr(sys.modules[echo.__module__], "_talk", wrong)
    outcome, _ = run(stack)
    assert outcome.verdict.verdict is Verdict.FAIL
    assert "another one at byte" in outcome.verdict.reason


@pytest.mark.parametrize("stack", ["channel", "ip"])
def test_a_service_that_is_not_there_is_told(stack: str) -> None:
    outcome, _ = run(stack, "nobody")
    assert outcome.verdict.verdict in (Verdict.FAIL, Verdict.ERROR)
    assert "nobody" in outcome.verdict.reason
