"""The four calls on the IP stack: the same applications, over the card's own TCP and UDP.

What has no counterpart: TCP keeps no borders between messages, so ``receive`` gives what has come, at most ``Handle.payload`` bytes at a time. A UDP
service takes each peer as a visitor of its own, who has left when nothing came from him for a minute, or when another one needs his place.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Final

from bench.card.communication import BACKLOG, Accept, ChannelError, Client, Handle, OpenRequest, Server
from bench.card.ip_stack import CardIp
from bench.card.tasks import Promise
from bench.channels.message import HOST, Address, AddressKind, Cause
from bench.engine import Timer
from bench.net.chain_control import address_of
from bench.net.connection import Connection, Reason
from bench.net.node import ErrorReport, Sent
from bench.net.tcp import Listener, TcpError
from bench.net.udp import HEADER
from bench.net.udp_ports import Datagram, UdpError, UdpPort

UDP_IDLE_NS: Final = 60 * 10**9
"""After so long without a datagram a visitor of a UDP service is gone."""
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
Resolve = Callable[[CardIp, str], Awaitable[bytes]]
"""Finds the address of a name. Raises ChannelError."""


class _End:
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


class _Stream(_End):
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


class _Peer(_End):
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


class _Service(_End):
    """A server: connections and visitors that nobody has taken yet."""

    def __init__(self, io: "IpCommunication", number: int, serial: int, name: str) -> None:
        super().__init__(number, serial)
        self.io = io
        self.name = name
        self.waiting: deque[_End] = deque()
        self.listener: Listener | None = None
        self.udp: UdpPort | None = None
        self.visitors: dict[tuple[bytes, int], _Peer] = {}
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

    def visited(self, connection: Connection) -> _Stream:
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

    def _gone(self, visitor: _Peer) -> None:
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


class IpCommunication:
    """The four calls of one card on its IP stack. A ``Communication``."""

    def __init__(self, ip: CardIp) -> None:
        self.ip = ip
        self.idle = ip.engine.timebase.nanoseconds(UDP_IDLE_NS)
        self.may_open: Callable[[], bool] = _always
        """Whether memory allows one more channel."""
        self.resolve: Resolve = _no_names
        self._serial = 0
        self._ends: dict[int, _End] = {}
        self._numbers: set[int] = set()
        self._addressed: Promise[None] = Promise()
        ip.on_addresses = self._readdressed

    @property
    def now(self) -> int:
        return self.ip.engine.now

    # -- the four calls ------------------------------------------------------------------------------------------------

    async def open(self, request: OpenRequest) -> Handle:
        """See ``Communication``. Waits while the card has no address."""
        while not self._addressed.done:
            await self._addressed
        if isinstance(request, Accept):
            return await self._accept(request.listener)
        if not self.may_open():
            raise ChannelError(Cause.NO_BUFFER, f"open {request}")
        end: _End
        if isinstance(request, Server):
            end = self._serve(request)
        elif request.udp:
            end = self._dial_udp(request, *await self._whom(request))
        else:
            end = await self._dial_tcp(request, *await self._whom(request))
        self._ends[end.serial] = end
        return end.handle

    async def close(self, handle: Handle) -> None:
        """See ``Communication``."""
        end = self._ends.pop(handle.serial, None)
        if end is None:
            return
        self._numbers.discard(end.number)
        end.close()
        end.cause = end.cause or Cause.CHANNEL_CLOSED
        end.wake()

    async def send(self, handle: Handle, message: bytes) -> None:
        """See ``Communication``."""
        if len(message) > handle.payload:
            raise ChannelError(
                Cause.NO_BUFFER,
                f"send {len(message)} bytes on channel {handle.number}, which takes {handle.payload} at a time",
            )
        end = self._sendable(handle)
        if not message and isinstance(end, _Stream):
            return  # a stream has no empty messages
        while True:
            taken = end.give(message)
            if taken is not None and taken >= len(message):
                return
            message = message[taken or 0 :]
            await end.moved()
            end = self._sendable(handle)

    async def receive(self, handle: Handle) -> bytes | None:
        """See ``Communication``."""
        end = self._end(handle, "receive")
        while (message := end.take()) is None:
            if end.cause not in (None, Cause.NONE):
                raise ChannelError(end.cause or Cause.NONE, f"receive on channel {handle.number}")
            if end.ended or end.cause is not None:
                return None
            await end.moved()
        return message

    # -- what the card tells -------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Power is off."""
        for end in self._ends.values():
            if isinstance(end, _Service) and end.timer is not None:
                end.timer.cancel()
        self._ends.clear()
        self._numbers.clear()
        self._addressed = Promise()

    def _readdressed(self) -> None:
        if self.ip.addresses:
            self._addressed.keep(None)
        elif self._addressed.done:
            self._addressed = Promise()

    # -- servers -------------------------------------------------------------------------------------------------------

    def _serve(self, request: Server) -> _Service:
        service = _Service(self, *self._names(), request.name)
        try:
            if request.udp:
                service.udp = self.ip.udp.bind(request.port)
                service.udp.on_datagram = service.arrived
                service.udp.on_error = service.failed
                service.udp.on_room = service.room
                service.port = service.udp.port
            else:
                service.listener = self.ip.tcp.listen(request.port, service.visited, refuses=service.refuses)
                service.port = service.listener.port
        except (UdpError, TcpError) as error:
            self._numbers.discard(service.number)
            raise ChannelError(Cause.PORT_NOT_AVAILABLE, f"open {request}: {error}") from None
        return service

    async def _accept(self, handle: Handle) -> Handle:
        service = self._ends.get(handle.serial)
        if not isinstance(service, _Service):
            raise ChannelError(Cause.NOT_VALID, f"accept on channel {handle.number}, which is no server")
        while not service.waiting:
            if service.cause is not None:
                raise ChannelError(service.cause, f"accept on channel {handle.number}")
            await service.moved()
        end = service.waiting.popleft()
        if service.waiting:
            service.wake()
        self._ends[end.serial] = end
        return end.handle

    def free(self, end: _End) -> None:
        """Its number may be used again."""
        self._numbers.discard(end.number)

    def new_stream(self) -> _Stream:
        """A stream without a connection yet."""
        return _Stream(self, *self._names())

    def new_peer(self, port: UdpPort, remote: tuple[bytes, int]) -> _Peer:
        """A UDP conversation."""
        return _Peer(self, *self._names(), port, remote)

    # -- clients -------------------------------------------------------------------------------------------------------

    async def _whom(self, request: Client) -> tuple[bytes, int]:
        """Address and port of what is asked for."""
        if request.node != HOST:
            return self._card(request.node), request.port or self._service_port(request)
        address = request.address
        if address.kind in (AddressKind.IPV4, AddressKind.IPV6):
            return address.value, request.port
        if address.kind is AddressKind.NAME:
            return await self.resolve(self.ip, address.value.decode("ascii", "replace")), request.port
        raise ChannelError(Cause.NOT_REACHABLE, f"open {request}: no address")

    def _card(self, node: int) -> bytes:
        """The address of a card of this chain by its number: IPv4 where the chain has it."""
        for size in (4, 16):
            prefix = self.ip.prefixes.get(size)
            if prefix is not None and any(len(each) == size for each in self.ip.addresses):
                if node == self.ip.junction.chain.number:
                    return next(each for each in self.ip.addresses if len(each) == size)
                return address_of(prefix, node)
        raise ChannelError(Cause.NOT_REACHABLE, f"card {node}: the chain has no prefix")

    def _service_port(self, request: Client) -> int:
        """A service asked for by name: cards of one chain offer the same ones at the same ports."""
        for end in self._ends.values():
            if isinstance(end, _Service) and request.address == Address.name(end.name):
                return end.port
        raise ChannelError(Cause.SERVICE_UNKNOWN, f"open {request}")

    async def _dial_tcp(self, request: Client, address: bytes, port: int) -> _Stream:
        stream = self.new_stream()
        try:
            stream.connection = self.ip.tcp.connect(address, port, stream, self.now)
        except TcpError as error:
            self._numbers.discard(stream.number)
            full = len(self.ip.tcp.connections) >= self.ip.tcp.limit
            raise ChannelError(Cause.NO_CHANNEL if full else Cause.NOT_REACHABLE, f"open {request}: {error}") from None
        stream.port = stream.connection.ends.local_port
        while not stream.is_open and stream.cause is None:
            await stream.moved()
        if not stream.is_open:
            self._numbers.discard(stream.number)
            raise ChannelError(stream.cause or Cause.NOT_REACHABLE, f"open {request}")
        return stream

    def _dial_udp(self, request: Client, address: bytes, port: int) -> _Peer:
        try:
            bound = self.ip.udp.bind(remote=(address, port))
        except UdpError as error:
            raise ChannelError(Cause.NO_CHANNEL, f"open {request}: {error}") from None
        peer = self.new_peer(bound, (address, port))
        peer.port = bound.port
        bound.on_datagram = peer.wake
        bound.on_error = peer.failed
        bound.on_room = peer.wake
        peer.on_close = lambda: self.ip.udp.close(bound)
        return peer

    # -- numbers -------------------------------------------------------------------------------------------------------

    def _names(self) -> tuple[int, int]:
        """The lowest number that is free, and a serial number."""
        self._serial += 1
        number = next(each for each in range(1, len(self._numbers) + 2) if each not in self._numbers)
        self._numbers.add(number)
        return number, self._serial

    def _end(self, handle: Handle, what: str) -> _End:
        end = self._ends.get(handle.serial)
        if end is None:
            raise ChannelError(Cause.NOT_VALID, f"{what} on channel {handle.number}")
        if isinstance(end, _Service):
            raise ChannelError(Cause.NOT_VALID, f"{what} on channel {handle.number}, which is a server's")
        return end

    def _sendable(self, handle: Handle) -> _End:
        end = self._end(handle, "send")
        if end.cause is None:
            return end
        raise ChannelError(end.cause or Cause.CHANNEL_CLOSED, f"send on channel {handle.number}")


async def _no_names(_ip: CardIp, name: str) -> bytes:
    raise ChannelError(Cause.NOT_REACHABLE, f"the name {name!r}: no name server")


def _nothing() -> None:
    pass


def _always() -> bool:
    return True
