"""A serial port and its two threads: one reads, one does everything else that may block, in the order it is asked for.

Whoever uses it is told in events of its engine. RST and the supply are lines of the port, and a pty's have a stand-in.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from bench.engine import MonotonicEngine
from bench.readers.serial_adapter import Chunk, PortSettings, SerialPort, is_pty
from bench.readers.serial_errors import SerialPortError, SerialTrouble
from bench.readers.threads import DriverThread

LOCAL_PATIENCE_NS: Final = 500 * 10**6
"""A busy machine's scheduling, and a USB adapter that hands over what it has every 16 ms."""
NETWORK_PATIENCE_NS: Final = 1500 * 10**6
"""A network, and pyserial's client, which looks every 50 ms whether a line has been switched."""
LOCAL_RESOLUTION_NS: Final = 1_000_000
NETWORK_RESOLUTION_NS: Final = 5_000_000
"""What a stamp resolves: the thread that reads is woken when characters are handed over, not when they end."""
RESET_HOLD_S: Final = 0.05
"""How long RST is low: far above 400 cycles (6.2.2), and above what a USB adapter needs to pass a line on."""
RESET_HOLD_FAST_S: Final = 0.01
"""The same where nothing but software is at the other end (a pty), or the way itself takes longer (a network)."""
LINES_EVERY_S: Final = 0.02
"""How often the detect line is looked at."""
OPEN_LIMIT_NS: Final = 15 * 10**9
WRITE_LIMIT_NS: Final = 10 * 10**9
CLOSE_S: Final = 5.0
_NEVER_NS: Final = 1 << 63

Detect = Literal["none", "cts", "dsr", "dcd", "ri"]


@dataclass(frozen=True, slots=True)
class SerialOptions:
    """How the adapter is wired."""

    reset: Literal["rts", "dtr"] = "rts"
    """The line that drives RST."""
    reset_inverted: bool = False
    """False: RST is low while that line is on."""
    detect: Detect = "none"
    """The line that tells whether a card is there."""
    detect_inverted: bool = False
    """False: the line is on while a card is there."""
    echo: bool | None = True
    """Whether what is sent comes back; None finds out with the first characters sent."""
    parity: Literal["even", "none"] = "even"
    """What the port can do; on a pty, which carries none, it is none whatever is said here. (Even is odd for a card of the inverse convention.)"""
    classes: str = "A"
    """The operating class that the adapter supplies."""
    patience_ns: int | None = None
    """What is added to every waiting time; None chooses by the kind of port."""


class LineUser(Protocol):
    """Who is told, in events."""

    def characters_read(self, chunk: Chunk, stamp_ns: int) -> None:
        """Characters of a card that has not been reset since; ``stamp_ns`` is the monotonic clock's time of reading."""

    def card_moved(self, present: bool) -> None:
        """The detect line says something else than before."""

    def port_failed(self, error: Exception) -> None:
        """What was asked of the port did not work: SerialPortError or DriverHungError; or the port is gone."""

    def port_hangs(self, cause: str) -> None:
        """A call did not return: the port is of no use any more. Once."""


