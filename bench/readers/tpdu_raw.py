"""Exchanges of bare characters, as a reader makes them that leaves the protocol to its host: PPS, a block of T=1, and CCID's character level.

Nothing is looked at but lengths and times. ISO/IEC 7816-3:2006, 9 (PPS), 10.2 (WWT), 11.4.3 (CWT, BWT, BGT).

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from bench.ccid.codes import SlotError
from bench.ccid.slot import SlotAnswer
from bench.iso7816.line import Burst
from bench.iso7816.pps import expected_length
from bench.iso7816.t0 import T0Outcome, T0Terminal
from bench.iso7816.t0_line import Repeater, undamaged

_PROLOGUE: Final = 3
_HEADER: Final = 5
Whole = Callable[[bytes], bool]
"""Whether nothing more is to come."""


def pps_whole(heard: bytes) -> bool:
    """Whether a PPS response is complete: PPS0 says how long it is."""
    return len(heard) >= 2 and len(heard) >= expected_length(heard[1])


def block_whole(edc: int) -> Whole:
    """Whether a block of T=1 is complete, with an EDC of ``edc`` bytes."""
    return lambda heard: len(heard) >= _PROLOGUE and len(heard) >= _PROLOGUE + heard[2] + edc


def of_length(count: int) -> Whole:
    """Whether so many bytes are there."""
    return lambda heard: len(heard) >= count


@dataclass(frozen=True, slots=True)
class RawTiming:
    """What one exchange goes by."""

    etu: int
    pitch: int
    """Leading edge to leading edge, of characters to the card."""
    first: int
    """How long the card may take for its first character."""
    between: int
    """The most between two characters of the card."""


class RawExchange:
    """Characters there, characters back. What has come when the card falls silent within its answer is given as it is: the host judges it."""

    def __init__(self, timing: RawTiming, whole: Whole, *, signals: bool) -> None:
        self.timing = timing
        self.signals = signals
        """Whether characters with wrong parity are refused on the line, so that the card sends them again (T=0)."""
        self.deadline = 0
        self.last_sent = -(10**30)
        self._whole = whole
        self._heard = bytearray()
        self._damaged = False
        self._repeater = Repeater()

    def begin(self, data: bytes, start: int) -> Burst | None:
        """The characters to send, not before ``start``; None where there are none, so that the card's time runs from ``start``."""
        timing = self.timing
        if not data:
            self.deadline = start + timing.first
            return None
        return self._send(Burst(data, start, timing.pitch, timing.etu))

    def receive(self, burst: Burst, damaged: Collection[int] = ()) -> SlotAnswer | None:
        """The card's burst has been taken; None while more is to come."""
        self._heard += undamaged(burst, damaged) if damaged and self.signals else burst.data
        self._damaged = self._damaged or bool(damaged and not self.signals)
        self.deadline = burst.last + self.timing.between
        return self._answer() if self._whole(bytes(self._heard)) else None

    def signalled(self, burst: Burst, index: int) -> Burst | SlotAnswer:
        """The card refused a character (ISO/IEC 7816-3, 7.3)."""
        again = self._repeater.again(burst, index)
        if again is None:
            return SlotAnswer(error=SlotError.XFR_PARITY_ERROR, text=f"the card refused {burst.data[index]:02X} again")
        return self._send(again)

    def expire(self) -> SlotAnswer:
        """The waiting time is over."""
        if self._heard:
            return self._answer()
        return SlotAnswer(error=SlotError.ICC_MUTE, text="the card is mute")

    def _answer(self) -> SlotAnswer:
        if self._damaged:
            return SlotAnswer(error=SlotError.XFR_PARITY_ERROR, text="a character from the card had wrong parity")
        return SlotAnswer(bytes(self._heard))

    def _send(self, burst: Burst) -> Burst:
        self.last_sent = burst.last
        self.deadline = burst.last + self.timing.first
        return burst


class T0Exchange:
    """A TPDU of T=0, with the answer as a slot gives it. Lives as long as the card speaks T=0 at one rate."""

    signals = True

    def __init__(self, terminal: T0Terminal) -> None:
        self.terminal = terminal

    @property
    def deadline(self) -> int:
        return self.terminal.deadline

    def begin(self, tpdu: bytes, now: int) -> Burst | SlotAnswer:
        """A TPDU as a host gives it: of case 1 four bytes will do, of case 4 Le is left to GET RESPONSE."""
        if len(tpdu) == _HEADER - 1:
            tpdu += b"\x00"
        elif len(tpdu) > _HEADER and len(tpdu) == _HEADER + tpdu[4] + 1:
            tpdu = tpdu[:-1]
        try:
            return self.terminal.begin(tpdu, now)
        except ValueError as error:
            return SlotAnswer(error=SlotError.BAD_LENGTH, text=str(error))

    def receive(self, burst: Burst, damaged: Collection[int] = ()) -> Burst | SlotAnswer | None:
        return _as_answer(self.terminal.receive(burst, damaged))

    def signalled(self, burst: Burst, index: int) -> Burst | SlotAnswer | None:
        return _as_answer(self.terminal.signalled(burst, index))

    def expire(self) -> SlotAnswer:
        answer = _as_answer(self.terminal.expire(self.terminal.deadline))
        assert isinstance(answer, SlotAnswer)
        return answer


def _as_answer(step: Burst | T0Outcome | None) -> Burst | SlotAnswer | None:
    if not isinstance(step, T0Outcome):
        return step
    if not step.error:
        return SlotAnswer(step.response)
    return SlotAnswer(error=error_of(step.error), text=step.error)


def error_of(text: str) -> SlotError:
    """The bError for an error of the bench's own machines (``bench.iso7816.port.Answer.error``)."""
    if text.startswith("parity"):
        return SlotError.XFR_PARITY_ERROR
    return SlotError.PROCEDURE_BYTE_CONFLICT if text.startswith("protocol") else SlotError.ICC_MUTE
