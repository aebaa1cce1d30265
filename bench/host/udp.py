"""UDP of the gateway: a peer of a card's service, or the far end of a card's client, is a connection of its own.

A datagram stays whole. What a channel cannot take is not left in the socket, which all peers share, but waits here within a bound and is dropped
beyond it: a peer that floods holds up nobody else.
"""

import errno
import socket
from asyncio import TimerHandle
from collections import deque
from collections.abc import Callable
from typing import Final

from bench.channels.message import Address, Cause
from bench.host.bound import client_socket
from bench.host.end import End
from bench.host.ground import Account, Ground, SocketName, address_of, cause_of, ip_in
from bench.host.metrics import DATAGRAMS_DROPPED
from bench.host.policy import IpAddress
from bench.host.uplink import Connection, UplinkError, datagram_cost

LONGEST: Final = 65_535
DATAGRAMS: Final = 16
"""Datagrams of one peer that wait for their channel."""
WAITING_BYTES: Final = 16_384
A_TURN: Final = 32
"""Datagrams read before other sockets have their turn."""
AGAIN_S: Final = 0.005
_WOULD_BLOCK: Final = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR, errno.ENOBUFS)


class UdpConnection(End):
    """One peer. ``put`` sends a datagram to it, or raises OSError."""

    def __init__(self, ground: Ground, account: Account, peer: IpAddress | None, remote: Address, name: str) -> None:
        super().__init__(ground, account, peer, remote, name)
        self.put: Callable[[bytes], object] = len
        self.on_end: Callable[[UdpConnection], None] = _nothing
        self._wanted = 0
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._again: TimerHandle | None = None

    # -- what its visitor does -----------------------------------------------------------------------------------------------

    def send(self, data: bytes) -> bool:
        if self._over:
            return True
        bucket, now = self.account.to_outside, self.ground.clock()
        if not bucket.take(len(data), now):
            self._write_later(bucket.seconds_until_one(now))
            return False
        try:
            self.put(data)
        except OSError as error:
            if error.errno in _WOULD_BLOCK:
                self._write_later(AGAIN_S)
                return False
            if error.errno == errno.EMSGSIZE:
                self._dropped("too long")
                return True
            self.broken(cause_of(error))
            return True
        self.last = now
        self.sent += len(data)
        return True

    def want(self, count: int) -> None:
        self._wanted += count
        self._deliver()

    def finish(self) -> None:
        """UDP has no end."""

    def close(self, cause: Cause) -> None:
        self.visitor = None
        self.cancel()
        self._end(cause)

    # -- what its socket tells -------------------------------------------------------------------------------------------------

    def arrived(self, data: bytes) -> None:
        """A datagram came from this peer."""
        now = self.ground.clock()
        self.last = now
        cost = datagram_cost(data)
        if len(self._waiting) >= DATAGRAMS or (self._waiting and self._waiting_bytes + cost > WAITING_BYTES):
            self._dropped("channel busy")
            return
        if not self.account.from_outside.take(len(data), now):
            self._dropped("rate")
            return
        self.received += len(data)
        self._waiting.append(data)
        self._waiting_bytes += cost
        self._deliver()

    def broken(self, cause: Cause) -> None:
        """The far end is not there (it said so), or nothing was heard of it for long."""
        self._lost(cause)

    # -- inside ------------------------------------------------------------------------------------------------------------------

    def _deliver(self) -> None:
        while self._waiting and self._wanted > 0 and self.visitor is not None:
            data = self._waiting.popleft()
            cost = datagram_cost(data)
            self._waiting_bytes -= cost
            self._wanted -= cost
            self.visitor.data(data)

    def _dropped(self, reason: str) -> None:
        self.ground.metrics.add(DATAGRAMS_DROPPED, self.account.card, reason)

    def _write_later(self, seconds: float) -> None:
        if self._again is None:
            self._again = self.ground.loop.call_later(seconds, self._write_on)

    def _write_on(self) -> None:
        self._again = None
        if self.visitor is not None:
            self.ground.drive.event(self.visitor.writable)

    def _end(self, cause: Cause) -> None:
        if self._over:
            return
        self._over = True
        self._waiting.clear()
        if self._again is not None:
            self._again.cancel()
        self._account(cause)
        self.on_end(self)


