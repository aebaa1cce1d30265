"""The conversations of an application on the IP stack: streams over TCP, peers over UDP, and the services that both visit.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections import deque
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from bench.card.communication import BACKLOG, ChannelError, Handle
from bench.card.tasks import Promise
from bench.channels.message import Cause
from bench.engine import Timer
from bench.net.connection import Connection, Reason
from bench.net.node import ErrorReport, Sent
from bench.net.tcp import Listener
from bench.net.udp import HEADER
from bench.net.udp_ports import Datagram, UdpPort

if TYPE_CHECKING:
    from bench.card.ip_communication import IpCommunication

CAUSES: Final[Mapping[Reason, Cause]] = MappingProxyType(
    {
        Reason.FINISHED: Cause.NONE,
        Reason.ABORTED: Cause.CHANNEL_CLOSED,
        Reason.RESET: Cause.CHANNEL_CLOSED,
        Reason.REFUSED: Cause.SERVICE_UNKNOWN,
        Reason.TIMED_OUT: Cause.NOT_REACHABLE,
        Reason.UNREACHABLE: Cause.NOT_REACHABLE,
    }
)
"""The same words as on the channel stack."""


class End:
    """One conversation as its application sees it."""

    def __init__(self, number: int, serial: int) -> None:
        self.number = number
        self.serial = serial
        self.port = 0
        self.payload = 0
        self.cause: Cause | None = None
        """Why it is over; None while it is not."""
        self.ended = False
        """The other side will send no more."""
        self._moved: Promise[None] | None = None

    @property
    def handle(self) -> Handle:
        return Handle(self.number, self.port, self.payload, self.serial)

    def moved(self) -> Promise[None]:
        """What a thread awaits that waits for anything at all."""
        if self._moved is None or self._moved.done:
            self._moved = Promise()
        return self._moved

    def wake(self) -> None:
        """Whoever waits shall look again."""
        if self._moved is not None:
            self._moved.keep(None)

    def take(self) -> bytes | None:
        """What has come, None where nothing has."""
        raise NotImplementedError

    def give(self, message: bytes) -> int | None:
        """Send; gives how many bytes were taken, None where nothing could be now."""
        raise NotImplementedError

    def close(self) -> None:
        """The application is done with it."""
        raise NotImplementedError


class Stream(End):
    """Over TCP: the connection's Owner."""

    def __init__(self, io: "IpCommunication", number: int, serial: int) -> None:
        super().__init__(number, serial)
        self.io = io
        self.is_open = False
        self.connection: Connection | None = None

    def take(self) -> bytes | None:
        assert self.connection is not None
        return self.io.ip.tcp.read(self.connection, self.payload, self.io.now) or None

    def give(self, message: bytes) -> int | None:
        assert self.connection is not None
        return self.io.ip.tcp.send(self.connection, message, self.io.now) or None

    def close(self) -> None:
        if self.connection is not None and self.cause is None:
            self.io.ip.tcp.close(self.connection, self.io.now, deaf=True)

    # -- an Owner ------------------------------------------------------------------------------------------------------

    def opened(self, connection: Connection) -> None:
        self.connection = connection
        self.is_open = True
        self.payload = max(1, min(connection.mss, connection.settings.send_buffer))
        self.wake()

    def received(self, connection: Connection) -> None:
        self.ended = connection.peer_ended
        self.wake()

    def room(self, connection: Connection) -> None:
        del connection
        self.wake()

    def closed(self, connection: Connection, reason: Reason) -> None:
        del connection
        if self.cause is None:
            self.cause = CAUSES[reason]
        self.ended = True
        self.wake()


class Peer(End):
    """Over UDP: a client's port of its own, or a visitor of a service."""

    def __init__(
        self, io: "IpCommunication", number: int, serial: int, port: UdpPort, remote: tuple[bytes, int]
    ) -> None:
        super().__init__(number, serial)
        self.io = io
        self.udp = port
        self.remote = remote
        self.source = b""
        self.inbox: deque[bytes] | None = None
        """Of a visitor: what came from him; a client reads its own port."""
        self.on_close: Callable[[], None] = _nothing
        self.heard = io.now
        settings = io.ip.settings
        self.payload = max(
            io.ip.udp.room(remote[0], io.now), min(settings.udp.bytes, settings.reassembly.longest) - HEADER
        )
        """As long a datagram as the card could take itself; what is longer than the path's MTU goes in fragments."""

    def take(self) -> bytes | None:
        if self.inbox is not None:
            return self.inbox.popleft() if self.inbox else None
        datagram = self.udp.take()
        return None if datagram is None else datagram.payload

    def give(self, message: bytes) -> int | None:
        address, port = self.remote
        sent = self.io.ip.udp.send(self.udp, address, port, message, self.io.now, source=self.source)
        if sent is Sent.BUSY:
            return None
        if sent is Sent.NO_ROUTE:
            raise ChannelError(Cause.NOT_REACHABLE, f"send on channel {self.number}")
        return len(message)

    def close(self) -> None:
        self.on_close()

    def failed(self, report: ErrorReport) -> None:
        """An ICMP error: a hard one ends the conversation (RFC 1122, 4.1.3.3)."""
        if report.hard and self.cause is None:
            self.over(Cause.SERVICE_UNKNOWN)

    def over(self, cause: Cause) -> None:
        """It ends from outside."""
        if self.cause is None:
            self.cause = cause
            self.ended = True
            self.wake()


