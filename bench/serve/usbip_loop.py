"""A USB device of ours at a virtual port of this machine's own kernel (Linux, module vhci_hcd, as root); the loop that serves it."""

import contextlib
import socket
import time
from pathlib import Path
from typing import Final

from bench.ccid.usb_descriptors import Speed
from bench.serve.usb_loop import ReaderLoop
from bench.serve.usb_reader import ServedUsbReader
from bench.serve.usbip import UsbipDevice

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


class UsbipLoop(ReaderLoop):
    """Serves one reader to the kernel, until that lets go of the device or something else detaches it."""

    def __init__(self, served: ServedUsbReader, controller: Path = CONTROLLER) -> None:
        """Plugs the reader in. Raises OSError: see Port."""
        super().__init__(served)
        self.served = served
        self.why = ""
        """What ended it, where it was no plain end."""
        self._controller = controller
        self._port: Port | None = None
        try:
            self.plug()
        except BaseException:
            self._selector.close()
            raise

    def unplug(self) -> None:
        """Take the whole reader out of the port. Twice is once."""
        self.address = ""
        self._disconnect()

    def plug(self) -> None:
        """Put it into a free port. Twice is once. Raises OSError."""
        if self._port is None:
            self._port = port = Port(self.served.device.identity.speed, self._controller)
            self.address = port.address
            self._connect(port.connection, UsbipDevice(self.served))

    def close(self) -> None:
        """Unplug, and let go of everything. Twice is once."""
        self.unplug()
        super().close()

    def _release(self, connection: socket.socket) -> None:
        del connection  # the port's own
        port, self._port = self._port, None
        if port is not None:
            port.close()

    def _gone(self, why: str = "") -> None:
        self.unplug()
        self.ended, self.why = True, why
