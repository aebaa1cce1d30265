"""Machine mutants of the card, and which of them the scenarios kill.

    python -m tests.mutants.campaign --each 60 --seed 1 --out mutants.jsonl

A mutant is a card whose program differs from the reference card's in one place. It is killed by a scenario's verdict against the card: *fail*, at a
point that a sound card passes. An error of the bench kills nothing, and neither does a point that would take for ever; both are counted apart.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from random import Random

import yaml

from bench.observe import Verdict
from bench.scenario.point import Point
from tests.mutants.mute import Watch
from tests.mutants.operators import Mutant, Names, marked, mutants_of
from tests.mutants.run import Sample, cards_of, ordinary_points, run
from tests.mutants.twin import Twin, all_modules

PACKAGES = ("bench.card", "bench.hop", "bench.iso7816", "bench.net")
NO_CARD_ROLE: Mapping[str, str] = {
    "bench.hop.parking": "idle polls that are no events: the bench's own way to save time",
    "bench.card.profile": "what a rig orders, made before there is a card",
    "bench.card.ip_profile": "what a rig orders, made before there is a card",
    "bench.card.pps_behaviour": "how cards are wrong on purpose at PPS, beside the sound way",
    "bench.net.path_time": "the least times that the limit is worked out with",
}
PARKING = ("park", "unpark", "parks", "_unpark", "_settle", "_wake", "_park", "_try_to_park", "silent")
EQUIVALENT = Path(__file__).with_name("equivalent.yaml")


class Fate(StrEnum):
    KILLED = "killed"
    SURVIVED = "survived"
    NOT_REACHED = "not reached"
    ERROR = "error"
    """The bench gave up on a point with an error of its own, and no point failed."""
    OVER_TIME = "over time"
    """A point took far longer than with a sound card and was broken off, and no point failed."""
    STILLBORN = "stillborn"
    """The program makes no card."""
    EQUIVALENT = "equivalent"


@dataclass(frozen=True, slots=True)
class Result:
    mutant: Mutant
    fate: Fate
    by: str = ""
    """The point whose verdict killed it."""
    reason: str = ""
    tried: int = 0
    points: int = 0
    """That run the changed statement."""


@dataclass(frozen=True, slots=True)
class Walked:
    """A point as a sound card passes it."""

    point: Point
    seconds: float
    events: int
    rows: frozenset[tuple[str, int]]
    """Modules, and the rows of their statements, that ran in the second copy."""


def survey(points: Iterable[Point]) -> list[Walked]:
    """Which points run which statement, by a sound card that tells. Raises AssertionError where the sound card does not pass."""
    places: list[tuple[str, int]] = []

    def mark(module: str, row: int) -> int:
        places.append((module, row))
        return len(places) - 1

    ran = bytearray(100_000)
    changes = {each: marked(partial(mark, each)) for each in all_modules()}
    twin = Twin(changes, {"__ran__": ran})
    for each in all_modules():
        twin.load(each)
    found = []
    with Watch() as watch:
        sample = Sample(twin, watch)
        with cards_of(sample):
            for point in points:
                ran[:] = bytes(len(ran))
                began = time.process_time()
                seen = run(point, sample)
                assert seen.verdict in (Verdict.PASS, Verdict.MARGINAL), (point.name, seen)
                assert not sample.errors, sample.errors
                rows = frozenset(places[at] for at, told in enumerate(ran) if told)
                found.append(Walked(point, time.process_time() - began, seen.events, rows))
    return found


class Survey:
    """What the walked points say of each mutant."""

    def __init__(self, walked: Sequence[Walked]) -> None:
        self.walked = walked
        self.rows = frozenset().union(*(each.rows for each in walked))
        self.names = Names(all_modules())

    def places(self, mutant: Mutant) -> set[tuple[str, int]]:
        """The statements that make it differ: its own, or for what runs when a module is loaded those that speak of it."""
        return {(mutant.module, mutant.statement)} if mutant.statement else self.names.places(mutant.constant)

    def reached(self, mutant: Mutant) -> bool:
        """Whether any point runs one of its statements."""
        return not self.rows.isdisjoint(self.places(mutant))

    def reaching(self, mutant: Mutant) -> list[Walked]:
        """The points that run its statement, those likely to tell first: one of each scenario, the quickest; then the others."""
        places = self.places(mutant)
        found = [each for each in self.walked if not each.rows.isdisjoint(places)]
        found.sort(key=lambda each: each.seconds)
        seen: Counter[str] = Counter()
        turns = []
        for each in found:
            turns.append((seen[each.point.scenario], each))
            seen[each.point.scenario] += 1
        return [each for _, each in sorted(turns, key=lambda turn: (turn[0], turn[1].seconds))]


def in_scope(mutant: Mutant) -> bool:
    return mutant.module not in NO_CARD_ROLE and mutant.function.rpartition(".")[2] not in PARKING


def all_mutants() -> Iterator[Mutant]:
    """Of the card's modules of the four packages."""
    for module in all_modules():
        if module.startswith(PACKAGES):
            yield from filter(in_scope, mutants_of(module))


