"""Processes that tests begin, and that end with them, however the test ends."""

import subprocess
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
