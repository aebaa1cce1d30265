"""The scenario file as written, and a scenario as it is run."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, PlainValidator, WithJsonSchema

from bench.files.models import FileModel, expected
from bench.files.units import Line, RequirementId
from bench.scenario.point import Point
from bench.scenario.points import Selection

WHAT = "a scenario: a mapping with 'title', 'requirements' and 'steps'"


def _name(value: object) -> str:
    if isinstance(value, str) and value.isidentifier() and value.isascii() and value.lower() == value:
        return value
    raise expected("a name of lower-case letters, digits and '_'")


def _value(value: object) -> str:
    if isinstance(value, str) and value.strip() and "\n" not in value:
        return value.strip()
    raise expected("a value of one line (in a list, separated by commas)")


def _real(value: object) -> "str | dict[str, list[str]]":
    if value in ("all", "none"):
        return str(value)
    if isinstance(value, dict) and all(isinstance(each, list) and each for each in value.values()):
        return {str(name): [_value(each) for each in values] for name, values in value.items()}
    raise expected("'all', 'none', or a mapping of names of the sweep to lists of values")


def _purpose(value: object) -> str:
    if isinstance(value, str) and value.strip():
        return " ".join(value.split())
    raise expected("some words of text")


Name = Annotated[str, PlainValidator(_name), WithJsonSchema({"type": "string", "pattern": "^[a-z][a-z0-9_]*$"})]
Value = Annotated[str, PlainValidator(_value), WithJsonSchema({"type": ["string", "number", "boolean"]})]
Values = dict[Name, Annotated[list[Value], Field(min_length=1)]]


class ScenarioFile(FileModel):
    """A scenario file as written, before its sweep is expanded and its steps are read."""

    title: Annotated[Line, Field(description="what the scenario shows, for people, in one line")]
    purpose: Annotated[
        Annotated[str, PlainValidator(_purpose), WithJsonSchema({"type": "string"})],
        Field(description="why it is tested"),
    ] = ""
    requirements: Annotated[
        list[RequirementId], Field(min_length=1, description="ids of the requirements it speaks to")
    ]
    needs: dict[str, object] = Field(
        default_factory=dict, description="what card and rig must declare for the scenario to apply"
    )
    given: dict[str, object] = Field(default_factory=dict, description="the conditions it runs under")
    sweep: Values = Field(
        default_factory=dict,
        description="names with lists of values: every combination is a point; at most 24 points",
    )
    full: Values = Field(
        default_factory=dict,
        description="longer lists for names of the sweep, for runs with --full; at most 1000 points",
    )
    real: Annotated[
        Annotated[
            "str | dict[str, list[str]]",
            PlainValidator(_real),
            WithJsonSchema(
                {
                    "anyOf": [
                        {"enum": ["all", "none"]},
                        {
                            "type": "object",
                            "additionalProperties": {
                                "type": "array",
                                "items": {"type": ["string", "number", "boolean"]},
                            },
                        },
                    ]
                }
            ),
        ],
        Field(
            description="the few points that run on real paths: shorter lists for names of the sweep, 'all', or 'none'"
        ),
    ] = "none"
    steps: Annotated[list[object], Field(min_length=1, description="what is done, in order; each step is one verb")]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A scenario, read and checked, with every point that any selection of it has."""

    path: Path
    name: str
    """Folder and stem of its file: ``baud-rate/throughput``."""
    title: str
    purpose: str
    requirements: tuple[str, ...]
    line: int
    """The line of the file where its steps begin."""
    points: Mapping[Selection, tuple[Point, ...]]

    @property
    def subject(self) -> str:
        return self.name.rpartition("/")[0]
