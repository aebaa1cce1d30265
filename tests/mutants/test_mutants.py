"""That machine mutants of the card are told from sound cards by the scenarios. A few here, many in `make soak`; figures: docs/evidence."""

from __future__ import annotations

import os

import pytest

from bench.scenario.loader import load_scenario
from bench.scenario.point import Point
from bench.scenario.points import Selection
from tests.mutants.campaign import (
    EQUIVALENT,
    Fate,
    Result,
    Survey,
    Walked,
    all_mutants,
    campaign,
    equivalents,
    sampled,
    scores,
    survey,
    table,
    tried,
)
from tests.mutants.operators import Mutant, mutants_of
from tests.mutants.run import ROOT, ordinary_points
from tests.soak.evidence import Row, section

SEED = 1
EACH = int(os.environ.get("CARDBENCH_MUTANTS", "100"))
"""Mutants of every package in `make soak`."""
FLOOR = 0.66
"""What must not be lost again: the lower bound of what was measured (docs/evidence/2026-11-23-mutants.md). The aim is 0.9, and is not reached."""
SECONDS = 60.0
"""Of processor time for one of them, which is every point of nearly every one."""


def points(*scenarios: str, most: int = 4) -> list[Point]:
    found = [load_scenario(ROOT / "scenarios" / f"{each}.yaml").points[Selection.ORDINARY][:most] for each in scenarios]
    return [point for those in found for point in those]


def mutant(module: str, function: str, what: str, part: str) -> Mutant:
    """The one with these words in its line."""
    found = [
        each for each in mutants_of(module) if (each.function, each.what) == (function, what) and part in each.line
    ]
    assert len(found) == 1, [str(each) for each in found]
    return found[0]


def judged(changed: Mutant, *scenarios: str) -> Result:
    return tried(changed, [Walked(point, 0.0, 100_000, frozenset()) for point in points(*scenarios)])


def test_a_card_that_takes_a_repeated_envelope_for_a_new_one_is_killed() -> None:
    result = judged(mutant("bench.hop.segment", "Joiner.is_new", "return not (X)", "return"), "link/hop-envelope-again")
    assert result.fate is Fate.KILLED, result


def test_a_card_with_another_status_word_is_killed() -> None:
    result = judged(mutant("bench.card.card", "Card.execute", "27904 -> 27905", "0x6D00"), "apdu/invalid-instruction")
    assert result.fate is Fate.KILLED, result


def test_a_card_whose_program_breaks_down_falls_silent_and_is_the_one_accused() -> None:
    result = judged(
        mutant("bench.hop.card", "HopCard.envelope", "return None", "return self._give"), "sockets/inline-answers"
    )
    assert result.fate is Fate.KILLED, result


def test_an_equivalent_mutant_is_not_killed() -> None:
    same = mutant("bench.hop.card", "HopCard._load", "return (X)[:-1]", 'return b""')
    assert same.key in equivalents()
    assert judged(same, "link/hop-polls").fate is Fate.SURVIVED


def test_the_sound_card_runs_every_statement_it_is_said_to_and_is_accused_of_nothing() -> None:
    known = Survey(survey(points("link/hop-envelope-again", most=1)))
    assert known.reached(mutant("bench.hop.segment", "Joiner.is_new", "return not (X)", "return"))
    assert not known.reached(mutant("bench.hop.card", "HopCard.silent", "return not (X)", "acknowledged and"))


def test_listed_equivalents_are_mutants_there_are() -> None:
    there = {each.key for each in all_mutants()}
    assert sorted(equivalents().keys() - there) == [], f"{EQUIVALENT.name} names mutants that are no more"
    assert all(len(each.reason) > 20 for each in equivalents().values())


def test_a_sample_is_the_same_by_its_seed() -> None:
    every = list(all_mutants())
    assert sampled(every, 7, 3) == sampled(every, 7, 3) != sampled(every, 8, 3)


@pytest.mark.soak
def test_scenarios_kill_the_mutants(capsys: pytest.CaptureFixture[str]) -> None:
    known = Survey(survey(ordinary_points()))
    reached = [each for each in all_mutants() if known.reached(each)]
    results = list(campaign(sampled(reached, SEED, EACH), known, SECONDS))
    alive = [each for each in results if each.fate not in (Fate.KILLED, Fate.EQUIVALENT, Fate.STILLBORN)]
    rows = [Row(f"mutants, seed {SEED}", len(results), f"{100 * scores(results)['all'].share:.1f} % killed")]
    with capsys.disabled():
        print("\n" + section("Machine mutants of the card", rows) + "\n" + table(results) + "\n")
        for each in alive:
            print(f"- {each.fate}: {each.mutant}: `{each.mutant.line}` {each.reason}")
    assert scores(results)["all"].share >= FLOOR
