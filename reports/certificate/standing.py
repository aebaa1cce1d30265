"""Where a requirement stands, worked out over all points of all scenarios that name it. This module is the decision rule; `RULE` says it in words.

Whom a requirement judges decides where it is listed: card and chain are the item under test, terminal, reader and host are listed apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from bench.observe import Verdict
from bench.requirements.catalogue import Dut, Requirement, Strength
from reports.verdicts import RANK, Tally, natural

RULE: Final = (
    (
        "Each point (one combination of a scenario's parameters) has one verdict. A measured value passes where it lies within its "
        "limits, and passes marginally inside the scenario's margin; where value ± uncertainty reaches across a limit the point is "
        "inconclusive, so that neither a pass nor a fail is given on a value that the uncertainty could turn."
    ),
    (
        "A requirement's verdict is worked out over all points of all scenarios of this run that name it, and the worst counts: fail, "
        "then error, then inconclusive, then marginal, then pass. One failed point fails every requirement that its scenario names: "
        "what came after the failure was perhaps never tried."
    ),
    "A planned point that did not finish counts as error. Points that do not apply count neither way.",
    (
        "Not applicable is a requirement that the card's declaration rules out (whatever its points say), or, where none was given, one "
        "of which no point applies. One that applies by the declaration but of which this rig could show nothing is not covered, as is "
        "one without a scenario, or whose scenarios were not run."
    ),
    (
        "The item conforms where no mandatory (must) requirement of card or chain fails and none stays inconclusive or in error. "
        "What is of strength should or may is listed and does not decide."
    ),
)
"""The decision rule, a paragraph each."""

ITEM: Final = (Dut.CARD, Dut.CHAIN)
"""Whom the certificate counts."""


class Standing(StrEnum):
    """A requirement's verdict."""

    PASS = "pass"
    MARGINAL = "marginal"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"
    NOT_APPLICABLE = "not applicable"
    NOT_COVERED = "not covered"


@dataclass(frozen=True, slots=True)
class PointResult:
    """One point of the run, as the records tell it."""

    scenario: str
    title: str
    point: str
    verdict: Verdict
    reason: str
    step: int
    verb: str
    """Of the step that decided, empty where none did."""
    requirements: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ScenarioEvidence:
    """One line of the matrix: what one scenario says of one requirement, and which point decided."""

    requirement: str
    scenario: str
    title: str
    tally: Tally
    unfinished: int
    verdict: Verdict
    point: str
    """The point that decided: the first of the worst."""
    step: int
    verb: str
    reason: str


@dataclass(frozen=True, slots=True)
class Judged:
    """One requirement, where it stands and why, with its part of the matrix."""

    requirement: Requirement
    standing: Standing
    reason: str
    evidence: tuple[ScenarioEvidence, ...]

    @property
    def tally(self) -> Tally:
        """Its points by verdict, over all scenarios."""
        return Tally(*(sum(one.tally.count(verdict) for one in self.evidence) for verdict in Verdict))

    @property
    def unfinished(self) -> int:
        """Planned points that did not finish."""
        return sum(one.unfinished for one in self.evidence)

    @property
    def of_item(self) -> bool:
        """Whether it is counted for the item under test."""
        return self.requirement.dut in ITEM

    @property
    def mandatory(self) -> bool:
        return self.requirement.strength is Strength.MUST


@dataclass(frozen=True, slots=True)
class Findings:
    """What a run says of the catalogue."""

    judged: tuple[Judged, ...]

    def of(self, *standings: Standing, item: bool | None = None, mandatory: bool | None = None) -> tuple[Judged, ...]:
        """The requirements that stand so; of the item under test or apart, mandatory or not, where asked."""
        return tuple(
            one
            for one in self.judged
            if one.standing in standings and item in (None, one.of_item) and mandatory in (None, one.mandatory)
        )

    @property
    def counts(self) -> bool:
        """Whether any requirement of the item was judged at all."""
        return bool(self.of(Standing.PASS, Standing.MARGINAL, Standing.FAIL, item=True))

    def exit_status(self, unfinished: int) -> int:
        """1: the card failed; 3: something mandatory stayed open, a planned point is missing, or nothing was judged; else 0."""
        if self.of(Standing.FAIL, item=True, mandatory=True):
            return 1
        open_ones = self.of(Standing.INCONCLUSIVE, Standing.ERROR, mandatory=True)
        beside = self.of(Standing.FAIL, item=False, mandatory=True)
        return 3 if open_ones or beside or unfinished or not self.counts else 0


