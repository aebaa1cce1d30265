"""A USB device as a machine without I/O (USB 2.0, chapters 5, 8.5 and 9.4): transfers of the host go in, their completions come out.

A carrier (usbredir, USB/IP) hands over whole transfers, as a host controller's driver sees them; the machine cuts them at packet boundaries, because
short and empty packets end what a function sends. What a function has no data for stays pending: that is NAK. A function is one class: it names its
interfaces and is told of requests, data and configuration. One configuration; alternate settings are known. Left out: isochronous endpoints, remote
wake-up, and the time the bus itself takes.

Longer than other files: what a function is and the device it is part of are told by the same words.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from struct import Struct
from typing import Final, Protocol

from bench.ccid.usb_descriptors import IN, DescriptorSet, DeviceIdentity, EndpointDescriptor, InterfaceDescriptor

_SETUP: Final = Struct("<BBHHH")
MAX_PENDING: Final = 256
"""Transfers a host may have pending at one endpoint; more are refused."""
ENDPOINT_HALT: Final = 0


class RequestType(IntEnum):
    """bmRequestType, bits 5 and 6."""

    STANDARD = 0
    CLASS = 1
    VENDOR = 2


class Recipient(IntEnum):
    """bmRequestType, bits 0 to 4."""

    DEVICE = 0
    INTERFACE = 1
    ENDPOINT = 2
    OTHER = 3


class Request(IntEnum):
    """Standard requests (table 9-4)."""

    GET_STATUS = 0
    CLEAR_FEATURE = 1
    SET_FEATURE = 3
    SET_ADDRESS = 5
    GET_DESCRIPTOR = 6
    SET_DESCRIPTOR = 7
    GET_CONFIGURATION = 8
    SET_CONFIGURATION = 9
    GET_INTERFACE = 10
    SET_INTERFACE = 11


@dataclass(frozen=True, slots=True)
class Setup:
    """The eight bytes that begin a control transfer (9.3)."""

    request_type: int
    request: int
    value: int
    index: int
    length: int

    @property
    def to_host(self) -> bool:
        return bool(self.request_type & IN)

    @property
    def kind(self) -> int:
        """A RequestType, or 3."""
        return self.request_type >> 5 & 3

    @property
    def recipient(self) -> int:
        """A Recipient, or a reserved number."""
        return self.request_type & 0x1F

    def encode(self) -> bytes:
        return _SETUP.pack(self.request_type, self.request, self.value, self.index, self.length)

    @classmethod
    def decode(cls, data: bytes) -> "Setup":
        """Raises ValueError for anything but eight bytes."""
        if len(data) != _SETUP.size:
            raise ValueError(f"a setup packet of {len(data)} bytes: expected {_SETUP.size}")
        return cls(*_SETUP.unpack(data))


class Outcome(Enum):
    """How a transfer ended."""

    DONE = "done"
    STALL = "stall"
    CANCELLED = "cancelled"
    REFUSED = "refused"
    """No such endpoint in this configuration, or too many transfers at it."""


@dataclass(frozen=True, slots=True)
class Completion:
    """The end of a transfer."""

    outcome: Outcome
    data: bytes = b""
    """What the host gets."""
    actual: int = 0
    """Bytes that went, either way."""


@dataclass(slots=True, eq=False)
class Transfer:
    """What a host asks for, at one endpoint. ``done`` is called once, possibly before ``submit`` returns."""

    endpoint: int
    done: Callable[[Completion], None]
    data: bytes = b""
    """OUT: what the host sends."""
    closed: bool = False
    """OUT: where the last packet is full, an empty one follows."""
    length: int = 0
    """IN: the most the host takes."""
    setup: Setup | None = None
    """Of a control transfer (endpoint 0)."""
    got: bytearray = field(default_factory=bytearray)
    """IN: what has come so far."""


class UsbFunction(Protocol):
    """One class on a device: one interface or several."""

    @property
    def interfaces(self) -> Sequence[InterfaceDescriptor]:
        """Its interfaces, all alternate settings."""

    def attach(self, port: "FunctionPort") -> None:
        """It is part of a device now: ``port`` sends."""

    def configured(self, on: bool) -> None:
        """The host has configured the device, or the configuration is lost (reset, unplugged)."""

    def alternate(self, interface: int, setting: int) -> None:
        """The host has chosen an alternate setting; its endpoints are empty and not halted."""

    def control_in(self, setup: Setup) -> bytes | None:
        """A class or vendor request for data; None stalls."""

    def control_out(self, setup: Setup, data: bytes) -> bool:
        """A class or vendor request; False stalls."""

    def received(self, endpoint: int, data: bytes) -> None:
        """What one transfer to ``endpoint`` carried. It ends with a short packet unless its length is a multiple of the largest packet."""

    def fetched(self, endpoint: int) -> None:
        """The host has fetched everything that was sent from ``endpoint``."""


class _Endpoint:
    """One endpoint other than 0, of the alternate setting that is chosen."""

    def __init__(self, descriptor: EndpointDescriptor, function: UsbFunction, interface: int) -> None:
        self.descriptor = descriptor
        self.function = function
        self.interface = interface
        self.halted = False
        self.held = False
        """OUT: the function takes nothing now (NAK)."""
        self.pending: deque[Transfer] = deque()
        self.packets: deque[bytes] = deque()
        """IN: what the function has sent, in packets."""

    def flush(self) -> None:
        self.packets.clear()


class FunctionPort:
    """What a function sees of its device."""

    def __init__(self, device: "UsbDevice") -> None:
        self._device = device

    def send(self, endpoint: int, data: bytes) -> None:
        """Data for the host, closed by a short packet, or an empty one where the last is full (5.8.3). Dropped while not configured."""
        self._device.send(endpoint, data)

    def queued(self, endpoint: int) -> int:
        """Packets the host has not fetched yet."""
        return self._device.queued(endpoint)

    def take_back(self, endpoint: int) -> None:
        """What the host has not fetched is withdrawn."""
        self._device.take_back(endpoint)

    def hold(self, endpoint: int, on: bool) -> None:
        """OUT: take nothing more (NAK) until this is undone."""
        self._device.hold(endpoint, on)

    def halt(self, endpoint: int) -> None:
        """Stall until the host clears it."""
        self._device.halt(endpoint)


class UsbDevice:
    """A device with its functions, at the end of a cable."""

    def __init__(self, identity: DeviceIdentity, functions: Sequence[UsbFunction]) -> None:
        """Raises ValueError where two functions claim the same interface or endpoint."""
        self.functions = tuple(functions)
        interfaces = [each for function in self.functions for each in function.interfaces]
        self.descriptors = DescriptorSet(identity, interfaces)
        self.configuration = 0
        """bConfigurationValue; 0: not configured."""
        self.on_endpoints: Callable[[], None] = _nothing
        """Told when other endpoints are there than before: a configuration or an alternate setting was chosen, or all is lost."""
        self._owners: dict[int, UsbFunction] = {}
        self._alternates: dict[int, int] = {}
        self._endpoints: dict[int, _Endpoint] = {}
        seen: dict[int, int] = {}
        for function in self.functions:
            for interface in function.interfaces:
                if self._owners.setdefault(interface.number, function) is not function:
                    raise ValueError(f"two functions claim interface {interface.number}")
                for endpoint in interface.endpoints:
                    if seen.setdefault(endpoint.address, interface.number) != interface.number:
                        raise ValueError(f"two interfaces claim endpoint {endpoint.address:02X}")
            function.attach(FunctionPort(self))

    @property
    def identity(self) -> DeviceIdentity:
        return self.descriptors.identity

    @property
    def chosen(self) -> list[InterfaceDescriptor]:
        """The interfaces of the configuration, each in its alternate setting; none while not configured."""
        if not self.configuration:
            return []
        return [each for each in self.descriptors.interfaces if self._alternates[each.number] == each.alternate]

    def alternate_of(self, interface: int) -> int | None:
        """The alternate setting of an interface; None where there is none such now."""
        return self._alternates.get(interface) if self.configuration else None

    # -- the host's side ---------------------------------------------------------------------------------------------------

    def submit(self, transfer: Transfer) -> None:
        """A transfer of the host. It ends when ``done`` is called."""
        if transfer.endpoint & ~IN == 0:
            self._control(transfer)
            return
        endpoint = self._endpoints.get(transfer.endpoint)
        if endpoint is None or len(endpoint.pending) >= MAX_PENDING:
            transfer.done(Completion(Outcome.REFUSED))
            return
        endpoint.pending.append(transfer)
        self._serve(endpoint)

    def pending(self) -> list[Transfer]:
        """What waits for data, or for room."""
        return [transfer for endpoint in self._endpoints.values() for transfer in endpoint.pending]

    def withdraw(self) -> list[Transfer]:
        """Take everything that is pending out, without an end: to go on at another device that stands in for this one."""
        waiting = self.pending()
        for endpoint in self._endpoints.values():
            endpoint.pending.clear()
        return waiting

    def cancel(self, transfer: Transfer) -> bool:
        """The host gives a transfer up; False where it has ended already. What it had got is lost to the host unless its carrier passes it on."""
        endpoint = self._endpoints.get(transfer.endpoint)
        if endpoint is None or transfer not in endpoint.pending:
            return False
        endpoint.pending.remove(transfer)
        transfer.done(Completion(Outcome.CANCELLED, bytes(transfer.got), len(transfer.got)))
        return True

    def reset(self) -> None:
        """A bus reset, or the cable was pulled: not configured, nothing pending, nothing queued."""
        if self.configuration:
            self._configure(0)

    def set_configuration(self, value: int) -> bool:
        """As SET_CONFIGURATION; False where there is none such."""
        if value not in (0, 1):
            return False
        self._configure(value)
        return True

    def set_alternate(self, interface: int, setting: int) -> bool:
        """As SET_INTERFACE; False where there is none such."""
        wanted = [each for each in self.descriptors.interfaces if (each.number, each.alternate) == (interface, setting)]
        if not self.configuration or not wanted:
            return False
        self._drop(lambda endpoint: endpoint.interface == interface)
        self._alternates[interface] = setting
        self._add(wanted[0])
        self._owners[interface].alternate(interface, setting)
        self.on_endpoints()
        return True

    # -- the function's side -----------------------------------------------------------------------------------------------

    def send(self, address: int, data: bytes) -> None:
        """See FunctionPort."""
        endpoint = self._endpoints.get(address)
        if endpoint is None:
            return
        size = endpoint.descriptor.max_packet
        endpoint.packets.extend(data[at : at + size] for at in range(0, len(data), size))
        if len(data) % size == 0:
            endpoint.packets.append(b"")
        self._serve(endpoint)

    def queued(self, address: int) -> int:
        endpoint = self._endpoints.get(address)
        return len(endpoint.packets) if endpoint is not None else 0

    def unfetched(self, address: int) -> list[bytes]:
        """IN: packets the host has not fetched yet, taken out: to go on at another device that stands in for this one."""
        endpoint = self._endpoints.get(address)
        if endpoint is None:
            return []
        packets = list(endpoint.packets)
        endpoint.packets.clear()
        return packets

    def refill(self, address: int, packets: Sequence[bytes]) -> None:
        """The other side of ``unfetched``."""
        if (endpoint := self._endpoints.get(address)) is not None:
            endpoint.packets.extend(packets)
            self._serve(endpoint)

    def take_back(self, address: int) -> None:
        if (endpoint := self._endpoints.get(address)) is not None:
            endpoint.flush()

    def hold(self, address: int, on: bool) -> None:
        if (endpoint := self._endpoints.get(address)) is not None:
            endpoint.held = on
            self._serve(endpoint)

    def halt(self, address: int) -> None:
        if (endpoint := self._endpoints.get(address)) is not None:
            endpoint.halted = True
            self._serve(endpoint)

    # -- data --------------------------------------------------------------------------------------------------------------

    def _serve(self, endpoint: _Endpoint) -> None:
        """Carry out what can be carried out of the pending transfers."""
        while endpoint.pending and self._endpoints.get(endpoint.descriptor.address) is endpoint:
            transfer = endpoint.pending[0]
            if endpoint.halted:
                completion = Completion(Outcome.STALL, bytes(transfer.got), len(transfer.got))
            elif transfer.endpoint & IN:
                if not self._fill(endpoint, transfer):
                    return
                completion = Completion(Outcome.DONE, bytes(transfer.got), len(transfer.got))
            elif endpoint.held:
                return
            else:
                completion = Completion(Outcome.DONE, actual=len(transfer.data))
            endpoint.pending.popleft()
            transfer.done(completion)
            if completion.outcome is Outcome.DONE and not transfer.endpoint & IN:
                endpoint.function.received(transfer.endpoint, transfer.data)
                if transfer.closed and transfer.data and len(transfer.data) % endpoint.descriptor.max_packet == 0:
                    endpoint.function.received(transfer.endpoint, b"")
            elif completion.outcome is Outcome.DONE and not endpoint.packets:
                endpoint.function.fetched(transfer.endpoint)

    def _fill(self, endpoint: _Endpoint, transfer: Transfer) -> bool:
        """Move packets into a transfer; whether it is complete: full, or ended by a short packet."""
        size = endpoint.descriptor.max_packet
        while endpoint.packets:
            room = transfer.length - len(transfer.got)
            packet = endpoint.packets.popleft()
            if len(packet) > room:  # a host asks for whole packets, or loses the rest (babble); here the rest waits
                endpoint.packets.appendleft(packet[room:])
                packet = packet[:room]
                transfer.got += packet
                return True
            transfer.got += packet
            if len(packet) < size or len(transfer.got) == transfer.length:
                return True
        return False

    # -- control (9.4) -----------------------------------------------------------------------------------------------------

    def _control(self, transfer: Transfer) -> None:
        setup = transfer.setup
        answer: bytes | None = None
        if setup is None:
            transfer.done(Completion(Outcome.REFUSED))
            return
        if setup.kind == RequestType.STANDARD:
            answer = self._standard(setup)
        elif (function := self._addressed(setup)) is not None:
            if setup.to_host:
                answer = function.control_in(setup)
            elif function.control_out(setup, transfer.data[: setup.length]):
                answer = b""
        if answer is None:
            transfer.done(Completion(Outcome.STALL))
        elif setup.to_host:
            data = answer[: setup.length]
            transfer.done(Completion(Outcome.DONE, data, len(data)))
        else:
            transfer.done(Completion(Outcome.DONE, actual=min(setup.length, len(transfer.data))))

    def _addressed(self, setup: Setup) -> UsbFunction | None:
        if not self.configuration:
            return None
        match setup.recipient:
            case Recipient.INTERFACE:
                return self._owners.get(setup.index & 0xFF)
            case Recipient.ENDPOINT:
                endpoint = self._endpoints.get(setup.index & 0xFF)
                return endpoint.function if endpoint is not None else None
            case Recipient.DEVICE if len(self.functions) == 1:
                return self.functions[0]
        return None

    def _standard(self, setup: Setup) -> bytes | None:
        """What a standard request is answered with; empty where it asks for nothing, None where it is stalled."""
        match setup.request:
            case Request.GET_DESCRIPTOR if setup.to_host and setup.recipient == Recipient.DEVICE:
                return self.descriptors.find(setup.value >> 8, setup.value & 0xFF, setup.index)
            case Request.GET_CONFIGURATION:
                return bytes((self.configuration,))
            case Request.SET_CONFIGURATION:
                return b"" if self.set_configuration(setup.value & 0xFF) else None
            case Request.GET_INTERFACE:
                setting = self.alternate_of(setup.index)
                return bytes((setting,)) if setting is not None else None
            case Request.SET_INTERFACE:
                return b"" if self.set_alternate(setup.index, setup.value) else None
            case Request.SET_ADDRESS:
                return b""  # the carrier's host controller keeps addresses
            case Request.GET_STATUS:
                return self._status(setup)
            case Request.SET_FEATURE | Request.CLEAR_FEATURE:
                return self._feature(setup, setup.request == Request.SET_FEATURE)
        return None

    def _status(self, setup: Setup) -> bytes | None:
        match setup.recipient:
            case Recipient.DEVICE:
                return bytes(2)
            case Recipient.INTERFACE if self.alternate_of(setup.index) is not None:
                return bytes(2)
            case Recipient.ENDPOINT if setup.index & ~IN == 0:
                return bytes(2)
            case Recipient.ENDPOINT if (endpoint := self._endpoints.get(setup.index)) is not None:
                return bytes((endpoint.halted, 0))
        return None

    def _feature(self, setup: Setup, on: bool) -> bytes | None:
        if setup.recipient != Recipient.ENDPOINT or setup.value != ENDPOINT_HALT:
            return None
        if setup.index & ~IN == 0:
            return b""
        endpoint = self._endpoints.get(setup.index)
        if endpoint is None:
            return None
        endpoint.halted = on
        self._serve(endpoint)
        return b""

    # -- configuration -----------------------------------------------------------------------------------------------------

    def _configure(self, value: int) -> None:
        was, self.configuration = self.configuration, 0
        self._drop(lambda _endpoint: True)
        self._alternates.clear()
        if was:
            for function in self.functions:
                function.configured(False)
        self.configuration = value
        if value:
            for interface in self.descriptors.interfaces:
                if interface.alternate == 0:
                    self._alternates[interface.number] = 0
                    self._add(interface)
            for function in self.functions:
                function.configured(True)
        self.on_endpoints()

    def _add(self, interface: InterfaceDescriptor) -> None:
        for descriptor in interface.endpoints:
            self._endpoints[descriptor.address] = _Endpoint(
                descriptor, self._owners[interface.number], interface.number
            )

    def _drop(self, which: Callable[[_Endpoint], bool]) -> None:
        dropped = [endpoint for endpoint in self._endpoints.values() if which(endpoint)]
        for endpoint in dropped:
            del self._endpoints[endpoint.descriptor.address]
        for endpoint in dropped:
            pending, endpoint.pending = endpoint.pending, deque()
            for transfer in pending:
                transfer.done(Completion(Outcome.CANCELLED))


def _nothing() -> None:
    pass
