"""The gateway's other side: what a network (or an in-process stand-in) must offer. Nothing here blocks; events come by calls.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections.abc import Callable
from typing import Final, Protocol

from bench.channels.message import Address, Cause

HOST_ITSELF: Final = 0
"""The ``card`` for whom the host listens on its own account: the directory, the APDU port."""


class UplinkError(Exception):
    """Listening or connecting is not possible; ``cause`` is what the card is told."""

    def __init__(self, cause: Cause, detail: str) -> None:
        super().__init__(detail)
        self.cause = cause


class Visitor(Protocol):
    """Who is told what happens on a connection."""

    def connected(self) -> None: ...

    def data(self, data: bytes) -> None:
        """Bytes (one datagram, for UDP) came; at most as many as were asked for with ``want``."""

    def writable(self) -> None:
        """``send`` takes data again."""

    def ended(self) -> None:
        """The other side will send no more."""

    def gone(self, cause: Cause) -> None:
        """The connection is closed, was reset, or was never made."""


class Connection(Protocol):
    """One connection of the uplink."""

    remote: Address
    """Whose it is."""
    weight: int
    """Shares of a line that it asks for: 1, 2, 4 or 8."""
    visitor: Visitor | None

    def send(self, data: bytes) -> bool:
        """Take data to the other side; False when its buffer is full (``visitor.writable`` tells when to ask again), and then nothing is taken."""

    def want(self, count: int) -> None:
        """``count`` more bytes may be handed to ``visitor.data``. A datagram counts by its length, an empty one as a byte, and comes whole."""

    def finish(self) -> None:
        """No more will be sent."""

    def close(self, cause: Cause) -> None:
        """Close; with a cause other than 0, abruptly. The visitor hears no more."""


class Listener(Protocol):
    """A port that is listened at; ``port`` is its number also where the system has chosen it."""

    port: int

    def close(self) -> None: ...


class Uplink(Protocol):
    """A network. ``card`` is the node on whose account something happens."""

    def listen(self, port: int, udp: bool, arrived: Callable[[Connection], None], card: int = HOST_ITSELF) -> Listener:
        """Accept connections on ``port`` (0: one of the uplink's choice). Raises UplinkError."""

    def connect(self, address: Address, port: int, udp: bool, visitor: Visitor, card: int = HOST_ITSELF) -> Connection:
        """Connect; ``visitor.connected`` or ``visitor.gone`` follows. Raises UplinkError."""


class Pending(Protocol):
    """Something that will happen unless it is cancelled."""

    def cancel(self) -> None: ...


Wait = Callable[[int, Callable[[], object]], Pending]
"""Have something done after so many nanoseconds of the time in which visitors live: the wall's on real sockets, the engine's elsewhere."""


def datagram_cost(data: bytes) -> int:
    """What a datagram counts against ``want``: an empty one is not free."""
    return max(1, len(data))
