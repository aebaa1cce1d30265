"""A USB device of ours at an AF_UNIX socket, where QEMU's usb-redir finds it; the loop that serves it."""

import contextlib
import errno
import os
import select
import selectors
import socket
import stat
from collections.abc import Callable
from pathlib import Path

from bench.serve.usb_loop import ReaderLoop, UsbLoop
from bench.serve.usb_reader import ServedUsb, ServedUsbReader
from bench.serve.usbredir import UsbredirHost


def listen(path: Path) -> socket.socket:
    """Listen at ``path``, in the place of a socket that nobody listens at any more; nothing is seen there before somebody listens. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.stat().st_mode) or _answers(path):
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE), str(path))
    listener = socket.socket(socket.AF_UNIX)
    aside = path.with_name(f".{os.getpid():x}")  # short: such paths have 107 bytes
    aside.unlink(missing_ok=True)
    try:
        listener.bind(str(aside))
        listener.listen(1)
        listener.setblocking(False)
        aside.rename(path)
    except BaseException:
        listener.close()
        aside.unlink(missing_ok=True)
        raise
    return listener


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


class UsbredirPort(UsbLoop):
    """Serves one device to one peer after the other: one that goes leaves room for the next."""

    def __init__(self, path: Path, device: ServedUsb) -> None:
        """Raises OSError where nothing can listen at ``path``."""
        super().__init__(device)
        self.path = path
        self.address = str(path)
        self.on_peer: Callable[[str], None] = _ignore
        """Told when a peer comes or goes, in words."""
        self._plugged = True
        self._host: UsbredirHost | None = None
        self._listener = listen(path)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)

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

    def close(self) -> None:
        """Let go of everything, and leave nothing at the socket's place. Twice is once."""
        self._gone()
        super().close()
        if self._listener.fileno() >= 0:
            self._listener.close()
            self.path.unlink(missing_ok=True)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        if self._connection is not None:
            if not _hung_up(self._connection):
                connection.close()  # one device, one host
                return
            self._gone()
        connection.setblocking(False)
        self._host = UsbredirHost(self.device)
        if not self._plugged:
            self._host.unplug()
        self._connect(connection, self._host)
        self._send()
        self.on_peer("a host has come")

    def _gone(self, why: str = "") -> None:
        self._host = None
        if self._disconnect():
            self.on_peer("the host has gone" + (f": {why}" if why else ""))


class UsbredirLoop(ReaderLoop, UsbredirPort):
    """Serves a reader."""

    def __init__(self, path: Path, served: ServedUsbReader) -> None:
        """Raises OSError where nothing can listen at ``path``."""
        super().__init__(path, served)
        self.served = served


def _hung_up(connection: socket.socket) -> bool:
    """Whether its peer has closed it, whatever may still be there to read."""
    poll = select.poll()
    poll.register(connection, select.POLLHUP)
    return bool(poll.poll(0))


def _ignore(_words: str) -> None:
    pass
