"""How the host's side of CCID names what goes wrong: who is to blame, where it was, what to do. First words are those of every reader's faults.

::

    DriverError             all of them
      ReaderError           the reader's doing, never the card's
        AnswerError         an answer that is none, or not this command's: which byte, what was found, what was expected
        SilentReaderError   no answer in time: the reader is frozen
        RefusedError        the reader does not take a command, or a field of it
        HardwareFailedError the reader's hardware failed (overcurrent, short circuit)
        UnableError         the reader cannot do what is asked of it (a rate, a protocol, a length)
      CardError             what the reader says about the card; ``trouble`` sorts it
"""

from enum import StrEnum
from typing import Final

from bench.ccid.codes import SlotError, error_text
from bench.ccid.errors import CcidError, CcidMessageError

REPLUG: Final = "unplug the reader and plug it in again; if this comes back, its firmware is at fault"


class DriverError(CcidError):
    """A command did not come to its end as CCID has it."""


class ReaderError(DriverError):
    """The reader's doing."""


class AnswerError(ReaderError):
    """An answer that is none of CCID, or not the one to this command."""

    def __init__(self, kind: str, what: str, offset: int, found: str, expected: str) -> None:
        self.what = what
        self.offset = offset
        self.found = found
        self.expected = expected
        super().__init__(f"{kind} answer: {what}, offset {offset}: {found}; expected {expected}; {REPLUG}")

    @classmethod
    def of(cls, error: CcidMessageError, message: bytes, announced: int | None) -> "AnswerError":
        """What a decoder refused: truncated where less came than the header announces."""
        short = announced is None or len(message) < announced
        return cls("truncated" if short else "garbled", error.what, error.offset, error.found, error.expected)


class SilentReaderError(ReaderError):
    """Nothing came within the time the reader has."""

    def __init__(self, what: str, limit_ns: int) -> None:
        super().__init__(f"driver hangs: no answer to {what} within {limit_ns / 1e9:.1f} s; {REPLUG}")


class RefusedError(ReaderError):
    """bError 0 (not supported), a bad field, aborted, busy. ``code`` is the bError."""

    def __init__(self, what: str, code: int) -> None:
        self.code = code
        super().__init__(f"reader fault: {what} is refused, {error_text(code)}; see whether the reader can do that")


class HardwareFailedError(ReaderError):
    """HW_ERROR, or a HardwareError notification."""

    def __init__(self, what: str, detail: str) -> None:
        super().__init__(f"reader fault: {what}: {detail}; look for a short circuit at the card's contacts")


class UnableError(ReaderError):
    """Asked for something that this reader cannot do, as its descriptor says."""


class Trouble(StrEnum):
    """What is wrong with a card, as the first word of the error's text."""

    ABSENT = "absent"
    MUTE = "mute"
    PARITY = "parity"
    BAD_ATR = "bad ATR"
    CLASS = "class"
    MODE = "mode"
    PPS = "PPS"
    PROTOCOL = "protocol"
    MISMATCH = "protocol mismatch"
    """The card does not offer the protocol asked for."""


class CardError(DriverError):
    """What came of the card. The text is ``mute``, ``absent``, or ``trouble: …``, as ``port.Answer.error`` has it."""

    def __init__(self, trouble: Trouble, detail: str = "") -> None:
        self.trouble = trouble
        super().__init__(f"{trouble}: {detail}" if detail else str(trouble))


_CARD: Final[dict[int, tuple[Trouble, str]]] = {
    SlotError.ICC_MUTE: (Trouble.MUTE, ""),
    SlotError.XFR_PARITY_ERROR: (Trouble.PARITY, "the reader found wrong parity (XFR_PARITY_ERROR)"),
    SlotError.XFR_OVERRUN: (Trouble.PROTOCOL, "the card sent more than the reader holds (XFR_OVERRUN)"),
    SlotError.BAD_ATR_TS: (Trouble.BAD_ATR, "TS is neither 3B nor 3F (BAD_ATR_TS)"),
    SlotError.BAD_ATR_TCK: (Trouble.BAD_ATR, "TCK is wrong (BAD_ATR_TCK)"),
    SlotError.ICC_PROTOCOL_NOT_SUPPORTED: (Trouble.PROTOCOL, "the reader has none of the card's protocols"),
    SlotError.ICC_CLASS_NOT_SUPPORTED: (Trouble.CLASS, "the reader does not supply the card's class"),
    SlotError.PROCEDURE_BYTE_CONFLICT: (Trouble.PROTOCOL, "the card sent a procedure byte that is none"),
    SlotError.DEACTIVATED_PROTOCOL: (Trouble.PROTOCOL, "the protocol has been deactivated: power the card again"),
}


def failure(what: str, code: int, absent: bool) -> DriverError:
    """The error for a command that failed with bError ``code``; ``absent``: the slot status says that no card is there."""
    if absent:
        return CardError(Trouble.ABSENT)
    if code == SlotError.HW_ERROR:
        return HardwareFailedError(what, "HW_ERROR")
    if code in _CARD:
        return CardError(*_CARD[code])
    return RefusedError(what, code)
