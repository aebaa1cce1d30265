"""Cards that are wrong on purpose: each defect is one small named change to the reference card, with the requirement that must catch it.

A scenario or a test asks for one with ``given: {defect: guard-11-etu}``. Some are no defects but the last sound value before one (no requirement):
a bench that accuses those is wrong, too.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from bench.card.profile import CardProfile
from bench.iso7816.line import CardEnd

if TYPE_CHECKING:
    from bench.card.card import Card


def _same_profile(profile: CardProfile) -> CardProfile:
    return profile


def _same_end(end: CardEnd) -> CardEnd:
    return end


def _same_card(_card: "Card") -> None:
    """Nothing in it is altered."""


@dataclass(frozen=True, slots=True)
class Defect:
    """One change: to the card's profile, to one part of the finished card, or to its end of the line."""

    name: str
    text: str
    """What the card does, in a sentence."""
    requirement: str = ""
    """The requirement that must catch it; empty where the card is still sound."""
    profile: Callable[[CardProfile], CardProfile] = _same_profile
    end: Callable[[CardEnd], CardEnd] = _same_end
    card: "Callable[[Card], None]" = _same_card
    """Alters the card once it is made, before it has power."""
    disturbs: bool = False
    """Its characters may come at another rate than the terminal reads: each must be sampled as on a disturbed line."""
    parks: bool = False
    """Nothing on the line is altered: idle polls may be left out as with a sound card."""


def _all() -> Mapping[str, Defect]:
    from bench.card.defects import apdu, blocks, chain, channels, contacts, hop, network, ppp, timing, transport

    modules = (timing, contacts, blocks, apdu, hop, chain, channels, network, transport, ppp)
    listed = [defect for module in modules for defect in module.DEFECTS]
    found = {defect.name: defect for defect in listed}
    assert len(found) == len(listed), "two defects of one name"
    return MappingProxyType(found)


DEFECTS: Final[Mapping[str, Defect]] = _all()
"""Every defect by its name."""
