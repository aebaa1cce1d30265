"""Searching a range of one condition for the value at which something stops to hold."""

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, PlainValidator, ValidationError, WithJsonSchema

from bench.files.models import one_of
from bench.observe import Measurement, NullSink, Verdict
from bench.rig.given import Given
from bench.scenario.context import StepContext
from bench.scenario.errors import BenchFault, CardFailed, NotApplicable
from bench.scenario.point import PlacedStep
from bench.scenario.step import Measure, Step
from bench.scenario.units import Count, Line, Signed, expected

if TYPE_CHECKING:
    from bench.rig.build import Rig


def _steps(value: object) -> list[Step]:
    """The steps of a probe. Raises what the file's reader shows at the list's place."""
    from bench.scenario.registry import step_classes  # the registry imports this module

    known = step_classes()
    if not isinstance(value, list) or not value:
        raise expected("a list of steps")
    made: list[Step] = []
    for number, each in enumerate(value, 1):
        if isinstance(each, Step):
            made.append(each)
            continue
        tree = {each: {}} if isinstance(each, str) else each
        if not isinstance(tree, dict) or len(tree) != 1 or not (verb := str(next(iter(tree)))) or verb not in known:
            raise expected(f"step {number} of the probe to be one of {one_of(known)}, without 'measure'")
        try:
            made.append(known[verb].model_validate(tree[verb] or {}))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"])) or verb
            raise expected(f"step {number} of the probe ({verb}) to be right: {place}: {first['msg']}") from error
    return made


class Search(Step):
    """Searches a range by bisection: at which value of one of the conditions of ``given`` do the steps of ``probe`` stop to hold?

    Each probe has a rig and an engine of its own, powered from the beginning, and leaves no records. The steps must hold at ``from``; where they
    hold at ``to`` as well, that is the edge. What a step measures is not judged here: a probe holds when none of its steps fails.

    Example:
        - search:
            over: mismatch_ppm
            from: 0
            to: 80000
            within: 100
            probe:
              - power_on: {}
              - transmit: {echo: 100 B}
          measure:
            edge: {at_least: 20000, unit: of the condition}
    """

    verb: ClassVar[str] = "search"
    measures: ClassVar = {
        "edge": Measure("of the condition", "the last value found at which the probe holds"),
        "probes": Measure("probes", "how many were made"),
    }

    over: Annotated[Line, Field(description="a whole number of `given`, such as mismatch_ppm, clock_hz or mtu")]
    first: Annotated[Signed, Field(alias="from", description="a value at which the probe holds")]
    to: Annotated[Signed, Field(description="the other end of the range, above or below")]
    within: Annotated[Count, Field(description="how close the edge must be known")] = 1
    probe: Annotated[
        list[Step],
        PlainValidator(_steps),
        WithJsonSchema({"type": "array", "minItems": 1}),
        Field(description="the steps that hold or not"),
    ]

    def run(self, context: StepContext) -> None:
        if context.rig.again is None:
            raise NotApplicable("each probe needs a rig of its own: only the bench's own rigs can be made again")
        probes = 2
        good, bad = self.first, self.to
        if why := self._probe(context, good):
            context.fail(f"already at {self.over} = {good}: {why}")
        why = self._probe(context, bad)
        if not why:
            good = bad
        while why and abs(bad - good) > self.within:
            middle = (good + bad) // 2
            probes += 1
            if found := self._probe(context, middle):
                bad, why = middle, found
            else:
                good = middle
        detail = f"{self.over}: at {bad} {why}" if why else f"{self.over}: holds in the whole range"
        context.measured(
            "edge", good, detail=" ".join(detail.split())[:200], resolution=0.0 if not why else self.within
        )
        context.measured("probes", probes)

    def _probe(self, context: StepContext, value: int) -> str:
        """Why the steps do not hold at ``value``; empty where they hold."""
        rig = self._rig(context, value)
        inner = StepContext(rig.engine, rig, context.point, NullSink(), context.seed)
        try:
            for number, step in enumerate(self.probe, 1):
                inner.current = PlacedStep(step, context.current.line if context.current is not None else number)
                step.run(inner)
                wrong = [each for each in inner.measurements if each.verdict is Verdict.FAIL]
                if wrong:
                    return _told(wrong[0])
        except CardFailed as failure:
            return str(failure)
        finally:
            rig.close()
        return ""

    def _rig(self, context: StepContext, value: int) -> "Rig":
        assert context.rig.again is not None
        conditions = context.point.given.model_dump(mode="json", exclude_none=True)
        try:
            given = Given.model_validate({**conditions, self.over: str(value)})
        except ValidationError as error:
            detail = error.errors(include_url=False)[0]
            raise BenchFault(f"search: {self.over} = {value}: {detail['msg']}") from error
        return context.rig.again(given)


def _told(measurement: Measurement) -> str:
    return f"{measurement.name} = {measurement.value:g} {measurement.unit}"
