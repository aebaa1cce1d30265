"""What all sockets of one gateway share: the drive, the policy, what is counted and logged, and each card's account."""

import asyncio
import errno
import ipaddress
import socket
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from bench.channels.message import Address, AddressKind, Cause
from bench.host.buckets import TokenBucket
from bench.host.drive import Drive
from bench.host.log import Log
from bench.host.metrics import BYTES, CLOSED, OPENED, REFUSED, Metrics
from bench.host.policy import IpAddress, Policy, plain
from bench.host.uplink import HOST_ITSELF, UplinkError

CAUSES: Final[Mapping[int, Cause]] = MappingProxyType(
    {
        errno.ECONNREFUSED: Cause.SERVICE_UNKNOWN,
        errno.ETIMEDOUT: Cause.NOT_REACHABLE,
        errno.EHOSTUNREACH: Cause.NOT_REACHABLE,
        errno.ENETUNREACH: Cause.NOT_REACHABLE,
        errno.ENETDOWN: Cause.NOT_REACHABLE,
        errno.EHOSTDOWN: Cause.NOT_REACHABLE,
        errno.EADDRNOTAVAIL: Cause.NOT_REACHABLE,
        errno.ECONNRESET: Cause.CHANNEL_CLOSED,
        errno.ECONNABORTED: Cause.CHANNEL_CLOSED,
        errno.EPIPE: Cause.CHANNEL_CLOSED,
        errno.ENOTCONN: Cause.CHANNEL_CLOSED,
        errno.EMFILE: Cause.NO_BUFFER,
        errno.ENFILE: Cause.NO_BUFFER,
        errno.ENOBUFS: Cause.NO_BUFFER,
        errno.ENOMEM: Cause.NO_BUFFER,
        errno.EACCES: Cause.SECURITY,
        errno.EPERM: Cause.SECURITY,
        errno.EAFNOSUPPORT: Cause.NO_TRANSPORT,
        errno.EPROTONOSUPPORT: Cause.NO_TRANSPORT,
    }
)
"""What the card is told of an error of its connection. Anything else is a service error."""

SocketName = tuple[str, int] | tuple[str, int, int, int]


def cause_of(error: OSError) -> Cause:
    """ETSI's word for an error of a socket."""
    return CAUSES.get(error.errno or 0, Cause.SERVICE_ERROR)


def address_of(name: SocketName) -> Address:
    """A socket's peer as the card is told it."""
    ip = ip_in(name)
    return Address(AddressKind.IPV4 if ip.version == 4 else AddressKind.IPV6, ip.packed)


def ip_in(name: SocketName) -> IpAddress:
    """The address in a socket's name, without its zone."""
    return plain(ipaddress.ip_address(name[0].partition("%")[0]))


def family_of(address: str | IpAddress) -> socket.AddressFamily:
    """The family of sockets for an address."""
    return socket.AF_INET6 if ":" in str(address) else socket.AF_INET


class Account:
    """What one card has under way, and how fast it may go on."""

    def __init__(self, card: int, policy: Policy, now_ns: int) -> None:
        limits = policy.limits
        rate = limits.bytes_per_second
        self.card = card
        self.connections = 0
        self.opens = TokenBucket(0 if card == HOST_ITSELF else limits.opens_per_second, limits.opens_burst, now_ns)
        self.accepts = TokenBucket(limits.accepts_per_second, limits.accepts_per_second, now_ns)
        self.from_outside = TokenBucket(rate, rate, now_ns)
        self.to_outside = TokenBucket(rate, rate, now_ns)


