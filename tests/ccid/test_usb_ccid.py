"""The CCID function on a USB device: how messages are cut (CCID 1.1, 4.2 and 6), the class requests (5.3), the interrupt pipe (6.3)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.ccid.codes import PowerSelect, SlotError
from bench.ccid.descriptor import INTERFACE_CLASS, ClassDescriptor, decode_descriptor
from bench.ccid.firmware import CcidFirmware, FirmwareTraits
from bench.ccid.messages import Abort, Command, GetSlotStatus, IccPowerOn, Response, XfrBlock, decode_response
from bench.ccid.slot import SlotAnswer
from bench.ccid.usb_ccid import BULK_IN, BULK_OUT, INTERRUPT_IN, ccid_device, joined
from bench.ccid.usb_device import Completion, Outcome, Setup, Transfer, UsbDevice
from bench.engine import Timebase, VirtualEngine
from tests.ccid.test_firmware import ATR, ScriptedSlot


class Host:
    """A configured reader with two scripted slots, and what its host hears."""

    def __init__(self, rates: tuple[int, ...] = (9600, 19_200), interrupt: bool = True) -> None:
        engine = VirtualEngine(Timebase.for_clocks(4_000_000))
        self.slots = [ScriptedSlot(), ScriptedSlot()]
        self.slots[1].present = False
        traits = FirmwareTraits(ClassDescriptor(slots=2, busy_slots=2), (4000,), rates)
        self.firmware = CcidFirmware(engine, self.slots, traits)
        self.device: UsbDevice = ccid_device(self.firmware, interrupt=interrupt)
        self.device.set_configuration(1)

    def out(self, data: bytes, size: int = 1 << 20, closed: bool = True) -> None:
        """Send, in transfers of ``size``; as with libusb, no empty packet is added unless asked for."""
        for at in range(0, len(data), size):
            done: list[Completion] = []
            last = at + size >= len(data)
            self.device.submit(Transfer(BULK_OUT, done.append, data[at : at + size], closed and last))
            assert done[0].outcome is Outcome.DONE

    def fetch(self, endpoint: int = BULK_IN, length: int = 512) -> bytes | None:
        """One transfer; None, and given up, where nothing is there."""
        done: list[Completion] = []
        transfer = Transfer(endpoint, done.append, length=length)
        self.device.submit(transfer)
        if not done:
            self.device.cancel(transfer)
            return None
        return done[0].data

    def ask(self, command: Command) -> Response:
        self.out(command.encode())
        data = self.fetch()
        assert data is not None
        return decode_response(data)

    def control(self, request_type: int, request: int, value: int = 0, length: int = 0, index: int = 0) -> Completion:
        done: list[Completion] = []
        setup = Setup(request_type, request, value, index, length)
        self.device.submit(Transfer(0, done.append, length=length, setup=setup))
        return done[0]


def test_the_interface_is_a_readers() -> None:
    (interface,) = Host().device.chosen
    assert (interface.interface_class, interface.subclass, interface.protocol) == (INTERFACE_CLASS, 0, 0)
    assert [endpoint.address for endpoint in interface.endpoints] == [BULK_OUT, BULK_IN, INTERRUPT_IN]
    assert decode_descriptor(interface.class_specific).slots == 2


def test_a_command_and_its_answer() -> None:
    host = Host()
    answer = host.ask(IccPowerOn(0, 5, PowerSelect.V5))
    assert (answer.seq, answer.status.ok) == (5, True)
    assert answer.encode()[10:] == ATR


@pytest.mark.parametrize("length", [1, 53, 54, 55, 117, 118, 119, 261])
@pytest.mark.parametrize("size", [64, 128, 1 << 20])
@pytest.mark.parametrize("closed", [False, True])
def test_messages_of_every_length_come_through(length: int, size: int, closed: bool) -> None:
    """54 bytes fill a packet with the header: then dwLength ends the message, and an empty packet after it changes nothing."""
    host = Host()
    host.ask(IccPowerOn(0, 0, PowerSelect.V5))
    data = bytes(index & 0xFF for index in range(length))
    for seq in (1, 2):
        host.out(XfrBlock(0, seq, data).encode(), size, closed)
        slot = host.slots[0]
        assert slot.transferred[-1][0] == data
        slot.answer(SlotAnswer(data))
        fetched = host.fetch()
        assert fetched is not None
        assert fetched[10:] == data


@given(st.lists(st.binary(max_size=600), max_size=6))
def test_whatever_is_sent_the_next_command_is_answered(sent: list[bytes]) -> None:
    host = Host()
    for data in sent:
        host.out(data)
        host.device.submit(Transfer(BULK_OUT, lambda _end: None, b""))
    while host.fetch() is not None:
        pass
    assert host.ask(GetSlotStatus(0, 77)).seq == 77


def test_a_message_that_ends_too_soon_is_refused() -> None:
    host = Host()
    host.out(b"\x6f\x05\x00\x00\x00\x00\x09\x00\x00\x00\x01")
    fetched = host.fetch()
    assert fetched is not None
    answer = decode_response(fetched)
    assert (answer.seq, answer.status.ok, answer.status.error) == (9, False, 1)


def test_a_message_that_is_too_long_is_refused_and_forgotten() -> None:
    host = Host()
    host.out(b"\x6f" + (1000).to_bytes(4, "little") + b"\x00\x09\x00\x00\x00" + bytes(1000), 64)
    fetched = host.fetch()
    assert fetched is not None
    assert decode_response(fetched).status.error == SlotError.BAD_LENGTH
    assert host.ask(GetSlotStatus(0, 10)).seq == 10


def test_class_requests() -> None:
    host = Host()
    assert host.control(0xA1, 2, length=4).data == (4000).to_bytes(4, "little")
    assert host.control(0xA1, 3, length=8).data == (9600).to_bytes(4, "little") + (19_200).to_bytes(4, "little")
    assert host.control(0xA1, 4, length=8).outcome is Outcome.STALL
    assert host.control(0xA0, 2, length=4).outcome is Outcome.STALL
    assert Host(rates=()).control(0xA1, 3, length=8).outcome is Outcome.STALL


def test_abort_by_request_and_message() -> None:
    host = Host()
    host.ask(IccPowerOn(0, 1, PowerSelect.V5))
    host.out(XfrBlock(0, 2, b"\x00" * 5).encode())
    assert host.control(0x21, 1, 3 << 8 | 0).outcome is Outcome.DONE
    host.out(Abort(0, 3).encode())
    answers = [decode_response(host.fetch() or b"") for _ in range(2)]
    assert [answer.seq for answer in answers] == [2, 3]
    assert answers[0].status.error == SlotError.CMD_ABORTED
    assert host.control(0x21, 1, 3 << 8 | 9).outcome is Outcome.STALL


def test_a_host_that_begins_to_listen_hears_what_is_there() -> None:
    host = Host()
    assert host.fetch(INTERRUPT_IN, 16) == b"\x50\x03"
    assert host.fetch(INTERRUPT_IN, 16) is None


def test_notices_nobody_fetched_are_joined_and_none_is_lost() -> None:
    host = Host()
    assert host.fetch(INTERRUPT_IN, 16) == b"\x50\x03"
    host.slots[0].present = False
    host.slots[0].on_card(False)
    host.slots[1].present = True
    host.slots[1].on_card(True)
    assert host.fetch(INTERRUPT_IN, 16) == b"\x50\x0e"
    host.slots[0].present = True
    host.slots[0].on_card(True)
    assert host.fetch(INTERRUPT_IN, 16) == b"\x50\x07"


def test_a_hardware_error_is_kept_apart_from_slot_changes() -> None:
    host = Host()
    host.fetch(INTERRUPT_IN, 16)
    host.firmware.hardware_failed(1)
    host.slots[0].on_card(True)
    assert host.fetch(INTERRUPT_IN, 16) == b"\x51\x01\x00\x01"
    assert host.fetch(INTERRUPT_IN, 16) == b"\x50\x03"


@given(st.binary(min_size=1, max_size=4), st.binary(min_size=1, max_size=4))
def test_joined_is_present_as_now_and_changed_as_ever(early: bytes, late: bytes) -> None:
    size = min(len(early), len(late))
    one = joined(b"\x50" + early[:size], b"\x50" + late[:size])
    for before, after, both in zip(early, late, one[1:], strict=False):
        assert both & 0x55 == after & 0x55
        assert both & 0xAA == (before | after) & 0xAA


def test_without_an_interrupt_pipe_nothing_is_noticed() -> None:
    host = Host(interrupt=False)
    assert len(host.device.chosen[0].endpoints) == 2
    host.slots[0].on_card(True)
    assert host.ask(GetSlotStatus(0, 1)).seq == 1


def test_a_reset_takes_power_away_and_forgets_half_a_message() -> None:
    host = Host()
    host.ask(IccPowerOn(0, 1, PowerSelect.V5))
    host.out(XfrBlock(0, 2, bytes(100)).encode()[:64])
    host.device.reset()
    assert not host.slots[0].active
    host.device.set_configuration(1)
    assert host.ask(GetSlotStatus(0, 3)).seq == 3
