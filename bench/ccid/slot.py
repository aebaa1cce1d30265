"""One slot of a reader as its CCID firmware sees it. Implemented over a line with a card in ``bench.readers.tpdu``.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from bench.ccid.codes import PowerSelect
from bench.ccid.parameters import ProtocolParameters


@dataclass(frozen=True, slots=True)
class SlotAnswer:
    """How something asked of a slot ended: the card's bytes, or an error."""

    data: bytes = b""
    error: int | None = None
    """A bError (``bench.ccid.codes.SlotError``), or None."""
    text: str = ""
    """What went wrong, for people."""


@dataclass(frozen=True, slots=True)
class RateAndClock:
    """What a slot's line is driven with."""

    clock_khz: int
    rate_bps: int


class SlotRefusal(Exception):  # noqa: N818 - a refusal is an answer: the firmware turns it into bError
    """A slot does not take what it was told; ``error`` is the bError."""

    def __init__(self, error: int, text: str) -> None:
        self.error = error
        super().__init__(text)


Done = Callable[[SlotAnswer], None]


class Slot(Protocol):
    """Powers one card and carries bytes to it. One thing at a time; ``done`` is called in an event, possibly before the call returns."""

    on_card: Callable[[bool], None]
    """Set by the firmware; called when a card came (True) or went."""

    @property
    def present(self) -> bool:
        """Whether a card is on the contacts."""

    @property
    def active(self) -> bool:
        """Whether that card has power, and has answered to reset."""

    @property
    def parameters(self) -> ProtocolParameters:
        """What it goes by now."""

    def power_on(self, select: PowerSelect, done: Done) -> None:
        """Cold reset (of an active card too, as CCID has no other). ``done`` gets the answer to reset."""

    def power_off(self) -> None:
        """VCC off. What is under way is dropped: its ``done`` is never called."""

    def transfer(self, data: bytes, bwi: int, level: int, done: Done) -> None:
        """An XfrBlock's data, whole (chained messages are joined above): a TPDU, an APDU, or characters, as is the reader's level.

        ``bwi`` multiplies the block waiting time of T=1; ``level`` is wLevelParameter, of use at character level.
        """

    def drop(self) -> None:
        """Stop what is under way (an abort): its ``done`` is never called. The card keeps its power."""

    def set_parameters(self, parameters: ProtocolParameters) -> None:
        """Go by these from now on. Raises SlotRefusal."""

    def reset_parameters(self) -> None:
        """Go by the defaults."""

    def set_class_bytes(self, get_response: int, envelope: int) -> None:
        """T=0 at APDU level: class bytes to fetch and to envelope with; FF echoes the command's. Raises SlotRefusal."""

    def clock(self, running: bool) -> None:
        """Stop or restart CLK. Raises SlotRefusal."""

    @property
    def clock_runs(self) -> bool: ...

    def set_rate_and_clock(self, wanted: RateAndClock) -> RateAndClock:
        """Drive the line with the nearest there is; gives what that is. Raises SlotRefusal."""
