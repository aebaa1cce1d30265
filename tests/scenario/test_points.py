"""Sweeps become points: ids, placeholders, selections, seeds."""

import pickle
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.scenario.loader import parse_scenario
from bench.scenario.model import Scenario
from bench.scenario.point import Point
from bench.scenario.points import Selection, slug, substitute
from tests.scenario.steps_for_tests import TryLimits

pytestmark = pytest.mark.usefixtures("test_steps")

HEAD = "title: T\nrequirements: [HOP-SEG-1]\n"
SWEPT = (
    HEAD
    + "given: {mtu: 64, ta1: 18}\n"
    + "sweep: {ta1: [18, 96], channels: [1, 4], time: [60 s]}\n"
    + "full: {channels: [1, 2, 4, 8]}\n"
    + "real: {channels: [4], ta1: [96], time: [2 s]}\n"
    + 'needs: {channels: "{channels}"}\n'
    + 'steps:\n  - wait: "{time}"\n  - try_limits: {level: "{channels}.5"}\n'
)


def load(text: str) -> Scenario:
    return parse_scenario(text, Path("scenarios/subject/name.yaml"))


def ids(scenario: Scenario, selection: Selection) -> list[str]:
    return [point.id for point in scenario.points[selection]]


def test_a_scenario_without_a_sweep_is_a_single_point() -> None:
    scenario = load(HEAD + "steps:\n  - wait: 1 s\n")
    assert scenario.name == "subject/name"
    assert ids(scenario, Selection.ORDINARY) == ["single"]
    assert ids(scenario, Selection.REAL) == []


def test_real_all_is_every_point() -> None:
    scenario = load(HEAD + "real: all\nsteps:\n  - wait: 1 s\n")
    assert ids(scenario, Selection.REAL) == ["single"]


def test_ids_name_what_varies() -> None:
    scenario = load(SWEPT)
    assert ids(scenario, Selection.ORDINARY) == [
        "ta1-18-channels-1",
        "ta1-18-channels-4",
        "ta1-96-channels-1",
        "ta1-96-channels-4",
    ]
    assert len(ids(scenario, Selection.FULL)) == 8


def test_a_real_point_may_have_a_value_of_its_own_and_keeps_its_id() -> None:
    scenario = load(SWEPT.replace("time: [2 s]", "time: [60 s]"))
    assert ids(scenario, Selection.REAL) == ["ta1-96-channels-4"]
    other = load(SWEPT)
    (point,) = other.points[Selection.REAL]
    assert point.id == "ta1-96-channels-4"
    assert point.values["time"] == "2 s"


def test_sweeps_override_what_is_given_and_fill_placeholders() -> None:
    point = load(SWEPT).points[Selection.ORDINARY][3]
    assert point.given.ta1 == 0x96
    assert point.given.mtu == 64
    assert point.needs.channels == 4
    step = point.steps[1].step
    assert isinstance(step, TryLimits)
    assert step.level == 4.5
    assert point.steps[1].line == 10


def test_ids_hold_only_letters_digits_and_dashes() -> None:
    scenario = load(HEAD + 'sweep: {protocol: [T=0, T=1], time: [1.5 s, 20 ms]}\nsteps:\n  - wait: "{time}"\n')
    assert all(re.fullmatch("[A-Za-z0-9-]+", each) for each in ids(scenario, Selection.ORDINARY))


@given(st.text())
def test_a_slug_holds_only_letters_digits_and_dashes(text: str) -> None:
    assert re.fullmatch("[A-Za-z0-9-]*", slug(text))


def test_braces() -> None:
    assert substitute("{a}-{a} {{a}}", {"a": "1"}) == "1-1 {a}"


def test_seeds_depend_on_run_and_point_alone() -> None:
    points = load(SWEPT).points[Selection.ORDINARY]
    seeds = [point.seed(1) for point in points]
    assert len({*seeds, *(point.seed(2) for point in points)}) == 8
    assert seeds == [point.seed(1) for point in load(SWEPT).points[Selection.ORDINARY]]
    # As every run everywhere must have it: SHA-256 of "1\\nsubject/name::ta1-18-channels-1".
    assert seeds[0] == 915799582779411021


def test_a_point_can_be_sent_to_another_process() -> None:
    point: Point = load(SWEPT).points[Selection.ORDINARY][0]
    assert pickle.loads(pickle.dumps(point)) == point
