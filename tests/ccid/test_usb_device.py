"""The device machine against USB 2.0, chapters 5, 8 and 9: descriptors, requests, packets, NAK, stall, and what becomes of what is pending."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.ccid.usb_descriptors import (
    IN,
    DescriptorType,
    DeviceIdentity,
    EndpointDescriptor,
    InterfaceDescriptor,
    TransferType,
    encode_string,
)
from bench.ccid.usb_device import MAX_PENDING, Completion, FunctionPort, Outcome, Request, Setup, Transfer, UsbDevice

OUT_1, IN_2, INT_3 = 0x01, 0x82, 0x83
IDENTITY = DeviceIdentity(0x1209, 0x0001, "maker", "thing", "42", release=0x0123)


class Plain:
    """A function with the pipes a reader has, and a second setting of its interface that has one pipe less."""

    def __init__(self, number: int = 0, address: int = 0) -> None:
        bulk = (
            EndpointDescriptor(OUT_1 + address, TransferType.BULK, 64),
            EndpointDescriptor(IN_2 + address, TransferType.BULK, 64),
        )
        interrupt = EndpointDescriptor(INT_3 + address, TransferType.INTERRUPT, 8, 10)
        self.interfaces: Sequence[InterfaceDescriptor] = (
            InterfaceDescriptor(number, 0xFF, 1, 2, (*bulk, interrupt), b"\x03\x24\x07", "plain"),
            InterfaceDescriptor(number, 0xFF, 1, 2, bulk, alternate=1),
        )
        self.heard: list[tuple[int, bytes]] = []
        self.told: list[object] = []
        self.emptied: list[int] = []
        self.port: FunctionPort | None = None

    def attach(self, port: FunctionPort) -> None:
        self.port = port

    def configured(self, on: bool) -> None:
        self.told.append(on)

    def alternate(self, interface: int, setting: int) -> None:
        self.told.append((interface, setting))

    def control_in(self, setup: Setup) -> bytes | None:
        return b"a long answer" if setup.request == 1 else None

    def control_out(self, setup: Setup, data: bytes) -> bool:
        self.told.append(data)
        return setup.request == 1

    def received(self, endpoint: int, data: bytes) -> None:
        self.heard.append((endpoint, data))

    def fetched(self, endpoint: int) -> None:
        self.emptied.append(endpoint)

    def send(self, endpoint: int, data: bytes) -> None:
        assert self.port is not None
        self.port.send(endpoint, data)


class Bus:
    """A host's end, with everything that ended on it."""

    def __init__(self, *functions: Plain) -> None:
        self.device = UsbDevice(IDENTITY, functions or (Plain(),))
        self.ends: list[Completion] = []

    def submit(self, endpoint: int, data: bytes = b"", length: int = 0, closed: bool = False) -> Transfer:
        transfer = Transfer(endpoint, self.ends.append, data, closed, length)
        self.device.submit(transfer)
        return transfer

    def control(
        self, request_type: int, request: int, value: int = 0, index: int = 0, length: int = 0, data: bytes = b""
    ) -> Completion:
        ends: list[Completion] = []
        setup = Setup(request_type, request, value, index, length or len(data))
        self.device.submit(Transfer(0, ends.append, data, length=length, setup=setup))
        (end,) = ends
        return end


@pytest.fixture
def function() -> Plain:
    return Plain()


@pytest.fixture
def bus(function: Plain) -> Bus:
    bus = Bus(function)
    assert bus.device.set_configuration(1)
    return bus


# -- descriptors (9.6) ---------------------------------------------------------------------------------------------------


def test_device_descriptor(bus: Bus) -> None:
    data = bus.control(IN, Request.GET_DESCRIPTOR, DescriptorType.DEVICE << 8, 0, 64).data
    assert data == bytes.fromhex("12 01 0002 00 00 00 40 0912 0100 2301 01 02 03 01")


