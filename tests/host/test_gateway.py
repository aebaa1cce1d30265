"""The gateway core and the directory (docs/protocol.md, section 4): what comes from outside, what a card may do to the host."""

import json

import pytest

from bench.card.applications import STANDARD
from bench.channels.message import (
    Address,
    AddressKind,
    Cause,
    Ended,
    MessageType,
    Open,
    Transport,
    decode_message,
    pack,
)
from bench.hop.segment import Kind
from bench.host.peers import InProcessUplink
from bench.host.uplink import UplinkError
from tests.support import Chain, chain

SERVICES = len(STANDARD)


def ask(rig: Chain, question: bytes) -> str:
    socket = rig.uplink.dial(7816)
    socket.write(question)
    rig.wait(lambda: socket.ended, 1)
    return socket.received.decode()


# -- the directory -----------------------------------------------------------------------------------------------------------


def test_4_the_directory_lists_every_service_by_card_and_port() -> None:
    rig = chain(2).start()
    lines = ask(rig, b"\r\n").split("\r\n")
    assert lines.pop() == ""
    rows = [line.split(" ") for line in lines]
    assert [row[2:] for row in rows] == [["tcp", "1", "listening"]] * SERVICES + [["tcp", "2", "listening"]] * SERVICES
    assert sorted((int(row[3]), int(row[1])) for row in rows) == [(int(row[3]), int(row[1])) for row in rows]
    assert {row[0] for row in rows} == {name for name, _ in STANDARD}


def test_4_the_directory_speaks_json_when_asked() -> None:
    rig = chain().start()
    rows = json.loads(ask(rig, b"json\r\n"))
    assert rows[0] == {"name": "echo", "port": 7, "protocol": "tcp", "card": 1, "state": "listening"}
    assert len(rows) == SERVICES


@pytest.mark.parametrize("question", [b"", b"GET / HTTP/1.1\n", bytes(64), b"\xff" * 200, b"json" + bytes(100)])
def test_4_the_directory_answers_any_question_and_closes(question: bytes) -> None:
    rig = chain().start()
    socket = rig.uplink.dial(7816)
    socket.write(question)
    socket.finish()
    rig.wait(lambda: socket.ended, 1)
    assert socket.received.startswith(b"echo 7 tcp 1 listening\r\n")


def test_4_the_directory_is_there_before_any_card_is() -> None:
    rig = chain()
    assert ask(rig, b"\n") == "\r\n"
    assert json.loads(ask(rig, b"json\n")) == []


def test_4_a_reader_of_the_directory_that_stalls_gets_it_later() -> None:
    rig = chain().start()
    socket = rig.uplink.dial(7816)
    socket.reading = False
    socket.write(b"\n")
    rig.run(0.1)
    assert not socket.received
    socket.reading = True
    socket.resume()
    assert socket.received.startswith(b"echo 7")
    assert socket.ended


# -- connections from outside ------------------------------------------------------------------------------------------------


def test_data_arrive_in_order_whatever_the_pieces() -> None:
    rig = chain().start()
    socket = rig.dial("echo")
    text = b""
    for size in (1, 2, 59, 60, 500, 3, 1000):
        piece = bytes((size % 251,)) * size
        socket.write(piece)
        text += piece
        rig.run(0.003)
    rig.wait(lambda: len(socket.received) == len(text))
    assert bytes(socket.received) == text
    rig.assert_sound()


def test_what_is_written_before_the_connection_stands_is_sent_when_it_does() -> None:
    rig = chain().start()
    socket = rig.dial("echo", wait=False)
    socket.write(b"early")
    rig.wait(lambda: bytes(socket.received) == b"early")
    hasty = rig.dial("echo", wait=False)
    hasty.write(b"gone before it stood")
    hasty.close()
    rig.run(0.1)
    assert rig.host.gateway.connections == 1
    rig.assert_sound()


def test_a_peer_that_closes_when_it_gets_something_breaks_nothing() -> None:
    rig = chain().start()
    socket = rig.dial("chargen")
    seen: list[bytes] = []

    def once(data: bytes) -> None:
        seen.append(data)
        socket.close(Cause.CHANNEL_CLOSED)

    socket.on_data = once
    rig.wait(lambda: bool(seen))
    rig.run(0.1)
    assert len(seen) == 1
    assert rig.host.gateway.connections == 0
    rig.echo(rig.dial("echo"), b"others go on")
    rig.assert_sound()


def test_a_stalled_reader_of_a_closed_channel_gets_the_rest_when_it_reads() -> None:
    rig = chain().start()
    socket = rig.dial("counter")
    rig.wait(lambda: bytes(socket.received) == b"visitor 1\r\n")
    socket.reading = False
    for _ in range(5):
        socket.write(b"x")
        rig.run(0.05)
    socket.finish()
    rig.run(0.5)
    causes = [socket.cause]
    socket.reading = True
    socket.resume()
    assert bytes(socket.received).endswith(b"message 5\r\n")
    assert [*causes, socket.cause] == [None, Cause.NONE]
    rig.run(0.1)
    assert rig.host.gateway.connections == 0
    rig.assert_sound()


def test_a_port_nobody_listens_on_is_told_at_once() -> None:
    socket = chain().uplink.dial(4242)
    assert (socket.cause, socket.ended, socket.open) == (Cause.NOT_REACHABLE, True, False)


