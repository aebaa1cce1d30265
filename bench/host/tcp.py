"""TCP connections and listeners of the gateway, on non-blocking sockets in the drive's loop.

Only as much is read as was asked for with ``want``: what a card does not take stays with the peer. Of what is sent, one message at most waits here.
"""

import contextlib
import errno
import socket
import struct
from asyncio import TimerHandle
from collections.abc import Callable
from typing import Final

from bench.channels.message import Address, Cause
from bench.host.bound import prepare
from bench.host.end import End, nobody
from bench.host.ground import Account, Ground, SocketName, address_of, cause_of, ip_in
from bench.host.policy import IpAddress
from bench.host.uplink import Connection, UplinkError

CHUNK: Final = 16_384
ACCEPTS_A_TURN: Final = 16
PAUSE_S: Final = 0.5
"""How long a listener rests when the process has no descriptor left."""
_RESET: Final = struct.pack("ii", 1, 0)
_WOULD_BLOCK: Final = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR)


class TcpConnection(End):
    """A connection that stands, or one still being made (``joined`` then gives it its socket)."""

    def __init__(self, ground: Ground, account: Account, peer: IpAddress | None, remote: Address, name: str) -> None:
        super().__init__(ground, account, peer, remote, name)
        self.on_end: Callable[[TcpConnection], None] = _nothing
        self._socket: socket.socket | None = None
        self._wanted = 0
        self._waiting = b""
        """What the kernel did not take of the last message."""
        self._reading = False
        self._writing = False
        self._ended = False
        self._finishing = False
        self._shut = False
        self._closing: Cause | None = None
        self._timer: TimerHandle | None = None
        self._read_again: TimerHandle | None = None
        self._write_again: TimerHandle | None = None

    @property
    def quiet_file(self) -> int | None:
        """The descriptor, where the loop does not watch it for the time being: a reset must be looked for."""
        return None if self._socket is None or self._reading or self._writing else self._socket.fileno()

    @property
    def from_outside(self) -> bool:
        """Whether the peer has come by itself, and stands."""
        return self._peer is not None and self.stands

    @property
    def stands(self) -> bool:
        """Whether it has been made, and is not over."""
        return self._socket is not None and not self._over

    @property
    def said_nothing(self) -> bool:
        """Whether nothing is to be lost with it: the peer has not said a word, or has had its answer."""
        return not self.received or self._closing is not None

    def joined(self, made: socket.socket, name: str) -> None:
        """The connection stands; ``name`` is where it has led to."""
        self.name = name
        self._socket = made
        self.cancel = nobody
        prepare(made, self.ground)

    # -- what its visitor does ---------------------------------------------------------------------------------------------

    def send(self, data: bytes) -> bool:
        if self._socket is None or self._over:
            return True  # nobody reads it
        if self._waiting or self._writing:
            return False
        bucket, now = self.account.to_outside, self.ground.clock()
        if not bucket.take(len(data), now):
            self._write_later(bucket.seconds_until_one(now))
            return False
        return self._put(data)

    def _put(self, data: bytes) -> bool:
        assert self._socket is not None
        try:
            taken = self._socket.send(data)
        except OSError as error:
            if error.errno in _WOULD_BLOCK:
                self._watch_writing(True)
                return False
            self._lost(cause_of(error))
            return True
        self.sent += taken
        self.last = self.ground.clock()
        if taken < len(data):
            self._waiting = data[taken:]
            self._watch_writing(True)
        return True

    def want(self, count: int) -> None:
        self._wanted += count
        self._watch_reading()

    def finish(self) -> None:
        self._finishing = True
        if not self._waiting:
            self._shutdown()

    def close(self, cause: Cause) -> None:
        self.visitor = None
        self.cancel()
        self.cancel = nobody
        if self._over or self._closing is not None:
            return
        if self._socket is None:
            self._end(cause)
            return
        if cause is not Cause.NONE:
            self._reset(cause)
            return
        self._closing = cause
        linger = self.ground.policy.times.linger if not self._waiting else self.ground.policy.times.vanish
        self._timer = self.ground.loop.call_later(linger.seconds, self._reset, Cause.NONE)
        if self._waiting:
            self._watch_reading()
        else:
            self._drain()

    def broken(self, cause: Cause) -> None:
        """Reset it now, and tell its visitor."""
        visitor, self.visitor = self.visitor, None
        self._reset(cause)
        if visitor is not None:
            visitor.gone(cause)

    def abort(self) -> None:
        """Reset it now, also where it is only waiting for the peer's end."""
        self.close(Cause.CHANNEL_CLOSED)
        self._reset(Cause.CHANNEL_CLOSED)

    # -- what the loop tells -----------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Look whether a connection the loop does not watch was reset meanwhile."""
        made = self._socket
        if made is None or self._over:
            return
        number = made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self._lost(cause_of(OSError(number, "")) if number else Cause.CHANNEL_CLOSED)

    def _readable(self) -> None:
        self.ground.drive.event(self._read)

    def _writable(self) -> None:
        self.ground.drive.event(self._write)

    def _read(self) -> None:
        made = self._socket
        if made is None or self._over or not self._reading:
            return
        if self._closing is not None:
            self._read_away(made)
            return
        bucket, now = self.account.from_outside, self.ground.clock()
        count = min(self._wanted, CHUNK, bucket.available(now))
        if count < 1:
            self._watch_reading()
            return
        try:
            data = made.recv(count)
        except OSError as error:
            if error.errno not in _WOULD_BLOCK:
                self._lost(cause_of(error))
            return
        visitor = self.visitor
        if not data:
            self._ended = True
            self._watch_reading()
            if visitor is not None:
                visitor.ended()
            return
        self.received += len(data)
        self.last = now
        self._wanted -= len(data)
        bucket.take(len(data), now)
        if visitor is not None:
            visitor.data(data)
        self._watch_reading()

    def _read_away(self, made: socket.socket) -> None:
        """The card has closed: what still comes is read and forgotten, so that the end is no reset to a peer that is still writing."""
        try:
            data = made.recv(CHUNK)
        except OSError as error:
            if error.errno not in _WOULD_BLOCK:
                self._end(Cause.NONE)
            return
        if not data:
            self._ended = True
            if self._waiting:
                self._watch_reading()
            else:
                self._end(Cause.NONE)

    def _write(self) -> None:
        if self._socket is None or self._over:
            return
        self._watch_writing(False)
        if self._waiting:
            waiting, self._waiting = self._waiting, b""
            if not self._put(waiting):
                self._waiting = waiting
            if self._waiting or self._over:
                return
        if self._closing is not None:
            self._drain()
            return
        if self._finishing:
            self._shutdown()
        elif self.visitor is not None:
            self.visitor.writable()

    # -- inside ------------------------------------------------------------------------------------------------------------

    def _drain(self) -> None:
        """Everything has been written: end our side, and wait for the peer to end its own."""
        if self._timer is not None:
            self._timer.cancel()
        self._shutdown()
        if self._over:
            return
        if self._ended:
            self._end(Cause.NONE)
            return
        self._timer = self.ground.loop.call_later(self.ground.policy.times.linger.seconds, self._reset, Cause.NONE)
        self._watch_reading()

    def _shutdown(self) -> None:
        if self._shut or self._socket is None or self._over:
            return
        self._shut = True
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            self._lost(cause_of(error))

    def _watch_reading(self) -> None:
        made = self._socket
        if made is None:
            return
        wants = not self._over and not self._ended and (self._wanted > 0 or self._closing is not None)
        if wants and self._closing is None:
            now = self.ground.clock()
            pause = self.account.from_outside.seconds_until_one(now)
            if pause:
                wants = False
                if self._read_again is None:
                    self._read_again = self.ground.loop.call_later(pause, self._read_on)
        if wants is not self._reading:
            self._reading = wants
            if wants:
                self.ground.loop.add_reader(made, self._readable)
            else:
                self.ground.loop.remove_reader(made)

    def _read_on(self) -> None:
        self._read_again = None
        self._watch_reading()

    def _watch_writing(self, wants: bool) -> None:
        made = self._socket
        if made is None or wants is self._writing:
            return
        self._writing = wants
        if wants:
            self.ground.loop.add_writer(made, self._writable)
        else:
            self.ground.loop.remove_writer(made)

    def _write_later(self, seconds: float) -> None:
        if self._write_again is None:
            self._write_again = self.ground.loop.call_later(seconds, self._write_on)

    def _write_on(self) -> None:
        self._write_again = None
        self._writable()

    def _reset(self, cause: Cause) -> None:
        if self._socket is not None and not self._over:
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._end(cause)

    def _end(self, cause: Cause) -> None:
        if self._over:
            return
        self._over = True
        self._watch_reading()
        self._watch_writing(False)
        for timer in (self._timer, self._read_again, self._write_again):
            if timer is not None:
                timer.cancel()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._account(cause)
        self.on_end(self)


