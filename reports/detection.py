"""The detection matrix: what is wrong on purpose, the requirement that must catch it, and the point that did. Written by `cardbench validate`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import pandas as pd
from pydantic import TypeAdapter, ValidationError

from reports.errors import ReportError
from reports.stats.scipy_functions import binomial_upper
from reports.table import Field, Kind, Table, table_of

FILE: Final = "validation.json"
LEVEL: Final = 0.95
CAUGHT: Final = "caught"
MISSED: Final = "not caught"
UNSEEN: Final = "not applicable"
_ABOVE: Final = 3
"""How far above the directory of a run its results begin: station, date, run."""


@dataclass(frozen=True, slots=True)
class DetectionRow:
    """One wrong card, host or reader."""

    defect: str
    kind: str
    text: str
    requirement: str
    result: str
    """caught, not caught, or not applicable: no point of the requirement could be judged on this rig."""
    point: str
    """The first point that failed; empty where none did."""
    verdict: str
    step: str
    """Number and verb of the step that failed."""
    reason: str
    tried: int
    """Points that were run, the one that failed included."""
    unjudged: tuple[str, ...]
    """Points that gave no verdict on it, each with its reason."""


@dataclass(frozen=True, slots=True)
class SoundRow:
    """A point at which something sound was accused."""

    point: str
    seed: int
    verdict: str
    reason: str


@dataclass(frozen=True, slots=True)
class Validation:
    """One validation of the bench."""

    version: str
    rig: str
    seed: int
    """Of the wrong ones; the sound ones run with this many and those after it."""
    seeds: int
    sound_points: int
    rows: tuple[DetectionRow, ...]
    accused: tuple[SoundRow, ...]

    @property
    def missed(self) -> tuple[DetectionRow, ...]:
        return tuple(row for row in self.rows if row.result == MISSED)

    @property
    def sound(self) -> bool:
        """Everything wrong was caught, and nothing sound was accused."""
        return not self.missed and not self.accused

    @property
    def bound(self) -> float:
        """How often at most, at 95 %, a run of all these points with another seed accuses something sound (Clopper and Pearson, one-sided)."""
        return false_alarms_at_most(len({row.seed for row in self.accused}), self.seeds)

    def summary(self) -> str:
        """A sentence on each half."""
        caught = sum(row.result == CAUGHT for row in self.rows)
        unseen = sum(row.result == UNSEEN for row in self.rows)
        beyond = f", {unseen} not applicable on this rig" if unseen else ""
        return (
            f"{caught} of {len(self.rows) - unseen} caught by their requirements{beyond}; sound ones accused {len(self.accused)} times at "
            f"{self.sound_points} points with {self.seeds} {'seed' if self.seeds == 1 else 'seeds'} each: "
            f"at most {100 * self.bound:.2g} % of seeds at 95 %"
        )


def false_alarms_at_most(accused: int, seeds: int) -> float:
    """The upper 95 % bound on the share of seeds that accuse something sound, where `accused` of `seeds` did; 1 where none was run.

    For none of n this is 1 - 0.05^(1/n).
    """
    return binomial_upper(accused, seeds, LEVEL) if seeds else 1.0


def write_validation(validation: Validation, out: Path) -> tuple[Path, Path, Path]:
    """Write validation.json, validation.csv and validation.html into `out`. The same validation gives the same bytes. Raises OSError."""
    from reports.render import render_detection

    out.mkdir(parents=True, exist_ok=True)
    files = (out / FILE, out / "validation.csv", out / "validation.html")
    files[0].write_text(json.dumps(asdict(validation), indent=1, ensure_ascii=False) + "\n", "utf-8", newline="\n")
    _frame(validation.rows).to_csv(files[1], index=False, lineterminator="\n")
    files[2].write_text(render_detection(validation, detection_table(validation)), "utf-8", newline="\n")
    return files


def read_validation(path: Path) -> Validation:
    """What `write_validation` wrote as JSON. Raises ReportError for anything else, naming the file."""
    try:
        return TypeAdapter(Validation).validate_json(path.read_bytes(), strict=False)
    except OSError as error:
        raise ReportError(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(each) for each in first["loc"]) or "the whole"
        raise ReportError(f"{path} is no validation: {place}: {first['msg']}; run cardbench validate again") from error


def find_validation(directories: Iterable[Path]) -> Path | None:
    """The validation that lies with these results: in one of the directories, or where the results of such a run begin."""
    for directory in directories:
        place = directory.absolute()
        for each in (place, *place.parents[:_ABOVE]):
            if (each / FILE).is_file():
                return each / FILE
    return None


def detection_table(validation: Validation) -> Table:
    """The matrix as a table of the page."""
    texts = ("defect", "requirement", "point", "step")
    fields = [
        Field(name, name, Kind.VERDICT if name == "verdict" else Kind.CODE if name in texts else Kind.TEXT)
        for name in ("defect", "kind", "text", "requirement", "result", "verdict", "point", "step", "reason")
    ]
    fields.append(Field("tried", "points tried", Kind.NUMBER))
    return table_of(
        _frame(validation.rows), "detection-table", "What is wrong on purpose, and what caught it", fields, ""
    )


def _frame(rows: Sequence[DetectionRow]) -> pd.DataFrame:
    names = [name for name in DetectionRow.__dataclass_fields__ if name != "unjudged"]
    frame = pd.DataFrame([{name: getattr(row, name) for name in names} for row in rows], columns=pd.Index(names))
    frame["unjudged"] = ["; ".join(row.unjudged) for row in rows]
    return frame