class SerialLine:
    """One port, opened when it is first needed, and anew after it was let go. Call it in events; ``close`` outside the engine."""

    def __init__(self, engine: MonotonicEngine, url: str, options: SerialOptions, user: LineUser) -> None:
        self.engine = engine
        self.url = url
        self.options = options
        pty = is_pty(url)
        self.local = local = "://" not in url or url.startswith("hwgrep://")
        """Whether it is a port of this machine."""
        self.parity = options.parity != "none" and not pty
        """Whether it carries any."""
        self.resolution_ns = LOCAL_RESOLUTION_NS if local else NETWORK_RESOLUTION_NS
        patience = LOCAL_PATIENCE_NS if local else NETWORK_PATIENCE_NS
        self.patience_ns = patience if options.patience_ns is None else options.patience_ns
        self.present: bool | None = None
        """What the detect line says; None where there is none, or it has said nothing."""
        self._user = user
        self._hold_s = RESET_HOLD_S if local and not pty else RESET_HOLD_FAST_S
        self._thread = DriverThread(engine, url, user.port_hangs)
        self._thread.on_back = self._shut  # or the port stays taken
        self._epoch = 0
        """Counts openings: what fails of one before is no concern of the next."""
        self._port: SerialPort | None = None
        self._reading: threading.Thread | None = None
        self._stop = threading.Event()
        self._supplied = False
        self._listening_ns = _NEVER_NS
        """Characters read before this moment are of no card that has been reset since."""

    @property
    def hung(self) -> str:
        """Empty, or the call that did not return."""
        return self._thread.hung

    def open(self, settings: PortSettings, done: Callable[[], None], failed: Callable[[Exception], None]) -> None:
        """Open the port where it is not; RST is low then, and no supply given."""
        self._epoch += 1
        what = f"opening {self.url}"
        self._thread.submit(what, lambda: self._open(settings), lambda _: done(), failed, OPEN_LIMIT_NS)

    def switch(self, power: bool, rst: bool, settings: PortSettings) -> None:
        """Switch RST (True is high) and the supply; at low RST the port is set, at high RST all that was read before is forgotten."""
        what = f"switching the lines of {self.url}"
        self._thread.submit(what, lambda: self._switch(power, rst, settings), _nobody, self._failing(), OPEN_LIMIT_NS)

    def deafen(self) -> None:
        """Nothing that is read concerns anybody until RST has risen."""
        self._listening_ns = _NEVER_NS

    def job(self, what: str, work: Callable[[SerialPort], None], done: Callable[[], None] | None = None) -> None:
        """Have something done with the port, after what was asked for before; ``done`` comes as an event."""

        def run() -> None:
            if self._port is None:
                raise SerialPortError(SerialTrouble.GONE, f"{self.url} has been closed")
            work(self._port)

        self._thread.submit(what, run, lambda _: done() if done is not None else None, self._failing(), WRITE_LIMIT_NS)

    def let_go(self) -> None:
        """Close the port."""
        self._thread.submit(f"closing {self.url}", self._shut, _nobody, _nobody, OPEN_LIMIT_NS)

    def close(self) -> bool:
        """Close the port for good. False where a call does not return, so that its thread was abandoned."""
        self.engine.call(self.let_go)
        return self._thread.close(CLOSE_S)

    # -- events ----------------------------------------------------------------------------------------------------------

    def _failing(self) -> Callable[[Exception], None]:
        """What to do with a failure of a job that is given to the port now."""
        epoch = self._epoch
        return lambda error: self._user.port_failed(error) if epoch == self._epoch else None

    def _read_in(self, chunk: Chunk, stamp_ns: int) -> None:
        if stamp_ns >= self._listening_ns:
            self._user.characters_read(chunk, stamp_ns)

    def _moved(self, present: bool) -> None:
        before, self.present = self.present, present
        if before is not None and before != present:
            self._user.card_moved(present)

    def _gone(self, port: SerialPort, error: SerialPortError) -> None:
        """The thread that reads has ended."""
        if port is self._port and not self._stop.is_set():
            self._user.port_failed(error)

    # -- in the port's threads -------------------------------------------------------------------------------------------

    def _open(self, settings: PortSettings) -> None:
        if self._port is not None:
            return
        options = self.options
        low = not options.reset_inverted
        rts, dtr = (low, False) if options.reset == "rts" else (False, low)
        port = SerialPort(self.url, settings, rts=rts, dtr=dtr)
        self.present = self._detected(port) if options.detect != "none" else None
        self._stop = threading.Event()
        self._supplied = False
        self._port = port
        self._reading = threading.Thread(
            target=self._read, args=(port, self._stop), name=f"reading {self.url}", daemon=True
        )
        self._reading.start()

    def _shut(self) -> None:
        port, self._port = self._port, None
        if port is None:
            return
        self._stop.set()
        if self._reading is not None:
            self._reading.join(CLOSE_S)
        port.close()

    def _switch(self, power: bool, rst: bool, settings: PortSettings) -> None:
        port = self._port
        if port is None:
            return
        options = self.options
        holds = (not rst) != options.reset_inverted
        if not rst:
            self._lines(port, holds, power)
            port.set(settings)
            return
        if not self._supplied:
            self._lines(port, not options.reset_inverted, True)
        time.sleep(self._hold_s)
        port.discard()
        self._listening_ns = time.monotonic_ns()
        if port.is_pty or not port.local:
            port.drop_unsent()  # a pty has no lines: this is what a card served on one takes for a reset
        self._lines(port, holds, power)

    def _lines(self, port: SerialPort, reset: bool, supply: bool) -> None:
        self._supplied = supply
        if self.options.reset == "rts":
            port.lines(rts=reset, dtr=supply)
        else:
            port.lines(rts=supply, dtr=reset)

    def _read(self, port: SerialPort, stop: threading.Event) -> None:
        looks = self.options.detect != "none"
        looked = time.monotonic()
        present = self.present
        try:
            while not stop.is_set():
                chunk = port.read()
                stamp = time.monotonic_ns()
                if chunk.data:
                    self.engine.post(lambda chunk=chunk, stamp=stamp: self._read_in(chunk, stamp))  # type: ignore[misc]
                if looks and stamp / 1e9 - looked >= LINES_EVERY_S:
                    looked = stamp / 1e9
                    now = self._detected(port)
                    if now is not None and now != present:
                        present = now
                        self.engine.post(lambda now=now: self._moved(now))  # type: ignore[misc]
        except SerialPortError as error:
            gone = error
            self.engine.post(lambda: self._gone(port, gone))

    def _detected(self, port: SerialPort) -> bool | None:
        on = port.line(self.options.detect)
        return None if on is None else on != self.options.detect_inverted


def _nobody(_: object) -> None:
    pass
