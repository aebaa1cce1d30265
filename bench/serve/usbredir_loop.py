"""A USB device of ours at an AF_UNIX socket, where QEMU's usb-redir finds it; the loop that serves it."""

import contextlib
import select
import selectors
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench.serve.usb_reader import ServedUsb, ServedUsbReader
from bench.serve.usbredir import UsbredirError, UsbredirHost

IDLE_S: Final = 0.5
"""Longest sleep of a device that has nothing to do."""
UNREAD_MOST: Final = 1 << 24
"""Bytes that wait for a peer that does not read; a peer that lets more gather is given up."""


def listen(path: Path) -> socket.socket:
    """Listen at ``path``, in the place of a socket that nobody listens at any more. Raises OSError."""
    listener = socket.socket(socket.AF_UNIX)
    try:
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISSOCK(path.stat().st_mode) and not _answers(path):
                path.unlink()
        listener.bind(str(path))
        listener.listen(1)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


class UsbredirPort:
    """Serves one device to one peer after the other, in the caller's thread, with whatever else is to be watched meanwhile."""

    ended = False
    """A peer that goes leaves room for the next."""

    def __init__(self, path: Path, served: ServedUsb) -> None:
        """Raises OSError where nothing can listen at ``path``."""
        self.path = path
        self.device = served
        self.on_asked: Callable[[], None] = _nothing
        """Called whenever the host has sent the device something."""
        self.on_peer: Callable[[str], None] = _ignore
        """Told when a peer comes or goes, in words."""
        self._plugged = True
        self._host: UsbredirHost | None = None
        self._connection: socket.socket | None = None
        self._unsent = bytearray()
        self._listener = listen(path)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        served.on_asked = self._asked

    @property
    def address(self) -> str:
        """Where a peer finds it."""
        return str(self.path)

    def watch(self, file: int, readable: Callable[[], None]) -> None:
        """Call ``readable`` whenever there is something to read at this descriptor."""
        self._selector.register(file, selectors.EVENT_READ, readable)

    def unplug(self) -> None:
        """Take the device out of the host's port."""
        self._plugged = False
        if self._host is not None:
            self._host.unplug()
            self._send()

    def plug(self) -> None:
        """Put it back."""
        self._plugged = True
        if self._host is not None:
            self._host.plug()
            self._send()

    def run(self, stop: Callable[[], bool]) -> None:
        """Serve until ``stop()`` holds, asked after everything that happens; then leave nothing at the socket's place."""
        try:
            while not stop():
                self.turn()
        finally:
            self.close()

    def turn(self) -> None:
        """Sleep until something happens, then do it."""
        for key, _ in self._selector.select(self.device.sleep(IDLE_S)):
            key.data()
        self.device.turn()
        self._send()

    def close(self) -> None:
        """Let everything go. Twice is once."""
        self._hang_up()
        self._selector.close()
        if self._listener.fileno() >= 0:
            self._listener.close()
            self.path.unlink(missing_ok=True)

    # -- the peer --------------------------------------------------------------------------------------------------------

    def _asked(self) -> None:
        self.on_asked()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        if self._connection is not None:
            if not _gone(self._connection):
                connection.close()  # one device, one host
                return
            self._hang_up()
        connection.setblocking(False)
        self._connection = connection
        self._host = UsbredirHost(self.device)
        if not self._plugged:
            self._host.unplug()
        self._selector.register(connection, selectors.EVENT_READ, self._readable)
        self._send()
        self.on_peer("a host has come")

    def _readable(self) -> None:
        assert self._connection is not None
        assert self._host is not None
        try:
            data = self._connection.recv(65_536)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._hang_up()
            return
        try:
            self._host.feed(data)
        except UsbredirError as error:
            self._hang_up(str(error))
            return
        self._send()

    def _send(self) -> None:
        if self._connection is None or self._host is None:
            return
        self._unsent += self._host.take()
        if not self._unsent:
            return
        try:
            sent = self._connection.send(self._unsent)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self._hang_up()
            return
        del self._unsent[:sent]
        if len(self._unsent) > UNREAD_MOST:
            self._hang_up("it does not read")
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._unsent else 0)
        self._selector.modify(self._connection, events, self._readable if not self._unsent else self._ready)

    def _ready(self) -> None:
        self._send()
        if self._connection is not None:
            self._readable()

    def _hang_up(self, why: str = "") -> None:
        connection, self._connection = self._connection, None
        host, self._host = self._host, None
        self._unsent.clear()
        if connection is None or host is None:
            return
        self._selector.unregister(connection)
        connection.close()
        host.close()
        self.on_peer("the host has gone" + (f": {why}" if why else ""))


class UsbredirLoop(UsbredirPort):
    """Serves a reader, whose cards come and go."""

    def __init__(self, path: Path, served: ServedUsbReader) -> None:
        """Raises OSError where nothing can listen at ``path``."""
        super().__init__(path, served)
        self.served = served

    def replace(self, served: ServedUsbReader, *, unseen: bool = False) -> None:
        """Put a reader with other cards in the place of this one. The host keeps its device; it sees the card go and another one come.

        ``unseen``: it sees neither, only another answer to its next reset.
        """
        before, self.served = self.served, served
        self.device = served
        before.on_asked = _nothing
        served.on_asked = self._asked
        if self._host is not None:
            self._host.stand_in(served)
        served.succeed(before, unseen=unseen)
        self._send()

    def pull(self) -> None:
        """Take the card out of the first slot."""
        self.served.pull()
        self._send()

    def insert(self) -> None:
        """Put it back."""
        self.served.insert()
        self._send()


def _gone(connection: socket.socket) -> bool:
    """Whether its peer has closed it, whatever may still be there to read."""
    poll = select.poll()
    poll.register(connection, select.POLLHUP)
    return bool(poll.poll(0))


def _nothing() -> None:
    pass


def _ignore(_words: str) -> None:
    pass
