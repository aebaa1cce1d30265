"""The terminal's side of a hop as everything above sees it: something that powers a card and carries one command at a time.

Readers are such ports; a card's IO#2 is handed one. ``submit`` never blocks: the answer comes by a call, in an event.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable


class ExchangeLevel(StrEnum):
    """What a port takes as one exchange, and so what can be seen through it."""

    CHARACTER = "character"
    TPDU = "tpdu"
    APDU = "apdu"


@dataclass(slots=True)
class Answer:
    """How one exchange ended. Times in ticks."""

    response: bytes
    """Data and status word; empty where ``error`` is set."""
    start: int
    end: int
    characters: int = 0
    """Those on the line, where the port saw each of them; else 0, and then ``card_ticks`` is, too."""
    card_ticks: int = 0
    retries: int = 0
    error: str = ""
    """Empty, or what went wrong: ``mute``, ``absent``, ``protocol: …``, or a driver's own words."""


@dataclass(slots=True)
class PowerUp:
    """What came of powering a card: its answer to reset, or why there is none."""

    atr: bytes
    error: str = ""


class TerminalPort(Protocol):
    """One slot with one card, or none."""

    @property
    def level(self) -> ExchangeLevel: ...

    @property
    def fetches_itself(self) -> bool:
        """Whether whatever is below answers ``61xx`` by itself, so that its user never sees one."""

    @property
    def protocol(self) -> int:
        """0 or 1: the transmission protocol in use."""

    @property
    def ta1(self) -> int:
        """F and D in use, coded as TA1; 0 where the port cannot know."""

    @property
    def clock_hz(self) -> int:
        """Card clock; 0 where the port cannot know."""

    def power_up(self, done: Callable[[PowerUp], None]) -> None:
        """Cold reset, answer to reset, and the exchange of parameters that the port was told to make."""

    def power_down(self) -> None:
        """VCC off. Whatever is under way is dropped: its ``done`` is never called."""

    def submit(self, command: bytes, done: Callable[[Answer], None]) -> None:
        """Carry one command: a TPDU of T=0, or an APDU where the protocol is T=1 or the level is APDU. One at a time."""


@runtime_checkable
class WarmResets(Protocol):
    """A port that can reset a card without taking its power away."""

    def warm_reset(self, done: Callable[[PowerUp], None]) -> None:
        """RST alone (ISO/IEC 7816-3, 6.2.3), then as after ``power_up``. Whatever is under way is dropped."""