class UdpListener:
    """A UDP service: a socket on each address, a connection for each peer."""

    def __init__(
        self,
        ground: Ground,
        account: Account,
        sockets: list[socket.socket],
        arrived: Callable[[Connection], None],
        track: Callable[[UdpConnection], None],
    ) -> None:
        self.ground = ground
        self.account = account
        self.port = int(sockets[0].getsockname()[1])
        self.arrived = arrived
        self._track = track
        self._sockets = sockets
        self._peers: dict[tuple[int, SocketName], UdpConnection] = {}
        self._closed = False
        for each in sockets:
            ground.loop.add_reader(each, self._readable, each)

    def close(self) -> None:
        """Stop serving new peers; those there are keep the socket until they have ended."""
        self._closed = True
        self._let_go()

    def _let_go(self) -> None:
        if self._closed and not self._peers:
            for each in self._sockets:
                self.ground.loop.remove_reader(each)
                each.close()
            self._sockets = []

    def _readable(self, made: socket.socket) -> None:
        self.ground.drive.event(lambda: self._read(made))

    def _read(self, made: socket.socket) -> None:
        for _ in range(A_TURN):
            if made not in self._sockets:
                return
            try:
                data, name = made.recvfrom(LONGEST)
            except OSError as error:
                if error.errno in _WOULD_BLOCK:
                    return
                continue  # an ICMP error of something sent earlier: which peer's is unknown
            key = (made.fileno(), name)
            connection = self._peers.get(key) or self._new(made, key, name)
            if connection is not None:
                connection.arrived(data)

    def _new(self, made: socket.socket, key: tuple[int, SocketName], name: SocketName) -> UdpConnection | None:
        ground, card, peer, shown = self.ground, self.account.card, ip_in(name), f"{name[0]} {name[1]}"
        if self._closed:
            return None
        try:
            if len(self._peers) >= ground.policy.limits.udp_peers:
                raise UplinkError(
                    Cause.NO_CHANNEL, f"{ground.policy.limits.udp_peers} peers of a UDP service at a time"
                )
            if not self.account.accepts.take(1, ground.clock()):
                raise UplinkError(Cause.NO_CHANNEL, f"{ground.policy.limits.accepts_per_second} new peers in a second")
            ground.admit(self.account, peer)
        except UplinkError as error:
            ground.metrics.add(DATAGRAMS_DROPPED, card, "no room")
            ground.refused(card, error, f"datagram from {shown} to port {self.port}")
            return None
        connection = UdpConnection(ground, self.account, peer, address_of(name), shown)
        connection.put = lambda data: made.sendto(data, name)
        self._peers[key] = connection

        def ended(_connection: UdpConnection) -> None:
            self._peers.pop(key, None)
            untrack(connection)
            self._let_go()

        self._track(connection)
        untrack = connection.on_end
        connection.on_end = ended
        ground.opened(card, True, "from_outside", shown, self.port)
        self.arrived(connection)
        return connection


def connect_udp(connection: UdpConnection, address: IpAddress, port: int) -> None:
    """Give ``connection`` a socket of its own to ``address``. Raises OSError."""
    ground = connection.ground
    made = client_socket(address, socket.SOCK_DGRAM, ground)
    try:
        made.connect((str(address), port))
    except BaseException:
        made.close()
        raise

    def read() -> None:
        for _ in range(A_TURN):
            try:
                data = made.recv(LONGEST)
            except OSError as error:
                if error.errno not in _WOULD_BLOCK:
                    connection.broken(cause_of(error))
                return
            connection.arrived(data)
            if made.fileno() < 0:
                return

    def ended(_connection: UdpConnection) -> None:
        ground.loop.remove_reader(made)
        made.close()
        before(connection)

    connection.put = made.send
    before = connection.on_end
    connection.on_end = ended
    ground.loop.add_reader(made, lambda: ground.drive.event(read))


def _nothing(_connection: UdpConnection) -> None:
    pass
