"""The router's other side: what carries packets to and from a network. A line to peers of this process, or a TUN device of the machine."""

from collections.abc import Callable
from typing import Protocol


class PacketUplink(Protocol):
    """One link to a network. Packets are IPv4 or IPv6, whole, without any framing."""

    on_packet: Callable[[bytes], None]
    """The router's: called, as an event of the engine, with each packet that comes from the network."""
    on_room: Callable[[], None]
    """The router's: called when ``send`` takes packets again after it took none."""

    @property
    def mtu(self) -> int:
        """The longest packet it takes, bytes."""

    def send(self, packet: bytes) -> bool:
        """Take a packet to the network; False where there is no room for it now: the router drops it, or its own TCP waits."""

    def close(self) -> None:
        """Let go of everything; nothing is called any more."""
