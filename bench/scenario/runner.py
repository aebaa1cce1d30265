"""One point run: rig built, steps run, verdict given. Pure: everything it needs is handed in, everything it finds goes to the recorder."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from bench.engine import Timebase
from bench.observe import Measurement, Parameter, PointVerdict, Sink, StepMark, Verdict
from bench.requirements.declarations import none_applies
from bench.rig.declared import at_declared_rate, beyond
from bench.rig.errors import RigError, RigNotAble
from bench.rig.given import Given
from bench.rig.model import ReaderKind, RigModel
from bench.scenario.context import StepContext
from bench.scenario.errors import BenchFault, CardFailed, NotApplicable
from bench.scenario.judge import SEVERITY
from bench.scenario.point import PlacedStep, Point

if TYPE_CHECKING:
    from bench.rig.build import Rig
    from bench.rig.guard import Guard


class Recorder(Sink, Protocol):
    """Takes one point's observations; ``finish`` makes the point complete."""

    def finish(self, verdict: PointVerdict, /) -> None: ...


class RigBuilder(Protocol):
    """``bench.rig.build.build_rig``: a rig for one point, its engine at tick 0. Raises RigNotAble and RigError."""

    def __call__(self, model: RigModel, given: Given, sink: Sink, seed: int, real: bool) -> "Rig": ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a point, as people are told of it."""

    point: Point
    verdict: PointVerdict
    measurements: tuple[Measurement, ...]
    trace: str = ""
    """Where the bench went wrong, as Python tells it; empty where it did not."""

    def text(self) -> str:
        """The verdict with its step, measurements that are not pass, and reason, over several lines."""
        point, verdict = self.point, self.verdict
        lines = [f"{verdict.verdict}: {point.title} [{point.id}]"]
        if verdict.step:
            placed = point.steps[verdict.step - 1]
            lines.append(f"  {point.path}:{placed.line}: step {verdict.step}, {placed.step.verb}")
        lines.append(f"  {verdict.reason}")
        wrong = [each for each in self.measurements if each.verdict not in (Verdict.PASS, Verdict.MARGINAL)]
        lines.extend(f"  {_measured(each)}" for each in wrong[:10])
        if len(wrong) > 10:
            lines.append(f"  and {len(wrong) - 10} more")
        lines.append(f"  requirements: {' '.join(point.requirements)}; seed of the point: {verdict.seed}")
        return "\n".join(lines)


def run_point(
    point: Point,
    rig: RigModel,
    run_seed: int,
    recorder: Callable[[Timebase], Recorder],
    build: RigBuilder | None = None,
) -> Outcome:
    """Run ``point`` on ``rig`` and give its outcome.

    ``recorder`` is called once, with the point's timebase; the recorder has been finished when this returns. Whatever goes wrong becomes a verdict:
    only what concerns the process itself (an interrupt, a recorder that cannot write) is raised.
    """
    point = replace(point, given=rig.conditions(point.given))
    if "ta1" not in point.varied and point.needs.stack is not None and not point.needs.rate:
        point = _at_declared_rate(point, rig)
    timebase = rig.timebase(point.given)
    return _Run(point, rig, point.seed(run_seed), recorder(timebase), build or _builder()).run()


def _at_declared_rate(point: Point, rig: RigModel) -> Point:
    given = at_declared_rate(point.given, rig.declarations)
    if given is point.given:
        return point
    values = {**point.values, **({"ta1": f"{given.ta1:02X}"} if "ta1" in point.values else {})}
    return replace(point, given=given, values=values)


def _builder() -> RigBuilder:
    from bench.rig.build import build_rig

    return build_rig


@dataclass(slots=True)
class _Run:
    point: Point
    model: RigModel
    seed: int
    recorder: Recorder
    build: RigBuilder
    verdict: Verdict = Verdict.PASS
    reason: str = ""
    step: int = 0
    trace: str = ""
    measurements: list[Measurement] = field(default_factory=list)
    ticks: int = 0
    events: int = 0

    def run(self) -> Outcome:
        for parameter in parameters(self.point):
            self.recorder.emit(parameter)
        try:
            if reason := self._unmet():
                raise RigNotAble(reason)
            rig = self.build(self.model, self.point.given, self.recorder, self.seed, self.model.real)
        except RigNotAble as reason:
            self._note(Verdict.NOT_APPLICABLE, str(reason))
        except Exception as error:
            self._fault(error, "the rig could not be built")
        else:
            self._on(rig)
        verdict = PointVerdict(
            title=self.point.title,
            requirements=" ".join(self.point.requirements),
            verdict=self.verdict,
            reason=self.reason,
            step=self.step,
            seed=self.seed,
            duration_ticks=self.ticks,
            events=self.events,
        )
        self.recorder.finish(verdict)
        return Outcome(self.point, verdict, tuple(self.measurements), self.trace)

    def _unmet(self) -> str:
        declarations = self.model.declarations
        if reason := none_applies(self.point.requirements, declarations) or beyond(
            self.point.given, declarations, *_spoken(self.point)
        ):
            return reason
        if self.model.reader.kind is ReaderKind.SOFTWARE:
            return ""
        from bench.rig.opening import unmet  # imports drivers' modules, which the software rig does without

        return unmet(self.model, self.point.needs)

    def _on(self, rig: "Rig") -> None:
        try:
            if missing := self.point.needs.missing(rig.declares):
                self._note(Verdict.NOT_APPLICABLE, missing)
            elif self._begun(rig):
                self._steps(rig)
            self.ticks = rig.engine.now
            self.events = int(getattr(rig.engine, "events", 0))
        finally:
            try:
                rig.close()
            except Exception as error:
                self._fault(error, "the rig could not be closed")

    def _begun(self, rig: "Rig") -> bool:
        """Have the writes that the point declares set aside, where the card is a lab's own."""
        guard: Guard | None = getattr(rig, "guard", None)  # a lab's own builder may make rigs without one
        if guard is None:
            return True
        try:
            guard.begin(self.point.needs.writes or 0)
        except RigError as error:
            self._fault(error, "the guard")
            return False
        return True

    def _steps(self, rig: "Rig") -> None:
        for index, placed in enumerate(self.point.steps, 1):
            if reason := placed.step.why_not(rig):  # told at once, not after the steps before it have taken their time
                self._note(Verdict.NOT_APPLICABLE, reason, index)
                return
        context = StepContext(rig.engine, rig, self.point, self.recorder, self.seed, measurements=self.measurements)
        for index, placed in enumerate(self.point.steps, 1):
            context.current = placed
            _settle(rig)
            context.emit(StepMark(rig.engine.now, index, placed.step.verb, True))
            first = len(self.measurements)
            goes_on = self._step(index, placed, context)
            self._judged(index, placed, self.measurements[first:], goes_on)
            _settle(rig)
            context.emit(StepMark(rig.engine.now, index, placed.step.verb, False))
            if not goes_on:
                return

    def _step(self, index: int, placed: PlacedStep, context: StepContext) -> bool:
        """Run one step; whether the next may run."""
        try:
            placed.step.run(context)
        except CardFailed as failure:
            self._note(Verdict.FAIL, str(failure), index)
        except (NotApplicable, RigNotAble) as reason:
            self._note(Verdict.NOT_APPLICABLE, str(reason), index)
        except Exception as error:
            self._fault(error, f"in step {placed.step.verb}", index)
        else:
            return True
        return False

    def _judged(self, index: int, placed: PlacedStep, found: list[Measurement], complete: bool) -> None:
        for each in found:
            if each.verdict is not Verdict.PASS:
                self._note(each.verdict, f"{_named(each)}: {each.reason}", index)
        unmeasured = {name for name, limits in placed.step.measure.items() if limits.judged} - {
            each.name for each in found
        }
        if complete and unmeasured:
            self._note(Verdict.ERROR, f"the step measured no {', '.join(sorted(unmeasured))}", index)

    def _note(self, verdict: Verdict, reason: str, step: int = 0) -> None:
        """Keep the worst verdict, and of equal ones the first."""
        if SEVERITY.index(verdict) > SEVERITY.index(self.verdict):
            self.verdict, self.reason, self.step = verdict, " ".join(reason.split()) or str(verdict), step

    def _fault(self, error: Exception, where: str, step: int = 0) -> None:
        known = isinstance(error, BenchFault | RigError)
        text = str(error) if known else f"{where}: {type(error).__name__}: {error}"
        self._note(Verdict.ERROR, text, step)
        self.trace = self.trace or "".join(traceback.format_exception(error))


