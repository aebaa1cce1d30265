"""CDC-EEM: its packets by the tables of chapter 5, and the function on the USB machine as a host finds it."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.ccid.eem import (
    FRAME_MAX,
    SENTINEL,
    EemCommand,
    EemDecoder,
    EemFrame,
    EemOrder,
    encode_command,
    encode_echo,
    encode_frame,
)
from bench.ccid.usb_cdc_eem import BULK_IN, BULK_OUT, BUNDLE, QUEUE, EemFunction, eem_device
from bench.ccid.usb_descriptors import BULK_PACKET, DeviceIdentity, Speed
from bench.ccid.usb_device import Completion, Outcome, Transfer, UsbDevice

FRAME = bytes(range(60))
LINUX_ASKS = 1524
"""What cdc_eem of Linux 6.1 asks for in one transfer: 1500 + 14 + 4 (VLAN) + 2 + 4."""

frames = st.binary(min_size=14, max_size=200)


class Host:
    """The host's side: asks as Linux does, takes packets apart with the same codec the other way around."""

    def __init__(self, speed: Speed = Speed.FULL, *, calculated: bool = False) -> None:
        self.function = EemFunction(speed=speed, calculated=calculated)
        identity = DeviceIdentity(1, 2, speed=speed)
        self.device: UsbDevice = eem_device(self.function, identity)
        self.decoder = EemDecoder(BULK_PACKET[speed])
        self.transfers: list[bytes] = []
        self.heard: list[EemFrame | EemOrder] = []
        self.device.set_configuration(1)

    def fetch(self) -> None:
        """Ask until nothing comes."""
        while True:
            ends: list[Completion] = []
            transfer = Transfer(BULK_IN, ends.append, length=LINUX_ASKS)
            self.device.submit(transfer)
            if not ends:
                self.device.cancel(transfer)
                return
            assert ends[0].outcome is Outcome.DONE
            self.transfers.append(ends[0].data)
            self.heard += self.decoder.feed(ends[0].data)

    def send(self, data: bytes) -> None:
        self.device.submit(Transfer(BULK_OUT, lambda _end: None, data=data))


# -- packets -----------------------------------------------------------------------------------------------------------------


def test_a_frame_with_its_check_sequence() -> None:
    assert encode_frame(FRAME) == bytes.fromhex("40 40") + FRAME + zlib.crc32(FRAME).to_bytes(4, "little")


def test_a_frame_with_the_sentinel() -> None:
    assert encode_frame(FRAME, calculated=False) == bytes.fromhex("40 00") + FRAME + bytes.fromhex("DE AD BE EF")


@pytest.mark.parametrize(
    ("packet", "parts"),
    [
        (encode_echo(b"abc"), "03 80 61 62 63"),
        (encode_echo(b"abc", response=True), "03 88 61 62 63"),
        (encode_command(EemCommand.SUSPEND_HINT), "00 90"),
        (encode_command(EemCommand.RESPONSE_HINT, 300), "2C 99"),
        (encode_command(EemCommand.RESPONSE_COMPLETE_HINT, 1), "01 A0"),
        (encode_command(EemCommand.TICKLE), "00 A8"),
    ],
)
def test_commands(packet: bytes, parts: str) -> None:
    assert packet == bytes.fromhex(parts)
    [order] = EemDecoder(64).feed(packet)
    assert isinstance(order, EemOrder)
    assert order.command == packet[1] >> 3 & 7


def test_padding_stands_anywhere() -> None:
    data = bytes(2) + encode_frame(FRAME) + bytes(4) + encode_echo(b"x") + bytes(2)
    assert EemDecoder(64).feed(data) == [EemFrame(FRAME), EemOrder(EemCommand.ECHO, 1, b"x")]


@given(st.lists(st.tuples(frames, st.booleans()), max_size=12), st.sampled_from([64, 512]))
def test_frames_come_through_transfers_of_whole_packets(contents: list[tuple[bytes, bool]], packet: int) -> None:
    """A packet may begin in one transfer and end in the next, where the first is full."""
    stream = b"".join(encode_frame(frame, calculated=calculated) for frame, calculated in contents)
    decoder = EemDecoder(packet)
    found: list[EemFrame | EemOrder] = []
    for at in range(0, len(stream), packet):
        found += decoder.feed(stream[at : at + packet])
    assert found == [EemFrame(frame) for frame, _ in contents]


@given(frames, st.data())
def test_what_a_short_packet_cuts_is_dropped_and_the_next_is_sound(frame: bytes, data: st.DataObject) -> None:
    packet = encode_frame(frame)
    cut = data.draw(st.integers(1, len(packet) - 1).filter(lambda size: size % 64 != 0))
    decoder = EemDecoder(64)
    assert decoder.feed(packet[:cut]) == []
    assert decoder.faults.cut == 1
    assert decoder.feed(packet) == [EemFrame(frame)]


