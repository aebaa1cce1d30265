"""What can stand between the bench and a USB reader, named, with what to do."""

import errno
import os
from pathlib import Path
from typing import Final

from bench.readers.faults import Fault, fault_text

USBFS: Final = "/dev/bus/usb"
_GONE: Final = frozenset({errno.ENODEV, errno.ENXIO, errno.ESHUTDOWN})
_DENIED: Final = frozenset({errno.EACCES, errno.EPERM})


class UsbError(Exception):
    """A transfer, or opening a device, failed. The text begins with the ``fault``'s name and ends with what to do."""

    def __init__(self, fault: Fault, what: str, do: str) -> None:
        self.fault = fault
        super().__init__(fault_text(fault, what, do))


def node(bus: int, address: int) -> str:
    """The device's node in the file system (Linux usbfs)."""
    return f"{USBFS}/{bus:03d}/{address:03d}"


def has_left(bus: int, address: int) -> bool:
    """Whether the kernel no longer has the device: libusb's list lags behind (it waits for udevd's word)."""
    return os.path.isdir(USBFS) and not os.path.exists(node(bus, address))


def usb_error(number: int, what: str, bus: int, address: int) -> UsbError:
    """An error number of libusb, as what it means at this device."""
    path = node(bus, address)
    if number in _GONE or has_left(bus, address):
        return UsbError(Fault.READER, f"{what}: the reader was unplugged", "plug it in again")
    if number in _DENIED:
        return UsbError(
            Fault.DENIED,
            f"{what}: this user may not open {path}",
            'run as root, or add a udev rule such as: SUBSYSTEM=="usb", ENV{ID_USB_INTERFACES}=="*:0b0000:*", MODE="0660", GROUP="plugdev"',
        )
    if number == errno.EBUSY:
        return busy(what, holders(path), "")
    if number == errno.EPIPE:
        return UsbError(Fault.OTHER, f"{what}: the reader stalled the pipe", "unplug it and plug it in again")
    if number == errno.EOVERFLOW:
        return UsbError(
            Fault.GARBLED, f"{what}: the reader sent more than was asked for", "unplug it and plug it in again"
        )
    return UsbError(
        Fault.OTHER,
        f"{what}: {os.strerror(number)}",
        "unplug the reader and plug it in again; try another port or cable",
    )


def busy(what: str, who: tuple[str, ...], kernel_driver: str) -> UsbError:
    """Somebody else has the reader."""
    if kernel_driver:
        return UsbError(
            Fault.BUSY,
            f"{what}: the kernel's driver {kernel_driver} has the reader",
            f"unbind it: echo the interface's name into /sys/bus/usb/drivers/{kernel_driver}/unbind",
        )
    names = ", ".join(who) or "another program (run as root to see which)"
    if any(name.startswith("pcscd") for name in who):
        do = "stop pcscd while the bench drives the reader itself: systemctl stop pcscd.socket pcscd.service; or use kind: pcsc"
    else:
        do = "end that program, or use another reader"
    return UsbError(Fault.BUSY, f"{what}: {names} holds the reader", do)


def kernel_driver(port: str, interface: int) -> str:
    """The kernel's driver at an interface of the device at ``port`` (such as 1-2.4), as sysfs has it; empty where it does not tell."""
    for each in Path("/sys/bus/usb/devices").glob(f"{port}:*.{interface}"):
        if (each / "driver").exists():
            return (each / "driver").resolve().name
    return ""


def serial_number(port: str) -> str:
    """The serial number of the device at ``port`` without opening it; empty where sysfs has none."""
    try:
        return Path(f"/sys/bus/usb/devices/{port}/serial").read_text(errors="replace").strip()
    except OSError:
        return ""


def holders(path: str, proc: str = "/proc") -> tuple[str, ...]:
    """Who else has a device's node open: ``name (process id)``, as far as this user may see."""
    found = []
    for process in sorted(Path(proc).glob("[0-9]*")):
        if process.name == str(os.getpid()):
            continue
        try:
            if any(os.readlink(each) == path for each in (process / "fd").iterdir()):
                found.append(f"{(process / 'comm').read_text().strip()} (process {process.name})")
        except OSError:
            continue  # it has ended, or is none of our business
    return tuple(found)
