"""Cards that are wrong on purpose: each defect is one small named change to the reference card, with the requirement that must catch it.

A scenario or a test asks for one with ``given: {defect: guard-11-etu}``. Some are no defects but the last sound value before one (no requirement):
a bench that accuses those is wrong, too.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from bench.card.profile import CardProfile
from bench.iso7816.line import CardEnd


def _same_profile(profile: CardProfile) -> CardProfile:
    return profile


def _same_end(end: CardEnd) -> CardEnd:
    return end


@dataclass(frozen=True, slots=True)
class Defect:
    """One change: to the card's profile, to its end of the line, or to both."""

    name: str
    text: str
    """What the card does, in a sentence."""
    requirement: str = ""
    """The requirement that must catch it; empty where the card is still sound."""
    profile: Callable[[CardProfile], CardProfile] = _same_profile
    end: Callable[[CardEnd], CardEnd] = _same_end
    parks: bool = False
    """Nothing on the line is altered: idle polls may be left out as with a sound card."""


def _all() -> Mapping[str, Defect]:
    from bench.card.defects import network, timing, transport

    listed = (*timing.DEFECTS, *network.DEFECTS, *transport.DEFECTS)
    found = {defect.name: defect for defect in listed}
    assert len(found) == len(listed), "two defects of one name"
    return MappingProxyType(found)


DEFECTS: Final[Mapping[str, Defect]] = _all()
"""Every defect by its name."""
