"""Who moves the cards: a command, an operator at the terminal, the software card, or nobody.

Steps know one interface, ``Hands``. Every call blocks and has a limit of its own, so it is made from a step's thread, never inside an event.

::

    NotAble (RigNotAble)    nobody and nothing here can do it: the point does not apply, with the reason
    RigError                it was tried and went wrong, with what was said
"""

import shlex
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from os import killpg
from signal import SIGKILL
from time import monotonic
from typing import Final, Protocol

from bench.files.units import Span
from bench.rig.errors import RigError, RigNotAble
from bench.rig.model import HandsModel, RigModel
from bench.rig.operator import Operator

NOBODY: Final = (
    "nobody and nothing here can move a card: give the rig 'hands:' (a command, or operator: true at a terminal)"
)
OUTPUT_KEPT: Final = 2000
"""Characters of a command's output that are kept, from its end."""


class Move(StrEnum):
    """What hands do."""

    PULL = "pull"
    INSERT = "insert"
    MOVE = "move"


class Side(StrEnum):
    """Where a card is moved to."""

    OTHER = "other"
    HOME = "home"


@dataclass(frozen=True, slots=True)
class Done:
    """How a card was moved, for the records."""

    by: str
    """command, operator, software card."""
    text: str = ""
    """What was said: a command with its exit status and output."""


class Hands(Protocol):
    """Moves cards. ``card`` counts from the host outward, from 1."""

    def why_not(self, move: Move, card: int) -> str:
        """Empty where the move can be made, else the reason why it cannot."""

    def pull(self, card: int) -> Done:
        """Take the card off its contacts. Raises RigNotAble and RigError."""

    def insert(self, card: int) -> Done:
        """Put it back."""

    def move(self, card: int, to: Side) -> Done:
        """Put the card into the other reader, or back into its own."""


class NoHands:
    """Nobody: every move is refused, with the reason."""

    def __init__(self, reason: str = NOBODY) -> None:
        self.reason = reason

    def why_not(self, move: Move, card: int) -> str:  # noqa: ARG002 - the reason is the same for all
        return self.reason

    def pull(self, card: int) -> Done:  # noqa: ARG002
        raise RigNotAble(self.reason)

    def insert(self, card: int) -> Done:  # noqa: ARG002
        raise RigNotAble(self.reason)

    def move(self, card: int, to: Side) -> Done:  # noqa: ARG002
        raise RigNotAble(self.reason)


class OrderedHands:
    """The served card as its own hands: each move is an order to the process that serves it (``bench.rig.served_reader`` gives the orders)."""

    def __init__(self, pull: Callable[[int], None], insert: Callable[[int], None], cards: int) -> None:
        self._pull, self._insert, self._cards = pull, insert, cards

    def why_not(self, move: Move, card: int) -> str:
        if move is Move.MOVE:
            return "the served card has one reader only"
        return "" if card <= self._cards else f"the chain has {self._cards} cards, not {card}"

    def pull(self, card: int) -> Done:
        return self._do(Move.PULL, card, self._pull)

    def insert(self, card: int) -> Done:
        return self._do(Move.INSERT, card, self._insert)

    def move(self, card: int, to: Side) -> Done:  # noqa: ARG002
        raise RigNotAble(self.why_not(Move.MOVE, card))

    def _do(self, move: Move, card: int, order: Callable[[int], None]) -> Done:
        if reason := self.why_not(move, card):
            raise RigNotAble(reason)
        order(card)
        return Done("software card")


class LabHands:
    """A lab's own cards: the rig file's commands, and for what has none an operator, where one may be asked."""

    def __init__(self, rig: str, model: HandsModel, operator: Operator | None = None) -> None:
        self.rig = rig
        self.model = model
        self.operator = operator if operator is not None else Operator()

    def why_not(self, move: Move, card: int) -> str:  # noqa: ARG002 - whoever can move one card can move the others
        if self._command(move) is not None:
            return ""
        if not self.model.operator:
            return f"the rig's hands have no command for '{move}', and 'operator' is not set"
        return self.operator.absent()

    def pull(self, card: int) -> Done:
        return self._do(Move.PULL, card, f"pull card {card} out")

    def insert(self, card: int) -> Done:
        return self._do(Move.INSERT, card, f"put card {card} back in")

    def move(self, card: int, to: Side) -> Done:
        where = "the other reader" if to is Side.OTHER else "its own reader again"
        return self._do(Move.MOVE, card, f"put card {card} into {where}", to)

    def _do(self, move: Move, card: int, words: str, to: Side | None = None) -> Done:
        if reason := self.why_not(move, card):
            raise RigNotAble(reason)
        within = self.model.within
        command = self._command(move)
        if command is None:
            self.operator.ask(f"rig {self.rig}: {words}", within)
            return Done("operator", words)
        return run_command(command, {"card": str(card), "rig": self.rig, "to": str(to or "")}, within)

    def _command(self, move: Move) -> str | None:
        return {Move.PULL: self.model.pull, Move.INSERT: self.model.insert, Move.MOVE: self.model.move}[move]


def hands_of(model: RigModel) -> Hands:
    """The hands of a rig with a lab's own cards; nobody where the rig file names none."""
    return NoHands() if model.hands is None else LabHands(model.name, model.hands)


def run_command(command: str, values: dict[str, str], within: Span) -> Done:
    """Run a hands command without a shell, ``{card}``, ``{rig}`` and ``{to}`` replaced. Raises RigError for anything but exit status 0 in time."""
    words = _words(command, values)
    text = shlex.join(words)
    began = monotonic()
    try:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        )
    except OSError as error:
        raise RigError(f"hands: {text!r} cannot be run: {error.strerror}; mend 'hands' in the rig file") from error
    try:
        heard, _ = process.communicate(timeout=within.ns / 1e9)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            killpg(process.pid, SIGKILL)
        heard, _ = process.communicate()
        raise RigError(f"hands: {text!r} did not end within {within}{_said(heard)}") from None
    except BaseException:
        with suppress(ProcessLookupError):
            killpg(process.pid, SIGKILL)
        process.wait()
        raise
    if process.returncode != 0:
        raise RigError(f"hands: {text!r} ended with status {process.returncode}{_said(heard)}")
    return Done("command", f"{text}: status 0 after {monotonic() - began:.2f} s{_said(heard)}")


def _words(command: str, values: dict[str, str]) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise RigError(f"hands: {command!r} is no command line: {error}; mend 'hands' in the rig file") from error
    for name, value in values.items():
        words = [word.replace(f"{{{name}}}", value) for word in words]
    return words


def _said(heard: bytes) -> str:
    text = " ".join(heard.decode(errors="replace").split())
    return f"; it said: {text[-OUTPUT_KEPT:]}" if text else ""
