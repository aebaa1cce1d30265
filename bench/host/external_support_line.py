"""The external support on a real line: a serial device, a pty, a socket or a pair of pipes, driven by the engine's own loop.

What the line does not take now waits in the support's buffer, where it is measured; at most one frame waits here.
"""

import contextlib
import os
from collections.abc import Callable

from bench.host.drive import Drive
from bench.host.external_support_hop import SupportPlug

READ_MOST = 4096


class ExternalSupportLine:
    """Two descriptors (which may be one) and a plug. ``start`` and ``stop`` from any thread; the descriptors stay the caller's."""

    def __init__(self, drive: Drive, plug: SupportPlug, reads: int, writes: int) -> None:
        self.drive = drive
        self.plug = plug
        self.on_end: Callable[[str], None] = _nothing
        """Called, in the loop's thread, when the other side is gone, with the reason."""
        self.octets_in = 0
        self.octets_out = 0
        self._reads = reads
        self._writes = writes
        self._unsent = b""
        self._watching = False
        self._stopped = False
        for each in {reads, writes}:
            os.set_blocking(each, False)

    def start(self) -> None:
        """Begin to carry."""
        self.drive.call(self._start)

    def stop(self) -> None:
        """Let go of the loop; what waits is lost. Stopping twice is no mistake."""
        self.drive.call(lambda: self._end(""))

    def _start(self) -> None:
        self.plug.on_octets = self._send
        self.drive.loop.add_reader(self._reads, self._readable)

    def _readable(self) -> None:
        try:
            data = os.read(self._reads, READ_MOST)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(f"the line broke: {error.strerror}")
            return
        if not data:
            self._end("the line was closed")
            return
        self.octets_in += len(data)
        self.drive.event(lambda: self.plug.octets(data))

    def _send(self) -> None:
        while not self._stopped and not self._watching:
            data = self._unsent or self.plug.support.take_octets(self.plug.engine.now)
            if not data:
                return
            try:
                sent = os.write(self._writes, data)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                self._end(f"the line broke: {error.strerror}")
                return
            self.octets_out += sent
            self._unsent = data[sent:]
            if self._unsent:
                self._watching = True
                self.drive.loop.add_writer(self._writes, self._writable)

    def _writable(self) -> None:
        self._watching = False
        self.drive.loop.remove_writer(self._writes)
        self.drive.event(self._send)

    def _end(self, reason: str) -> None:
        if self._stopped:
            return
        self._stopped = True
        with contextlib.suppress(OSError, ValueError):
            self.drive.loop.remove_reader(self._reads)
            self.drive.loop.remove_writer(self._writes)
        self.plug.on_octets = _silent
        if reason:
            self.on_end(reason)


def _nothing(_reason: str) -> None:
    pass


def _silent() -> None:
    pass