def test_configuration_descriptor_holds_everything_in_order(bus: Bus) -> None:
    data = bus.control(IN, Request.GET_DESCRIPTOR, DescriptorType.CONFIGURATION << 8, 0, 255).data
    assert data == bytes.fromhex(
        "09 02 4100 01 01 00 80 32"
        "09 04 00 00 03 FF 01 02 04  03 24 07  07 05 01 02 4000 00  07 05 82 02 4000 00  07 05 83 03 0800 0A"
        "09 04 00 01 02 FF 01 02 00  07 05 01 02 4000 00  07 05 82 02 4000 00"
    )


def test_a_host_that_asks_for_less_gets_less(bus: Bus) -> None:
    assert bus.control(IN, Request.GET_DESCRIPTOR, DescriptorType.CONFIGURATION << 8, 0, 9).data.hex() == (
        "090241000101008032"
    )


@pytest.mark.parametrize(("index", "text"), [(1, "maker"), (2, "thing"), (3, "42"), (4, "plain")])
def test_strings(bus: Bus, index: int, text: str) -> None:
    data = bus.control(IN, Request.GET_DESCRIPTOR, DescriptorType.STRING << 8 | index, 0x0409, 255).data
    assert data == encode_string(text)
    assert data[2:].decode("utf-16-le") == text


def test_languages(bus: Bus) -> None:
    assert bus.control(IN, Request.GET_DESCRIPTOR, DescriptorType.STRING << 8, 0, 255).data.hex() == "04030904"


@pytest.mark.parametrize("value", [0x0305, 0x0201, 0x0600, 0x0F00, 0x0101])
def test_what_is_not_there_is_stalled(bus: Bus, value: int) -> None:
    assert bus.control(IN, Request.GET_DESCRIPTOR, value, 0x0409, 255).outcome is Outcome.STALL


def test_a_string_too_long_for_a_descriptor() -> None:
    with pytest.raises(ValueError, match="126"):
        encode_string("x" * 127)


# -- standard requests (9.4) -----------------------------------------------------------------------------------------------


def test_configuration_there_and_back(function: Plain) -> None:
    bus = Bus(function)
    assert bus.control(IN, Request.GET_CONFIGURATION, length=1).data == b"\x00"
    assert bus.control(0, Request.SET_CONFIGURATION, 1).outcome is Outcome.DONE
    assert bus.control(IN, Request.GET_CONFIGURATION, length=1).data == b"\x01"
    assert bus.control(0, Request.SET_CONFIGURATION, 2).outcome is Outcome.STALL
    assert bus.control(0, Request.SET_CONFIGURATION, 0).outcome is Outcome.DONE
    assert function.told == [True, False]


def test_alternate_settings(bus: Bus, function: Plain) -> None:
    assert bus.control(0x81, Request.GET_INTERFACE, index=0, length=1).data == b"\x00"
    assert bus.control(0x01, Request.SET_INTERFACE, 1, 0).outcome is Outcome.DONE
    assert bus.control(0x81, Request.GET_INTERFACE, index=0, length=1).data == b"\x01"
    bus.submit(INT_3, length=8)
    assert bus.ends[-1].outcome is Outcome.REFUSED
    assert bus.control(0x01, Request.SET_INTERFACE, 2, 0).outcome is Outcome.STALL
    assert bus.control(0x81, Request.GET_INTERFACE, index=1, length=1).outcome is Outcome.STALL
    assert function.told[-1] == (0, 1)


def test_halt_is_set_seen_and_cleared(bus: Bus, function: Plain) -> None:
    assert bus.control(0x82, Request.GET_STATUS, index=IN_2, length=2).data == b"\x00\x00"
    assert bus.control(0x02, Request.SET_FEATURE, 0, IN_2).outcome is Outcome.DONE
    assert bus.control(0x82, Request.GET_STATUS, index=IN_2, length=2).data == b"\x01\x00"
    bus.submit(IN_2, length=64)
    assert bus.ends[-1].outcome is Outcome.STALL
    assert bus.control(0x02, Request.CLEAR_FEATURE, 0, IN_2).outcome is Outcome.DONE
    function.send(IN_2, b"again")
    bus.submit(IN_2, length=64)
    assert bus.ends[-1].data == b"again"


