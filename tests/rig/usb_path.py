"""Raw USB for tests of faults: a told card in a reader of ours, in a port of the guest, in which the bench runs."""

import os
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Final

from bench.ccid.codes import MessageType
from bench.engine import Timebase, VirtualEngine
from bench.readers.faults import Fault
from bench.serve.usb_reader import ServedUsbReader
from bench.serve.usbredir_loop import UsbredirLoop
from tests.guest.machine import Guest, Job, Plugged
from tests.rig.lab import Trial
from tests.rig.told_card import BYTE_READ, Serving, ToldContacts

CLOCK_HZ: Final = 4_000_000
DEVICE: Final = "08e6:3437"
RIG: Final = f"""station: lab
rigs:
  - name: lab-usb
    reader: {{kind: usb, device: "{DEVICE}:0001"}}
    cards: [{{profile: plain}}]
    poll_ms: {{first: 5, longest: 20}}
"""
HOLDER: Final = f"""
import sys
from bench.readers.usb import UsbWanted, find
pipes = find(UsbWanted.parse("{DEVICE}")).open()
print("held", flush=True)
sys.stdin.read()
pipes.close()
"""


class GuestProcess:
    """``cardbench run`` in the guest, as ``lab`` needs a process."""

    def __init__(self, job: Job, log: Path) -> None:
        self._job = job
        self._log = log

    def poll(self) -> int | None:
        self._log.write_text(self._job.stdout + self._job.stderr)
        return self._job.status

    def wait(self, timeout: float | None = None) -> int:
        status = self._job.wait(60 if timeout is None else timeout).status
        self.poll()
        return status

    def kill(self) -> None:
        self._job.signal(signal.SIGKILL)


class UsbPath:
    """A reader that can be broken."""

    name = "usb-guest"
    rig = RIG
    environment: ClassVar[Mapping[str, str]] = {}
    slow = False
    patience = 10.0
    """Python runs slowly in the guest."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self.folder = guest.share
        self._socket = Path(tempfile.mkdtemp(prefix="cardbench-usb-")) / "reader"
        self._holder: Job | None = None
        self._spoil: Callable[[bytes], bytes] | None = None

    def __enter__(self) -> "UsbPath":
        engine = VirtualEngine(Timebase.for_clocks(CLOCK_HZ))
        self.card = ToldContacts(engine, CLOCK_HZ)
        self.reader = ServedUsbReader(engine, [self.card], clocks_hz=(CLOCK_HZ,))
        say = self.reader.firmware.on_message

        def said(message: bytes) -> None:
            spoil = self._spoil
            if spoil is not None and message[0] == MessageType.DATA_BLOCK:
                self._spoil = None
                message = spoil(message)
            say(message)

        self.reader.firmware.on_message = said
        self.loop = UsbredirLoop(self._socket, self.reader)
        self.serving = Serving(self.loop)
        self._plugged: Plugged = self.guest.plug(self._socket)
        self._mode("666")  # for whoever is not root
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._let_go()
        self._plugged.unplug()
        self.serving.stop()
        os.rmdir(self._socket.parent)

    def launch(self, command: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path) -> GuestProcess:
        """Run the bench where the reader is."""
        kept = {name: value for name, value in environment.items() if name not in os.environ or name == "PYTHONPATH"}
        return GuestProcess(self.guest.start(command, kept, folder), log)

    def arm(self, during: Callable[[], bytes | None] | None) -> None:
        self.card.armed = during

    def trial(self, fault: Fault) -> Trial:
        return {
            Fault.ABSENT: Trial(
                fault,
                r"absent: the card was pulled from .*; put it back",
                during=lambda: self._soon(self.reader.pull),
                after=lambda: self.serving.do(self.reader.insert),
            ),
            Fault.READER: Trial(
                fault,
                r"reader gone: .* the reader was unplugged; plug it in again",
                during=lambda: self._soon(self.loop.unplug),
                after=self._plug,
            ),
            Fault.BUSY: Trial(
                fault,
                r"device busy: .* holds the reader; end that program, or use another reader",
                before=self._hold,
                after=self._let_go,
            ),
            Fault.TRUNCATED: Trial(
                fault,
                r"truncated answer: RDR_to_PC message, offset 1: .*; unplug the reader and plug it in again",
                during=lambda: self._answer_spoiled(lambda message: message[:-1]),
            ),
            Fault.GARBLED: Trial(
                fault,
                r"garbled answer: DATA_BLOCK, offset 6: bSeq .*; unplug the reader and plug it in again",
                during=lambda: self._answer_spoiled(
                    lambda message: message[:6] + bytes((message[6] ^ 0x80,)) + message[7:]
                ),
            ),
            Fault.DENIED: Trial(
                fault,
                r"permission denied: .*: this user may not open /dev/bus/usb/.*; run as root, or add a udev rule",
                lasting=True,
                as_nobody=True,
                before=lambda: self._mode("600"),
            ),
            Fault.FROZEN: Trial(
                fault,
                r"driver hangs: no answer to XFR_BLOCK within .* s; unplug the reader and plug it in again",
                lasting=True,
                during=lambda: self._answer_spoiled(lambda _message: b""),
            ),
        }[fault]

    def _soon(self, order: Callable[[], object]) -> None:
        self.serving.soon(order)

    def _answer_spoiled(self, how: Callable[[bytes], bytes]) -> bytes:
        """From inside the card."""
        self._spoil = how
        return BYTE_READ

    def _mode(self, mode: str) -> None:
        """Who may open the device, once it is there."""
        find = "grep -ls 3437 /sys/bus/usb/devices/*/idProduct | xargs -rn1 dirname"
        words = (
            f"for n in $(seq 100); do for d in $({find}); do read -r b <$d/busnum; read -r a <$d/devnum; "
            f"node=$(printf /dev/bus/usb/%03d/%03d $b $a); [ -e $node ] && chmod {mode} $node && exit 0; done; sleep 0.05; done; exit 1"
        )
        self.guest.run(["sh", "-c", words]).checked()

    def _plug(self) -> None:
        self.serving.do(self.loop.plug)
        self._mode("666")

    def _hold(self) -> None:
        self._holder = self.guest.start([sys.executable, "-c", HOLDER])
        self._holder.wait_for("held", 180)

    def _let_go(self) -> None:
        holder, self._holder = self._holder, None
        if holder is not None:
            holder.close_input()
            holder.wait(60)
