"""The system communication interface of the paper (2.2): open, close, send, receive. Nothing else is needed to write an application of the card.

async def echo(io: Communication, system: System) -> None:
    listener = await io.open(Server(port=7, name="echo"))
    while True:
        channel = await io.open(Accept(listener))
        while (message := await io.receive(channel)) is not None:
            await io.send(channel, message)
        await io.close(channel)
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from bench.card.files import FileSystem
from bench.card.tasks import Program, Promise, Threads
from bench.channels.channel import Channel, State
from bench.channels.message import HOST, Address, AddressKind, Cause, Open, Transport
from bench.channels.node import ChannelNode
from bench.channels.table import NoChannelError

BACKLOG = 4
"""Connections a listener holds for ``Accept`` before it refuses."""


class ChannelError(Exception):
    """A call failed. ``cause`` is ETSI's; the text says which call on which channel."""

    def __init__(self, cause: Cause, what: str) -> None:
        super().__init__(f"{what}: {cause.text}")
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Server:
    """Open: offer a service. Port 0 lets the host choose; a datagram service says ``udp``.

    ``weight`` (1, 2, 4 or 8) is how many shares of a line each connection to it shall have; other stacks than the channel stack have no such thing.
    """

    port: int
    name: str
    udp: bool = False
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Client:
    """Open: connect through the host to any address and port (``name`` or IP bytes), or to a service of card ``node``; ``weight`` as for a server."""

    port: int
    address: Address
    node: int = HOST
    udp: bool = False
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Accept:
    """Open: wait for the next connection to a server's channel."""

    listener: "Handle"


OpenRequest: TypeAlias = Server | Client | Accept


@dataclass(frozen=True, slots=True)
class Handle:
    """What open returns: the channel's number on this card, its port, and the longest message it takes."""

    number: int
    port: int
    payload: int
    serial: int
    """Tells this channel from later ones of the same number."""


class System:
    """What a card gives its applications besides the four calls: threads, processor time, and its files."""

    def __init__(self, threads: Threads, files: FileSystem) -> None:
        self._threads = threads
        self.files = files

    def start(self, program: Program, name: str) -> None:
        """Start another thread."""
        self._threads.start(program, name)

    def compute(self, milliseconds: int) -> Promise[None]:
        """Use the processor for so long."""
        return self._threads.compute(self._threads.engine.timebase.nanoseconds(milliseconds * 10**6))

    def sleep(self, milliseconds: int) -> Promise[None]:
        """Wait for so long."""
        return self._threads.sleep(self._threads.engine.timebase.nanoseconds(milliseconds * 10**6))


class Communication(Protocol):
    """The four calls, whichever stack carries them. A handle belongs to the one that opened it."""

    async def open(self, request: OpenRequest) -> Handle:
        """Open a channel: offer a service, connect as a client, or take the next connection. Raises ChannelError."""

    async def close(self, handle: Handle) -> None:
        """Close a channel; what was sent on it is still delivered. Closing a server ends the service."""

    async def send(self, handle: Handle, message: bytes) -> None:
        """Send at most ``handle.payload`` bytes; waits until the channel takes them. Raises ChannelError."""

    async def receive(self, handle: Handle) -> bytes | None:
        """The next message, or bytes of a stream; None when the other side will send no more. Raises ChannelError."""