def test_a_function_that_halts_ends_what_is_pending(bus: Bus, function: Plain) -> None:
    bus.submit(IN_2, length=64)
    assert function.port is not None
    function.port.halt(IN_2)
    assert bus.ends[-1].outcome is Outcome.STALL


@pytest.mark.parametrize(
    ("request_type", "request_", "index"),
    [(0x80, Request.GET_STATUS, 0), (0x81, Request.GET_STATUS, 0), (0x82, Request.GET_STATUS, 0x80)],
)
def test_status_of_device_interface_and_endpoint_0(bus: Bus, request_type: int, request_: int, index: int) -> None:
    assert bus.control(request_type, request_, index=index, length=2).data == b"\x00\x00"


@pytest.mark.parametrize(
    ("request_type", "request_", "value", "index"),
    [
        (0x82, Request.GET_STATUS, 0, 0x05),
        (0x81, Request.GET_STATUS, 0, 9),
        (0x02, Request.SET_FEATURE, 0, 0x05),
        (0x00, Request.SET_FEATURE, 1, 0),
        (0x00, 0x30, 0, 0),
        (0x00, Request.SET_DESCRIPTOR, 0x0100, 0),
        (0x43, 1, 0, 0),
    ],
)
def test_requests_nobody_knows_are_stalled(bus: Bus, request_type: int, request_: int, value: int, index: int) -> None:
    assert bus.control(request_type, request_, value, index, 2).outcome is Outcome.STALL


def test_class_requests_go_to_whose_interface_it_is() -> None:
    first, second = Plain(0), Plain(1, 3)
    bus = Bus(first, second)
    assert bus.control(0x21, 1, 0, 1, data=b"early").outcome is Outcome.STALL
    bus.device.set_configuration(1)
    assert bus.control(0x21, 1, 0, 1, data=b"abc") == Completion(Outcome.DONE, b"", 3)
    assert second.told[-1] == b"abc"
    assert b"abc" not in first.told
    assert bus.control(0xA1, 1, 0, 0, 6).data == b"a long"
    assert bus.control(0xA1, 2, 0, 0, 6).outcome is Outcome.STALL
    assert bus.control(0xA1, 1, 0, 7, 6).outcome is Outcome.STALL
    assert bus.control(0xA2, 1, 0, IN_2 + 3, 6).data == b"a long"


def test_two_functions_cannot_share() -> None:
    with pytest.raises(ValueError, match="interface 0"):
        UsbDevice(IDENTITY, [Plain(), Plain()])
    with pytest.raises(ValueError, match="endpoint 01"):
        UsbDevice(IDENTITY, [Plain(), Plain(1)])


# -- data (5.8) --------------------------------------------------------------------------------------------------------------


def test_what_is_not_there_yet_is_waited_for(bus: Bus, function: Plain) -> None:
    bus.submit(IN_2, length=100)
    assert not bus.ends
    function.send(IN_2, b"now")
    assert bus.ends == [Completion(Outcome.DONE, b"now", 3)]


@pytest.mark.parametrize("length", [0, 1, 63, 64, 65, 128, 129])
def test_a_short_or_empty_packet_ends_a_transfer(bus: Bus, function: Plain, length: int) -> None:
    function.send(IN_2, bytes(length))
    function.send(IN_2, b"next")
    bus.submit(IN_2, length=512)
    bus.submit(IN_2, length=512)
    assert [end.actual for end in bus.ends] == [length, 4]


