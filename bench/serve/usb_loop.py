"""What the loops of both carriers share: a USB device of ours at one connection at a time, and hands at a reader that is such a device."""

import selectors
import socket
from typing import Final, Protocol

from bench.serve.loop import ServeLoop, nothing, received, sent
from bench.serve.usb_reader import CarrierError, ServedUsb, ServedUsbReader

UNREAD_MOST: Final = 1 << 24
"""Bytes that wait for a host that does not read; one that lets more gather is given up."""


class Carrier(Protocol):
    """The protocol of one connection: what carries the device to a host."""

    def feed(self, data: bytes) -> None:
        """What the host sent. Raises CarrierError."""

    def take(self) -> bytes:
        """What is to be sent."""

    def stand_in(self, served: ServedUsb) -> None:
        """Another device of the same make goes on in the place of this one."""

    def close(self) -> None:
        """The connection is gone."""


class UsbLoop(ServeLoop):
    """Serves one device to whoever is at the other end of the connection there is, if any."""

    def __init__(self, device: ServedUsb) -> None:
        super().__init__()
        self.device = device
        self._connection: socket.socket | None = None
        self._carrier: Carrier | None = None
        self._unsent = bytearray()
        device.on_asked = self._asked

    def _sleep(self) -> float:
        return self.device.sleep(self.idle_s)

    def _follow(self) -> None:
        self.device.turn()
        self._send()

    def _asked(self) -> None:
        self.on_asked()

    def _stand_in(self, device: ServedUsb) -> None:
        """The host goes on with ``device``, and what it asks of that one is told."""
        self.device.on_asked = nothing
        self.device = device
        device.on_asked = self._asked
        if self._carrier is not None:
            self._carrier.stand_in(device)

    # -- the connection --------------------------------------------------------------------------------------------------

    def _connect(self, connection: socket.socket, carrier: Carrier) -> None:
        """Go on at this connection, which does not block."""
        self._connection, self._carrier = connection, carrier
        self._selector.register(connection, selectors.EVENT_READ, self._readable)

    def _disconnect(self) -> bool:
        """Close the connection there is; whether there was one."""
        connection, self._connection = self._connection, None
        carrier, self._carrier = self._carrier, None
        self._unsent.clear()
        if connection is None or carrier is None:
            return False
        self._selector.unregister(connection)
        self._release(connection)
        carrier.close()
        return True

    def _release(self, connection: socket.socket) -> None:
        """Let go of a connection that is served no more."""
        connection.close()

    def _gone(self, why: str = "") -> None:
        """The connection is of no use any more, ``why`` where that was no plain end."""
        raise NotImplementedError

    def _readable(self) -> None:
        if self._connection is None or self._carrier is None:
            return  # gone by what else was to be done in the same turn
        data = received(self._connection)
        if data is None:
            return
        if not data:
            self._gone()
            return
        try:
            self._carrier.feed(data)
        except CarrierError as error:
            self._gone(str(error))
            return
        self._send()

    def _send(self) -> None:
        if self._connection is None or self._carrier is None:
            return
        self._unsent += self._carrier.take()
        if not self._unsent:
            return
        try:
            del self._unsent[: sent(self._connection, self._unsent)]
        except OSError:
            self._gone()
            return
        if len(self._unsent) > UNREAD_MOST:
            self._gone("it does not read")
            return
        waiting = bool(self._unsent)
        self._await_room(self._connection, self._ready if waiting else self._readable, room=waiting)

    def _ready(self) -> None:
        self._send()
        self._readable()


class ReaderLoop(UsbLoop):
    """Serves a reader, whose cards come and go."""

    served: ServedUsbReader
    """The device, as what it is."""

    def replace(self, served: ServedUsbReader, *, unseen: bool = False) -> None:
        """Put a reader with other cards in the place of this one. The host keeps its device; it sees the card go and another one come.

        ``unseen``: it sees neither, only another answer to its next reset.
        """
        before, self.served = self.served, served
        self._stand_in(served)
        served.succeed(before, unseen=unseen)
        self._send()

    def pull(self) -> None:
        """Take the card out of the first slot."""
        self.served.pull()
        self._send()

    def insert(self) -> None:
        """Put it back."""
        self.served.insert()
        self._send()
