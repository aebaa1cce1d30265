"""The messages of CCID 1.1 in both directions (clauses 6.1 to 6.3): frozen values, encoded and strictly decoded.

A message is bMessageType, dwLength (little-endian), bSlot, bSeq, three bytes of its own, and dwLength bytes of data. What a decoder refuses is a
CcidMessageError with the offset of the byte at fault. Left out: the inside of Secure's data (PIN verification and modification).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import ClassVar, Final, TypeVar

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
    error_text,
)
from bench.ccid.errors import CcidMessageError, UnknownMessageError
from bench.ccid.parameters import ProtocolParameters, decode_parameters

_HEADER: Final = Struct("<BIBB3s")
_TWO_WORDS: Final = Struct("<II")
E = TypeVar("E", bound=IntEnum)


# -- commands: PC_to_RDR, on bulk OUT -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Command:
    """What every command has: the slot it is for, and the number its answer carries."""

    type: ClassVar[MessageType]
    slot: int
    seq: int

    @property
    def own(self) -> bytes:
        """Bytes 7 to 9."""
        return bytes(3)

    @property
    def payload(self) -> bytes:
        return b""

    def encode(self) -> bytes:
        return _pack(self.type, self.slot, self.seq, self.own, self.payload)


@dataclass(frozen=True, slots=True)
class IccPowerOn(Command):
    """Activate the card, or reset it where it is active (6.1.1); answered by DataBlock with the ATR."""

    type: ClassVar[MessageType] = MessageType.ICC_POWER_ON
    select: PowerSelect = PowerSelect.AUTO

    @property
    def own(self) -> bytes:
        return bytes((self.select, 0, 0))


@dataclass(frozen=True, slots=True)
class IccPowerOff(Command):
    """Deactivate the card (6.1.2); answered by SlotStatus."""

    type: ClassVar[MessageType] = MessageType.ICC_POWER_OFF


@dataclass(frozen=True, slots=True)
class GetSlotStatus(Command):
    """Answered by SlotStatus (6.1.3)."""

    type: ClassVar[MessageType] = MessageType.GET_SLOT_STATUS


@dataclass(frozen=True, slots=True)
class XfrBlock(Command):
    """Bytes for the card (6.1.4); answered by DataBlock.

    ``level`` is wLevelParameter: 0 at TPDU and short APDU level, a ``Chain`` at extended APDU level, the length of the expected answer at
    character level. ``bwi`` multiplies the block waiting time of T=1 for this block (0 and 1: as it is).
    """

    type: ClassVar[MessageType] = MessageType.XFR_BLOCK
    data: bytes = b""
    bwi: int = 0
    level: int = 0

    @property
    def own(self) -> bytes:
        return bytes((self.bwi, self.level & 0xFF, self.level >> 8))

    @property
    def payload(self) -> bytes:
        return self.data


@dataclass(frozen=True, slots=True)
class GetParameters(Command):
    """Answered by Parameters (6.1.5)."""

    type: ClassVar[MessageType] = MessageType.GET_PARAMETERS


@dataclass(frozen=True, slots=True)
class ResetParameters(Command):
    """Back to the reader's defaults; answered by Parameters (6.1.6)."""

    type: ClassVar[MessageType] = MessageType.RESET_PARAMETERS


@dataclass(frozen=True, slots=True)
class SetParameters(Command):
    """What the reader is to go by from now on; answered by Parameters (6.1.7). ``of`` makes one of a structure, ``parameters`` gives it back."""

    type: ClassVar[MessageType] = MessageType.SET_PARAMETERS
    protocol: int = 0
    data: bytes = b""

    @classmethod
    def of(cls, slot: int, seq: int, parameters: ProtocolParameters) -> "SetParameters":
        return cls(slot, seq, parameters.protocol, parameters.encode())

    @property
    def parameters(self) -> ProtocolParameters:
        """Raises CcidMessageError for what is no structure of the protocol."""
        return decode_parameters(self.protocol, self.data)

    @property
    def own(self) -> bytes:
        return bytes((self.protocol, 0, 0))

    @property
    def payload(self) -> bytes:
        return self.data


@dataclass(frozen=True, slots=True)
class Escape(Command):
    """The manufacturer's own (6.1.8); answered by EscapeAnswer."""

    type: ClassVar[MessageType] = MessageType.ESCAPE
    data: bytes = b""

    @property
    def payload(self) -> bytes:
        return self.data


@dataclass(frozen=True, slots=True)
class IccClock(Command):
    """Stop or restart CLK (6.1.9); answered by SlotStatus."""

    type: ClassVar[MessageType] = MessageType.ICC_CLOCK
    command: ClockCommand = ClockCommand.RESTART

    @property
    def own(self) -> bytes:
        return bytes((self.command, 0, 0))