class Ground:
    """Shared by the uplink, its listeners and its connections. All of it in the loop's thread."""

    def __init__(self, drive: Drive, policy: Policy, log: Log, metrics: Metrics) -> None:
        self.drive = drive
        self.policy = policy
        self.log = log
        self.metrics = metrics
        self.clock: Callable[[], int] = time.monotonic_ns
        self.identity: Callable[[int], bytes] = _nobody
        """The identity of a card by its node number."""
        self.make_room: Callable[[Account], bool] = _nothing_to_give
        """Ends a connection from outside that has been silent for long, where there is one on this account."""
        self.buffers = 0
        """Bytes that the gateway itself may come to hold for one connection."""
        self.connections = 0
        self._accounts: dict[tuple[int, int], Account] = {}
        self._peers: dict[IpAddress, int] = {}

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return self.drive.loop

    @property
    def cost(self) -> int:
        """Bytes one connection may come to hold, the kernel's buffers included."""
        return self.buffers + 2 * self.policy.limits.socket_buffer

    def account(self, card: int, own_port: int = 0) -> Account:
        """The account of a card, or that of one of the host's own ports: visitors of one keep nobody from another."""
        key = (card, own_port if card == HOST_ITSELF else 0)
        account = self._accounts.get(key)
        if account is None:
            account = self._accounts[key] = Account(card, self.policy, self.clock())
        return account

    def admit(self, account: Account, peer: IpAddress | None) -> None:
        """Count one more connection. Raises UplinkError where a limit does not allow it."""
        limits = self.policy.limits
        if account.card == HOST_ITSELF:
            if account.connections >= limits.visitors:
                raise UplinkError(Cause.NO_CHANNEL, f"{limits.visitors} visitors of a port of the host's own at a time")
        elif account.connections >= limits.per_card:
            raise UplinkError(Cause.NO_CHANNEL, f"{limits.per_card} connections of a card at a time")
        elif self.connections >= limits.connections:
            raise UplinkError(Cause.NO_CHANNEL, f"{limits.connections} connections at a time")
        if peer is not None and limits.per_peer and self._peers.get(peer, 0) >= limits.per_peer:
            raise UplinkError(Cause.NO_CHANNEL, f"{limits.per_peer} connections at a time from one address")
        if account.card != HOST_ITSELF and (self.connections + 1) * self.cost > limits.memory:
            raise UplinkError(Cause.NO_BUFFER, f"connections of {self.cost} bytes each within {limits.memory}")
        account.connections += 1
        self.connections += 1
        if peer is not None:
            self._peers[peer] = self._peers.get(peer, 0) + 1

    def release(self, account: Account, peer: IpAddress | None) -> None:
        """One connection less."""
        account.connections -= 1
        self.connections -= 1
        if peer is not None:
            left = self._peers.get(peer, 0) - 1
            if left > 0:
                self._peers[peer] = left
            else:
                self._peers.pop(peer, None)

    # -- what is told ------------------------------------------------------------------------------------------------------

    def opened(self, card: int, udp: bool, direction: str, peer: str, port: int) -> None:
        protocol = "udp" if udp else "tcp"
        self.metrics.add(OPENED, card, protocol, direction)
        self.log.info("connection.open", card=card, protocol=protocol, direction=direction, peer=peer, port=port)

    def closed(self, card: int, cause: Cause, peer: str, received: int, sent: int, began_ns: int) -> None:
        self.metrics.add(CLOSED, card, cause.name.lower())
        self.metrics.add(BYTES, card, "from_outside", amount=received)
        self.metrics.add(BYTES, card, "to_outside", amount=sent)
        self.log.info(
            "connection.close",
            card=card,
            peer=peer,
            cause=cause.name.lower(),
            received_bytes=received,
            sent_bytes=sent,
            duration_ms=round((self.clock() - began_ns) / 1e6, 1),
        )

    def refused(self, card: int, error: UplinkError, what: str) -> None:
        """Count and log that something was refused to a card, and why."""
        self.metrics.add(REFUSED, card, error.cause.name.lower())
        self.log.warning("refused", card=card, cause=error.cause.name.lower(), what=what, why=str(error))


def _nobody(_node: int) -> bytes:
    return b""


def _nothing_to_give(_account: Account) -> bool:
    return False
