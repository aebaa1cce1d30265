"""The operator: whoever sits at the terminal that started the run. Asked on ``/dev/tty``, so that redirected output does not matter."""

import os
import select
from time import monotonic
from typing import Final

from bench.files.units import Span
from bench.rig.errors import RigError, RigNotAble

TERMINAL: Final = "/dev/tty"
BACKGROUND: Final = "the run is in the background: an operator cannot be asked"
NO_TERMINAL: Final = "nobody sits at a terminal (unattended run)"


class Operator:
    """Asks for one thing at a time."""

    def __init__(self, terminal: str = TERMINAL) -> None:
        self.terminal = terminal

    def absent(self) -> str:
        """Why nobody can be asked; empty where somebody can. Opens the terminal and closes it again."""
        try:
            descriptor = os.open(self.terminal, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            return NO_TERMINAL
        try:
            return _unable(descriptor)
        finally:
            os.close(descriptor)

    def ask(self, what: str, within: Span) -> None:
        """Ask for ``what`` and wait until it is done.

        Raises RigNotAble where nobody is there, does not answer in time, or says that it cannot be done; RigError where the terminal breaks.
        """
        try:
            descriptor = os.open(self.terminal, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            raise RigNotAble(NO_TERMINAL) from None
        try:
            if reason := _unable(descriptor):
                raise RigNotAble(reason)
            self._ask(descriptor, what, within)
        except OSError as error:
            raise RigError(f"the terminal cannot be used to ask the operator: {error.strerror}") from error
        finally:
            os.close(descriptor)

    def _ask(self, descriptor: int, what: str, within: Span) -> None:
        while select.select([descriptor], [], [], 0)[0] and os.read(descriptor, 4096):
            pass  # what was typed before the question is no answer to it
        os.write(descriptor, f"\a\ncardbench: {what}, then press Enter (n Enter: cannot be done) [{within}] ".encode())
        limit = monotonic() + within.ns / 1e9
        typed = b""
        while not typed.endswith((b"\n", b"\r")):
            if not select.select([descriptor], [], [], max(0.0, limit - monotonic()))[0]:
                os.write(descriptor, b"\n")
                raise RigNotAble(f"nobody answered within {within}: {what}")
            piece = os.read(descriptor, 1024)
            if not piece:
                raise RigNotAble(f"the terminal was closed before it was done: {what}")
            typed += piece
        if typed.strip().lower().startswith(b"n"):
            raise RigNotAble(f"the operator could not do it: {what}")


def _unable(descriptor: int) -> str:
    """A process in the background would be stopped by reading from its terminal."""
    if not os.isatty(descriptor):
        return NO_TERMINAL
    try:
        return "" if os.tcgetpgrp(descriptor) == os.getpgrp() else BACKGROUND
    except OSError:
        return ""  # not our controlling terminal: no job control, nothing stops us