@dataclass(frozen=True, slots=True)
class T0Apdu(Command):
    """Class bytes with which a reader at APDU level fetches and envelopes over T=0 (6.1.10); answered by SlotStatus."""

    type: ClassVar[MessageType] = MessageType.T0_APDU
    changes: int = 0
    """b0: the class of GET RESPONSE is given, b1: that of ENVELOPE. 0 restores the defaults."""
    class_get_response: int = 0
    class_envelope: int = 0

    @property
    def own(self) -> bytes:
        return bytes((self.changes, self.class_get_response, self.class_envelope))


@dataclass(frozen=True, slots=True)
class Secure(Command):
    """PIN entry at the reader (6.1.11); answered by DataBlock."""

    type: ClassVar[MessageType] = MessageType.SECURE
    data: bytes = b""
    bwi: int = 0
    level: int = 0

    @property
    def own(self) -> bytes:
        return bytes((self.bwi, self.level & 0xFF, self.level >> 8))

    @property
    def payload(self) -> bytes:
        return self.data


@dataclass(frozen=True, slots=True)
class Mechanical(Command):
    """Move or lock the card (6.1.12); answered by SlotStatus."""

    type: ClassVar[MessageType] = MessageType.MECHANICAL
    function: Mechanics = Mechanics.ACCEPT

    @property
    def own(self) -> bytes:
        return bytes((self.function, 0, 0))


@dataclass(frozen=True, slots=True)
class Abort(Command):
    """Stop what the slot is doing; goes with the ABORT request of the same slot and number (6.1.13). Answered by SlotStatus."""

    type: ClassVar[MessageType] = MessageType.ABORT


@dataclass(frozen=True, slots=True)
class SetDataRateAndClock(Command):
    """Card clock in kHz and data rate in bit/s (6.1.14); answered by DataRateAndClock."""

    type: ClassVar[MessageType] = MessageType.SET_DATA_RATE_AND_CLOCK
    clock_khz: int = 0
    rate_bps: int = 0

    @property
    def payload(self) -> bytes:
        return _TWO_WORDS.pack(self.clock_khz, self.rate_bps)


# -- responses: RDR_to_PC, on bulk IN ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Status:
    """bStatus and bError of a response (6.2.6)."""

    icc: IccState
    command: CommandState = CommandState.OK
    error: int = 0
    """Why the command failed; or, of a time extension, by what the waiting time is multiplied."""

    @property
    def ok(self) -> bool:
        return self.command is CommandState.OK

    @property
    def extends(self) -> bool:
        """The card needs more time: the answer proper is still to come."""
        return self.command is CommandState.TIME_EXTENSION

    def encode(self) -> bytes:
        return bytes((self.command << 6 | self.icc, self.error))

    @classmethod
    def failed(cls, icc: IccState, error: int) -> "Status":
        return cls(icc, CommandState.FAILED, error)

    def __str__(self) -> str:
        card = f"card {self.icc.name.lower()}"
        if self.ok:
            return card
        if self.extends:
            return f"{card}, time extension x{self.error}"
        return f"{card}, failed: {error_text(self.error)}"


@dataclass(frozen=True, slots=True)
class Response:
    """What every response has: the slot and number of its command, and how that went."""

    type: ClassVar[MessageType]
    slot: int
    seq: int
    status: Status

    @property
    def last(self) -> int:
        """Byte 9."""
        return 0

    @property
    def payload(self) -> bytes:
        return b""

    def encode(self) -> bytes:
        return _pack(self.type, self.slot, self.seq, self.status.encode() + bytes((self.last,)), self.payload)


@dataclass(frozen=True, slots=True)
class DataBlock(Response):
    """Bytes from the card (6.2.1)."""

    type: ClassVar[MessageType] = MessageType.DATA_BLOCK
    data: bytes = b""
    chain: Chain = Chain.WHOLE

    @property
    def last(self) -> int:
        return self.chain

    @property
    def payload(self) -> bytes:
        return self.data


@dataclass(frozen=True, slots=True)
class SlotStatus(Response):
    """The slot (6.2.2)."""

    type: ClassVar[MessageType] = MessageType.SLOT_STATUS
    clock: ClockState = ClockState.RUNNING

    @property
    def last(self) -> int:
        return self.clock


