"""The serial paths for tests of faults: a told card behind a port over TCP (RFC 2217), and behind a pty."""

import socket
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar, Final

from bench.engine import Timebase, VirtualEngine
from bench.readers.faults import Fault
from bench.readers.serial_adapter import PortSettings, SerialPort
from bench.serve.rfc2217_loop import Rfc2217Loop
from bench.serve.tty import PtyLoop
from bench.serve.uart import ServedUart
from bench.serve.uart_loop import UartLoop
from tests.rig.lab import OnThisMachine, Trial
from tests.rig.told_card import Serving, ToldContacts

CLOCK_HZ: Final = 3_571_200
FROZEN_S: Final = 20.0
"""Longest that a served card stays frozen, should a test forget it."""


class SerialPath(OnThisMachine):
    """A port that can be broken."""

    name: ClassVar[str]
    environment: ClassVar[Mapping[str, str]] = {}
    rig: str

    def __enter__(self) -> "SerialPath":
        self._thaw = threading.Event()
        self._begin()
        return self

    def __exit__(self, *_error: object) -> None:
        self._go_on()
        self.serving.stop()

    def arm(self, during: Callable[[], bytes | None] | None) -> None:
        self.card.armed = during

    def trial(self, fault: Fault) -> Trial:
        return self._trials()[fault]

    # -- for who inherits ----------------------------------------------------------------------------------------------

    def _loop(self, served: ServedUart) -> UartLoop:
        raise NotImplementedError

    def _trials(self) -> dict[Fault, Trial]:
        return {
            Fault.READER: Trial(
                Fault.READER,
                r"reader gone: .* (is gone|did not|does not|did not take).*; plug the adapter in again, or restart the server, then run again",
                during=self._unplug,
                after=self._plug,
            ),
            Fault.FROZEN: Trial(
                Fault.FROZEN,
                r"reader fault: of \d+ characters sent to .* came back 0 of them; see that TxD and RxD are joined",
                during=self._freeze,
                after=self._go_on,
            ),
            Fault.TRUNCATED: Trial(
                Fault.TRUNCATED,
                r"reader fault: of 5 characters sent to .* came back 3 of them; see that TxD and RxD are joined",
                during=lambda: self._spoil(lambda echo: echo[:3]),
            ),
            Fault.GARBLED: Trial(
                Fault.GARBLED,
                r"reader fault: of 5 characters sent to .* came back 13 B0 .* instead; see that TxD and RxD are joined",
                during=lambda: self._spoil(lambda echo: b"\x13" + echo[1:]),
            ),
        }

    # -- hands ---------------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        engine = VirtualEngine(Timebase.for_clocks(CLOCK_HZ))
        self.card = ToldContacts(engine, CLOCK_HZ)
        self.served = ServedUart(self.card, engine, CLOCK_HZ)
        self.loop = self._loop(self.served)
        self.loop.idle_s = 0.005
        self.serving = Serving(self.loop)

    def _unplug(self) -> None:
        """From inside the card: the loop ends, and with it the port."""
        self.serving.end_soon()

    def _plug(self) -> None:
        self.serving.stop()
        self._begin()

    def _freeze(self) -> None:
        """From inside the card: it, and all that serves it, stands still."""
        self._thaw.wait(FROZEN_S)

    def _go_on(self) -> None:
        self._thaw.set()
        self._thaw = threading.Event()
        self._recovered()

    def _recovered(self) -> None:
        """Wait until whoever was there when it stood still has left."""

    def _spoil(self, how: Callable[[bytes], bytes]) -> None:
        """From inside the card: what goes back of the characters that were just sent, and nothing after it."""
        served = self.served
        due = served.due

        def spoiled() -> list[tuple[bytes, int]]:
            del served.due  # type: ignore[attr-defined]
            return [(how(data), etu) for data, etu in due()]

        served.due = spoiled  # type: ignore[method-assign]


