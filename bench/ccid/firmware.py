"""The reader's side of CCID 1.1: a machine without I/O. Messages of bulk OUT go in, messages of bulk IN and of the interrupt pipe come out.

Whatever comes in is answered. A slot does one thing at a time (bError E0), no more slots than the descriptor says are busy at once, and while a card
works the host is told that more time is needed. An abort needs the control request and the message, in either order (5.3.1, 6.1.13): the command
under way is answered with CMD_ABORTED, then the Abort itself. Left out: PIN entry (Secure), mechanical functions; both are refused.

Longer than other files: each command of clause 6.1 has its handler here, and all of them act on the same lanes.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from struct import pack
from typing import Final

from bench.ccid.codes import (
    HEADER,
    Chain,
    ClockCommand,
    ClockState,
    CommandState,
    IccState,
    MessageType,
    SlotError,
)
from bench.ccid.descriptor import ClassDescriptor, Feature
from bench.ccid.errors import CcidMessageError, UnknownMessageError
from bench.ccid.messages import (
    ANSWERED_BY,
    Abort,
    Command,
    DataBlock,
    DataRateAndClock,
    Escape,
    EscapeAnswer,
    GetParameters,
    GetSlotStatus,
    HardwareError,
    IccClock,
    IccPowerOff,
    IccPowerOn,
    NotifySlotChange,
    Parameters,
    ResetParameters,
    Response,
    SetDataRateAndClock,
    SetParameters,
    SlotChange,
    SlotStatus,
    Status,
    T0Apdu,
    XfrBlock,
    decode_command,
)
from bench.ccid.slot import RateAndClock, Slot, SlotAnswer, SlotRefusal
from bench.engine import Engine, Timer
from bench.iso7816.port import ExchangeLevel

_MS: Final = 10**6
LONGEST_CHAIN: Final = 65_544
"""An extended APDU: header, three bytes of Lc, 65 535 of data, two of Le, and one to spare."""


def _no_escape(_slot: int, _data: bytes) -> bytes | None:
    return None


@dataclass(frozen=True, slots=True)
class FirmwareTraits:
    """What kind of reader it is."""

    descriptor: ClassDescriptor = field(default_factory=ClassDescriptor)
    clocks_khz: tuple[int, ...] = ()
    """What GET_CLOCK_FREQUENCIES lists."""
    rates_bps: tuple[int, ...] = ()
    """What GET_DATA_RATES lists."""
    extension_ms: int = 500
    """How often the host is told, while a card works, that more time is needed."""
    control_pipe: bool = True
    """Whether the host has one (USB); without it, an Abort message is enough."""
    escape: Callable[[int, bytes], bytes | None] = _no_escape
    """The manufacturer's own commands: slot and data in, answer out; None for what it does not know."""


class _Lane:
    """What the firmware keeps of one slot."""

    def __init__(self, number: int, slot: Slot) -> None:
        self.number = number
        self.slot = slot
        self.command: Command | None = None
        """Under way."""
        self.extension: Timer | None = None
        self.abort_requested: int | None = None
        """bSeq of a control request whose Abort has not come yet."""
        self.abort: Abort | None = None
        """An Abort whose control request has not come yet."""
        self.gathering = bytearray()
        """Extended APDU level: a command's messages so far."""
        self.in_chain = False
        self.waiting = b""
        """Extended APDU level: what of an answer the host has not asked for yet."""

    @property
    def icc(self) -> IccState:
        if not self.slot.present:
            return IccState.ABSENT
        return IccState.ACTIVE if self.slot.active else IccState.INACTIVE

    def forget(self) -> None:
        """Nothing is under way any more."""
        self.command = None
        if self.extension is not None:
            self.extension.cancel()
            self.extension = None

    def forget_chains(self) -> None:
        self.gathering.clear()
        self.in_chain = False
        self.waiting = b""