@dataclass(frozen=True, slots=True)
class Parameters(Response):
    """What the reader goes by (6.2.3); empty where the command failed."""

    type: ClassVar[MessageType] = MessageType.PARAMETERS
    protocol: int = 0
    data: bytes = b""

    @classmethod
    def of(cls, slot: int, seq: int, status: Status, parameters: ProtocolParameters) -> "Parameters":
        return cls(slot, seq, status, parameters.protocol, parameters.encode())

    @property
    def parameters(self) -> ProtocolParameters:
        """Raises CcidMessageError for what is no structure of the protocol."""
        return decode_parameters(self.protocol, self.data)

    @property
    def last(self) -> int:
        return self.protocol

    @property
    def payload(self) -> bytes:
        return self.data


@dataclass(frozen=True, slots=True)
class EscapeAnswer(Response):
    """The manufacturer's own (6.2.4)."""

    type: ClassVar[MessageType] = MessageType.ESCAPE_ANSWER
    data: bytes = b""

    @property
    def payload(self) -> bytes:
        return self.data


@dataclass(frozen=True, slots=True)
class DataRateAndClock(Response):
    """Card clock in kHz and data rate in bit/s as they are now (6.2.5)."""

    type: ClassVar[MessageType] = MessageType.DATA_RATE_AND_CLOCK
    clock_khz: int = 0
    rate_bps: int = 0

    @property
    def payload(self) -> bytes:
        return _TWO_WORDS.pack(self.clock_khz, self.rate_bps)


# -- notifications: interrupt IN ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SlotChange:
    """Two bits of NotifySlotChange."""

    present: bool
    changed: bool


@dataclass(frozen=True, slots=True)
class NotifySlotChange:
    """A card came or went (6.3.1): one entry a slot; decoded, the entries that fill the last byte are there, too."""

    slots: tuple[SlotChange, ...]

    def encode(self) -> bytes:
        bits = 0
        for index, slot in enumerate(self.slots):
            bits |= (slot.present | slot.changed << 1) << 2 * index
        return bytes((MessageType.NOTIFY_SLOT_CHANGE,)) + bits.to_bytes((len(self.slots) + 3) // 4, "little")


@dataclass(frozen=True, slots=True)
class HardwareError:
    """The slot's hardware failed while it carried out command ``seq`` (6.3.2)."""

    slot: int
    seq: int
    code: int = 1
    """1: overcurrent."""

    def encode(self) -> bytes:
        return bytes((MessageType.HARDWARE_ERROR, self.slot, self.seq, self.code))


# -- decoding ------------------------------------------------------------------------------------------------------------------


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
    kind, length, slot, seq, own = _HEADER.unpack_from(message)
    if length != len(message) - HEADER:
        found = f"dwLength {length} with {len(message) - HEADER} bytes after the header"
        raise CcidMessageError(what, SlotError.BAD_LENGTH, found, "both equal")
    return _Raw(kind, slot, seq, own, message[HEADER:])


def _pack(kind: int, slot: int, seq: int, own: bytes, data: bytes) -> bytes:
    return _HEADER.pack(kind, len(data), slot, seq, own) + data


def message_length(head: bytes) -> int | None:
    """How many bytes the message that begins with ``head`` has in all; None while its header is not complete."""
    return HEADER + int.from_bytes(head[1:5], "little") if len(head) >= HEADER else None


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
    return SetDataRateAndClock(raw.slot, raw.seq, *_TWO_WORDS.unpack(raw.data))


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
    return DataRateAndClock(raw.slot, raw.seq, status, *_TWO_WORDS.unpack(raw.data))


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


ANSWERED_BY: Final[dict[MessageType, MessageType]] = {
    MessageType.ICC_POWER_ON: MessageType.DATA_BLOCK,
    MessageType.XFR_BLOCK: MessageType.DATA_BLOCK,
    MessageType.SECURE: MessageType.DATA_BLOCK,
    MessageType.ICC_POWER_OFF: MessageType.SLOT_STATUS,
    MessageType.GET_SLOT_STATUS: MessageType.SLOT_STATUS,
    MessageType.ICC_CLOCK: MessageType.SLOT_STATUS,
    MessageType.T0_APDU: MessageType.SLOT_STATUS,
    MessageType.MECHANICAL: MessageType.SLOT_STATUS,
    MessageType.ABORT: MessageType.SLOT_STATUS,
    MessageType.GET_PARAMETERS: MessageType.PARAMETERS,
    MessageType.RESET_PARAMETERS: MessageType.PARAMETERS,
    MessageType.SET_PARAMETERS: MessageType.PARAMETERS,
    MessageType.ESCAPE: MessageType.ESCAPE_ANSWER,
    MessageType.SET_DATA_RATE_AND_CLOCK: MessageType.DATA_RATE_AND_CLOCK,
}
"""Which message answers which (table 6.1-1)."""
