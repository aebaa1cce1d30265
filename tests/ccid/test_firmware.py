"""The reader's firmware: whatever a host sends, it is answered as CCID 1.1 says. Slots are scripted; tests/readers/test_tpdu.py has real ones."""

from __future__ import annotations

from collections.abc import Callable
from struct import unpack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.ccid.codes import (
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
from bench.ccid.descriptor import ClassDescriptor, Feature
from bench.ccid.firmware import CcidFirmware, FirmwareTraits
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
    Mechanical,
    NotifySlotChange,
    Parameters,
    ResetParameters,
    Response,
    Secure,
    SetDataRateAndClock,
    SetParameters,
    SlotChange,
    SlotStatus,
    T0Apdu,
    XfrBlock,
    decode_notification,
    decode_response,
)
from bench.ccid.parameters import ProtocolParameters, T0Parameters, T1Parameters
from bench.ccid.slot import Done, RateAndClock, SlotAnswer, SlotRefusal
from bench.engine import Timebase, VirtualEngine

TIMEBASE = Timebase.for_clocks(4_000_000)
ATR = bytes.fromhex("3B00")


class ScriptedSlot:
    """A Slot that says when a test says."""

    def __init__(self) -> None:
        self.on_card: Callable[[bool], None] = lambda _present: None
        self.present = True
        self.active = False
        self.parameters: ProtocolParameters = T0Parameters()
        self.clock_runs = True
        self.transferred: list[tuple[bytes, int, int]] = []
        self.done: Done | None = None
        self.selected: PowerSelect | None = None
        self.classes = (0xFF, 0xFF)
        self.dropped = 0
        self.refuses: SlotRefusal | None = None

    def power_on(self, select: PowerSelect, done: Done) -> None:
        self.selected = select
        if self.present:
            self.active = True
            done(SlotAnswer(ATR))
        else:
            done(SlotAnswer(error=SlotError.ICC_MUTE))

    def power_off(self) -> None:
        self.active = False
        self.done = None

    def transfer(self, data: bytes, bwi: int, level: int, done: Done) -> None:
        self.transferred.append((data, bwi, level))
        self.done = done

    def drop(self) -> None:
        self.dropped += 1
        self.done = None

    def set_parameters(self, parameters: ProtocolParameters) -> None:
        self._may()
        self.parameters = parameters

    def reset_parameters(self) -> None:
        self.parameters = T0Parameters()

    def set_class_bytes(self, get_response: int, envelope: int) -> None:
        self._may()
        self.classes = (get_response, envelope)

    def clock(self, running: bool) -> None:
        self._may()
        self.clock_runs = running

    def set_rate_and_clock(self, wanted: RateAndClock) -> RateAndClock:
        self._may()
        return RateAndClock(4000, wanted.rate_bps)

    def answer(self, answer: SlotAnswer) -> None:
        done, self.done = self.done, None
        assert done is not None, "nothing is under way"
        done(answer)

    def _may(self) -> None:
        if self.refuses is not None:
            raise self.refuses


class Reader:
    """Firmware with scripted slots; ``said`` is bulk IN, ``noticed`` the interrupt pipe."""

    def __init__(self, slots: int = 1, features: Feature = Feature.TPDU, busy: int = 1, maximum: int = 271) -> None:
        self.engine = VirtualEngine(TIMEBASE)
        self.slots = [ScriptedSlot() for _ in range(slots)]
        descriptor = ClassDescriptor(slots=slots, features=features, busy_slots=busy, maximum_message=maximum)
        traits = FirmwareTraits(
            descriptor,
            (4000, 4800),
            (9600, 115_200),
            escape=lambda slot, data: bytes((slot,)) if data == b"?" else None,
        )
        self.firmware = CcidFirmware(self.engine, self.slots, traits)
        self.said: list[Response] = []
        self.noticed: list[NotifySlotChange | HardwareError] = []
        self.firmware.on_message = lambda message: self.said.append(decode_response(message))
        self.firmware.on_interrupt = lambda message: self.noticed.append(decode_notification(message))

    def send(self, command: Command) -> None:
        self.firmware.receive(command.encode())

    def ask(self, command: Command) -> Response:
        """A command that is answered at once."""
        before = len(self.said)
        self.send(command)
        assert len(self.said) == before + 1
        return self.last(command)

    def last(self, command: Command) -> Response:
        answer = self.said[-1]
        assert (answer.slot, answer.seq, answer.type) == (command.slot, command.seq, ANSWERED_BY[command.type])
        return answer

    def up(self, slot: int = 0) -> ScriptedSlot:
        self.ask(IccPowerOn(slot, 0, PowerSelect.V5))
        return self.slots[slot]

    def run(self, milliseconds: int) -> None:
        self.engine.run(self.engine.now + TIMEBASE.nanoseconds(milliseconds * 10**6))


