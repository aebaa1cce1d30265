"""The applications on the reference card: the standard ones, and those that installed packages add (entry points: cardbench.applications)."""

from collections.abc import Iterable
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from bench.card.applications import STANDARD
from bench.card.profile import Application

GROUP: Final = "cardbench.applications"


class ApplicationError(Exception):
    """An installed application that cannot be put on the card: says which package's, and why."""


@cache
def carried() -> tuple[tuple[str, Application], ...]:
    """Names and programs, the standard ones first. Raises ApplicationError."""
    return with_installed(entry_points(group=GROUP))


def with_installed(points: Iterable[EntryPoint]) -> tuple[tuple[str, Application], ...]:
    """The standard applications and those of ``points``, by name. Raises ApplicationError for one that does not load, or has another's name."""
    found: dict[str, Application] = dict(STANDARD)
    for point in sorted(points, key=lambda each: each.name):
        if point.name in found:
            raise ApplicationError(f"application {point.name!r} ({point.value}): the card has one of this name already")
        try:
            program = point.load()
        except (ImportError, AttributeError) as error:
            raise ApplicationError(f"application {point.name!r} ({point.value}): {error}") from error
        if not callable(program):
            raise ApplicationError(f"application {point.name!r} ({point.value}): not a coroutine function")
        found[point.name] = program
    return tuple(found.items())
