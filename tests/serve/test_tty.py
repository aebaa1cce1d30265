"""The served card on terminal devices: a pty of its own, and a real tty, here the end of a line that two ptys are joined to."""

import contextlib
import fcntl
import os
import pty
import select
import struct
import termios
import threading
import time
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.readers.serial_adapter import PortSettings, SerialPort
from bench.readers.serial_errors import SerialPortError
from bench.serve.tty import PtyLoop, TtyLoop
from bench.serve.uart import Pacing
from tests.readers.test_serial import InverseProfile, echoed
from tests.serial_support import FAST, SELECT, Serving, card, served_uart, serving, terminal

pytestmark = pytest.mark.real


def test_the_pty_is_where_the_link_leads_and_both_go_with_the_card(tmp_path: Path) -> None:
    link = tmp_path / "reader"
    link.symlink_to("/nowhere")
    loop = PtyLoop(served_uart(card()), link)
    assert str(link.resolve()) == loop.address
    serving_ = Serving(loop)
    with terminal(str(link), FAST) as t:
        assert t.power_up().error == ""
    serving_.stop()
    assert not link.is_symlink()
    loop.close()


def test_a_file_is_not_taken_for_a_link(tmp_path: Path) -> None:
    file = tmp_path / "notes"
    file.write_text("mine", encoding="ascii")
    with pytest.raises(FileExistsError):
        PtyLoop(served_uart(card()), file)
    assert file.read_text(encoding="ascii") == "mine"


def test_any_program_resets_the_card_on_a_pty_by_dropping_its_output() -> None:
    with serving("pty", served_uart(card())) as served:
        file = os.open(served.loop.address, os.O_RDWR | os.O_NOCTTY)
        try:
            termios.tcflush(file, termios.TCIFLUSH)
            termios.tcflush(file, termios.TCOFLUSH)
            assert _read(file, len(card().atr)) == card().atr
            os.write(file, SELECT[:5])
            assert _read(file, 6) == SELECT[:5] + b"\xa4"
        finally:
            os.close(file)


def test_a_terminal_that_does_not_read_loses_characters_and_nothing_else() -> None:
    with serving("pty", served_uart(card())) as served:
        file = os.open(served.loop.address, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            for _ in range(400):
                with contextlib.suppress(BlockingIOError):
                    os.write(file, bytes(1000))
            served.call(lambda: None)  # it still lives
            termios.tcflush(file, termios.TCIOFLUSH)
            time.sleep(0.2)
            termios.tcflush(file, termios.TCIFLUSH)
            termios.tcflush(file, termios.TCOFLUSH)
            assert card().atr in _read(file, 4096, 0.5)
        finally:
            os.close(file)


def _read(file: int, count: int, seconds: float = 5) -> bytes:
    data = b""
    limit = time.monotonic() + seconds
    while len(data) < count and select.select([file], [], [], max(0.0, limit - time.monotonic()))[0]:
        data += os.read(file, count - len(data))
    return data


class JoinedLine:
    """Two ptys whose ends hear each other and themselves, as two UARTs whose TxD and RxD meet at one wire; RTS of the first is CTS of the second.

    Nothing but software is between them: a character takes no time. A pty has no RTS: dropping its output stands for a pulse on it.
    """

    def __init__(self) -> None:
        self.masters, self.slaves = zip(*(pty.openpty() for _ in range(2)), strict=True)
        self.pulse = threading.Event()
        self._rises = False
        self._end = threading.Event()
        for file in self.slaves:
            tty.setraw(file)
        for file in self.masters:
            fcntl.ioctl(file, termios.TIOCPKT, struct.pack("i", 1))
        self.terminal, self.card = (os.ttyname(file) for file in self.slaves)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def high(self) -> bool:
        """RST: low until the first pulse, and for one look at each."""
        if self.pulse.is_set():
            self.pulse.clear()
            self._rises = True
            return False
        return self._rises

    def _run(self) -> None:
        while not self._end.is_set():
            for master in select.select(self.masters, [], [], 0.02)[0]:
                packet = os.read(master, 4096)
                if packet[0] and master == self.masters[0] and packet[0] & 2:
                    self.pulse.set()
                elif not packet[0]:
                    for each in self.masters:
                        os.write(each, packet[1:])

    def close(self) -> None:
        self._end.set()
        self._thread.join()
        for file in (*self.masters, *self.slaves):
            os.close(file)


@pytest.fixture
def line() -> Iterator[JoinedLine]:
    joined = JoinedLine()
    yield joined
    joined.close()


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("protocol", [0, 1])
@pytest.mark.parametrize("ta1", [0x11, 0x18, 0x97])
def test_a_card_on_a_real_tty(line: JoinedLine, protocol: int, ta1: int, inverse: bool) -> None:
    profile = InverseProfile(b"I", ta1=ta1, protocols=(protocol,)) if inverse else card(ta1=ta1, protocols=(protocol,))
    loop = TtyLoop(served_uart(profile, pacing=Pacing.WIRED), line.card, parity=False)
    loop.lines = line.high
    served = Serving(loop)
    try:
        with terminal(line.terminal, ta1) as t:
            assert t.power_up().atr == profile.atr
            for size in (1, 100, 254):
                echoed(t, size)
            baud = round(3_571_200 / t.reader.atr.rate.etu_cycles)  # type: ignore[union-attr]
            assert loop.served.settings.baud == baud
            assert t.warm_reset().error == ""
            echoed(t, 20)
            assert t.faults == []
    finally:
        served.stop()


def test_a_tty_that_goes_ends_the_serving(line: JoinedLine) -> None:
    loop = TtyLoop(served_uart(card(), pacing=Pacing.WIRED), line.card, "none", parity=False)
    loop.turn()
    assert not loop.ended
    os.dup2(os.open("/dev/null", os.O_RDONLY), loop._port.fileno())  # as after an unplug: reads end
    loop._readable()
    assert loop.ended
    loop.close()


def test_what_is_no_tty_is_named() -> None:
    with pytest.raises(SerialPortError, match="/dev/null"):
        TtyLoop(served_uart(card(), pacing=Pacing.WIRED), "/dev/null")
    with pytest.raises(ValueError, match="WIRED"):
        TtyLoop(served_uart(card()), "/dev/null")


def test_two_programs_do_not_share_a_tty(line: JoinedLine) -> None:
    port = SerialPort(line.card, PortSettings(9600, "N"))
    try:
        with pytest.raises(SerialPortError, match="used by another program"):
            TtyLoop(served_uart(card(), pacing=Pacing.WIRED), line.card, parity=False)
    finally:
        port.close()