# -- each command --------------------------------------------------------------------------------------------------------


def test_power_and_status() -> None:
    reader = Reader()
    status = reader.ask(GetSlotStatus(0, 7))
    assert (status.status.icc, status.status.ok) == (IccState.INACTIVE, True)
    up = reader.ask(IccPowerOn(0, 8, PowerSelect.V3))
    assert isinstance(up, DataBlock)
    assert (up.data, up.status.icc) == (ATR, IccState.ACTIVE)
    assert reader.slots[0].selected is PowerSelect.V3
    status = reader.ask(GetSlotStatus(0, 9))
    assert isinstance(status, SlotStatus)
    assert (status.status.icc, status.clock) == (IccState.ACTIVE, ClockState.RUNNING)
    off = reader.ask(IccPowerOff(0, 10))
    assert off.status.icc is IccState.INACTIVE


def test_an_empty_slot_answers_status_without_error_and_refuses_power() -> None:
    reader = Reader()
    reader.slots[0].present = False
    status = reader.ask(GetSlotStatus(0, 1)).status
    assert (status.icc, status.ok) == (IccState.ABSENT, True)
    up = reader.ask(IccPowerOn(0, 2, PowerSelect.V5)).status
    assert (up.icc, up.error, up.ok) == (IccState.ABSENT, SlotError.ICC_MUTE, False)
    assert reader.ask(XfrBlock(0, 3, b"\x00")).status.error == SlotError.ICC_MUTE


def test_automatic_voltage_only_where_the_descriptor_says_so() -> None:
    assert Reader().ask(IccPowerOn(0, 1)).status.error == SlotError.BAD_FIELD_7
    reader = Reader(features=Feature.TPDU | Feature.AUTO_VOLTAGE)
    assert reader.ask(IccPowerOn(0, 1)).status.ok
    assert reader.slots[0].selected is PowerSelect.AUTO


def test_a_transfer() -> None:
    reader = Reader()
    slot = reader.up()
    command = XfrBlock(0, 5, b"\x00\xb0\x00\x00\x02", bwi=3)
    reader.send(command)
    assert slot.transferred == [(command.data, 3, 0)]
    assert len(reader.said) == 1, "only the power-up so far"
    slot.answer(SlotAnswer(b"ab\x90\x00"))
    answer = reader.last(command)
    assert isinstance(answer, DataBlock)
    assert (answer.data, answer.chain) == (b"ab\x90\x00", Chain.WHOLE)


@pytest.mark.parametrize("error", [SlotError.ICC_MUTE, SlotError.XFR_PARITY_ERROR, SlotError.PROCEDURE_BYTE_CONFLICT])
def test_a_slots_error_is_the_hosts(error: SlotError) -> None:
    reader = Reader()
    slot = reader.up()
    reader.send(XfrBlock(0, 5, b"\x00"))
    slot.answer(SlotAnswer(error=error))
    assert reader.said[-1].status.error == error
    assert reader.said[-1].status.icc is IccState.ACTIVE


def test_an_answer_longer_than_a_message_is_an_overrun() -> None:
    reader = Reader()
    slot = reader.up()
    reader.send(XfrBlock(0, 5, b"\x00"))
    slot.answer(SlotAnswer(bytes(262)))
    assert reader.said[-1].status.error == SlotError.XFR_OVERRUN


