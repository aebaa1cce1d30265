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
from typing import TypeAlias

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
    """Open: offer a service. Port 0 lets the host choose; a datagram service says ``udp``."""

    port: int
    name: str
    udp: bool = False


@dataclass(frozen=True, slots=True)
class Client:
    """Open: connect through the host to any address and port (``name`` or IP bytes), or to a service of card ``node``."""

    port: int
    address: Address
    node: int = HOST
    udp: bool = False


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


class System:
    """What a card gives its applications besides the four calls: threads and processor time."""

    def __init__(self, threads: Threads) -> None:
        self._threads = threads

    def start(self, program: Program, name: str) -> None:
        """Start another thread."""
        self._threads.start(program, name)

    def compute(self, milliseconds: int) -> Promise[None]:
        """Use the processor for so long."""
        return self._threads.compute(self._threads.engine.timebase.nanoseconds(milliseconds * 10**6))

    def sleep(self, milliseconds: int) -> Promise[None]:
        """Wait for so long."""
        return self._threads.sleep(self._threads.engine.timebase.nanoseconds(milliseconds * 10**6))


class _End:
    """One channel as its application sees it."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.opening: Promise[Channel] = Promise()
        self.receiving: Promise[None] | None = None
        self.sending: Promise[None] | None = None
        self.waiting: deque[Channel] = deque()
        self.accepting: deque[Promise[Channel]] = deque()
        self.cause: Cause | None = None
        self.ended = False


class Communication:
    """The four calls of one card."""

    def __init__(self, node: ChannelNode, window: int) -> None:
        self.node = node
        self.window = window
        self.may_open: Callable[[], bool] = _always
        """Whether memory allows one more channel."""
        self._ends: dict[int, _End] = {}
        self._listeners: dict[tuple[bool, int], _End] = {}
        self._names: dict[str, _End] = {}
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
        try:
            channel = self.node.table.open(self, peer, transport, request.port, address, self.window)
        except NoChannelError:
            raise ChannelError(Cause.NO_CHANNEL, f"open {request}") from None
        end = self._ends[channel.number] = _End(channel)
        await end.opening
        if isinstance(request, Server):
            self._listeners[request.udp, channel.port] = end
            self._names[request.name] = end
        return _handle(channel)

    async def close(self, handle: Handle) -> None:
        """Close a channel; what was sent on it is still delivered. Closing a server ends the service."""
        end = self._ends.pop(handle.number, None)
        if end is None:
            return
        self._forget(end)
        end.channel.close()

    async def send(self, handle: Handle, message: bytes) -> None:
        """Send one message of at most ``handle.payload`` bytes; waits until the channel takes it. Raises ChannelError."""
        end = self._end(handle, "send")
        while not end.channel.send(message):
            end.sending = Promise()
            await end.sending
            end = self._end(handle, "send")

    async def receive(self, handle: Handle) -> bytes | None:
        """The next message; None when the other side will send no more. Raises ChannelError."""
        end = self._end(handle, "receive", readable=True)
        channel = end.channel
        while not channel.inbox:
            if end.cause not in (None, Cause.NONE):
                raise ChannelError(end.cause or Cause.NONE, f"receive on channel {handle.number}")
            if end.ended or end.cause is not None:
                return None
            end.receiving = Promise()
            await end.receiving
        return channel.take()

    # -- what channels tell ----------------------------------------------------------------------------------------------

    def opened(self, channel: Channel) -> None:
        end = self._ends.get(channel.number)
        if end is not None and end.channel is channel:
            end.opening.keep(channel)

    def received(self, channel: Channel) -> None:
        end = self._ends.get(channel.number)
        if end is not None and end.receiving is not None:
            end.receiving.keep(None)

    def room(self, channel: Channel) -> None:
        end = self._ends.get(channel.number)
        if end is not None and end.sending is not None:
            end.sending.keep(None)

    def shut(self, channel: Channel) -> None:
        end = self._ends.get(channel.number)
        if end is not None:
            end.ended = True
            if end.receiving is not None:
                end.receiving.keep(None)

    def closed(self, channel: Channel, cause: Cause) -> None:
        end = self._ends.get(channel.number)
        if end is None or end.channel is not channel:
            return
        end.cause = cause
        error = ChannelError(cause, f"channel {channel.number}")
        end.opening.fail(error)
        for promise in (end.receiving, end.sending):
            if promise is not None:
                promise.keep(None)
        if channel.transport.is_server:
            self._forget(end)
        while end.accepting:
            end.accepting.popleft().fail(error)

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
        self._listeners.clear()
        self._names.clear()
        self._numbered = Promise()

    # -- serving ---------------------------------------------------------------------------------------------------------

    def _asked(self, channel: Channel, request: Open) -> None:
        if request.address.kind is AddressKind.NAME and not request.port:
            listener = self._names.get(request.address.value.decode("ascii"))
        else:
            listener = self._listeners.get((request.transport.is_udp, request.port))
        if listener is None or request.transport.is_server:
            channel.refuse(Cause.SERVICE_UNKNOWN)
        elif not self.may_open():
            channel.refuse(Cause.NO_BUFFER)
        elif len(listener.waiting) >= BACKLOG:
            channel.refuse(Cause.NO_CHANNEL)
        else:
            self._ends[channel.number] = _End(channel)
            channel.accept(self, listener.channel.port, self.node.table.mtu, self.window)
            if listener.accepting:
                listener.accepting.popleft().keep(channel)
            else:
                listener.waiting.append(channel)

    async def _accept(self, handle: Handle) -> Handle:
        listener = self._end(handle, "accept")
        if listener.waiting:
            return _handle(listener.waiting.popleft())
        promise: Promise[Channel] = Promise()
        listener.accepting.append(promise)
        return _handle(await promise)

    def _forget(self, end: _End) -> None:
        self._listeners = {key: known for key, known in self._listeners.items() if known is not end}
        self._names = {key: known for key, known in self._names.items() if known is not end}

    def _end(self, handle: Handle, what: str, *, readable: bool = False) -> _End:
        end = self._ends.get(handle.number)
        if end is None:
            raise ChannelError(Cause.NOT_VALID, f"{what} on channel {handle.number}")
        if readable or (end.channel.state is State.OPEN and end.cause is None):
            return end
        raise ChannelError(end.cause or Cause.CHANNEL_CLOSED, f"{what} on channel {handle.number}")


def _handle(channel: Channel) -> Handle:
    return Handle(channel.number, channel.port, channel.payload)


def _always() -> bool:
    return True