@given(frames, st.booleans(), st.data())
def test_one_wrong_bit_is_seen(frame: bytes, calculated: bool, data: st.DataObject) -> None:
    packet = bytearray(encode_frame(frame, calculated=calculated))
    first = 16 if calculated else len(packet) * 8 - 32  # the sentinel guards nothing but itself
    bit = data.draw(st.integers(first, len(packet) * 8 - 1))
    packet[bit // 8] ^= 1 << bit % 8
    decoder = EemDecoder(64)
    assert decoder.feed(bytes(packet)) == []
    assert decoder.faults.check == 1


@pytest.mark.parametrize("size", [4, 17])
def test_a_frame_without_room_for_its_header(size: int) -> None:
    decoder = EemDecoder(64)
    packet = size.to_bytes(2, "little") + bytes(size - 4) + SENTINEL
    assert decoder.feed(packet) == []
    assert decoder.faults.length == 1


def test_a_reserved_command_is_passed_over() -> None:
    decoder = EemDecoder(64)
    assert decoder.feed(bytes.fromhex("05 C0") + encode_frame(FRAME)) == [EemFrame(FRAME)]
    assert decoder.faults.reserved == 1


@given(st.lists(st.binary(max_size=2000), max_size=8))
def test_nothing_that_comes_raises_or_stays(transfers: list[bytes]) -> None:
    decoder = EemDecoder(64)
    for each in transfers:
        decoder.feed(each)
    decoder.feed(b"")
    assert decoder.feed(encode_frame(FRAME)) == [EemFrame(FRAME)]


def test_what_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="a frame of 1519 bytes"):
        encode_frame(bytes(FRAME_MAX + 1))
    with pytest.raises(ValueError, match="an echo of 2048 bytes"):
        encode_echo(bytes(2048))


# -- the function ------------------------------------------------------------------------------------------------------------


def test_descriptors() -> None:
    host = Host()
    interface = host.device.descriptors.configuration[9:18]
    assert interface[4:8] == bytes.fromhex("02 02 0C 07"), "two endpoints, communications, EEM, EEM"


@pytest.mark.parametrize("speed", [Speed.FULL, Speed.HIGH])
@pytest.mark.parametrize("calculated", [True, False])
def test_frames_both_ways(speed: Speed, calculated: bool) -> None:
    host = Host(speed, calculated=calculated)
    got: list[bytes] = []
    host.function.on_frame = got.append
    contents = [bytes((size & 0xFF,)) * size for size in (14, 56, 57, 58, 60, 120, 505, 506, 507, 1514, 1518)]
    for frame in contents:
        assert host.function.send(frame)
        host.send(encode_frame(frame, calculated=calculated))
    host.fetch()
    assert host.heard == [EemFrame(frame) for frame in contents]
    assert got == contents


@given(st.lists(st.binary(min_size=14, max_size=1514), max_size=20), st.sampled_from([Speed.FULL, Speed.HIGH]))
def test_no_transfer_ends_with_an_empty_packet_or_is_longer_than_linux_asks(
    contents: list[bytes], speed: Speed
) -> None:
    host = Host(speed)
    for frame in contents:
        host.function.send(frame)
    host.fetch()
    assert host.heard == [EemFrame(frame) for frame in contents]
    assert all(len(each) % BULK_PACKET[speed] for each in host.transfers)
    assert all(len(each) <= LINUX_ASKS for each in host.transfers)


def test_small_frames_share_a_transfer() -> None:
    host = Host()
    for _ in range(30):
        host.function.send(FRAME)
    host.fetch()
    assert [len(each) // 66 for each in host.transfers] == [1, BUNDLE // 66, 29 - BUNDLE // 66]


@pytest.mark.parametrize("size", [0, 1, 61, 62, 63, 1500, 2047])
def test_echoes_are_answered(size: int) -> None:
    host = Host()
    data = bytes(each & 0xFF for each in range(size))
    packet = encode_echo(data)
    host.send(packet if len(packet) % 64 else packet + bytes(2))
    ends: list[Completion] = []
    host.device.submit(Transfer(BULK_IN, ends.append, length=4096))
    assert EemDecoder(64).feed(ends[0].data) == [EemOrder(EemCommand.ECHO_RESPONSE, size, data)]
    assert host.function.echoes == 1


def test_echoes_of_the_device() -> None:
    host = Host()
    got: list[bytes] = []
    host.function.on_echo_response = got.append
    host.function.echo(b"are you there")
    host.function.hint(EemCommand.RESPONSE_HINT, 20)
    host.fetch()
    assert host.heard == [
        EemOrder(EemCommand.ECHO, 13, b"are you there"),
        EemOrder(EemCommand.RESPONSE_HINT, 20),
    ]
    host.send(encode_echo(b"are you there", response=True))
    assert got == [b"are you there"]


def test_commands_a_device_should_not_get() -> None:
    host = Host()
    for command in (EemCommand.TICKLE, EemCommand.SUSPEND_HINT, EemCommand.RESPONSE_HINT):
        host.send(encode_command(command))
    host.fetch()
    assert host.heard == []
    assert host.function.ignored == 3


def test_a_full_queue_refuses_and_tells_when_there_is_room() -> None:
    host = Host()
    room: list[bool] = []
    host.function.on_room = lambda: room.append(True)
    sent = 0
    while host.function.send(bytes(1514)):
        sent += 1
    assert sent * 1520 <= QUEUE + 1520
    assert room == []
    host.fetch()
    assert room == [True]
    assert len(host.heard) == sent


def test_nothing_is_kept_over_a_reset() -> None:
    host = Host()
    told: list[bool] = []
    host.function.on_link = told.append
    for _ in range(3):
        host.function.send(FRAME)
    host.send(encode_frame(FRAME + bytes(2))[:64])
    host.device.reset()
    assert not host.function.send(FRAME)
    host.device.set_configuration(1)
    host.fetch()
    assert host.heard == []
    assert told == [False, True]
    got: list[bytes] = []
    host.function.on_frame = got.append
    host.send(encode_frame(FRAME))
    assert got == [FRAME]
