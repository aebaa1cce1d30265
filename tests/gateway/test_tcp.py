"""TCP through the gateway: servers and clients of the card, the ends of connections, who waits for whom (docs/protocol.md, section 3)."""

import contextlib
import hashlib
import os
import socket
import threading
import time

import pytest

from bench.card.communication import ChannelError, Communication, Server, System
from bench.channels.message import Cause
from tests.gateway.support import PATIENCE_S, Gate, call, caller, deaf, gateway, read_all, read_exactly, reset, wait


@pytest.fixture
def listener() -> socket.socket:  # type: ignore[misc]
    with socket.create_server(("127.0.0.1", 0)) as made:
        made.settimeout(PATIENCE_S)
        yield made


def port_of(made: socket.socket) -> int:
    return int(made.getsockname()[1])


@pytest.fixture(scope="module")
def gate() -> Gate:  # type: ignore[misc]
    with gateway(("caller", caller), ("deaf", deaf)) as made:
        yield made
        made.idle()


def test_bytes_come_back_whole_and_in_order(gate: Gate) -> None:
    data = os.urandom(200_000)
    with gate.dial("echo") as made:
        threading.Thread(target=lambda: (made.sendall(data), made.shutdown(socket.SHUT_WR))).start()
        assert hashlib.sha256(read_all(made)).digest() == hashlib.sha256(data).digest()


def test_half_close_by_the_peer_leaves_the_other_half_open(gate: Gate) -> None:
    with gate.dial("counter") as made:
        assert made.recv(100).startswith(b"visitor")
        made.sendall(b"x")
        made.shutdown(socket.SHUT_WR)
        assert read_all(made) == b"message 1\r\n"


def test_a_client_of_the_card_reaches_a_server_outside_and_both_half_closes_pass(
    gate: Gate, listener: socket.socket
) -> None:
    inner, answer = call(gate, f"tcp 127.0.0.1 {port_of(listener)}")
    assert answer == b"connected"
    outer, _ = listener.accept()
    with inner, outer:
        outer.settimeout(PATIENCE_S)
        inner.sendall(b"to the server")
        assert read_exactly(outer, 13) == b"to the server"
        outer.sendall(b"and back")
        assert read_exactly(inner, 8) == b"and back"
        outer.shutdown(socket.SHUT_WR)
        assert read_all(inner) == b""
        inner.close()
        assert read_all(outer) == b""


@pytest.mark.parametrize("where", ["::1", "localhost"])
def test_a_client_of_the_card_reaches_ipv6_and_names(gate: Gate, where: str) -> None:
    family = socket.AF_INET6 if where == "::1" else socket.AF_INET
    with socket.create_server((where, 0), family=family) as server:
        inner, answer = call(gate, f"tcp {where} {port_of(server)}")
        assert answer == b"connected"
        outer, _ = server.accept()
        with inner, outer:
            outer.settimeout(PATIENCE_S)
            inner.sendall(b"hello")
            assert read_exactly(outer, 5) == b"hello"


def test_services_listen_on_ipv6_too() -> None:
    with gateway(policy={"listen": ["::1"], "directory": "0", "apdu": "off"}) as gate:
        gate.address = "::1"
        gate.echo(b"over IPv6")


def test_a_refused_connection_is_service_unknown(gate: Gate) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = port_of(server)
    inner, answer = call(gate, f"tcp 127.0.0.1 {port}")
    inner.close()
    assert answer == b"refused %02x" % Cause.SERVICE_UNKNOWN


def test_a_name_that_does_not_exist_is_not_reachable() -> None:
    rules = [{"card": "any", "connect": [{"to": "*.invalid"}]}]
    with gateway(("caller", caller), policy={"cards": rules}) as gate:
        inner, answer = call(gate, "tcp nowhere.invalid 80")
        inner.close()
        assert answer == b"refused %02x" % Cause.NOT_REACHABLE


def test_a_connection_that_is_not_answered_is_given_up_in_time() -> None:
    with gateway(("caller", caller), policy={"times": {"connect": "300 ms"}}) as gate, contextlib.ExitStack() as held:
        full = held.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):  # the system takes one or two more than it was told and answers no further SYN
            waiting = held.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        time.sleep(0.05)
        began = time.monotonic()
        inner, answer = call(gate, f"tcp 127.0.0.1 {port_of(full)}")
        inner.close()
        assert answer == b"refused %02x" % Cause.NOT_REACHABLE
        assert 0.3 <= time.monotonic() - began < PATIENCE_S / 2, "the system itself would go on for two minutes"
        assert gate.metric('refused_total{card="1",cause="not_reachable"}') == 1


def test_a_reset_by_the_peer_is_channel_closed(gate: Gate, listener: socket.socket) -> None:
    inner, answer = call(gate, f"tcp 127.0.0.1 {port_of(listener)}")
    assert answer == b"connected"
    outer, _ = listener.accept()
    reset(outer)
    with inner:
        assert read_all(inner) == b"lost %02x\n" % Cause.CHANNEL_CLOSED


