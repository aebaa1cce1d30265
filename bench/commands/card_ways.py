"""What the ways of ``cardbench card --serve`` share."""

from dataclasses import dataclass
from typing import Protocol

from bench.rig.orders import ServeOrder
from bench.rig.pcscd import PrivatePcscd


@dataclass(frozen=True, slots=True)
class WayOptions:
    """Where and how: each way takes what concerns it."""

    host: str
    port: int | None
    device: str | None
    """A path: a link to the pty is made there."""
    model: str
    once: bool
    rst: str = "cts"
    """The incoming line of a real tty that is RST."""
    socket: str | None = None
    """A path: QEMU finds a USB reader there."""
    level: str = "tpdu"
    """The exchange level of a USB reader."""


class Way(Protocol):
    """Serves until interrupted."""

    def __call__(self, order: ServeOrder, options: WayOptions, daemon: PrivatePcscd | None, /) -> None:
        """``daemon`` is a private pcscd, not started yet, to serve to; None where there is none. Raises RigError."""


def chain_text(order: ServeOrder) -> str:
    """What is served, for people."""
    return "a card" if order.given["cards"] == "1" else f"a chain of {order.given['cards']} cards"


def never() -> bool:
    """A way that serves until it is interrupted."""
    return False
