"""Verdicts against those before: new failures, fixed points, flaky ones, what the bench failed at, what is not judged any more."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import pandas as pd

from bench.observe import Verdict
from bench.records.reading import PointKey
from bench.requirements.catalogue import Strength, catalogue
from reports.load import Run
from reports.regress.history import History
from reports.regress.model import PointTurn, Turn
from reports.verdicts import natural

FLAKY_RUNS: Final = 28
"""Runs looked back for flaky points."""
FLAKY_TURNS: Final = 3
"""Pass to fail or back, so often among them: flaky. Twice is enough where one of the two states lasted a single run between two of the other."""
_GOOD: Final = frozenset({Verdict.PASS, Verdict.MARGINAL})
_JUDGED: Final = _GOOD | {Verdict.FAIL}
_LETTERS: Final = {
    Verdict.PASS: ".",
    Verdict.MARGINAL: ".",
    Verdict.FAIL: "f",
    Verdict.ERROR: "e",
    Verdict.INCONCLUSIVE: "i",
    Verdict.NOT_APPLICABLE: "-",
}
_TURN_ORDER: Final = {turn: place for place, turn in enumerate(Turn)}


@dataclass(frozen=True, slots=True)
class PointCourse:
    """The verdicts of one point, a place a run (None where it was not run), and what the last run said of it."""

    key: PointKey
    verdicts: tuple[Verdict | None, ...]
    requirements: str
    reason: str


@dataclass(frozen=True, slots=True)
class Judged:
    """The last run in numbers, and the points about which there is something to say."""

    turns: tuple[PointTurn, ...]
    judged: int
    passed: int
    failed: int
    errors: int
    mandatory_inconclusive: int
    finished: int


def judge_points(history: History, verdicts: pd.DataFrame) -> Judged:
    """Compare the last run's verdicts with what each point got when it was last judged (or with the baseline, where one was named)."""
    courses = _courses(history, verdicts)
    last = [course.verdicts[-1] for course in courses]
    turns = [turn for course in courses if (turn := _turn(course, history)) is not None]
    known = {course.key for course in courses if course.verdicts[-1] is not None}
    turns += [_missing(key, history) for key in history.last.planned - known]
    mandatory = [
        course
        for course in courses
        if course.verdicts[-1] is Verdict.INCONCLUSIVE and is_mandatory(course.requirements)
    ]
    turns.sort(key=lambda turn: (_TURN_ORDER[turn.turn], natural(turn.scenario), natural(turn.point)))
    return Judged(
        turns=tuple(turns),
        judged=sum(verdict in _JUDGED for verdict in last),
        passed=sum(verdict in _GOOD for verdict in last),
        failed=last.count(Verdict.FAIL),
        errors=last.count(Verdict.ERROR),
        mandatory_inconclusive=len(mandatory),
        finished=len(known & history.last.planned) if history.last.planned else len(known),
    )


def is_mandatory(requirements: str) -> bool:
    """Whether one of these requirements is a *must*; one the catalogue does not know, or none, counts as such."""
    known = catalogue()
    names = requirements.split()
    strengths = [known[name].strength if name in known else Strength.MUST for name in names]
    return not names or Strength.MUST in strengths


def flaky(verdicts: tuple[Verdict | None, ...]) -> bool:
    """Whether a point wavers between pass and fail."""
    states = [verdict in _GOOD for verdict in verdicts[-FLAKY_RUNS:] if verdict in _JUDGED]
    stretches = [0]
    for before, after in pairwise(states):
        if before != after:
            stretches.append(0)
        stretches[-1] += 1
    turns = len(stretches) - 1
    # A stretch counts the nights after its first; the first stretch lacks its own first night.
    single = any(stretch == 1 for stretch in stretches[1:-1])
    return turns >= FLAKY_TURNS or (turns == FLAKY_TURNS - 1 and single)


def _courses(history: History, verdicts: pd.DataFrame) -> list[PointCourse]:
    places = {run.label: place for place, run in enumerate(history.runs)}
    rows: dict[PointKey, list[Verdict | None]] = {}
    words: dict[PointKey, tuple[str, str]] = {}
    last = len(history.runs) - 1
    for row in verdicts[["run", "scenario", "point", "verdict", "requirements", "reason"]].itertuples(index=False):
        run, scenario, point, verdict, requirements, reason = (str(value) for value in row)
        place = places.get(run)
        if place is None:
            continue
        key = PointKey(scenario, point)
        rows.setdefault(key, [None] * (last + 1))[place] = Verdict(verdict)
        if place == last or key not in words:
            words[key] = (requirements, reason if place == last else "")
    return [PointCourse(key, tuple(course), *words[key]) for key, course in rows.items()]


def _turn(course: PointCourse, history: History) -> PointTurn | None:
    now = course.verdicts[-1]
    before = _before(course, history)
    if now in _JUDGED and flaky(course.verdicts):
        return _told(Turn.FLAKY, course, before, history)
    match now:
        case Verdict.FAIL:
            turn = Turn.STILL_FAILING if before is Verdict.FAIL else Turn.NEW_FAILURE
        case Verdict.ERROR:
            previous = course.verdicts[-2] if len(course.verdicts) > 1 else None
            turn = Turn.STILL_ERROR if previous is Verdict.ERROR else Turn.NEW_ERROR
        case Verdict.INCONCLUSIVE:
            turn = Turn.INCONCLUSIVE
        case Verdict.PASS | Verdict.MARGINAL:
            if before is not Verdict.FAIL:
                return None
            turn = Turn.FIXED
        case Verdict.NOT_APPLICABLE:
            if before is None:
                return None
            turn = Turn.NO_LONGER_JUDGED
        case None:
            reference = history.baseline if history.chosen else len(history.runs) - 2
            absent = reference is None or reference < 0 or course.verdicts[reference] is None
            if absent or course.key in history.last.planned:
                return None
            turn = Turn.NO_LONGER_PLANNED
    return _told(turn, course, before, history)


def _before(course: PointCourse, history: History) -> Verdict | None:
    """What the point got at the baseline that was named; else when it was last judged."""
    if history.chosen:
        found = None if history.baseline is None else course.verdicts[history.baseline]
        return found if found in _JUDGED else None
    return next((verdict for verdict in reversed(course.verdicts[:-1]) if verdict in _JUDGED), None)


def _told(turn: Turn, course: PointCourse, before: Verdict | None, history: History) -> PointTurn:
    return PointTurn(
        turn=turn,
        scenario=course.key.scenario,
        point=course.key.point,
        verdict=course.verdicts[-1],
        before=before,
        since=_since(course, history).label,
        history="".join(" " if each is None else _LETTERS[each] for each in course.verdicts[-FLAKY_RUNS:]),
        requirements=course.requirements,
        reason=course.reason,
    )


def _since(course: PointCourse, history: History) -> Run:
    """The first run of the stretch in which the point got what it has now; runs that did not judge it are passed over."""
    now = course.verdicts[-1]
    first = len(course.verdicts) - 1
    for place in range(first, -1, -1):
        verdict = course.verdicts[place]
        same = verdict is now or (verdict in _GOOD and now in _GOOD)
        if same:
            first = place
        elif verdict in _JUDGED or now not in _JUDGED:
            break
    return history.runs[first]


def _missing(key: PointKey, history: History) -> PointTurn:
    reason = "the run ended before it: cardbench run --resume runs it"
    return PointTurn(Turn.MISSING, key.scenario, key.point, None, None, history.last.label, "", "", reason)
