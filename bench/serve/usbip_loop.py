"""A USB device of ours at a virtual port of this machine's own kernel (Linux, module vhci_hcd, as root); the loop that serves it."""

import contextlib
import selectors
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench.ccid.usb_descriptors import Speed
from bench.serve.usb_reader import ServedUsbReader
from bench.serve.usbip import UsbipDevice, UsbipError

IDLE_S: Final = 0.5
"""Longest sleep of a device that has nothing to do."""
CONTROLLER: Final = Path("/sys/devices/platform/vhci_hcd.0")
FREE: Final = 4
"""VDEV_ST_NULL: no device at this port."""
FREE_WITHIN_S: Final = 3.0
"""How long the kernel may take to let go of a port."""
LINUX_SPEED: Final = {Speed.LOW: 1, Speed.FULL: 2, Speed.HIGH: 3}


class Port:
    """One port of the kernel's virtual host controller, with a device in it as long as this is open."""

    def __init__(self, speed: Speed, controller: Path = CONTROLLER) -> None:
        """Raises OSError where there is no such controller, no free port, or no permission."""
        self._controller = controller
        self.connection, theirs = socket.socketpair()
        try:
            self.number = self._free()
            attach = f"{self.number} {theirs.fileno()} {self.number + 1} {LINUX_SPEED[speed]}"
            (controller / "attach").write_text(attach)
        except BaseException:
            self.connection.close()
            raise
        finally:
            theirs.close()  # the kernel keeps its own
        self.connection.setblocking(False)

    @property
    def address(self) -> str:
        """The port, as the kernel numbers it."""
        return f"{self._controller.name} port {self.number}"

    def close(self) -> None:
        """Take the device out, and wait until the port is free. Twice is once."""
        if self.connection.fileno() < 0:
            return
        with contextlib.suppress(OSError):
            (self._controller / "detach").write_text(str(self.number))
        self.connection.close()
        limit = time.monotonic() + FREE_WITHIN_S
        with contextlib.suppress(OSError):
            while self._states().get(self.number, FREE) != FREE and time.monotonic() < limit:
                time.sleep(0.01)

    def _free(self) -> int:
        for number, state in sorted(self._states().items()):
            if state == FREE:
                return number
        raise OSError(f"no free port at {self._controller}: detach a device")

    def _states(self) -> dict[int, int]:
        """State by port; those for full and high speed."""
        states = {}
        for line in (self._controller / "status").read_text().splitlines():
            hub, *fields = line.split()
            if hub == "hs":
                states[int(fields[0])] = int(fields[1])
        return states


class UsbipLoop:
    """Serves one reader to the kernel, in the caller's thread, with whatever else is to be watched meanwhile."""

    def __init__(self, served: ServedUsbReader, controller: Path = CONTROLLER) -> None:
        """Plugs the reader in. Raises OSError: see Port."""
        self.served = served
        self.ended = False
        """The kernel has let go of the device, or something else has detached it."""
        self.why = ""
        """What ended it, where it was no plain end."""
        self.on_asked: Callable[[], None] = _nothing
        """Called whenever the host has sent the reader something."""
        self._controller = controller
        self._port: Port | None = None
        self._device: UsbipDevice | None = None
        self._unsent = bytearray()
        self._selector = selectors.DefaultSelector()
        served.on_asked = self._asked
        try:
            self.plug()
        except BaseException:
            self._selector.close()
            raise

    @property
    def address(self) -> str:
        """Where it is plugged in; empty while it is not."""
        return self._port.address if self._port is not None else ""

    def watch(self, file: int, readable: Callable[[], None]) -> None:
        """Call ``readable`` whenever there is something to read at this descriptor."""
        self._selector.register(file, selectors.EVENT_READ, readable)

    def replace(self, served: ServedUsbReader, *, unseen: bool = False) -> None:
        """Put a reader with other cards in the place of this one: see ``UsbredirLoop.replace``."""
        before, self.served = self.served, served
        before.on_asked = _nothing
        served.on_asked = self._asked
        if self._device is not None:
            self._device.stand_in(served)
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

    def unplug(self) -> None:
        """Take the whole reader out of the port. Twice is once."""
        port, self._port = self._port, None
        device, self._device = self._device, None
        self._unsent.clear()
        if port is None or device is None:
            return
        self._selector.unregister(port.connection)
        port.close()
        device.close()

    def plug(self) -> None:
        """Put it into a free port. Twice is once. Raises OSError."""
        if self._port is None:
            self._port = Port(self.served.device.identity.speed, self._controller)
            self._device = UsbipDevice(self.served)
            self._selector.register(self._port.connection, selectors.EVENT_READ, self._readable)

    def run(self, stop: Callable[[], bool]) -> None:
        """Serve until ``stop()`` holds, asked after everything that happens, or the kernel lets go; then unplug."""
        try:
            while not self.ended and not stop():
                self.turn()
        finally:
            self.close()

    def turn(self) -> None:
        """Sleep until something happens, then do it."""
        for key, _ in self._selector.select(self.served.sleep(IDLE_S)):
            key.data()
        self.served.turn()
        self._send()

    def close(self) -> None:
        """Unplug and let everything go. Twice is once."""
        self.unplug()
        self._selector.close()

    def _asked(self) -> None:
        self.on_asked()

    def _readable(self) -> None:
        if self._port is None or self._device is None:
            return
        try:
            data = self._port.connection.recv(65_536)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._end("")
            return
        try:
            self._device.feed(data)
        except UsbipError as error:
            self._end(str(error))
            return
        self._send()

    def _send(self) -> None:
        if self._port is None or self._device is None:
            return
        self._unsent += self._device.take()
        if not self._unsent:
            return
        try:
            sent = self._port.connection.send(self._unsent)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self._end("")
            return
        del self._unsent[:sent]
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._unsent else 0)
        self._selector.modify(self._port.connection, events, self._ready if self._unsent else self._readable)

    def _ready(self) -> None:
        self._send()
        self._readable()

    def _end(self, why: str) -> None:
        self.unplug()
        self.ended, self.why = True, why


def _nothing() -> None:
    pass