def test_a_port_can_be_listened_on_once() -> None:
    uplink = InProcessUplink()
    first = uplink.listen(80, False, lambda _connection: None)
    with pytest.raises(UplinkError, match="port 80 is in use") as refused:
        uplink.listen(80, False, lambda _connection: None)
    assert refused.value.cause is Cause.PORT_NOT_AVAILABLE
    uplink.listen(80, True, lambda _connection: None)
    first.close()
    uplink.listen(80, False, lambda _connection: None)


def test_200_connections_are_served_and_leave_nothing() -> None:
    rig = chain(7, poll_ms=5).start()
    sockets = [rig.dial("echo", 1 + index % 7, wait=False) for index in range(200)]
    for index, socket in enumerate(sockets):
        socket.write(b"%03d" % index * 20)
    rig.wait(lambda: all(len(socket.received) == 60 or socket.cause is not None for socket in sockets), 60)
    served = [socket for socket in sockets if socket.cause is None]
    assert all(
        bytes(socket.received) == b"%03d" % index * 20 for index, socket in enumerate(sockets) if socket in served
    )
    assert len(served) == 7 * (32 - SERVICES)  # a card has 32 channels, some of them listen
    assert {socket.cause for socket in sockets if socket not in served} == {Cause.NO_CHANNEL}
    for socket in served:
        socket.close()
    rig.run(1)
    rig.assert_idle([SERVICES] * 7)
    rig.assert_sound()


# -- a card that lies --------------------------------------------------------------------------------------------------------


def hostile(rig: Chain, packet: bytes) -> None:
    """Card 1 sends what no sound stack sends."""
    rig.cards[0].io1.submit(Kind.CHANNEL, packet, b"hostile", force=True)
    rig.run(0.02)


def received_by(rig: Chain) -> list[bytes]:
    """Every message that card 1 gets from now on."""
    got: list[bytes] = []
    table = rig.cards[0].node.table
    receive = table.receive

    def watch(packet: bytes) -> None:
        got.append(packet)
        receive(packet)

    table.receive = watch  # type: ignore[method-assign]
    return got


def test_data_without_credit_from_a_card_closes_that_channel_alone() -> None:
    rig = chain().start()
    victim, other = rig.dial("echo"), rig.dial("echo")
    victim.reading = False
    number = next(
        channel.peer_number for channel in rig.cards[0].node.table.channels if not channel.transport.is_server
    )
    for _ in range(20):
        hostile(rig, pack(MessageType.DATA, 0, 1, number, 0, b"too much"))
    assert rig.host.node.table.violations >= 1
    assert {victim.cause, other.cause} == {Cause.SERVICE_ERROR, None}
    survivor = other if other.cause is None else victim
    survivor.reading = True
    rig.echo(survivor, b"still here")


@pytest.mark.parametrize(
    "packet",
    [
        b"\x44",
        b"\x84\x00\x01\x09\x00",
        b"\x4f\x00\x01\x09\x00",
        b"\x41\x00\x01\x00\x04",
        b"\x41\x00\x01\x00\x04\x00\x02\x00\x50\x00\x40\x00",
        b"\x41\x00\x01\x00\x04\x01\x77\x00\x50\x00\x40\x00",
        b"\x41\x00\x01\x00\x04\x01\x02\x00\x50\x00\x40\x01\xff\xfe",
        b"\x48\x00\x01\x00\x00",
        b"\x48\x00\x01\x00\x00" + bytes(12),
        b"\x42\x00\x01\x01\x00\x01\x02\x03\x04\x05",
        b"\x47\x00\x01\xc8\x00\x07",
        b"\x44\xfe\x01\x01\x00",
        b"\x44\x00\x63\x01\x00",
    ],
)
def test_malformed_and_misplaced_messages_are_dropped_and_harm_nobody(packet: bytes) -> None:
    rig = chain().start()
    socket = rig.dial("echo")
    hostile(rig, packet)
    rig.echo(socket, b"still here")
    assert len(rig.services) == SERVICES


def test_3_a_message_for_a_node_that_is_not_there_comes_back_unreachable() -> None:
    rig = chain().start()
    back = received_by(rig)
    packet = pack(MessageType.DATA, 9, 1, 5, 0, b"0123456789")
    rig.cards[0].node.emission.emit(packet, True)
    rig.run(0.02)
    answer = decode_message(back[0])
    assert (answer.type, answer.source, answer.body) == (MessageType.UNREACHABLE, 1, packet[:12])


def test_a_card_that_opens_without_end_gets_no_more_than_there_is() -> None:
    rig = chain().start()
    for own in range(1, 256):
        body = Open(own, Transport.TCP_SERVER, 0, 64, Address.name("flood")).encode()
        rig.cards[0].io1.submit(Kind.CHANNEL, pack(MessageType.OPEN, 0, 1, 0, 0, body), bytes((own,)), force=True)
    rig.run(5)
    assert len(rig.host.node.table) <= 255
    assert len(rig.services) <= 255
    rig.remove(1)
    rig.wait(lambda: not rig.host.cards)
    assert rig.services == []
    assert len(rig.host.node.table) == 0
    assert set(rig.uplink.listeners) == {(False, 7816)}


def test_an_open_that_asks_the_host_for_a_local_service_is_refused_with_cause_06() -> None:
    rig = chain().start()
    got = received_by(rig)
    body = Open(31, Transport.TCP_CLIENT_LOCAL, 7, 64, Address(AddressKind.NONE, b"")).encode()
    hostile(rig, pack(MessageType.OPEN, 0, 1, 0, 4, body))
    answer = decode_message(got[-1])
    assert (answer.type, answer.channel, answer.body) == (MessageType.REFUSED, 31, Ended(Cause.NO_TRANSPORT))
