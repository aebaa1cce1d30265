"""One point of a scenario, run with cards of the second copy in every other place of its chain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

from bench.card.card import Card
from bench.card.contacts import Contacts
from bench.card.profile import CardProfile
from bench.engine import Engine, Timebase
from bench.hop.link import PollPlan
from bench.net.chain_control import AddressPacket, NamePacket
from bench.observe import Observation, PointVerdict, Sink, Verdict
from bench.rig.loader import default_rig_file
from bench.rig.model import RigModel
from bench.scenario.loader import load_scenario
from bench.scenario.point import Point
from bench.scenario.points import Selection
from bench.scenario.runner import run_point
from tests.mutants.mute import CardClock, Life, OverTime, Stuck, Watch, give_life
from tests.mutants.twin import Twin

ROOT = Path(__file__).resolve().parents[2]
RUN_SEED = 1


class Silent:
    """Keeps nothing."""

    def __init__(self, timebase: Timebase) -> None:
        self.timebase = timebase
        self.whole = False

    def emit(self, observation: Observation, /) -> None:
        del observation

    def finish(self, verdict: PointVerdict, /) -> None:
        del verdict


class EveryPoll(Silent):
    """Keeps nothing, and has idle polls made one by one."""

    def __init__(self, timebase: Timebase) -> None:
        super().__init__(timebase)
        self.whole = True


class StillbornError(Exception):
    """The changed program makes no card at all."""


@dataclass(slots=True)
class Sample:
    """The cards under test: a second copy, and what became of cards made from it."""

    twin: Twin
    watch: Watch
    errors: list[str] = field(default_factory=list)
    stillborn: str = ""

    def card(self, engine: Engine, profile: CardProfile, poll: PollPlan, sink: Sink) -> Any:
        """A card for the place that its identity tells: of the second copy at odd ones, so that either kind has either kind for a neighbour."""
        if int(profile.identity[2:]) % 2 == 0:
            return Card(engine, profile, poll, sink)
        life = Life(self.watch, engine)
        life.errors = self.errors
        try:
            made = self.twin.load("bench.card.card").Card
            card = made(CardClock(engine, life), self.twin.like(profile), self.twin.like(poll), sink)
        except Exception as error:
            self.stillborn = f"{type(error).__name__}: {error}"
            raise StillbornError(self.stillborn) from error
        give_life(card, life)
        return card


@contextmanager
def cards_of(sample: Sample) -> Iterator[None]:
    """Until this ends, software rigs are given cards of ``sample``."""
    contacts = sample.twin.load("bench.card.contacts").Contacts
    card = sample.twin.load("bench.card.card").Card
    packets = sample.twin.load("bench.net.chain_control")
    with (
        patch("bench.rig.software.Card", sample.card),
        patch("bench.readers.software.Card", (Card, card)),
        patch("bench.readers.software.Contacts", (Contacts, contacts)),
        patch("bench.scenario.steps.ip_claims.AddressPacket", (AddressPacket, packets.AddressPacket)),
        patch("bench.scenario.steps.ip_names.NamePacket", (NamePacket, packets.NamePacket)),
    ):
        yield


@cache
def software_rig() -> RigModel:
    (rig,) = default_rig_file(ROOT)[0].rigs
    return rig


@dataclass(frozen=True, slots=True)
class Seen:
    """What the bench says of a card at a point."""

    verdict: Verdict | None
    """None: the point was broken off, since it took too long."""
    reason: str
    events: int = 0


def run(point: Point, sample: Sample) -> Seen:
    """The verdict on the sample's cards. Idle polls are parked, and only where that goes wrong made one by one."""
    first = _run(point, Silent)
    if first.verdict is not Verdict.ERROR or sample.stillborn:
        return first
    return _run(point, EveryPoll)


def _run(point: Point, recorder: Callable[[Timebase], Silent]) -> Seen:
    try:
        outcome = run_point(point, software_rig(), RUN_SEED, recorder)
    except (OverTime, Stuck):
        return Seen(None, "takes far longer than with a sound card")
    return Seen(outcome.verdict.verdict, outcome.verdict.reason, outcome.verdict.events)


def ordinary_points(folder: Path = ROOT / "scenarios") -> list[Point]:
    """Every point of an ordinary run, but those whose card is wrong on purpose."""
    return [
        point
        for path in sorted(folder.rglob("*.yaml"))
        for point in load_scenario(path).points[Selection.ORDINARY]
        if point.given.defect is None
    ]
