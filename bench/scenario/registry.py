"""Which steps there are: those of ``bench.scenario.steps`` and those that other packages offer (entry-point group ``cardbench.steps``)."""

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType

from bench.scenario import steps
from bench.scenario.step import Step

GROUP = "cardbench.steps"
"""An entry point of this group names a ``Step`` class, or a module whose ``Step`` classes are taken."""


class RegistryError(Exception):
    """A package offers steps that cannot be used. The text names the package; mend or uninstall it."""


@functools.cache
def step_classes() -> Mapping[str, type[Step]]:
    """Every step class by its verb, verbs in alphabetical order. Raises RegistryError."""
    found: dict[str, type[Step]] = {}
    for info in pkgutil.iter_modules(steps.__path__):
        for step in _in_module(importlib.import_module(f"{steps.__name__}.{info.name}")):
            _add(found, step)
    for point in entry_points(group=GROUP):
        for step in _in_entry_point(point):
            _add(found, step)
    return dict(sorted(found.items()))


def _add(found: dict[str, type[Step]], step: type[Step]) -> None:
    other = found.setdefault(step.verb, step)
    if other is not step:
        raise RegistryError(
            f"two steps named {step.verb!r}: {_where(other)} and {_where(step)}; one of them must be renamed"
        )


def _where(step: type[Step]) -> str:
    return f"{step.__module__}.{step.__qualname__}"


def _in_module(module: ModuleType) -> Iterator[type[Step]]:
    for _, each in inspect.getmembers(module, inspect.isclass):
        if issubclass(each, Step) and not inspect.isabstract(each) and each.__module__ == module.__name__:
            yield each


def _in_entry_point(point: EntryPoint) -> Iterator[type[Step]]:
    name = f"the entry point {point.name!r} of {point.dist.name if point.dist else 'an unknown package'}"
    try:
        offered = point.load()
    except Exception as error:
        raise RegistryError(f"{name} cannot be loaded: {error}") from error
    if isinstance(offered, ModuleType):
        yield from _in_module(offered)
    elif isinstance(offered, type) and issubclass(offered, Step) and not inspect.isabstract(offered):
        yield offered
    else:
        raise RegistryError(f"{name} is neither a step class nor a module")