def sampled(mutants: Iterable[Mutant], seed: int, each: int) -> list[Mutant]:
    """``each`` mutants of every package, by ``seed``; the same ones wherever it is asked for."""
    found: dict[str, list[Mutant]] = {}
    for mutant in mutants:
        found.setdefault(mutant.package, []).append(mutant)
    return [
        mutant
        for package, those in sorted(found.items())
        for mutant in Random(f"{seed}:{package}").sample(those, min(each, len(those)))
    ]


@dataclass(frozen=True, slots=True)
class Equivalent:
    """A mutant that is as sound as the card, or that no wire can tell from it."""

    module: str
    function: str
    line: str
    what: str
    reason: str


def equivalents(path: Path = EQUIVALENT) -> dict[tuple[str, str, str, str], Equivalent]:
    """Raises TypeError for an entry that is no equivalent."""
    listed = [Equivalent(**entry) for entry in yaml.safe_load(path.read_text(encoding="utf-8")) or []]
    return {(each.module, each.function, each.line, each.what): each for each in listed}


def tried(mutant: Mutant, reaching: Sequence[Walked], seconds: float = 1e9) -> Result:
    """Run the points until one fails, at most ``seconds`` of processor time."""
    if not reaching:
        return Result(mutant, Fate.NOT_REACHED)
    twin = Twin({mutant.module: mutant.change})
    began = time.process_time()
    apart: Result | None = None
    count = 0
    with Watch() as watch:
        sample = Sample(twin, watch)
        try:
            twin.load("bench.card.card")
            twin.load("bench.card.applications")
            twin.load(mutant.module)
        except Exception as error:
            return Result(mutant, Fate.STILLBORN, reason=f"{type(error).__name__}: {error}")
        with cards_of(sample):
            for walked in reaching:
                if time.process_time() - began > seconds:
                    break
                count += 1
                watch.most_events = 20 * walked.events + 200_000
                seen = run(walked.point, sample)
                result = partial(
                    Result, mutant, by=walked.point.name, reason=seen.reason, tried=count, points=len(reaching)
                )
                if sample.stillborn and count == 1:
                    return result(fate=Fate.STILLBORN)
                if seen.verdict is Verdict.FAIL:
                    return result(fate=Fate.KILLED)
                if apart is None and seen.verdict in (None, Verdict.ERROR):
                    apart = result(fate=Fate.ERROR if seen.verdict else Fate.OVER_TIME)
    if apart is not None:
        return apart
    return Result(mutant, Fate.SURVIVED, tried=count, points=len(reaching))


@dataclass(frozen=True, slots=True)
class Score:
    """Of one package, or of all."""

    fates: Mapping[Fate, int]

    @property
    def killed(self) -> int:
        return self.fates.get(Fate.KILLED, 0)

    @property
    def of(self) -> int:
        """The mutants that are neither equivalent nor stillborn."""
        return sum(count for fate, count in self.fates.items() if fate not in (Fate.EQUIVALENT, Fate.STILLBORN))

    @property
    def share(self) -> float:
        return self.killed / self.of if self.of else 0.0


def scores(results: Iterable[Result]) -> dict[str, Score]:
    """By package, and ``all``."""
    found: dict[str, Counter[Fate]] = {}
    for each in results:
        for name in (each.mutant.package, "all"):
            found.setdefault(name, Counter())[each.fate] += 1
    return {name: Score(fates) for name, fates in found.items()}


def campaign(mutants: Iterable[Mutant], known: Survey, seconds: float) -> Iterator[Result]:
    listed = equivalents()
    for mutant in mutants:
        if same := listed.get(mutant.key):
            yield Result(mutant, Fate.EQUIVALENT, reason=same.reason)
        else:
            yield tried(mutant, known.reaching(mutant), seconds)


def table(results: Sequence[Result]) -> str:
    """Markdown: a row a package."""
    lines = ["| package | " + " | ".join(Fate) + " | killed of those that count |", "|---" * (len(Fate) + 2) + "|"]
    for name, score in scores(results).items():
        counts = " | ".join(str(score.fates.get(fate, 0)) for fate in Fate)
        lines.append(f"| {name} | {counts} | {score.killed} of {score.of}: {100 * score.share:.1f} % |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Machine mutants of the card, run against the scenarios.")
    parser.add_argument("--each", type=int, default=60, help="mutants of every package")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=30.0, help="processor time for one mutant")
    parser.add_argument("--only", default="", help="a part of the module's name")
    parser.add_argument("--out", type=Path, help="where results go, one JSON object a line")
    given = parser.parse_args()
    known = Survey(survey(ordinary_points()))
    reached = [each for each in all_mutants() if known.reached(each)]
    wanted = [each for each in sampled(reached, given.seed, given.each) if given.only in each.module]
    results = []
    for result in campaign(wanted, known, given.seconds):
        results.append(result)
        if result.fate is not Fate.KILLED:
            print(
                f"{result.fate}: {result.mutant}\n    {result.mutant.line}\n    {result.reason} ({result.tried} of {result.points} points)",
                flush=True,
            )
        if given.out:
            with given.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(result)) + "\n")
    print(table(results))


if __name__ == "__main__":
    main()
