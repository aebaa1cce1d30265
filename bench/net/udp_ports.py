"""UDP of one node: which port a datagram belongs to, what a port holds until it is taken, errors told both ways (RFC 768; RFC 1122, 4.1).

Units: times are ticks, lengths are bytes.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bench.net import ipv4, ipv6
from bench.net.errors import PacketError
from bench.net.node import HOP_LIMIT, Arrived, ErrorReport, Node, Sent
from bench.net.protocols import Proto
from bench.net.udp import HEADER, UdpDatagram, build_udp, parse_udp

FIRST_DYNAMIC_PORT: Final = 49_152
LAST_PORT: Final = 65_535


class UdpError(Exception):
    """A call that cannot be done: says why."""


@dataclass(frozen=True, slots=True)
class UdpBounds:
    """What all ports of a node may spend."""

    ports: int = 64
    datagrams: int = 16
    """Waiting at one port; one more is dropped and counted."""
    bytes: int = 16_384
    """Payload waiting at one port; a datagram that passes it alone is never taken."""


@dataclass(frozen=True, slots=True)
class Datagram:
    """One that came."""

    source: bytes
    source_port: int
    destination: bytes
    """The node's address that it was sent to: what an answer must come from (RFC 1122, 4.1.3.5)."""
    payload: bytes
    hop_limit: int


class UdpPort:
    """A bound port; ``UdpPorts.bind`` makes one. With a ``remote`` it is that peer's alone, and hears of errors about it."""

    def __init__(self, port: int, address: bytes, remote: tuple[bytes, int] | None, bounds: UdpBounds) -> None:
        self.port = port
        self.address = address
        """Only datagrams to this address; empty: to any of the node's."""
        self.remote = remote
        self.dropped = 0
        """Datagrams for which there was no room."""
        self.on_datagram: Callable[[], None] = _nothing
        """One more can be taken."""
        self.on_error: Callable[[ErrorReport], None] = _unheard
        """An ICMP error about something this port sent (RFC 1122, 4.1.3.3)."""
        self.on_room: Callable[[], None] = _nothing
        """After ``Sent.BUSY``: the link takes packets again."""
        self.bounds = bounds
        self.waiting_bytes = 0
        self._inbox: deque[Datagram] = deque()

    def __len__(self) -> int:
        return len(self._inbox)

    def take(self) -> Datagram | None:
        """The oldest datagram that waits."""
        if not self._inbox:
            return None
        datagram = self._inbox.popleft()
        self.waiting_bytes -= len(datagram.payload)
        return datagram

    def offer(self, datagram: Datagram) -> None:
        """Keep a datagram until it is taken, or drop it where there is no room."""
        held = self.waiting_bytes + len(datagram.payload)
        if len(self._inbox) >= self.bounds.datagrams or held > self.bounds.bytes:
            self.dropped += 1
            return
        self.waiting_bytes = held
        self._inbox.append(datagram)
        self.on_datagram()


