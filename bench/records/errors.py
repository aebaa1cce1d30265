"""Errors of the records. Each names the file, the place in it, what was found there and what to do.

RecordsError
├── JournalError       a journal cannot be read, or not be written
├── ObservationError   an observation holds a value its column cannot: a fault of whoever emitted it
└── RunError           a run's directory or its run.json is missing, foreign or in use
"""

from pathlib import Path


class RecordsError(Exception):
    """Something is wrong with what a run leaves behind."""


class JournalError(RecordsError):
    """A journal is foreign, damaged, in use, or the disk does not take it.

    ``path`` and ``offset`` (bytes from the file's beginning) say where, ``found`` what, ``remedy`` what to do.
    """

    def __init__(self, path: Path, offset: int, found: str, remedy: str) -> None:
        super().__init__(f"{path}: at byte {offset}: {found}; {remedy}")
        self.path = path
        self.offset = offset
        self.found = found
        self.remedy = remedy


class ObservationError(RecordsError):
    """An observation holds a value that its column cannot hold."""


class RunError(RecordsError):
    """A run's directory cannot be made, opened or closed."""
