"""Wrong cards behind a real pcscd: what catches them on the software rig catches them there, and the sound card is not accused at those points."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

from bench.rig.loader import load_rig_file
from bench.rig.model import RigModel
from bench.rig.pcscd import missing_parts
from bench.rig.served_reader import close_served_reader
from bench.scenario.point import Point
from bench.scenario.points import Selection
from bench.scenario.validation import SUBJECTS, accuse, detect, requirement_points

ROOT = Path(__file__).resolve().parents[2]
MISSING = missing_parts() or ("" if find_spec("smartcard") else "missing pyscard: pip install 'cardbench[pcsc]'")
CHOSEN = (
    "class-answered-6d00",
    "class-bits-ignored",
    "lacking-answered-6e00",
    "instruction-answered-6e00",
    "length-answered-6a80",
    "wrong-length-taken",
    "gives-nothing-of-less",
    "unknown-file-selected",
    "unknown-file-6a86",
    "names-in-full-only",
    "any-name-selected",
    "reads-beside",
    "reads-nothing",
    "writes-one-more",
    "updates-nothing",
    "last-byte-not-written",
    "parameters-answered-9000",
    "nothing-waits-9000",
    "long-answer-cut",
    "garbles-what-passes",
    "refused-with-another-cause",
    "another-port-called",
)
"""Those that fail at once: in real time, what only a wait finds out takes as long as the wait."""

pytestmark = [
    pytest.mark.witness,
    pytest.mark.real,
    pytest.mark.skipif(bool(MISSING), reason=MISSING or "nothing is missing"),
]


@pytest.fixture(scope="module")
def rig() -> Iterator[RigModel]:
    """vpcd in a pcscd of its own, one for all."""
    yield load_rig_file(ROOT / "rigs" / "pcsc-vpcd.yaml").rigs[0]
    close_served_reader()


@pytest.fixture(scope="module")
def points() -> Mapping[str, Sequence[Point]]:
    return requirement_points({SUBJECTS[name].requirement for name in CHOSEN}, ROOT / "scenarios", Selection.REAL)


@pytest.mark.parametrize("name", CHOSEN)
def test_each_is_caught_and_the_sound_card_is_not(
    name: str, rig: RigModel, points: Mapping[str, Sequence[Point]]
) -> None:
    subject = SUBJECTS[name]
    detection = detect(subject, points[subject.requirement], rig)
    assert detection.point is not None, f"{subject.text}: {detection.unjudged}"
    assert accuse(detection.point, rig, 1) is None
