"""The served card at character level on a terminal device: a pty of our own, or a real tty that another UART is crossed with.

A pty has no modem lines, no parity and no pace of its own. Its card is held in reset until the terminal drops its output queue (``tcflush`` with
TCOFLUSH, pyserial's ``reset_output_buffer``), and reset whenever it does so again. The rate is the one the terminal sets: both ends share it.

A real tty is the card's own UART: its rate and parity are the card's, set anew when the card switches. I/O is one wire, so what the card sends comes
back to it and is dropped. RST is an incoming line, looked at every 2 ms: hold it for 50 ms. Characters are as fast as the wire.
"""

import array
import contextlib
import errno
import fcntl
import os
import pty
import selectors
import termios
import tty
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from bench.iso7816.atr_values import Convention
from bench.readers.serial_adapter import PortSettings, SerialPort, real_baud
from bench.readers.serial_errors import SerialPortError
from bench.serve.uart import INITIAL_BAUD, Pacing, ServedUart, UartSettings
from bench.serve.uart_loop import UNREAD_MOST, UartLoop

_PACKET_DATA: Final = 0
_FLUSHED_OUTPUT: Final = 2
"""TIOCPKT_FLUSHWRITE: the terminal dropped what it had written and we had not read."""
LINES_S: Final = 0.002
"""How often RST is looked at."""


class PtyLoop(UartLoop):
    """Serves one card on a pseudo-terminal; ``address`` is the path for the terminal."""

    def __init__(self, served: ServedUart, link: Path | None = None) -> None:
        """``link``: a symbolic link to make to the pty. Raises OSError."""
        super().__init__(served)
        self._master, self._slave = pty.openpty()
        self._link = link
        self._unsent = bytearray()
        self._writable = False
        tty.setraw(self._slave)
        attributes = termios.tcgetattr(self._slave)
        attributes[4] = attributes[5] = termios.B9600  # for programs that leave the rate alone
        termios.tcsetattr(self._slave, termios.TCSANOW, attributes)
        fcntl.ioctl(self._master, termios.TIOCPKT, array.array("i", [1]))
        os.set_blocking(self._master, False)
        self.address = os.ttyname(self._slave)
        if link is not None:
            try:
                if link.is_symlink():
                    link.unlink()
                link.symlink_to(self.address)
            except OSError:
                self._link = None
                self.close()
                raise
        self._selector.register(self._master, selectors.EVENT_READ, self._readable)
        self._replaced()

    def close(self) -> None:
        super().close()
        for each in (self._master, self._slave):
            if each >= 0:
                os.close(each)
        self._master = self._slave = -1
        link, self._link = self._link, None
        if link is not None:
            with contextlib.suppress(OSError):
                link.unlink()

    def _replaced(self) -> None:
        self.served.settings = UartSettings(INITIAL_BAUD, None)
        self.served.lines(power=True, rst=False)

    def _readable(self) -> None:
        try:
            packet = os.read(self._master, 65_536)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            if error.errno == errno.EIO:
                return  # cannot be: we hold the other end open
            self.ended = True
            return
        if not packet:
            return
        if packet[0] == _PACKET_DATA:
            baud = real_baud(self._master) or INITIAL_BAUD
            if baud != self.served.settings.baud:
                self.served.settings = replace(self.served.settings, baud=baud)
            if len(packet) > 1:
                self.served.received(packet[1:])
                self.on_asked()
        elif packet[0] & _FLUSHED_OUTPUT:
            self._unsent.clear()
            self.served.settings = UartSettings(real_baud(self._master) or INITIAL_BAUD, None)
            self.served.reset()
            self.on_asked()

    def _give(self) -> None:
        for data, _ in self.served.due():
            if len(self._unsent) < UNREAD_MOST:
                self._unsent += data
        if self._unsent:
            with contextlib.suppress(BlockingIOError, InterruptedError):
                del self._unsent[: os.write(self._master, self._unsent)]
        if bool(self._unsent) != self._writable:
            self._writable = bool(self._unsent)
            self._await_room(self._master, self._readable, room=self._writable)


class TtyLoop(UartLoop):
    """Serves one card on a real tty, whose other end is a terminal's UART with its I/O joined to ours."""

    idle_s = LINES_S

    def __init__(
        self, served: ServedUart, device: str, rst: str = "cts", *, rst_inverted: bool = False, parity: bool = True
    ) -> None:
        """``rst``: the incoming line (cts, dsr, dcd, ri) that is RST, on while the card runs; none: the card runs from the start.
        Raises SerialPortError.
        """
        if served.pacing is not Pacing.WIRED:
            raise ValueError("a card on a real tty is one of a real line: make its ServedUart with Pacing.WIRED")
        super().__init__(served)
        self.address = device
        self._rst, self._rst_inverted, self._parity = rst, rst_inverted, parity
        self._port = SerialPort(device, PortSettings(INITIAL_BAUD, "E" if parity else "N"), rts=True, dtr=True)
        self._echo = bytearray()
        self.lines: Callable[[], bool] = self._line
        """Whether RST is high."""
        self._selector.register(self._port.fileno(), selectors.EVENT_READ, self._readable)
        self._running = False
        self._replaced()

    def close(self) -> None:
        super().close()
        self._port.close()

    def _replaced(self) -> None:
        self._running = False
        self._look()

    def _line(self) -> bool:
        if self._rst == "none":
            return True
        on = self._port.line(self._rst)
        if on is None:
            return True  # a device without lines
        return on != self._rst_inverted

    def _look(self) -> None:
        try:
            running = self.lines()
        except SerialPortError:
            self.ended = True
            return
        if running != self._running:
            self._running = running
            self._echo.clear()
            if running:
                self._set(self._initial_baud())
                self.on_asked()
            self.served.lines(power=True, rst=running)

    def _initial_baud(self) -> int:
        return round(self.served.clock_hz / 372)

    def _readable(self) -> None:
        try:
            data = self._port.read().data
        except SerialPortError:
            self.ended = True
            return
        echo = self._echo
        own = 0
        while own < len(data) and own < len(echo) and data[own] == echo[own]:
            own += 1
        del echo[:own]
        if data[own:]:
            echo.clear()  # somebody else spoke at the same time
            self.served.received(data[own:])
            self.on_asked()

    def _give(self) -> None:
        for data, etu in self.served.due():
            self._set(self._baud(etu))
            self._echo += data
            try:
                self._port.write(data)
            except SerialPortError:
                self.ended = True
                return
        own = self.served.end.etu
        if self._running and own and not self.served.waiting and self._baud(own) != self.served.settings.baud:
            self._set(self._baud(own))  # after PPS the card listens at the new rate

    def _baud(self, etu: int) -> int:
        return round(self.served.engine.timebase.hz / etu)

    def _set(self, baud: int) -> None:
        right = "E" if self.served.convention is Convention.DIRECT else "O"
        settings = PortSettings(baud, right if self._parity else "N")
        self.served.settings = UartSettings(baud, None)
        if settings == self._port.settings:
            return
        try:
            self._port.drain()
            self._port.set(settings)
        except SerialPortError:
            self.ended = True
