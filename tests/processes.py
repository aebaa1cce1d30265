"""Processes that tests begin, and that end with them, however the test ends."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent


@contextmanager
def begun(command: Sequence[str], cwd: Path = ROOT) -> Iterator["subprocess.Popen[str]"]:
    """A process, its output and errors as text; killed where the test has left it running."""
    with subprocess.Popen(
        command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def freeze(pid: int) -> None:
    """Stop a process, and see that each of its threads stands: the kernel tells them one after the other, and one may still work meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    limit = time.monotonic() + 30
    while set(_states(pid)) != {"T"}:
        assert time.monotonic() < limit, f"process {pid} does not stop"
        time.sleep(0.001)


def _states(pid: int) -> Iterator[str]:
    for status in Path(f"/proc/{pid}/task").glob("*/stat"):
        yield status.read_text().rpartition(")")[2].split()[0]
