"""What `regress` finds, and the exit status that follows."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from bench.observe import Verdict
from reports.stats.changes import GATE

ALL_WELL, CARD_FAILED, NOT_JUDGED = 0, 1, 3


@dataclass(frozen=True, slots=True)
class Options:
    """What the caller may choose. `baseline`, `since` and `last` name runs by path, label or number; None takes the defaults.

    `gate`: the smallest shift that is told, as a share. `timing_counts`: whether slower series make the exit status.
    """

    baseline: str | None = None
    since: str | None = None
    last: str | None = None
    rig: str | None = None
    gate: float = GATE
    timing_counts: bool = True


@dataclass(frozen=True, slots=True)
class FactChange:
    """One entry of `run.json` that differs between two runs. `card` is true of what belongs to the card (its ATR)."""

    name: str
    before: str
    after: str
    card: bool


class Turn(StrEnum):
    """What became of a point since it was last judged."""

    NEW_FAILURE = "new failure"
    STILL_FAILING = "still failing"
    FIXED = "fixed"
    FLAKY = "flaky"
    NEW_ERROR = "new error"
    STILL_ERROR = "still in error"
    INCONCLUSIVE = "inconclusive"
    NO_LONGER_JUDGED = "no longer judged"
    MISSING = "planned, not run"
    NO_LONGER_PLANNED = "no longer planned"


@dataclass(frozen=True, slots=True)
class PointTurn:
    """One point about which there is something to say. `since`: the run in which its present state began.

    `history`: a letter a run, oldest first: . pass, f fail, e error, i inconclusive, - not applicable, blank not run.
    """

    turn: Turn
    scenario: str
    point: str
    verdict: Verdict | None
    before: Verdict | None
    since: str
    history: str
    requirements: str
    reason: str


class Course(StrEnum):
    """Which way a series went since the baseline."""

    WORSE = "worse"
    BETTER = "better"
    CHANGED = "changed"


class Certainty(StrEnum):
    """How sure that is."""

    EXACT = "exact"
    """Virtual time, same seed: such times repeat to the nanosecond."""
    SURE = "sure"
    """Holds over the whole family of series (Holm, 5 %)."""
    SEEMS = "seems"
    """An alarm of this series alone."""
    ONE_NIGHT = "one night"
    """Last night stands out; whether it stays is not known yet."""


@dataclass(frozen=True, slots=True)
class SeriesTurn:
    """One series that is at another level than at the baseline (or whose last night stands out).

    `shift` is a share of the level `before`; `began` the run in which the last change began and `found` the one that showed it; `p` two-sided.
    `suspects` differ between the run before `began` and it.
    """

    scenario: str
    point: str
    name: str
    unit: str
    course: Course
    certainty: Certainty
    before: float
    after: float
    shift: float
    began: str
    found: str
    p: float
    suspects: tuple[FactChange, ...]

    @property
    def bench_suspected(self) -> bool:
        """Whether something of the bench, the reader or the machine changed where it began, and nothing of the card."""
        return any(not fact.card for fact in self.suspects) and not any(fact.card for fact in self.suspects)


@dataclass(frozen=True, slots=True)
class NoiseFloor:
    """Below what shift a series is silent: the largest of the clock's resolution, the error of last night's median, and the gate.

    All are shares of the median. `correlation`: of neighbouring nights, Spearman's.
    `detectable`: the shift found within seven nights in 95 % of series at the series' own scatter.
    """

    scenario: str
    point: str
    name: str
    unit: str
    median: float
    nights: int
    resolution: float
    median_error: float
    night_spread: float
    correlation: float
    detectable: float


@dataclass(frozen=True, slots=True)
class TimingTally:
    """How many series there were, and of how many what could be said."""

    series: int
    exact: int
    followed: int
    too_short: int
    below_gate: int
    expected_false_alarms: float


@dataclass(frozen=True, slots=True)
class RunName:
    """A run as people name it."""

    label: str
    path: Path
    started: str


@dataclass(frozen=True, slots=True)
class Regression:
    """Everything `regress` says."""

    rig: str
    last: RunName
    previous: RunName | None
    baseline: RunName | None
    runs: int
    judged: int
    passed: int
    failed: int
    errors: int
    planned: int
    finished: int
    mandatory_inconclusive: int
    points: tuple[PointTurn, ...]
    series: tuple[SeriesTurn, ...]
    earlier: tuple[SeriesTurn, ...]
    """Changes of the history that began before the baseline."""
    noise: tuple[NoiseFloor, ...]
    timing: TimingTally
    environment: tuple[FactChange, ...]
    notes: tuple[str, ...]
    timing_counts: bool

    def turns(self, turn: Turn) -> tuple[PointTurn, ...]:
        """The points of this kind."""
        return tuple(point for point in self.points if point.turn is turn)

    @property
    def slower(self) -> tuple[SeriesTurn, ...]:
        """Series that are surely worse than at the baseline."""
        sure = (Certainty.EXACT, Certainty.SURE)
        return tuple(one for one in self.series if one.course is Course.WORSE and one.certainty in sure)

    @property
    def exit_status(self) -> int:
        """0 all well; 1 the card failed or became slower; 3 the bench failed, planned points are missing, a mandatory requirement stayed open,
        nothing was judged, or something slowed down where the bench changed. 1 before 3."""
        slower = self.slower if self.timing_counts else ()
        if self.failed or any(not one.bench_suspected for one in slower):
            return CARD_FAILED
        unfinished = self.finished < self.planned
        if self.errors or self.mandatory_inconclusive or unfinished or not self.judged or slower:
            return NOT_JUDGED
        return ALL_WELL
