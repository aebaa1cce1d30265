"""What a CCID reader sends to its host: RDR_to_PC messages on bulk IN, and notifications on the interrupt pipe (CCID 1.1, 6.2 and 6.3)."""

from dataclasses import dataclass
from typing import ClassVar

from bench.ccid.codes import Chain, ClockState, CommandState, IccState, MessageType, error_text
from bench.ccid.layout import TWO_WORDS, pack_message
from bench.ccid.parameters import ProtocolParameters, decode_parameters


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
        return pack_message(self.type, self.slot, self.seq, self.status.encode() + bytes((self.last,)), self.payload)


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
        return TWO_WORDS.pack(self.clock_khz, self.rate_bps)


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
