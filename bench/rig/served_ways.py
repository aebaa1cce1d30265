"""The ways in which a served chain is offered: one class each, all alike to the process that serves (``bench.rig.served``)."""

import socket
from collections.abc import Callable
from typing import Final, Protocol

from bench.rig.served_chain import ServedChain
from bench.serve.vpcd import VpcdLoop, connect


class Offer(Protocol):
    """One place where a first card is offered, from the first chain on."""

    address: str
    """Where a reader finds it; empty where it was told where to go."""
    on_asked: Callable[[], None]
    """Called whenever somebody has asked the card or its reader something."""

    @property
    def ended(self) -> str:
        """Empty, or why nobody is served any more."""

    def put(self, served: ServedChain) -> None:
        """Put a fresh chain in the place of the one before. Raises OSError where the place cannot be reached."""

    def pull(self) -> None:
        """Take the first card away."""

    def insert(self) -> None:
        """Put it back. Raises OSError."""

    def watch(self, file: int, readable: Callable[[], None]) -> None:
        """Call ``readable`` whenever there is something to read at this descriptor; after the first ``put``."""

    def run(self, stop: Callable[[], bool]) -> None:
        """Serve until ``stop()`` holds or nobody is left to serve."""


class VpcdOffer:
    """To vpcd, at HOST:PORT."""

    def __init__(self, where: str, _level: str) -> None:
        host, _, port = where.rpartition(":")
        self._where = (host or "127.0.0.1", int(port))
        self.address = ""
        self.on_asked: Callable[[], None] = _nothing
        self._loop: VpcdLoop | None = None

    @property
    def ended(self) -> str:
        loop = self._loop
        return f"vpcd at {self._where[0]}:{self._where[1]} has gone" if loop is not None and loop.ended else ""

    def put(self, served: ServedChain) -> None:
        card = served.whole_apdus()
        if self._loop is None:
            self._loop = VpcdLoop(self._connect(), card)
            self._loop.on_asked = lambda: self.on_asked()
            return
        self._loop.replace(card)
        if self._loop.connection is None:
            self.insert()

    def pull(self) -> None:
        assert self._loop is not None
        self._loop.pull()

    def insert(self) -> None:
        assert self._loop is not None
        self._loop.insert(self._connect())

    def watch(self, file: int, readable: Callable[[], None]) -> None:
        assert self._loop is not None
        self._loop.watch(file, readable)

    def run(self, stop: Callable[[], bool]) -> None:
        assert self._loop is not None
        self._loop.run(stop)

    def _connect(self) -> socket.socket:
        return connect(*self._where)


def _nothing() -> None:
    pass


OFFERS: Final[dict[str, Callable[[str, str], Offer]]] = {"vpcd": VpcdOffer}
"""By way: made with an address, which each way reads in its own manner, and the exchange level of what stands for a reader."""