def judge(
    catalogue: Mapping[str, Requirement],
    points: Sequence[PointResult],
    unfinished: Mapping[str, int],
    named_by: Mapping[str, Sequence[str]],
    why_not: Callable[[Requirement], str] | None = None,
) -> Findings:
    """Hold the points of a run against the catalogue.

    `unfinished` counts planned points without a verdict by scenario; `named_by` has the scenarios that name each requirement, also those not run;
    `why_not` tells why a requirement does not apply to the declared card (empty: it applies), None where no declaration was given.
    """
    by_requirement: dict[str, dict[str, list[PointResult]]] = {}
    for point in points:
        for name in point.requirements:
            by_requirement.setdefault(name, {}).setdefault(point.scenario, []).append(point)
    return Findings(
        tuple(
            _judged(requirement, by_requirement.get(name, {}), unfinished, named_by.get(name, ()), why_not)
            for name, requirement in catalogue.items()
        )
    )


def _judged(
    requirement: Requirement,
    found: Mapping[str, list[PointResult]],
    unfinished: Mapping[str, int],
    named_by: Sequence[str],
    why_not: Callable[[Requirement], str] | None,
) -> Judged:
    scenarios = sorted({*found, *(name for name in named_by if unfinished.get(name))}, key=natural)
    evidence = tuple(
        _evidence(requirement.id, name, found.get(name, []), unfinished.get(name, 0)) for name in scenarios
    )
    if why_not is not None and (reason := why_not(requirement)):
        counted = (
            f"; {sum(one.tally.total for one in evidence)} points that were run are not counted" if evidence else ""
        )
        return Judged(requirement, Standing.NOT_APPLICABLE, reason + counted, evidence)
    if not evidence:
        return Judged(requirement, Standing.NOT_COVERED, _why_not_covered(requirement, named_by), ())
    worst = min(evidence, key=lambda one: RANK[one.verdict])
    if worst.verdict is Verdict.NOT_APPLICABLE:
        if why_not is None:
            return Judged(requirement, Standing.NOT_APPLICABLE, worst.reason, evidence)
        reason = f"applies by the declaration, but no point could be judged: {worst.reason}"
        return Judged(requirement, Standing.NOT_COVERED, reason, evidence)
    reason = "" if worst.verdict is Verdict.PASS else f"{worst.scenario} [{worst.point}]: {worst.reason}"
    return Judged(requirement, Standing(worst.verdict.value), reason, evidence)


def _why_not_covered(requirement: Requirement, named_by: Sequence[str]) -> str:
    if requirement.uncovered:
        return requirement.uncovered
    if named_by:
        return f"not part of this run: {', '.join(sorted(named_by, key=natural))}"
    return "no scenario of this run names it"


def _evidence(requirement: str, scenario: str, points: Sequence[PointResult], unfinished: int) -> ScenarioEvidence:
    tally = Tally.of(one.verdict for one in points)
    ordered = sorted(points, key=lambda one: (RANK[one.verdict], natural(one.point)))
    title = ordered[0].title if ordered else ""
    if unfinished and (not ordered or RANK[ordered[0].verdict] > RANK[Verdict.ERROR]):
        reason = f"{unfinished} of {unfinished + len(points)} planned points did not finish"
        return ScenarioEvidence(requirement, scenario, title, tally, unfinished, Verdict.ERROR, "–", 0, "", reason)
    first = ordered[0]
    reason = "" if first.verdict is Verdict.PASS else first.reason or "no reason given"
    return ScenarioEvidence(
        requirement, scenario, title, tally, unfinished, first.verdict, first.point, first.step, first.verb, reason
    )
