"""What the reference card answers to PPS: rightly, or in any of the ways a terminal must be ready for (ISO/IEC 7816-3:2006, 9)."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from bench.iso7816.pps import PpsAnswer, parse_pps, respond
from bench.iso7816.rates import RATE_DEFAULT, Rate


class PpsBehaviour(StrEnum):
    """What a card makes of a PPS request."""

    SOUND = "sound"
    """What it accepts is echoed, what it does not accept is left out (9.3)."""
    FULL = "full"
    """Every parameter is echoed, PPS2 and PPS3 too."""
    PARTIAL = "partial"
    """PPS1 is echoed and in force, PPS2 and PPS3 are left out (9.3)."""
    REFUSED = "refused"
    """No parameter is echoed: the defaults stay in force (9.3)."""
    SILENT = "silent"
    """No answer (9.1)."""
    WRONG_ECHO = "wrong-echo"
    """PPS1 comes back with another value."""
    WRONG_PROTOCOL = "wrong-protocol"
    """PPS0 names another protocol."""
    UNASKED = "unasked"
    """A parameter that was not proposed."""
    BAD_CHECK = "bad-check"
    """PCK is wrong."""
    NOT_SWITCHED = "not-switched"
    """A full echo, and the card stays at the old rate."""
    SWITCHED_ANYWAY = "switched-anyway"
    """PPS1 is left out, and the card goes to the proposed rate all the same."""


@dataclass(frozen=True, slots=True)
class Said:
    """What the card sends, and its protocol and rate from then on."""

    response: bytes
    protocol: int
    rate: Rate


def say(behaviour: PpsBehaviour, request: bytes, protocols: Collection[int], accepts: Collection[Rate]) -> Said | None:
    """The card's answer to a request, None for silence. A request that a sound card would not answer gets no other answer either."""
    sound = respond(request, protocols=protocols, accepts=accepts)
    if sound is None or behaviour is PpsBehaviour.SILENT:
        return None
    if behaviour is PpsBehaviour.SOUND:
        return Said(sound.response.encode(), sound.protocol, sound.rate)
    return _OTHERS[behaviour](sound, request)


def _full(sound: PpsAnswer, request: bytes) -> Said:
    asked = parse_pps(request)
    return Said(replace(sound.response, pps2=asked.pps2, pps3=asked.pps3).encode(), sound.protocol, sound.rate)


def _partial(sound: PpsAnswer, _request: bytes) -> Said:
    return Said(replace(sound.response, pps2=None, pps3=None).encode(), sound.protocol, sound.rate)


def _refused(sound: PpsAnswer, _request: bytes) -> Said:
    bare = replace(sound.response, pps1=None, pps2=None, pps3=None)
    return Said(bare.encode(), sound.protocol, Rate(RATE_DEFAULT))


def _wrong_echo(sound: PpsAnswer, request: bytes) -> Said:
    asked = parse_pps(request).pps1
    other = RATE_DEFAULT if asked not in (None, RATE_DEFAULT) else 0x12
    return Said(replace(sound.response, pps1=other).encode(), sound.protocol, sound.rate)


def _wrong_protocol(sound: PpsAnswer, _request: bytes) -> Said:
    other = replace(sound.response, protocol=1 - min(1, sound.protocol))
    return Said(other.encode(), sound.protocol, sound.rate)


def _unasked(sound: PpsAnswer, request: bytes) -> Said:
    asked = parse_pps(request)
    name = "pps3" if asked.pps3 is None else "pps2"
    return Said(replace(sound.response, **{name: 0x01}).encode(), sound.protocol, sound.rate)


def _bad_check(sound: PpsAnswer, _request: bytes) -> Said:
    good = sound.response.encode()
    return Said(good[:-1] + bytes((good[-1] ^ 0x55,)), sound.protocol, sound.rate)


def _not_switched(sound: PpsAnswer, _request: bytes) -> Said:
    return Said(sound.response.encode(), sound.protocol, Rate(RATE_DEFAULT))


def _switched_anyway(sound: PpsAnswer, _request: bytes) -> Said:
    return Said(replace(sound.response, pps1=None).encode(), sound.protocol, sound.rate)


_OTHERS: Final[Mapping[PpsBehaviour, Callable[[PpsAnswer, bytes], Said]]] = MappingProxyType(
    {
        PpsBehaviour.FULL: _full,
        PpsBehaviour.PARTIAL: _partial,
        PpsBehaviour.REFUSED: _refused,
        PpsBehaviour.WRONG_ECHO: _wrong_echo,
        PpsBehaviour.WRONG_PROTOCOL: _wrong_protocol,
        PpsBehaviour.UNASKED: _unasked,
        PpsBehaviour.BAD_CHECK: _bad_check,
        PpsBehaviour.NOT_SWITCHED: _not_switched,
        PpsBehaviour.SWITCHED_ANYWAY: _switched_anyway,
    }
)
