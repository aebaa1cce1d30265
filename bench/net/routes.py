"""The route table: longest prefix match (RFC 1812, 5.2.4.3), for both versions of IP at once."""

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Prefix:
    """The first ``length`` bits of ``address``; the others are zero."""

    address: bytes
    length: int

    def __post_init__(self) -> None:
        bits = len(self.address) * 8
        if not 0 <= self.length <= bits:
            raise ValueError(f"a prefix of {self.length} bits in an address of {bits}")
        if int.from_bytes(self.address, "big") & ((1 << bits - self.length) - 1):
            raise ValueError(f"{self}: bits beyond the prefix are set")

    @classmethod
    def parse(cls, text: str) -> "Prefix":
        """From ``10.0.0.0/8`` or an address alone. Raises ValueError."""
        network = ipaddress.ip_network(text)
        return cls(network.network_address.packed, network.prefixlen)

    @classmethod
    def of(cls, address: bytes, length: int) -> "Prefix":
        """The prefix that an address lies in."""
        return cls(_masked(address, length), length)

    def holds(self, address: bytes) -> bool:
        """Whether an address lies in it."""
        return len(address) == len(self.address) and _masked(address, self.length) == self.address

    def __str__(self) -> str:
        return f"{ipaddress.ip_address(self.address)}/{self.length}"


@dataclass(frozen=True, slots=True)
class Route:
    """Where packets for a prefix go."""

    prefix: Prefix
    interface: int
    """The node's own number of the interface."""
    gateway: bytes = b""
    """The next router's address; empty where the interface reaches the destination itself. A link between two needs none."""
    metric: int = 0
    """Of two routes for one prefix the lower one is taken."""


class RouteTable:
    """Routes of one node. A lookup costs one dictionary access for each prefix length in use."""

    def __init__(self) -> None:
        self._by_length: dict[tuple[int, int], dict[bytes, list[Route]]] = {}
        self._lengths: dict[int, tuple[int, ...]] = {4: (), 16: ()}
        self._cache: dict[bytes, Route | None] = {}
        self.changes = 0
        """Counts changes: what was looked up before one may not hold after it."""

    def __iter__(self) -> Iterator[Route]:
        for size, lengths in self._lengths.items():
            for length in lengths:
                for routes in self._by_length[size, length].values():
                    yield from routes

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def add(self, route: Route) -> None:
        """Add a route; the same one (prefix, interface, gateway) is replaced."""
        self.remove(route.prefix, route.interface, route.gateway)
        size, length = len(route.prefix.address), route.prefix.length
        same = self._by_length.setdefault((size, length), {}).setdefault(route.prefix.address, [])
        same.append(route)
        same.sort(key=lambda each: each.metric)
        self._changed()

    def remove(self, prefix: Prefix, interface: int, gateway: bytes = b"") -> bool:
        """Take a route out; False where there was none."""
        known = self._by_length.get((len(prefix.address), prefix.length), {})
        routes = known.get(prefix.address, [])
        kept = [each for each in routes if (each.interface, each.gateway) != (interface, gateway)]
        if len(kept) == len(routes):
            return False
        known[prefix.address] = kept
        self._changed()
        return True

    def withdraw(self, interface: int) -> tuple[Route, ...]:
        """Take out every route over an interface: the hop has died. Gives them."""
        gone = tuple(route for route in self if route.interface == interface)
        for route in gone:
            self.remove(route.prefix, interface, route.gateway)
        return gone

    def lookup(self, destination: bytes) -> Route | None:
        """The route with the longest prefix that holds ``destination``; None where there is none."""
        cache = self._cache
        try:
            return cache[destination]
        except KeyError:
            pass
        if len(cache) >= _CACHE:
            cache.clear()
        found = cache[destination] = self._search(destination)
        return found

    def _search(self, destination: bytes) -> Route | None:
        size = len(destination)
        for length in self._lengths.get(size, ()):
            routes = self._by_length[size, length].get(_masked(destination, length))
            if routes:
                return routes[0]
        return None

    def touch(self) -> None:
        """Something else than a route has changed on which flows rely: an address, an interface."""
        self.changes += 1

    def _changed(self) -> None:
        self.touch()
        self._cache.clear()
        for (size, length), known in list(self._by_length.items()):
            for address in [address for address, routes in known.items() if not routes]:
                del known[address]
            if not known:
                del self._by_length[size, length]
        for size in (4, 16):
            lengths = (length for each, length in self._by_length if each == size)
            self._lengths[size] = tuple(sorted(lengths, reverse=True))


_CACHE = 256
"""Destinations remembered between changes: bounded, since whoever sends packets chooses them."""


def _masked(address: bytes, length: int) -> bytes:
    size = len(address)
    drop = size * 8 - length
    return (int.from_bytes(address, "big") >> drop << drop).to_bytes(size, "big")
