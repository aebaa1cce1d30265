"""The device's side of usbredir 0.7, the protocol in which QEMU's usb-redir takes a USB device over a socket: without I/O.

Bytes of the peer go in, bytes for it come out of ``take``. Packets are a header (type, length, id) and a body, all little-endian. What is left out:
isochronous transfers, bulk streams, buffered bulk receiving, filters; the peer is told so by the capabilities.
"""

from collections.abc import Callable
from enum import IntEnum
from struct import Struct, pack
from typing import Final

from bench.ccid.usb_descriptors import IN, TransferType
from bench.ccid.usb_device import Completion, Outcome, Setup, Transfer
from bench.serve.usb_reader import CarrierError, ServedUsb

VERSION: Final = b"cardbench"
_VERSION_SIZE: Final = 64
MAX_BODY: Final = 1 << 20
"""Longest packet that is taken; QEMU's longest transfers are far shorter."""
NO_ENDPOINT: Final = 255
SLOTS: Final = 32
"""Endpoints and interfaces that a description has room for."""


class UsbredirError(CarrierError):
    """The peer does not speak usbredir."""


class Cap(IntEnum):
    """Capabilities, as bit numbers."""

    CONNECT_DEVICE_VERSION = 1
    DEVICE_DISCONNECT_ACK = 3
    EP_INFO_MAX_PACKET_SIZE = 4
    IDS_64BITS = 5
    BULK_LENGTH_32BITS = 6


OURS: Final = sum(1 << cap for cap in Cap)


class Packet(IntEnum):
    """Packet types."""

    HELLO = 0
    DEVICE_CONNECT = 1
    DEVICE_DISCONNECT = 2
    RESET = 3
    INTERFACE_INFO = 4
    EP_INFO = 5
    SET_CONFIGURATION = 6
    GET_CONFIGURATION = 7
    CONFIGURATION_STATUS = 8
    SET_ALT_SETTING = 9
    GET_ALT_SETTING = 10
    ALT_SETTING_STATUS = 11
    START_ISO_STREAM = 12
    STOP_ISO_STREAM = 13
    ISO_STREAM_STATUS = 14
    START_INTERRUPT_RECEIVING = 15
    STOP_INTERRUPT_RECEIVING = 16
    INTERRUPT_RECEIVING_STATUS = 17
    CANCEL_DATA_PACKET = 21
    FILTER_REJECT = 22
    FILTER_FILTER = 23
    DEVICE_DISCONNECT_ACK = 24
    CONTROL = 100
    BULK = 101
    INTERRUPT = 103


class Status(IntEnum):
    """How something asked for ended."""

    SUCCESS = 0
    CANCELLED = 1
    INVALID = 2
    IO_ERROR = 3
    STALL = 4


STATUS_OF: Final = {
    Outcome.DONE: Status.SUCCESS,
    Outcome.STALL: Status.STALL,
    Outcome.CANCELLED: Status.CANCELLED,
    Outcome.REFUSED: Status.INVALID,
}
_CONTROL: Final = Struct("<BBBBHHH")
_BULK: Final = Struct("<BBHI")
_BULK_32: Final = Struct("<BBHIH")
_INTERRUPT: Final = Struct("<BBH")
_SHORT_HEADER, _LONG_HEADER = Struct("<III"), Struct("<IIQ")


