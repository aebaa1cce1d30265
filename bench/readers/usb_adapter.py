"""pyusb behind types: the one module that imports ``usb``, and only when a USB reader is used.

It talks to pyusb's backend (the interface ``usb.backend.IBackend``), not to
``usb.core``: the comfortable layer costs as much as a short exchange.
Calls block; one ``OpenUsb`` carries a bulk exchange and an interrupt transfer at the same time, from two threads.
"""

import array
import contextlib
import errno
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from bench.ccid.codes import ClassRequest
from bench.ccid.descriptor import INTERFACE_CLASS, LENGTH, TYPE
from bench.readers.faults import Fault
from bench.readers.usb_errors import UsbError, busy, has_left, kernel_driver, usb_error
from bench.readers.usb_transfer import Library, Posted, TransferError

VENDOR_CLASS: Final = 0xFF
"""Some readers of before the class was settled have this."""
CONTROL_MS: Final = 3000
LANGUAGE_US: Final = 0x0409
STRING_MAX: Final = 255
INTERRUPT_MAX: Final = 64
_DIRECTION_IN: Final = 0x80
_TRANSFER_TYPE: Final = 0x03
_BULK, _INTERRUPT = 2, 3
_CLASS_IN: Final = 0xA1
_CLASS_OUT: Final = 0x21


@dataclass(frozen=True, slots=True)
class CcidInterface:
    """The smart card interface of a device."""

    number: int
    protocol: int
    """bInterfaceProtocol: 0 CCID, 1 ICCD version A, 2 ICCD version B."""
    class_descriptor: bytes
    bulk_out: int
    bulk_in: int
    packet: int
    """wMaxPacketSize of bulk IN."""
    interrupt_in: int
    """0: it has none."""


@dataclass(frozen=True, slots=True)
class UsbNames:
    """Which strings describe the device; 0: none does."""

    manufacturer: int
    product: int
    serial: int


@dataclass(frozen=True, slots=True)
class UsbDevice:
    """A device with a smart card interface, not opened."""

    vendor: int
    product: int
    version: int
    bus: int
    address: int
    ports: tuple[int, ...]
    names: UsbNames
    interface: CcidInterface
    handle: object
    """pyusb's own."""

    @property
    def path(self) -> str:
        """Bus and ports as the kernel writes them: ``1-2.4``. It stays when the device is plugged in again at the same place."""
        return f"{self.bus}-{'.'.join(map(str, self.ports))}" if self.ports else f"{self.bus}:{self.address}"


_lock = threading.Lock()
_backend: Any = None
_core: Any = None


def _load() -> Any:
    global _backend, _core
    with _lock:
        if _backend is None:
            try:
                _core = import_module("usb.core")
                _backend = import_module("usb.backend.libusb1").get_backend()
            except ImportError as error:
                raise UsbError(
                    Fault.MISSING, f"pyusb is not installed ({error})", "pip install 'cardbench[usb]'"
                ) from None
            if _backend is None:
                raise UsbError(Fault.MISSING, "libusb 1.0 was not found", "apt-get install libusb-1.0-0")
        return _backend


def devices() -> tuple[UsbDevice, ...]:
    """Every attached device with a smart card interface. Nothing is opened. Raises UsbError where pyusb or libusb is missing."""
    backend = _load()
    found = []
    for handle in backend.enumerate_devices():
        try:
            descriptor = backend.get_device_descriptor(handle)
            if has_left(int(descriptor.bus or 0), int(descriptor.address or 0)):
                continue
            interface = next(_interfaces(backend, handle, int(descriptor.bNumConfigurations)), None)
        except (_core.USBError, NotImplementedError):
            continue  # it went while it was looked at
        if interface is None:
            continue
        found.append(
            UsbDevice(
                int(descriptor.idVendor),
                int(descriptor.idProduct),
                int(descriptor.bcdDevice),
                int(descriptor.bus or 0),
                int(descriptor.address or 0),
                tuple(int(port) for port in descriptor.port_numbers or ()),
                UsbNames(int(descriptor.iManufacturer), int(descriptor.iProduct), int(descriptor.iSerialNumber)),
                interface,
                handle,
            )
        )
    return tuple(sorted(found, key=lambda each: (each.bus, each.ports, each.address)))


