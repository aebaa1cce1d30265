"""TCP of one node: which connection a segment belongs to, listeners, ports, initial sequence numbers (RFC 9293, 3.4.1, 3.10; RFC 6056).

Units: times are ticks.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Final

from bench.net.connection import KEEP_ALIVE_SECONDS, Connection, Endpoints, Owner, Reason, State, TcpSettings
from bench.net.errors import PacketError
from bench.net.flow import Flow, segment_room
from bench.net.node import Arrived, ErrorReport, Node
from bench.net.protocols import Proto, is_loopback, is_multicast, is_one_host
from bench.net.segment import ACK, RST, SYN, Segment, build_segment, parse_segment, seq_add, seq_diff

FIRST_DYNAMIC_PORT: Final = 49_152
LAST_PORT: Final = 65_535


class TcpError(Exception):
    """A call that cannot be done: says why."""


@dataclass(slots=True)
class Listener:
    """A port that takes connections."""

    port: int
    address: bytes
    """Only connections to this address; empty: to any of the node's."""
    owner: Callable[[Connection], Owner]
    """Gives the owner of a connection that a SYN asks for; it is ``opened`` once the handshake is done."""
    backlog: int
    """Handshakes under way at once; more SYNs are dropped, and come again."""
    settings: TcpSettings
    refuses: Callable[[], bool]
    """Asked at each SYN: True answers with a reset (no memory, nobody left to serve)."""
    half_open: set[Connection] = field(default_factory=set)


