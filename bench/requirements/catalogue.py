"""The catalogue, read from the YAML files beside this module.

A requirement names its source, edition and clause, whom it judges, and the level at which it can be observed. Its wording is our own. One that no
scenario speaks to says why.
"""

import functools
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field

from bench.files.document import read
from bench.files.mistakes import FileError, Mistake
from bench.files.models import FileModel, check
from bench.files.units import Line, RequirementId
from bench.requirements.applicability import ALWAYS, Applies

FOLDER = Path(__file__).parent
WHAT = "a catalogue: a mapping with 'source' and 'requirements'"


class Strength(StrEnum):
    """The words of RFC 2119."""

    MUST = "must"
    SHOULD = "should"
    MAY = "may"


class Dut(StrEnum):
    """Whom a requirement judges. A card's certificate counts card and chain."""

    CARD = "card"
    CHAIN = "chain"
    TERMINAL = "terminal"
    READER = "reader"
    HOST = "host"


class Level(StrEnum):
    """The coarsest level at which a requirement can be observed."""

    EDGE = "edge"
    CHARACTER = "character"
    BLOCK = "block"
    APDU = "apdu"


class Requirement(FileModel):
    """One requirement."""

    id: Annotated[RequirementId, Field(description="its id, never used again for another")]
    clause: Annotated[Line, Field(description="clause of the source")]
    text: Annotated[Line, Field(description="what is required, in our own words")]
    strength: Annotated[Strength, Field(description="must, should or may")] = Strength.MUST
    layer: Annotated[Line, Field(description="link, transport, hop, chain, channel, application, host")]
    dut: Annotated[Dut, Field(description="whom it judges")] = Dut.CARD
    level: Annotated[Level, Field(description="the coarsest level at which it can be observed")] = Level.APDU
    applies: Annotated[
        Applies, Field(description="what a card must declare for it to apply (docs/declarations.md); empty: always")
    ] = ALWAYS
    source: Annotated[Line, Field(description="document and edition, where not the file's")] = "the file's"
    uncovered: Annotated[Line, Field(description="why no scenario speaks to it; empty where one does")] = ""


class CatalogueFile(FileModel):
    """A file of the catalogue as written."""

    source: Annotated[Line, Field(description="document and edition")]
    requirements: Annotated[tuple[Requirement, ...], Field(description="its requirements", min_length=1)]


def load_catalogue_file(path: Path) -> tuple[Requirement, ...]:
    """The requirements of one file, each with its source. Raises FileError."""
    document = read(path, WHAT)
    mistakes: list[Mistake] = []
    model = check(CatalogueFile, document.tree, document, mistakes)
    if model is None:
        raise FileError(mistakes)
    return tuple(
        each if "source" in each.model_fields_set else each.model_copy(update={"source": model.source})
        for each in model.requirements
    )


@functools.cache
def catalogue() -> Mapping[str, Requirement]:
    """Every requirement by its id, in the order of the files' names. Raises FileError, also where an id stands twice."""
    found: dict[str, Requirement] = {}
    for path in sorted(FOLDER.glob("*.yaml")):
        for index, requirement in enumerate(load_catalogue_file(path)):
            if requirement.id in found:
                document = read(path, WHAT)
                place = ("requirements", index, "id")
                raise FileError([document.mistake(place, f"the id {requirement.id!r} again", "each id once")])
            found[requirement.id] = requirement
    return found