def _interfaces(backend: Any, handle: Any, configurations: int) -> Iterator[CcidInterface]:
    if not configurations:
        return
    for number in range(int(backend.get_configuration_descriptor(handle, 0).bNumInterfaces)):
        interface = backend.get_interface_descriptor(handle, number, 0, 0)
        kind = int(interface.bInterfaceClass)
        if kind not in (INTERFACE_CLASS, VENDOR_CLASS):
            continue
        endpoints = [
            backend.get_endpoint_descriptor(handle, index, number, 0, 0)
            for index in range(int(interface.bNumEndpoints))
        ]
        extra = [bytes(interface.extra_descriptors), *(bytes(each.extra_descriptors) for each in endpoints)]
        class_descriptor = next((each for blob in extra if (each := _class_descriptor(blob))), b"")
        if not class_descriptor:
            continue
        ends = {
            (int(each.bmAttributes) & _TRANSFER_TYPE, int(each.bEndpointAddress) & _DIRECTION_IN): each
            for each in endpoints
        }
        bulk_out, bulk_in = ends.get((_BULK, 0)), ends.get((_BULK, _DIRECTION_IN))
        interrupt = ends.get((_INTERRUPT, _DIRECTION_IN))
        yield CcidInterface(
            int(interface.bInterfaceNumber),
            int(interface.bInterfaceProtocol),
            class_descriptor,
            int(bulk_out.bEndpointAddress) if bulk_out is not None else 0,
            int(bulk_in.bEndpointAddress) if bulk_in is not None else 0,
            int(bulk_in.wMaxPacketSize) if bulk_in is not None else 64,
            int(interrupt.bEndpointAddress) if interrupt is not None else 0,
        )


def _class_descriptor(blob: bytes) -> bytes:
    """The class descriptor among others (each with its length and type in front); empty where there is none."""
    at = 0
    while at + 2 <= len(blob) and blob[at] >= 2:
        # 0x21 is what CCID says; readers with another type but the right length are taken too, as every driver does
        if blob[at] == LENGTH and at + LENGTH <= len(blob):
            return bytes((LENGTH, TYPE)) + blob[at + 2 : at + LENGTH]
        at += blob[at]
    return b""


