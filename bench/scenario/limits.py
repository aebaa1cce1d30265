"""The limits of a measurement, as a scenario's ``measure:`` block writes them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field, model_validator

from bench.files.models import FileModel, expected
from bench.files.units import Line, Number, RequirementId


@dataclass(frozen=True, slots=True)
class Measure:
    """A measurement that a step can produce: its unit, a sentence of documentation, and settings of its own (name to documentation)."""

    unit: str
    doc: str
    settings: Mapping[str, str] = field(default_factory=dict)


class Limits(FileModel):
    """Limits of one measurement. Without any limit the value is only reported."""

    at_least: Annotated[Number | None, Field(description="lower limit")] = None
    at_most: Annotated[Number | None, Field(description="upper limit")] = None
    equals: Annotated[Number | None, Field(description="both limits at once")] = None
    marginal: Annotated[Number | None, Field(description="between this and the limit a value passes marginally")] = None
    unit: Annotated[Line | None, Field(description="unit, to be read by people; must be the measurement's")] = None
    requirement: Annotated[
        RequirementId | None,
        Field(description="the requirement it speaks to; must be given where the scenario names several"),
    ] = None
    settings: dict[str, str] = Field(
        default_factory=dict, description="settings of the measurement itself, such as a window; see the step"
    )

    @property
    def lower(self) -> float | None:
        return self.at_least if self.equals is None else self.equals

    @property
    def upper(self) -> float | None:
        return self.at_most if self.equals is None else self.equals

    @property
    def judged(self) -> bool:
        """Whether there is anything to judge."""
        return self.lower is not None or self.upper is not None

    @model_validator(mode="after")
    def _make_sense(self) -> "Limits":
        if self.equals is not None and (self.at_least is not None or self.at_most is not None):
            raise expected("'equals' alone, or 'at_least' and 'at_most'", "'equals' beside another limit")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise expected("a lower limit that is not above the upper one", "'at_least' above 'at_most'")
        if self.marginal is not None:
            if (self.at_least is None) == (self.at_most is None):
                raise expected("'marginal' beside one of 'at_least' and 'at_most'", "'marginal' without one limit")
            inside = (
                self.marginal >= self.at_least if self.at_least is not None else self.marginal <= (self.at_most or 0.0)
            )
            if not inside:
                raise expected("'marginal' on the passing side of the limit", "'marginal' beyond the limit")
        return self