class _End:
    """One channel as its application sees it: the channel's owner."""

    def __init__(self, serial: int) -> None:
        self.serial = serial
        self.opening: Promise[None] = Promise()
        self.receiving: Promise[None] | None = None
        self.sending: Promise[None] | None = None
        self.waiting: deque[_End] = deque()
        """Of a server: connections nobody has taken yet."""
        self.accepting: deque[Promise[_End]] = deque()
        self.cause: Cause | None = None
        self.ended = False
        self._channel: Channel | None = None

    @property
    def channel(self) -> Channel:
        assert self._channel is not None
        return self._channel

    @channel.setter
    def channel(self, channel: Channel) -> None:
        self._channel = channel

    @property
    def handle(self) -> Handle:
        channel = self.channel
        return Handle(channel.number, channel.port, channel.payload, self.serial)

    def incoming(self) -> Promise[None]:
        """What a thread awaits that wants to receive."""
        if self.receiving is None or self.receiving.done:
            self.receiving = Promise()
        return self.receiving

    def outgoing(self) -> Promise[None]:
        """What a thread awaits that wants to send."""
        if self.sending is None or self.sending.done:
            self.sending = Promise()
        return self.sending

    def wake(self) -> None:
        """Whoever waits for this channel shall look again."""
        for promise in (self.receiving, self.sending):
            if promise is not None:
                promise.keep(None)

    def desert(self, error: ChannelError) -> None:
        """A server ends: whoever waits at it, on either side, is told."""
        while self.accepting:
            self.accepting.popleft().fail(error)
        while self.waiting:
            self.waiting.popleft().channel.close(Cause.CHANNEL_CLOSED)

    # -- what the channel tells: a ChannelOwner ------------------------------------------------------------------------

    def opened(self, channel: Channel) -> None:
        del channel
        self.opening.keep(None)

    def received(self, channel: Channel) -> None:
        del channel
        if self.receiving is not None:
            self.receiving.keep(None)

    def room(self, channel: Channel) -> None:
        del channel
        if self.sending is not None:
            self.sending.keep(None)

    def shut(self, channel: Channel) -> None:
        self.ended = True
        self.received(channel)

    def closed(self, channel: Channel, cause: Cause) -> None:
        self.cause = cause
        error = ChannelError(cause, f"channel {channel.number}")
        self.opening.fail(error)
        self.wake()
        self.desert(error)


