"""The route table of a node on a line of numbered nodes: lower numbers inward (IO#1), higher ones outward (IO#2)."""

from dataclasses import dataclass

from bench.hop.chain import ChainMember
from bench.hop.junction import Port
from bench.hop.link import Link

__all__ = ["Port", "Route", "RouteTable"]


@dataclass(frozen=True, slots=True)
class Route:
    """Where a message goes next; ``link`` is None where the way is known but closed."""

    port: Port
    link: Link | None


class RouteTable:
    """Resolves a node number. Never sends a message back where it came from: on a line that is the whole of loop freedom."""

    def __init__(self, chain: ChainMember, loopback: Link) -> None:
        self.chain = chain
        self.loopback = loopback

    def resolve(self, destination: int) -> Route:
        """The way to ``destination``."""
        number = self.chain.number
        if number is None:
            return Route(Port.LOCAL, None)
        if destination == number:
            return Route(Port.LOCAL, self.loopback)
        if destination < number:
            inward = self.chain.inward
            return Route(Port.INWARD, inward if inward is not None and inward.up else None)
        outward = self.chain.outward
        reachable = outward is not None and outward.up and destination in self.chain.beyond
        return Route(Port.OUTWARD, outward if reachable else None)
