"""What the declarations of a rig's cards say together, and how it narrows what is known of the rig without them."""

from collections.abc import Collection, Iterable, Mapping
from fractions import Fraction
from typing import Final

from bench.iso7816.rates import RATE_DEFAULT, Rate
from bench.rig.declaration import Declaration
from bench.rig.given import Given

SLOWEST: Final = Fraction(1, 4)
"""Of the rate that a point asks for: its times are made for that one."""
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


def spoken(declarations: Iterable[Declaration | None]) -> tuple[int, ...]:
    """The versions of IP that every card which is declared to carry IP speaks; both where nothing is declared."""
    common = {"4", "6"}
    for each in declarations:
        if each is not None and each.carries("ip"):
            common &= set(each.versions or ())
    return tuple(sorted(int(each) for each in common))


def at_declared_rate(given: Given, declarations: tuple[Declaration | None, ...]) -> Given:
    """The conditions of a point that is not about rates: where the first card is not declared to work at its fast one, at the nearest that it has.

    No slower than a quarter of what is asked for; where there is none such, nothing changes.
    """
    first = declarations[0] if declarations else None
    if first is None or given.ta1 in first.rates or given.ta1 == RATE_DEFAULT:
        return given
    asked = Rate(given.ta1).etu_cycles
    able = {each: ratio for each in first.rates if SLOWEST <= (ratio := asked / Rate(each).etu_cycles) <= 1 / SLOWEST}
    if not able:
        return given
    nearest = min(able, key=lambda each: (max(able[each], 1 / able[each]), each))
    return given.model_copy(update={"ta1": nearest})


def beyond(
    given: Given,
    declarations: tuple[Declaration | None, ...],
    versions: Collection[str] = (),
    transports: Collection[str] = (),
) -> str:
    """What a point asks for that the cards are not declared to have; empty where they have all.

    Of the first card: rate, protocol, stack, whence it has its addresses, and what else the point says of it. Of every card: a second port where
    another one follows it, and the versions of IP (4, 6) and transports (tcp, udp) that the point's steps speak.
    """
    if reason := _chain(given, declarations, versions, transports):
        return reason
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
    source = given.addressing or ("numbered" if "stack" in given.model_fields_set and "ip" in wanted else "")
    if source and source not in (first.addressing or ()):
        return f"the card is declared to have its addresses from {' '.join(first.addressing or ()) or 'nowhere'}: not {source}"
    return _other(given, first)


def _chain(
    given: Given,
    declarations: tuple[Declaration | None, ...],
    versions: Collection[str],
    transports: Collection[str],
) -> str:
    followed = declarations[: given.cards - 1]
    if any(each is not None and each.ports == 1 for each in followed):
        return f"a card is declared to have one I/O port: no other can follow it, and the point has {given.cards}"
    if "stack" not in given.model_fields_set or given.stack == "channel":
        return ""
    for each in declarations:
        if each is None or not each.carries("ip"):
            continue
        if lacking := sorted(set(versions) - set(each.versions or ())):
            return f"a card is declared to speak IP {' '.join(each.versions or ())}: not {' '.join(lacking)}"
        if each.transports is not None and (lacking := sorted(set(transports) - set(each.transports))):
            return f"a card is declared to use {' '.join(each.transports)}: not {' '.join(lacking)}"
    return ""


def _other(given: Given, first: Declaration) -> str:
    """Where the point is about a card of another kind: what it says of the card must be what is declared."""
    protocols = None if given.offers is None else ("T=0", "T=1") if given.offers == "both" else (given.offers,)
    said: Iterable[tuple[str, Collection[object] | None, Collection[object] | None]] = (
        ("protocols", protocols, first.protocols),
        ("mode", _one(given.mode), (first.mode,)),
        ("classes", given.classes, first.classes),
        ("error detection code", _one(given.edc), _one(first.edc)),
        ("MRU", _one(given.mru), _one(first.mru or given.mru)),
        ("longest frame taken", _one(given.takes), _one(first.takes or given.takes)),
    )
    for what, asked, have in said:
        if asked is not None and set(asked) != set(have or ()):
            declared = " ".join(map(str, have)) if have else "nothing"
            return f"of {what} is declared {declared}; the point is about a card of {' '.join(map(str, asked))}"
    return ""


def _one(value: object) -> tuple[object, ...] | None:
    return None if value is None else (value,)


def _both(have: object, declared: object) -> object:
    """What both have: of collections what is in either, of numbers the smaller one, of anything else what is declared."""
    if isinstance(have, tuple) and isinstance(declared, tuple):
        return tuple(each for each in have if each in declared)
    if isinstance(have, int) and isinstance(declared, int):
        return min(have, declared)
    return declared
