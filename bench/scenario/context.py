"""What a running step sees."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, NoReturn, TypeVar

from bench.engine import Engine
from bench.observe import Measurement, Observation, Sink, Verdict
from bench.scenario.errors import BenchFault, CardFailed
from bench.scenario.judge import Judgement, judge
from bench.scenario.limits import Limits
from bench.scenario.point import PlacedStep, Point

if TYPE_CHECKING:
    from bench.rig.build import Rig

T = TypeVar("T")
_NO_LIMITS = Limits()


@dataclass(slots=True)
class StepContext:
    """What a running step sees: the rig and its engine, the point, and where results go. One for all steps of a point."""

    engine: Engine
    rig: "Rig"
    point: Point
    sink: Sink
    seed: int
    notes: dict[str, object] = field(default_factory=dict)
    """What steps of one point leave for later ones, by a name of theirs; read it with ``note``."""
    measurements: list[Measurement] = field(default_factory=list)
    random: Random = field(init=False)
    """Seeded with the point's seed: the only source of randomness a step may use."""
    current: PlacedStep | None = None

    def __post_init__(self) -> None:
        self.random = Random(self.seed)

    @property
    def values(self) -> Mapping[str, str]:
        """The sweep's values of this point, as written."""
        return self.point.values

    def emit(self, observation: Observation) -> None:
        """Hand an observation to the records, from where events run."""
        self.engine.call(lambda: self.sink.emit(observation))

    def note(self, name: str, kind: type[T]) -> T:
        """What an earlier step noted under ``name``. Raises BenchFault where there is nothing of that kind."""
        found = self.notes.get(name)
        if not isinstance(found, kind):
            verb = self.current.step.verb if self.current else "a step"
            raise BenchFault(f"'{verb}' needs what an earlier step leaves as {name!r}: put that step before it")
        return found

    def measured(
        self, name: str, value: float, *, detail: str = "", resolution: float = 0.0, undecided: str = ""
    ) -> Measurement:
        """Judge a measured value against the limits that the scenario gives for ``name``, and record it.

        ``value`` and ``resolution`` (half-width of what the path can resolve) are in the unit the step declares for ``name``;
        ``detail`` tells several values of one name apart (a channel, a hop); ``undecided`` says why too little was seen to judge it, which makes
        it inconclusive. Raises BenchFault for a name the step does not declare.
        """
        step = self.current.step if self.current else None
        if step is None or name not in step.measures:
            raise BenchFault(f"{step.verb if step else 'no step'} does not declare the measurement {name!r}")
        limits = step.measure.get(name, _NO_LIMITS)
        unit = step.measures[name].unit
        judgement = Judgement(Verdict.INCONCLUSIVE, undecided) if undecided else judge(value, unit, limits, resolution)
        requirement = limits.requirement or (self.point.requirements[0] if limits.judged else "")
        measurement = Measurement(
            name=name,
            value=float(value),
            unit=unit,
            at_least=limits.lower,
            at_most=limits.upper,
            marginal=limits.marginal,
            resolution=float(resolution),
            verdict=judgement.verdict,
            requirement=requirement,
            detail=detail,
            reason=judgement.reason,
        )
        self.measurements.append(measurement)
        self.emit(measurement)
        return measurement

    def fail(self, reason: str) -> NoReturn:
        """The card did not do what it must. Raises CardFailed."""
        raise CardFailed(reason)
