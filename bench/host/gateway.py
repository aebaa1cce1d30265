"""The generic daemon of the paper (2.2): carries every channel operation of the cards to and from the uplink.

One channel end of node 0 for each connection. Nothing is dropped: a card earns credit only as the connection takes its messages, and the uplink
may send only what the channel has room for.

Longer than other files: a gateway and its pipes, each of which knows the other's state.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from bench.channels.channel import Channel, State
from bench.channels.message import HEADER_LENGTH, Address, AddressKind, Cause, Open, Transport
from bench.channels.node import ChannelNode
from bench.channels.table import NoChannelError
from bench.engine import Timer
from bench.hop.control import MIN_MTU
from bench.host.uplink import Connection, Listener, Uplink, UplinkError, datagram_cost

AHEAD = 2
"""Messages' worth of bytes asked of the uplink ahead of what the channel has taken."""
TRIES = 8
"""How often a connection from outside is brought to a card that has no channel free, while others yield to it."""
AGAIN_NS = 100 * 10**6
ANSWER_NS = 30 * 10**9
"""How long a card may take to answer OPEN or CLOSE, unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Service:
    """A card's service, as the directory lists it."""

    name: str
    port: int
    udp: bool
    card: int
    state: str


class Gateway:
    """Joins node 0's channels and an uplink."""

    def __init__(self, node: ChannelNode, uplink: Uplink, window: int) -> None:
        self.node = node
        self.uplink = uplink
        self.window = window
        self.answer = node.engine.timebase.nanoseconds(ANSWER_NS)
        """How long a card may take to answer OPEN, or to make progress towards an answer to CLOSE."""
        self.unanswered = 0
        """OPENs and CLOSEs that a card did not answer in time."""
        self.refused = 0
        """Connections from outside that no card took."""
        self.oversized = 0
        """Datagrams dropped because they are longer than the channel's messages."""
        self.make_room: Callable[[int], bool] = _no_room
        """Ends the connection from outside to this card that has been silent longest, where one has been so for long."""
        self.on_services: Callable[[], None] = _nothing
        self.on_refused: Callable[[int, Cause, str], None] = _nobody
        """Called where the gateway itself, not the uplink, refuses something of a card: card, cause, why."""
        self._servers: dict[Channel, _Server] = {}
        self._pipes: set[_Pipe] = set()
        node.table.on_open = self._asked

    def services(self) -> list[Service]:
        """What the cards offer, by card and port."""
        listed = [
            Service(_name(channel.address), channel.port, channel.transport.is_udp, channel.peer, "listening")
            for channel, server in self._servers.items()
            if server.listener is not None
        ]
        return sorted(listed, key=lambda service: (service.card, service.port, service.name))

    @property
    def connections(self) -> int:
        """Connections under way."""
        return len(self._pipes)

    # -- from the cards ----------------------------------------------------------------------------------------------------

    def _asked(self, channel: Channel, request: Open) -> None:
        if request.mtu < MIN_MTU:
            self._refuse(channel, Cause.NO_BUFFER, f"an MTU of {request.mtu} bytes: the least is {MIN_MTU}")
        elif not self._has_room(channel.peer, held=1):
            self._refuse(channel, Cause.NO_CHANNEL, "the rest of the host's channels is kept for other cards")
        elif request.transport.is_server:
            self._serve(channel, request)
        elif request.transport in (Transport.TCP_CLIENT_REMOTE, Transport.UDP_CLIENT_REMOTE):
            pipe = _Pipe(self, channel)
            channel.owner = pipe
            try:
                connection = self.uplink.connect(
                    request.address, request.port, request.transport.is_udp, pipe, channel.peer
                )
            except UplinkError as error:
                channel.refuse(error.cause)
                return
            self._pipes.add(pipe)
            pipe.joined(connection)
        else:
            channel.refuse(Cause.NO_TRANSPORT)

    def _serve(self, channel: Channel, request: Open) -> None:
        server = _Server(self, channel)
        try:
            server.listener = self.uplink.listen(request.port, request.transport.is_udp, server.arrived, channel.peer)
        except UplinkError as error:
            channel.refuse(error.cause)
            return
        self._servers[channel] = server
        channel.accept(server, server.listener.port, self.node.table.mtu, 0)
        self.on_services()

    def _refuse(self, channel: Channel, cause: Cause, why: str) -> None:
        self.on_refused(channel.peer, cause, why)
        channel.refuse(cause)

    def _has_room(self, card: int, held: int = 0) -> bool:
        """Whether ``card`` may have one more channel, or keep the ``held`` ones it has just got: each other card's equal share is kept for it."""
        table = self.node.table
        cards = self.node.chain.beyond
        share = table.limit // max(1, len(cards))
        used = dict.fromkeys(cards, 0)
        for channel in table.channels:
            used[channel.peer] = used.get(channel.peer, 0) + 1
        if used.get(card, 0) - held < share:
            return True
        kept = sum(max(0, share - count) for node, count in used.items() if node != card)
        return table.limit - len(table) + held > kept

    # -- limits on waiting ---------------------------------------------------------------------------------------------------

    def close_channel(self, channel: Channel, cause: Cause) -> None:
        """Close, and wait no longer than ``answer`` for the card's own CLOSE: a card that never answers holds no number for ever."""
        channel.close(cause)
        if channel.state is State.CLOSING:
            self._watch_close(channel)

    def _watch_close(self, channel: Channel) -> None:
        left = len(channel.outbox)

        def look() -> None:
            if channel.state is not State.CLOSING:
                return
            if len(channel.outbox) < left:
                self._watch_close(channel)
                return
            self.unanswered += 1
            channel.lost(Cause.NOT_REACHABLE)

        self.node.engine.after(self.answer, look)

    def watch_rest(self, pipe: "_Pipe") -> None:
        """What a peer that is gone has left behind is given up where the card takes none of it."""
        left = pipe._rest

        def look() -> None:
            if pipe not in self._pipes:
                return
            if pipe._rest < left:
                self.watch_rest(pipe)
            else:
                pipe.gone(Cause.CHANNEL_CLOSED)

        self.node.engine.after(self.answer, look)

    def _watch_open(self, pipe: "_Pipe", channel: Channel) -> None:
        def look() -> None:
            if channel.state is State.OPENING:
                self.unanswered += 1
                channel.lost(Cause.NOT_REACHABLE)

        pipe.patience = self.node.engine.after(self.answer, look)

    # -- from outside --------------------------------------------------------------------------------------------------------

    def _arrived(self, server: Channel, connection: Connection) -> None:
        transport = Transport.UDP_CLIENT_REMOTE if server.transport.is_udp else Transport.TCP_CLIENT_REMOTE
        pipe = _Pipe(self, None)
        pipe.connection = connection
        pipe.server = server
        connection.visitor = pipe
        self._pipes.add(pipe)
        self._bring(pipe, server, transport)

    def _bring(self, pipe: "_Pipe", server: Channel, transport: Transport) -> None:
        connection = pipe.connection
        if connection is None:
            return  # it did not wait
        pipe.tries += 1
        try:
            if server.state is not State.OPEN:
                raise NoChannelError("the service is gone")
            if not self._has_room(server.peer):
                raise NoChannelError("the rest of the host's channels is kept for other cards")
            pipe.channel = self.node.table.open(
                pipe,
                server.peer,
                transport,
                server.port,
                connection.remote,
                self.window,
                max(server.weight, connection.weight),
            )
        except NoChannelError as error:
            if self.again(pipe):
                return
            self.refused += 1
            self.on_refused(server.peer, Cause.NO_CHANNEL, str(error))
            pipe._forget()
            pipe.connection = None
            connection.close(Cause.NO_CHANNEL)
            return
        self._watch_open(pipe, pipe.channel)

    def again(self, pipe: "_Pipe") -> bool:
        """Whether the connection may wait for a channel: one that has been silent for long yields, or has just yielded, to it."""
        server = pipe.server
        if server is None or server.state is not State.OPEN or pipe.tries >= TRIES:
            return False
        if not pipe.yielded:
            pipe.yielded = self.make_room(server.peer)
        if not pipe.yielded:
            return False
        pipe.channel = None
        transport = Transport.UDP_CLIENT_REMOTE if server.transport.is_udp else Transport.TCP_CLIENT_REMOTE
        wait = self.node.engine.timebase.nanoseconds(AGAIN_NS)
        self.node.engine.after(wait, lambda: self._bring(pipe, server, transport))
        return True

    def _ended(self, server: "_Server") -> None:
        self._servers.pop(server.channel, None)
        self.on_services()


