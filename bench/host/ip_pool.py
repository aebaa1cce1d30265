"""Addresses that the host gives to cards which ask: a range, in order, remembered by the card's identity (docs/protocol.md, section 5)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bench.net.protocols import text


@dataclass(frozen=True, slots=True)
class Lease:
    """An address, and the card that has it or had it last. What is remembered over a restart."""

    identity: bytes
    address: bytes

    def __str__(self) -> str:
        return f"{self.identity.hex().upper()} {text(self.address)}"


class AddressPool:
    """``size`` addresses from ``first`` on. The lowest that nobody was ever given goes first, then those whose cards have been gone the longest."""

    def __init__(self, first: bytes, size: int, remembered: Iterable[Lease] = ()) -> None:
        if size < 1:
            raise ValueError(f"a pool of {size} addresses")
        self.first = first
        self.size = size
        self._by_identity: dict[bytes, bytes] = {}
        """In the order in which their cards went."""
        self._held: dict[bytes, bytes] = {}
        """Address to identity, of cards that are there."""
        for lease in remembered:
            if self.holds(lease.address) and lease.address not in self._by_identity.values():
                self._by_identity[lease.identity] = lease.address

    def holds(self, address: bytes) -> bool:
        """Whether an address is one of the pool's."""
        offset = int.from_bytes(address, "big") - int.from_bytes(self.first, "big")
        return len(address) == len(self.first) and 0 <= offset < self.size

    def take(self, identity: bytes, refused: Iterable[bytes] = ()) -> bytes | None:
        """An address for a card, the one it had before where it can be; None where all are held. ``refused`` are in use in some other way."""
        kept = self._by_identity.get(identity)
        out = set(refused)
        if kept is not None and self._held.get(kept, identity) == identity and kept not in out:
            self._held[kept] = identity
            return kept
        remembered = set(self._by_identity.values())
        fresh = (each for each in self._all() if each not in remembered)
        gone = (each for each in list(self._by_identity.values()) if each not in self._held)
        for candidates in (fresh, gone):
            for address in candidates:
                if address not in self._held and address not in out:
                    self._give(identity, address)
                    return address
        return None

    def release(self, address: bytes) -> None:
        """Its card is gone; it is kept for that card as long as others are left."""
        identity = self._held.pop(address, None)
        if identity is not None:
            self._by_identity.pop(identity, None)
            self._by_identity[identity] = address  # the last one to go is the last to lose it

    def leases(self) -> tuple[Lease, ...]:
        """Everything that is remembered."""
        return tuple(Lease(identity, address) for identity, address in self._by_identity.items())

    @property
    def free(self) -> int:
        """How many are not held."""
        return self.size - len(self._held)

    def _give(self, identity: bytes, address: bytes) -> None:
        for other, theirs in list(self._by_identity.items()):
            if theirs == address:
                del self._by_identity[other]
        self._by_identity[identity] = address
        self._held[address] = identity

    def _all(self) -> Iterator[bytes]:
        start = int.from_bytes(self.first, "big")
        for offset in range(self.size):
            yield (start + offset).to_bytes(len(self.first), "big")
