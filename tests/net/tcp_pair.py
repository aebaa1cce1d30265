"""Two nodes with TCP over one link, in memory and in virtual time; what is lost, doubled or late is the test's choice."""

from collections.abc import Callable
from typing import Protocol

from bench.net.connection import Connection, Reason, TcpSettings
from bench.net.node import Node
from bench.net.protocols import address
from bench.net.tcp import Tcp

HZ = 10**9
A4, B4 = address("10.0.0.1"), address("10.0.0.2")
A6, B6 = address("fd00::1"), address("fd00::2")

Fate = Callable[[int, bytes], list[int]]
"""Of the n-th packet: the delays in ticks of its copies; none is a loss."""


class Clock(Protocol):
    """Whatever keeps the time of a test."""

    now: int


class User:
    """One end as a program sees it: sends ``todo``, keeps what comes."""

    def __init__(self, tcp: Tcp, pair: Clock) -> None:
        self.tcp = tcp
        self.pair = pair
        self.connection: Connection | None = None
        self.todo = bytearray()
        self.got = bytearray()
        self.reads = True
        self.finish = False
        """Close once everything was given to send."""
        self.answers_end = True
        """Close when the peer has."""
        self.opened_at: int | None = None
        self.reason: Reason | None = None

    def write(self, data: bytes) -> None:
        self.todo += data
        if self.connection is not None:
            self.room(self.connection)

    def read(self, most: int = 1 << 30) -> None:
        assert self.connection is not None
        self.got += self.tcp.read(self.connection, most, self.pair.now)

    def opened(self, connection: Connection) -> None:
        self.connection = connection
        self.opened_at = self.pair.now
        self.room(connection)

    def received(self, connection: Connection) -> None:
        if self.reads:
            self.got += self.tcp.read(connection, 1 << 30, self.pair.now)
        self._end(connection)

    def room(self, connection: Connection) -> None:
        while self.todo and (room := connection.send_room):
            taken = self.tcp.send(connection, bytes(self.todo[:room]), self.pair.now)
            del self.todo[:taken]
            if not taken:
                return
        self._end(connection)

    def _end(self, connection: Connection) -> None:
        answers = self.answers_end and connection.peer_ended and not connection.readable
        if not self.todo and (self.finish or answers):
            self.tcp.close(connection, self.pair.now)

    def closed(self, _connection: Connection, reason: Reason) -> None:
        self.reason = reason


class Pair:
    """A client and a server; ``run`` carries packets and time."""

    def __init__(
        self,
        mtu: int = 576,
        *,
        v6: bool = False,
        delay: int = HZ // 100,
        fate: Fate | None = None,
        settings: TcpSettings | None = None,
        server_settings: TcpSettings | None = None,
    ) -> None:
        self.now = 0
        self.delay = delay
        self.fate = fate
        self.seen: list[tuple[int, bool, bytes]] = []
        """When, whether from the client, and each packet as sent."""
        self._count = 0
        self._waiting: list[tuple[int, int, Node, bytes]] = []
        self.a, self.b = Node(HZ), Node(HZ)
        self.a.add_interface("a", mtu, lambda data: self._send(self.b, data))
        self.b.add_interface("b", mtu, lambda data: self._send(self.a, data))
        for node, four, six in ((self.a, A4, A6), (self.b, B4, B6)):
            node.assign(0, four, 24)
            node.assign(0, six, 64)
        own = settings or TcpSettings.usual(HZ)
        self.ta = Tcp(self.a, own, secret=b"a")
        self.tb = Tcp(self.b, server_settings or own, secret=b"b")
        self.client = User(self.ta, self)
        self.server = User(self.tb, self)
        self.remote = B6 if v6 else B4
        self.tb.listen(80, lambda _connection: self.server)

    def _send(self, to: Node, data: bytes) -> bool:
        self.seen.append((self.now, to is self.b, data))
        delays = [0] if self.fate is None else self.fate(self._count, data)
        for extra in delays:
            self._waiting.append((self.now + self.delay + extra, len(self.seen), to, data))
        self._count += 1
        return True

    def connect(self) -> Connection:
        connection = self.client.connection = self.ta.connect(self.remote, 80, self.client, self.now)
        return connection

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """Carry on for so long, or until ``until``."""
        end = self.now + round(seconds * HZ)
        while not until():
            self._waiting.sort(key=lambda each: each[:2])
            dues = [each for each in (self.ta.due, self.tb.due, self.a.deadline, self.b.deadline) if each is not None]
            if self._waiting:
                dues.append(self._waiting[0][0])
            due = min(dues, default=end)
            if due >= end:
                self.now = end
                return
            self.now = max(self.now, due)
            if self._waiting and self._waiting[0][0] <= self.now:
                _, _, to, data = self._waiting.pop(0)
                to.receive(0, data, self.now)
                continue
            for each in (self.ta, self.tb, self.a, self.b):
                each.tick(self.now)
