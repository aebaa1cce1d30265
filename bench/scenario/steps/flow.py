"""A channel kept busy from outside with a pattern, and the count of what has crossed the first hop."""

from collections.abc import Sequence

from bench.host.peers import PeerSocket
from bench.observe import Direction, Packet
from bench.pattern import pattern
from bench.scenario.steps.fairness import sample_of
from bench.scenario.steps.support import Watch


class Flow:
    """One channel kept busy from outside."""

    def __init__(self, socket: PeerSocket, direction: str, size: int | None, verify: bool) -> None:
        self.socket = socket
        self.direction = direction
        self.verify = verify
        self.size = size
        self.sent = 0
        self.before = len(socket.received)
        """What came before the step began: a service that talks first does not wait for it."""
        self.received = 0
        self.broken = ""

    @property
    def moved(self) -> int:
        return self.sent if self.direction == "down" else self.received - self.before

    @property
    def done(self) -> bool:
        return self.size is not None and self.moved >= self.size

    def start(self) -> None:
        self._take(bytes(self.socket.received))
        self.socket.received.clear()
        self.socket.on_data = self._take
        self.socket.on_end = self._ended
        if self.direction != "up":
            self.socket.source = self._give
            self.socket.flush()

    def stop(self) -> None:
        self.socket.on_end = _nothing
        self.size = self.sent
        if self.direction == "up":
            self.socket.on_data = _forget

    def _give(self, count: int) -> bytes:
        if self.size is not None:
            count = min(count, self.size - self.sent)
        data = pattern(self.sent, count)
        self.sent += count
        return data

    def _take(self, data: bytes) -> None:
        if self.verify and not self.broken and data != pattern(self.received, len(data)):
            self.broken = (
                f"what came is not the pattern, somewhere in the {len(data)} bytes from byte {self.received} on"
            )
        self.received += len(data)

    def _ended(self) -> None:
        if not self.done and not self.broken:
            self.broken = f"ended after {self.moved} bytes: {self.socket.cause.text if self.socket.cause is not None else 'the other side shut'}"


class Crossed:
    """Counts the messages a watch has seen, each way by itself, each look going on where the last one ended."""

    def __init__(self, watch: Watch, wanted: int, directions: Sequence[Direction]) -> None:
        self.watch = watch
        self.wanted = wanted
        self.counts = dict.fromkeys(directions, 0)
        self._at = 0

    @property
    def text(self) -> str:
        return ", ".join(f"{count} ({direction})" for direction, count in self.counts.items())

    def enough(self) -> bool:
        seen = self.watch.seen
        while self._at < len(seen):
            observation = seen[self._at]
            sample = sample_of(observation) if isinstance(observation, Packet) else None
            if sample is not None and sample.hop == 1 and sample.direction in self.counts:
                self.counts[sample.direction] += 1
            self._at += 1
        return min(self.counts.values()) >= self.wanted


def _forget(_data: bytes) -> None:
    pass


def _nothing() -> None:
    pass