class TcpListener:
    """A port, on one or several addresses."""

    def __init__(
        self,
        ground: Ground,
        account: Account,
        sockets: list[socket.socket],
        arrived: Callable[[Connection], None],
        track: Callable[[TcpConnection], None],
    ) -> None:
        self.ground = ground
        self.account = account
        self.port = int(sockets[0].getsockname()[1])
        self.arrived = arrived
        self._track = track
        self._sockets = sockets
        self._pause: TimerHandle | None = None
        self._closed = False
        self._watch()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._pause is not None:
            self._pause.cancel()
        for each in self._sockets:
            self.ground.loop.remove_reader(each)
            each.close()

    def _watch(self) -> None:
        self._pause = None
        for each in self._sockets:
            self.ground.loop.add_reader(each, self._acceptable, each)

    def _rest(self, seconds: float) -> None:
        if self._pause is None and not self._closed:
            for each in self._sockets:
                self.ground.loop.remove_reader(each)
            self._pause = self.ground.loop.call_later(seconds, self._watch)

    def _acceptable(self, listening: socket.socket) -> None:
        for _ in range(ACCEPTS_A_TURN):
            if self._closed or self._pause is not None:
                return
            bucket, now = self.account.accepts, self.ground.clock()
            if not bucket.take(1, now):
                self._rest(bucket.seconds_until_one(now))
                return
            try:
                made, name = listening.accept()
            except OSError as error:
                if error.errno not in (*_WOULD_BLOCK, errno.ECONNABORTED):
                    self.ground.log.error("accept.failed", port=self.port, why=str(error))
                    self._rest(PAUSE_S)
                return
            self._accepted(made, name)

    def _accepted(self, made: socket.socket, name: SocketName) -> None:
        ground, peer, shown = self.ground, ip_in(name), f"{name[0]} {name[1]}"
        try:
            try:
                ground.admit(self.account, peer)
            except UplinkError:
                if not ground.make_room(self.account):
                    raise
                ground.admit(self.account, peer)
        except UplinkError as error:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            made.close()
            ground.refused(self.account.card, error, f"connection from {shown} to port {self.port}")
            return
        connection = TcpConnection(ground, self.account, peer, address_of(name), shown)
        connection.joined(made, shown)
        self._track(connection)
        ground.opened(self.account.card, False, "from_outside", shown, self.port)
        ground.drive.event(lambda: self.arrived(connection))


def _nothing(_connection: TcpConnection) -> None:
    pass
