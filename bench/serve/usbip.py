"""The device's side of USB/IP 1.1.1 after the import, as Linux's vhci_hcd speaks it (Documentation/usb/usbip_protocol.rst): without I/O.

Messages of the host go in, messages for it come out of ``take``. All numbers are big-endian. The host controller on the other side keeps addresses
and does not tell of bus resets: a configuration that is set anew is all the device hears. Isochronous transfers are refused.
"""

from collections.abc import Callable
from enum import IntEnum, IntFlag
from errno import ECONNRESET, EINVAL, EPIPE, EREMOTEIO
from struct import Struct
from typing import Final

from bench.ccid.usb_descriptors import IN
from bench.ccid.usb_device import Completion, Outcome, Setup, Transfer
from bench.serve.usb_reader import CarrierError, ServedUsb

MAX_TRANSFER: Final = 1 << 20
_BASIC: Final = Struct(">IIIII")
_SUBMIT: Final = Struct(">IiiIi8s")
_RETURN: Final = Struct(">iiiIi8x")
_UNLINK: Final = Struct(">I24x")
_UNLINKED: Final = Struct(">i24x")
HEADER: Final = _BASIC.size + _SUBMIT.size
_NO_PACKETS: Final = (0, 0xFFFFFFFF)
"""number_of_packets of a transfer that is not isochronous."""


class UsbipError(CarrierError):
    """The other side does not speak USB/IP."""


class Message(IntEnum):
    """command."""

    SUBMIT = 1
    UNLINK = 2
    SUBMITTED = 3
    UNLINKED = 4


class Flag(IntFlag):
    """transfer_flags, of Linux's URBs."""

    SHORT_NOT_OK = 0x0001
    ZERO_PACKET = 0x0040


STATUS_OF: Final = {Outcome.DONE: 0, Outcome.STALL: -EPIPE, Outcome.CANCELLED: -ECONNRESET, Outcome.REFUSED: -EINVAL}


class UsbipDevice:
    """One device at one port of a vhci_hcd."""

    def __init__(self, served: ServedUsb) -> None:
        self.served = served
        self._in = bytearray()
        self._out = bytearray()
        self._closed = False
        self._transfers: dict[int, Transfer] = {}
        """By sequence number."""

    def take(self) -> bytes:
        """What is to be sent."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def feed(self, data: bytes) -> None:
        """What the host sent. Raises UsbipError where that is not USB/IP."""
        self._in += data
        while not self._closed and len(self._in) >= HEADER:
            command, number, _, direction, endpoint = _BASIC.unpack_from(self._in)
            if command == Message.UNLINK:
                (which,) = _UNLINK.unpack_from(self._in, _BASIC.size)
                del self._in[:HEADER]
                self._unlink(number, which)
            elif command == Message.SUBMIT:
                flags, length, _, packets, _, setup = _SUBMIT.unpack_from(self._in, _BASIC.size)
                if not 0 <= length <= MAX_TRANSFER or endpoint > 15 or packets not in _NO_PACKETS:
                    raise UsbipError(f"a transfer of {length} bytes in {packets} packets at endpoint {endpoint}")
                end = HEADER + (0 if direction else length)
                if len(self._in) < end:
                    return
                body = bytes(self._in[HEADER:end])
                del self._in[:end]
                self._submit(number, endpoint | (IN if direction else 0), Flag(flags), length, setup, body)
            else:
                raise UsbipError(f"the host does not speak USB/IP: a message of type {command:08X}")

    def close(self) -> None:
        """The connection is gone: so is the bus."""
        self._closed = True
        self.served.reset()

    def stand_in(self, served: ServedUsb) -> None:
        """Another device of the same make goes on in the place of the one before; it has taken over what was pending."""
        self.served = served

    def _submit(self, number: int, endpoint: int, flags: Flag, length: int, setup: bytes, body: bytes) -> None:
        transfer = Transfer(
            endpoint if endpoint & ~IN else 0,
            self._ended(number, endpoint, flags, length),
            data=body,
            closed=bool(flags & Flag.ZERO_PACKET),
            length=length,
            setup=None if endpoint & ~IN else Setup.decode(setup),
        )
        self._transfers[number] = transfer
        self.served.submit(transfer)

    def _ended(self, number: int, endpoint: int, flags: Flag, length: int) -> Callable[[Completion], None]:
        def done(completion: Completion) -> None:
            if self._closed or self._transfers.pop(number, None) is None:
                return
            status = STATUS_OF[completion.outcome]
            if not status and endpoint & IN and flags & Flag.SHORT_NOT_OK and completion.actual < length:
                status = -EREMOTEIO
            self._out += _BASIC.pack(Message.SUBMITTED, number, 0, 0, 0)
            self._out += _RETURN.pack(status, completion.actual, 0, 0, 0)
            self._out += completion.data

        return done

    def _unlink(self, number: int, which: int) -> None:
        """A transfer that is unlinked has no other end; one that had ended already is told by status 0."""
        transfer = self._transfers.pop(which, None)
        if transfer is not None:
            self.served.cancel(transfer)
        status = -ECONNRESET if transfer is not None else 0
        self._out += _BASIC.pack(Message.UNLINKED, number, 0, 0, 0) + _UNLINKED.pack(status)