def test_a_function_is_told_when_everything_is_fetched(bus: Bus, function: Plain) -> None:
    function.send(IN_2, bytes(64))
    bus.submit(IN_2, length=64)
    assert function.emptied == [], "the empty packet that ends it is still there"
    bus.submit(IN_2, length=64)
    assert function.emptied == [IN_2]


def test_a_transfer_that_is_just_full_leaves_the_empty_packet_behind(bus: Bus, function: Plain) -> None:
    function.send(IN_2, bytes(64))
    bus.submit(IN_2, length=64)
    bus.submit(IN_2, length=64)
    assert [end.actual for end in bus.ends] == [64, 0]


@given(st.lists(st.binary(max_size=200), max_size=6), st.lists(st.sampled_from([64, 128, 512]), min_size=1, max_size=5))
def test_nothing_is_lost_or_reordered(messages: list[bytes], lengths: list[int]) -> None:
    function = Plain()
    bus = Bus(function)
    bus.device.set_configuration(1)
    for message in messages:
        function.send(IN_2, message)
    for at in range(5 * len(messages)):
        bus.submit(IN_2, length=lengths[at % len(lengths)])
    assert b"".join(end.data for end in bus.ends) == b"".join(messages)
    assert all(end.outcome is Outcome.DONE for end in bus.ends)


def test_the_function_gets_what_the_host_sends_and_the_end_of_it(bus: Bus, function: Plain) -> None:
    bus.submit(OUT_1, b"abc")
    bus.submit(OUT_1, bytes(64), closed=True)
    bus.submit(OUT_1, b"abc", closed=True)
    assert function.heard == [(OUT_1, b"abc"), (OUT_1, bytes(64)), (OUT_1, b""), (OUT_1, b"abc")]
    assert [end.actual for end in bus.ends] == [3, 64, 3]


def test_a_function_that_takes_nothing_now_makes_the_host_wait(bus: Bus, function: Plain) -> None:
    assert function.port is not None
    function.port.hold(OUT_1, True)
    bus.submit(OUT_1, b"one")
    bus.submit(OUT_1, b"two")
    assert not bus.ends
    function.port.hold(OUT_1, False)
    assert function.heard == [(OUT_1, b"one"), (OUT_1, b"two")]


# -- ends ----------------------------------------------------------------------------------------------------------------------


def test_a_transfer_is_cancelled_once(bus: Bus, function: Plain) -> None:
    transfer = bus.submit(IN_2, length=128)
    assert bus.device.cancel(transfer)
    assert not bus.device.cancel(transfer)
    assert bus.ends == [Completion(Outcome.CANCELLED)]
    function.send(IN_2, b"kept")
    bus.submit(IN_2, length=128)
    assert bus.ends[-1].data == b"kept"


def test_a_reset_ends_everything(bus: Bus, function: Plain) -> None:
    bus.submit(IN_2, length=128)
    bus.submit(INT_3, length=8)
    bus.device.reset()
    assert [end.outcome for end in bus.ends] == [Outcome.CANCELLED] * 2
    assert function.told == [True, False]
    function.send(IN_2, b"to nobody")
    bus.device.set_configuration(1)
    bus.submit(IN_2, length=128)
    assert len(bus.ends) == 2


def test_endpoints_are_there_when_configured() -> None:
    bus = Bus()
    bus.submit(IN_2, length=64)
    assert bus.ends == [Completion(Outcome.REFUSED)]


def test_a_host_cannot_pile_up_transfers_without_end(bus: Bus) -> None:
    for _ in range(MAX_PENDING + 1):
        bus.submit(IN_2, length=64)
    assert [end.outcome for end in bus.ends] == [Outcome.REFUSED]


def test_setup_packets_are_eight_bytes() -> None:
    setup = Setup(0x21, 1, 0x0203, 4, 5)
    assert setup.encode().hex() == "2101030204000500"
    assert Setup.decode(setup.encode()) == setup
    with pytest.raises(ValueError, match="7 bytes"):
        Setup.decode(bytes(7))
