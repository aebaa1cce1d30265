"""What the IP stack of a reference card is given: how it comes to its addresses, and what memory it may spend."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from bench.net.plug import IpSettings
from bench.net.reassembly import ReassemblyBounds
from bench.net.udp_ports import UdpBounds

if TYPE_CHECKING:
    from bench.card.ip_stack import CardIp


class Addressing(Enum):
    """Where the card's addresses come from (docs/protocol.md, section 5)."""

    NUMBERED = "numbered"
    """The chain's prefix and the card's number."""
    STATIC = "static"
    """The card brings them, and claims them."""
    POOL = "pool"
    """The card asks the host for one of each version."""
    PPP = "ppp"
    """A PPP link over IO#1: by IPCP and IPV6CP (docs/ppp.md)."""


@dataclass(frozen=True, slots=True)
class PppProfile:
    """What the card wants of its PPP link."""

    mru: int = 1500
    """The longest information field it asks to be sent."""
    takes: int = 1500
    """The longest it takes all the same. Below 1500 that deviates from RFC 1661, 6.1, and is to be declared."""
    accm: int | None = 0
    """Control characters to be escaped on a serial line, which an external support may make of the hop; None: all, as without the option."""
    address: bytes = bytes(4)
    """The IPv4 address it brings; 0.0.0.0 asks for one."""
    identifier: bytes = bytes(8)
    """The interface identifier it brings; zero asks for one."""
    remembers: bool = False
    """Whether it asks for the address it had before it was reset."""
    asks_dns: bool = False


@dataclass(frozen=True, slots=True)
class IpProfile:
    """One card's."""

    settings: IpSettings = field(default_factory=IpSettings)
    addressing: Addressing = Addressing.NUMBERED
    static: tuple[bytes, ...] = ()
    """The addresses it brings, where they are static."""
    versions: tuple[int, ...] = (4, 6)
    """Versions of IP for which it takes or asks for an address."""
    name: str = ""
    """The name it claims, a label; empty: none."""
    visitors: int = 8
    """UDP peers served at a time by one application."""
    ppp: PppProfile | None = None
    """Its PPP link, where its addresses come that way."""
    far_routes: int = 64
    """Granted addresses beyond it that it remembers the way to."""
    stack: "type[CardIp] | None" = None
    """Another stack than the reference one: a card that is wrong on purpose (``bench.card.defects``)."""

    def with_memory(self, preset: str) -> "IpProfile":
        """The same with a preset's memory. Raises KeyError for an unknown one."""
        return replace(
            self, settings=replace(IP_MEMORY[preset], secret=self.settings.secret), visitors=IP_VISITORS[preset]
        )


def _spent(connections: int, buffer: int, datagrams: int, held: int, longest: int) -> IpSettings:
    """Buffers of each connection and direction; datagrams at a port; bytes for datagrams and for fragments, and the longest datagram."""
    return IpSettings(
        connections=connections,
        send_buffer=buffer,
        receive_buffer=buffer,
        udp=UdpBounds(ports=connections + 2, datagrams=datagrams, bytes=held),
        reassembly=ReassemblyBounds(datagrams=2, total=held, longest=longest, pieces=64),
    )


IP_MEMORY: Final[Mapping[str, IpSettings]] = MappingProxyType(
    {
        "2000": _spent(connections=2, buffer=88, datagrams=1, held=160, longest=160),
        "2001-gemplus": _spent(connections=4, buffer=216, datagrams=2, held=576, longest=576),
        "modern": _spent(connections=16, buffer=1220, datagrams=4, held=2048, longest=2048),
        "large": _spent(connections=64, buffer=8192, datagrams=16, held=16_384, longest=16_384),
    }
)
"""By the names of ``bench.card.profile.MEMORY``. The two oldest cannot join 1500 bytes (RFC 8200, 5), the first not even 576 (RFC 1122, 3.3.2)."""
IP_VISITORS: Final[Mapping[str, int]] = MappingProxyType({"2000": 1, "2001-gemplus": 2, "modern": 8, "large": 16})