def test_parameters_come_and_go() -> None:
    reader = Reader()
    reader.up()
    wanted = T1Parameters(0x96, crc=True, ifsc=254)
    answer = reader.ask(SetParameters.of(0, 1, wanted))
    assert isinstance(answer, Parameters)
    assert answer.parameters == wanted
    answer = reader.ask(GetParameters(0, 2))
    assert isinstance(answer, Parameters)
    assert answer.parameters == wanted
    answer = reader.ask(ResetParameters(0, 3))
    assert isinstance(answer, Parameters)
    assert answer.parameters == T0Parameters()
    reader.slots[0].refuses = SlotRefusal(10, "too fast")
    assert reader.ask(SetParameters.of(0, 4, wanted)).status.error == 10


def test_a_reader_that_negotiates_by_itself_takes_no_parameters() -> None:
    reader = Reader(features=Feature.TPDU | Feature.AUTO_NEGOTIATION)
    assert reader.ask(SetParameters.of(0, 1, T0Parameters())).status.error == SlotError.CMD_NOT_SUPPORTED


def test_escape_clock_classes_and_rates() -> None:
    reader = Reader()
    reader.up()
    escaped = reader.ask(Escape(0, 1, b"?"))
    assert isinstance(escaped, EscapeAnswer)
    assert escaped.data == b"\x00"
    assert reader.ask(Escape(0, 2, b"!")).status.error == SlotError.BAD_DATA
    stopped = reader.ask(IccClock(0, 3, ClockCommand.STOP))
    assert isinstance(stopped, SlotStatus)
    assert stopped.clock is ClockState.STOPPED_LOW
    reader.ask(T0Apdu(0, 4, 1, 0x0C, 0x55))
    assert reader.slots[0].classes == (0x0C, 0xFF), "only what bmChanges names"
    set_rate = reader.ask(SetDataRateAndClock(0, 5, 4100, 115_200))
    assert isinstance(set_rate, DataRateAndClock)
    assert (set_rate.clock_khz, set_rate.rate_bps) == (4000, 115_200)
    reader.slots[0].refuses = SlotRefusal(SlotError.CMD_NOT_SUPPORTED, "no")
    for command in (IccClock(0, 6), T0Apdu(0, 7), SetDataRateAndClock(0, 8, 1, 1)):
        assert reader.ask(command).status.error == SlotError.CMD_NOT_SUPPORTED


def test_what_no_reader_of_ours_has_is_refused() -> None:
    reader = Reader()
    for command in (Secure(0, 1, b"\x00"), Mechanical(0, 2, Mechanics.EJECT)):
        answer = reader.ask(command)
        assert (answer.status.ok, answer.status.error) == (False, SlotError.CMD_NOT_SUPPORTED)


def test_the_control_requests() -> None:
    firmware = Reader().firmware
    assert unpack("<II", firmware.clock_frequencies()) == (4000, 4800)
    assert unpack("<II", firmware.data_rates()) == (9600, 115_200)
    assert firmware.control_abort(0, 5)
    assert not firmware.control_abort(1, 5)


# -- what is no command --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "kind", "error"),
    [
        ("99 00000000 00 07 000000", MessageType.SLOT_STATUS, SlotError.CMD_NOT_SUPPORTED),
        ("6F 05000000 00 07 000000 00", MessageType.DATA_BLOCK, SlotError.BAD_LENGTH),
        ("65 00000000 01 07 000000", MessageType.SLOT_STATUS, SlotError.BAD_SLOT),
        ("62 00000000 00 07 090000", MessageType.DATA_BLOCK, SlotError.BAD_FIELD_7),
        ("61 05000000 00 07 000000 1100000000", MessageType.PARAMETERS, 13),
        ("6F 00000000 00 07 000000", MessageType.DATA_BLOCK, SlotError.ICC_MUTE),
        ("73 00000000 00 07 000000", MessageType.DATA_RATE_AND_CLOCK, SlotError.BAD_LENGTH),
        ("6B 00000000 00 07 010000", MessageType.ESCAPE_ANSWER, 7),
    ],
)
def test_what_is_none_is_answered_with_the_field_at_fault(message: str, kind: MessageType, error: int) -> None:
    reader = Reader()
    reader.firmware.receive(bytes.fromhex(message))
    (answer,) = reader.said
    assert (answer.type, answer.seq, answer.status.ok, answer.status.error) == (kind, 7, False, error)