class UsbredirHost:
    """One connection to a peer that has a USB bus. (The protocol calls the side with the device the usb-host.)"""

    def __init__(self, served: ServedUsb) -> None:
        self.served = served
        self._in = bytearray()
        self._out = bytearray()
        self._peer: int | None = None
        """The peer's capabilities, once it has said hello."""
        self._closed = False
        self._plugged = False
        self._wanted = True
        self._transfers: dict[int, Transfer] = {}
        """Of the peer, by their ids."""
        self._receiving: dict[int, Transfer] = {}
        """Interrupt endpoints the peer listens to."""
        self._next_id = 0
        self._handlers: dict[int, Callable[[int, bytes], None]] = {
            Packet.RESET: self._reset,
            Packet.SET_CONFIGURATION: self._set_configuration,
            Packet.GET_CONFIGURATION: self._get_configuration,
            Packet.SET_ALT_SETTING: self._set_alternate,
            Packet.GET_ALT_SETTING: self._get_alternate,
            Packet.START_INTERRUPT_RECEIVING: self._start_receiving,
            Packet.STOP_INTERRUPT_RECEIVING: self._stop_receiving,
            Packet.CANCEL_DATA_PACKET: self._cancel,
            Packet.CONTROL: self._control,
            Packet.BULK: self._bulk,
            Packet.INTERRUPT: self._interrupt,
        }
        hello = VERSION.ljust(_VERSION_SIZE, b"\x00") + pack("<I", OURS)
        self._out += _SHORT_HEADER.pack(Packet.HELLO, len(hello), 0) + hello

    # -- the connection ------------------------------------------------------------------------------------------------------

    @property
    def plugged(self) -> bool:
        """Whether the peer has been given the device."""
        return self._plugged

    def take(self) -> bytes:
        """What is to be sent."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def feed(self, data: bytes) -> None:
        """What the peer sent. Raises UsbredirError where that is not usbredir."""
        self._in += data
        while not self._closed:
            header = _LONG_HEADER if self._long_ids else _SHORT_HEADER
            if len(self._in) < header.size:
                return
            kind, length, number = header.unpack_from(self._in)
            if length > MAX_BODY or (self._peer is None and kind != Packet.HELLO):
                raise UsbredirError(f"the peer does not speak usbredir: a packet of type {kind}, {length} bytes long")
            end = header.size + length
            if len(self._in) < end:
                return
            body = bytes(self._in[header.size : end])
            del self._in[:end]
            self._packet(kind, number, body)

    def close(self) -> None:
        """The connection is gone: so is the bus."""
        self._closed = True
        self._plugged = False
        self.served.reset()

    def plug(self) -> None:
        """Give the device to the peer, as soon as it has said hello. Twice is once."""
        self._wanted = True
        if self._peer is None or self._plugged:
            return
        self._plugged = True
        identity = self.served.device.identity
        self._describe(everything=True)
        body = pack(
            "<BBBBHH",
            identity.speed,
            identity.device_class,
            identity.device_subclass,
            identity.device_protocol,
            identity.vendor,
            identity.product,
        )
        if self._has(Cap.CONNECT_DEVICE_VERSION):
            body += pack("<H", identity.release)
        self._send(Packet.DEVICE_CONNECT, body)

    def unplug(self) -> None:
        """Take the device away from the peer. Twice is once."""
        self._wanted = False
        if self._plugged:
            self._plugged = False
            self._transfers.clear()
            self._receiving.clear()
            self._send(Packet.DEVICE_DISCONNECT)
            self.served.reset()

    def stand_in(self, served: ServedUsb) -> None:
        """Another device of the same make goes on in the place of the one before; it has taken over what was pending."""
        self.served = served

    # -- packets ---------------------------------------------------------------------------------------------------------------

    @property
    def _long_ids(self) -> bool:
        return self._has(Cap.IDS_64BITS)

    def _has(self, cap: Cap) -> bool:
        return self._peer is not None and bool(self._peer & OURS & 1 << cap)

    def _send(self, kind: Packet, body: bytes = b"", number: int = 0) -> None:
        if not self._closed:
            header = _LONG_HEADER if self._long_ids else _SHORT_HEADER
            self._out += header.pack(kind, len(body), number) + body

    def _packet(self, kind: int, number: int, body: bytes) -> None:
        if kind == Packet.HELLO:
            if len(body) < _VERSION_SIZE or self._peer is not None:
                raise UsbredirError(f"a hello of {len(body)} bytes, or a second one")
            self._peer = int.from_bytes(body[_VERSION_SIZE : _VERSION_SIZE + 4], "little")
            if self._wanted:
                self.plug()
            return
        handler = self._handlers.get(kind)
        if handler is None or not self._plugged:
            return  # what was under way when the device was unplugged, and what our capabilities exclude
        try:
            handler(number, body)
        except (IndexError, _Malformed) as error:
            raise UsbredirError(f"a packet of type {kind}, {len(body)} bytes long, is malformed: {error}") from None

    def _describe(self, *, everything: bool = False) -> None:
        """Interfaces and endpoints as they are; ``everything``: as the configuration will have them."""
        device = self.served.device
        interfaces = device.chosen
        if everything:
            interfaces = [each for each in device.descriptors.interfaces if each.alternate == 0]
        columns = [
            bytes(getattr(each, name) for each in interfaces).ljust(SLOTS, b"\x00")
            for name in ("number", "interface_class", "subclass", "protocol")
        ]
        self._send(Packet.INTERFACE_INFO, pack("<I", len(interfaces)) + b"".join(columns))
        types, intervals, owners = bytearray([NO_ENDPOINT] * SLOTS), bytearray(SLOTS), bytearray(SLOTS)
        sizes = [0] * SLOTS
        for place in (0, SLOTS // 2):
            types[place] = TransferType.CONTROL
        for interface in interfaces:
            for endpoint in interface.endpoints:
                place = _place(endpoint.address)
                types[place], intervals[place] = endpoint.type, endpoint.interval
                owners[place], sizes[place] = interface.number, endpoint.max_packet
        body = bytes(types + intervals + owners)
        if self._has(Cap.EP_INFO_MAX_PACKET_SIZE):
            body += pack(f"<{SLOTS}H", *sizes)
        self._send(Packet.EP_INFO, body)

    # -- the bus -----------------------------------------------------------------------------------------------------------------

    def _reset(self, _number: int, _body: bytes) -> None:
        self._receiving.clear()
        self.served.reset()

    def _set_configuration(self, number: int, body: bytes) -> None:
        self._receiving.clear()
        done = self.served.device.set_configuration(body[0])
        if done and body[0]:
            self._describe()
        self._configuration(number, Status.SUCCESS if done else Status.STALL)

    def _get_configuration(self, number: int, _body: bytes) -> None:
        self._configuration(number, Status.SUCCESS)

    def _configuration(self, number: int, status: Status) -> None:
        self._send(Packet.CONFIGURATION_STATUS, bytes((status, self.served.device.configuration)), number)

    def _set_alternate(self, number: int, body: bytes) -> None:
        done = self.served.device.set_alternate(body[0], body[1])
        if done:
            self._describe()
        self._alternate(number, body[0], Status.SUCCESS if done else Status.STALL)

    def _get_alternate(self, number: int, body: bytes) -> None:
        self._alternate(number, body[0], Status.SUCCESS)

    def _alternate(self, number: int, interface: int, status: Status) -> None:
        setting = self.served.device.alternate_of(interface)
        if setting is None:
            status, setting = Status.STALL, 0
        self._send(Packet.ALT_SETTING_STATUS, bytes((status, interface, setting)), number)

    # -- the interrupt pipe --------------------------------------------------------------------------------------------------------

    def _start_receiving(self, number: int, body: bytes) -> None:
        endpoint = body[0]
        known = [each for interface in self.served.device.chosen for each in interface.endpoints]
        sizes = {each.address: each.max_packet for each in known if each.type is TransferType.INTERRUPT}
        status = Status.SUCCESS if endpoint & IN and endpoint in sizes else Status.INVALID
        self._send(Packet.INTERRUPT_RECEIVING_STATUS, bytes((status, endpoint)), number)
        if status is Status.SUCCESS and endpoint not in self._receiving:
            self._receive(endpoint, sizes[endpoint])

    def _receive(self, endpoint: int, size: int) -> None:
        """One transfer after the other, as long as the peer listens."""

        def done(completion: Completion) -> None:
            if self._receiving.get(endpoint) is not transfer:
                return
            del self._receiving[endpoint]
            if completion.outcome is Outcome.DONE:
                head = _INTERRUPT.pack(endpoint, Status.SUCCESS, len(completion.data))
                self._send(Packet.INTERRUPT, head + completion.data, self._next_id)
                self._next_id += 1
                self._receive(endpoint, size)
            else:
                status = STATUS_OF[completion.outcome]
                self._send(Packet.INTERRUPT_RECEIVING_STATUS, bytes((status, endpoint)))

        transfer = Transfer(endpoint, done, length=size)
        self._receiving[endpoint] = transfer
        self.served.submit(transfer)

    def _stop_receiving(self, number: int, body: bytes) -> None:
        transfer = self._receiving.pop(body[0], None)
        if transfer is not None:
            self.served.cancel(transfer)
        self._send(Packet.INTERRUPT_RECEIVING_STATUS, bytes((Status.SUCCESS, body[0])), number)

    # -- transfers -------------------------------------------------------------------------------------------------------------------

    def _control(self, number: int, body: bytes) -> None:
        endpoint, request, request_type, _, value, index, length = _unpack(_CONTROL, body)
        setup = Setup(request_type, request, value, index, length)

        def done(completion: Completion) -> None:
            head = _CONTROL.pack(
                endpoint, request, request_type, STATUS_OF[completion.outcome], value, index, completion.actual
            )
            self._ended(number, Packet.CONTROL, head + completion.data)

        transfer = Transfer(endpoint, done, data=body[_CONTROL.size :], length=length, setup=setup)
        self._begin(number, transfer)

    def _bulk(self, number: int, body: bytes) -> None:
        wide = self._has(Cap.BULK_LENGTH_32BITS)
        layout = _BULK_32 if wide else _BULK
        endpoint, _, low, stream, *high = _unpack(layout, body)
        length = low | (high[0] << 16 if high else 0)

        def done(completion: Completion) -> None:
            actual = completion.actual
            head: tuple[int, ...] = (endpoint, STATUS_OF[completion.outcome], actual & 0xFFFF, stream)
            head += (actual >> 16,) if wide else ()
            self._ended(number, Packet.BULK, layout.pack(*head) + completion.data)

        self._begin(number, Transfer(endpoint, done, data=body[layout.size :], length=length))

    def _interrupt(self, number: int, body: bytes) -> None:
        endpoint, _, _ = _unpack(_INTERRUPT, body)
        if endpoint & IN:
            raise _Malformed("it goes to an endpoint that leads to the host")

        def done(completion: Completion) -> None:
            head = _INTERRUPT.pack(endpoint, STATUS_OF[completion.outcome], completion.actual)
            self._ended(number, Packet.INTERRUPT, head)

        self._begin(number, Transfer(endpoint, done, data=body[_INTERRUPT.size :]))

    def _begin(self, number: int, transfer: Transfer) -> None:
        self._transfers[number] = transfer
        self.served.submit(transfer)

    def _ended(self, number: int, kind: Packet, body: bytes) -> None:
        if self._transfers.pop(number, None) is not None:
            self._send(kind, body, number)

    def _cancel(self, number: int, _body: bytes) -> None:
        transfer = self._transfers.get(number)
        if transfer is not None:
            self.served.cancel(transfer)


class _Malformed(Exception):  # noqa: N818 - becomes a UsbredirError, which says where
    pass


def _unpack(layout: Struct, body: bytes) -> tuple[int, ...]:
    if len(body) < layout.size:
        raise _Malformed(f"{layout.size} bytes at least are expected")
    return layout.unpack_from(body)


def _place(address: int) -> int:
    """Where an endpoint stands in EP_INFO."""
    return (address & IN) >> 3 | address & 0x0F
