"""What is wrong on purpose is caught by a point of its requirement; what is sound is accused at none of those points, whatever the seed."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bench.observe import Verdict
from bench.requirements.catalogue import catalogue
from bench.scenario.point import Point
from bench.scenario.runner import run_point
from bench.scenario.validation import SUBJECTS, Kind, Unrecorded, accuse, detect, requirement_points, run_wrong

from .fakes import SOFTWARE

SCENARIOS = Path(__file__).resolve().parents[2] / "scenarios"
ALSO = (("address-left-silently", "IP-ADDR-5"), ("node-down-lost", "IP-ADDR-14"))
"""What other scenarios must catch, beside the one that the defect names."""
SEEDS = 10


@functools.cache
def points() -> Mapping[str, Sequence[Point]]:
    """By requirement, once a process."""
    wanted = {each.requirement for each in SUBJECTS.values()} | {requirement for _, requirement in ALSO}
    return requirement_points(wanted, SCENARIOS)


@pytest.mark.parametrize("name", SUBJECTS)
def test_each_is_caught_at_a_point_where_what_is_sound_is_not(name: str) -> None:
    subject = SUBJECTS[name]
    detection = detect(subject, points()[subject.requirement], SOFTWARE)
    assert detection.point is not None, (
        f"a {subject.kind} that {subject.text} fails no point of {subject.requirement}: {detection.unjudged}"
    )
    assert detection.unjudged == ()
    for seed in range(1, SEEDS + 1):
        assert accuse(detection.point, SOFTWARE, seed) is None


@pytest.mark.parametrize(("name", "requirement"), ALSO)
def test_some_are_caught_by_another_requirement_too(name: str, requirement: str) -> None:
    assert detect(SUBJECTS[name], points()[requirement], SOFTWARE).point is not None


def test_there_are_as_many_as_were_asked_for_and_each_names_a_requirement_that_exists() -> None:
    kinds = [each.kind for each in SUBJECTS.values()]
    assert kinds.count(Kind.CARD) >= 80
    assert kinds.count(Kind.HOST) + kinds.count(Kind.READER) >= 12
    assert {each.requirement for each in SUBJECTS.values()} <= catalogue().keys()


def test_what_is_wrong_for_a_while_is_sound_afterwards() -> None:
    """Also where the while ends in an error: hosts and readers are wrong in their classes."""
    for subject in SUBJECTS.values():
        if subject.kind is Kind.CARD:
            continue
        with pytest.raises(KeyError), subject.wrong():
            raise KeyError
    before = points()["IFD-WT-2"][0]
    assert run_wrong(SUBJECTS["impatient"], before, SOFTWARE).verdict.verdict is Verdict.FAIL
    assert accuse(before, SOFTWARE, 1) is None


def test_a_defect_of_the_ip_stack_needs_that_stack() -> None:
    point = next(each for each in points()["IP-ADDR-1"] if each.given.cards == 1)
    given = point.given.model_copy(update={"defect": "hop-limit-kept", "stack": "channel"})
    outcome = run_point(replace(point, given=given), SOFTWARE, 1, Unrecorded)
    assert outcome.verdict.verdict is Verdict.ERROR
    assert "stack: ip" in outcome.verdict.reason
