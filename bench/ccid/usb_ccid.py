"""A smart card reader on a USB device (CCID 1.1, chapters 3 to 5): messages over bulk pipes, notices over the interrupt pipe, three class requests.

A command may come in several transfers; it ends where dwLength says, or with a short packet: one that ends too soon, or goes on, is handed on as it
is, and the firmware refuses it. Notices that the host has not fetched are joined to one: a change seen late is still a change.
"""

from enum import IntEnum
from typing import Final

from bench.ccid.codes import HEADER, MessageType
from bench.ccid.descriptor import INTERFACE_CLASS
from bench.ccid.firmware import CcidFirmware
from bench.ccid.usb_descriptors import (
    BULK_PACKET,
    IN,
    DeviceIdentity,
    EndpointDescriptor,
    InterfaceDescriptor,
    Speed,
    TransferType,
)
from bench.ccid.usb_device import FunctionPort, Recipient, RequestType, Setup, UsbDevice

BULK_OUT: Final = 0x01
BULK_IN: Final = 0x02 | IN
INTERRUPT_IN: Final = 0x03 | IN
INTERRUPT_PACKET: Final = 16
"""Room for the notice of 60 slots."""
INTERRUPT_INTERVAL: Final = {Speed.FULL: 16, Speed.HIGH: 8}
"""16 ms either way."""
_CHANGED_BITS: Final = 0xAA


class ClassRequest(IntEnum):
    """Requests of the class (5.3)."""

    ABORT = 1
    GET_CLOCK_FREQUENCIES = 2
    GET_DATA_RATES = 3


class CcidFunction:
    """A UsbFunction around a reader's firmware."""

    def __init__(
        self,
        firmware: CcidFirmware,
        interface: int = 0,
        *,
        speed: Speed = Speed.FULL,
        interrupt: bool = True,
        name: str = "CCID interface",
    ) -> None:
        self.firmware = firmware
        packet = BULK_PACKET[speed]
        endpoints = [
            EndpointDescriptor(BULK_OUT, TransferType.BULK, packet),
            EndpointDescriptor(BULK_IN, TransferType.BULK, packet),
        ]
        if interrupt:
            pipe = TransferType.INTERRUPT
            endpoints.append(EndpointDescriptor(INTERRUPT_IN, pipe, INTERRUPT_PACKET, INTERRUPT_INTERVAL[speed]))
        descriptor = firmware.traits.descriptor
        self.interfaces = (
            InterfaceDescriptor(interface, INTERFACE_CLASS, 0, 0, tuple(endpoints), descriptor.encode(), name),
        )
        self._packet = packet
        self._longest = descriptor.maximum_message
        self._gathered = bytearray()
        self._came = 0
        """Bytes of this command so far; more than is gathered where it is too long."""
        self._change = b""
        """The last notice of a slot change, as long as the host has not fetched it."""
        self._port: FunctionPort | None = None
        firmware.on_message = self._answer
        firmware.on_interrupt = self._notice

    def attach(self, port: FunctionPort) -> None:
        self._port = port

    def configured(self, on: bool) -> None:
        self._forget()
        self._change = b""
        self.firmware.reset()
        if on:
            self._notice(self.firmware.slot_change())

    def alternate(self, interface: int, setting: int) -> None:
        """There is one setting; choosing it anew changes nothing for the cards."""
        del interface, setting
        self._forget()

    def control_in(self, setup: Setup) -> bytes | None:
        if not _for_the_interface(setup):
            return None
        match setup.request:
            case ClassRequest.GET_CLOCK_FREQUENCIES:
                return self.firmware.clock_frequencies() or None
            case ClassRequest.GET_DATA_RATES:
                return self.firmware.data_rates() or None
        return None

    def control_out(self, setup: Setup, data: bytes) -> bool:
        del data
        if not _for_the_interface(setup) or setup.request != ClassRequest.ABORT:
            return False
        return self.firmware.control_abort(setup.value & 0xFF, setup.value >> 8)

    def received(self, endpoint: int, data: bytes) -> None:
        del endpoint  # there is one
        gathered = self._gathered
        if not data and not self._came:
            return  # the empty packet after a command that filled its last one
        gathered += data[: self._longest + 1 - len(gathered)]  # a byte more than allowed is enough for a refusal
        self._came += len(data)
        ended = bool(len(data) % self._packet) or not data
        if ended or (self._came >= HEADER and self._came >= HEADER + int.from_bytes(gathered[1:5], "little")):
            message = bytes(gathered)
            self._forget()
            self.firmware.receive(message)

    def fetched(self, endpoint: int) -> None:
        """The next message waits for nothing but the next command."""
        del endpoint

    def _forget(self) -> None:
        self._gathered.clear()
        self._came = 0

    def _answer(self, message: bytes) -> None:
        if self._port is not None:
            self._port.send(BULK_IN, message)

    def _notice(self, message: bytes) -> None:
        port = self._port
        if port is None or len(self.interfaces[0].endpoints) < 3:
            return
        if message[:1] == bytes((MessageType.NOTIFY_SLOT_CHANGE,)):
            if self._change and port.queued(INTERRUPT_IN) == 1:
                message = joined(self._change, message)
                port.take_back(INTERRUPT_IN)
            self._change = message
        else:
            self._change = b""
        port.send(INTERRUPT_IN, message)


def joined(earlier: bytes, later: bytes) -> bytes:
    """One NotifySlotChange for two: present as in the later one, changed as in either."""
    bits = (late | early & _CHANGED_BITS for early, late in zip(earlier[1:], later[1:], strict=True))
    return later[:1] + bytes(bits)


def ccid_device(firmware: CcidFirmware, identity: DeviceIdentity | None = None, *, interrupt: bool = True) -> UsbDevice:
    """A reader that is nothing but a reader."""
    identity = identity or IDENTITY
    return UsbDevice(identity, [CcidFunction(firmware, speed=identity.speed, interrupt=interrupt)])


def _for_the_interface(setup: Setup) -> bool:
    return setup.kind == RequestType.CLASS and setup.recipient == Recipient.INTERFACE


IDENTITY: Final = DeviceIdentity(0x08E6, 0x3437, "cardbench", "CCID reader", "0001", release=0x0200)
"""Of our readers, where nothing else is asked for. libccid goes by numbers it knows, not by class: these are a GemPC Twin's."""