def _spoken(point: Point) -> tuple[frozenset[str], frozenset[str]]:
    """The versions of IP (4, 6) and the transports (tcp, udp) that the point's steps speak, as their fields say."""
    said = {
        str(getattr(placed.step, name, ""))
        for placed in point.steps
        for name in ("version", "versions", "protocol", "transport")
    }
    versions = said & {"4", "6"} | ({"4", "6"} if "both" in said else set())
    return frozenset(versions), frozenset(said & {"tcp", "udp"})


def parameters(point: Point) -> list[Parameter]:
    """The parameters of a point as records tell them: all that is given, then what is swept beyond that."""
    texts = {**point.given.texts(), **point.values}
    return [Parameter(name, value, name in point.varied) for name, value in texts.items()]


def _settle(rig: "Rig") -> None:
    """What was seen before a step's mark is told before it."""
    tap = getattr(rig, "tap", None)  # a lab's own builder may make rigs without one
    if tap is not None:
        rig.engine.call(tap.settle)


def _named(measurement: Measurement) -> str:
    return f"{measurement.name} ({measurement.detail})" if measurement.detail else measurement.name


def _measured(measurement: Measurement) -> str:
    limits = [
        f"{word} {limit:.12g}"
        for word, limit in (("at least", measurement.at_least), ("at most", measurement.at_most))
        if limit is not None
    ]
    requirement = f" ({measurement.requirement})" if measurement.requirement else ""
    return (
        f"{_named(measurement)} = {measurement.value:.12g} {measurement.unit}, {' and '.join(limits) or 'no limit'}: "
        f"{measurement.verdict}{requirement}"
    )
