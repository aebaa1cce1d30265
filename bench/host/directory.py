"""The directory service (docs/protocol.md, section 4): what the cards offer, on a fixed port, always there."""

import json
from collections.abc import Callable

from bench.channels.message import Cause
from bench.host.gateway import Service
from bench.host.uplink import Connection, Listener, Pending, Uplink, Wait

PORT = 7816
LONGEST_REQUEST = 64
PATIENCE_NS = 500 * 10**6
"""How long a visitor may think about the question before the list is given anyway."""
READ_NS = 10 * 10**9
"""How long a visitor may take to read the answer."""


def as_lines(services: list[Service]) -> str:
    """For people: name, port, protocol, card and state, one service a line."""
    return "".join(f"{s.name} {s.port} {'udp' if s.udp else 'tcp'} {s.card} {s.state}\r\n" for s in services)


def as_json(services: list[Service]) -> str:
    """For programs: the same as a list of objects."""
    rows = [
        {"name": s.name, "port": s.port, "protocol": "udp" if s.udp else "tcp", "card": s.card, "state": s.state}
        for s in services
    ]
    return json.dumps(rows) + "\r\n"


class Directory:
    """Listens on the uplink from its making on."""

    def __init__(self, wait: Wait, uplink: Uplink, services: Callable[[], list[Service]], port: int = PORT) -> None:
        self.wait = wait
        self.services = services
        self.listener: Listener = uplink.listen(port, False, self._arrived)

    def _arrived(self, connection: Connection) -> None:
        visitor = _Reader(self, connection)
        connection.visitor = visitor
        connection.want(LONGEST_REQUEST)


class _Reader:
    """One visitor: a line (or the end) is the question, the list the answer."""

    def __init__(self, directory: Directory, connection: Connection) -> None:
        self.directory = directory
        self.connection = connection
        self._request = b""
        self._answer = b""
        self._answered = False
        self._timer: Pending | None = directory.wait(PATIENCE_NS, self._reply)

    def connected(self) -> None:
        """It is, since it arrived."""

    def data(self, data: bytes) -> None:
        self._request += data
        if b"\n" in self._request or len(self._request) >= LONGEST_REQUEST:
            self._reply()

    def writable(self) -> None:
        if self._answer and self.connection.send(self._answer):
            self._answer = b""
            self._stop()
            self.connection.finish()
            self.connection.close(Cause.NONE)

    def ended(self) -> None:
        self._reply()

    def gone(self, cause: Cause) -> None:
        del cause
        self._answer = b""
        self._answered = True
        self._stop()

    def _reply(self) -> None:
        if self._answered:
            return
        self._answered = True
        self._stop()
        self._timer = self.directory.wait(READ_NS, self._late)
        services = self.directory.services()
        wants_json = self._request.split(b"\n")[0].strip().lower() == b"json"
        self._answer = (as_json(services) if wants_json else as_lines(services)).encode("ascii") or b"\r\n"
        self.writable()

    def _late(self) -> None:
        self._answer = b""
        self.connection.close(Cause.SERVICE_ERROR)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