class CcidFirmware:
    """One reader. ``receive`` takes one PC_to_RDR message, whole."""

    def __init__(self, engine: Engine, slots: Sequence[Slot], traits: FirmwareTraits) -> None:
        if len(slots) != traits.descriptor.slots:
            raise ValueError(f"{len(slots)} slots for a reader whose descriptor says {traits.descriptor.slots}")
        self.engine = engine
        self.slots = slots
        self.traits = traits
        self.on_message: Callable[[bytes], None] = _nobody
        """Told of each RDR_to_PC message, for bulk IN; may be called before ``receive`` returns."""
        self.on_interrupt: Callable[[bytes], None] = _nobody
        """Told of each NotifySlotChange and HardwareError, for interrupt IN."""
        self._lanes = [_Lane(number, slot) for number, slot in enumerate(slots)]
        self._extension = engine.timebase.nanoseconds(traits.extension_ms * _MS)
        for lane in self._lanes:
            lane.slot.on_card = self._card_told(lane)
        self._carry_out: dict[type[Command], Callable[[_Lane, Command], Response | None]] = {
            IccPowerOn: self._power_on,
            IccPowerOff: self._power_off,
            GetSlotStatus: self._slot_status,
            XfrBlock: self._xfr_block,
            GetParameters: self._get_parameters,
            ResetParameters: self._reset_parameters,
            SetParameters: self._set_parameters,
            Escape: self._escape,
            IccClock: self._icc_clock,
            T0Apdu: self._t0_apdu,
            SetDataRateAndClock: self._set_rate_and_clock,
        }

    @property
    def busy(self) -> bool:
        """Whether any command is not yet answered."""
        return any(lane.command is not None for lane in self._lanes)

    # -- what the host sends ---------------------------------------------------------------------------------------------------

    def receive(self, message: bytes) -> None:
        """One message of bulk OUT. Whatever it is, it is answered."""
        head = message[:HEADER].ljust(HEADER, b"\x00")
        number, seq = head[5], head[6]
        kind = ANSWERED_BY.get(_kind(head[0]), MessageType.SLOT_STATUS)
        if number >= len(self._lanes):
            self._say(_failure(kind, number, seq, Status.failed(IccState.ABSENT, SlotError.BAD_SLOT)))
            return
        lane = self._lanes[number]
        command = self._read(message)
        if isinstance(command, int):
            self._say(_failure(kind, number, seq, Status.failed(lane.icc, command)))
        elif isinstance(command, Abort):
            self._abort(lane, command)
        elif lane.abort is not None or lane.abort_requested is not None:
            self._say(_failure(kind, number, seq, Status.failed(lane.icc, SlotError.CMD_ABORTED)))
        elif lane.command is not None or self._too_busy():
            self._say(_failure(kind, number, seq, Status.failed(lane.icc, SlotError.CMD_SLOT_BUSY)))
        else:
            self._start(lane, command)

    def control_abort(self, slot: int, seq: int) -> bool:
        """The ABORT request of the control pipe; False where it is to be stalled (no such slot)."""
        if not 0 <= slot < len(self._lanes):
            return False
        lane = self._lanes[slot]
        if lane.abort is not None and lane.abort.seq == seq:
            command, lane.abort = lane.abort, None
            self._aborted(lane, command)
        else:
            lane.abort_requested = seq
        return True

    def clock_frequencies(self) -> bytes:
        """The answer to GET_CLOCK_FREQUENCIES; empty where it is to be stalled."""
        return b"".join(pack("<I", each) for each in self.traits.clocks_khz)

    def data_rates(self) -> bytes:
        """The answer to GET_DATA_RATES; empty where it is to be stalled."""
        return b"".join(pack("<I", each) for each in self.traits.rates_bps)

    def slot_change(self) -> bytes:
        """NotifySlotChange as it is now, for a host that has just begun to listen: cards present count as changed."""
        present = [lane.slot.present for lane in self._lanes]
        return NotifySlotChange(tuple(SlotChange(each, each) for each in present)).encode()

    def reset(self) -> None:
        """A bus reset, or the port was opened anew: every card loses power, nothing under way is answered."""
        for lane in self._lanes:
            lane.forget()
            lane.forget_chains()
            lane.abort = lane.abort_requested = None
            lane.slot.power_off()

    def hardware_failed(self, slot: int, code: int = 1) -> None:
        """The slot's hardware failed (1: overcurrent): the card loses power, the command under way ends with HW_ERROR, the host is told."""
        lane = self._lanes[slot]
        command = lane.command
        lane.slot.power_off()
        lane.forget_chains()
        self.on_interrupt(HardwareError(slot, command.seq if command is not None else 0, code).encode())
        if command is not None:
            self._answer(lane, _failed(command, Status.failed(lane.icc, SlotError.HW_ERROR)))

    # -- inside ----------------------------------------------------------------------------------------------------------------

    def _read(self, message: bytes) -> Command | int:
        """A command, or the bError for what is none of this reader's."""
        if len(message) > self.traits.descriptor.maximum_message:
            return SlotError.BAD_LENGTH
        try:
            command = decode_command(message)
        except UnknownMessageError:
            return SlotError.CMD_NOT_SUPPORTED
        except CcidMessageError as error:
            return error.offset
        if not isinstance(command, Abort) and type(command) not in self._carry_out:
            return SlotError.CMD_NOT_SUPPORTED
        return command

    def _too_busy(self) -> bool:
        return sum(lane.command is not None for lane in self._lanes) >= self.traits.descriptor.busy_slots

    def _start(self, lane: _Lane, command: Command) -> None:
        lane.command = command
        response = self._carry_out[type(command)](lane, command)
        if response is not None:
            self._answer(lane, response)
        elif lane.command is command:
            lane.extension = self.engine.after(self._extension, lambda: self._extend(lane, command))

    def _answer(self, lane: _Lane, response: Response) -> None:
        lane.forget()
        self._say(response)

    def _say(self, response: Response) -> None:
        self.on_message(response.encode())

    def _extend(self, lane: _Lane, command: Command) -> None:
        """The card works on: the host is to wait on."""
        status = Status(lane.icc, CommandState.TIME_EXTENSION, 1)
        self._say(_failed(command, status))
        lane.extension = self.engine.after(self._extension, lambda: self._extend(lane, command))

    def _card_told(self, lane: _Lane) -> Callable[[bool], None]:
        def told(_present: bool) -> None:
            lane.forget_chains()
            changes = tuple(SlotChange(each.slot.present, each is lane) for each in self._lanes)
            self.on_interrupt(NotifySlotChange(changes).encode())

        return told

    # -- abort -----------------------------------------------------------------------------------------------------------------

    def _abort(self, lane: _Lane, command: Abort) -> None:
        if lane.abort_requested == command.seq or not self.traits.control_pipe:
            lane.abort_requested = None
            self._aborted(lane, command)
        else:
            lane.abort = command

    def _aborted(self, lane: _Lane, abort: Abort) -> None:
        if lane.command is not None:
            command = lane.command
            lane.slot.drop()
            self._answer(lane, _failed(command, Status.failed(lane.icc, SlotError.CMD_ABORTED)))
        lane.forget_chains()
        self._say(SlotStatus(abort.slot, abort.seq, Status(lane.icc), self._clock(lane)))

    # -- commands --------------------------------------------------------------------------------------------------------------

    def _power_on(self, lane: _Lane, command: Command) -> Response | None:
        assert isinstance(command, IccPowerOn)
        automatic = bool(self.traits.descriptor.features & Feature.AUTO_VOLTAGE)
        if not command.select and not automatic:
            return _failed(command, Status.failed(lane.icc, SlotError.BAD_FIELD_7))
        lane.forget_chains()
        lane.slot.power_on(command.select, lambda answer: self._data(lane, command, answer))
        return None

    def _power_off(self, lane: _Lane, command: Command) -> Response:
        lane.forget_chains()
        lane.slot.power_off()
        return self._slot_status(lane, command)

    def _slot_status(self, lane: _Lane, command: Command) -> Response:
        return SlotStatus(command.slot, command.seq, Status(lane.icc), self._clock(lane))

    def _clock(self, lane: _Lane) -> ClockState:
        return ClockState.RUNNING if lane.slot.active and lane.slot.clock_runs else ClockState.STOPPED_LOW

    def _xfr_block(self, lane: _Lane, command: Command) -> Response | None:
        assert isinstance(command, XfrBlock)
        if lane.icc is not IccState.ACTIVE:
            return _failed(command, Status.failed(lane.icc, SlotError.ICC_MUTE))
        descriptor = self.traits.descriptor
        data = command.data
        if descriptor.extended:
            return self._chained(lane, command)
        if descriptor.level is not ExchangeLevel.CHARACTER:
            if command.level:
                return _failed(command, Status.failed(lane.icc, SlotError.BAD_FIELD_8))
            if not data:
                return _failed(command, Status.failed(lane.icc, SlotError.BAD_LENGTH))
        lane.slot.transfer(data, command.bwi, command.level, lambda answer: self._data(lane, command, answer))
        return None

    def _chained(self, lane: _Lane, command: XfrBlock) -> Response | None:
        """Extended APDU level (6.1.4): a command comes in several messages, an answer goes in several."""
        try:
            chain = Chain(command.level)
        except ValueError:
            return _failed(command, Status.failed(lane.icc, SlotError.BAD_FIELD_8))
        if chain is Chain.NEXT:
            if not lane.waiting or command.data:
                return _failed(command, Status.failed(lane.icc, SlotError.BAD_FIELD_8))
            return self._piece(lane, command, Chain.CONTINUES, Chain.ENDS)
        begins = chain in (Chain.WHOLE, Chain.BEGINS)
        if begins == lane.in_chain or not command.data or len(lane.gathering) + len(command.data) > LONGEST_CHAIN:
            at = SlotError.BAD_FIELD_8 if begins == lane.in_chain else SlotError.BAD_LENGTH
            lane.forget_chains()
            return _failed(command, Status.failed(lane.icc, at))
        lane.waiting = b""
        lane.gathering += command.data
        if chain in (Chain.BEGINS, Chain.CONTINUES):
            lane.in_chain = True
            return DataBlock(command.slot, command.seq, Status(lane.icc), chain=Chain.NEXT)
        whole = bytes(lane.gathering)
        lane.forget_chains()
        lane.slot.transfer(whole, command.bwi, 0, lambda answer: self._data(lane, command, answer))
        return None

    def _data(self, lane: _Lane, command: Command, answer: SlotAnswer) -> None:
        """A slot's answer to IccPowerOn or XfrBlock."""
        if lane.command is not command:
            return
        longest = self.traits.descriptor.longest_data
        if answer.error is not None:
            response: Response = _failed(command, Status.failed(lane.icc, answer.error))
        elif len(answer.data) <= longest:
            response = DataBlock(command.slot, command.seq, Status(lane.icc), answer.data)
        elif self.traits.descriptor.extended:
            lane.waiting = answer.data
            response = self._piece(lane, command, Chain.BEGINS, Chain.WHOLE)
        else:
            response = _failed(command, Status.failed(lane.icc, SlotError.XFR_OVERRUN))
        self._answer(lane, response)

    def _piece(self, lane: _Lane, command: Command, more: Chain, last: Chain) -> Response:
        longest = self.traits.descriptor.longest_data
        piece, lane.waiting = lane.waiting[:longest], lane.waiting[longest:]
        return DataBlock(command.slot, command.seq, Status(lane.icc), piece, more if lane.waiting else last)

    def _get_parameters(self, lane: _Lane, command: Command) -> Response:
        return Parameters.of(command.slot, command.seq, Status(lane.icc), lane.slot.parameters)

    def _reset_parameters(self, lane: _Lane, command: Command) -> Response:
        lane.slot.reset_parameters()
        return self._get_parameters(lane, command)

    def _set_parameters(self, lane: _Lane, command: Command) -> Response:
        assert isinstance(command, SetParameters)
        descriptor = self.traits.descriptor
        parameters = command.parameters
        if descriptor.features & Feature.AUTO_NEGOTIATION:
            return _failed(command, Status.failed(lane.icc, SlotError.CMD_NOT_SUPPORTED))
        if parameters.protocol not in descriptor.protocols:
            return _failed(command, Status.failed(lane.icc, SlotError.BAD_FIELD_7))
        try:
            lane.slot.set_parameters(parameters)
        except SlotRefusal as refusal:
            return _failed(command, Status.failed(lane.icc, refusal.error))
        return self._get_parameters(lane, command)

    def _escape(self, lane: _Lane, command: Command) -> Response:
        assert isinstance(command, Escape)
        answer = self.traits.escape(lane.number, command.data)
        if answer is None:
            return _failed(command, Status.failed(lane.icc, SlotError.BAD_DATA))
        return EscapeAnswer(command.slot, command.seq, Status(lane.icc), answer)

    def _icc_clock(self, lane: _Lane, command: Command) -> Response:
        assert isinstance(command, IccClock)
        try:
            lane.slot.clock(command.command is ClockCommand.RESTART)
        except SlotRefusal as refusal:
            return _failed(command, Status.failed(lane.icc, refusal.error))
        return self._slot_status(lane, command)

    def _t0_apdu(self, lane: _Lane, command: Command) -> Response:
        assert isinstance(command, T0Apdu)
        descriptor = self.traits.descriptor
        fetch = command.class_get_response if command.changes & 1 else descriptor.class_get_response
        envelope = command.class_envelope if command.changes & 2 else descriptor.class_envelope
        try:
            lane.slot.set_class_bytes(fetch, envelope)
        except SlotRefusal as refusal:
            return _failed(command, Status.failed(lane.icc, refusal.error))
        return self._slot_status(lane, command)

    def _set_rate_and_clock(self, lane: _Lane, command: Command) -> Response:
        assert isinstance(command, SetDataRateAndClock)
        try:
            now = lane.slot.set_rate_and_clock(RateAndClock(command.clock_khz, command.rate_bps))
        except SlotRefusal as refusal:
            return _failed(command, Status.failed(lane.icc, refusal.error))
        return DataRateAndClock(command.slot, command.seq, Status(lane.icc), now.clock_khz, now.rate_bps)


def _kind(value: int) -> MessageType:
    try:
        return MessageType(value)
    except ValueError:
        return MessageType.GET_SLOT_STATUS  # what is no message is answered as that is


def _failed(command: Command, status: Status) -> Response:
    return _failure(ANSWERED_BY[command.type], command.slot, command.seq, status)


def _failure(kind: MessageType, slot: int, seq: int, status: Status) -> Response:
    """A response of the kind that answers the command, without data."""
    match kind:
        case MessageType.DATA_BLOCK:
            return DataBlock(slot, seq, status)
        case MessageType.PARAMETERS:
            return Parameters(slot, seq, status)
        case MessageType.ESCAPE_ANSWER:
            return EscapeAnswer(slot, seq, status)
        case MessageType.DATA_RATE_AND_CLOCK:
            return DataRateAndClock(slot, seq, status)
        case _:
            return SlotStatus(slot, seq, status)


def _nobody(_message: bytes) -> None:
    pass
