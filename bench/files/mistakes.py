"""Mistakes in files that people write, told where they are and with what was expected instead."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in a file; lines and columns count from 1, columns in characters."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake: where, what was found there, what was expected."""

    path: Path
    position: Position
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.path}:{self.position.line}:{self.position.column}: {self.found}; expected {self.expected}"


class FileError(Exception):
    """A file cannot be used. Its text is one line per mistake, ``file:line:column: what was found; what was expected``.

    Mend the file; nothing has been run.
    """

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        unique = dict.fromkeys(mistakes)
        self.mistakes = tuple(sorted(unique, key=lambda mistake: (str(mistake.path), mistake.position)))
        super().__init__("\n".join(map(str, self.mistakes)))

    def __reduce__(self) -> tuple[type["FileError"], tuple[tuple[Mistake, ...]]]:
        return FileError, (self.mistakes,)


def quoted(text: str, longest: int = 60) -> str:
    """``text`` as it is shown in a message: in quotes, shortened, without line breaks; ``nothing`` where it is empty."""
    if not text:
        return "nothing"
    return repr(text if len(text) <= longest else text[: longest - 1] + "…")
