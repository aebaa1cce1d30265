"""A reader of ours on a pty, libccid's serial driver and pcscd at the other end, and a pyscard program that does as it is told.

The reader lives in a thread of the test, so that a test can look into the card and disturb its line while the others run.
"""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from bench.ccid.messages import Response, decode_response
from bench.engine import Timebase, VirtualEngine
from bench.iso7816.disturbance import Disturbance
from bench.rig.pcscd import Driver, PrivatePcscd
from bench.serve.gempc import DEFAULT_CLOCK_HZ, Model, ServedGempc
from bench.serve.gempc_loop import GempcLoop, Pty
from tests.readers.recording_card import RecordingCard

T = TypeVar("T")
PROGRAM = """
import sys
from smartcard.scard import *

def must(what, code):
    if code != SCARD_S_SUCCESS:
        raise RuntimeError(f"{what}: {SCardGetErrorMessage(code)}")

code, context = SCardEstablishContext(SCARD_SCOPE_USER)
must("context", code)
card = protocol = None

def do(word, *rest):
    global card, protocol
    if word == "readers":
        wanted = int(rest[0])
        names = []
        for _ in range(200):
            names = SCardListReaders(context, [])[1]
            if len(names) >= wanted:
                break
            SCardGetStatusChange(context, 50, [("\\\\\\\\?PnP?\\\\Notification", len(names) << 16)])
        return "|".join(names)
    if word in ("present", "absent"):
        name, flag = " ".join(rest), SCARD_STATE_PRESENT if word == "present" else SCARD_STATE_EMPTY
        known = SCARD_STATE_UNAWARE
        for _ in range(40):
            code, states = SCardGetStatusChange(context, 500, [(name, known)])
            if code != SCARD_E_TIMEOUT:
                must("status", code)
            known = states[0][1]
            if known & flag:
                return bytes(states[0][2]).hex()
        raise RuntimeError(f"never {word}")
    if word == "connect":
        code, card, protocol = SCardConnect(
            context, " ".join(rest), SCARD_SHARE_SHARED, SCARD_PROTOCOL_T0 | SCARD_PROTOCOL_T1)
        must("connect", code)
        return str(protocol >> 1)
    if word == "reset":
        code, protocol = SCardReconnect(
            card, SCARD_SHARE_SHARED, SCARD_PROTOCOL_T0 | SCARD_PROTOCOL_T1, SCARD_UNPOWER_CARD)
        must("reconnect", code)
        return str(protocol >> 1)
    if word == "send":
        pci = SCARD_PCI_T1 if protocol == SCARD_PROTOCOL_T1 else SCARD_PCI_T0
        code, answer = SCardTransmit(card, pci, list(bytes.fromhex(rest[0])))
        must("transmit", code)
        return bytes(answer).hex()
    if word == "leave":
        must("disconnect", SCardDisconnect(card, SCARD_LEAVE_CARD))
        return ""
    raise RuntimeError(word)

for line in sys.stdin:
    try:
        print("ok", do(*line.split()), flush=True)
    except Exception as error:
        print("failed", error, flush=True)
"""


class ProgramError(Exception):
    """What PC/SC told the program."""


class Program:
    """The pyscard program, which knows nothing of the bench."""

    def __init__(self, daemon: PrivatePcscd) -> None:
        self._process = subprocess.Popen(
            (sys.executable, "-c", PROGRAM),
            env={**os.environ, "PCSCLITE_CSOCK_NAME": str(daemon.socket)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def do(self, *words: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(" ".join(words) + "\n")
        self._process.stdin.flush()
        how, _, rest = self._process.stdout.readline().rstrip("\n").partition(" ")
        if how != "ok":
            raise ProgramError(rest)
        return rest

    def send(self, command: bytes) -> bytes:
        return bytes.fromhex(self.do("send", command.hex()))

    def stop(self) -> None:
        self._process.communicate(timeout=10)


@dataclass(frozen=True, slots=True)
class Slotted:
    """A card to be in a slot: how to make it."""

    slot: int
    make: Callable[[VirtualEngine], RecordingCard]


class SerialStand:
    """All of it; ``close`` leaves nothing behind. ``on_line`` runs something where the reader lives."""

    def __init__(
        self, cards: Sequence[Slotted], model: Model = Model.TWIN, disturbance: Disturbance | None = None
    ) -> None:
        engine = VirtualEngine(Timebase.for_clocks(DEFAULT_CLOCK_HZ))
        self.cards = {each.slot: each.make(engine) for each in cards}
        ends = [self.cards[slot].contacts if slot in self.cards else None for slot in range(model.value.slots)]
        self.served = ServedGempc(engine, ends, model)
        self.said: list[Response] = []
        """Every message of bulk IN."""
        say = self.served.firmware.on_message

        def noted(message: bytes) -> None:
            self.said.append(decode_response(message))
            say(message)

        self.served.firmware.on_message = noted
        self.port = Pty()
        self.loop = GempcLoop(self.port, self.served)
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._wake, self._woken = os.pipe()
        self._stop = False
        self.loop.watch(self._wake, self._run_jobs)
        self._thread = threading.Thread(target=lambda: self.loop.run(lambda: self._stop), name="reader")
        self._thread.start()
        self.daemon = PrivatePcscd()
        self.program: Program | None = None
        try:
            self.daemon.start(Driver.serial(self.port.address, model.value.name))
            self.program = Program(self.daemon)
            self.readers = self.program.do("readers", str(model.value.slots)).split("|")
            if disturbance is not None:
                self.disturb(disturbance)
        except BaseException:
            self.close()
            raise

    @property
    def card(self) -> RecordingCard:
        """The one in the first slot."""
        return self.cards[0]

    def connect(self, slot: int = 0) -> int:
        """Gives the protocol."""
        assert self.program is not None
        self.program.do("present", self.readers[slot])
        return int(self.program.do("connect", self.readers[slot]))

    def send(self, command: bytes) -> bytes:
        assert self.program is not None
        return self.program.send(command)

    def disturb(self, disturbance: Disturbance | None, slot: int = 0) -> None:
        self.on_line(lambda: self.served.slots[slot].disturb(disturbance))

    def on_line(self, function: Callable[[], T]) -> T:
        """Run it between two events of the reader."""
        results: queue.SimpleQueue[T] = queue.SimpleQueue()
        self._jobs.put(lambda: results.put(function()))
        os.write(self._woken, b"!")
        return results.get(timeout=10)

    def close(self) -> None:
        if self.program is not None:
            self.program.stop()
        self.daemon.remove()
        self._stop = True
        os.write(self._woken, b"!")
        self._thread.join(timeout=10)
        assert not self._thread.is_alive()
        for file in (self._wake, self._woken):
            os.close(file)
        self.port.close()

    def _run_jobs(self) -> None:
        os.read(self._wake, 4096)
        while not self._jobs.empty():
            self._jobs.get()()
