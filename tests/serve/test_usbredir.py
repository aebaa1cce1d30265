"""Our device as a usbredir peer sees it: the protocol's layouts (usbredir 0.7), packet by packet, and the socket QEMU finds it at."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from struct import pack, unpack_from

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.ccid.codes import PowerSelect
from bench.ccid.messages import GetSlotStatus, IccPowerOn
from bench.serve.usbredir import OURS, Cap, Packet, Status, UsbredirError, UsbredirHost
from bench.serve.usbredir_loop import UsbredirLoop
from tests.serve.usb_support import answer_of, served_reader

ALL = OURS
OLD = 0
"""A peer of the protocol's first version: 32-bit ids, no packet sizes, no ack."""


@dataclass(frozen=True, slots=True)
class Said:
    kind: Packet
    number: int
    body: bytes


class Peer:
    """What QEMU is to the device."""

    def __init__(self, caps: int = ALL) -> None:
        self.served = served_reader()
        self.host = UsbredirHost(self.served)
        self.long = False
        self._buffer = bytearray()
        (hello,) = self.said()
        assert hello.kind is Packet.HELLO
        assert hello.body[:64].rstrip(b"\x00") == b"cardbench"
        assert hello.body[64:] == pack("<I", OURS)
        self.send(Packet.HELLO, b"a peer".ljust(64, b"\x00") + pack("<I", caps))
        self.long = bool(caps >> Cap.IDS_64BITS & 1)

    def send(self, kind: int, body: bytes = b"", number: int = 0) -> None:
        self.host.feed(pack("<IIQ" if self.long else "<III", kind, len(body), number) + body)

    def said(self) -> list[Said]:
        self._buffer += self.host.take()
        found = []
        size = 16 if self.long else 12
        while self._buffer:
            kind, length, number = unpack_from("<IIQ" if self.long else "<III", self._buffer)
            found.append(Said(Packet(kind), number, bytes(self._buffer[size : size + length])))
            del self._buffer[: size + length]
        return found

    def ask(self, kind: int, body: bytes = b"", number: int = 1) -> Said:
        """What is answered with one packet of the same number."""
        self.send(kind, body, number)
        answers = [each for each in self.said() if each.number == number]
        assert len(answers) == 1
        return answers[0]

    def configure(self) -> None:
        self.send(Packet.SET_CONFIGURATION, b"\x01", 5)
        assert self.said()[-1] == Said(Packet.CONFIGURATION_STATUS, 5, b"\x00\x01")

    def out(self, data: bytes, number: int = 7) -> None:
        answer = self.ask(Packet.BULK, pack("<BBHIH", 0x01, 0, len(data), 0, 0) + data, number)
        assert answer.body == pack("<BBHIH", 0x01, Status.SUCCESS, len(data), 0, 0)

    def fetch(self, length: int = 512, number: int = 8) -> bytes:
        answer = self.ask(Packet.BULK, pack("<BBHIH", 0x82, 0, length, 0, 0), number)
        assert answer.body[1] == Status.SUCCESS
        return answer.body[10:]


@pytest.mark.parametrize("caps", [ALL, OLD])
def test_the_device_is_described_and_connected(caps: int) -> None:
    peer = Peer(caps)
    interfaces, endpoints, connect = peer.said()
    assert [each.kind for each in (interfaces, endpoints, connect)] == [
        Packet.INTERFACE_INFO,
        Packet.EP_INFO,
        Packet.DEVICE_CONNECT,
    ]
    assert interfaces.body == pack("<I", 1) + bytes(32) + b"\x0b" + bytes(31) + bytes(64)
    types, intervals = endpoints.body[:32], endpoints.body[32:64]
    assert {place: types[place] for place in range(32) if types[place] != 255} == {0: 0, 16: 0, 1: 2, 18: 2, 19: 3}
    assert intervals[19] == 16
    identity = pack("<BBBBHH", 1, 0, 0, 0, 0x08E6, 0x3437)
    if caps:
        assert unpack_from("<32H", endpoints.body, 96)[18] == 64
        assert connect.body == identity + pack("<H", 0x0200)
    else:
        assert len(endpoints.body) == 96
        assert connect.body == identity