def test_a_message_longer_than_the_descriptor_allows_is_refused() -> None:
    reader = Reader()
    slot = reader.up()
    assert reader.ask(XfrBlock(0, 1, bytes(262))).status.error == SlotError.BAD_LENGTH
    assert not slot.transferred
    assert reader.ask(XfrBlock(0, 2, b"")).status.error == SlotError.BAD_LENGTH
    assert reader.ask(XfrBlock(0, 3, b"\x00", level=1)).status.error == SlotError.BAD_FIELD_8


@settings(max_examples=300)
@given(st.lists(st.binary(max_size=24), max_size=12))
def test_any_bytes_are_answered_once_each(messages: list[bytes]) -> None:
    reader = Reader(slots=2)
    for message in messages:
        before = len(reader.said)
        reader.firmware.receive(message)
        reader.run(1)
        waits = any(slot.done is not None for slot in reader.slots) or message[:1] == bytes((MessageType.ABORT,))
        assert len(reader.said) == before + 1 or waits


# -- busy slots, time, abort -----------------------------------------------------------------------------------------------


def test_one_command_at_a_time_in_a_slot() -> None:
    reader = Reader()
    slot = reader.up()
    reader.send(XfrBlock(0, 1, b"\x00"))
    for command in (GetSlotStatus(0, 2), XfrBlock(0, 3, b"\x00"), IccPowerOff(0, 4)):
        assert reader.ask(command).status.error == SlotError.CMD_SLOT_BUSY
    slot.answer(SlotAnswer(b"\x90\x00"))
    assert reader.said[-1].status.ok
    assert reader.ask(GetSlotStatus(0, 5)).status.ok


@pytest.mark.parametrize("busy", [1, 2])
def test_as_many_busy_slots_as_the_descriptor_says(busy: int) -> None:
    reader = Reader(slots=3, busy=busy)
    for slot in range(3):
        reader.up(slot)
    for slot in range(busy):
        reader.send(XfrBlock(slot, slot, b"\x00"))
    assert reader.ask(XfrBlock(2, 9, b"\x00")).status.error == SlotError.CMD_SLOT_BUSY
    for slot in reversed(range(busy)):
        reader.slots[slot].answer(SlotAnswer(bytes((slot,))))
        assert (reader.said[-1].slot, reader.said[-1].seq) == (slot, slot)
    reader.send(XfrBlock(2, 10, b"\x00"))
    assert reader.slots[2].done is not None


def test_a_working_card_keeps_the_host_waiting() -> None:
    reader = Reader()
    slot = reader.up()
    command = XfrBlock(0, 1, b"\x00")
    reader.send(command)
    before = len(reader.said)
    reader.run(1600)
    extensions = reader.said[before:]
    assert [each.status.command for each in extensions] == [CommandState.TIME_EXTENSION] * 3
    assert {(each.seq, each.status.error) for each in extensions} == {(1, 1)}
    slot.answer(SlotAnswer(b"\x90\x00"))
    count = len(reader.said)
    reader.run(5000)
    assert len(reader.said) == count, "nothing more once it is answered"


@pytest.mark.parametrize("control_first", [True, False])
def test_abort_needs_both_pipes_in_either_order(control_first: bool) -> None:
    reader = Reader()
    slot = reader.up()
    under_way = XfrBlock(0, 1, b"\x00")
    reader.send(under_way)
    before = len(reader.said)
    if control_first:
        assert reader.firmware.control_abort(0, 2)
        assert len(reader.said) == before
        reader.send(Abort(0, 2))
    else:
        reader.send(Abort(0, 2))
        assert len(reader.said) == before
        assert reader.firmware.control_abort(0, 2)
    aborted, answer = reader.said[before:]
    assert (aborted.seq, aborted.status.error) == (1, SlotError.CMD_ABORTED)
    assert isinstance(answer, SlotStatus)
    assert (answer.seq, answer.status.ok) == (2, True)
    assert slot.dropped == 1
    reader.send(XfrBlock(0, 3, b"\x01"))
    slot.answer(SlotAnswer(b"\x90\x00"))
    assert reader.said[-1].status.ok


def test_between_the_two_halves_of_an_abort_everything_fails_with_it() -> None:
    reader = Reader()
    reader.up()
    reader.firmware.control_abort(0, 9)
    assert reader.ask(GetSlotStatus(0, 3)).status.error == SlotError.CMD_ABORTED
    before = len(reader.said)
    reader.send(Abort(0, 8))
    assert len(reader.said) == before, "another number: it waits for its own request"
    reader.firmware.control_abort(0, 8)
    assert reader.said[-1].seq == 8


