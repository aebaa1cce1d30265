"""Connecting to one of several addresses: each is tried in turn, within one limit for all; nothing blocks."""

import errno
import socket
from asyncio import Handle
from collections.abc import Callable, Sequence
from typing import Final

from bench.channels.message import Cause
from bench.host.bound import client_socket
from bench.host.ground import Ground, cause_of
from bench.host.policy import IpAddress

LEAST_S: Final = 1.0
"""What an address gets at least, where the time is shared with others still to be tried."""

Made = Callable[[socket.socket, IpAddress], None]
Failed = Callable[[Cause, str], None]


class Dialling:
    """One attempt to connect. ``made`` or ``failed`` is called, as an event, after the constructor has returned; neither after ``cancel``."""

    def __init__(
        self, ground: Ground, addresses: Sequence[IpAddress], port: int, seconds: float, made: Made, failed: Failed
    ) -> None:
        self.ground = ground
        self.port = port
        self._addresses = list(addresses)
        self._made = made
        self._failed = failed
        self._end = ground.loop.time() + seconds
        self._socket: socket.socket | None = None
        self._address: IpAddress | None = None
        self._timer: Handle | None = ground.loop.call_soon(self._next)
        self._cause = Cause.NOT_REACHABLE
        self._detail = "no address to connect to"

    def cancel(self) -> None:
        """Give it up; nobody is told."""
        self._addresses.clear()
        self._let_go()

    def _next(self) -> None:
        self._let_go()
        if not self._addresses:
            self.ground.drive.event(lambda: self._failed(self._cause, self._detail))
            return
        address = self._addresses.pop(0)
        self._address = address
        try:
            made = self._socket = client_socket(address, socket.SOCK_STREAM, self.ground)
            number = made.connect_ex((str(address), self.port))
        except OSError as error:
            self._not(error)
            return
        if number and number != errno.EINPROGRESS:
            self._not(OSError(number, "connect"))
            return
        left = self._end - self.ground.loop.time()
        share = max(LEAST_S, left / (len(self._addresses) + 1)) if self._addresses else left
        self._timer = self.ground.loop.call_later(max(0.0, share), self._not, OSError(errno.ETIMEDOUT, "connect"))
        self.ground.loop.add_writer(made, self._writable)

    def _writable(self) -> None:
        made, address = self._socket, self._address
        if made is None or address is None:
            return
        number = made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            self._not(OSError(number, "connect"))
            return
        self.ground.loop.remove_writer(made)
        self._socket = None
        self._let_go()
        self.ground.drive.event(lambda: self._made(made, address))

    def _not(self, error: OSError) -> None:
        self._cause = cause_of(error)
        self._detail = f"{self._address} port {self.port}: {errno.errorcode.get(error.errno or 0, 'error')}"
        self._let_go()
        self._timer = self.ground.loop.call_soon(self._next)

    def _let_go(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._socket is not None:
            self.ground.loop.remove_writer(self._socket)
            self._socket.close()
            self._socket = None