def test_control_transfers() -> None:
    peer = Peer()
    get = pack("<BBBBHHH", 0x80, 6, 0x80, 0, 0x0100, 0, 64)
    answer = peer.ask(Packet.CONTROL, get)
    assert answer.body[:10] == pack("<BBBBHHH", 0x80, 6, 0x80, Status.SUCCESS, 0x0100, 0, 18)
    assert answer.body[10:] == peer.served.device.descriptors.device
    stalled = peer.ask(Packet.CONTROL, pack("<BBBBHHH", 0x80, 6, 0x80, 0, 0x0600, 0, 10))
    assert stalled.body == pack("<BBBBHHH", 0x80, 6, 0x80, Status.STALL, 0x0600, 0, 0)


def test_configurations_and_settings() -> None:
    peer = Peer()
    assert peer.ask(Packet.GET_CONFIGURATION).body == b"\x00\x00"
    peer.configure()
    assert peer.ask(Packet.GET_CONFIGURATION).body == b"\x00\x01"
    assert peer.ask(Packet.SET_CONFIGURATION, b"\x07").body == bytes((Status.STALL, 1))
    assert peer.ask(Packet.GET_ALT_SETTING, b"\x00").body == b"\x00\x00\x00"
    assert peer.ask(Packet.GET_ALT_SETTING, b"\x05").body == bytes((Status.STALL, 5, 0))
    assert peer.ask(Packet.SET_ALT_SETTING, b"\x00\x01").body == bytes((Status.STALL, 0, 0))


def test_a_card_answers_over_bulk_pipes() -> None:
    peer = Peer()
    peer.configure()
    command = IccPowerOn(0, 3, PowerSelect.V5)
    peer.out(command.encode())
    response = answer_of(peer.fetch(), command)
    assert response.status.ok


def test_a_peer_without_wide_lengths() -> None:
    peer = Peer(OLD)
    peer.said()
    peer.configure()
    command = GetSlotStatus(0, 3)
    body = pack("<BBHI", 0x01, 0, 10, 0)
    assert peer.ask(Packet.BULK, body + command.encode()).body == body
    answer = peer.ask(Packet.BULK, pack("<BBHI", 0x82, 0, 271, 0))
    assert answer.body[:8] == pack("<BBHI", 0x82, 0, 10, 0)
    assert answer_of(answer.body[8:], command).status.ok


def test_an_answer_that_is_not_there_is_waited_for_and_can_be_cancelled() -> None:
    peer = Peer()
    peer.configure()
    body = pack("<BBHIH", 0x82, 0, 512, 0, 0)
    peer.send(Packet.BULK, body, 20)
    assert peer.said() == []
    cancelled = peer.ask(Packet.CANCEL_DATA_PACKET, number=20)
    assert cancelled == Said(Packet.BULK, 20, pack("<BBHIH", 0x82, Status.CANCELLED, 0, 0, 0))
    peer.send(Packet.CANCEL_DATA_PACKET, number=20)
    assert peer.said() == []


def test_an_endpoint_that_is_not_there() -> None:
    peer = Peer()
    peer.configure()
    answer = peer.ask(Packet.BULK, pack("<BBHIH", 0x05, 0, 3, 0, 0) + b"abc")
    assert answer.body[1] == Status.INVALID


