"""Hostile peers and hostile cards: whatever one does, the others go on undisturbed. Each case with its measure."""

import contextlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.card.applications import STANDARD
from bench.card.communication import ChannelError, Client, Communication, Server, System
from bench.channels.message import Address, AddressKind, Cause, MessageType, Open, Transport, pack
from bench.hop.segment import Kind
from tests.gateway.support import PATIENCE_S, Gate, deaf, gateway, read_all, read_exactly, reset, wait

ROUNDS = 4
"""Round trips of a bystander, at least."""
UNDISTURBED_S = 0.5
"""Processor time of the gateway, at most, between a bystander's word and its echo; undisturbed it is some milliseconds."""


@pytest.fixture(scope="module")
def gate() -> Iterator[Gate]:
    with gateway(("deaf", deaf), cards=2, policy={"limits": {"accepts_per_second": "5000"}}) as made:
        made.echo()
        yield made
        made.idle()


def files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def files_when_all_is_up(gate: Gate) -> int:
    """Descriptors of this process once both cards offer every standard service: each that came later would count as lost."""
    offered = {name for name, _ in STANDARD}
    wait(
        lambda: (
            {(each.card, each.name) for each in gate.services} >= {(card, name) for card in (1, 2) for name in offered}
        )
    )
    return files()


class Bystander:
    """A conversation that goes on all the while, with a card's echo; ``worst`` is the most processor time the gateway spent on all others
    during one round trip, in seconds: what matters, and what no other load of the machine changes."""

    def __init__(self, gate: Gate, card: int) -> None:
        self.worst = 0.0
        self.rounds = 0
        self._gate = gate
        self._made = gate.dial("echo", card)
        self._stop = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._talk)

    def _talk(self) -> None:
        try:
            while self.rounds < ROUNDS or not self._stop.is_set():
                began = self._gate.processor_s()
                data = os.urandom(100)
                self._made.sendall(data)
                assert read_exactly(self._made, 100) == data
                self.worst = max(self.worst, self._gate.processor_s() - began)
                self.rounds += 1
        except (OSError, AssertionError) as error:
            self._error = error

    def __enter__(self) -> "Bystander":
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join(PATIENCE_S)
        alive = self._thread.is_alive()
        self._made.close()
        assert not alive, f"{self.rounds} round trips, then nothing more"
        assert self._error is None, self._error
        print(
            f"bystander: {self.rounds} round trips, at most {1e3 * self.worst:.0f} ms of the gateway's processor time"
        )
        assert self.worst < UNDISTURBED_S


def served(address: str, port: int, stack: contextlib.ExitStack) -> bool:
    """Whether one more connection to an echo is served; it stays until the stack is left."""
    try:
        made = stack.enter_context(socket.create_connection((address, port), PATIENCE_S))
        made.sendall(b"x")
        return made.recv(1) == b"x"
    except ConnectionError:
        return False


# -- peers -------------------------------------------------------------------------------------------------------------------


def test_a_reset_at_every_byte(gate: Gate) -> None:
    request = b"GET / HTTP/1.0\r\nHost: card\r\n\r\n"
    before = files_when_all_is_up(gate)
    with Bystander(gate, 2):
        for name in ("echo", "web", "counter"):
            for cut in range(len(request) + 1):
                made = gate.dial(name)
                made.sendall(request[:cut])
                reset(made)
        with contextlib.suppress(OSError):
            for cut in range(8):
                made = socket.create_connection((gate.address, 7816), PATIENCE_S)
                made.sendall(b"json\r\n"[:cut])
                reset(made)
    gate.idle()
    wait(lambda: files() <= before + 2)
    gate.echo()


