"""Raw evidence beside a report: copied, hashed, listed, and checked again later.

`SHA256SUMS` lists everything below `evidence/`, in the format that `sha256sum -c` takes; its own hash is printed in the report. `REPORT-SHA256SUMS`
lists the report itself and that list.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from reports.errors import ReportError

EVIDENCE: Final = "evidence"
SUMS: Final = "SHA256SUMS"
REPORT_SUMS: Final = "REPORT-SHA256SUMS"
_LINE: Final = re.compile(r"(\\?)([0-9a-f]{64}) [ *](.+)")
_LONGEST_LIST: Final = 16 << 20
_CHUNK: Final = 1 << 20


class Change(StrEnum):
    """What became of a file since it was listed."""

    CHANGED = "changed"
    MISSING = "missing"
    ADDED = "added"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True, order=True)
class Difference:
    """One file that is not as it was."""

    name: str
    """Relative to the report's directory."""
    change: Change
    note: str = ""

    def __str__(self) -> str:
        return f"{self.change}: {self.name}" + (f" ({self.note})" if self.note else "")


def file_hash(path: Path) -> str:
    """SHA-256 of a file, hexadecimal. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_CHUNK):
            digest.update(block)
    return digest.hexdigest()


def copy_tree(source: Path, target: Path) -> None:
    """Copy a run's directory. What is no regular file (a link, a socket) is evidence of nothing and stays behind. Raises OSError."""
    for path in _files(source):
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)


def write_sums(directory: Path, name: str, files: Iterable[Path]) -> str:
    """Write the list of `files` (below `directory`) and give its own hash. Raises OSError."""
    named = sorted((path.relative_to(directory).as_posix(), path) for path in files)
    text = "".join(_line(file_hash(path), listed) for listed, path in named)
    (directory / name).write_text(text, "utf-8", newline="")
    return hashlib.sha256(text.encode()).hexdigest()


def evidence_files(directory: Path) -> Sequence[Path]:
    """Every file of the evidence, in order."""
    return _files(directory / EVIDENCE)


def check(directory: Path, wanted: str = "") -> tuple[Difference, ...]:
    """What differs from the lists of a report's directory, sorted by name; `wanted` is the hash of the list of evidence, as the report prints it.

    Raises ReportError where there is no list.
    """
    lists = [name for name in (SUMS, REPORT_SUMS) if (directory / name).is_file()]
    if SUMS not in lists:
        raise ReportError(f"{directory}: holds no {SUMS}; name a directory that `cardbench certify --out DIR` wrote")
    found: list[Difference] = []
    if REPORT_SUMS not in lists:
        found.append(Difference(REPORT_SUMS, Change.MISSING))
    known = {REPORT_SUMS}
    for name in lists:
        listed, unreadable = _read_list(directory / name)
        found += [Difference(name, Change.UNREADABLE, f"line {line}") for line in unreadable]
        for file, digest in listed.items():
            known.add(file)
            if difference := _differs(directory, file, digest):
                found.append(difference)
    known.add(SUMS)
    for path in sorted(directory.rglob("*")):
        file = path.relative_to(directory).as_posix()
        if (path.is_symlink() or not path.is_dir()) and file not in known:
            found.append(Difference(file, Change.ADDED))
    if wanted and wanted.lower() != file_hash(directory / SUMS):
        found.append(Difference(SUMS, Change.CHANGED, "its hash is not the one given"))
    return tuple(sorted(set(found)))


def _differs(directory: Path, file: str, digest: str) -> Difference | None:
    path = directory / file
    if any(each.is_symlink() for each in (path, *path.parents) if each != directory and directory in each.parents):
        return Difference(file, Change.CHANGED, "a link stands in its place")
    try:
        if not path.is_file():
            return Difference(file, Change.MISSING)
        return None if file_hash(path) == digest else Difference(file, Change.CHANGED)
    except OSError as error:
        return Difference(file, Change.UNREADABLE, error.strerror or type(error).__name__)


def _line(digest: str, name: str) -> str:
    """As GNU coreutils write it: a name with a line break or a backslash is escaped, which a backslash before the hash tells."""
    escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"{'' if escaped == name else chr(92)}{digest}  {escaped}\n"


def _read_list(path: Path) -> tuple[dict[str, str], list[int]]:
    """The files and hashes of a list, and the numbers of lines that are none."""
    try:
        if path.stat().st_size > _LONGEST_LIST:
            raise ReportError(f"{path}: longer than {_LONGEST_LIST >> 20} MiB, which is no list that cardbench wrote")
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ReportError(f"{path}: cannot be read ({error}); it is no list that cardbench wrote") from error
    listed: dict[str, str] = {}
    wrong: list[int] = []
    for number, line in enumerate(text.split("\n")[:-1], 1):
        match = _LINE.fullmatch(line)
        name = _unescaped(match[3]) if match and match[1] else match[3] if match else ""
        parts = Path(name).parts
        if match is None or not parts or Path(name).is_absolute() or ".." in parts:
            wrong.append(number)
        else:
            listed[name] = match[2]
    if text and not text.endswith("\n"):
        wrong.append(text.count("\n") + 1)
    return listed, wrong


def _unescaped(name: str) -> str:
    return re.sub(r"\\(.)", lambda match: {"n": "\n", "r": "\r"}.get(match[1], match[1]), name)


def _files(directory: Path) -> list[Path]:
    return [path for path in sorted(directory.rglob("*")) if path.is_file() and not path.is_symlink()]
