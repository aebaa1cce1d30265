"""Software that is wrong on purpose for a while: methods in the place of others, put back when the while is over. For hosts and readers (cards have
``bench.card.defects``): they are made all over a rig, so that the class is altered, not one object.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

Method = Callable[..., object]
_NOTHING: Final = object()


@dataclass(frozen=True, slots=True)
class Swap:
    """One method or attribute of a class, and what is there instead."""

    owner: type
    name: str
    other: Callable[[Method], object]
    """Given what was there; gives what takes its place."""


@dataclass(frozen=True, slots=True)
class Flaw:
    """One change, which one requirement must catch."""

    name: str
    text: str
    """What it does, in a sentence that begins with a verb."""
    requirement: str
    swaps: tuple[Swap, ...]

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """As long as this is open everything made of these classes is wrong, in this process alone."""
        before = [(each, vars(each.owner).get(each.name, _NOTHING)) for each in self.swaps]
        try:
            for each in self.swaps:
                setattr(each.owner, each.name, each.other(getattr(each.owner, each.name)))
            yield
        finally:
            for each, old in before:
                if old is _NOTHING:
                    delattr(each.owner, each.name)
                else:
                    setattr(each.owner, each.name, old)


def flaw(name: str, text: str, requirement: str, owner: type, method: str, other: Callable[[Method], object]) -> Flaw:
    """A change of one method."""
    return Flaw(name, text, requirement, (Swap(owner, method, other),))