# -- extended APDUs --------------------------------------------------------------------------------------------------------


def test_an_extended_apdu_in_several_messages_each_way() -> None:
    reader = Reader(features=Feature.EXTENDED_APDU | Feature.AUTO_VOLTAGE, maximum=110)
    slot = reader.up()
    apdu = bytes(range(250))
    for seq, (piece, level) in enumerate(
        [(apdu[:100], Chain.BEGINS), (apdu[100:200], Chain.CONTINUES), (apdu[200:], Chain.ENDS)]
    ):
        command = XfrBlock(0, seq, piece, level=level)
        if level is Chain.ENDS:
            reader.send(command)
            break
        answer = reader.ask(command)
        assert isinstance(answer, DataBlock)
        assert (answer.data, answer.chain) == (b"", Chain.NEXT)
    assert slot.transferred == [(apdu, 0, 0)]
    slot.answer(SlotAnswer(bytes(range(250))))
    got = b""
    for seq, chain in ((2, Chain.BEGINS), (3, Chain.CONTINUES), (4, Chain.ENDS)):
        answer = reader.said[-1] if seq == 2 else reader.ask(XfrBlock(0, seq, level=Chain.NEXT))
        assert isinstance(answer, DataBlock)
        assert (answer.seq, answer.chain) == (seq, chain)
        got += answer.data
    assert got == bytes(range(250))
    assert reader.ask(XfrBlock(0, 5, level=Chain.NEXT)).status.error == SlotError.BAD_FIELD_8, "nothing is left"


@pytest.mark.parametrize("level", [Chain.CONTINUES, Chain.ENDS, 0x0100, 4])
def test_a_chain_that_never_began_is_refused(level: int) -> None:
    reader = Reader(features=Feature.EXTENDED_APDU)
    slot = reader.up()
    assert reader.ask(XfrBlock(0, 1, b"\x00", level=level)).status.error == SlotError.BAD_FIELD_8
    assert not slot.transferred


def test_a_chain_longer_than_any_apdu_is_refused() -> None:
    reader = Reader(features=Feature.EXTENDED_APDU, maximum=65_554)
    reader.up()
    assert reader.ask(XfrBlock(0, 1, bytes(40_000), level=Chain.BEGINS)).status.ok
    assert reader.ask(XfrBlock(0, 2, bytes(40_000), level=Chain.CONTINUES)).status.error == SlotError.BAD_LENGTH


# -- the interrupt pipe ----------------------------------------------------------------------------------------------------


def test_movements_are_told_with_the_slot_they_are_of() -> None:
    reader = Reader(slots=5)
    for slot in reader.slots[1:]:
        slot.present = False
    moved = reader.slots[4]
    moved.present = True
    moved.on_card(True)
    (told,) = reader.noticed
    assert isinstance(told, NotifySlotChange)
    assert told.slots[:5] == (
        SlotChange(True, False),
        SlotChange(False, False),
        SlotChange(False, False),
        SlotChange(False, False),
        SlotChange(True, True),
    )
    first = decode_notification(reader.firmware.slot_change())
    assert isinstance(first, NotifySlotChange)
    assert [slot.changed for slot in first.slots[:5]] == [True, False, False, False, True]


def test_failed_hardware() -> None:
    reader = Reader()
    slot = reader.up()
    reader.send(XfrBlock(0, 6, b"\x00"))
    reader.firmware.hardware_failed(0)
    assert reader.noticed == [HardwareError(0, 6, 1)]
    assert (reader.said[-1].seq, reader.said[-1].status.error) == (6, SlotError.HW_ERROR)
    assert not slot.active


def test_a_reset_leaves_nothing_under_way() -> None:
    reader = Reader()
    slot = reader.up()
    reader.send(XfrBlock(0, 1, b"\x00"))
    reader.firmware.control_abort(0, 9)
    count = len(reader.said)
    reader.firmware.reset()
    reader.run(3000)
    assert len(reader.said) == count
    assert not slot.active
    assert not reader.firmware.busy
    assert reader.ask(GetSlotStatus(0, 2)).status.icc is IccState.INACTIVE
