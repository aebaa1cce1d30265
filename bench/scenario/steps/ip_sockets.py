"""A socket outside whose connection goes over IP to a card: the same face as one whose connection the gateway carries over a channel.

Steps that speak to a card's services through ``dial_service`` so run on either stack.
"""

from types import MappingProxyType
from typing import Final

from bench.channels.message import Address, AddressKind, Cause
from bench.host.peers import PeerSocket, attach
from bench.net.connection import Connection, Reason
from bench.scenario.context import StepContext
from bench.scenario.errors import BenchFault
from bench.scenario.steps.ip_support import OUTSIDE, address_of, station
from bench.scenario.steps.support import wait
from bench.scenario.units import Span

PORTS: Final = MappingProxyType(
    {
        "echo": 7,
        "discard": 9,
        "chargen": 19,
        "web": 80,
        "counter": 1001,
        "thinker": 1002,
        "relay": 1003,
        "fetch": 8008,
    }
)
"""docs/applications.md: over IP a service is found by its port."""
READ: Final = 65_536
AT_MOST: Final = Span(300 * 10**9)
CAUSES: Final = MappingProxyType(
    {
        Reason.FINISHED: Cause.NONE,
        Reason.REFUSED: Cause.SERVICE_UNKNOWN,
        Reason.RESET: Cause.CHANNEL_CLOSED,
        Reason.TIMED_OUT: Cause.NOT_REACHABLE,
        Reason.UNREACHABLE: Cause.NOT_REACHABLE,
    }
)


def dial_over_ip(context: StepContext, name: str, card: int) -> PeerSocket:
    """Connect from outside to a service of ``card`` over IPv4, and wait until it is connected."""
    port = PORTS.get(name)
    if port is None:
        raise BenchFault(f"no service {name!r} is known over IP: there are {', '.join(PORTS)}")
    origin = station(context, OUTSIDE)
    wait(context, lambda: station(context, str(card)).address(4) is not None)
    destination = address_of(context, str(card), 4)
    socket = PeerSocket()
    socket.port = port
    bridge = _Bridge(context, socket, destination)
    context.engine.call(lambda: bridge.connect(destination, port))
    wait(context, lambda: socket.open or socket.cause is not None, AT_MOST)
    if not socket.open:
        why = socket.cause.text if socket.cause is not None else f"no answer within {AT_MOST}"
        context.fail(f"a connection from {origin.name} to {name} of card {card} was not made: {why}")
    return socket


class _Bridge:
    """Joins a socket and a TCP connection: visitor of the one, owner of the other."""

    def __init__(self, context: StepContext, socket: PeerSocket, destination: bytes) -> None:
        self.engine = context.engine
        self.tcp = station(context, OUTSIDE).tcp
        self.socket = socket
        self.outer = attach(socket, Address(AddressKind.IPV4, destination), self)
        self.inner: Connection | None = None
        self._held = b""
        """To the card: what TCP had no room for."""
        self._unread = b""
        """From the card: what the socket did not take."""
        self._asked = 0
        self._finished = False
        self._over = False

    def connect(self, destination: bytes, port: int) -> None:
        self.inner = self.tcp.connect(destination, port, self, self.engine.now)

    # -- the connection's owner ------------------------------------------------------------------------------------------

    def opened(self, connection: Connection) -> None:
        self.inner = connection
        self._ask()

    def received(self, connection: Connection) -> None:
        while self.socket.reading and not self._over:
            data = self._unread or self.tcp.read(connection, READ, self.engine.now)
            if not data:
                break
            self._unread = b"" if self.outer.send(data) else data
        if connection.peer_ended and not self._unread and not self._finished and not self._over:
            self._finished = True
            self.outer.finish()

    def room(self, connection: Connection) -> None:
        del connection
        self._push()

    def closed(self, connection: Connection, reason: Reason) -> None:
        if not self._over:
            self.received(connection)
            self._over = True
            self.outer.close(CAUSES.get(reason, Cause.CHANNEL_CLOSED))

    # -- the socket's visitor --------------------------------------------------------------------------------------------

    def connected(self) -> None:
        """It is the one who dialled."""

    def data(self, data: bytes) -> None:
        self._asked -= len(data)
        self._held += data
        self._push()

    def writable(self) -> None:
        if self.inner is not None:
            self.received(self.inner)

    def ended(self) -> None:
        if self.inner is not None and not self._over:
            self._push()
            self.tcp.close(self.inner, self.engine.now)

    def gone(self, cause: Cause) -> None:
        if self.inner is None or self._over:
            return
        self._over = True
        if cause is Cause.NONE:
            self.tcp.close(self.inner, self.engine.now, deaf=True)
        else:
            self.tcp.abort(self.inner, self.engine.now)

    def _push(self) -> None:
        if self.inner is not None and self._held:
            self._held = self._held[self.tcp.send(self.inner, self._held, self.engine.now) :]
        self._ask()

    def _ask(self) -> None:
        """Ask the socket for as much as TCP has room for."""
        if self.inner is None or self._over:
            return
        more = self.inner.send_room - len(self._held) - self._asked
        if more > 0:
            self._asked += more
            self.outer.want(more)
