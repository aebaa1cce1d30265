"""What every way to serve a card or a device shares: one selector in the caller's thread, with whatever else is to be watched meanwhile."""

import contextlib
import selectors
import socket
from collections.abc import Callable
from typing import Final

IDLE_S: Final = 0.5
"""Longest sleep of a card that has nothing to do."""
READ_MOST: Final = 65_536
"""Bytes taken from a socket at a time."""
SEND_S: Final = 5
"""How long the other side may take to read what a socket's buffer does not hold, before it is considered gone."""
_QUICKACK: Final = getattr(socket, "TCP_QUICKACK", None)


class ServeLoop:
    """Sleeps until something is to be read, or the card has something to do."""

    idle_s = IDLE_S

    def __init__(self) -> None:
        self.ended = False
        """Nobody is left to serve."""
        self.address = ""
        """Where a reader finds it; empty where the loop was told where to go."""
        self.on_asked: Callable[[], None] = nothing
        """Called whenever somebody has asked the card or its reader something."""
        self._selector = selectors.DefaultSelector()

    def watch(self, file: int, readable: Callable[[], None]) -> None:
        """Call ``readable`` whenever there is something to read at this descriptor."""
        self._selector.register(file, selectors.EVENT_READ, readable)

    def run(self, stop: Callable[[], bool]) -> None:
        """Serve until ``stop()`` holds (asked after everything that happens) or nobody is left to serve; then close."""
        try:
            while not self.ended and not stop():
                self.turn()
        finally:
            self.close()

    def turn(self) -> None:
        """Sleep until something happens, then do it."""
        for key, _ in self._selector.select(self._sleep()):
            key.data()
        self._follow()

    def close(self) -> None:
        """Let go of everything the loop has made. Twice is once."""
        self._selector.close()

    # -- for who inherits --------------------------------------------------------------------------------------------------

    def _sleep(self) -> float:
        """Seconds until there is something to do, at most ``idle_s``."""
        raise NotImplementedError

    def _follow(self) -> None:
        """Do what is due by now, and hand over what there is to hand over."""
        raise NotImplementedError

    def _await_room(self, connection: socket.socket | int, ready: Callable[[], None], *, room: bool) -> None:
        """Call ``ready`` when there is something to read here, and with ``room`` also when there is room to write."""
        self._selector.modify(connection, selectors.EVENT_READ | (selectors.EVENT_WRITE if room else 0), ready)


def nothing() -> None:
    """Where nobody wants to be told."""


def received(connection: socket.socket) -> bytes | None:
    """What there is to read at a socket that does not block; None where there is nothing yet, empty where the other side has gone."""
    try:
        return connection.recv(READ_MOST)
    except (BlockingIOError, InterruptedError):
        return None
    except OSError:
        return b""


def gone(connection: socket.socket) -> bool:
    """Whether the other side of a socket that does not block has left, and all it said has been read."""
    try:
        return not connection.recv(1, socket.MSG_PEEK)
    except (BlockingIOError, InterruptedError):
        return False
    except OSError:
        return True


def sent(connection: socket.socket, data: bytes | bytearray) -> int:
    """How many of these bytes a socket that does not block has taken. Raises OSError where the other side has gone."""
    try:
        return connection.send(data)
    except (BlockingIOError, InterruptedError):
        return 0


def send_whole(connection: socket.socket, data: bytes) -> None:
    """All of it, waiting at most SEND_S for the other side, which is reading it. Raises OSError where that has gone, or does not read."""
    done = sent(connection, data)
    if done < len(data):  # longer than the socket's buffer
        connection.settimeout(SEND_S)
        connection.sendall(data[done:])
        connection.setblocking(False)


def acknowledge_at_once(connection: socket.socket) -> None:
    """What is received next is not acknowledged late; to be said before every receive. Nothing where the system knows no such thing."""
    if _QUICKACK is not None:
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
