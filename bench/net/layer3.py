"""What a node of layer 3 is made of and tells: interfaces, counters, what arrives, errors that are reported.

Units: times are ticks, lengths are bytes.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import Final

from bench.net.icmp import Icmp

HOP_LIMIT: Final = 64
LOOPBACK: Final = -1
"""The number under which a packet of the node to itself arrives."""


class Event(StrEnum):
    """What a node counts; the names follow the SNMP counters of RFC 4293 where there is one."""

    IN = auto()
    OUT = auto()
    FORWARDED = auto()
    DELIVERED = auto()
    MALFORMED = auto()
    NOT_FOR_US = auto()
    SPOOFED = auto()
    NO_ROUTE = auto()
    HOP_LIMIT = auto()
    TOO_BIG = auto()
    BACK_WHENCE = auto()
    LINK_BUSY = auto()
    REASSEMBLED = auto()
    REASSEMBLY_FAILED = auto()
    ERRORS_OUT = auto()
    ERRORS_HELD_BACK = auto()
    UNKNOWN_PROTOCOL = auto()
    IGNORED = auto()

    __hash__ = str.__hash__  # an Enum's own hash is a call of Python, several times a packet


class Sent(StrEnum):
    """What became of a packet of the node's own."""

    YES = auto()
    NO_ROUTE = auto()
    TOO_BIG = auto()
    """It may not be fragmented and the path's MTU is less: ``path_mtu`` tells."""
    BUSY = auto()
    """The link took nothing: try again when it has room."""


@dataclass(slots=True)
class Interface:
    """One way out of a node: a link between two."""

    number: int
    name: str
    mtu: int
    send: Callable[[bytes], bool]
    """Hands one packet to the link; False where it takes none now."""
    up: bool = True
    addresses: dict[bytes, int] = field(default_factory=dict)
    """The node's own addresses here, with the length of their prefix."""
    checks_sources: bool = True
    """Drop what comes in with a source that would not be reached this way (BCP 38; RFC 3704, strict)."""


@dataclass(frozen=True, slots=True)
class ErrorReport:
    """An ICMP error about something the node sent."""

    reason: str
    hard: bool
    """Whether trying again is of no use (RFC 1122, 4.2.3.9: protocol and port)."""
    too_big: int
    """The MTU that would pass, 0 where that is not what it is about."""
    source: bytes
    destination: bytes
    protocol: int
    quoted: bytes
    """The beginning of the payload that it is about."""
    by: bytes = b""
    """The node that told."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """One payload for a protocol above."""

    source: bytes
    destination: bytes
    payload: bytes
    interface: int
    hop_limit: int


Handler = Callable[[Arrived, int], bool]
"""Takes a payload and the time. False: nobody is there for it (a port unreachable goes back)."""


def unheard(_source: bytes, _message: Icmp, _now: int) -> None:
    """Nobody waits for echo replies."""