class Rfc2217Path(SerialPath):
    """Reset, supply and card-detect are lines of the port."""

    name = "serial-rfc2217"
    slow = True

    def __init__(self) -> None:
        self._port = 0
        self._holder: socket.socket | None = None
        self.rig = ""

    def _loop(self, served: ServedUart) -> UartLoop:
        loop = Rfc2217Loop(served, port=self._port)
        self._port = loop.port
        self.rig = f"""station: lab
rigs:
  - name: lab-serial
    reader: {{kind: serial, port: "{loop.address}", clock_hz: {CLOCK_HZ}, reset: rts, detect: cts}}
    cards: [{{profile: plain}}]
    poll_ms: {{first: 5, longest: 20}}
"""
        return loop

    def _trials(self) -> dict[Fault, Trial]:
        return super()._trials() | {
            Fault.ABSENT: Trial(
                Fault.ABSENT,
                r"absent: the card was pulled .*; put it back",
                during=self._pull,
                after=lambda: self.serving.do(self.loop.insert),
            ),
            Fault.BUSY: Trial(
                Fault.BUSY,
                r"device busy: the server of .* hangs up at once, saying 'Port already in use': .*; end the program that holds the port",
                before=self._hold,
                after=self._let_go,
            ),
            Fault.FROZEN: Trial(
                Fault.FROZEN,
                r"driver hangs: the server of .* does not answer: .*; restart the server that serves the port",
                lasting=True,
                during=self._freeze,
            ),
        }

    def _pull(self) -> None:
        self.serving.soon(self.loop.pull)

    def _hold(self) -> None:
        """Another client, once the one before has left."""
        self._until(taken=False)
        self._holder = socket.create_connection(("127.0.0.1", self._port))
        self._until(taken=True)

    def _let_go(self) -> None:
        assert self._holder is not None
        self._holder.close()
        self._until(taken=False)

    def _until(self, *, taken: bool) -> None:
        limit = time.monotonic() + FROZEN_S
        while self.loop.taken is not taken:
            assert time.monotonic() < limit
            time.sleep(0.005)

    def _recovered(self) -> None:
        limit = time.monotonic() + FROZEN_S
        while self.loop.taken and time.monotonic() < limit:
            time.sleep(0.05)


class PtyPath(SerialPath):
    """No lines; opened like any local port."""

    name = "serial-pty"

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="cardbench-pty-")
        self._link = Path(self._folder.name) / "port"
        self._holder: SerialPort | None = None
        self.rig = f"""station: lab
rigs:
  - name: lab-serial
    reader: {{kind: serial, port: "{self._link}", clock_hz: {CLOCK_HZ}, parity: none}}
    cards: [{{profile: plain}}]
    poll_ms: {{first: 5, longest: 20}}
"""

    def __enter__(self) -> "PtyPath":
        Path(self._folder.name).chmod(0o755)  # for whoever is not root
        super().__enter__()
        return self

    def __exit__(self, *_error: object) -> None:
        self._let_go()
        super().__exit__()
        self._folder.cleanup()

    def _loop(self, served: ServedUart) -> UartLoop:
        loop = PtyLoop(served, self._link)
        Path(loop.address).chmod(0o666)
        return loop

    def _trials(self) -> dict[Fault, Trial]:
        return super()._trials() | {
            Fault.BUSY: Trial(
                Fault.BUSY,
                r"device busy: .* is used by another program; end the program that holds the port",
                before=self._hold,
                after=self._let_go,
            ),
            Fault.DENIED: Trial(
                Fault.DENIED,
                r"permission denied: .* cannot be opened: .*; join the group that owns the port",
                lasting=True,
                as_nobody=True,
                before=lambda: Path(self.loop.address).chmod(0o600),
            ),
        }

    def _hold(self) -> None:
        self._holder = SerialPort(str(self._link), PortSettings(9600, "N"))

    def _let_go(self) -> None:
        holder, self._holder = self._holder, None
        if holder is not None:
            holder.close()