def test_slow_writers_and_slow_readers(gate: Gate) -> None:
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(gate.dial("echo")) for _ in range(8)]
        readers = [stack.enter_context(gate.dial("chargen")) for _ in range(8)]
        with Bystander(gate, 1), Bystander(gate, 2):
            for number in range(40):
                for made in writers:
                    made.sendall(b"%d" % (number % 10))
                for made in readers:
                    made.recv(1)
                time.sleep(0.01)
        for made in writers:
            assert read_exactly(made, 40) == b"0123456789" * 4
        for made in readers:
            reset(made)
    gate.idle()


def test_a_flood_of_connections_that_say_nothing(gate: Gate) -> None:
    with Bystander(gate, 1), Bystander(gate, 2), contextlib.ExitStack() as stack:
        port = gate.port("echo", 2)
        idle, dropped = [], 0
        for _ in range(100):
            try:
                idle.append(stack.enter_context(socket.create_connection((gate.address, port), PATIENCE_S)))
            except ConnectionResetError:
                dropped += 1
        arrived = 'connections_total{card="2",protocol="tcp",direction="from_outside"}'
        wait(lambda: gate.metric(arrived) >= 100)
        wait(lambda: gate.call(lambda: gate.running.service.uplink.connections) <= 32 + 2)
        for made in idle:
            made.setblocking(False)
            try:
                made.recv(1)
            except ConnectionResetError:
                dropped += 1
            except BlockingIOError:
                continue
        assert dropped >= 100 - 32, "a card has 32 channels: the rest is refused at once, not left hanging"
    gate.idle()
    gate.echo(card=2)


def test_a_flood_of_connections_given_up_at_once(gate: Gate) -> None:
    before = files_when_all_is_up(gate)
    with Bystander(gate, 2):
        port = gate.port("counter")
        for number in range(1000):
            made = socket.socket()
            made.setblocking(False)
            made.connect_ex((gate.address, port))
            if number % 2:
                reset(made)
            made.close()
    gate.idle()
    wait(lambda: files() <= before + 2)


def test_half_open_connections_are_the_systems_and_the_others_are_served() -> None:
    """2000 SYNs that nobody will acknowledge fill the system's queue, not the card: who is really there is served."""
    command = ("unshare", "--net", sys.executable, "-m", "tests.gateway.half_open")
    if os.geteuid() or not all(map(shutil.which, ("unshare", "ip"))):
        pytest.skip("only root can have a network of its own (unshare, ip) and send raw SYNs")
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, timeout=4 * PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    told = json.loads(done.stdout)
    print(told)
    assert told["half_open"] > 50, (
        "of 2000; the system keeps as many as its queue takes and answers the others by cookies"
    )
    assert told["before"] == 0
    assert told["processor_s"] < UNDISTURBED_S


