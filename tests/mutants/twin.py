"""A second copy of the card's side of the bench, which may differ from the first in one place.

The card's modules are executed once more under names of their own, so that a change in them reaches a card and neither the terminal, nor the host,
nor a judge. What is carried between the two copies is duck-typed; enums and exceptions are those of the first
copy, since they are compared by identity.
"""

from __future__ import annotations

import ast
import builtins
import dataclasses
import importlib
import sys
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType, MappingProxyType, ModuleType
from typing import Any

COPIED = ("bench.card", "bench.channels", "bench.hop", "bench.iso7816", "bench.net")
"""Packages that a card is made of."""

Change = Callable[[ast.Module], None]


def is_copied(module: str) -> bool:
    return module.startswith(COPIED) and (module in COPIED or module.rpartition(".")[0].startswith(COPIED))


@cache
def source_of(module: str) -> str:
    return Path(str(importlib.import_module(module).__file__)).read_text(encoding="utf-8")


def parsed(module: str) -> ast.Module:
    return ast.parse(source_of(module))


@cache
def shared(module: str) -> frozenset[str]:
    """The classes of a module that both copies have in common: those that are compared by identity."""
    own = vars(importlib.import_module(module))
    return frozenset(
        name
        for name, found in own.items()
        if isinstance(found, type) and issubclass(found, Enum | BaseException) and found.__module__ == module
    )


def _shared(module: str, tree: ast.Module) -> ast.Module:
    common = shared(module)

    def same(node: ast.stmt) -> ast.stmt:
        if not isinstance(node, ast.ClassDef) or node.name not in common:
            return node
        (assigned,) = ast.parse(f"{node.name} = __original__.{node.name}").body
        return ast.copy_location(assigned, node)

    tree.body = [same(node) for node in tree.body]
    return ast.fix_missing_locations(tree)


def compiled(module: str, change: Change | None = None) -> CodeType:
    """The code of the copy. Raises SyntaxError where the change leaves no program."""
    tree = parsed(module)
    if change is not None:
        change(tree)
    return compile(_shared(module, tree), f"twin:{module}", "exec")


_compiled = cache(compiled)


class Twin:
    """The second copy. ``changes`` alter the modules they name while they are loaded."""

    def __init__(
        self, changes: Mapping[str, Change] = MappingProxyType({}), names: Mapping[str, object] = MappingProxyType({})
    ) -> None:
        self.changes = changes
        self.names = names
        """Further global names of every module."""
        self.modules: dict[str, ModuleType] = {}
        self._builtins = {**vars(builtins), "__import__": self._import}

    def load(self, name: str) -> ModuleType:
        """The copy of a module, with all that it imports. Raises what executing it raises."""
        if name in self.modules:
            return self.modules[name]
        original = importlib.import_module(name)
        change = self.changes.get(name)
        code = _compiled(name) if change is None else compiled(name, change)
        module = ModuleType(name)  # dataclasses look their module up by its name: the first copy is as good
        module.__dict__.update(
            {**self.names, "__builtins__": self._builtins, "__original__": original, "__file__": original.__file__}
        )
        self.modules[name] = module
        exec(code, module.__dict__)
        return module

    def _import(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Iterable[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        if level or not is_copied(name) or not fromlist:
            return __import__(name, globals, locals, tuple(fromlist or ()), level)
        module = self.load(name)
        for each in fromlist:
            if not hasattr(module, each):
                setattr(module, each, self.load(f"{name}.{each}"))
        return module

    def like(self, value: Any) -> Any:
        """The same value in terms of this copy: its classes, functions and records."""
        if isinstance(value, Enum | str | bytes | int | float) or value is None:
            return value
        if isinstance(value, type | FunctionType):
            if not is_copied(value.__module__):
                return value
            found: Any = self.load(value.__module__)
            for part in value.__qualname__.split("."):
                found = getattr(found, part)
            return found
        if dataclasses.is_dataclass(value):
            given = {each.name: self.like(getattr(value, each.name)) for each in dataclasses.fields(value) if each.init}
            return self.like(type(value))(**given)
        if isinstance(value, tuple | list):
            return type(value)(self.like(each) for each in value)
        return value


def all_modules() -> list[str]:
    """The modules that a card consists of: what its class and its applications import, defects and the like left out."""
    twin = Twin()
    twin.load("bench.card.card")
    twin.load("bench.card.applications")
    return sorted(name for name in twin.modules if name in sys.modules)
