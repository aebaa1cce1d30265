"""The served card in a USB reader, for tests in the guest: a process on the host (usbredir) or in the guest (USB/IP), kept from chain to chain.

process = UsbCards.on_host(path)            or UsbCards.in_guest(guest)
with process.serve(protocol="T=1", ta1="96") as served, guest.plug(path): ...       in the guest it is plugged in already
served.atr, served.pull(), served.insert(), served.unplug(), served.plug()
process.stop()
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.guest.machine import ROOT, Guest, Job

COMMAND = (sys.executable, "-m", "tests.guest.usb_card")


class UsbCards:
    """The process. One chain at a time."""

    def order(self, *words: str) -> str:
        """Give an order, and wait for the answer."""
        raise NotImplementedError

    def stop(self) -> None:
        """End the process."""
        raise NotImplementedError

    @staticmethod
    def on_host(path: Path) -> UsbCards:
        """For QEMU, at a socket."""
        return _OnHost(path)

    @staticmethod
    def in_guest(guest: Guest) -> UsbCards:
        """At a port of the guest's own kernel."""
        return _InGuest(guest)

    @contextmanager
    def serve(self, level: str = "tpdu", **given: str) -> Iterator[Served]:
        """A fresh chain in a fresh reader; ``level`` is one of bench.serve.usb_reader.FORMS, ``given`` as in a scenario.

        ``slots="2"``: so many, all but the first empty.
        """
        atr = self.order("serve", level, *(f"{name}={value}" for name, value in given.items()))
        try:
            yield Served(self, atr)
        finally:
            self.order("stop")


@dataclass(frozen=True, slots=True)
class Served:
    """What is served now."""

    process: UsbCards
    atr: str
    """Of the first card, in hexadecimal."""

    def pull(self) -> None:
        """Take the card out."""
        self.process.order("pull")

    def insert(self) -> None:
        self.process.order("insert")

    def unplug(self) -> None:
        """Take the whole reader out of its port."""
        self.process.order("unplug")

    def plug(self) -> None:
        self.process.order("plug")


class _OnHost(UsbCards):
    def __init__(self, path: Path) -> None:
        setpriv = shutil.which("setpriv")
        dies = (setpriv, "--pdeathsig", "KILL") if setpriv is not None else ()
        words = (*dies, *COMMAND, str(path))
        self._process = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def order(self, *words: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(" ".join(words) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"the process that serves cards has ended with status {self._process.wait(5)}"
        return answer.strip()

    def stop(self) -> None:
        with self._process as process:  # its input ends, and so does it
            assert process.stdin is not None
            process.stdin.close()
            process.wait(60)


class _InGuest(UsbCards):
    def __init__(self, guest: Guest) -> None:
        self._job: Job = guest.start(COMMAND)
        self._answers = 0

    def order(self, *words: str) -> str:
        self._job.write(" ".join(words).encode() + b"\n")
        answer = self._job.wait_line(self._answers, 100)  # the first has to wait for the process to begin
        self._answers += 1
        return answer

    def stop(self) -> None:
        self._job.close_input()
        self._job.wait(60)
