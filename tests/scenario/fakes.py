"""A rig that is nothing but an engine, and a recorder that keeps everything: what the runner needs, and no more."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from bench.engine import Timebase, VirtualEngine
from bench.observe import Observation, PointVerdict, Sink
from bench.rig.given import Given
from bench.rig.model import RigModel

if TYPE_CHECKING:
    from bench.rig.build import Rig

SOFTWARE = RigModel.model_validate({"name": "fake", "reader": {"kind": "software"}})


@dataclass(slots=True)
class FakeRig:
    """An engine and what it declares."""

    engine: VirtualEngine
    declares: Mapping[str, object] = field(default_factory=lambda: {"stack": ("channel",), "channels": 4})
    closed: bool = False
    fails_to_close: bool = False

    def close(self) -> None:
        self.closed = True
        if self.fails_to_close:
            raise OSError("the door jams")


@dataclass(slots=True)
class Builder:
    """Builds fake rigs and remembers them; ``prepare`` may change or refuse one."""

    prepare: Callable[[FakeRig], None] = lambda _: None
    rigs: list[FakeRig] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)

    def __call__(self, model: RigModel, given: Given, sink: Sink, seed: int, real: bool) -> "Rig":
        assert real == model.real
        assert sink is not None
        rig = FakeRig(VirtualEngine(model.timebase(given)))
        self.rigs.append(rig)
        self.seeds.append(seed)
        self.prepare(rig)
        return cast("Rig", rig)


@dataclass(slots=True)
class Kept:
    """A recorder that keeps what it is told, in order."""

    timebase: Timebase
    seen: list[Observation] = field(default_factory=list)
    final: PointVerdict | None = None

    def emit(self, observation: Observation, /) -> None:
        assert self.final is None
        self.seen.append(observation)

    def finish(self, verdict: PointVerdict, /) -> None:
        self.final = verdict
