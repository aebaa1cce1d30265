"""Names of cards: one zone, updated when a card arrives, answered with authority over UDP (RFC 1035, 2181).

A card that moves to another host keeps its name. A name belongs to the identity that claimed it first, for good: another card that claims it is
refused, whether the first one is there or not.

Units: a TTL is in seconds.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from bench.net.dns import PORT, DnsError, Zone, answer, read_query
from bench.net.protocols import text
from bench.net.udp_ports import UdpPort, UdpPorts

TTL_S: Final = 5
"""How long anyone may believe an answer: a card that has moved is found again after so long."""
ORIGIN: Final = "cards.test."
"""RFC 6761: a name for tests, which no real server has."""


@dataclass(frozen=True, slots=True)
class NameOwner:
    """Whose a name is. What is remembered over a restart."""

    identity: bytes
    label: str

    def __str__(self) -> str:
        return f"{self.identity.hex().upper()} {self.label}"


@dataclass(slots=True)
class Record:
    """One name."""

    identity: bytes
    host: object = None
    """Which host the card is at; None while it is at none."""
    addresses: tuple[bytes, ...] = ()


class NameZone:
    """The zone, shared by every host that serves it."""

    def __init__(self, origin: str = ORIGIN, ttl: int = TTL_S, remembered: Iterable[NameOwner] = ()) -> None:
        if not 0 <= ttl <= TTL_S:
            raise ValueError(f"a TTL of {ttl} s: a card that moves must be found again within {TTL_S} s")
        self.origin = origin
        self.ttl = ttl
        self.serial = 1
        self.records: dict[str, Record] = {each.label: Record(each.identity) for each in remembered}
        """By label."""

    def owners(self) -> tuple[NameOwner, ...]:
        """Everything that is remembered."""
        return tuple(NameOwner(record.identity, label) for label, record in self.records.items())

    def claim(self, label: str, identity: bytes, host: object, addresses: tuple[bytes, ...]) -> bool:
        """A card has arrived at a host. False where the name is another card's. The latest arrival holds."""
        record = self.records.get(label)
        if record is not None and record.identity != identity:
            return False
        self.records[label] = Record(identity, host, addresses)
        self.serial += 1
        return True

    def update(self, label: str, host: object, addresses: tuple[bytes, ...]) -> None:
        """The card's addresses at this host have changed; nothing where it is at another one by now."""
        record = self.records.get(label)
        if record is not None and record.host is host and record.addresses != addresses:
            record.addresses = addresses
            self.serial += 1

    def leave(self, label: str, host: object) -> None:
        """The card has left a host; nothing where it is at another one by now."""
        record = self.records.get(label)
        if record is not None and record.host is host:
            record.host = None
            record.addresses = ()
            self.serial += 1

    def forget(self, label: str) -> None:
        """Give a name free (an operator's word: the card is lost)."""
        if self.records.pop(label, None) is not None:
            self.serial += 1

    def lookup(self, name: str, version: int) -> tuple[bytes, ...] | None:
        """The addresses of a name in lower case with its final dot; None where there is no such name."""
        if name == self.origin:
            return ()
        record = self.records.get(name.removesuffix("." + self.origin))
        if record is None:
            return None
        size = {4: 4, 6: 16}.get(version, 0)
        return tuple(each for each in record.addresses if len(each) == size)


@dataclass(slots=True)
class NameServer:
    """Answers at port 53 of a node."""

    udp: UdpPorts
    zone: NameZone
    now: Callable[[], int]
    malformed: int = 0
    answered: int = 0
    _port: UdpPort = field(init=False)

    def __post_init__(self) -> None:
        self._port = self.udp.bind(PORT)
        self._port.on_datagram = self._asked

    def close(self) -> None:
        """Answer no more."""
        self.udp.close(self._port)

    def _asked(self) -> None:
        while (datagram := self._port.take()) is not None:
            try:
                question, data = read_query(datagram.payload)
                found = self.zone.lookup(question.name, question.version)
                addresses = None if found is None else tuple(text(each) for each in found)
                reply = answer(data, Zone(self.zone.origin, self.zone.serial, self.zone.ttl), addresses)
            except DnsError:
                self.malformed += 1
                continue
            self.answered += 1
            source, port = datagram.source, datagram.source_port
            self.udp.send(self._port, source, port, reply, self.now(), source=datagram.destination)