@pytest.fixture
def nobody_yields(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the test takes, none of its connections has been silent for long."""
    monkeypatch.setattr("bench.host.sockets.YIELD_NS", 10**12)


@pytest.mark.usefixtures("nobody_yields")
def test_one_address_takes_no_more_than_its_share() -> None:
    with gateway(policy={"limits": {"per_peer": "5"}}) as gate, contextlib.ExitStack() as stack:
        port = gate.port("echo")
        assert [served(gate.address, port, stack) for _ in range(8)] == [True] * 5 + [False] * 3
        other = stack.enter_context(socket.create_connection((gate.address, port), PATIENCE_S, ("127.0.0.2", 0)))
        other.sendall(b"y")
        assert other.recv(1) == b"y"
        assert gate.metric('refused_total{card="1",cause="no_channel"}') == 3


@pytest.mark.usefixtures("nobody_yields")
def test_connections_are_refused_where_memory_would_not_hold_them() -> None:
    with gateway(policy={"limits": {"memory": "500 KiB"}}) as gate, contextlib.ExitStack() as stack:
        most = (500 << 10) // gate.call(lambda: gate.running.service.ground.cost)
        assert most == 3
        port = gate.port("echo")
        kept = [stack.enter_context(socket.create_connection((gate.address, port), PATIENCE_S)) for _ in range(most)]
        for made in kept:
            made.sendall(b"x")
            assert made.recv(1) == b"x"
        assert not served(gate.address, port, stack)
        assert gate.metric('refused_total{card="1",cause="no_buffer"}') == 1


@pytest.mark.parametrize("name", ["echo", "web", "counter", "directory"])
def test_a_line_of_a_mebibyte(gate: Gate, name: str) -> None:
    port = 7816 if name == "directory" else gate.port(name)
    line = b"x" * (1 << 20)
    with Bystander(gate, 2), socket.create_connection((gate.address, port), PATIENCE_S) as made:

        def pour() -> None:
            with contextlib.suppress(OSError):
                made.sendall(line)
                made.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=pour)
        thread.start()
        with contextlib.suppress(ConnectionResetError):
            answer = read_all(made)
            assert len(answer) == len(line) if name == "echo" else len(answer) < len(line)
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
    gate.idle()


def test_bytes_of_a_card_are_held_to_the_rate_of_its_policy() -> None:
    with gateway(cards=2, policy={"limits": {"bytes_per_second": "20000"}}) as gate:
        data = os.urandom(40_000)
        began = time.monotonic()
        with gate.dial("echo") as made, Bystander(gate, 2):
            threading.Thread(target=lambda: (made.sendall(data), made.shutdown(socket.SHUT_WR))).start()
            assert read_all(made) == data
        took = time.monotonic() - began
        assert took >= 0.9, "20 000 bytes at once and 20 000 a second: 40 000 take a second"
        assert took < PATIENCE_S / 2


# -- cards ---------------------------------------------------------------------------------------------------------------------


def inject(gate: Gate, packets: list[bytes]) -> None:
    """Card 1 sends what no sound stack sends, as fast as its line takes it."""
    chain = gate.rig.chain
    assert chain is not None
    io1 = chain.cards[0].io1

    def one(packet: bytes) -> bool:
        return io1.submit(Kind.CHANNEL, packet, b"hostile")

    for packet in packets:
        while not gate.call(lambda packet=packet: one(packet)):  # type: ignore[misc]
            time.sleep(0.001)
    wait(lambda: gate.call(lambda: len(io1.queue)) == 0)


def test_a_card_that_lies_about_lengths_and_sends_rubbish() -> None:
    random_bytes = random.Random(7816)
    sound = [
        pack(MessageType.OPEN, 0, 1, 0, 4, Open(9, Transport.TCP_CLIENT_REMOTE, 80, 64, Address.none()).encode()),
        pack(MessageType.OPENED, 0, 1, 3, 4, bytes((9, 0, 7, 0, 64))),
        pack(MessageType.DATA, 0, 1, 3, 0, b"data"),
        pack(MessageType.CREDIT, 0, 1, 3, 255),
        pack(MessageType.SHUT, 0, 1, 3, 0),
        pack(MessageType.UNREACHABLE, 0, 1, 0, 0, bytes(12)),
    ]
    packets = []
    for _ in range(1500):
        packet = bytearray(random_bytes.choice(sound))
        for _ in range(random_bytes.randrange(4)):
            packet[random_bytes.randrange(len(packet))] = random_bytes.randrange(256)
        packet[1] = random_bytes.choice((0, 0, 0, 2, 9))
        packets.append(bytes(packet[: random_bytes.randrange(1, len(packet) + 1)]))
    with gateway(cards=2) as gate:
        with Bystander(gate, 2):
            inject(gate, packets)
        table = gate.running.service.host.node.table
        assert gate.call(lambda: table.malformed) > 100
        assert gate.call(lambda: table.violations) > 100
        gate.echo(card=2)


def test_a_card_that_floods_a_channel_that_is_not_open() -> None:
    with gateway(cards=2) as gate:
        with Bystander(gate, 2):
            inject(gate, [pack(MessageType.DATA, 0, 1, 200, 0, bytes(200))] * 2000)
        link = gate.running.service.host.link
        assert gate.call(lambda: link.queue.bytes) < 65_536
        gate.echo()


def test_a_card_that_opens_and_closes_ten_thousand_channels() -> None:
    done: list[int] = []
    worst: list[Cause] = []

    async def restless(io: Communication, system: System) -> None:
        await system.sleep(300)
        if io.node.chain.number != 1:
            return
        for number in range(10_000):
            try:
                await io.close(await io.open(Server(0, "restless")))
            except ChannelError as error:
                worst.append(error.cause)
            if number == 9_999:
                done.append(number)

    with gateway(("restless", restless), cards=2, policy={"limits": {"opens_per_second": "0"}}) as gate:
        before = files_when_all_is_up(gate)
        with Bystander(gate, 2):
            wait(lambda: bool(done), 4 * PATIENCE_S)
        assert worst == []
        wait(lambda: files() <= before + 2)
        assert "restless" not in {each.name for each in gate.services}
        gate.echo()


def test_a_card_that_opens_too_often_is_refused_and_the_others_are_not() -> None:
    causes: list[Cause | None] = []

    async def restless(io: Communication, system: System) -> None:
        await system.sleep(300)
        if io.node.chain.number != 1:
            return
        for _ in range(500):
            try:
                await io.close(await io.open(Server(0, "restless")))
                causes.append(None)
            except ChannelError as error:
                causes.append(error.cause)

    limits = {"opens_per_second": "10", "opens_burst": "50"}
    with gateway(("restless", restless), cards=2, policy={"limits": limits}) as gate:
        wait(lambda: len(causes) == 500)
        assert set(causes) == {None, Cause.NO_CHANNEL}
        assert causes.count(None) <= 50 + 10 * PATIENCE_S
        gate.echo(card=2)


def test_a_card_that_names_forbidden_hosts_over_and_over() -> None:
    causes: list[Cause] = []
    places = [
        Address(AddressKind.IPV4, socket.inet_aton("192.0.2.1")),
        Address(AddressKind.IPV6, socket.inet_pton(socket.AF_INET6, "2001:db8::1")),
        Address(AddressKind.IPV4, bytes(4)),
        Address.none(),
    ]

    async def curious(io: Communication, system: System) -> None:
        await system.sleep(300)
        if io.node.chain.number != 1:
            return
        for number in range(1000):
            try:
                await io.open(Client(80, places[number % len(places)]))
            except ChannelError as error:
                causes.append(error.cause)

    with gateway(("curious", curious), cards=2, policy={"limits": {"opens_per_second": "0"}}) as gate:
        before = files_when_all_is_up(gate)
        with Bystander(gate, 2):
            wait(lambda: len(causes) == 1000)
        assert causes.count(Cause.SECURITY) == 750
        assert causes.count(Cause.NOT_REACHABLE) == 250
        wait(lambda: files() <= before + 2)
        assert gate.metric('refused_total{card="1",cause="security"}') == 750


def test_a_card_that_takes_every_channel_leaves_the_others_theirs() -> None:
    held: list[int] = []

    async def greedy(io: Communication, system: System) -> None:
        await system.sleep(300)
        if io.node.chain.number != 1:
            return
        for _ in range(120):
            try:
                held.append((await io.open(Server(0, "greedy"))).port)
            except ChannelError:
                break
        await system.sleep(3_600_000)

    policy: dict[str, object] = {"limits": {"opens_burst": "500"}}
    with gateway(("greedy", greedy), cards=3, policy=policy, profile="large") as gate:
        wait(lambda: len([each for each in gate.services if each.name == "greedy"]) >= 60)
        time.sleep(0.2)
        of_one = len([each for each in gate.services if each.card == 1])
        assert of_one <= 255 // 3 + 1
        with contextlib.ExitStack() as stack:
            for card in (2, 3):
                for _ in range(40):
                    made = stack.enter_context(gate.dial("echo", card))
                    made.sendall(b"x")
                    assert made.recv(1) == b"x"


def silent(gate: Gate, port: int, count: int, stack: contextlib.ExitStack) -> list[socket.socket]:
    """So many connections that say one letter and nothing more; those beyond what the card has are reset."""
    made = []
    for _ in range(count):
        with contextlib.suppress(ConnectionError):
            each = stack.enter_context(socket.create_connection((gate.address, port), PATIENCE_S))
            each.sendall(b"G")
            made.append(each)
    return made


def test_silent_visitors_do_not_shut_a_card() -> None:
    with gateway(cards=2) as gate, contextlib.ExitStack() as stack:
        silent(gate, gate.port("web"), 40, stack)
        began = time.monotonic()

        def page() -> bool:
            try:
                with gate.dial("web") as made:
                    made.sendall(b"GET / HTTP/1.0\r\n\r\n")
                    return read_all(made).startswith(b"HTTP/1.1 200")
            except ConnectionError:
                return False

        wait(page)
        print(f"served {time.monotonic() - began:.2f} s after 40 silent visitors had come")
        for _ in range(5):
            assert page(), "one after the other, each finds room"
            gate.echo()


def test_memory_held_by_silent_visitors_is_given_to_the_next() -> None:
    with gateway(policy={"limits": {"memory": "500 KiB"}}) as gate, contextlib.ExitStack() as stack:
        silent(gate, gate.port("echo"), 3, stack)
        time.sleep(2.2)
        gate.echo()


def test_a_connection_without_a_byte_is_reset_in_time_and_one_that_talks_is_not() -> None:
    with gateway(policy={"times": {"idle": "300 s"}}) as gate, gate.dial("echo") as busy, gate.dial("echo") as idle:
        for made in (busy, idle):
            made.sendall(b"w")
            assert made.recv(1) == b"w"
        ahead = [0]
        gate.running.service.ground.clock = lambda: time.monotonic_ns() + ahead[0] * 10**9
        for _ in range(4):
            ahead[0] += 100
            busy.sendall(b"x")
            assert busy.recv(1) == b"x"
        with pytest.raises(ConnectionResetError):
            idle.recv(1)
        busy.sendall(b"y")
        assert busy.recv(1) == b"y"


def test_a_card_that_floods_an_open_channel_beyond_its_credit_loses_that_channel_only() -> None:
    with gateway(("deaf", deaf), cards=2) as gate:
        with gate.dial("echo") as flooded, Bystander(gate, 2):
            flooded.sendall(b"x")
            assert flooded.recv(1) == b"x"
            table = gate.running.service.host.node.table

            def number() -> int:
                (found,) = [
                    each.number
                    for each in table.channels
                    if each.peer == 1 and each.port == 7 and not each.transport.is_server
                ]
                return found

            inject(gate, [pack(MessageType.DATA, 0, 1, gate.call(number), 0, bytes(200))] * 400)
            wait(lambda: gate.call(lambda: table.violations) > 0)
            with pytest.raises(ConnectionResetError):
                read_all(flooded)
        assert gate.call(lambda: gate.running.service.host.link.queue.bytes) < 65_536
        gate.echo()


def test_a_chain_has_255_channels_and_the_256th_is_refused_with_01() -> None:
    opened: list[int] = []
    causes: list[Cause] = []

    async def greedy(io: Communication, system: System) -> None:
        await system.sleep(300)
        for _ in range(400):
            try:
                opened.append((await io.open(Server(0, "greedy"))).port)
            except ChannelError as error:
                causes.append(error.cause)
                break
        await system.sleep(3_600_000)

    with gateway(("greedy", greedy), cards=4, policy={"limits": {"opens_burst": "500"}}, profile="large") as gate:
        wait(lambda: len(causes) == 4)
        table = gate.running.service.host.node.table
        assert gate.call(lambda: len(table)) == 255
        assert set(causes) == {Cause.NO_CHANNEL}
        assert len(gate.services) == 255 + 1, "every one is listed, and the APDU port"
