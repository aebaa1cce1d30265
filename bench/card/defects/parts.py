"""How defects take the place of a part: one object of a finished card becomes one of a subclass, or the IP stack is made of another class."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from bench.card.defects import Defect
from bench.card.ip_stack import CardIp
from bench.card.profile import CardProfile

T = TypeVar("T")
Part = Callable[[CardProfile], CardProfile]


def become(part: T, kind: type[T]) -> None:
    """``part`` does from now on what its subclass ``kind`` does; what it holds stays. Whoever has one of its methods in hand already keeps that."""
    part.__class__ = kind


def ip_stack(stack: type[CardIp]) -> Part:
    """The card's IP stack is ``stack``. Raises ValueError (when applied) for a card that carries none."""

    def changed(profile: CardProfile) -> CardProfile:
        if profile.ip is None:
            raise ValueError("this defect is one of the IP stack: 'given' must say 'stack: ip' or 'stack: both'")
        return replace(profile, ip=replace(profile.ip, stack=stack))

    return changed


def stack_part(**classes: type) -> Part:
    """The card's IP stack is the reference one, but for the classes that it makes its parts of (``node_class``, ``tcp_class``)."""
    name = "".join(each.__name__ for each in classes.values())
    return ip_stack(type(f"CardIpWith{name}", (CardIp,), dict(classes)))


def ip_defect(name: str, text: str, requirement: str, profile: Part) -> Defect:
    """A card whose IP stack is wrong; nothing of its line is, so idle polls may be left out."""
    return Defect(name, text, requirement, profile=profile, parks=True)
