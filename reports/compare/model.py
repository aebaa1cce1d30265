"""What `compare` says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from bench.observe import Verdict
from reports.stats.medians import Interval, Median
from reports.stats.profiles import Similarity
from reports.timings import SeriesKey

FAMILY_ALPHA: Final = 0.04
"""Of all families of comparisons of equal cards at most so many accuse anything. Below 5 % so that the upper bound of the rate measured over 2 000
simulated pairs stays below 5 %, too."""
SEEMS_ALPHA: Final = 0.05
MARGIN: Final = 0.02


@dataclass(frozen=True, slots=True)
class Options:
    """`margin`: within this share two medians are called equal, where the interval shows it. `all_pairs`: not only against the first side.

    `within_runs`: judge the exchanges of single runs on a real clock as if runs did not differ from each other.
    """

    margin: float = MARGIN
    all_pairs: bool = False
    within_runs: bool = False


class Basis(StrEnum):
    """What the units of a test are."""

    RUNS_PAIRED = "runs, pair by pair"
    RUNS = "runs"
    EXCHANGES_PAIRED = "exchanges, pair by pair"
    EXCHANGES = "exchanges"
    NONE = "nothing"


class Finding(StrEnum):
    """What may be said of the second of two sides."""

    HIGHER = "higher"
    LOWER = "lower"
    SEEMS_HIGHER = "seems higher"
    SEEMS_LOWER = "seems lower"
    EQUAL = "equal within the margin"
    UNDECIDED = "undecided"
    NOT_TESTED = "not tested"

    @property
    def sure(self) -> bool:
        return self in (Finding.HIGHER, Finding.LOWER)

    @property
    def seems(self) -> bool:
        return self in (Finding.SEEMS_HIGHER, Finding.SEEMS_LOWER)


@dataclass(frozen=True, slots=True)
class Side:
    """One of what is compared: the letter it goes by, and what its runs were made with."""

    letter: str
    runs: tuple[str, ...]
    rig: str
    reader: str
    atr: str
    virtual: bool
    verdicts: dict[Verdict, int]


@dataclass(frozen=True, slots=True)
class Difference:
    """One series on two sides.

    `ratio` is second to first, with its 95 % interval (none where nothing was tested); `effect` -1 to 1 (Cliff's delta, or the rank-biserial
    correlation of pairs); `p` two-sided, `p_family` after Holm; `units` how many values of each side the test had.
    """

    first: str
    second: str
    key: SeriesKey
    first_median: Median
    second_median: Median
    basis: Basis
    units: tuple[int, int]
    ratio: float
    interval: Interval | None
    effect: float | None
    p: float | None
    p_family: float | None
    finding: Finding
    why: str


@dataclass(frozen=True, slots=True)
class VerdictDifference:
    """A point that got different verdicts: the worst of each side's runs, in the order of the sides (None where it was not run)."""

    scenario: str
    point: str
    verdicts: tuple[Verdict | None, ...]


@dataclass(frozen=True, slots=True)
class Profile:
    """How alike two sides' timing profiles are."""

    first: str
    second: str
    similarity: Similarity | None


@dataclass(frozen=True, slots=True)
class Unlike:
    """An entry of `run.json` that is not the same on all sides."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything `compare` says. `family` is how many hypotheses Holm's procedure saw."""

    sides: tuple[Side, ...]
    differences: tuple[Difference, ...]
    profiles: tuple[Profile, ...]
    verdicts: tuple[VerdictDifference, ...]
    unlike: tuple[Unlike, ...]
    family: int
    margin: float
    notes: tuple[str, ...]

    def found(self, *findings: Finding) -> tuple[Difference, ...]:
        """The differences of these kinds."""
        return tuple(one for one in self.differences if one.finding in findings)
