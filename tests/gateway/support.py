"""A gateway in this process, on ports of a loopback address of its own, with short words for what tests do with it."""

import contextlib
import itertools
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

from bench.card.applications import STANDARD
from bench.card.applications.serving import serve
from bench.card.communication import ChannelError, Client, Communication, Handle, Server, System
from bench.card.profile import Application
from bench.card.tasks import Program
from bench.channels.message import Address, AddressKind
from bench.commands.gateway import RunningGateway, serve_rig
from bench.host.drive import SlavedDrive
from bench.host.gateway import Service
from bench.host.log import Log
from bench.host.policy import Policy
from bench.rig.build import Rig
from bench.rig.given import Given
from bench.rig.model import RigModel

T = TypeVar("T")

PATIENCE_S = 60.0
"""How long a loaded machine may take for what a quiet one does at once: nothing waits that long where all is well."""

_numbers = itertools.count(1)
RESET = struct.pack("ii", 1, 0)
MODEL = RigModel.model_validate({"name": "software", "reader": {"kind": "software"}})


def own_address() -> str:
    """A loopback address nobody else uses: each gateway of each worker may have port 7816 to itself."""
    pid = os.getpid()
    return f"127.{20 + (pid >> 8) % 200}.{pid % 256}.{next(_numbers) % 250 + 2}"


class Gate:
    """A running gateway and its one address."""

    def __init__(self, running: RunningGateway, address: str) -> None:
        self.running = running
        self.address = address

    @property
    def rig(self) -> Rig:
        return self.running.rig

    @property
    def services(self) -> list[Service]:
        return self.running.service.services()

    def port(self, name: str, card: int = 1) -> int:
        """The port of a card's service; waits until it is listed."""
        found: list[int] = []

        def look() -> bool:
            found[:] = [each.port for each in self.services if (each.name, each.card) == (name, card)]
            return bool(found)

        wait(look)
        return found[0]

    def dial(self, name: str, card: int = 1, timeout: float = PATIENCE_S) -> socket.socket:
        """A TCP connection to a card's service."""
        return socket.create_connection((self.address, self.port(name, card)), timeout)

    def echo(self, data: bytes = b"still here", card: int = 1) -> float:
        """A conversation with the card's echo, from connection to end; gives its seconds."""
        began = time.monotonic()
        with self.dial("echo", card) as made:
            made.sendall(data)
            made.shutdown(socket.SHUT_WR)
            assert read_all(made) == data
        return time.monotonic() - began

    def remove(self, card: int) -> None:
        chain = self.rig.chain
        assert chain is not None
        self.call(lambda: chain.remove(card))

    def insert(self, card: int) -> None:
        chain = self.rig.chain
        assert chain is not None
        self.call(lambda: chain.insert(card))

    def call(self, function: Callable[[], T]) -> T:
        return self.running.drive.call(function)

    @property
    def connections(self) -> int:
        """What the gateway still has under way: sockets, or pipes between them and cards."""
        service = self.running.service
        return self.call(lambda: service.uplink.connections + service.host.gateway.connections)

    def idle(self) -> None:
        """Wait until no connection is left. A peer of a UDP service counts for ``udp_idle`` after its last datagram: UDP has no end."""
        wait(lambda: self.connections == 0, why=self._left)

    def _left(self) -> str:
        uplink = self.running.service.uplink
        named = self.call(
            lambda: [("tcp", each.name) for each in uplink._tcp] + [("udp", each.name) for each in uplink._udp]
        )
        return f"left are {named}"

    def processor_s(self) -> float:
        """Seconds of processor time that the gateway's thread has used: what others do on the machine does not count."""
        drive = self.running.drive
        assert isinstance(drive, SlavedDrive)
        assert drive._thread.ident is not None
        return time.clock_gettime(time.pthread_getcpuclockid(drive._thread.ident))

    def metric(self, line: str) -> float:
        """A sample of the metrics text, by its name and labels; 0 where there is none."""
        for each in self.running.service.metrics_text().splitlines():
            name, _, value = each.rpartition(" ")
            if name == "cardbench_gateway_" + line:
                return float(value)
        return 0.0


@contextlib.contextmanager
def gateway(
    *applications: tuple[str, Application],
    cards: int = 1,
    policy: dict[str, object] | None = None,
    admin: int | None = None,
    log: Log | None = None,
    prepare: Callable[[Rig], None] | None = None,
    paced: bool = False,
    **given: str,
) -> Iterator[Gate]:
    """A gateway on a software chain; ``applications`` are carried by every card beside the standard ones. Everything is up when the body begins."""
    address = own_address()
    tree: dict[str, object] = {"listen": [address], **(policy or {})}

    def ready(rig: Rig) -> None:
        assert rig.chain is not None
        if applications:
            for card in rig.chain.cards:
                card.profile = replace(card.profile, applications=(*STANDARD, *applications))
        if prepare is not None:
            prepare(rig)

    conditions = Given.model_validate({"cards": str(cards), "mtu": "256", "ta1": "96", **given})
    running = serve_rig(
        MODEL, conditions, Policy.model_validate(tree), log or Log(None), admin=admin, paced=paced, prepare=ready
    )
    gate = Gate(running, address)
    try:
        standard = {name for name, _ in STANDARD}
        assert running.rig.chain is not None
        wanted = {
            (number, name)
            for number, card in enumerate(running.rig.chain.cards, start=1)
            for name, _ in card.profile.applications
            if name in standard
        }
        wait(lambda: {(each.card, each.name) for each in gate.services} >= wanted)
        yield gate
        assert running.drive.failure() is None
        assert gate.metric("faults_total") == 0
    finally:
        running.stop(drain=False)