class Service(End):
    """A server: connections and visitors that nobody has taken yet."""

    def __init__(self, io: "IpCommunication", number: int, serial: int, name: str) -> None:
        super().__init__(number, serial)
        self.io = io
        self.name = name
        self.waiting: deque[End] = deque()
        self.listener: Listener | None = None
        self.udp: UdpPort | None = None
        self.visitors: dict[tuple[bytes, int], Peer] = {}
        self.timer: Timer | None = None

    def close(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
        if self.listener is not None:
            self.io.ip.tcp.unlisten(self.listener, self.io.now)
        for end in self.waiting:
            end.close()
            self.io.free(end)
        for visitor in list(self.visitors.values()):
            visitor.over(Cause.CHANNEL_CLOSED)
        if self.udp is not None:
            self.io.ip.udp.close(self.udp)

    # -- TCP -----------------------------------------------------------------------------------------------------------

    def refuses(self) -> bool:
        """Nobody takes what came before, or memory is short: a reset is the answer."""
        return len(self.waiting) >= BACKLOG or not self.io.may_open()

    def visited(self, connection: Connection) -> Stream:
        """An Owner for a connection that is open."""
        stream = self.io.new_stream()
        stream.connection = connection
        stream.port = self.port
        self.waiting.append(stream)
        self.wake()
        return stream

    # -- UDP -----------------------------------------------------------------------------------------------------------

    def arrived(self) -> None:
        """A datagram came to the port: to its visitor, who may be new."""
        assert self.udp is not None
        while (datagram := self.udp.take()) is not None:
            self._hand(datagram)

    def _hand(self, datagram: Datagram) -> None:
        assert self.udp is not None
        remote = (datagram.source, datagram.source_port)
        visitor = self.visitors.get(remote)
        if visitor is None:
            most = self.io.ip.profile.visitors
            if len(self.waiting) >= BACKLOG:
                self.udp.dropped += 1
                return
            while len(self.visitors) >= most:
                self._gone(min(self.visitors.values(), key=lambda each: each.heard))
            visitor = self.visitors[remote] = self.io.new_peer(self.udp, remote)
            visitor.inbox = deque()
            visitor.source = datagram.destination
            visitor.port = self.port
            visitor.on_close = lambda: self._forget(remote)
            self.waiting.append(visitor)
            self._watch()
            self.wake()
        assert visitor.inbox is not None
        if len(visitor.inbox) >= self.udp.bounds.datagrams:
            self.udp.dropped += 1
            return
        visitor.heard = self.io.now
        visitor.inbox.append(datagram.payload)
        visitor.wake()

    def failed(self, report: ErrorReport) -> None:
        """An ICMP error about an answer: its visitor's port is gone."""
        if len(report.quoted) >= 4:
            visitor = self.visitors.get((report.destination, int.from_bytes(report.quoted[2:4], "big")))
            if visitor is not None and report.hard:
                self._gone(visitor)

    def room(self) -> None:
        """The link takes packets again."""
        for visitor in self.visitors.values():
            visitor.wake()

    def _gone(self, visitor: Peer) -> None:
        self.visitors.pop(visitor.remote, None)
        visitor.over(Cause.NONE)

    def _forget(self, remote: tuple[bytes, int]) -> None:
        self.visitors.pop(remote, None)

    def _watch(self) -> None:
        if self.timer is None and self.visitors:
            oldest = min(each.heard for each in self.visitors.values())
            self.timer = self.io.ip.engine.at(oldest + self.io.idle, self._look)

    def _look(self) -> None:
        self.timer = None
        for visitor in list(self.visitors.values()):
            if self.io.now - visitor.heard >= self.io.idle:
                self._gone(visitor)
        self._watch()


def _nothing() -> None:
    pass
