"""Programs of others that tests start on this machine, and Python's web server."""

import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

PATIENCE_S = 240
"""A loaded machine is slow, never stuck."""


def tool(name: str) -> str:
    """Where the program is. Skips the test where it is not installed."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian: apt-get install {name})")
    return found


def run(*command: str, data: bytes = b"", timeout: float = PATIENCE_S) -> bytes:
    """What a program prints that ends well within its time."""
    done = subprocess.run(command, input=data, capture_output=True, timeout=timeout, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def curl(*words: str) -> bytes:
    return run(tool("curl"), "--silent", "--show-error", "--max-time", "60", "--noproxy", "*", *words)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_words: object) -> None:
        """Says nothing."""


@contextmanager
def web_server(folder: Path) -> Iterator[str]:
    """Serve the files of ``folder``; gives the URL they are below, without a slash at its end."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join(10)
