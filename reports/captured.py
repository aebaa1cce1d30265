"""From a failed step to its packets in the run's capture (docs/captures.md)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.records.run import CAPTURE, CAPTURE_INDEX
from reports.arrow import read_frame
from reports.errors import TableError
from reports.load import Run

_COLUMNS: Final = {"scenario", "point", "step", "first_frame", "last_frame", "packets"}


@dataclass(frozen=True, slots=True)
class Packets:
    """The packets of a step, or of a whole point where the step has none. Frames are numbered as Wireshark does."""

    capture: Path
    first: int
    last: int
    count: int
    display_filter: str
    """Finds exactly them in Wireshark."""

    @property
    def frames(self) -> str:
        """Such as `frames 120–188`."""
        return f"frame {self.first}" if self.first == self.last else f"frames {self.first}–{self.last}"

    def link(self, place: Path) -> str:
        """The capture's path relative to the folder `place`."""
        return Path(os.path.relpath(self.capture, place)).as_posix()


def packets_of(run: Run, scenario: str, point: str, step: int) -> Packets | None:
    """The packets of a point's step. None where the run kept none, or has no index of its capture."""
    index, capture = run.path / CAPTURE_INDEX, run.path / CAPTURE
    if not index.is_file() or not capture.is_file():
        return None
    try:
        spans = read_frame(index)
    except TableError:
        return None
    if not set(spans.columns) >= _COLUMNS:
        return None
    spans = spans[(spans["scenario"] == scenario) & (spans["point"] == point)]
    mine = spans[spans["step"] == step] if step else spans
    whole = mine.empty or not step
    if whole:
        mine = spans
    if mine.empty:
        return None
    first, last, count = int(mine["first_frame"].min()), int(mine["last_frame"].max()), int(mine["packets"].sum())
    chosen = f"frame.number >= {first} && frame.number <= {last}"
    if not whole and count != last - first + 1:
        chosen = f'frame.comment contains "{scenario}::{point} step {step} "'
    return Packets(capture, first, last, count, chosen)
