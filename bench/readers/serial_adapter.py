"""pyserial, with types and named errors: any of its URLs as a port that is opened, set, read and written. All calls may block."""

import contextlib
import errno
import fcntl
import os
import struct
import termios
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any, Final

import serial
from serial.tools import list_ports

from bench.readers.serial_errors import SerialPortError, SerialTrouble, trouble_of

READ_S: Final = 0.05
"""Longest wait of one ``read``: how soon a reading thread can be stopped."""
WRITE_S: Final = 5.0
"""How long characters may wait for a local port to take them."""
BY_ID: Final = Path("/dev/serial/by-id")
READ_MOST: Final = 1024
_MARK: Final = 0xFF


@dataclass(frozen=True, slots=True)
class PortSettings:
    """What a UART is set to."""

    baud: int
    parity: str = "E"
    """N, E or O."""
    stop_bits: int = 2


@dataclass(frozen=True, slots=True)
class Chunk:
    """Characters that came in one go."""

    data: bytes
    damaged: frozenset[int] = frozenset()
    """Indices of those whose parity was not as set, where the port tells."""


@dataclass(frozen=True, slots=True)
class SerialFound:
    """A serial port that is attached to this machine."""

    device: str
    by_id: str
    """Its path below /dev/serial/by-id, which names the adapter and not the order of plugging; empty where there is none."""
    description: str
    vendor: int
    product: int
    """USB identity; 0 where it is no USB device."""
    serial_number: str


def attached() -> tuple[SerialFound, ...]:
    """The serial ports of this machine, by device name."""
    names = {}
    with contextlib.suppress(OSError):
        names = {os.path.realpath(each): str(each) for each in sorted(BY_ID.iterdir())}
    return tuple(
        SerialFound(
            port.device,
            names.get(os.path.realpath(port.device), ""),
            port.description or "",
            port.vid or 0,
            port.pid or 0,
            port.serial_number or "",
        )
        for port in sorted(list_ports.comports())
    )


