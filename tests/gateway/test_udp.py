"""UDP through the gateway: a peer is a conversation of its own, a datagram stays whole, a flood holds up nobody else."""

import contextlib
import socket

import pytest

from bench.card.applications.serving import serve
from bench.card.communication import Communication, Server, System
from bench.channels.message import Cause
from tests.gateway.support import PATIENCE_S, Gate, call, caller, gateway, udp_echo, wait


async def udp_deaf(io: Communication, system: System) -> None:
    async def talk(io: Communication, channel: object) -> None:
        del io, channel
        await system.sleep(3_600_000)

    await serve(io, system, Server(2003, "udp-deaf", udp=True), talk)


@pytest.fixture(scope="module")
def gate() -> Gate:  # type: ignore[misc]
    policy: dict[str, object] = {"times": {"udp_idle": "700 ms", "answer": "500 ms"}}
    with gateway(("udp-echo", udp_echo), ("caller", caller), policy=policy) as made:
        yield made
        made.idle()


def peer(gate: Gate, name: str = "udp-echo") -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(PATIENCE_S)
    made.connect((gate.address, gate.port(name)))
    return made


def test_datagrams_come_back_whole_also_empty_ones(gate: Gate) -> None:
    with peer(gate) as made:
        for data in (b"one", b"", b"x" * 251, b"three"):
            made.send(data)
            assert made.recv(1000) == data


def test_each_peer_has_a_conversation_of_its_own(gate: Gate) -> None:
    with peer(gate) as first, peer(gate) as second:
        first.send(b"first")
        second.send(b"second")
        assert (second.recv(100), first.recv(100)) == (b"second", b"first")


def test_a_silent_peer_is_forgotten(gate: Gate) -> None:
    with peer(gate) as made:
        made.send(b"hello")
        assert made.recv(100) == b"hello"
        wait(lambda: gate.connections == 0)
        made.send(b"again")
        assert made.recv(100) == b"again"


def test_a_datagram_too_long_for_the_channel_is_dropped_and_counted(gate: Gate) -> None:
    before = gate.metric("oversized_total")
    with peer(gate) as made:
        made.send(bytes(252))  # an MTU of 256 leaves 251
        made.send(b"short")
        assert made.recv(1000) == b"short"
    assert gate.metric("oversized_total") == before + 1


def test_more_peers_than_allowed_get_no_answer_and_take_nothing_from_the_others() -> None:
    policy: dict[str, object] = {"limits": {"udp_peers": "4"}}  # and none is forgotten meanwhile
    with gateway(("udp-echo", udp_echo), policy=policy) as gate, contextlib.ExitStack() as stack:
        peers = [stack.enter_context(peer(gate)) for _ in range(5)]
        for made in peers[:4]:
            made.send(b"in")
            assert made.recv(10) == b"in"
        peers[4].settimeout(0.2)
        peers[4].send(b"out")
        with pytest.raises(TimeoutError):
            peers[4].recv(10)
        peers[0].send(b"still in")
        assert peers[0].recv(10) == b"still in"


def test_a_flood_is_bounded_and_others_go_on() -> None:
    with gateway(("udp-deaf", udp_deaf)) as gate, peer(gate, "udp-deaf") as flood:
        for _ in range(2000):
            flood.send(bytes(200))
        before = gate.processor_s()
        gate.echo()
        assert gate.processor_s() - before < 1
        wait(lambda: gate.metric('datagrams_dropped_total{card="1",reason="channel busy"}') > 0)
        service = gate.running.service
        waiting = gate.call(lambda: max(len(each._waiting) for each in service.uplink._udp))
        assert waiting <= 16


def test_a_client_of_the_card_speaks_to_a_server_outside(gate: Gate) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(PATIENCE_S)
        inner, answer = call(gate, f"udp 127.0.0.1 {server.getsockname()[1]}")
        assert answer == b"connected"
        with inner:
            inner.sendall(b"question")
            data, back = server.recvfrom(100)
            assert data == b"question"
            server.sendto(b"answer", back)
            assert inner.recv(100) == b"answer"


def test_a_client_whose_server_is_not_there_is_told() -> None:
    with gateway(("caller", caller)) as gate:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("127.0.0.1", 0))
            port = server.getsockname()[1]
        inner, answer = call(gate, f"udp 127.0.0.1 {port}")
        assert answer == b"connected"
        with inner:
            inner.sendall(b"anybody?")
            assert inner.recv(100) == b"lost %02x\n" % Cause.SERVICE_UNKNOWN


def test_a_udp_port_is_not_shared() -> None:
    with gateway(("udp-echo", udp_echo)) as gate, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="in use"):
            made.bind((gate.address, gate.port("udp-echo")))
