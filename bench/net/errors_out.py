"""ICMP errors a node sends: what may cause one, what is quoted, and how often (RFC 792; RFC 1122, 3.2.2; RFC 1812, 4.3.2; RFC 4443, 2.4)."""

from dataclasses import dataclass
from typing import Final

from bench.net import ipv4, ipv6
from bench.net.errors import PacketError
from bench.net.icmp import ERRORS4, HEADER, Icmp, Icmp6
from bench.net.ipv4 import Ipv4
from bench.net.ipv6 import Ipv6
from bench.net.protocols import V4_BROADCAST, Proto, is_multicast, is_one_host

QUOTE4: Final = 576
"""An ICMP message is to stay within this many bytes, IP header included (RFC 1812, 4.3.2.3)."""
QUOTE6: Final = 1280
"""The same for ICMPv6 (RFC 4443, 2.4 c)."""


def may_answer4(packet: Ipv4) -> bool:
    """Whether an error about this packet is allowed at all (RFC 1122, 3.2.2): not about errors, groups, later fragments, sources that are no host."""
    if packet.offset or is_multicast(packet.destination) or packet.destination == V4_BROADCAST:
        return False
    if not is_one_host(packet.source):
        return False
    return not (packet.protocol == Proto.ICMP and (not packet.payload or packet.payload[0] in ERRORS4))


def may_answer6(packet: Ipv6, error: Icmp) -> bool:
    """The same for ICMPv6 (RFC 4443, 2.4 e): groups may cause Packet Too Big, and Parameter Problem code 2."""
    if not is_one_host(packet.source):
        return False
    if is_multicast(packet.destination) and error.kind != Icmp6.TOO_BIG and (error.kind, error.code) != (4, 2):
        return False
    try:
        found = ipv6.walk(packet)
    except PacketError:
        return True  # what cannot be walked is no ICMPv6 error that we could see
    if found.protocol != Proto.ICMPV6:
        return found.protocol != Proto.FRAGMENT
    at = found.offset - ipv6.HEADER
    kind = packet.payload[at] if at < len(packet.payload) else 0
    return kind >= 128 and kind != Icmp6.REDIRECT


def quote4(data: bytes, mtu: int) -> bytes:
    """As much of the packet as came as fits an unfragmented message, at least its header and eight bytes."""
    header = (data[0] & 0x0F) << 2
    return data[: max(header + 8, min(QUOTE4, mtu) - ipv4.HEADER - HEADER)]


def quote6(data: bytes, mtu: int) -> bytes:
    """As much of the packet as fits the least MTU of IPv6, or the link's where that is less (links of cards may be)."""
    return data[: max(ipv6.HEADER + 8, min(QUOTE6, mtu) - ipv6.HEADER - HEADER)]


@dataclass(slots=True)
class ErrorBucket:
    """A token bucket for errors (RFC 4443, 2.4 f; RFC 1812, 4.3.2.8). Times in ticks."""

    period: int
    """Ticks until another error may go out."""
    burst: int = 10
    _tokens: int = 10
    _since: int = 0

    def take(self, now: int) -> bool:
        """Whether one more error may go out now."""
        if self.period:
            gained = (now - self._since) // self.period
            if gained > 0:
                self._tokens = min(self.burst, self._tokens + gained)
                self._since += gained * self.period
        if not self._tokens:
            return False
        self._tokens -= 1
        return True
