"""A GemPC reader on a pty: where a driver finds it, and the loop that serves it."""

import contextlib
import os
import selectors
import tty
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench.ccid.codes import MessageType
from bench.serve.gempc import ServedGempc
from bench.serve.loop import ServeLoop

AGAIN_S: Final = 0.002
"""How soon to try again where a driver does not read."""
SLOT_AT: Final = 5
"""Where bSlot is in a message."""
UNREAD_MOST: Final = 1 << 16
"""Bytes that wait for a driver that does not read; more are lost, as on a port without flow control."""


class Pty:
    """A pseudo-terminal in raw mode, its far side kept open so that a driver may come and go. ``path``: a link to make to it."""

    def __init__(self, path: Path | None = None) -> None:
        """Raises OSError: no pty to be had, or something other than a link is at ``path``."""
        self.near, self._far = os.openpty()
        self._link: Path | None = None
        try:
            tty.setraw(self._far)
            tty.setraw(self.near)
            os.set_blocking(self.near, False)
            self.device = os.ttyname(self._far)
            if path is not None:
                if path.is_symlink():
                    path.unlink()
                path.symlink_to(self.device)
                self._link = path
        except BaseException:
            self.close()
            raise

    @property
    def address(self) -> str:
        """What to open: the link, where there is one."""
        return str(self._link or self.device)

    def close(self) -> None:
        """Let go of it, and take the link away."""
        if self._link is not None:
            with contextlib.suppress(OSError):
                if os.readlink(self._link) == self.device:
                    self._link.unlink()
            self._link = None
        for file in (self.near, self._far):
            if file >= 0:
                os.close(file)
        self.near = self._far = -1


class GempcLoop(ServeLoop):
    """Serves one reader at one port, which stays open when the loop is closed."""

    def __init__(self, port: Pty, served: ServedGempc) -> None:
        super().__init__()
        self.port = port
        self.served = served
        self.address = port.address
        self._unsent = bytearray()
        self._known = False
        """A driver has been here."""
        self._then: Callable[[], None] | None = None
        """What to do when the driver has seen that no card is there."""
        self._selector.register(port.near, selectors.EVENT_READ, self._readable)
        served.on_asked = self._asked

    def replace(self, served: ServedGempc, *, unseen: bool = False) -> None:
        """Put a reader of the same model with other cards in the place of this one. A driver sees the old card go before it sees the new one.

        ``unseen``: it is told of nothing and finds the new card at the next reset, which spares the time until it looks.
        Raises ValueError for another model.
        """
        served.succeed(self.served)
        before, self.served = self.served, served
        before.off()
        served.on_asked = self._asked
        self._unsent.clear()
        self._then = None
        if self._known and not unseen:
            served.pull()
            self._then = served.insert

    def pull(self) -> None:
        """Take the card out of the first slot."""
        self._then = None
        self.served.pull()

    def insert(self) -> None:
        """Put it back."""
        self.served.insert()

    def close(self) -> None:
        self.served.off()
        super().close()

    def _sleep(self) -> float:
        return self.served.sleep(min(self.idle_s, AGAIN_S) if self._unsent else self.idle_s)

    def _follow(self) -> None:
        self.served.slaved.follow()
        self._send()

    def _readable(self) -> None:
        try:
            data = os.read(self.port.near, 65_536)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self.ended = True
            return
        self._known = True
        self.served.receive(data)
        self.on_asked()
        self._send()

    def _asked(self, command: bytes) -> None:
        looked = command[0] == MessageType.GET_SLOT_STATUS and command[SLOT_AT] == 0
        if looked and self._then is not None:
            then, self._then = self._then, None
            then()

    def _send(self) -> None:
        self._unsent += self.served.take_due()
        if not self._unsent:
            return
        try:
            sent = os.write(self.port.near, self._unsent)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self.ended = True
            return
        del self._unsent[:sent]
        del self._unsent[UNREAD_MOST:]
