"""The PC/SC path for tests of faults: a pcscd of our own with vpcd, and a card that answers what a test tells it to."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

from bench.readers.faults import Fault
from bench.rig.pcscd import READER, Driver, PrivatePcscd
from tests.processes import freeze
from tests.rig.lab import OnThisMachine, Trial

ATR: Final = bytes.fromhex("3B00")
READ_BINARY: Final = bytes.fromhex("00B0")
SOUND: Final = bytes.fromhex("559000")
PATIENCE_S: Final = 1
RIG: Final = f"""station: lab
rigs:
  - name: lab-pcsc
    reader: {{kind: pcsc, name: {READER}, patience: {PATIENCE_S} s}}
    cards: [{{profile: plain}}]
    poll_ms: {{first: 5, longest: 20}}
"""
HOLDER: Final = """
import sys
from smartcard.System import readers
from smartcard.scard import SCARD_SHARE_EXCLUSIVE
connection = readers()[0].createConnection()
connection.connect(mode=SCARD_SHARE_EXCLUSIVE)
print("held", flush=True)
sys.stdin.read()
connection.disconnect()
"""


class ToldCard:
    """A card at vpcd, in a thread: it answers what it was made with, but for READ BINARY while a test has armed another answer."""

    def __init__(self, port: Callable[[], int], answer: Callable[[bytes], bytes] = lambda _command: SOUND) -> None:
        self._answer = answer
        self.armed: Callable[[], bytes | None] | None = None
        self._port = port
        self._in = threading.Event()
        self._in.set()
        self._over = False
        self._connection: socket.socket | None = None
        self._thread = threading.Thread(target=self._main, name="told card", daemon=True)
        self._thread.start()

    def insert(self) -> None:
        self._in.set()

    def pull(self) -> None:
        self._in.clear()
        self._hang_up()

    def close(self) -> None:
        self._over = True
        self._in.set()
        self._hang_up()
        self._thread.join(5)
        assert not self._thread.is_alive()

    def _hang_up(self) -> None:
        connection = self._connection
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _main(self) -> None:
        while not self._over:
            self._in.wait()
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port()), 1) as connection:
                connection.settimeout(None)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._connection = connection
                self._serve(connection)
            self._connection = None
            time.sleep(0.01)

    def _serve(self, connection: socket.socket) -> None:
        while not self._over and self._in.is_set():
            message = _take(connection, int.from_bytes(_take(connection, 2), "big"))
            if message == b"\x04":
                answer: bytes | None = ATR
            elif len(message) == 1:
                continue
            elif message[:2] == READ_BINARY and self.armed is not None:
                answer = self.armed()
            else:
                answer = self._answer(message)
            if answer is None:
                return
            connection.sendall(len(answer).to_bytes(2, "big") + answer)


def _take(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise OSError("vpcd has gone")
        data += more
    return data


class PcscPath(OnThisMachine):
    """pcscd, vpcd's reader and a card in it."""

    name = "pcsc"
    rig = RIG

    def __init__(self) -> None:
        self.daemon = PrivatePcscd()
        self.environment = {"PCSCLITE_CSOCK_NAME": str(self.daemon.socket)}
        self.holder: subprocess.Popen[str] | None = None

    def __enter__(self) -> "PcscPath":
        self.daemon.start()
        self.daemon.directory.chmod(0o755)  # for whoever is not root
        self.card = ToldCard(lambda: self.daemon.port)
        return self

    def __exit__(self, *_error: object) -> None:
        self._let_go()
        pid = self.daemon.pid
        if pid is not None:
            os.kill(pid, signal.SIGCONT)
        self.card.close()
        self.daemon.remove()

    def arm(self, during: Callable[[], bytes | None] | None) -> None:
        self.card.armed = during

    def trial(self, fault: Fault) -> Trial:
        return {
            Fault.ABSENT: Trial(
                fault, r"absent: the card was pulled \(.*\); put it back", during=self._pull, after=self.card.insert
            ),
            Fault.DAEMON: Trial(
                fault,
                r"pcscd gone: .*(start it again|power the card again)",
                during=self._kill_daemon,
                after=self.daemon.start,
            ),
            Fault.READER: Trial(
                fault,
                r"reader gone: .* no reader matches .*; plug it in and see whether pcscd lists it",
                before=self._without_reader,
                after=self.daemon.start,
            ),
            Fault.FROZEN: Trial(
                fault,
                rf"driver hangs: SCardTransmit of 00 B0 00 .. 01 .* has not returned for {PATIENCE_S} s; .*unplug it or restart pcscd",
                lasting=True,
                during=self._freeze,
            ),
            Fault.DENIED: Trial(
                fault,
                r"permission denied: pcscd refuses this user; this user may not open .*; run as root or let polkit allow it",
                lasting=True,
                before=self._deny,
                as_nobody=True,
            ),
            Fault.BUSY: Trial(
                fault,
                r"device busy: another program holds the card \(.*\); end that program",
                before=self._hold,
                after=self._let_go,
            ),
            Fault.TRUNCATED: Trial(
                fault,
                r"truncated answer: 00 B0 00 .. 01 came back with 1 bytes, without a status word; try another cable",
                during=lambda: b"\x90",
            ),
            Fault.GARBLED: Trial(
                fault,
                r"garbled answer: 00 B0 00 .. 01 came back with 1337, which is no status word; try another cable",
                during=lambda: b"\x55\x13\x37",
            ),
        }[fault]

    def _pull(self) -> None:
        self.card.pull()

    def _kill_daemon(self) -> None:
        pid = self.daemon.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

    def _without_reader(self) -> None:
        """The daemon comes up again, and its reader does not."""
        self.daemon.start(Driver.serial("/nonexistent", "GemPCTwin"))

    def _freeze(self) -> bytes:
        pid = self.daemon.pid
        assert pid is not None
        freeze(pid)
        return b"\x55\x90\x00"

    def _deny(self) -> None:
        self.daemon.socket.chmod(0o600)

    def _hold(self) -> None:
        self.holder = subprocess.Popen(
            (sys.executable, "-c", HOLDER),
            env={**os.environ, **self.environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.holder.stdout is not None
        assert self.holder.stdout.readline() == "held\n"

    def _let_go(self) -> None:
        holder, self.holder = self.holder, None
        if holder is not None:
            holder.communicate()
