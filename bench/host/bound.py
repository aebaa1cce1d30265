"""The sockets of the gateway: made, sized and bound, none of them blocking."""

import contextlib
import errno
import socket
from collections.abc import Callable
from typing import Final

from bench.host.ground import Ground, family_of
from bench.host.policy import IpAddress

BACKLOG: Final = 128


def listen_tcp(addresses: tuple[str, ...], port: int, ground: Ground) -> list[socket.socket]:
    """Listening sockets for one port on each address. Raises OSError."""
    return bind_all(addresses, port, lambda address, wanted: _listening(address, wanted, ground))


def listen_udp(addresses: tuple[str, ...], port: int, ground: Ground) -> list[socket.socket]:
    """UDP sockets for one port on each address. Raises OSError."""
    return bind_all(addresses, port, lambda address, wanted: _bound(address, wanted, socket.SOCK_DGRAM, ground))


def bind_all(addresses: tuple[str, ...], port: int, bind: Callable[[str, int], socket.socket]) -> list[socket.socket]:
    """One bound socket for each address, all on the same port; where the system chooses it, one that is free on all. Raises OSError."""
    for attempt in range(8):
        made: list[socket.socket] = []
        wanted = port
        try:
            for address in addresses:
                made.append(bind(address, wanted))
                wanted = int(made[0].getsockname()[1])
        except OSError as error:
            for each in made:
                each.close()
            if port or not made or error.errno != errno.EADDRINUSE or attempt == 7:
                raise
            continue
        return made
    raise AssertionError("the last attempt returns or raises")


def client_socket(address: IpAddress, kind: socket.SocketKind, ground: Ground) -> socket.socket:
    """A socket to connect with."""
    return _sized(socket.socket(family_of(address), kind), ground)


def prepare(made: socket.socket, ground: Ground) -> None:
    """Options of a connection: no delay, and peers that vanish are noticed."""
    times = ground.policy.times
    made.setblocking(False)
    with contextlib.suppress(OSError):  # reset already: the next read says so
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        probes = 3
        every = max(1, round(times.vanish.seconds / probes))
        for option, value in (
            ("TCP_KEEPIDLE", max(1, round(times.keepalive.seconds))),
            ("TCP_KEEPINTVL", every),
            ("TCP_KEEPCNT", probes),
            ("TCP_USER_TIMEOUT", round(times.vanish.seconds * 1000)),
        ):
            if hasattr(socket, option):
                made.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def _listening(address: str, port: int, ground: Ground) -> socket.socket:
    made = _bound(address, port, socket.SOCK_STREAM, ground)
    try:
        made.listen(BACKLOG)
    except BaseException:
        made.close()
        raise
    return made


def _bound(address: str, port: int, kind: socket.SocketKind, ground: Ground) -> socket.socket:
    made = socket.socket(family_of(address), kind)
    try:
        if kind is socket.SOCK_STREAM:  # with UDP it would share the port
            # Without it a port would stay taken for a minute by connections that have ended; two listeners it does not allow.
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if made.family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        _sized(made, ground)
        made.bind((address, port))
    except BaseException:
        made.close()
        raise
    return made


def _sized(made: socket.socket, ground: Ground) -> socket.socket:
    size = ground.policy.limits.socket_buffer // 2  # the kernel doubles it for its own needs
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)
    made.setblocking(False)
    return made