def test_the_interrupt_pipe_is_listened_to_until_it_is_not() -> None:
    peer = Peer()
    peer.configure()
    peer.send(Packet.START_INTERRUPT_RECEIVING, b"\x83", 30)
    status, notice = peer.said()
    assert status == Said(Packet.INTERRUPT_RECEIVING_STATUS, 30, b"\x00\x83")
    assert (notice.kind, notice.body) == (Packet.INTERRUPT, b"\x83\x00\x02\x00\x50\x03")
    peer.served.pull()
    (notice,) = peer.said()
    assert notice.body == b"\x83\x00\x02\x00\x50\x02"
    peer.send(Packet.STOP_INTERRUPT_RECEIVING, b"\x83", 31)
    assert peer.said() == [Said(Packet.INTERRUPT_RECEIVING_STATUS, 31, b"\x00\x83")]
    peer.served.insert()
    assert peer.said() == []
    assert peer.ask(Packet.START_INTERRUPT_RECEIVING, b"\x82").body == bytes((Status.INVALID, 0x82))


def test_a_reset_takes_the_configuration_and_the_cards_power() -> None:
    peer = Peer()
    peer.configure()
    command = IccPowerOn(0, 3, PowerSelect.V5)
    peer.out(command.encode())
    peer.send(Packet.RESET)
    peer.said()
    assert not peer.served.slots[0].active
    assert peer.ask(Packet.GET_CONFIGURATION).body == b"\x00\x00"


def test_unplugged_and_plugged_again() -> None:
    peer = Peer()
    peer.configure()
    peer.host.unplug()
    peer.host.unplug()
    assert peer.said() == [Said(Packet.DEVICE_DISCONNECT, 0, b"")]
    peer.send(Packet.DEVICE_DISCONNECT_ACK)
    peer.send(Packet.GET_CONFIGURATION)
    assert peer.said() == []
    peer.host.plug()
    assert peer.said()[-1].kind is Packet.DEVICE_CONNECT


def test_a_device_that_stands_in_keeps_what_the_host_waits_for() -> None:
    peer = Peer()
    peer.configure()
    peer.send(Packet.START_INTERRUPT_RECEIVING, b"\x83", 30)
    peer.send(Packet.BULK, pack("<BBHIH", 0x82, 0, 512, 0, 0), 40)
    peer.said()
    fresh = served_reader()
    before, peer.served = peer.served, fresh
    peer.host.stand_in(fresh)
    fresh.succeed(before)
    assert [each.body[4:] for each in peer.said()] == [b"\x50\x00"]
    assert peer.ask(Packet.GET_CONFIGURATION).body == b"\x00\x01"
    command = GetSlotStatus(0, 9)
    peer.send(Packet.BULK, pack("<BBHIH", 0x01, 0, 10, 0, 0) + command.encode(), 41)
    said = peer.said()
    assert [each.number for each in said if each.kind is Packet.BULK] == [41, 40]
    assert said[-1].body[4:] == b"\x50\x03", "the new card came when the host had seen that the old one went"


def test_unseen_the_host_notices_nothing_but_another_answer_to_reset() -> None:
    peer = Peer()
    peer.configure()
    peer.send(Packet.START_INTERRUPT_RECEIVING, b"\x83", 30)
    peer.said()
    fresh = served_reader(protocol="T=1")
    before, peer.served = peer.served, fresh
    peer.host.stand_in(fresh)
    fresh.succeed(before, unseen=True)
    assert peer.said() == []
    command = IccPowerOn(0, 3, PowerSelect.V5)
    peer.out(command.encode())
    assert answer_of(peer.fetch(), command).status.ok


@pytest.mark.parametrize("unseen", [False, True])
def test_an_answer_not_fetched_yet_is_fetched_from_the_device_that_stands_in(unseen: bool) -> None:
    """A driver may be between its command and the transfer for its answer; left without, it takes the reader for broken."""
    peer = Peer()
    peer.configure()
    command = GetSlotStatus(0, 7)
    peer.out(command.encode())
    fresh = served_reader(protocol="T=1")
    before, peer.served = peer.served, fresh
    peer.host.stand_in(fresh)
    fresh.succeed(before, unseen=unseen)
    assert answer_of(peer.fetch(), command).status.ok
    command = GetSlotStatus(0, 8)
    peer.out(command.encode())
    assert answer_of(peer.fetch(), command).status.ok