class ChannelCommunication:
    """The four calls of one card, on the channel stack. A ``Communication``."""

    def __init__(self, node: ChannelNode, window: int) -> None:
        self.node = node
        self.window = window
        self.may_open: Callable[[], bool] = _always
        """Whether memory allows one more channel."""
        self._serial = 0
        self._ends: dict[int, _End] = {}
        """By serial number: what applications hold and have not closed. (A channel's own number is free, and used again, before that.)"""
        self._servers: list[_End] = []
        self._numbered: Promise[None] = Promise()
        node.table.on_open = self._asked

    # -- the four calls ------------------------------------------------------------------------------------------------

    async def open(self, request: OpenRequest) -> Handle:
        """Open a channel: offer a service, connect as a client, or take the next connection. Raises ChannelError."""
        while not self._numbered.done:
            await self._numbered
        if isinstance(request, Accept):
            return await self._accept(request.listener)
        if not self.may_open():
            raise ChannelError(Cause.NO_BUFFER, f"open {request}")
        if isinstance(request, Server):
            transport = Transport.UDP_SERVER if request.udp else Transport.TCP_SERVER
            peer, address = HOST, Address.name(request.name)
        else:
            local = request.node != HOST
            if request.udp:
                transport = Transport.UDP_CLIENT_LOCAL if local else Transport.UDP_CLIENT_REMOTE
            else:
                transport = Transport.TCP_CLIENT_LOCAL if local else Transport.TCP_CLIENT_REMOTE
            peer, address = request.node, request.address
        end = self._new_end()
        try:
            end.channel = self.node.table.open(end, peer, transport, request.port, address, self.window, request.weight)
        except NoChannelError:
            raise ChannelError(Cause.NO_CHANNEL, f"open {request}") from None
        await end.opening
        self._ends[end.serial] = end
        if isinstance(request, Server):
            self._servers.append(end)
        return end.handle

    async def close(self, handle: Handle) -> None:
        """Close a channel; what was sent on it is still delivered. Closing a server ends the service."""
        end = self._ends.pop(handle.serial, None)
        if end is None:
            return
        end.channel.close()
        end.cause = end.cause or Cause.CHANNEL_CLOSED
        end.wake()
        if end in self._servers:
            self._servers.remove(end)
            end.desert(ChannelError(Cause.CHANNEL_CLOSED, f"channel {handle.number}"))

    async def send(self, handle: Handle, message: bytes) -> None:
        """Send one message of at most ``handle.payload`` bytes; waits until the channel takes it. Raises ChannelError."""
        if len(message) > handle.payload:
            raise ChannelError(
                Cause.NO_BUFFER,
                f"send {len(message)} bytes on channel {handle.number}, which takes {handle.payload} at a time",
            )
        end = self._sendable(handle)
        while not end.channel.send(message):
            await end.outgoing()
            end = self._sendable(handle)

    async def receive(self, handle: Handle) -> bytes | None:
        """The next message; None when the other side will send no more. Raises ChannelError."""
        end = self._end(handle, "receive")
        channel = end.channel
        while not channel.inbox:
            if end.cause not in (None, Cause.NONE):
                raise ChannelError(end.cause or Cause.NONE, f"receive on channel {handle.number}")
            if end.ended or end.cause is not None:
                return None
            await end.incoming()
        return channel.take()

    # -- what the card tells ---------------------------------------------------------------------------------------------

    def numbered(self) -> None:
        """The node has a number and a link: opens may go out."""
        self._numbered.keep(None)

    def unnumbered(self) -> None:
        """The link went: opens wait for the next greeting."""
        if self._numbered.done:
            self._numbered = Promise()

    def reset(self) -> None:
        """Power is off."""
        self._ends.clear()
        self._servers.clear()
        self._numbered = Promise()

    # -- serving ---------------------------------------------------------------------------------------------------------

    def _asked(self, channel: Channel, request: Open) -> None:
        server = self._server_for(request)
        if server is None:
            channel.refuse(Cause.SERVICE_UNKNOWN)
        elif not self.may_open():
            channel.refuse(Cause.NO_BUFFER)
        elif len(server.waiting) >= BACKLOG:
            channel.refuse(Cause.NO_CHANNEL)
        else:
            end = self._new_end()
            end.channel = channel
            channel.accept(end, server.channel.port, self.node.table.mtu, self.window)
            if server.accepting:
                server.accepting.popleft().keep(end)
            else:
                server.waiting.append(end)

    def _server_for(self, request: Open) -> _End | None:
        """The service asked for, by port or (port 0) by name; nothing for what is no client's transport."""
        if request.transport.is_server:
            return None
        by_name = request.address.kind is AddressKind.NAME and not request.port
        for server in self._servers:
            channel = server.channel
            meant = channel.address == request.address if by_name else channel.port == request.port
            if meant and channel.state is State.OPEN and channel.transport.is_udp is request.transport.is_udp:
                return server
        return None

    async def _accept(self, handle: Handle) -> Handle:
        server = self._end(handle, "accept")
        if server not in self._servers:
            raise ChannelError(Cause.NOT_VALID, f"accept on channel {handle.number}, which is no server")
        if server.waiting:
            end = server.waiting.popleft()
        else:
            if server.cause is not None:
                raise ChannelError(server.cause, f"accept on channel {handle.number}")
            promise: Promise[_End] = Promise()
            server.accepting.append(promise)
            end = await promise
        self._ends[end.serial] = end
        return end.handle

    def _new_end(self) -> _End:
        self._serial += 1
        return _End(self._serial)

    def _end(self, handle: Handle, what: str) -> _End:
        end = self._ends.get(handle.serial)
        if end is None:
            raise ChannelError(Cause.NOT_VALID, f"{what} on channel {handle.number}")
        if what == "receive" and end.channel.transport.is_server:
            raise ChannelError(Cause.NOT_VALID, f"{what} on channel {handle.number}, which is a server's")
        return end

    def _sendable(self, handle: Handle) -> _End:
        end = self._end(handle, "send")
        if end.channel.transport.is_server:
            raise ChannelError(Cause.NOT_VALID, f"send on channel {handle.number}, which is a server's")
        if end.channel.state is State.OPEN and end.cause is None:
            return end
        raise ChannelError(end.cause or Cause.CHANNEL_CLOSED, f"send on channel {handle.number}")


def _always() -> bool:
    return True
