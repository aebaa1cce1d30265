"""A reader with the bench's own card in it: a private pcscd, and the served chain in a process of its own. One for each process of the bench, kept
from point to point; only the cards are made anew.
"""

import atexit
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
from bench.readers import pcsc_adapter
from bench.readers.pcsc import find_reader
from bench.readers.pcsc_errors import PcscError, PcscMissingError
from bench.rig.errors import RigError, RigNotAble
from bench.rig.pcscd import PrivatePcscd, end, exit_text
from bench.rig.served import READY, REFUSED, SEEN, ServeOrder

ANSWER_WITHIN_S: Final = 10.0
SEEN_WITHIN_S: Final = 5.0
"""pcscd looks every 400 ms, and may have to notice first that the card before is gone."""
NOTICE_S: Final = 0.05
"""How long the end of a process may take to be known after its socket broke."""


class ServedProcess:
    """The process with the cards. Its standard input is its life: it ends with the bench."""

    def __init__(self, port: int, log: Path) -> None:
        self._log = log
        home = str(Path(bench.__file__).resolve().parents[1])
        setpriv = shutil.which("setpriv")
        dies = (setpriv, "--pdeathsig", "KILL") if setpriv is not None else ()  # even where it is stopped or stuck
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                (*dies, sys.executable, "-P", "-m", "bench.rig.served", str(port)),
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (home, os.environ.get("PYTHONPATH"))))},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        self._heard = bytearray()
        self._seen = False

    @property
    def pid(self) -> int:
        return self._process.pid

    def ended(self, patience_s: float = 0.0) -> str:
        """How the process ended, empty while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            status = self._process.wait(patience_s)
            with contextlib.suppress(OSError):
                lines = self._log.read_text(errors="replace").splitlines()
                return f"the served card's process {exit_text(status)}" + (f": {lines[-1].strip()}" if lines else "")
            return f"the served card's process {exit_text(status)}"
        return ""

    def order(self, order: ServeOrder) -> bytes:
        """Have a fresh chain made; gives its answer to reset. Raises RigNotAble, and RigError where the process does not answer."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(order.encode().encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise RigError(self.ended(NOTICE_S) or "the served card's process takes no orders") from None
        word, _, rest = self._answer(READY, REFUSED, ANSWER_WITHIN_S)
        if word == REFUSED:
            raise RigNotAble(rest)
        return bytes.fromhex(rest)

    def wait_seen(self) -> None:
        """Wait until vpcd has asked the card something for the first time. Raises RigError."""
        if not self._seen:
            self._answer(SEEN, SEEN, SEEN_WITHIN_S)

    def stop(self) -> None:
        """End it, and wait until it is gone."""
        process = self._process
        with contextlib.suppress(OSError):
            if process.stdin is not None:
                process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.5)
        end(process, 0.5)
        if process.stdout is not None:
            process.stdout.close()

    def _answer(self, wanted: str, other: str, within_s: float) -> tuple[str, str, str]:
        limit = time.monotonic() + within_s
        while True:
            word, blank, rest = self._line(limit, within_s).partition(" ")
            self._seen = self._seen or word == SEEN
            if word in (wanted, other):
                return word, blank, rest

    def _line(self, limit: float, within_s: float) -> str:
        output = self._process.stdout
        assert output is not None
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            while (end_of_line := self._heard.find(b"\n")) < 0:
                if not selector.select(max(0.0, limit - time.monotonic())):
                    raise RigError(f"the served card's process said nothing for {within_s:.0f} s")
                data = os.read(output.fileno(), 4096)
                if not data:
                    raise RigError(self.ended(NOTICE_S) or "the served card's process has closed its output")
                self._heard += data
        line = self._heard[:end_of_line].decode()
        del self._heard[: end_of_line + 1]
        return line


class ServedReader:
    """The daemon and the process, mended where they have ended since."""

    def __init__(self) -> None:
        self.daemon = PrivatePcscd()
        self.cards: ServedProcess | None = None

    def fresh(self, order: ServeOrder, reader: str) -> bytes:
        """A fresh chain in ``reader`` (a name, or a part of one), seen by pcscd; gives its answer to reset. Raises RigError and RigNotAble."""
        try:
            pcsc_adapter.use_socket(str(self.daemon.socket))
            if not self.daemon.running:
                self._stop_cards()
                self.daemon.start()
            if self.cards is None or self.cards.ended():
                self._stop_cards()
                self.cards = ServedProcess(self.daemon.port, self.daemon.directory / "card.log")
            atr = self.cards.order(order)
            self.cards.wait_seen()
            self._wait_present(reader)
            return atr
        except (PcscError, PcscMissingError) as error:
            raise RigError(f"the served card: {error}") from error

    def diagnose(self) -> str:
        """What has ended of what this reader is made of, empty where all runs. Any thread may ask."""
        limit = time.monotonic() + NOTICE_S
        while True:
            cards = self.cards
            cause = self.daemon.ended() or (cards.ended() if cards is not None else "")
            if cause or time.monotonic() >= limit:
                return cause and f"{cause}; the next point starts it anew"
            time.sleep(0.005)

    def close(self) -> None:
        """End both and leave nothing behind."""
        self._stop_cards()
        self.daemon.remove()

    def _stop_cards(self) -> None:
        cards, self.cards = self.cards, None
        if cards is not None:
            cards.stop()

    def _wait_present(self, wanted: str) -> None:
        context = pcsc_adapter.establish()
        try:
            try:
                reader = find_reader(context.readers(), wanted)
            except ValueError as error:
                raise RigError(f"the served reader: {error}") from None
            limit = time.monotonic() + SEEN_WITHIN_S
            state = context.state(reader)
            while not state.present:
                left_ms = round((limit - time.monotonic()) * 1000)
                if left_ms <= 0:
                    raise RigError(f"pcscd did not see the served card in {reader!r} within {SEEN_WITHIN_S:.0f} s")
                state = context.state(reader, state, left_ms)
        finally:
            context.release()


_owned: ServedReader | None = None


def served_reader() -> ServedReader:
    """This process's served reader, made at the first call and ended with the process."""
    global _owned
    if _owned is None:
        _owned = ServedReader()
        atexit.register(close_served_reader)
    return _owned


def close_served_reader() -> None:
    """End this process's served reader, if there is one."""
    global _owned
    owned, _owned = _owned, None
    if owned is not None:
        owned.close()
