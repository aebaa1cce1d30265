"""Sweeps expanded to points: combinations of values, their ids, placeholders replaced."""

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from bench.files.document import Tree

MAX_SWEEP = 24
MAX_FULL = 1000

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


class Selection(Enum):
    """Which points of a scenario run."""

    ORDINARY = "sweep"
    FULL = "full"
    REAL = "real"


Axes = Mapping[str, tuple[str, ...]]
"""The values of each name of a sweep, in the file's order."""


def combinations(axes: Axes) -> Iterator[dict[str, str]]:
    """Every combination, the last name varying fastest; one empty combination where there are no axes."""
    for values in itertools.product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


def size(axes: Axes) -> int:
    """How many combinations there are."""
    count = 1
    for values in axes.values():
        count *= len(values)
    return count


def slug(text: str) -> str:
    """``text`` with nothing but letters, digits and ``-``: all that a point's id may hold."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")


def point_id(values: Mapping[str, str], varied: frozenset[str]) -> str:
    """The id of a combination: its varied names and values; ``single`` where nothing varies."""
    return "-".join(slug(f"{name} {value}") for name, value in values.items() if name in varied) or "single"


@dataclass(frozen=True, slots=True)
class UnknownPlaceholder(Exception):  # noqa: N818
    """A placeholder names nothing that is swept or given."""

    name: str


def substitute(text: str, values: Mapping[str, str]) -> str:
    """``text`` with ``{name}`` replaced by its value; ``{{`` and ``}}`` stand for braces. Raises UnknownPlaceholder."""
    if "{" not in text and "}" not in text:
        return text

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise UnknownPlaceholder(match[1])
        return values[match[1]]

    pieces = re.split(r"(\{\{|\}\})", text)
    return "".join(piece[0] if piece in ("{{", "}}") else _PLACEHOLDER.sub(value, piece) for piece in pieces)


def placeholders(text: str) -> list[str]:
    """The names of the placeholders in ``text``."""
    return [name for piece in re.split(r"\{\{|\}\}", text) for name in _PLACEHOLDER.findall(piece)]


def filled(tree: Tree, values: Mapping[str, str]) -> Tree:
    """A tree with the placeholders of all its texts replaced."""
    match tree:
        case str():
            return substitute(tree, values)
        case list():
            return [filled(each, values) for each in tree]
        case dict():
            return {key: filled(each, values) for key, each in tree.items()}
