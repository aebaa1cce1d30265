"""A TUN device of the machine (Linux, Documentation/networking/tuntap.rst): the kernel's packets, whole and without framing.

The device lives as long as its file is open; its addresses and routes go with it. Nothing is configured here: see ``bench.host.tun_setup``.
"""

import contextlib
import errno
import fcntl
import os
import struct
from collections.abc import Callable
from typing import Final

from bench.host.drive import Drive

DEVICE: Final = "/dev/net/tun"
NAME_MAX: Final = 15
LONGEST: Final = 65_535
BATCH: Final = 32
"""Packets that are read before other sockets have their turn."""
_TUNSETIFF: Final = 0x400454CA
_IFF_TUN: Final = 0x0001
_IFF_NO_PI: Final = 0x1000
_IFF_TUN_EXCL: Final = 0x8000
_IFREQ: Final = struct.Struct("16sH22x")


class TunError(Exception):
    """There is no TUN device to be had; the text says why and what to do."""


def check_name(name: str) -> None:
    """Raises TunError for what cannot name a network interface."""
    if not 0 < len(name) <= NAME_MAX or not name.isascii() or any(each in "/:% " for each in name) or name[0] == ".":
        raise TunError(
            f"{name!r} cannot name a network interface: 1 to {NAME_MAX} characters, none of them / : % or blank"
        )


class TunDevice:
    """The open file. ``name`` is the interface's, as the kernel gave it."""

    def __init__(self, name: str) -> None:
        """A new device in this process's network namespace; ``%d`` in the name is filled in by the kernel. Raises TunError."""
        try:
            self.fd = os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise TunError(_why_not_open(error)) from error
        try:
            flags = _IFF_TUN | _IFF_NO_PI | _IFF_TUN_EXCL
            answer = fcntl.ioctl(self.fd, _TUNSETIFF, _IFREQ.pack(name.encode(), flags))
        except OSError as error:
            self.close()
            raise TunError(_why_not_made(error, name)) from error
        self.name = _IFREQ.unpack(answer)[0].rstrip(b"\0").decode()

    def read(self) -> bytes | None:
        """The next packet of the kernel; None where there is none now. Raises OSError where the device is gone."""
        try:
            return os.read(self.fd, LONGEST)
        except BlockingIOError:
            return None

    def write(self, packet: bytes) -> bool:
        """Give the kernel a packet; False where it takes none now. Raises OSError where the device is gone, or down."""
        try:
            os.write(self.fd, packet)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """The device goes, with its addresses and routes. Twice is once."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


class TunUplink:
    """A PacketUplink over a device, under a drive's loop. What is called in it is an event of the engine."""

    def __init__(self, drive: Drive, device: TunDevice, mtu: int) -> None:
        """Call ``start`` in the drive's thread when everything is connected."""
        self.drive = drive
        self.device = device
        self.mtu = mtu
        self.on_packet: Callable[[bytes], None] = _unheard
        self.on_room: Callable[[], None] = _nothing
        self.on_gone: Callable[[OSError], None] = _unheard
        """The device was taken away, or its namespace."""
        self.lost = 0
        """Packets that the kernel did not take, as the interface was down."""
        self.closed = False
        self._waits = False

    def start(self) -> None:
        """Listen to the kernel from now on."""
        self.drive.loop.add_reader(self.device.fd, self._readable)

    def send(self, packet: bytes) -> bool:
        """See PacketUplink."""
        if self.closed:
            return False
        try:
            taken = self.device.write(packet)
        except OSError as error:
            if error.errno in (errno.EIO, errno.EINVAL):  # down, or no packet: a network may lose it
                self.lost += 1
            else:
                self._gone(error)
            return True
        if not taken and not self._waits:
            self._waits = True
            self.drive.loop.add_writer(self.device.fd, self._writable)
        return taken

    def close(self) -> None:
        """See PacketUplink. Twice is once."""
        if self.closed:
            return
        self.closed = True
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            self.drive.loop.remove_reader(self.device.fd)
            self.drive.loop.remove_writer(self.device.fd)
        self.device.close()

    def _readable(self) -> None:
        packets: list[bytes] = []
        try:
            while len(packets) < BATCH and (packet := self.device.read()) is not None:
                packets.append(packet)
        except OSError as error:
            self._gone(error)
        if packets:
            self.drive.event(lambda: self._arrived(packets))

    def _arrived(self, packets: list[bytes]) -> None:
        for packet in packets:
            if not self.closed:
                self.on_packet(packet)

    def _writable(self) -> None:
        self._waits = False
        self.drive.loop.remove_writer(self.device.fd)
        self.drive.event(self.on_room)

    def _gone(self, error: OSError) -> None:
        if not self.closed:
            self.close()
            self.on_gone(error)


def _why_not_open(error: OSError) -> str:
    if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        return f"no {DEVICE}: load the kernel's module tun (modprobe tun); a container must be given the device"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{DEVICE} may not be opened: run this as root, or with the capability CAP_NET_ADMIN"
    return f"{DEVICE}: {error.strerror}"


def _why_not_made(error: OSError, name: str) -> str:
    if error.errno in (errno.EPERM, errno.EACCES):
        return f"interface {name}: not permitted: run this as root, or with the capability CAP_NET_ADMIN"
    if error.errno == errno.EBUSY:
        return f"interface {name} is there already: choose another name, or stop the program that has it"
    if error.errno == errno.EINVAL:
        return f"interface {name}: there is one of this name that is no TUN device: choose another name"
    return f"interface {name}: {error.strerror}"


def _unheard(_what: object) -> None:
    pass


def _nothing() -> None:
    pass
