"""Verdicts in numbers: which is worse, how many of each, and one sentence for all of them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

from bench.observe import Verdict

SEVERITY: Final = (
    Verdict.FAIL,
    Verdict.ERROR,
    Verdict.INCONCLUSIVE,
    Verdict.MARGINAL,
    Verdict.PASS,
    Verdict.NOT_APPLICABLE,
)
"""Worst first. *Not applicable* comes last: beside a pass it says nothing about the card."""

RANK: Final = {verdict: rank for rank, verdict in enumerate(SEVERITY)}


def worst(verdicts: Iterable[Verdict]) -> Verdict | None:
    """The worst of `verdicts`, None of none."""
    return min(verdicts, key=RANK.__getitem__, default=None)


NaturalKey: TypeAlias = tuple[tuple[int, int, str], ...]


def natural(text: str) -> NaturalKey:
    """A sort key under which `mtu-64` comes before `mtu-256`."""
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.findall(r"[0-9]+|[^0-9]+", text))


@dataclass(frozen=True, slots=True)
class Tally:
    """How many points got which verdict."""

    passed: int = 0
    marginal: int = 0
    fail: int = 0
    inconclusive: int = 0
    not_applicable: int = 0
    error: int = 0

    @classmethod
    def of(cls, verdicts: Iterable[Verdict]) -> Tally:
        """Count `verdicts`."""
        counts = dict.fromkeys(Verdict, 0)
        for verdict in verdicts:
            counts[verdict] += 1
        return cls(*(counts[verdict] for verdict in Verdict))

    def count(self, verdict: Verdict) -> int:
        """The number of points with this verdict."""
        match verdict:
            case Verdict.PASS:
                return self.passed
            case Verdict.MARGINAL:
                return self.marginal
            case Verdict.FAIL:
                return self.fail
            case Verdict.INCONCLUSIVE:
                return self.inconclusive
            case Verdict.NOT_APPLICABLE:
                return self.not_applicable
            case Verdict.ERROR:
                return self.error

    @property
    def total(self) -> int:
        """All points."""
        return sum(self.count(verdict) for verdict in Verdict)

    @property
    def worst(self) -> Verdict | None:
        """The worst verdict that occurs, None where there is no point."""
        return worst(verdict for verdict in Verdict if self.count(verdict))

    def headline(self) -> str:
        """The whole in a sentence or two, product faults apart from bench faults."""
        if not self.total:
            return "No verdict was recorded."
        said = []
        if self.fail:
            said.append(f"The card fails {_points(self.fail)} of {self.total}.")
        if self.error:
            said.append(
                f"The bench, a reader or the network failed on {_points(self.error)}; the card is not blamed for them."
            )
        if self.inconclusive:
            said.append(f"{_points(self.inconclusive).capitalize()} stayed inconclusive.")
        good = self.passed + self.marginal
        if good:
            margin = f", {self.marginal} of them marginally" if self.marginal else ""
            said.append(
                f"{'All ' if good == self.total > 1 else ''}{_points(good)} {'passes' if good == 1 else 'pass'}{margin}."
            )
        if self.not_applicable:
            said.append(f"{_points(self.not_applicable).capitalize()} did not apply to this card or rig.")
        return " ".join(said)


def _points(count: int) -> str:
    return f"{count} point{'' if count == 1 else 's'}"