@pytest.mark.parametrize(
    ("kind", "body"),
    [(Packet.CONTROL, b"\x80"), (Packet.BULK, b"\x01\x00"), (Packet.SET_CONFIGURATION, b""), (Packet.INTERRUPT, b"")],
)
def test_a_malformed_packet_ends_the_connection_with_its_cause(kind: Packet, body: bytes) -> None:
    peer = Peer()
    with pytest.raises(UsbredirError, match=f"type {int(kind)}, {len(body)} bytes long, is malformed"):
        peer.send(kind, body)


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n\r\n", pack("<III", 100, 4, 0) + b"abcd", pack("<III", 0, 1 << 30, 0)]
)
def test_who_does_not_speak_usbredir_is_told_from_who_does(data: bytes) -> None:
    with pytest.raises(UsbredirError, match="does not speak usbredir"):
        UsbredirHost(served_reader()).feed(data)


@given(st.lists(st.tuples(st.sampled_from([*Packet, 25, 102, 999]), st.binary(max_size=40)), max_size=8))
def test_no_packet_does_more_than_end_the_connection(packets: list[tuple[int, bytes]]) -> None:
    peer = Peer()
    try:
        peer.configure()
        for number, (kind, body) in enumerate(packets):
            peer.send(kind, body, number)
    except UsbredirError:
        return
    peer.said()


# -- the socket ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[UsbredirLoop]:
    loop = UsbredirLoop(tmp_path / "reader", served_reader())
    read, write = os.pipe()
    loop.watch(read, lambda: None)
    ended = threading.Event()
    thread = threading.Thread(target=loop.run, args=(ended.is_set,))
    thread.start()
    yield loop
    ended.set()
    os.write(write, b"x")
    thread.join(10)
    os.close(read)
    os.close(write)
    assert not thread.is_alive()
    assert not loop.path.exists()


def connect(loop: UsbredirLoop) -> socket.socket:
    end = socket.socket(socket.AF_UNIX)
    end.settimeout(10)
    end.connect(loop.address)
    return end


def test_one_peer_after_the_other_and_only_one_at_a_time(loop: UsbredirLoop) -> None:
    for _ in range(3):
        with connect(loop) as first:
            assert len(first.recv(80, socket.MSG_WAITALL)) == 80
            with connect(loop) as second:
                assert second.recv(1) == b""


def test_who_talks_nonsense_is_hung_up_on(loop: UsbredirLoop) -> None:
    words: list[str] = []
    told = threading.Event()

    def gone(text: str) -> None:
        words.append(text)
        if "gone" in text:
            told.set()

    loop.on_peer = gone
    with connect(loop) as end:
        end.sendall(b"nonsense, and more of it")
        assert told.wait(10)
        assert "does not speak usbredir" in words[-1]
    with connect(loop) as end:
        assert end.recv(1)


def test_a_socket_somebody_listens_at_is_not_taken(loop: UsbredirLoop) -> None:
    with pytest.raises(OSError, match="in use"):
        UsbredirLoop(loop.path, served_reader())
    assert loop.path.exists()


def test_a_socket_nobody_listens_at_is(tmp_path: Path) -> None:
    path = tmp_path / "left behind"
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))
    loop = UsbredirLoop(path, served_reader())
    loop.close()
    assert not path.exists()


def test_nothing_is_seen_there_before_somebody_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for the file finds somebody behind it."""
    path = tmp_path / "reader"
    listen = socket.socket.listen
    seen: list[bool] = []

    def listened(self: socket.socket, backlog: int) -> None:
        seen.append(path.exists())
        listen(self, backlog)

    monkeypatch.setattr(socket.socket, "listen", listened)
    loop = UsbredirLoop(path, served_reader())
    assert seen == [False]
    with connect(loop):
        pass
    loop.close()
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_sockets_place_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a file"
    path.write_text("kept")
    with pytest.raises(OSError, match="in use"):
        UsbredirLoop(path, served_reader())
    assert path.read_text() == "kept"
