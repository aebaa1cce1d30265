"""The CDC Ethernet Emulation Model on a USB device (CDC EEM 1.0): one interface, two bulk pipes, no descriptors and no requests of its own.

Frames wait in a queue with a bound and go in bundles, one transfer at a time. Echoes of the host are answered before anything else.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from bench.ccid.eem import (
    CRC,
    FRAME_MAX,
    HEADER,
    ZLE,
    EemCommand,
    EemDecoder,
    EemFrame,
    EemOrder,
    encode_command,
    encode_echo,
    encode_frame,
)
from bench.ccid.usb_descriptors import (
    BULK_PACKET,
    IN,
    DeviceIdentity,
    EndpointDescriptor,
    InterfaceDescriptor,
    Speed,
    TransferType,
)
from bench.ccid.usb_device import FunctionPort, Setup, UsbDevice

INTERFACE_CLASS: Final = 0x02
"""Communications."""
SUBCLASS: Final = 0x0C
PROTOCOL: Final = 0x07
BULK_OUT: Final = 0x01
BULK_IN: Final = 0x02 | IN
BUNDLE: Final = HEADER + FRAME_MAX + CRC - len(ZLE)
"""Longest bundle: hosts ask for no more than the longest frame takes, and what is behind that is lost. Room for the padding is left."""
QUEUE: Final = 65_536
"""Bytes of frames that may wait for the host."""
ANSWERS: Final = 32
"""Answers to echoes that may wait."""


class EemFunction:
    """A UsbFunction that carries Ethernet frames."""

    def __init__(
        self, interface: int = 0, *, speed: Speed = Speed.FULL, calculated: bool = False, name: str = "EEM interface"
    ) -> None:
        """``calculated``: with a check sequence of each frame; USB has its own, so the sentinel is enough."""
        packet = BULK_PACKET[speed]
        bulk = TransferType.BULK
        endpoints = (EndpointDescriptor(BULK_OUT, bulk, packet), EndpointDescriptor(BULK_IN, bulk, packet))
        self.interfaces = (InterfaceDescriptor(interface, INTERFACE_CLASS, SUBCLASS, PROTOCOL, endpoints, name=name),)
        self.decoder = EemDecoder(packet)
        self.calculated = calculated
        self.up = False
        """Whether the host has configured the device."""
        self.on_link: Callable[[bool], None] = _unheard
        """Told when that changes."""
        self.on_frame: Callable[[bytes], None] = _unheard
        self.on_room: Callable[[], None] = _nothing
        """Told when ``send`` takes frames again after it took none."""
        self.on_echo_response: Callable[[bytes], None] = _unheard
        self.echoes = 0
        """Echoes of the host that were answered."""
        self.ignored = 0
        """Commands of the host that ask for nothing (tickle), or that no device should get."""
        self.dropped = 0
        """Frames for which there was no room."""
        self._packet = packet
        self._frames: deque[bytes] = deque()
        self._commands: deque[bytes] = deque()
        self._queued = 0
        self._refused = False
        self._port: FunctionPort | None = None

    def send(self, frame: bytes) -> bool:
        """Take a frame for the host; False where there is no room, or nobody configured. Raises ValueError for one that is too long."""
        if not self.up:
            return False
        packet = encode_frame(frame, calculated=self.calculated)
        if self._queued + len(packet) > QUEUE:
            self._refused = True
            self.dropped += 1
            return False
        self._queued += len(packet)
        self._frames.append(packet)
        self._pump()
        return True

    def echo(self, data: bytes) -> None:
        """Ask the host for an echo. Raises ValueError above 2047 bytes."""
        self._command(encode_echo(data))

    def hint(self, command: EemCommand, parameter: int = 0) -> None:
        """One of the three hints."""
        self._command(encode_command(command, parameter))

    # -- a UsbFunction -------------------------------------------------------------------------------------------------

    def attach(self, port: FunctionPort) -> None:
        self._port = port

    def configured(self, on: bool) -> None:
        self._begin()
        self.up = on
        self.on_link(on)

    def alternate(self, interface: int, setting: int) -> None:
        del interface, setting
        self._begin()

    def control_in(self, setup: Setup) -> bytes | None:
        """The class has no requests."""
        del setup
        return None

    def control_out(self, setup: Setup, data: bytes) -> bool:
        del setup, data
        return False

    def received(self, endpoint: int, data: bytes) -> None:
        del endpoint  # there is one
        for each in self.decoder.feed(data):
            if isinstance(each, EemFrame):
                self.on_frame(each.data)
            else:
                self._ordered(each)

    def fetched(self, endpoint: int) -> None:
        del endpoint
        self._pump()
        if self._refused and self._queued <= QUEUE // 2:
            self._refused = False
            self.on_room()

    # -- inside --------------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self.decoder.reset()
        self._frames.clear()
        self._commands.clear()
        self._queued = 0
        self._refused = False

    def _ordered(self, order: EemOrder) -> None:
        if order.command == EemCommand.ECHO:
            self.echoes += 1
            self._command(encode_echo(order.data, response=True))
        elif order.command == EemCommand.ECHO_RESPONSE:
            self.on_echo_response(order.data)
        else:
            self.ignored += 1

    def _command(self, packet: bytes) -> None:
        if self.up and len(self._commands) < ANSWERS:
            self._commands.append(packet)
            self._pump()

    def _pump(self) -> None:
        """The next bundle, where the host has fetched the one before. A frame is at its end, if it has one: Linux counts other ends as errors."""
        port = self._port
        if port is None or not (self._commands or self._frames) or port.queued(BULK_IN):
            return
        parts: list[bytes] = []
        size = 0
        while self._commands and (not parts or size + len(self._commands[0]) <= BUNDLE):
            parts.append(self._commands.popleft())
            size += len(parts[-1])
        while self._frames and (not parts or size + len(self._frames[0]) <= BUNDLE):
            parts.append(self._frames.popleft())
            size += len(parts[-1])
            self._queued -= len(parts[-1])
        if size % self._packet == 0:  # else an empty USB packet would have to end it, which not every host takes
            parts.insert(0, ZLE)
        port.send(BULK_IN, b"".join(parts))


def eem_device(function: EemFunction, identity: DeviceIdentity | None = None) -> UsbDevice:
    """A device that is nothing but a data link."""
    return UsbDevice(identity or IDENTITY, [function])


IDENTITY: Final = DeviceIdentity(0x1D6B, 0x0102, "cardbench", "IP smart card", "0001", device_class=INTERFACE_CLASS)
"""Linux's own numbers for an EEM gadget, as the class is known by its interface alone."""


def _unheard(_what: object) -> None:
    pass


def _nothing() -> None:
    pass