def wait(done: Callable[[], bool], seconds: float = PATIENCE_S, why: Callable[[], str] = str) -> float:
    """Wait until ``done``; gives how long that took. Fails where it does not come to pass, with what ``why`` says then."""
    began = time.monotonic()
    while not done():
        assert time.monotonic() - began < seconds, f"not within {seconds} s {why()}"
        time.sleep(0.01)
    return time.monotonic() - began


def read_all(made: socket.socket) -> bytes:
    """Everything until the other side ends."""
    parts = []
    while part := made.recv(65_536):
        parts.append(part)
    return b"".join(parts)


def read_exactly(made: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = made.recv(count - len(data))
        assert part, f"the end after {len(data)} of {count} bytes"
        data += part
    return data


def reset(made: socket.socket) -> None:
    """Close with RST."""
    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    made.close()


# -- applications of the card ------------------------------------------------------------------------------------------------

CALLER = 2000


async def caller(io: Communication, system: System) -> None:
    """The first message says whom to call (``udp localhost 53``); the answer is ``connected`` or ``refused CAUSE``, then it relays."""

    def talk(io: Communication, channel: Handle) -> Program:
        return _call(io, system, channel)

    await serve(io, system, Server(CALLER, "caller"), talk)


async def _call(io: Communication, system: System, channel: Handle) -> None:
    order = (await io.receive(channel) or b"").decode().split()
    try:
        far = await io.open(Client(int(order[2]), address(order[1]), udp=order[0] == "udp"))
    except ChannelError as error:
        await io.send(channel, f"refused {error.cause:02x}\n".encode())
        return
    await io.send(channel, b"connected\n")

    async def back() -> None:
        try:
            while (message := await io.receive(far)) is not None:
                await io.send(channel, message)
            await io.close(channel)
        except ChannelError as error:
            with contextlib.suppress(ChannelError):
                await io.send(channel, f"lost {error.cause:02x}\n".encode())
            await io.close(channel)

    system.start(back(), "back")
    try:
        while (message := await io.receive(channel)) is not None:
            await io.send(far, message)
    finally:
        await io.close(far)


def address(text: str) -> Address:
    for family, kind in ((socket.AF_INET, AddressKind.IPV4), (socket.AF_INET6, AddressKind.IPV6)):
        with contextlib.suppress(OSError):
            return Address(kind, socket.inet_pton(family, text))
    return Address.name(text)


async def udp_echo(io: Communication, system: System) -> None:
    async def talk(io: Communication, channel: Handle) -> None:
        while (message := await io.receive(channel)) is not None:
            await io.send(channel, message)

    await serve(io, system, Server(2001, "udp-echo", udp=True), talk)


async def deaf(io: Communication, system: System) -> None:
    """Accepts and never receives."""

    async def talk(io: Communication, channel: Handle) -> None:
        del io, channel
        await system.sleep(3_600_000)

    await serve(io, system, Server(2002, "deaf"), talk)


FORWARDER = 2004


def forwarder(port: int, far_address: str = "127.0.0.1", *, offered: int = FORWARDER) -> Application:
    """An application that hands every connection on to a port somewhere, of this machine at first: the card between two programs."""

    async def talk(io: Communication, system: System, channel: Handle) -> None:
        far = await io.open(Client(port, address(far_address)))

        async def back() -> None:
            with contextlib.suppress(ChannelError):
                while (message := await io.receive(far)) is not None:
                    for at in range(0, len(message), channel.payload):
                        await io.send(channel, message[at : at + channel.payload])
            await io.close(channel)

        system.start(back(), "back")
        try:
            while (message := await io.receive(channel)) is not None:
                for at in range(0, len(message), far.payload):
                    await io.send(far, message[at : at + far.payload])
        finally:
            await io.close(far)

    async def forward(io: Communication, system: System) -> None:
        await serve(io, system, Server(offered, "forwarder"), lambda io, channel: talk(io, system, channel))

    return forward


def call(gate: Gate, order: str) -> tuple[socket.socket, bytes]:
    """Have the card call someone; gives the connection to the card and its first line."""
    made = gate.dial("caller")
    made.sendall(order.encode())
    line = b""
    while not line.endswith(b"\n"):
        part = made.recv(1)
        assert part, "the card has closed"
        line += part
    return made, line.strip()
