"""The bench held against what is wrong on purpose: each wrong card, host or reader must fail a point of its requirement, and a sound one none.

Pure as ``run_point`` is: a subject's name, points and a rig go in; what caught it comes out.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from bench.card.defects import DEFECTS
from bench.engine import Timebase
from bench.host.defects import FLAWS as HOSTS
from bench.observe import Observation, PointVerdict, Verdict
from bench.readers.defects import FLAWS as READERS
from bench.rig.model import RigModel
from bench.scenario.loader import load_scenario
from bench.scenario.point import Point
from bench.scenario.points import Selection
from bench.scenario.runner import Outcome, run_point

ACCUSED = frozenset((Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.ERROR))
"""What the sound card, host and reader must never be given."""


class Kind(StrEnum):
    """What is wrong."""

    CARD = "card"
    HOST = "host"
    READER = "reader"


@dataclass(frozen=True, slots=True)
class Subject:
    """Something wrong, and the requirement that must catch it."""

    name: str
    kind: Kind
    text: str
    requirement: str

    def wrong(self) -> AbstractContextManager[None]:
        """While this is open the host or the reader is wrong; a card is wrong by what its point is given."""
        if self.kind is Kind.CARD:
            return nullcontext()
        return (HOSTS if self.kind is Kind.HOST else READERS)[self.name].in_place()


def _subjects() -> dict[str, Subject]:
    cards = [Subject(each.name, Kind.CARD, each.text, each.requirement) for each in DEFECTS.values()]
    hosts = [Subject(each.name, Kind.HOST, each.text, each.requirement) for each in HOSTS.values()]
    readers = [Subject(each.name, Kind.READER, each.text, each.requirement) for each in READERS.values()]
    listed = [each for each in (*cards, *hosts, *readers) if each.requirement]
    found = {each.name: each for each in listed}
    assert len(found) == len(listed), "two subjects of one name"
    return found


SUBJECTS: Mapping[str, Subject] = _subjects()
"""Everything that is wrong on purpose, by its name; what is still sound (a card exactly at a limit) is not among it."""


@dataclass(frozen=True, slots=True)
class Detection:
    """What became of one subject."""

    subject: Subject
    point: Point | None
    """The first point that it failed, None where it failed none."""
    outcome: Outcome | None
    """Of that point."""
    tried: tuple[Point, ...]
    """Every point that was run, in order."""
    unjudged: tuple[str, ...]
    """Points that gave no verdict on it (error, inconclusive, not applicable), each with its reason."""
    judged: bool
    """Whether any point applied to it on this rig."""


@dataclass(frozen=True, slots=True)
class Accusation:
    """A point that gave a sound card, host and reader another verdict than pass."""

    point: str
    seed: int
    verdict: Verdict
    reason: str


class Unrecorded:
    """A recorder that keeps nothing."""

    def __init__(self, _timebase: Timebase) -> None:
        pass

    def emit(self, observation: Observation, /) -> None:
        """See ``Sink``."""

    def finish(self, verdict: PointVerdict, /) -> None:
        """See ``Recorder``."""


def requirement_points(
    requirements: Iterable[str], folder: Path, selection: Selection = Selection.ORDINARY
) -> dict[str, tuple[Point, ...]]:
    """The points of every scenario below ``folder`` that speaks to each requirement, in the order of the files' names.

    Raises FileError for a mistake in one of those files. A file that does not hold the id of any of the requirements is not read further.
    """
    wanted = set(requirements)
    found: dict[str, tuple[Point, ...]] = dict.fromkeys(sorted(wanted), ())
    for path in sorted(folder.rglob("*.yaml")):
        text = path.read_text(encoding="utf-8", errors="replace")
        if not any(each in text for each in wanted):
            continue
        scenario = load_scenario(path)
        for requirement in wanted.intersection(scenario.requirements):
            found[requirement] += scenario.points[selection]
    return found


def detect(subject: Subject, points: Sequence[Point], rig: RigModel, seed: int = 1) -> Detection:
    """Run ``points`` with the subject until one fails. Whatever else a point says of it is kept, and catches nothing."""
    tried: list[Point] = []
    unjudged: list[str] = []
    judged = False
    if subject.kind is Kind.READER and rig.real:
        return Detection(subject, None, None, (), ("the reader of this rig is a real one",), False)
    for point in points:
        outcome = run_wrong(subject, point, rig, seed)
        tried.append(point)
        verdict = outcome.verdict
        if verdict.verdict is Verdict.FAIL:
            return Detection(subject, point, outcome, tuple(tried), tuple(unjudged), True)
        judged = judged or verdict.verdict is not Verdict.NOT_APPLICABLE
        if verdict.verdict not in (Verdict.PASS, Verdict.MARGINAL):
            unjudged.append(f"{point.name}: {verdict.verdict}: {verdict.reason}")
    return Detection(subject, None, None, tuple(tried), tuple(unjudged), judged)


def run_wrong(subject: Subject, point: Point, rig: RigModel, seed: int = 1) -> Outcome:
    """One point with the subject in the place of what is sound."""
    if subject.kind is Kind.CARD:
        point = replace(point, given=point.given.model_copy(update={"defect": subject.name}))
    with subject.wrong():
        return run_point(point, rig, seed, Unrecorded)


def accuse(point: Point, rig: RigModel, seed: int) -> Accusation | None:
    """Run one point with everything sound. A point that does not apply to the rig accuses nobody."""
    verdict = run_point(point, rig, seed, Unrecorded).verdict
    if verdict.verdict not in ACCUSED:
        return None
    return Accusation(point.name, seed, verdict.verdict, verdict.reason)