class SerialPort:
    """An open port. Reading may be done in one thread and everything else in another."""

    def __init__(self, url: str, settings: PortSettings, *, rts: bool = False, dtr: bool = False) -> None:
        """Open ``url`` (a path, rfc2217://…, hwgrep://… and what else pyserial knows). Raises SerialPortError."""
        self.url = url
        local = "://" not in url or url.startswith("hwgrep://")
        self._settings = settings
        last_words: Callable[[], str | None] = _unheard
        try:
            port = serial.serial_for_url(url, do_not_open=True)
            last_words = _last_words(port)
            port.timeout = READ_S
            port.baudrate, port.parity, port.stopbits = settings.baud, settings.parity, settings.stop_bits
            port.rts, port.dtr = rts, dtr
            if local:
                port.write_timeout = WRITE_S
                port.exclusive = True
            port.open()
        except (OSError, ValueError, termios.error) as error:  # SerialException is an OSError
            raise self._opening(error, last_words()) from None
        self._port = port
        self._device = str(port.port)
        """The device of a local port, whichever way it was named."""
        fileno = getattr(port, "fd", None)
        self._file = fileno if isinstance(fileno, int) else None
        self._marks = False
        self._held = b""
        """The beginning of a marked character whose rest has not come."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                fcntl.ioctl(self._file, termios.TIOCEXCL)
            with contextlib.suppress(OSError, ValueError, AttributeError, NotImplementedError):
                port.set_low_latency_mode(True)
        self._mark()

    @property
    def is_pty(self) -> bool:
        """Whether it is a pseudo-terminal: no parity, no modem lines, no rate."""
        return self._file is not None and is_pty(self._device)

    @property
    def local(self) -> bool:
        """Whether it is a device of this machine."""
        return self._file is not None

    @property
    def settings(self) -> PortSettings:
        return self._settings

    def close(self) -> None:
        with contextlib.suppress(Exception):  # what a port that is gone says of being closed helps nobody
            if self._file is not None:
                fcntl.ioctl(self._file, termios.TIOCNXCL)
        with contextlib.suppress(Exception):
            self._port.close()

    def set(self, settings: PortSettings) -> None:
        """Set the UART. Raises SerialPortError where the port or its server refuses."""
        if settings == self._settings:
            return
        port = self._port
        try:
            if settings.baud != port.baudrate:
                port.baudrate = settings.baud
            if settings.parity != port.parity:
                port.parity = settings.parity
            if settings.stop_bits != port.stopbits:
                port.stopbits = settings.stop_bits
        except (OSError, ValueError, termios.error) as error:
            what = f"{self.url} does not take {settings.baud} baud, 8{settings.parity}{settings.stop_bits}: {error}"
            raise SerialPortError(self._while_open(error, SerialTrouble.REFUSED), what) from None
        self._settings = settings
        self._mark()

    def lines(self, *, rts: bool, dtr: bool) -> None:
        """Switch RTS and DTR; True is on. A port without such lines does nothing. Raises SerialPortError."""
        try:
            if self._port.dtr != dtr:
                self._port.dtr = dtr
            if self._port.rts != rts:
                self._port.rts = rts
        except (OSError, ValueError) as error:
            if _errno(error) == errno.ENOTTY:
                return
            what = f"{self.url} does not switch RTS and DTR: {error}"
            raise SerialPortError(self._while_open(error, SerialTrouble.REFUSED), what) from None

    def line(self, name: str) -> bool | None:
        """Whether the incoming line ``name`` (cts, dsr, dcd, ri) is on; None where the port does not tell. Raises SerialPortError."""
        try:
            return bool(getattr(self._port, "cd" if name == "dcd" else name))
        except serial.SerialException:
            return None  # rfc2217: nothing was told yet
        except OSError as error:
            if _errno(error) == errno.ENOTTY:
                return None
            raise SerialPortError(SerialTrouble.GONE, f"{self.url} is gone: {error}") from None

    def discard(self) -> None:
        """Drop what has come in and was not read. Raises SerialPortError."""
        self._guarded(self._port.reset_input_buffer, "cannot be flushed")

    def drop_unsent(self) -> None:
        """Drop what has not been sent; on a pty of ours this resets the card. Raises SerialPortError."""
        self._guarded(self._port.reset_output_buffer, "cannot be flushed")

    def write(self, data: bytes) -> None:
        """Raises SerialPortError."""
        self._guarded(lambda: self._port.write(data), f"did not take {len(data)} characters")

    def drain(self) -> None:
        """Wait until everything written has been sent. Raises SerialPortError."""
        self._guarded(self._port.flush, "did not send what it was given")

    def read(self) -> Chunk:
        """What has come, or comes within READ_S; empty where nothing did. Raises SerialPortError where the port is gone."""
        try:
            data = self._port.read(1)
            if data and (waiting := self._port.in_waiting):
                data += self._port.read(waiting)
        except (OSError, ValueError, TypeError) as error:
            raise SerialPortError(SerialTrouble.GONE, f"{self.url} is gone: {error}") from None
        return self._unmarked(data) if self._marks else Chunk(data)

    def ask_server(self) -> None:
        """Hold that the server of a port in the network answers, by setting the port as it is. Raises SerialPortError."""
        if self.local:
            return
        try:
            self._port.baudrate = self._port.baudrate
        except (OSError, ValueError) as error:
            what = f"the server of {self.url} does not answer: {error}"
            raise SerialPortError(self._while_open(error, SerialTrouble.SILENT), what) from None

    def fileno(self) -> int:
        """The descriptor of a local port. Raises SerialPortError elsewhere."""
        if self._file is None:
            raise SerialPortError(SerialTrouble.OTHER, f"{self.url} is no device of this machine")
        return self._file

    # -- inside --------------------------------------------------------------------------------------------------------

    def _mark(self) -> None:
        """Have the driver mark characters with wrong parity (termios: INPCK, PARMRK), which pyserial does not ask for."""
        self._marks = False
        self._held = b""
        if self._file is None or self._settings.parity == "N" or is_pty(self._device):
            return
        with contextlib.suppress(termios.error):
            attributes = termios.tcgetattr(self._file)
            attributes[0] = (attributes[0] | termios.INPCK | termios.PARMRK) & ~termios.IGNPAR
            termios.tcsetattr(self._file, termios.TCSANOW, attributes)
            self._marks = True

    def _unmarked(self, raw: bytes) -> Chunk:
        data, damaged, self._held = unmark(self._held + raw)
        return Chunk(data, damaged)

    def _guarded(self, call: Callable[[], object], failed: str) -> None:
        try:
            call()
        except (OSError, ValueError, termios.error) as error:
            raise SerialPortError(
                self._while_open(error, SerialTrouble.GONE), f"{self.url} {failed}: {error}"
            ) from None

    def _while_open(self, error: Exception, otherwise: SerialTrouble) -> SerialTrouble:
        thread = getattr(self._port, "_thread", None)
        if "connection failed" in str(error) or (isinstance(thread, Thread) and not thread.is_alive()):
            return SerialTrouble.GONE
        if "timeout while waiting for option" in str(error):
            return SerialTrouble.SILENT
        number = _errno(error)
        return otherwise if number is None else trouble_of(number)

    def _opening(self, error: Exception, said: str | None) -> SerialPortError:
        url = self.url
        if url.startswith(("rfc2217://", "socket://")):
            if said is None and isinstance(error, BrokenPipeError | ConnectionResetError):
                said = ""  # it was there, and hung up
            if said is not None:
                why = f", saying {said!r}" if said else ""
                return SerialPortError(
                    SerialTrouble.BUSY,
                    f"the server of {url} hangs up at once{why}: most likely another client has the port",
                )
            if "seem to support" in str(error):
                return SerialPortError(
                    SerialTrouble.SILENT, f"the server of {url} takes the connection and does not answer"
                )
            if "parameter change" in str(error):
                return SerialPortError(SerialTrouble.REFUSED, f"{url} refuses {self._settings}: {error}")
            if "'control'" in str(error):
                what = f"{url} does not answer when RTS and DTR are switched (a port without such lines?)"
                return SerialPortError(
                    SerialTrouble.REFUSED, f"{what}: with ?ign_set_control after the port it need not"
                )
            return SerialPortError(SerialTrouble.SERVER, f"{url} cannot be reached: {error}")
        if isinstance(error, ValueError) or url.startswith("hwgrep://"):
            return SerialPortError(SerialTrouble.MISSING, f"no port {url!r}: {error}")
        if "exclusively lock" in str(error):
            return SerialPortError(SerialTrouble.BUSY, f"{url} is used by another program")
        trouble = trouble_of(_errno(error))
        return SerialPortError(trouble, f"{url} cannot be opened: {error}")


def _last_words(port: Any) -> Callable[[], str | None]:
    """What a server said that hung up while its port was being opened, which pyserial does not tell; None where it did not hang up.

    To be made before the port is opened: once pyserial has given up and closed the port, it is gone in any case. And pyserial's reading thread
    would end with a traceback where its server hangs up while it answers, and nobody would be told.
    """
    if not hasattr(port, "_telnet_read_loop"):
        return _unheard
    close, listen = port.close, port._telnet_read_loop
    said: list[str] = []

    def listening() -> None:
        try:
            listen()
        except OSError:
            with contextlib.suppress(OSError):
                for byte in port._socket.recv(READ_MOST):
                    port._read_buffer.put(bytes((byte,)))
            port._read_buffer.put(None)

    def closing() -> None:
        heard = getattr(port, "_read_buffer", None)
        words = bytearray()
        while isinstance(heard, Queue) and not heard.empty():
            piece = heard.get_nowait()
            if piece is None:
                said.append("".join(chr(each) for each in words if 0x20 <= each < 0x7F).strip())
                break
            words += piece
        close()

    port.close = closing
    port._telnet_read_loop = listening
    return lambda: said[0] if said else None


def _unheard() -> None:
    return None


def unmark(raw: bytes) -> tuple[bytes, frozenset[int], bytes]:
    """Undo PARMRK: FF 00 c is a damaged c, FF FF is FF. Gives the characters, which of them are damaged, and what is not whole yet."""
    data = bytearray()
    damaged = set()
    at = 0
    while at < len(raw):
        if raw[at] != _MARK:
            data.append(raw[at])
            at += 1
        elif raw[at + 1 : at + 2] == b"\xff":
            data.append(_MARK)
            at += 2
        elif len(raw) - at >= 3 and not raw[at + 1]:
            damaged.add(len(data))
            data.append(raw[at + 2])
            at += 3
        elif len(raw) - at >= 2 and raw[at + 1]:
            data.append(_MARK)  # no mark: a driver that does not double FF
            at += 1
        else:
            break
    return bytes(data), frozenset(damaged), raw[at:]


def is_pty(path: str) -> bool:
    """Whether a path leads to a pseudo-terminal."""
    return "://" not in path and os.path.realpath(path).startswith("/dev/pts/")


def real_baud(file: int) -> int:
    """The rate a terminal device is set to, exactly, also where no constant names it (Linux: TCGETS2)."""
    raw = fcntl.ioctl(file, _TCGETS2, bytes(64))
    return int(struct.unpack_from("I", raw, _OSPEED_AT)[0])


_TCGETS2: Final = 0x802C542A
_OSPEED_AT: Final = 40


def _errno(error: Exception) -> int | None:
    number = getattr(error, "errno", None)
    if isinstance(number, int):
        return number
    first = error.args[0] if error.args else None
    return first if isinstance(first, int) else None