class Tcp:
    """Layer 4 over a Node; registers itself for its protocol number. ``limit`` bounds connections of all states."""

    connection_class: ClassVar[type[Connection]] = Connection

    def __init__(self, node: Node, settings: TcpSettings, *, secret: bytes = b"", limit: int = 1024) -> None:
        self.node = node
        self.settings = settings
        self.limit = limit
        self.connections: dict[Endpoints, Connection] = {}
        self.listeners: list[Listener] = []
        self.malformed = 0
        self.resets_sent = 0
        self.recycled = 0
        """Connections that left TIME-WAIT early, to make room for others."""
        self.on_due: Callable[[], None] = _nothing
        """Told when ``due`` may have become earlier."""
        self.inside: Connection | None = None
        """Whose segment is being worked on: it is settled when that is done, not at every call of its owner."""
        self._secret = secret
        self._due: int | None = None
        self._next_port = FIRST_DYNAMIC_PORT
        self._blocked: dict[Connection, None] = {}
        self._flows: dict[Endpoints, Flow] = {}
        node.handlers[Proto.TCP] = self.arrived
        node.error_handlers[Proto.TCP] = self.told

    # -- calls ---------------------------------------------------------------------------------------------------------

    def listen(
        self,
        port: int,
        owner: Callable[[Connection], Owner],
        *,
        address: bytes = b"",
        backlog: int = 8,
        settings: TcpSettings | None = None,
        refuses: Callable[[], bool] | None = None,
    ) -> Listener:
        """Take connections on a port (0: one of the dynamic ones). Raises TcpError where it is taken."""
        if any(each.port == port and (each.address == address) for each in self.listeners):
            raise TcpError(f"port {port} is in use")
        if not port:
            port = self._free_port(lambda port: all(each.port != port for each in self.listeners))
        listener = Listener(port, address, owner, backlog, settings or self.settings, refuses or _never)
        self.listeners.append(listener)
        return listener

    def unlisten(self, listener: Listener, now: int) -> None:
        """Take no more; handshakes under way are reset."""
        self.listeners.remove(listener)
        for connection in list(listener.half_open):
            connection.abort(now)
            self.settle(connection)

    def connect(
        self,
        remote: bytes,
        port: int,
        owner: Owner,
        now: int,
        *,
        local: bytes = b"",
        local_port: int = 0,
        settings: TcpSettings | None = None,
    ) -> Connection:
        """Open a connection, from ``local`` if that is given (MUST-43). Raises TcpError where no address, port or memory is left for it."""
        if is_multicast(remote) or not (is_one_host(remote) or is_loopback(remote)):
            raise TcpError("TCP speaks to one host (MUST-46, MUST-57)")
        if local and (local not in self.node.own or len(local) != len(remote)):
            raise TcpError("not an address of this node")
        local = local or self.node.source_for(remote) or b""
        if not local:
            raise TcpError("no way to the destination")
        if not self._has_room():
            raise TcpError(f"{self.limit} connections, and no memory for more")
        if not local_port:
            local_port = self._free_port(lambda free: Endpoints(local, free, remote, port) not in self.connections)
        ends = Endpoints(local, local_port, remote, port)
        if ends in self.connections:
            raise TcpError("this connection is in use")
        self._make_room(now)
        connection = self._make(ends, owner, settings or self.settings)
        connection.open(self._iss(ends, now), now)
        self.settle(connection)
        return connection

    def send(self, connection: Connection, data: bytes, now: int, *, urgent: bool = False) -> int:
        """Give bytes to send; gives how many were taken."""
        count = connection.send(data, now, urgent=urgent)
        if connection is not self.inside:
            self.settle(connection)
        return count

    def read(self, connection: Connection, most: int, now: int) -> bytes:
        """Take received bytes."""
        data = connection.read(most, now)
        if connection is not self.inside:
            self.settle(connection)
        return data

    def close(self, connection: Connection, now: int, *, deaf: bool = False) -> None:
        """Send FIN after what was given to send."""
        connection.close(now, deaf=deaf)
        self.settle(connection)

    def abort(self, connection: Connection, now: int) -> None:
        """Reset a connection."""
        connection.abort(now)
        self.settle(connection)

    def keep_alive(self, connection: Connection, now: int, *, on: bool = True, interval: int = 0) -> None:
        """Ask an idle peer whether it is there, every ``interval`` ticks (0: two hours); off unless this is called (MUST-24, 25, 28)."""
        connection.set_keep_alive((interval or KEEP_ALIVE_SECONDS * self.node.hz) if on else 0, now)
        self.settle(connection)

    # -- time ----------------------------------------------------------------------------------------------------------

    @property
    def due(self) -> int | None:
        """A time before which ``tick`` has nothing to do; None: never. It may be early: ``tick`` then only looks."""
        return self._due

    def tick(self, now: int) -> None:
        """What is due by now, on every connection."""
        self._due = None
        for connection in list(self.connections.values()):
            due = connection.due
            if due is not None and due <= now:
                connection.tick(now)
            self.settle(connection)

    def resume(self, now: int) -> None:
        """A link has room again: whoever was refused goes on."""
        waiting, self._blocked = self._blocked, {}
        for connection in waiting:
            connection.resume(now)
            self.settle(connection)

    # -- segments ------------------------------------------------------------------------------------------------------

    def arrived(self, packet: Arrived, now: int) -> bool:
        """A Handler of the node: always takes the packet, since TCP answers with resets of its own."""
        if is_multicast(packet.destination) or not (is_one_host(packet.source) or is_loopback(packet.source)):
            return True  # MUST-57
        try:
            segment = parse_segment(packet.source, packet.destination, packet.payload)
        except PacketError:
            self.malformed += 1
            return True
        ends = Endpoints(packet.destination, segment.destination_port, packet.source, segment.source_port)
        connection = self.connections.get(ends)
        if connection is not None and not self._reborn(connection, segment):
            connection.arrived(segment, now)
            if connection.state is State.ESTABLISHED:
                self._flows[ends].known(packet.interface)
            self.settle(connection)
        elif not self._listened(ends, segment, now):
            self._refuse(ends, segment, now)
        return True

    def told(self, report: ErrorReport, now: int) -> None:
        """An ICMP error about a segment (MUST-54 to 56); believed only where its sequence number is under way (RFC 5927, 4.1)."""
        quoted = report.quoted
        if len(quoted) < 8:
            return
        local_port, remote_port = int.from_bytes(quoted[:2], "big"), int.from_bytes(quoted[2:4], "big")
        connection = self.connections.get(Endpoints(report.source, local_port, report.destination, remote_port))
        if connection is None:
            return
        seq = int.from_bytes(quoted[4:8], "big")
        if seq_diff(seq, connection.snd_una) < 0 or seq_diff(seq, connection.snd_max) > 0:
            return
        if report.too_big:
            connection.too_big(now)
        else:
            connection.unreachable(report.hard, report.reason, now)
        self.settle(connection)

    def _reborn(self, connection: Connection, segment: Segment) -> bool:
        """A SYN beyond what the old incarnation has seen ends TIME-WAIT (MAY-2; RFC 6191 without timestamps)."""
        if connection.state is not State.TIME_WAIT or segment.flags & (SYN | ACK | RST) != SYN:
            return False
        if seq_diff(segment.seq, connection.rcv_nxt) <= 0:
            return False
        self._forget(connection)
        return True

    def _listened(self, ends: Endpoints, segment: Segment, now: int) -> bool:
        """LISTEN (3.10.7.2). False where a reset is due."""
        listening = [each for each in self.listeners if each.port == ends.local_port]
        listener = next((each for each in listening if each.address == ends.local), None) or next(
            (each for each in listening if not each.address), None
        )
        if listener is None or segment.flags & ACK:
            return segment.flags & RST != 0
        if segment.flags & RST or not segment.flags & SYN:
            return True
        if len(listener.half_open) >= listener.backlog or not self._has_room():
            return True  # silence: the SYN comes again
        if listener.refuses():
            return False
        self._make_room(now)
        connection = self._make(ends, _Nobody(), listener.settings)
        connection.owner = _Handshake(listener, connection)
        try:
            connection.accept(self._iss(ends, now), segment, now)
        except PacketError:
            self.malformed += 1
            self._forget(connection)
            return True
        listener.half_open.add(connection)
        self.settle(connection)
        return True

    def _refuse(self, ends: Endpoints, segment: Segment, now: int) -> None:
        """The reset for a segment that belongs to nobody (3.10.7.1)."""
        if segment.flags & RST:
            return
        self.resets_sent += 1
        if segment.flags & ACK:
            reset = Segment(ends.local_port, ends.remote_port, segment.ack, 0, RST, 0)
        else:
            ack = seq_add(segment.seq, segment.length)
            reset = Segment(ends.local_port, ends.remote_port, 0, ack, RST | ACK, 0)
        data = build_segment(ends.local, ends.remote, reset)
        self.node.send(ends.local, ends.remote, Proto.TCP, data, now, dont_fragment=True)

    # -- for flows -----------------------------------------------------------------------------------------------------

    def block(self, connection: Connection) -> None:
        """The link took nothing from this connection: ``resume`` comes back to it."""
        self._blocked[connection] = None

    def _has_room(self) -> bool:
        """Whether one more connection can be had: one that only waits gives way."""
        if len(self.connections) < self.limit:
            return True
        return any(each.lingers for each in self.connections.values())

    def _make_room(self, now: int) -> None:
        """At the limit the connection that has been in TIME-WAIT longest goes: a node with little memory is not closed to the world for two MSL.

        What TIME-WAIT guards against (RFC 1337) is then left to initial numbers, which grow with the clock (RFC 6528), as where a SYN ends it.
        """
        if len(self.connections) < self.limit:
            return
        waiting = (each for each in self.connections.values() if each.lingers)
        oldest = min(waiting, key=lambda each: each.due or 0)
        self.recycled += 1
        self.abort(oldest, now)

    def _make(self, ends: Endpoints, owner: Owner, settings: TcpSettings) -> Connection:
        own_mss = min(segment_room(ends, self.node.link_mtu(ends.remote)), 0xFFFF)
        flow = self._flows[ends] = Flow(self, ends, settings)
        connection = self.connections[ends] = flow.connection = self.connection_class(
            ends, flow, owner, settings, own_mss
        )
        return connection

    def settle(self, connection: Connection) -> None:
        """After every event of a connection: forget it where it is over, keep the earliest deadline."""
        if connection.state is State.CLOSED:
            self._forget(connection)
            return
        due = connection.due
        if due is not None and (self._due is None or due < self._due):
            self._due = due
            self.on_due()

    def _forget(self, connection: Connection) -> None:
        ends = connection.ends
        if self.connections.get(ends) is connection:
            del self.connections[ends]
            self.node.flows.pop(self._flows.pop(ends).key, None)
        self._blocked.pop(connection, None)

    def _free_port(self, free: Callable[[int], bool]) -> int:
        for _ in range(LAST_PORT - FIRST_DYNAMIC_PORT + 1):
            port = self._next_port
            self._next_port = port + 1 if port < LAST_PORT else FIRST_DYNAMIC_PORT
            if free(port):
                return port
        raise TcpError("no dynamic port is left")

    def _iss(self, ends: Endpoints, now: int) -> int:
        """M + F(connection, secret): a clock of 4 us and a keyed hash (MUST-8, MUST-9; RFC 6528)."""
        name = b"|".join((ends.local, ends.remote, b"%d %d" % (ends.local_port, ends.remote_port)))
        mixed = hashlib.blake2s(name, key=self._secret[:32], digest_size=4).digest()
        return seq_add(int.from_bytes(mixed, "big"), now * 250_000 // self.node.hz)


class _Nobody:
    """An owner that does not care."""

    def opened(self, connection: Connection) -> None: ...

    def received(self, connection: Connection) -> None: ...

    def room(self, connection: Connection) -> None: ...

    def closed(self, connection: Connection, reason: Reason) -> None: ...


class _Handshake(_Nobody):
    """Owns a connection until it is open; then its listener's user does."""

    def __init__(self, listener: Listener, connection: Connection) -> None:
        self.listener = listener
        self.connection = connection

    def opened(self, connection: Connection) -> None:
        self.listener.half_open.discard(connection)
        owner = self.listener.owner(connection)
        connection.owner = owner
        owner.opened(connection)

    def closed(self, connection: Connection, _reason: Reason) -> None:
        self.listener.half_open.discard(connection)


def _nothing() -> None:
    pass


def _never() -> bool:
    return False
