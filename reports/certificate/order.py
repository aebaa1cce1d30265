"""What people must say for a test report: customer, sample, who, where, under which conditions. From a YAML file, options, or nowhere.

Nothing is assumed of what is left out: the report says "not stated".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, PlainValidator, WithJsonSchema

from bench.files.document import read
from bench.files.mistakes import FileError, Mistake
from bench.files.models import FileModel, check, expected
from bench.files.units import Line

WHAT: Final = "an order: a mapping with 'customer', 'sample', 'operator' ..."


def _day(value: object) -> str:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        try:
            return date.fromisoformat(value).isoformat()
        except ValueError:
            pass
    raise expected("a date of the form 2026-11-23")


Day = Annotated[
    str, PlainValidator(_day), WithJsonSchema({"type": "string", "format": "date", "examples": ["2026-11-23"]})
]
"""A calendar date, ISO 8601."""


class Party(FileModel):
    """A laboratory or a customer."""

    name: Annotated[Line, Field(description="its name")]
    address: Annotated[Line | None, Field(description="where it is")] = None
    contact: Annotated[Line | None, Field(description="who is asked, and how")] = None


class Sample(FileModel):
    """The item as it was handed in."""

    id: Annotated[Line | None, Field(description="serial number or mark that tells it from all others")] = None
    description: Annotated[Line | None, Field(description="what it is: product, version, form")] = None
    state: Annotated[Line | None, Field(description="its condition when it came")] = None
    received: Annotated[Day | None, Field(description="date of receipt")] = None
    sampling: Annotated[Line | None, Field(description="who took it, by which plan")] = None


class Person(FileModel):
    """Who answers for the report."""

    name: Annotated[Line, Field(description="name")]
    function: Annotated[Line | None, Field(description="function")] = None


class Order(FileModel):
    """The order as written."""

    report: Annotated[Line | None, Field(description="the report's number, where the laboratory gives one")] = None
    order: Annotated[Line | None, Field(description="the order's number")] = None
    laboratory: Annotated[Party | None, Field(description="who tests")] = None
    place: Annotated[Line | None, Field(description="where the tests were made")] = None
    customer: Annotated[Party | None, Field(description="who asked for it")] = None
    operator: Annotated[Line | None, Field(description="who made the tests")] = None
    sample: Annotated[Sample, Field(description="the item under test")] = Sample()
    temperature: Annotated[Line | None, Field(description="of the place, while testing: 23 °C ± 2 °C")] = None
    humidity: Annotated[Line | None, Field(description="of the place, while testing: 45 % to 55 %")] = None
    supply: Annotated[Line | None, Field(description="of the card, as measured: 5.00 V ± 0.02 V")] = None
    deviations: Annotated[
        tuple[Line, ...], Field(description="additions to, deviations and exclusions from the method")
    ] = ()
    external: Annotated[tuple[Line, ...], Field(description="results that others provided, and who they are")] = ()
    remarks: Annotated[tuple[Line, ...], Field(description="anything else that a reader must know")] = ()
    issued: Annotated[Day | None, Field(description="date of issue")] = None
    authorised_by: Annotated[Person | None, Field(description="who authorises the report")] = None


def load_order(path: Path) -> Order:
    """The order at ``path``. Raises FileError with every mistake, as ``file:line:column: what was found; what was expected``."""
    document = read(path, WHAT)
    mistakes: list[Mistake] = []
    order = check(Order, document.tree, document, mistakes)
    if order is None:
        raise FileError(mistakes)
    return order


def with_options(order: Order, options: Mapping[str, str | None]) -> Order:
    """The order with what options say instead; None says nothing. Raises ValidationError where one cannot be (a date, an empty text)."""
    said = {name: value for name, value in options.items() if value is not None}
    tree = order.model_dump(exclude_none=True)
    for name, value in said.items():
        match name:
            case "customer" | "laboratory" | "authorised_by":
                tree[name] = {**tree.get(name, {}), "name": value}
            case "sample":
                tree["sample"] = {**tree["sample"], "id": value}
            case _:
                tree[name] = value
    return Order.model_validate(tree)
