"""The loop-back: a link from a node to itself. A packet comes back as an event of its own: two applications never call each other directly."""

from collections.abc import Callable, Hashable

from bench.engine import Engine
from bench.hop.queue import FairQueue, Queued
from bench.hop.segment import Kind


class Loopback:
    """A Link whose other side is this side."""

    up = True

    def __init__(self, engine: Engine, mtu: int) -> None:
        self.engine = engine
        self.queue = FairQueue(mtu)
        self.on_packet: Callable[[Kind, bytes], None] = _no_packet
        self.on_change: Callable[[bool, str], None] = _no_change
        self._mtu = mtu
        self._due = False

    @property
    def mtu(self) -> int:
        return self._mtu

    def submit(self, kind: Kind, packet: bytes, flow: Hashable, *, force: bool = False) -> bool:
        if not self.queue.push(Queued(kind, packet, flow), force=force):
            return False
        if not self._due:
            self._due = True
            self.engine.after(0, self._deliver)
        return True

    def _deliver(self) -> None:
        self._due = False
        packet = self.queue.pop()
        if packet is None:
            return
        self.on_packet(packet.kind, packet.data)
        if len(self.queue) and not self._due:
            self._due = True
            self.engine.after(0, self._deliver)


def _no_packet(_kind: Kind, _packet: bytes) -> None:
    pass


def _no_change(_up: bool, _reason: str) -> None:
    pass
