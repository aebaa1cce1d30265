"""A point: one combination of a sweep's values, with everything needed to run it. It can be pickled and sent to another process."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from bench.rig.given import Given, Needs
from bench.scenario.step import Step


@dataclass(frozen=True, slots=True)
class PlacedStep:
    """A step, and the line of the file where it stands."""

    step: Step
    line: int


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a scenario."""

    scenario: str
    """Folder and stem of the file: ``baud-rate/throughput``."""
    id: str
    """Letters, digits and ``-``, unique in its scenario: ``ta1-96-mtu-256``."""
    title: str
    requirements: tuple[str, ...]
    path: str
    index: int
    """Place in the scenario's expansion, from 0."""
    values: Mapping[str, str]
    """The sweep's values, as written."""
    varied: frozenset[str]
    """Those names of ``values`` that vary over the scenario."""
    given: Given
    needs: Needs
    steps: tuple[PlacedStep, ...]

    @property
    def name(self) -> str:
        return f"{self.scenario}::{self.id}"

    def seed(self, run_seed: int) -> int:
        """The seed of the point in a run: a hash of the run's seed and the point's name, 63 bits."""
        return int.from_bytes(hashlib.sha256(f"{run_seed}\n{self.name}".encode()).digest()[:8]) >> 1

    def __str__(self) -> str:
        return self.id
