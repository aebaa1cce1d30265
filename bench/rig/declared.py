"""What the declarations of a rig's cards say together, and how it narrows what is known of the rig without them."""

from collections.abc import Iterable, Mapping

from bench.rig.declaration import Declaration
from bench.rig.given import Given

LINK = ("protocol", "files")
"""What is the first card's alone; the rest is what every card has."""


def narrowed(declares: Mapping[str, object], declarations: Iterable[Declaration | None]) -> dict[str, object]:
    """What ``needs`` are held against: what card and rig have, no more of it than the cards are declared to have.

    ``declarations`` are from the host outward, None for a card without one: of it nothing more is known.
    """
    told = dict(declares)
    for place, declaration in enumerate(declarations):
        if declaration is None:
            continue
        for name, value in declaration.declares().items():
            if place == 0 or name not in LINK:
                told[name] = _both(told[name], value) if name in told else value
    return told


def beyond(given: Given, declarations: tuple[Declaration | None, ...]) -> str:
    """What a point is given that the first card is not declared to have: rate, protocol or stack; empty where it has all."""
    first = declarations[0] if declarations else None
    if first is None:
        return ""
    if given.ta1 not in first.rates:
        return f"the card's declared rates, as TA1, are {' '.join(f'{each:02X}' for each in first.rates)}: not {given.ta1:02X}"
    if "protocol" in given.model_fields_set and given.protocol not in first.protocols:
        return f"the card is declared to speak {' '.join(first.protocols)}: not {given.protocol}"
    wanted = ("channel", "ip") if given.stack == "both" else (given.stack,)
    if "stack" in given.model_fields_set and not set(wanted) <= set(first.stacks):
        return f"the card is declared to carry {' and '.join(first.stacks) or 'no stack'}: not {given.stack}"
    return ""


def _both(have: object, declared: object) -> object:
    """What both have: of collections what is in either, of numbers the smaller one, of anything else what is declared."""
    if isinstance(have, tuple) and isinstance(declared, tuple):
        return tuple(each for each in have if each in declared)
    if isinstance(have, int) and isinstance(declared, int):
        return min(have, declared)
    return declared
