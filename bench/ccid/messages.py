"""The messages of CCID 1.1 in both directions (clauses 6.1 to 6.3), strictly decoded; the frozen values are in `commands` and `responses`.

A message is bMessageType, dwLength (little-endian), bSlot, bSeq, three bytes of its own, and dwLength bytes of data. What a decoder refuses is a
CcidMessageError with the offset of the byte at fault.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, TypeVar

from bench.ccid.codes import (
    HEADER,
    Chain,
    ClockCommand,
    ClockState,
    CommandState,
    IccState,
    Mechanics,
    MessageType,
    PowerSelect,
    SlotError,
)
from bench.ccid.commands import (
    ANSWERED_BY,
    Abort,
    Command,
    Escape,
    GetParameters,
    GetSlotStatus,
    IccClock,
    IccPowerOff,
    IccPowerOn,
    Mechanical,
    ResetParameters,
    Secure,
    SetDataRateAndClock,
    SetParameters,
    T0Apdu,
    XfrBlock,
)
from bench.ccid.errors import CcidMessageError, UnknownMessageError
from bench.ccid.layout import HEADER_LAYOUT, TWO_WORDS, message_length
from bench.ccid.parameters import decode_parameters
from bench.ccid.responses import (
    DataBlock,
    DataRateAndClock,
    EscapeAnswer,
    HardwareError,
    NotifySlotChange,
    Parameters,
    Response,
    SlotChange,
    SlotStatus,
    Status,
)

__all__ = [
    "ANSWERED_BY",
    "Abort",
    "Command",
    "DataBlock",
    "DataRateAndClock",
    "Escape",
    "EscapeAnswer",
    "GetParameters",
    "GetSlotStatus",
    "HardwareError",
    "IccClock",
    "IccPowerOff",
    "IccPowerOn",
    "Mechanical",
    "NotifySlotChange",
    "Parameters",
    "ResetParameters",
    "Response",
    "Secure",
    "SetDataRateAndClock",
    "SetParameters",
    "SlotChange",
    "SlotStatus",
    "Status",
    "T0Apdu",
    "XfrBlock",
    "decode_command",
    "decode_notification",
    "decode_response",
    "message_length",
]

E = TypeVar("E", bound=IntEnum)


@dataclass(frozen=True, slots=True)
class _Raw:
    """A message taken apart."""

    number: int
    slot: int
    seq: int
    own: bytes
    data: bytes

    @property
    def what(self) -> str:
        try:
            return MessageType(self.number).name
        except ValueError:
            return f"message {self.number:02X}"

    def zero(self, first: int) -> None:
        """Bytes from ``first`` to 9 are reserved."""
        for offset in range(first, HEADER):
            if self.own[offset - 7]:
                raise CcidMessageError(self.what, offset, f"{self.own[offset - 7]:02X}", "00 (reserved)")

    def length(self, wanted: int) -> None:
        if len(self.data) != wanted:
            raise CcidMessageError(self.what, SlotError.BAD_LENGTH, f"dwLength {len(self.data)}", str(wanted))

    def code(self, kind: type[E], offset: int = 7) -> E:
        value = self.own[offset - 7]
        try:
            return kind(value)
        except ValueError:
            known = ", ".join(f"{each.value:02X}" for each in kind)
            raise CcidMessageError(self.what, offset, f"{value:02X}", f"one of {known}") from None

    def status(self) -> Status:
        value, error = self.own[0], self.own[1]
        if value & 0x3C or value & 0x03 == 3 or value >> 6 == 3:
            raise CcidMessageError(self.what, 7, f"bStatus {value:02X}", "0 to 2 in bits 0-1 and in bits 6-7")
        return Status(IccState(value & 0x03), CommandState(value >> 6), error)


def _take_apart(message: bytes, what: str) -> _Raw:
    if len(message) < HEADER:
        raise CcidMessageError(what, len(message), f"{len(message)} bytes", f"a header of {HEADER}")
    kind, length, slot, seq, own = HEADER_LAYOUT.unpack_from(message)
    if length != len(message) - HEADER:
        found = f"dwLength {length} with {len(message) - HEADER} bytes after the header"
        raise CcidMessageError(what, SlotError.BAD_LENGTH, found, "both equal")
    return _Raw(kind, slot, seq, own, message[HEADER:])


def _bare(kind: type[Command]) -> Callable[[_Raw], Command]:
    def decode(raw: _Raw) -> Command:
        raw.length(0)
        raw.zero(7)
        return kind(raw.slot, raw.seq)

    return decode


def _power_on(raw: _Raw) -> Command:
    raw.length(0)
    raw.zero(8)
    return IccPowerOn(raw.slot, raw.seq, raw.code(PowerSelect))


def _xfr_block(raw: _Raw) -> Command:
    return XfrBlock(raw.slot, raw.seq, raw.data, raw.own[0], int.from_bytes(raw.own[1:], "little"))


def _secure(raw: _Raw) -> Command:
    return Secure(raw.slot, raw.seq, raw.data, raw.own[0], int.from_bytes(raw.own[1:], "little"))


def _set_parameters(raw: _Raw) -> Command:
    raw.zero(8)
    decode_parameters(raw.own[0], raw.data)
    return SetParameters(raw.slot, raw.seq, raw.own[0], raw.data)


def _escape(raw: _Raw) -> Command:
    raw.zero(7)
    return Escape(raw.slot, raw.seq, raw.data)


def _clock(raw: _Raw) -> Command:
    raw.length(0)
    raw.zero(8)
    return IccClock(raw.slot, raw.seq, raw.code(ClockCommand))


def _t0_apdu(raw: _Raw) -> Command:
    raw.length(0)
    if raw.own[0] > 3:
        raise CcidMessageError(raw.what, 7, f"bmChanges {raw.own[0]:02X}", "00 to 03")
    return T0Apdu(raw.slot, raw.seq, *raw.own)


def _mechanical(raw: _Raw) -> Command:
    raw.length(0)
    raw.zero(8)
    return Mechanical(raw.slot, raw.seq, raw.code(Mechanics))


def _set_rate(raw: _Raw) -> Command:
    raw.length(8)
    raw.zero(7)
    return SetDataRateAndClock(raw.slot, raw.seq, *TWO_WORDS.unpack(raw.data))


_COMMANDS: Final[dict[int, Callable[[_Raw], Command]]] = {
    MessageType.ICC_POWER_ON: _power_on,
    MessageType.ICC_POWER_OFF: _bare(IccPowerOff),
    MessageType.GET_SLOT_STATUS: _bare(GetSlotStatus),
    MessageType.XFR_BLOCK: _xfr_block,
    MessageType.GET_PARAMETERS: _bare(GetParameters),
    MessageType.RESET_PARAMETERS: _bare(ResetParameters),
    MessageType.SET_PARAMETERS: _set_parameters,
    MessageType.ESCAPE: _escape,
    MessageType.ICC_CLOCK: _clock,
    MessageType.T0_APDU: _t0_apdu,
    MessageType.SECURE: _secure,
    MessageType.MECHANICAL: _mechanical,
    MessageType.ABORT: _bare(Abort),
    MessageType.SET_DATA_RATE_AND_CLOCK: _set_rate,
}


def decode_command(message: bytes) -> Command:
    """Read a PC_to_RDR message. Raises CcidMessageError, and UnknownMessageError for a type that is none."""
    raw = _take_apart(message, "PC_to_RDR message")
    decode = _COMMANDS.get(raw.number)
    if decode is None:
        raise UnknownMessageError("PC_to_RDR message", 0, f"bMessageType {raw.number:02X}", _known(_COMMANDS))
    return decode(raw)


def _data_block(raw: _Raw) -> Response:
    return DataBlock(raw.slot, raw.seq, raw.status(), raw.data, raw.code(Chain, 9))


def _slot_status(raw: _Raw) -> Response:
    raw.length(0)
    return SlotStatus(raw.slot, raw.seq, raw.status(), raw.code(ClockState, 9))


def _parameters(raw: _Raw) -> Response:
    status = raw.status()
    if status.ok:
        decode_parameters(raw.own[2], raw.data)
    return Parameters(raw.slot, raw.seq, status, raw.own[2], raw.data)


def _escape_answer(raw: _Raw) -> Response:
    return EscapeAnswer(raw.slot, raw.seq, raw.status(), raw.data)


def _rate_and_clock(raw: _Raw) -> Response:
    status = raw.status()
    if not raw.data and not status.ok:
        return DataRateAndClock(raw.slot, raw.seq, status)
    raw.length(8)
    return DataRateAndClock(raw.slot, raw.seq, status, *TWO_WORDS.unpack(raw.data))


_RESPONSES: Final[dict[int, Callable[[_Raw], Response]]] = {
    MessageType.DATA_BLOCK: _data_block,
    MessageType.SLOT_STATUS: _slot_status,
    MessageType.PARAMETERS: _parameters,
    MessageType.ESCAPE_ANSWER: _escape_answer,
    MessageType.DATA_RATE_AND_CLOCK: _rate_and_clock,
}


def decode_response(message: bytes) -> Response:
    """Read an RDR_to_PC message. Raises CcidMessageError, and UnknownMessageError for a type that is none."""
    raw = _take_apart(message, "RDR_to_PC message")
    decode = _RESPONSES.get(raw.number)
    if decode is None:
        raise UnknownMessageError("RDR_to_PC message", 0, f"bMessageType {raw.number:02X}", _known(_RESPONSES))
    return decode(raw)


def decode_notification(message: bytes) -> NotifySlotChange | HardwareError:
    """Read a message of the interrupt pipe. Raises CcidMessageError."""
    if not message:
        raise CcidMessageError("notification", 0, "nothing", "50 or 51 first")
    if message[0] == MessageType.NOTIFY_SLOT_CHANGE:
        if len(message) < 2:
            raise CcidMessageError("NOTIFY_SLOT_CHANGE", 1, "nothing", "two bits for each slot")
        pairs = (message[1 + index // 4] >> 2 * (index % 4) for index in range(4 * (len(message) - 1)))
        return NotifySlotChange(tuple(SlotChange(bool(pair & 1), bool(pair & 2)) for pair in pairs))
    if message[0] == MessageType.HARDWARE_ERROR:
        if len(message) != 4:
            raise CcidMessageError("HARDWARE_ERROR", min(len(message), 4), f"{len(message)} bytes", "4")
        return HardwareError(*message[1:])
    raise UnknownMessageError("notification", 0, f"bMessageType {message[0]:02X}", "50 or 51")


def _known(table: Iterable[int]) -> str:
    return "one of " + " ".join(f"{kind:02X}" for kind in table)
