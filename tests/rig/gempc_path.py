"""PC/SC over libccid for tests of faults: a told card in a GemPC Twin of ours on a pty, behind Debian's driver and a pcscd of our own."""

import os
import signal
import threading
from collections.abc import Callable
from typing import Final

from bench.ccid.codes import MessageType
from bench.engine import Timebase, VirtualEngine
from bench.readers.faults import Fault
from bench.rig.pcscd import Driver, PrivatePcscd
from bench.serve.gempc import DEFAULT_CLOCK_HZ, ServedGempc
from bench.serve.gempc_loop import GempcLoop, Pty
from tests.rig.lab import OnThisMachine, Trial
from tests.rig.pcsc_path import PATIENCE_S, RIG
from tests.rig.told_card import BYTE_READ, Serving, ToldContacts

FROZEN_S: Final = 20.0
"""Longest that the reader stays frozen, should a test forget it."""
HEADER: Final = 10
"""Bytes of a CCID message before its data."""


class GempcPath(OnThisMachine):
    """The driver's own T=0, its own reading of what the reader says."""

    name = "libccid"
    rig = RIG

    def __init__(self) -> None:
        self.daemon = PrivatePcscd()
        self.environment = {"PCSCLITE_CSOCK_NAME": str(self.daemon.socket)}
        self._thaw = threading.Event()
        self._spoiled: bytes | None = None

    def __enter__(self) -> "GempcPath":
        engine = VirtualEngine(Timebase.for_clocks(DEFAULT_CLOCK_HZ))
        self.card = ToldContacts(engine, DEFAULT_CLOCK_HZ)
        served = ServedGempc(engine, [self.card])
        self._say, served.firmware.on_message = served.firmware.on_message, self._said
        self.port = Pty()
        self.loop = GempcLoop(self.port, served)
        self.serving = Serving(self.loop)
        self._start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._thaw.set()
        pid = self.daemon.pid
        if pid is not None:
            os.kill(pid, signal.SIGCONT)
        self.daemon.remove()
        self.serving.stop()
        self.port.close()

    def arm(self, during: Callable[[], bytes | None] | None) -> None:
        self.card.armed = during

    def trial(self, fault: Fault) -> Trial:
        return {
            Fault.ABSENT: Trial(
                fault,
                r"absent: the card was pulled \(.*\); put it back",
                during=self._pull,
                after=lambda: self.serving.do(self.loop.insert),
            ),
            Fault.DAEMON: Trial(
                fault,
                r"pcscd gone: .*(start it again|power the card again)",
                during=self._kill_daemon,
                after=self._start,
            ),
            Fault.READER: Trial(
                fault,
                r"reader gone: .* no reader matches .*; plug it in and see whether pcscd lists it",
                before=lambda: self.daemon.start(Driver.serial("/nonexistent", "GemPCTwin")),
                after=self._start,
            ),
            Fault.TRUNCATED: Trial(
                fault,
                r"truncated answer: 00 B0 00 .. 01 came back with 1 bytes, without a status word; try another cable",
                during=lambda: self._spoil(b"\x90"),
            ),
            Fault.GARBLED: Trial(
                fault,
                r"garbled answer: 00 B0 00 .. 01 came back with 1337, which is no status word; try another cable",
                during=lambda: self._spoil(b"\x55\x13\x37"),
            ),
            Fault.FROZEN: Trial(
                fault,
                rf"driver hangs: SCardTransmit of 00 B0 00 .. 01 .* has not returned for {PATIENCE_S} s; .*unplug it or restart pcscd",
                lasting=True,
                during=self._freeze,
            ),
        }[fault]

    # -- hands ---------------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        self.daemon.start(Driver.serial(self.port.address, "GemPCTwin"))

    def _pull(self) -> None:
        """From inside the card."""
        self.serving.soon(self.loop.pull)

    def _kill_daemon(self) -> None:
        pid = self.daemon.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

    def _freeze(self) -> None:
        """From inside the card: it, and the reader that it is in, stand still."""
        self._thaw.wait(FROZEN_S)

    def _spoil(self, data: bytes) -> bytes:
        """The reader hands ``data`` to the driver instead of what the card is about to answer."""
        self._spoiled = data
        return BYTE_READ

    def _said(self, message: bytes) -> None:
        data, self._spoiled = self._spoiled, None
        if data is not None:
            assert message[0] == MessageType.DATA_BLOCK
            message = message[:1] + len(data).to_bytes(4, "little") + message[5:HEADER] + data
        self._say(message)
