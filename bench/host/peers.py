"""An uplink in the same process: programs "outside" that scenarios and tests are made of. Exact in the engine's time, and takes none.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections import deque
from collections.abc import Callable

from bench.channels.message import Address, AddressKind, Cause
from bench.host.uplink import HOST_ITSELF, Connection, UplinkError, Visitor

FIRST_DYNAMIC_PORT = 49_152
LOOPBACK = Address(AddressKind.IPV4, bytes((127, 0, 0, 1)))


class PeerSocket:
    """One end outside: what a program with a socket sees. Give it callbacks, a ``source``, or just look at ``received``."""

    def __init__(self, udp: bool = False, weight: int = 1) -> None:
        self.udp = udp
        self.weight = weight
        """Shares of a line that a connection of its to a card asks for."""
        self.port = 0
        """The port it was connected to, by the program outside or by the card."""
        self.asked: Address | None = None
        """The address that a card asked for, which this is the answer to."""
        self.received = bytearray()
        self.ended = False
        """The other side will send no more."""
        self.cause: Cause | None = None
        """Why it is closed; None while it is not."""
        self.open = False
        self.reading = True
        """False: takes nothing (a stalled reader)."""
        self.on_data: Callable[[bytes], None] = self.received.extend
        self.on_open: Callable[[], None] = _nothing
        self.on_end: Callable[[], None] = _nothing
        self.source: Callable[[int], bytes] = self._from_buffer
        """Gives up to so many bytes to send, when the other side has room for them."""
        self._buffer = bytearray()
        self._datagrams: deque[bytes] = deque()
        self._finish = False
        self._lingering = False
        self._connection: _PeerConnection | None = None

    def write(self, data: bytes) -> None:
        """Send bytes (UDP: one datagram), as soon as they are wanted."""
        if self.udp:
            self._datagrams.append(data)
        else:
            self._buffer += data
        self.flush()

    def finish(self) -> None:
        """Send no more after what was written."""
        self._finish = True
        self.flush()

    def close(self, cause: Cause = Cause.NONE) -> None:
        """Close; what was written before is still sent. With a cause other than 0 that is a reset, and it is not."""
        self.open = False
        connection = self._connection
        if connection is None:
            return
        self.cause = cause
        if cause is Cause.NONE and (self._buffer or self._datagrams):
            self._finish = self._lingering = True
            connection.flush()
            return
        self._connection = None
        connection.dropped(cause)

    def resume(self) -> None:
        """Read again."""
        self.reading = True
        if self._connection is not None and self._connection.visitor is not None:
            self._connection.visitor.writable()

    def flush(self) -> None:
        """More may be there to send (``source`` has something again)."""
        if self._connection is not None:
            self._connection.flush()

    def _from_buffer(self, count: int) -> bytes:
        if self.udp:
            return self._datagrams.popleft() if self._datagrams else b""
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    @property
    def finished(self) -> bool:
        """Everything written has gone and no more will come."""
        return self._finish and not self._buffer and not self._datagrams


class _PeerConnection:
    """The gateway's side of a PeerSocket."""

    def __init__(self, socket: PeerSocket, remote: Address, udp: bool) -> None:
        self.socket = socket
        self.remote = remote
        self.weight = socket.weight
        self.udp = udp
        self.visitor: Visitor | None = None
        self._wanted = 0
        self._flushing = False
        self._asked = False
        self._told_end = False
        socket._connection = self

    def send(self, data: bytes) -> bool:
        if self.socket._lingering:
            return True  # closed: nobody reads it
        if not self.socket.reading:
            return False
        self.socket.on_data(data)
        return True

    def want(self, count: int) -> None:
        self._wanted += count
        if not self._asked:
            self._asked = True
            if not self.socket._lingering:
                self.socket.open = True
                self.socket.on_open()
        self.flush()

    def flush(self) -> None:
        if self._flushing:
            return
        self._flushing = True
        try:
            while self._wanted > 0 and self.visitor is not None:
                data = self.socket.source(self._wanted)
                if not data:
                    break
                self._wanted -= len(data)
                self.visitor.data(data)
            if self.socket.finished and not self._told_end and self.visitor is not None and self._asked:
                self._told_end = True
                self.visitor.ended()
                if self.socket._lingering:
                    self.socket._connection = None
                    self.dropped(Cause.NONE)
        finally:
            self._flushing = False

    def finish(self) -> None:
        self.socket.ended = True
        self.socket.on_end()

    def close(self, cause: Cause) -> None:
        self.visitor = None
        socket = self.socket
        socket._connection = None
        socket.open = False
        if socket.cause is None:
            socket.cause = cause
            socket.ended = True
            socket.on_end()

    def dropped(self, cause: Cause) -> None:
        """The socket was closed outside."""
        visitor, self.visitor = self.visitor, None
        if visitor is None:
            return
        if cause is Cause.NONE and not self._told_end:
            self._told_end = True
            visitor.ended()
        visitor.gone(cause)


