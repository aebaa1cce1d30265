"""One lock per reader, for all users of the machine: it dies with the process that holds it.

Locks are files of one directory, named after the reader's stable identity, locked with flock(2). They stay where they are when they are let go: only
the kernel's lock counts. (An existing file is opened without O_CREAT: in a sticky directory Linux refuses that for files of other users,
``fs.protected_regular``.)
"""

import contextlib
import fcntl
import getpass
import hashlib
import os
import re
import stat
import time
from pathlib import Path
from types import TracebackType
from typing import Final

from bench.rig.errors import RigError

DIRECTORY_VARIABLE: Final = "CARDBENCH_LOCKS"
"""Names another directory than the machine's usual one."""
KEPT: Final = Path("/var/lib/cardbench")
"""The directory where whoever runs the machine has made it (mode 1777); nothing is cleared away there."""
USUAL: Final = Path("/var/tmp/cardbench")
"""The directory elsewhere: it outlives a reboot, as the counts of writes must."""
WAIT_S: Final = 60.0
"""How long one point waits for another run's point on the same reader."""
LOOK_AGAIN_S: Final = 0.05
_SHARED_DIRECTORY: Final = 0o1777
_SHARED_FILE: Final = 0o666


def lock_directory() -> Path:
    """The directory of locks and write counts, made where it is missing. Raises RigError."""
    named = os.environ.get(DIRECTORY_VARIABLE)
    path = Path(named) if named else KEPT if KEPT.is_dir() else USUAL
    try:
        path.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(PermissionError):  # somebody else's, who has done this already
            path.chmod(_SHARED_DIRECTORY)
        if not stat.S_ISDIR(path.lstat().st_mode):
            raise NotADirectoryError(20, "it is a link")
    except OSError as error:
        raise RigError(
            f"the directory of reader locks {path} cannot be used ({error.strerror}): set {DIRECTORY_VARIABLE} to another one for all users"
        ) from error
    return path


def file_name(key: str) -> str:
    """A file's name for a key: legible, and different for different keys."""
    legible = re.sub(r"[^A-Za-z0-9.]+", "-", key).strip("-.")[:60]
    return f"{legible}-{hashlib.sha256(key.encode()).hexdigest()[:10]}"


def open_shared(path: Path) -> int:
    """A descriptor of a file that every user may read and write, made where it is missing. Raises RigError."""
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        for _ in range(10):
            with contextlib.suppress(FileNotFoundError):
                return os.open(path, flags)
            with contextlib.suppress(FileExistsError):
                descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, _SHARED_FILE)
                os.fchmod(descriptor, _SHARED_FILE)
                return descriptor
    except OSError as error:
        raise RigError(
            f"{path} cannot be opened: {error.strerror}; see {DIRECTORY_VARIABLE} in docs/rigs.md"
        ) from error
    raise RigError(f"{path} comes and goes: let nothing clear away the directory while runs use it")


class FileLock:
    """A lock on one file: ``with FileLock(path): …`` or ``acquire`` and ``release``. One object, one holder."""

    def __init__(self, path: Path, what: str, wait_s: float = WAIT_S) -> None:
        self.path = path
        self.what = what
        """What is locked, for whoever waits in vain."""
        self.wait_s = wait_s
        self.descriptor = -1

    @property
    def held(self) -> bool:
        return self.descriptor >= 0

    def acquire(self) -> "FileLock":
        """Wait for it. Raises RigError that says who holds it."""
        descriptor = open_shared(self.path)
        limit = time.monotonic() + self.wait_s
        try:
            while not _try(descriptor):
                if time.monotonic() >= limit:
                    raise RigError(
                        f"{self.what} is in use{_holder(descriptor)}: waited {self.wait_s:.0f} s; wait for its end, or end it"
                    )
                time.sleep(LOOK_AGAIN_S)
        except BaseException:
            os.close(descriptor)
            raise
        self.descriptor = descriptor
        return self

    def release(self) -> None:
        """Let go; twice is no mistake."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __enter__(self) -> "FileLock":
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class ReaderLock(FileLock):
    """The lock of the reader with this identity. Its file tells who holds it."""

    def __init__(self, key: str, wait_s: float = WAIT_S) -> None:
        super().__init__(lock_directory() / f"{file_name(key)}.lock", f"the reader {key}", wait_s)

    def acquire(self) -> "ReaderLock":
        super().acquire()
        with contextlib.suppress(OSError):
            os.ftruncate(self.descriptor, 0)
            os.pwrite(
                self.descriptor, f"process {os.getpid()} of {_user()} since {time.strftime('%F %T')}\n".encode(), 0
            )
        return self


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(descriptor: int) -> str:
    with contextlib.suppress(OSError):
        text = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
        return f" by {text}" if text.startswith("process ") else ""
    return ""


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"