class UdpPorts:
    """Layer 4 over a Node; registers itself for its protocol number."""

    def __init__(self, node: Node, bounds: UdpBounds | None = None) -> None:
        self.node = node
        self.bounds = bounds if bounds is not None else UdpBounds()
        self.malformed = 0
        self._ports: dict[int, list[UdpPort]] = {}
        self._count = 0
        self._next_port = FIRST_DYNAMIC_PORT
        self._blocked: dict[UdpPort, None] = {}
        node.handlers[Proto.UDP] = self.arrived
        node.error_handlers[Proto.UDP] = self.told

    def __len__(self) -> int:
        return self._count

    # -- calls ---------------------------------------------------------------------------------------------------------

    def bind(self, port: int = 0, *, address: bytes = b"", remote: tuple[bytes, int] | None = None) -> UdpPort:
        """Take a port (0: a dynamic one). Raises UdpError where it is in use, or no port or memory is left."""
        if not 0 <= port <= LAST_PORT:
            raise UdpError(f"no port {port}")
        if len(self) >= self.bounds.ports:
            raise UdpError(f"{self.bounds.ports} ports, and no memory for more")
        if not port:
            port = self._free_port()
        bound = self._ports.setdefault(port, [])
        if any((each.address, each.remote) == (address, remote) for each in bound):
            raise UdpError(f"port {port} is in use")
        made = UdpPort(port, address, remote, self.bounds)
        bound.append(made)
        self._count += 1
        return made

    def close(self, port: UdpPort) -> None:
        """Give a port back; what waited at it is lost. Closing twice is no mistake."""
        bound = self._ports.get(port.port, [])
        if port in bound:
            bound.remove(port)
            self._count -= 1
            if not bound:
                del self._ports[port.port]
        self._blocked.pop(port, None)

    def send(
        self,
        port: UdpPort,
        remote: bytes,
        remote_port: int,
        payload: bytes,
        now: int,
        *,
        source: bytes = b"",
        hop_limit: int = HOP_LIMIT,
        dont_fragment: bool = False,
    ) -> Sent:
        """Send one datagram. ``source`` is the address it answers from, by default the port's or the one the node would choose. Raises UdpError."""
        most = 65_535 - HEADER - (ipv4.HEADER if len(remote) == 4 else 0)
        if len(payload) > most:
            raise UdpError(f"a datagram of {len(payload)} bytes, at most {most} can be sent")
        if not 0 < remote_port <= LAST_PORT:
            raise UdpError(f"no port {remote_port}")
        own = source or port.address or self.node.source_for(remote)
        if not own or len(own) != len(remote):
            return Sent.NO_ROUTE
        data = build_udp(own, remote, UdpDatagram(port.port, remote_port, payload))
        sent = self.node.send(own, remote, Proto.UDP, data, now, hop_limit=hop_limit, dont_fragment=dont_fragment)
        if sent is Sent.BUSY:
            self._blocked[port] = None
        return sent

    def room(self, remote: bytes, now: int) -> int:
        """The longest payload that goes to ``remote`` unfragmented, as far as is known."""
        header = ipv4.HEADER if len(remote) == 4 else ipv6.HEADER
        return min(self.node.path_mtu(remote, now), 65_535) - header - HEADER

    def resume(self) -> None:
        """A link has room again: whoever was refused may try."""
        waiting, self._blocked = self._blocked, {}
        for port in waiting:
            port.on_room()

    # -- datagrams -----------------------------------------------------------------------------------------------------

    def arrived(self, packet: Arrived, _now: int) -> bool:
        """A Handler of the node. False where nobody is bound: a port unreachable goes back (RFC 1122, 4.1.3.1)."""
        try:
            datagram = parse_udp(packet.source, packet.destination, packet.payload)
        except PacketError:
            self.malformed += 1
            return True
        port = self._port_for(packet.destination, datagram.destination_port, packet.source, datagram.source_port)
        if port is None:
            return False
        port.offer(
            Datagram(packet.source, datagram.source_port, packet.destination, datagram.payload, packet.hop_limit)
        )
        return True

    def told(self, report: ErrorReport, _now: int) -> None:
        """An ICMP error about a datagram, told to the port that sent it."""
        if len(report.quoted) < 4:
            return
        own, remote = int.from_bytes(report.quoted[:2], "big"), int.from_bytes(report.quoted[2:4], "big")
        port = self._port_for(report.source, own, report.destination, remote)
        if port is not None:
            port.on_error(report)

    def _port_for(self, own: bytes, port: int, remote: bytes, remote_port: int) -> UdpPort | None:
        """Of those bound to a port the one that fits most closely: a peer's own first, then one of this address."""
        best, best_fit = None, -1
        for each in self._ports.get(port, ()):
            if each.address not in (b"", own) or each.remote not in (None, (remote, remote_port)):
                continue
            fit = 2 * (each.remote is not None) + (each.address != b"")
            if fit > best_fit:
                best, best_fit = each, fit
        return best

    def _free_port(self) -> int:
        for _ in range(LAST_PORT - FIRST_DYNAMIC_PORT + 1):
            port = self._next_port
            self._next_port = port + 1 if port < LAST_PORT else FIRST_DYNAMIC_PORT
            if port not in self._ports:
                return port
        raise UdpError("no dynamic port is left")


def _nothing() -> None:
    pass


def _unheard(_report: ErrorReport) -> None:
    pass