def attach(socket: PeerSocket, remote: Address, visitor: Visitor) -> Connection:
    """Give a socket a connection that another than the gateway carries: ``visitor`` is told what the program does, and tells what comes."""
    connection = _PeerConnection(socket, remote, socket.udp)
    connection.visitor = visitor
    return connection


class PeerListener:
    """A port on which the gateway listens."""

    def __init__(self, uplink: "InProcessUplink", port: int, udp: bool, arrived: Callable[[Connection], None]) -> None:
        self.uplink = uplink
        self.port = port
        self.udp = udp
        self.arrived = arrived

    def close(self) -> None:
        self.uplink.listeners.pop((self.udp, self.port), None)


class InProcessUplink:
    """An Uplink whose network is this object. ``dial`` is a client outside, ``serve`` a server outside."""

    def __init__(self) -> None:
        self.listeners: dict[tuple[bool, int], PeerListener] = {}
        self.servers: dict[tuple[bool, int], Callable[[PeerSocket], None]] = {}
        self._next_port = FIRST_DYNAMIC_PORT

    # -- outside -----------------------------------------------------------------------------------------------------------

    def dial(self, port: int, *, udp: bool = False, weight: int = 1) -> PeerSocket:
        """Connect to a port of the host. A port nobody listens on gives a socket that is closed at once."""
        socket = PeerSocket(udp, weight)
        socket.port = port
        listener = self.listeners.get((udp, port))
        if listener is None:
            socket.cause = Cause.NOT_REACHABLE
            socket.ended = True
        else:
            listener.arrived(_PeerConnection(socket, LOOPBACK, udp))
        return socket

    def serve(self, port: int, accepted: Callable[[PeerSocket], None], *, udp: bool = False) -> None:
        """Be a server outside: ``accepted`` gets the socket of each card that connects."""
        self.servers[udp, port] = accepted

    # -- Uplink ------------------------------------------------------------------------------------------------------------

    def listen(
        self, port: int, udp: bool, arrived: Callable[[Connection], None], card: int = HOST_ITSELF
    ) -> PeerListener:
        del card  # everything is permitted here
        if not port:
            while (udp, self._next_port) in self.listeners:
                self._next_port += 1
            port = self._next_port
            self._next_port += 1
            if port > 65_535:
                raise UplinkError(Cause.PORT_NOT_AVAILABLE, "no dynamic port is left")
        if (udp, port) in self.listeners:
            raise UplinkError(Cause.PORT_NOT_AVAILABLE, f"port {port} is in use")
        listener = self.listeners[udp, port] = PeerListener(self, port, udp, arrived)
        return listener

    def connect(self, address: Address, port: int, udp: bool, visitor: Visitor, card: int = HOST_ITSELF) -> Connection:
        del card
        if address.kind is AddressKind.NONE:
            raise UplinkError(Cause.NOT_REACHABLE, "no address to connect to")
        accepted = self.servers.get((udp, port))
        if accepted is None:
            raise UplinkError(Cause.SERVICE_UNKNOWN, f"nobody listens on port {port}")
        socket = PeerSocket(udp)
        socket.asked, socket.port = address, port
        connection = _PeerConnection(socket, address, udp)
        connection.visitor = visitor
        accepted(socket)
        visitor.connected()
        return connection


def _nothing() -> None:
    pass
