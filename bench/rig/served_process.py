"""The process that serves the reference card, as the bench holds it: started here and given orders over its pipes, or running elsewhere (on the host
of a virtual machine that the bench runs in) and given orders through a port.
"""

import contextlib
import os
import selectors
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import bench
from bench.rig.errors import RigError, RigNotAble
from bench.rig.orders import AT, DONE, READY, REFUSED, SEEN, TOLD, Do, Order, ServeOrder, Told, decode_told
from bench.rig.pcscd import end, exit_text

ANSWER_WITHIN_S: Final = 60.0
"""A busy machine takes long to start a process; one that has ended is told at once."""
SEEN_WITHIN_S: Final = 20.0
"""pcscd looks every 400 ms, and may have to notice first that the card before is gone."""
NOTICE_S: Final = 0.05
"""How long the end of a process may take to be known after its socket broke."""
VIRTIO: Final = "virtio:"
VIRTIO_PORTS: Final = Path("/sys/class/virtio-ports")


class Orderly:
    """Gives orders over a pair of descriptors and waits for their answers. One thread at a time."""

    def __init__(self) -> None:
        self.address = ""
        """Where the card is offered; known after the first ``serve``."""
        self._heard = bytearray()
        self._seen = False

    @property
    def pid(self) -> int:
        """The process, where it is one of this machine; else 0."""
        return 0

    def ended(self, patience_s: float = 0.0) -> str:
        """How the process ended, empty while it runs or where that cannot be known."""
        del patience_s
        return ""

    def serve(self, order: ServeOrder) -> bytes:
        """Have a fresh chain made; gives its answer to reset. Raises RigNotAble, and RigError where the process does not answer."""
        return bytes.fromhex(self._ordered(Order(Do.SERVE, order), READY))

    def pull(self, card: int) -> None:
        """Have a card of the chain taken off its hop."""
        self._ordered(Order(Do.PULL, card=card), DONE)

    def insert(self, card: int) -> None:
        """Have it put back."""
        self._ordered(Order(Do.INSERT, card=card), DONE)

    def tell(self) -> Told:
        """What the first card sees of its line."""
        return decode_told(self._ordered(Order(Do.TELL), TOLD))

    def wait_seen(self) -> None:
        """Wait until somebody has asked for the card for the first time. Raises RigError."""
        if not self._seen:
            self._answer(SEEN, SEEN, SEEN_WITHIN_S)

    def stop(self) -> None:
        """End it, and wait until it is gone; one that runs elsewhere is left alone."""

    def _ordered(self, order: Order, wanted: str) -> str:
        self._write(order.encode().encode() + b"\n")
        word, rest = self._answer(wanted, REFUSED, ANSWER_WITHIN_S)
        if word == REFUSED:
            raise RigNotAble(rest)
        return rest

    def _answer(self, wanted: str, other: str, within_s: float) -> tuple[str, str]:
        limit = time.monotonic() + within_s
        while True:
            word, _, rest = self._line(limit, within_s).partition(" ")
            self._seen = self._seen or word == SEEN
            if word == AT:
                self.address = rest
            if word in (wanted, other):
                return word, rest

    def _line(self, limit: float, within_s: float) -> str:
        source = self._source
        with selectors.DefaultSelector() as selector:
            selector.register(source, selectors.EVENT_READ)
            while (end_of_line := self._heard.find(b"\n")) < 0:
                if not selector.select(max(0.0, limit - time.monotonic())):
                    raise RigError(f"the served card's process said nothing for {within_s:.0f} s")
                data = os.read(source, 4096)
                if not data:
                    raise RigError(self.ended(NOTICE_S) or "the served card's process has closed its output")
                self._heard += data
        line = self._heard[:end_of_line].decode(errors="replace")
        del self._heard[: end_of_line + 1]
        return line

    @property
    def _source(self) -> int:
        raise NotImplementedError

    def _write(self, data: bytes) -> None:
        raise NotImplementedError


class ServedProcess(Orderly):
    """A process of our own. Its standard input is its life: it ends with the bench."""

    def __init__(self, way: str, where: str, log: Path, level: str = "tpdu") -> None:
        super().__init__()
        self._log = log
        home = str(Path(bench.__file__).resolve().parents[1])
        setpriv = shutil.which("setpriv")
        dies = (setpriv, "--pdeathsig", "KILL") if setpriv is not None else ()  # even where it is stopped or stuck
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                (*dies, sys.executable, "-P", "-m", "bench.rig.served", "--level", level, way, where),
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (home, os.environ.get("PYTHONPATH"))))},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def ended(self, patience_s: float = 0.0) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            status = self._process.wait(patience_s)
            with contextlib.suppress(OSError):
                lines = self._log.read_text(errors="replace").splitlines()
                return f"the served card's process {exit_text(status)}" + (f": {lines[-1].strip()}" if lines else "")
            return f"the served card's process {exit_text(status)}"
        return ""

    def stop(self) -> None:
        process = self._process
        with contextlib.suppress(OSError):
            if process.stdin is not None:
                process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.5)
        end(process, 0.5)
        if process.stdout is not None:
            process.stdout.close()

    @property
    def _source(self) -> int:
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def _write(self, data: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
            self._process.stdin.flush()
        except OSError:
            raise RigError(self.ended(NOTICE_S) or "the served card's process takes no orders") from None


class ServedElsewhere(Orderly):
    """A process that is not ours: ``where`` is the path of a character device, or ``virtio:NAME`` for a port of this virtual machine."""

    def __init__(self, where: str) -> None:
        super().__init__()
        path = virtio_port(where.removeprefix(VIRTIO)) if where.startswith(VIRTIO) else Path(where)
        try:
            self._file = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError as error:
            raise RigError(f"orders to the served card at {path}: {error.strerror}") from None
        self._seen = True  # who is in another machine does not begin with us

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self._file)

    @property
    def _source(self) -> int:
        return self._file

    def _write(self, data: bytes) -> None:
        try:
            os.write(self._file, data)
        except OSError as error:
            raise RigError(f"the served card's process takes no orders: {error.strerror}") from None


def virtio_port(name: str) -> Path:
    """The device of this virtual machine's port ``name``. Raises RigError."""
    for place in sorted(VIRTIO_PORTS.glob("*/name")):
        if place.read_text(encoding="ascii", errors="replace").strip() == name:
            return Path("/dev") / place.parent.name
    raise RigError(f"this machine has no virtio port {name!r}: orders to the served card go through one in a guest")
