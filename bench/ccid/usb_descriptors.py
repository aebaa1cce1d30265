"""Standard descriptors of USB 2.0 (chapter 9.6), built: device, configuration, interface, endpoint, string."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from struct import pack
from typing import Final

IN: Final = 0x80
"""Bit of an endpoint's address, and of bmRequestType: device to host."""
LANGUAGE_US_ENGLISH: Final = 0x0409
_MILLIAMPERES: Final = 2
"""Unit of bMaxPower."""


class DescriptorType(IntEnum):
    """bDescriptorType (table 9-5)."""

    DEVICE = 1
    CONFIGURATION = 2
    STRING = 3
    INTERFACE = 4
    ENDPOINT = 5


class TransferType(IntEnum):
    """bmAttributes of an endpoint, bits 0 and 1."""

    CONTROL = 0
    ISOCHRONOUS = 1
    BULK = 2
    INTERRUPT = 3


class Speed(IntEnum):
    """Signalling rate; the numbers are those of usbredir and, one higher, of Linux."""

    LOW = 0
    FULL = 1
    HIGH = 2


MAX_PACKET_0: Final = {Speed.LOW: 8, Speed.FULL: 64, Speed.HIGH: 64}
BULK_PACKET: Final = {Speed.FULL: 64, Speed.HIGH: 512}


@dataclass(frozen=True, slots=True)
class EndpointDescriptor:
    """One endpoint (9.6.6)."""

    address: int
    """Number, with ``IN`` where it leads to the host."""
    type: TransferType
    max_packet: int
    interval: int = 0
    """bInterval: for interrupt endpoints ms at full speed, 2^(n-1) eighths of a ms at high speed."""

    def encode(self) -> bytes:
        return pack("<BBBBHB", 7, DescriptorType.ENDPOINT, self.address, self.type, self.max_packet, self.interval)


@dataclass(frozen=True, slots=True)
class InterfaceDescriptor:
    """One alternate setting of an interface (9.6.5) with what follows it."""

    number: int
    interface_class: int
    subclass: int
    protocol: int
    endpoints: tuple[EndpointDescriptor, ...] = ()
    class_specific: bytes = b""
    """Descriptors of the class; they stand between the interface's and its endpoints'."""
    name: str = ""
    alternate: int = 0

    def encode(self, name_index: int = 0) -> bytes:
        head = pack(
            "<BBBBBBBBB",
            9,
            DescriptorType.INTERFACE,
            self.number,
            self.alternate,
            len(self.endpoints),
            self.interface_class,
            self.subclass,
            self.protocol,
            name_index,
        )
        return head + self.class_specific + b"".join(endpoint.encode() for endpoint in self.endpoints)


@dataclass(frozen=True, slots=True)
class DeviceIdentity:
    """What the device descriptor (9.6.1) and its strings say."""

    vendor: int
    product: int
    manufacturer: str = ""
    name: str = ""
    serial: str = ""
    release: int = 0x0100
    """bcdDevice."""
    device_class: int = 0
    """0: each interface says for itself."""
    device_subclass: int = 0
    device_protocol: int = 0
    speed: Speed = Speed.FULL
    power_ma: int = 100
    usb_version: int = 0x0200


class DescriptorSet:
    """All descriptors of a device with one configuration, as GET_DESCRIPTOR gives them."""

    def __init__(self, identity: DeviceIdentity, interfaces: Sequence[InterfaceDescriptor]) -> None:
        self.identity = identity
        self.interfaces = tuple(interfaces)
        self._strings: list[str] = []
        named = [self._index(text) for text in (identity.manufacturer, identity.name, identity.serial)]
        self.device = pack(
            "<BBHBBBBHHHBBBB",
            18,
            DescriptorType.DEVICE,
            identity.usb_version,
            identity.device_class,
            identity.device_subclass,
            identity.device_protocol,
            MAX_PACKET_0[identity.speed],
            identity.vendor,
            identity.product,
            identity.release,
            *named,
            1,
        )
        body = b"".join(interface.encode(self._index(interface.name)) for interface in self.interfaces)
        numbers = {interface.number for interface in self.interfaces}
        attributes = 0x80  # bit 7 is always set; powered by the bus, no remote wake-up
        power = identity.power_ma // _MILLIAMPERES
        self.configuration = (
            pack("<BBHBBBBB", 9, DescriptorType.CONFIGURATION, 9 + len(body), len(numbers), 1, 0, attributes, power)
            + body
        )

    def find(self, kind: int, index: int, language: int = LANGUAGE_US_ENGLISH) -> bytes | None:
        """A descriptor as it is asked for; None where the device has none such (to be stalled)."""
        match kind, index:
            case DescriptorType.DEVICE, 0:
                return self.device
            case DescriptorType.CONFIGURATION, 0:
                return self.configuration
            case DescriptorType.STRING, 0:
                return encode_string(chr(LANGUAGE_US_ENGLISH)) if self._strings else None
            case DescriptorType.STRING, _ if index <= len(self._strings) and language == LANGUAGE_US_ENGLISH:
                return encode_string(self._strings[index - 1])
        return None

    def _index(self, text: str) -> int:
        if not text:
            return 0
        if text not in self._strings:
            self._strings.append(text)
        return self._strings.index(text) + 1


def encode_string(text: str) -> bytes:
    """A string descriptor (9.6.7): UTF-16LE. Raises ValueError above 126 characters."""
    data = text.encode("utf-16-le")
    if len(data) > 252:
        raise ValueError(f"a string of {len(data) // 2} UTF-16 units: a descriptor holds 126")
    return bytes((2 + len(data), DescriptorType.STRING)) + data
