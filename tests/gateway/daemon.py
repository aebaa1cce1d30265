"""``cardbench gateway`` as a process of its own: its log, its directory, and its end by a signal it cannot catch."""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from bench.card.applications import STANDARD
from tests.gateway.support import PATIENCE_S, read_all, read_exactly

ROOT = Path(__file__).resolve().parents[2]


class Daemon:
    """The process, its log as it comes, and the words it says."""

    def __init__(self, address: str, log: Path, *options: str, environment: Mapping[str, str] | None = None) -> None:
        self.address = address
        self.log = log
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                (sys.executable, "-m", "bench.cli", "gateway", "--listen", address, *options),
                cwd=ROOT,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
            )

    def entries(self, event: str = "") -> list[dict[str, object]]:
        """Whole lines of the log, those of one event."""
        lines = self.log.read_bytes().split(b"\n")[:-1]
        found = [json.loads(line) for line in lines if line.startswith(b"{")]
        return [each for each in found if not event or each["event"] == event]

    def said(self) -> str:
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], PATIENCE_S)[0], "nothing was said"
        return self.process.stdout.readline().decode()

    def directory(self) -> list[dict[str, object]]:
        """What the directory lists; nothing where it is not there (yet)."""
        assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.log.read_text()[-2000:]}"
        try:
            with socket.create_connection((self.address, 7816), PATIENCE_S) as made:
                made.sendall(b"json\n")
                found = json.loads(read_all(made))
        except (ConnectionError, ValueError):
            return []
        assert isinstance(found, list)
        return found

    def serving(self, cards: int = 1) -> bool:
        """Whether so many cards offer all that a card carries."""
        listed = {(row["card"], row["name"]) for row in self.directory()}
        return listed >= {(card, name) for card in range(1, cards + 1) for name, _ in STANDARD}

    def port(self, name: str, card: int = 1) -> int:
        (found,) = [row["port"] for row in self.directory() if (row["name"], row["card"]) == (name, card)]
        assert isinstance(found, int)
        return found

    def dial(self, name: str, card: int = 1) -> socket.socket:
        return socket.create_connection((self.address, self.port(name, card)), PATIENCE_S)

    def echo(self, card: int = 1) -> None:
        with self.dial("echo", card) as made:
            made.sendall(b"again")
            assert read_exactly(made, 5) == b"again"

    def kill_mid_transfer(self) -> None:
        """SIGKILL, while bytes are under way in both directions of three connections to the last card; each peer learns that the gateway is gone."""
        card = max(int(str(row["card"])) for row in self.directory())
        busy = [self.dial(name, card) for name in ("echo", "chargen", "discard")]

        def pour(made: socket.socket) -> None:
            with contextlib.suppress(OSError):
                while True:
                    made.sendall(bytes(10_000))

        pouring = [threading.Thread(target=pour, args=(made,)) for made in (busy[0], busy[2])]
        for thread in pouring:
            thread.start()
        assert len(read_exactly(busy[1], 50_000)) == 50_000
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(PATIENCE_S)
        for thread in pouring:
            thread.join(PATIENCE_S)
            assert not thread.is_alive(), "a peer must learn that the gateway is gone"
        for made in busy:
            made.close()

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE_S)
        if self.process.stdout is not None:
            self.process.stdout.close()


def served_again(daemon: Daemon) -> float:
    """Seconds from the first card's power to the moment at which the last service listened, by the daemon's own clock."""
    return _moment(daemon.entries("listen")[-1]) - _moment(daemon.entries("card.up")[0])


def _moment(entry: Mapping[str, object]) -> float:
    return datetime.fromisoformat(str(entry["time"])).timestamp()


def listening(address: str) -> set[int]:
    """Ports in state LISTEN on an address, as the kernel says."""
    ports = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        where, port = words[1].split(":")
        if words[3] == "0A" and bytes.fromhex(where)[::-1] == socket.inet_aton(address):
            ports.add(int(port, 16))
    return ports


def children(process: int) -> set[int]:
    """The processes that a process has started, and theirs."""
    found = set()
    for each in Path(f"/proc/{process}/task").glob("*/children"):
        for word in each.read_text().split():
            found |= {int(word)} | children(int(word))
    return found


def alive(process: int) -> bool:
    """Whether a process runs; one that has ended and waits for its parent does not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
