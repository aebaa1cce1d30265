"""Fairness counts the channels that should be served, and judges nothing that it has not seen enough of."""

from pathlib import Path

import pytest

from bench.observe import Direction, Measurement, Packet, Verdict
from bench.rig.given import Given
from bench.scenario.errors import BenchFault
from bench.scenario.loader import parse_scenario
from bench.scenario.points import Selection
from bench.scenario.runner import Outcome, run_point
from bench.scenario.steps import flow, transfer
from bench.scenario.steps.fairness import Sample, longest_gap, worst_jain

from .fakes import SOFTWARE, Kept

TEXT = """\
title: T
requirements: [CH-FAIR-1]
needs: {{stack: channel, channels: 16}}
given: {{mtu: 64, ta1: "96"}}
steps:
  - power_on: {{}}
  - assign_addresses: {{}}
  - open_by_direction: {{count: 4, direction: {direction}}}
  - transfer: {{messages: {messages}, direction: {direction}}}
    measure:
      fairness: {{at_least: 0.98, marginal: 0.99, unit: jain}}
      longest_gap: {{at_most: 400, unit: ms}}
"""


def run(direction: str, messages: int) -> Outcome:
    text = TEXT.format(direction=direction, messages=messages)
    (point,) = parse_scenario(text, Path("scenarios/sockets/x.yaml")).points[Selection.ORDINARY]
    assert isinstance(point.given, Given)
    return run_point(point, SOFTWARE, 1, Kept)


def measured(outcome: Outcome, name: str) -> list[Measurement]:
    return [each for each in outcome.measurements if each.name == name]


def turns(order: bytes) -> list[Sample]:
    return [Sample(at, Direction.OUT, bytes((each,)), 64) for at, each in enumerate(order)]


@pytest.mark.parametrize("direction", ["down", "up", "echo"])
def test_equal_channels_pass(direction: str) -> None:
    outcome = run(direction, 20)
    assert outcome.verdict.verdict is Verdict.PASS, outcome.text()
    assert len(measured(outcome, "share")) == (8 if direction == "echo" else 4)


@pytest.mark.parametrize("direction", ["down", "up"])
def test_a_channel_that_is_never_served_fails(direction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the watch would see, had one of four channels carried nothing."""
    honest = transfer.sample_of
    starved: set[bytes] = set()

    def seen(packet: Packet) -> Sample | None:
        sample = honest(packet)
        if sample is None:
            return None
        if not starved:
            starved.add(sample.channel)
        return None if sample.channel in starved else sample

    for module in (flow, transfer):
        monkeypatch.setattr(module, "sample_of", seen)
    outcome = run(direction, 20)
    assert outcome.verdict.verdict is Verdict.FAIL
    (fairness,) = measured(outcome, "fairness")
    assert fairness.verdict is Verdict.FAIL
    assert fairness.value <= 0.76, "three of four"
    (gap,) = measured(outcome, "longest_gap")
    assert gap.verdict is Verdict.FAIL, "the whole of the transfer"
    assert min(share.value for share in measured(outcome, "share")) == 0


def test_less_than_a_window_is_inconclusive() -> None:
    outcome = run("echo", 9)
    assert outcome.verdict.verdict is Verdict.INCONCLUSIVE
    (fairness,) = measured(outcome, "fairness")
    assert fairness.verdict is Verdict.INCONCLUSIVE
    assert "a window of 4 channels takes 40" in fairness.reason


def test_the_worst_window_counts() -> None:
    assert worst_jain(turns(bytes((1, 2)) * 20), 2) == 1
    assert worst_jain(turns(bytes((1, 2)) * 20), 4) == 0.5
    assert worst_jain(turns(bytes((1, 2)) * 20 + bytes((1,)) * 20 + bytes((1, 2)) * 20), 2) == 0.5
    with pytest.raises(BenchFault, match="19 messages make no window of 20"):
        worst_jain(turns(bytes((1,)) * 19), 2)


def test_the_longest_gap_has_two_ends() -> None:
    assert longest_gap(turns(bytes((1, 2, 1, 2))), 2, 0, 3) == 2
    assert longest_gap(turns(bytes((1, 1, 1, 1, 2))), 2, 0, 4) == 4
    assert longest_gap(turns(bytes((2, 1, 1, 1, 1))), 2, 0, 4) == 4
    assert longest_gap(turns(bytes((1, 1, 1, 1))), 2, 0, 3) == 3
    assert longest_gap([], 2, 0, 3) == 3
