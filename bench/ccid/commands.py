"""What a host sends to a CCID reader on bulk OUT: PC_to_RDR messages (CCID 1.1, 6.1). Left out: the inside of Secure's data."""

from dataclasses import dataclass
from typing import ClassVar, Final

from bench.ccid.codes import ClockCommand, Mechanics, MessageType, PowerSelect
from bench.ccid.layout import TWO_WORDS, pack_message
from bench.ccid.parameters import ProtocolParameters, decode_parameters


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
        return pack_message(self.type, self.slot, self.seq, self.own, self.payload)


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
        return TWO_WORDS.pack(self.clock_khz, self.rate_bps)


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