def test_a_reset_of_a_connection_nobody_reads_is_noticed(gate: Gate) -> None:
    made = gate.dial("deaf")
    made.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            made.send(bytes(65_536))
    wait(lambda: gate.connections == 2)  # the socket, and what joins it to the card
    time.sleep(0.2)
    reset(made)
    gate.idle()


def test_what_a_card_does_not_take_stays_with_the_peer_and_holds_up_nobody(gate: Gate) -> None:
    made = gate.dial("deaf")
    made.settimeout(0.5)
    sent = 0
    with contextlib.suppress(TimeoutError):
        while True:
            sent += made.send(bytes(4096))
    service = gate.running.service
    kernel = 4 * service.policy.limits.socket_buffer + made.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    assert sent <= service.ground.buffers + kernel, "more was taken than the buffers hold"
    gateway_holds = gate.call(lambda: sum(len(pipe._held) for pipe in service.host.gateway._pipes))
    assert gateway_holds <= 2 * service.settings.mtu
    gate.echo()
    reset(made)
    gate.idle()


def test_a_peer_that_does_not_read_holds_its_own_connection_only(gate: Gate) -> None:
    made = gate.dial("chargen")
    time.sleep(0.3)
    with made:
        for _ in range(5):
            gate.echo()
        service = gate.running.service
        held = gate.call(lambda: sum(len(channel.inbox) for channel in service.host.node.table.channels))
        assert held <= service.settings.window
        reset(made)
    gate.idle()


def test_a_pulled_card_resets_its_connections_and_serves_again_when_it_is_back() -> None:
    with gateway(cards=2) as gate:
        near, far = gate.dial("echo", 1), gate.dial("echo", 2)
        port = gate.port("echo", 2)
        for made in (near, far):
            made.sendall(b"hello")
            assert read_exactly(made, 5) == b"hello"
        gate.remove(2)
        with pytest.raises(ConnectionResetError):
            far.recv(100)
        wait(lambda: {each.card for each in gate.services} == {1})
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((gate.address, port), 5)
        near.sendall(b"again")
        assert read_exactly(near, 5) == b"again"
        gate.insert(2)
        gate.echo(b"back", 2)
        near.close()
        gate.idle()


def test_a_port_that_is_taken_is_refused_with_its_cause_and_another_is_negotiated() -> None:
    causes: list[Cause] = []
    ports: list[int] = []

    async def insisting(io: Communication, system: System) -> None:
        for wanted in (taken, 0, 0):
            try:
                ports.append((await io.open(Server(wanted, "insisting"))).port)
            except ChannelError as error:
                causes.append(error.cause)
        await system.sleep(3_600_000)

    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = port_of(server)
        policy: dict[str, object] = {"listen": ["127.0.0.1"], "directory": "0", "apdu": "0"}
        with gateway(("insisting", insisting), policy=policy) as gate:
            wait(lambda: len(ports) == 2)
            assert causes == [Cause.PORT_NOT_AVAILABLE]
            assert len(set(ports)) == 2
            for port in ports:
                reset(
                    socket.create_connection(("127.0.0.1", port), PATIENCE_S)
                )  # the card takes nobody: an end would leave it half open
            gate.idle()


def test_a_peer_that_vanishes_is_noticed_by_its_silence() -> None:
    tcp_repair = 19
    with gateway(policy={"times": {"keepalive": "1 s", "vanish": "3 s"}}) as gate:
        made = gate.dial("echo")
        made.sendall(b"hello")
        assert read_exactly(made, 5) == b"hello"
        try:
            made.setsockopt(socket.IPPROTO_TCP, tcp_repair, 1)
        except PermissionError:
            made.close()
            pytest.skip("only root can make a socket vanish without a word (TCP_REPAIR)")
        made.close()
        assert gate.connections == 2
        gate.idle()


def test_a_card_that_never_answers_open_or_close_holds_no_channel_for_ever() -> None:
    with gateway(policy={"times": {"answer": "500 ms"}}) as gate:
        service = gate.running.service
        chain = gate.rig.chain
        assert chain is not None
        table = chain.cards[0].node.table
        services = gate.call(lambda: len(service.host.node.table))
        made = gate.dial("echo")
        made.sendall(b"hello")
        assert read_exactly(made, 5) == b"hello"
        receive = table.receive
        gate.call(lambda: setattr(table, "receive", lambda _packet: None))
        reset(made)
        silent = gate.dial("echo")
        with pytest.raises(ConnectionResetError):
            silent.recv(100)
        wait(lambda: gate.call(lambda: len(service.host.node.table)) == services)
        assert gate.metric("unanswered_total") == 2
        gate.call(lambda: setattr(table, "receive", receive))
        gate.echo()
        gate.idle()