class _Server:
    """The channel of a service and its listener; owns the channel."""

    def __init__(self, gateway: Gateway, channel: Channel) -> None:
        self.gateway = gateway
        self.channel = channel
        self.listener: Listener | None = None

    def arrived(self, connection: Connection) -> None:
        self.gateway._arrived(self.channel, connection)

    def opened(self, channel: Channel) -> None:
        """A service's channel is open from its acceptance on."""

    def received(self, channel: Channel) -> None:
        """A service's channel carries no DATA."""

    def room(self, channel: Channel) -> None:
        """A service's channel carries no DATA."""

    def shut(self, channel: Channel) -> None:
        """A service's channel carries no DATA."""

    def closed(self, channel: Channel, cause: Cause) -> None:
        del channel, cause
        if self.listener is not None:
            self.listener.close()
            self.listener = None
        self.gateway._ended(self)


class _Pipe:
    """A channel end and a connection, joined: owner of the one, visitor of the other."""

    def __init__(self, gateway: Gateway, channel: Channel | None) -> None:
        self.gateway = gateway
        self.channel = channel
        self.connection: Connection | None = None
        self.patience: Timer | None = None
        """Until when the card must have answered OPEN."""
        self.server: Channel | None = None
        """Of a connection from outside: whose service it came for."""
        self.tries = 0
        self.yielded = False
        """Another connection has yielded to this one."""
        self._held = bytearray()
        self._datagrams: deque[bytes] = deque()
        self._wanted = 0
        self._passing = False
        self._outer_ended = False
        self._outer_gone = False
        self._inner_ended = False
        self._finished = False
        self._finishing = False

    def joined(self, connection: Connection) -> None:
        """The uplink's connection for a channel that a card asked for; it may have been made, or have failed, already."""
        channel = self.channel
        if self._outer_gone or channel is None or channel.state is State.CLOSED:
            return
        self.connection = connection
        if channel.state is State.OPEN:
            self._ask()
            self.received(channel)

    # -- the channel's owner -------------------------------------------------------------------------------------------------

    def opened(self, channel: Channel) -> None:
        self.channel = channel
        self._answered()
        if channel.payload < MIN_MTU - HEADER_LENGTH:
            self.closed(channel, Cause.SERVICE_ERROR)
            self.gateway.close_channel(channel, Cause.SERVICE_ERROR)
            return
        self._ask()
        self._to_channel()

    def received(self, channel: Channel) -> None:
        connection = self.connection
        if connection is None:
            if self._outer_gone:  # nobody reads any more; a card that waits for credit must still be able to end
                while channel.inbox:
                    channel.take()
            return
        if self._passing:
            return  # a reader that answers at once has brought us back in here: the loop below goes on
        self._passing = True
        try:
            while channel.inbox and connection.send(channel.inbox[0]):
                if self.connection is None:
                    return  # the reader closed when it saw this one, and the channel with it
                channel.take()
        finally:
            self._passing = False
        if self._inner_ended and not channel.inbox and not self._finished:
            self._finished = True
            connection.finish()
            self._end_if_both()

    def room(self, channel: Channel) -> None:
        del channel
        self._to_channel()

    def shut(self, channel: Channel) -> None:
        self._inner_ended = True
        self.received(channel)

    def closed(self, channel: Channel, cause: Cause) -> None:
        self._answered()
        connection = self.connection
        full = cause in (Cause.NO_CHANNEL, Cause.NO_BUFFER) and not channel.peer_number
        if full and connection is not None and self.gateway.again(self):
            return
        if connection is not None and cause is Cause.NONE and channel.inbox:
            self._inner_ended = True
            self.received(channel)
            if channel.inbox:
                return  # the rest goes when the connection has room
        self._forget()
        if connection is not None:
            self.connection = None
            connection.close(cause)

    # -- the connection's visitor --------------------------------------------------------------------------------------------

    def connected(self) -> None:
        channel = self.channel
        if channel is not None and channel.state is State.ACCEPTING:
            channel.accept(self, channel.port, self.gateway.node.table.mtu, self.gateway.window)
            self._ask()

    def data(self, data: bytes) -> None:
        if self.channel is not None and self.channel.transport.is_udp:
            self._wanted -= datagram_cost(data)
            self._datagrams.append(data)
        else:
            self._wanted -= len(data)
            self._held += data
        self._to_channel()

    def ended(self) -> None:
        self._outer_ended = True
        self._to_channel()

    def writable(self) -> None:
        """The connection takes data again."""
        channel = self.channel
        if channel is None:
            return
        self.received(channel)
        if channel.state is State.CLOSED and not channel.inbox and self.connection is not None:
            self._forget()
            connection, self.connection = self.connection, None
            connection.close(Cause.NONE)

    def gone(self, cause: Cause) -> None:
        """The connection is gone (or was never made). What it had sent before an ordinary close is still delivered."""
        self.connection = None
        self._outer_gone = True
        channel = self.channel
        if channel is None:
            self._forget()
        elif channel.state is State.ACCEPTING:
            self._forget()
            channel.refuse(cause if cause is not Cause.NONE else Cause.NOT_REACHABLE)
        elif cause is Cause.NONE and (self._held or self._datagrams) and channel.state in (State.OPENING, State.OPEN):
            self._outer_ended = True
            self.received(channel)
            self._to_channel()
            if self._rest:
                self.gateway.watch_rest(self)
        else:
            self._forget()
            self.gateway.close_channel(channel, cause)

    # -- inside ----------------------------------------------------------------------------------------------------------------

    def _to_channel(self) -> None:
        channel = self.channel
        if channel is None or channel.state is not State.OPEN or not channel.payload or self._finishing:
            return
        # What is sent leaves here first: sending may make room, and ``room`` comes back in here.
        while self._datagrams:
            datagram = self._datagrams.popleft()
            if len(datagram) > channel.payload:
                self.gateway.oversized += 1
            elif not channel.send(datagram):
                self._datagrams.appendleft(datagram)
                return
        while self._held:
            if len(self._held) < channel.payload and channel.outbox and not self._outer_ended:
                channel.remind()  # a whole message may come together before the ones ahead have left
                return
            piece = bytes(self._held[: channel.payload])
            del self._held[: channel.payload]
            if not channel.send(piece):
                self._held[:0] = piece
                return
        if self._outer_ended:
            self._finishing = True
            channel.finish()
            if self._outer_gone:
                self._forget()
                self.gateway.close_channel(channel, Cause.NONE)
            else:
                self._end_if_both()
        self._ask()

    def _end_if_both(self) -> None:
        """Both sides have said that they will send no more: the conversation is over, whether the card closes or not."""
        channel, connection = self.channel, self.connection
        if not (self._finished and self._finishing) or channel is None or connection is None:
            return
        if channel.state is State.OPEN:
            self._forget()
            self.connection = None
            connection.close(Cause.NONE)
            self.gateway.close_channel(channel, Cause.NONE)

    @property
    def _rest(self) -> int:
        """Bytes and datagrams of a peer that is gone which the card has not taken yet."""
        return len(self._held) + len(self._datagrams)

    def _answered(self) -> None:
        if self.patience is not None:
            self.patience.cancel()
            self.patience = None

    def _forget(self) -> None:
        self.gateway._pipes.discard(self)

    def _ask(self) -> None:
        channel, connection = self.channel, self.connection
        if channel is None or connection is None or self._outer_ended:
            return
        want = AHEAD * channel.payload - self._wanted - len(self._held)
        if want > 0:
            self._wanted += want
            connection.want(want)


def _name(address: Address) -> str:
    return address.value.decode("ascii") if address.kind is AddressKind.NAME else "-"


def _nothing() -> None:
    pass


def _no_room(_card: int) -> bool:
    return False


def _nobody(_card: int, _cause: Cause, _why: str) -> None:
    pass
