"""The uplink on real sockets: what the policy permits, within its limits, with ETSI's causes for what does not work."""

import errno
import ipaddress
import select
import socket
from asyncio import TimerHandle
from collections.abc import Callable
from typing import Final

from bench.channels.message import Address, AddressKind, Cause
from bench.host.bound import listen_tcp, listen_udp
from bench.host.dialling import Dialling
from bench.host.ground import Account, Ground, cause_of, family_of
from bench.host.metrics import LOOKUPS
from bench.host.policy import IpAddress, ip_of, may_ask, may_connect, may_listen
from bench.host.resolver import Resolver
from bench.host.tcp import TcpConnection, TcpListener
from bench.host.udp import UdpConnection, UdpListener, connect_udp
from bench.host.uplink import HOST_ITSELF, Connection, Listener, UplinkError, Visitor

LOOPBACKS: Final = ("127.0.0.1", "::1")
SWEEP_S: Final = 1.0
"""How often connections that the loop does not watch are looked at, and idle peers forgotten."""
YIELD_NS: Final = 2 * 10**9
"""How long a connection from outside must have been silent to yield to a new one, where a card has no channel left."""


class SocketUplink:
    """An Uplink whose network is the host's own. Everything happens in the drive's loop."""

    def __init__(self, ground: Ground, resolver: Resolver | None = None) -> None:
        self.ground = ground
        self.addresses = ground.policy.listen or own_loopbacks()
        self._resolver = resolver or Resolver(ground.drive.post, ground.policy.limits.lookups)
        self._tcp: dict[TcpConnection, None] = {}
        self._udp: dict[UdpConnection, None] = {}
        self._listeners: list[Listener] = []
        self._sweeping: TimerHandle | None = None
        self._closed = False
        ground.make_room = self.make_room

    @property
    def connections(self) -> int:
        """Connections there are, those still being made or drained included."""
        return len(self._tcp) + len(self._udp)

    def drain(self) -> None:
        """Take no more connections, in either direction; those there are go on."""
        self._closed = True
        for each in self._listeners:
            each.close()
        self._listeners.clear()

    def close(self) -> None:
        """Close every socket; connections that stand are reset."""
        self.drain()
        if self._sweeping is not None:
            self._sweeping.cancel()
        for tcp in list(self._tcp):
            tcp.abort()
        for udp in list(self._udp):
            udp.close(Cause.CHANNEL_CLOSED)
        self._resolver.close()

    def make_room(self, account: Account) -> bool:
        """End the connection from outside that has been silent longest on an account, so that a new one finds room.

        At a card it must have been silent for a while (YIELD_NS); at a port of the host's own it must not have said anything, or have its answer.
        """
        ground = self.ground
        since = ground.clock() - YIELD_NS
        idle = [each for each in self._tcp if each.account is account and each.from_outside]
        if account.card == HOST_ITSELF:
            idle = [each for each in idle if each.said_nothing]
        else:
            idle = [each for each in idle if each.last <= since]
        if not idle:
            return False
        longest = min(idle, key=lambda each: each.last)
        ground.log.info("connection.yield", card=account.card, peer=longest.name)
        longest.broken(Cause.CHANNEL_CLOSED)
        return True

    # -- servers -----------------------------------------------------------------------------------------------------------

    def listen(self, port: int, udp: bool, arrived: Callable[[Connection], None], card: int = HOST_ITSELF) -> Listener:
        """Listen where the policy lets ``card``. Raises UplinkError."""
        ground = self.ground
        what = f"listen on {'udp' if udp else 'tcp'} port {port or 'of any number'}"
        try:
            addresses = self._opening(card, port, udp)
            listener = self._bound(addresses, port, udp, arrived, card)
        except UplinkError as error:
            ground.refused(card, error, what)
            raise
        return self._listens(listener, udp, card)

    def _listens(self, listener: TcpListener | UdpListener, udp: bool, card: int) -> Listener:
        self._listeners.append(listener)
        self.ground.log.info("listen", card=card, protocol="udp" if udp else "tcp", port=listener.port)
        return _Tracked(self, listener, card)

    def _opening(self, card: int, port: int, udp: bool) -> tuple[str, ...]:
        ground = self.ground
        if card == HOST_ITSELF:
            return self.addresses
        if self._closed or not ground.account(card).opens.take(1, ground.clock()):
            raise UplinkError(Cause.NO_CHANNEL, f"{ground.policy.limits.opens_per_second} opens of a card in a second")
        return may_listen(ground.policy.of(card, ground.identity(card)), port, udp) or self.addresses

    def _bound(
        self, addresses: tuple[str, ...], port: int, udp: bool, arrived: Callable[[Connection], None], card: int
    ) -> TcpListener | UdpListener:
        ground, account = self.ground, self.ground.account(card, port)
        try:
            if udp:
                return UdpListener(ground, account, listen_udp(addresses, port, ground), arrived, self._track_udp)
            return TcpListener(ground, account, listen_tcp(addresses, port, ground), arrived, self._track_tcp)
        except OSError as error:
            busy = error.errno in (errno.EADDRINUSE, errno.EACCES, errno.EPERM, errno.EADDRNOTAVAIL)
            cause = Cause.PORT_NOT_AVAILABLE if busy else cause_of(error)
            raise UplinkError(cause, f"{', '.join(addresses)} port {port}: {error.strerror}") from error

    # -- clients -----------------------------------------------------------------------------------------------------------

    def connect(self, address: Address, port: int, udp: bool, visitor: Visitor, card: int = HOST_ITSELF) -> Connection:
        """Connect where the policy lets ``card``. Raises UplinkError."""
        try:
            return self._connect(address, port, udp, visitor, card)
        except UplinkError as error:
            self.ground.refused(card, error, f"connect to {_shown(address)} port {port}")
            raise

    def _connect(self, address: Address, port: int, udp: bool, visitor: Visitor, card: int) -> Connection:
        ground = self.ground
        account = ground.account(card)
        if self._closed or not account.opens.take(1, ground.clock()):
            raise UplinkError(Cause.NO_CHANNEL, f"{ground.policy.limits.opens_per_second} opens of a card in a second")
        if address.kind is AddressKind.NONE or not port:
            raise UplinkError(Cause.NOT_REACHABLE, "no address or no port to connect to")
        rules = ground.policy.of(card, ground.identity(card))
        ip, name = ip_of(address), ""
        if ip is None:
            name = address.value.decode("ascii")
            may_ask(rules, name, port, udp)
        else:
            may_connect(rules, "", ip, port, udp)
        ground.admit(account, None)
        connection: TcpConnection | UdpConnection
        if udp:
            connection = UdpConnection(ground, account, None, address, _shown(address))
            self._track_udp(connection)
        else:
            connection = TcpConnection(ground, account, None, address, _shown(address))
            self._track_tcp(connection)
        connection.visitor = visitor
        _Call(self, connection, name, port, card).start(ip)
        return connection

    # -- all of them -------------------------------------------------------------------------------------------------------

    def _track_tcp(self, connection: TcpConnection) -> None:
        self._tcp[connection] = None
        connection.on_end = self._forget_tcp
        self._sweep_later()

    def _forget_tcp(self, connection: TcpConnection) -> None:
        self._tcp.pop(connection, None)

    def _track_udp(self, connection: UdpConnection) -> None:
        self._udp[connection] = None
        connection.on_end = self._forget_udp
        self._sweep_later()

    def _forget_udp(self, connection: UdpConnection) -> None:
        self._udp.pop(connection, None)

    def _sweep_later(self) -> None:
        if self._sweeping is None:
            self._sweeping = self.ground.loop.call_later(SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        self._sweeping = None
        self.ground.drive.event(self._look)
        if self._tcp or self._udp:
            self._sweep_later()

    def _look(self) -> None:
        """Peers that went while nobody read from them or wrote to them."""
        poll, quiet = select.poll(), {}
        for tcp in self._tcp:
            if (file := tcp.quiet_file) is not None:
                quiet[file] = tcp
                poll.register(file, 0)
        for file, _ in poll.poll(0) if quiet else ():
            quiet[file].check()
        silent_since = self.ground.clock() - self.ground.policy.times.udp_idle.ns
        for udp in [each for each in self._udp if each.last < silent_since]:
            udp.broken(Cause.NONE)
        if idle := self.ground.policy.times.idle.ns:
            since = self.ground.clock() - idle
            for tcp in [each for each in self._tcp if each.stands and each.last < since]:
                tcp.broken(Cause.CHANNEL_CLOSED)


class ApduUplink:
    """The uplink as the APDU port has it: on loopback, unless the policy names addresses for it. A refusal is told once."""

    def __init__(self, uplink: SocketUplink) -> None:
        self._uplink = uplink
        self._told = ""
        policy = uplink.ground.policy
        own = tuple(each for each in uplink.addresses if ipaddress.ip_address(each).is_loopback)
        self.addresses = policy.apdu_on or own or own_loopbacks()

    def listen(self, port: int, udp: bool, arrived: Callable[[Connection], None], card: int = HOST_ITSELF) -> Listener:
        """Listen on the addresses of the APDU port. Raises UplinkError."""
        uplink = self._uplink
        try:
            listener = uplink._bound(self.addresses, port, udp, arrived, card)
        except UplinkError as error:
            if str(error) != self._told:
                self._told = str(error)
                uplink.ground.refused(card, error, f"listen on the APDU port {port}")
            raise
        self._told = ""
        return uplink._listens(listener, udp, card)

    def connect(self, address: Address, port: int, udp: bool, visitor: Visitor, card: int = HOST_ITSELF) -> Connection:
        """As the uplink does."""
        return self._uplink.connect(address, port, udp, visitor, card)


class _Tracked:
    """A listener that the uplink forgets when it is closed."""

    def __init__(self, uplink: SocketUplink, listener: Listener, card: int) -> None:
        self.port = listener.port
        self._uplink = uplink
        self._listener = listener
        self._card = card

    def close(self) -> None:
        if self._listener in self._uplink._listeners:
            self._uplink._listeners.remove(self._listener)
            self._uplink.ground.log.info("listen.end", card=self._card, port=self.port)
        self._listener.close()


class _Call:
    """A card's wish to connect, on its way: the name is resolved, the addresses are held against the policy, then tried."""

    def __init__(
        self, uplink: SocketUplink, connection: TcpConnection | UdpConnection, name: str, port: int, card: int
    ) -> None:
        self.uplink = uplink
        self.ground = uplink.ground
        self.connection = connection
        self.name = name
        self.port = port
        self.card = card
        self._end = self.ground.loop.time() + self.ground.policy.times.connect.seconds
        self._timer: TimerHandle | None = None

    def start(self, ip: IpAddress | None) -> None:
        """Raises UplinkError where too many names are being resolved."""
        if ip is not None:
            self._dial((ip,))
            return
        lookup = self.uplink._resolver.resolve(self.name, self._resolved)
        if lookup is None:
            self.connection.close(Cause.NO_BUFFER)
            raise UplinkError(Cause.NO_BUFFER, f"{self.ground.policy.limits.lookups} names at a time are resolved")

        def given_up() -> None:
            lookup.cancel()
            if self._timer is not None:
                self._timer.cancel()

        def late() -> None:
            lookup.cancel()
            self.ground.drive.event(lambda: self._failed(Cause.NOT_REACHABLE, f"{self.name}: no answer in time"))

        self._timer = self.ground.loop.call_later(self.ground.policy.times.connect.seconds, late)
        self.connection.cancel = given_up

    def _resolved(self, addresses: tuple[IpAddress, ...]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.ground.metrics.add(LOOKUPS, "found" if addresses else "none")
        rules = self.ground.policy.of(self.card, self.ground.identity(self.card))
        allowed, forbidden = [], ""
        for address in addresses:
            try:
                may_connect(rules, self.name, address, self.port, isinstance(self.connection, UdpConnection))
                allowed.append(address)
            except UplinkError as error:
                forbidden = str(error)
        if allowed:
            self._dial(tuple(allowed))
        elif forbidden:
            self._failed(Cause.SECURITY, forbidden)
        else:
            self._failed(Cause.NOT_REACHABLE, f"{self.name}: no such name")

    def _dial(self, addresses: tuple[IpAddress, ...]) -> None:
        if isinstance(self.connection, UdpConnection):
            soon = self.ground.loop.call_soon(lambda: self.ground.drive.event(lambda: self._join_udp(addresses)))
            self.connection.cancel = soon.cancel
            return
        left = max(0.0, self._end - self.ground.loop.time())
        dialling = Dialling(self.ground, addresses, self.port, left, self._made, self._failed)
        self.connection.cancel = dialling.cancel

    def _made(self, made: socket.socket, address: IpAddress) -> None:
        assert isinstance(self.connection, TcpConnection)
        self.connection.joined(made, f"{address} {self.port}")
        self._connected(str(address))

    def _join_udp(self, addresses: tuple[IpAddress, ...]) -> None:
        assert isinstance(self.connection, UdpConnection)
        error = OSError(errno.EHOSTUNREACH, "no address")
        for address in addresses:
            try:
                connect_udp(self.connection, address, self.port)
            except OSError as this:
                error = this
                continue
            self._connected(str(address))
            return
        self._failed(cause_of(error), str(error))

    def _connected(self, address: str) -> None:
        connection = self.connection
        connection.cancel = _nobody
        self.ground.opened(
            self.card,
            isinstance(connection, UdpConnection),
            "from_card",
            f"{self.name or address} {self.port}",
            self.port,
        )
        if connection.visitor is not None:
            connection.visitor.connected()

    def _failed(self, cause: Cause, why: str) -> None:
        self.ground.refused(self.card, UplinkError(cause, why), f"connect to {self.name or why} port {self.port}")
        connection, visitor = self.connection, self.connection.visitor
        connection.cancel = _nobody
        connection.close(cause)
        if visitor is not None:
            visitor.gone(cause)


def own_loopbacks() -> tuple[str, ...]:
    """The loopback addresses this machine has."""
    found = []
    for address in LOOPBACKS:
        try:
            with socket.socket(family_of(address), socket.SOCK_DGRAM) as probe:
                probe.bind((address, 0))
        except OSError:
            continue
        found.append(address)
    return tuple(found)


def _shown(address: Address) -> str:
    ip = ip_of(address)
    return str(ip) if ip is not None else address.value.decode("ascii", errors="replace") or "nowhere"


def _nobody() -> None:
    pass
