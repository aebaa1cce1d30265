"""The four calls on the IP stack: the same applications, over the card's own TCP and UDP.

What has no counterpart: TCP keeps no borders between messages, so ``receive`` gives what has come, at most ``Handle.payload`` bytes at a time. A UDP
service takes each peer as a visitor of its own, who has left when nothing came from him for a minute, or when another one needs his place.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from bench.card.communication import Accept, ChannelError, Client, Handle, OpenRequest, Server
from bench.card.ip_ends import End, Peer, Service, Stream
from bench.card.ip_stack import CardIp
from bench.card.tasks import Promise
from bench.channels.message import HOST, Address, AddressKind, Cause
from bench.net.chain_control import address_of
from bench.net.tcp import TcpError
from bench.net.udp_ports import UdpError, UdpPort

UDP_IDLE_NS: Final = 60 * 10**9
"""After so long without a datagram a visitor of a UDP service is gone."""
Resolve = Callable[[CardIp, str], Awaitable[bytes]]
"""Finds the address of a name. Raises ChannelError."""


class IpCommunication:
    """The four calls of one card on its IP stack. A ``Communication``."""

    def __init__(self, ip: CardIp) -> None:
        self.ip = ip
        self.idle = ip.engine.timebase.nanoseconds(UDP_IDLE_NS)
        self.may_open: Callable[[], bool] = _always
        """Whether memory allows one more channel."""
        self.resolve: Resolve = _no_names
        self._serial = 0
        self._ends: dict[int, End] = {}
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
        end: End
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
        if not message and isinstance(end, Stream):
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
            if isinstance(end, Service) and end.timer is not None:
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

    def _serve(self, request: Server) -> Service:
        service = Service(self, *self._names(), request.name)
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
        if not isinstance(service, Service):
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

    def free(self, end: End) -> None:
        """Its number may be used again."""
        self._numbers.discard(end.number)

    def new_stream(self) -> Stream:
        """A stream without a connection yet."""
        return Stream(self, *self._names())

    def new_peer(self, port: UdpPort, remote: tuple[bytes, int]) -> Peer:
        """A UDP conversation."""
        return Peer(self, *self._names(), port, remote)

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
            if isinstance(end, Service) and request.address == Address.name(end.name):
                return end.port
        raise ChannelError(Cause.SERVICE_UNKNOWN, f"open {request}")

    async def _dial_tcp(self, request: Client, address: bytes, port: int) -> Stream:
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

    def _dial_udp(self, request: Client, address: bytes, port: int) -> Peer:
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

    def _end(self, handle: Handle, what: str) -> End:
        end = self._ends.get(handle.serial)
        if end is None:
            raise ChannelError(Cause.NOT_VALID, f"{what} on channel {handle.number}")
        if isinstance(end, Service):
            raise ChannelError(Cause.NOT_VALID, f"{what} on channel {handle.number}, which is a server's")
        return end

    def _sendable(self, handle: Handle) -> End:
        end = self._end(handle, "send")
        if end.cause is None:
            return end
        raise ChannelError(end.cause or Cause.CHANNEL_CLOSED, f"send on channel {handle.number}")


async def _no_names(_ip: CardIp, name: str) -> bytes:
    raise ChannelError(Cause.NOT_REACHABLE, f"the name {name!r}: no name server")


def _always() -> bool:
    return True
