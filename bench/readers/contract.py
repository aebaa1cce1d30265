"""What a reader says of itself, and what every reader that drives hardware offers beyond a TerminalPort.

A reader says what it can do instead of pretending: whoever asks for more is told *not applicable*, with the reason. One suite of tests
(tests/readers/contract) holds every reader to this page.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from bench.iso7816.port import ExchangeLevel, TerminalPort
from bench.readers.activation import Wishes


class RateControl(StrEnum):
    """Who decides about F and D."""

    SELECTABLE = "selectable"
    """The bench: ``Reader.wishes.ta1`` is what it asks the card for by PPS."""
    OBSERVED = "observed"
    """The driver; ``ta1`` tells what it chose."""
    UNKNOWN = "unknown"
    """The driver, which does not tell."""


class StampedAt(StrEnum):
    """Where the time stamps of an answer are taken, from the card outward."""

    LINE = "edges of the line"
    UART = "characters at the serial port"
    TRANSFER = "USB transfers"
    DRIVER = "around the driver call"


@dataclass(frozen=True, slots=True)
class Abilities:
    """One reader's declaration. It may grow once a card is up (PC/SC learns the protocol then)."""

    level: ExchangeLevel
    rate: RateControl
    protocols: tuple[int, ...]
    """Transmission protocols it can be asked for; more than one means that ``wishes.protocol`` chooses."""
    classes: str
    """Operating classes it can supply, of A, B, C; empty where it does not tell."""
    clocks_hz: tuple[int, ...]
    """Card clocks it can be asked for; one where it cannot choose, empty where it does not tell."""
    slots: int
    resolution_ns: int
    """What a time stamp resolves."""
    stamped: StampedAt
    removal: bool
    """Whether a card that goes is noticed without an exchange (a switch, an interrupt pipe, a modem line, the daemon)."""
    rates: tuple[int, ...] = ()
    """Where the rate is selectable: the values of TA1 it can be asked for; empty: any that the clock allows."""


class Reader(TerminalPort, Protocol):
    """A TerminalPort with hardware, or what stands for it, behind."""

    wishes: Wishes
    """What to ask of the next card that is powered; what the abilities rule out is not asked for."""
    on_fault: Callable[[str], None]
    """Told, in an event, of what broke that no card can be blamed for, and what to do. Every time; the first is the cause."""
    on_card: Callable[[bool], None]
    """Told, in an event, when a card came (True) or went, where ``abilities.removal`` says that this is noticed."""

    @property
    def abilities(self) -> Abilities: ...

    @property
    def hung(self) -> str:
        """Empty, or the driver call that did not return: the reader is out of use."""

    def close(self) -> bool:
        """Power down and let go of the hardware; to be called outside the engine. False where a driver call hangs and was abandoned."""