class OpenUsb:
    """A device that is ours: opened, its interface claimed."""

    def __init__(self, device: UsbDevice, longest_message: int) -> None:
        """Raises UsbError: who holds it, what is not allowed, that it has gone."""
        self.device = device
        self._backend = _load()
        self._open = False
        self._transfers: tuple[Posted, ...] = ()
        self._longest = longest_message
        self._interrupts = array.array("B", bytes(INTERRUPT_MAX))
        try:
            self._handle = self._backend.open_device(device.handle)
        except _core.USBError as error:
            raise self._error(error, "opening it") from None
        self._open = True
        try:
            self._claim()
        except BaseException:
            self.close()
            raise

    def _claim(self) -> None:
        number = self.device.interface.number
        try:
            if self._backend.get_configuration(self._handle) == 0:
                self._backend.set_configuration(self._handle, 1)
            try:
                kernel = bool(self._backend.is_kernel_driver_active(self._handle, number))
            except NotImplementedError:
                kernel = False
            if kernel:
                name = kernel_driver(self.device.path, number) or "(of unknown name)"
                raise busy(self._what("claiming it"), (), name)
            self._backend.claim_interface(self._handle, number)
        except _core.USBError as error:
            raise self._error(error, "claiming it") from None
        interface = self.device.interface
        packet = interface.packet
        size = min((self._longest // packet + 1) * packet, 256 * packet)
        library = Library(str(self._backend.lib._name))
        context, handle = int(self._backend.ctx.value), int(self._handle.handle.value)
        self._incoming = Posted(library, context, handle, interface.bulk_in, size)
        self._outgoing = Posted(library, context, handle, interface.bulk_out, self._longest)
        self._transfers = (self._incoming, self._outgoing)

    def _what(self, doing: str) -> str:
        device = self.device
        return f"reader {device.vendor:04x}:{device.product:04x} at {device.path}, {doing}"

    def _error(self, error: Any, doing: str) -> UsbError:
        number = int(error.errno) if error.errno is not None else errno.EIO
        return usb_error(number, self._what(doing), self.device.bus, self.device.address)

    def _failed(self, number: int, endpoint: int, doing: str) -> UsbError:
        if number == errno.EPIPE:
            self._clear_halt(endpoint)
        return usb_error(number, self._what(doing), self.device.bus, self.device.address)

    def write(self, data: bytes, timeout_ms: int) -> bool:
        """One transfer on bulk OUT; False where the reader did not take it in time. The answer's transfer is posted before it."""
        interface = self.device.interface
        incoming, outgoing = self._incoming, self._outgoing
        try:
            if not incoming.pending:
                incoming.post()
            outgoing.post(data)
            if not outgoing.wait(timeout_ms):
                outgoing.drop()
                return False
            return outgoing.count() == len(data)
        except TransferError as error:
            raise self._failed(error.number, interface.bulk_out, "bulk OUT") from None

    def read(self, timeout_ms: int) -> bytes | None:
        """One transfer on bulk IN, of any length up to the buffer's; None where nothing came in time."""
        incoming = self._incoming
        try:
            if not incoming.pending:
                incoming.post()
            return incoming.taken() if incoming.wait(timeout_ms) else None
        except TransferError as error:
            raise self._failed(error.number, self.device.interface.bulk_in, "bulk IN") from None

    def ends(self, chunk: bytes) -> bool:
        """Whether a transfer of this length was ended by the reader: by a packet that is not full."""
        return len(chunk) < self._incoming.size

    def interrupt(self, timeout_ms: int) -> bytes | None:
        """One message of the interrupt pipe; None where none came in time."""
        interface = self.device.interface
        try:
            count = self._backend.intr_read(
                self._handle, interface.interrupt_in, interface.number, self._interrupts, timeout_ms
            )
        except _core.USBTimeoutError:
            return None
        except _core.USBError as error:
            raise self._failed(int(error.errno or errno.EIO), interface.interrupt_in, "interrupt IN") from None
        return self._interrupts[:count].tobytes()

    def request(self, request: ClassRequest, value: int, length: int) -> bytes | None:
        """A class request; None where the reader stalls it or does not answer."""
        data = array.array("B", bytes(length))
        kind = _CLASS_IN if length else _CLASS_OUT
        try:
            count = self._backend.ctrl_transfer(
                self._handle, kind, int(request), value, self.device.interface.number, data, CONTROL_MS
            )
        except _core.USBTimeoutError:
            return None
        except _core.USBError as error:
            if error.errno == errno.EPIPE:
                return None
            raise self._error(error, f"request {request.name}") from None
        return data[:count].tobytes()

    def string(self, index: int) -> str:
        """A string descriptor; empty where there is none."""
        if not index:
            return ""
        data = array.array("B", bytes(STRING_MAX))
        try:
            count = self._backend.ctrl_transfer(self._handle, 0x80, 6, 0x0300 | index, LANGUAGE_US, data, CONTROL_MS)
        except _core.USBError:
            return ""
        return data[2:count].tobytes().decode("utf-16-le", "replace")

    def _clear_halt(self, endpoint: int) -> None:
        with contextlib.suppress(_core.USBError):  # the stall is told in any case
            self._backend.clear_halt(self._handle, endpoint)

    def close(self) -> None:
        """Let go of it. A device that has gone is let go of, too."""
        if not self._open:
            return
        self._open = False
        for transfer in self._transfers:
            transfer.close()
        try:
            self._backend.release_interface(self._handle, self.device.interface.number)
        except _core.USBError:
            pass
        finally:
            self._backend.close_device(self._handle)
