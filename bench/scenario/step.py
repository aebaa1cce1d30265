"""What a step is.

A step is a verb: one small class with its own pydantic model, in a module of ``bench.scenario.steps`` or of another package (entry-point group
``cardbench.steps``). Its docstring, the descriptions of its fields and of its measurements are its reference page.

In a scenario file a step is a mapping with one verb; ``measure:`` and the fields the class names in ``beside`` stand beside the verb, not below it::

    - transfer: {for: 60 s, verify: true}
      measure:
        goodput: {at_least: 95, marginal: 97, unit: percent_of_limit}
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from bench.files.models import FileModel
from bench.scenario.limits import Limits, Measure

if TYPE_CHECKING:
    from bench.rig.build import Rig
    from bench.scenario.context import StepContext

__all__ = ["Limits", "Measure", "Step"]


class Step(FileModel, ABC):
    """The base of all steps. A subclass says its verb, declares fields with descriptions, and runs."""

    verb: ClassVar[str]
    measures: ClassVar[Mapping[str, Measure]] = {}
    """What it can measure, by name."""
    short: ClassVar[str] = ""
    """The field (as written) that a plain text after the verb gives: ``- wait: 5 s``. Empty: the step takes a mapping only."""
    beside: ClassVar[frozenset[str]] = frozenset()
    """Fields (as written) that stand beside the verb rather than below it, such as ``expect``."""

    measure: dict[str, Limits] = Field(default_factory=dict, description="limits of what the step measures")

    def why_not(self, rig: "Rig") -> str:  # noqa: ARG002 - most steps can be done on every rig
        """Why this step cannot be done on ``rig``, as far as that is known before anything is powered; else empty. The point does not apply then."""
        return ""

    @abstractmethod
    def run(self, context: "StepContext") -> None:
        """Do it. Raises CardFailed, NotApplicable or BenchFault (``bench.scenario.errors``)."""
