"""What packets look like on their way, by the layouts of RFC 791, 792, 8200 and 4443: a judge does not ask the code it judges.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import WithJsonSchema

from bench.observe import Direction, Observation, Packet
from bench.scenario.steps.support import Watch
from bench.scenario.units import Line

Named = Annotated[Line, WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string"}]})]
"""Whose something is: a card's number, or a word."""
IPV4: Final = "ipv4"
KINDS: Final = (IPV4, "ipv6")
ICMP: Final = {IPV4: 1, "ipv6": 58}
_ERRORS: Final = {IPV4: (3, 4, 5, 11, 12), "ipv6": (1, 2, 3, 4)}


@dataclass(frozen=True, slots=True)
class Told:
    """An ICMP error that crossed a hop."""

    time: int
    hop: int
    kind: int
    code: int
    by: bytes
    to: bytes
    quoted: bytes
    """The packet it is about, as much as it quotes."""


def is_ip(observation: Observation) -> bool:
    """What a watch must keep for everything here."""
    return isinstance(observation, Packet) and observation.kind in KINDS


def packets(watch: Watch) -> list[Packet]:
    """The IP packets that were seen, in order."""
    return [each for each in watch.seen if isinstance(each, Packet)]


def carrying(watch: Watch, nonce: bytes) -> list[Packet]:
    """Packets whose payload ends in ``nonce``, wherever they crossed: a probe, or its echo, but no error that quotes it."""
    return [each for each in packets(watch) if each.data.endswith(nonce) and told(each) is None]


def told(packet: Packet) -> Told | None:
    """The ICMP error in a packet; None where it is none."""
    data = packet.data
    v4 = packet.kind == IPV4
    start = (data[0] & 15) * 4 if v4 else 40
    if (data[9] if v4 else data[6]) != ICMP[packet.kind] or len(data) < start + 8:
        return None
    kind, code = data[start], data[start + 1]
    if kind not in _ERRORS[packet.kind]:
        return None
    by, to = (data[12:16], data[16:20]) if v4 else (data[8:24], data[24:40])
    return Told(packet.time_ticks, packet.hop, kind, code, by, to, data[start + 8 :])


def addresses(data: bytes) -> tuple[bytes, bytes]:
    """Source and destination of a packet, or of a quotation that holds at least its header; empty where it does not."""
    if len(data) >= 20 and data[0] >> 4 == 4:
        return data[12:16], data[16:20]
    return (data[8:24], data[24:40]) if len(data) >= 40 else (b"", b"")


def hop_limit(packet: Packet) -> int:
    """TTL, or hop limit."""
    return packet.data[8] if packet.kind == IPV4 else packet.data[7]


def sound_header(packet: Packet) -> bool:
    """Whether lengths fit and the header's checksum is right (IPv6 has none)."""
    data = packet.data
    if packet.kind != IPV4:
        return len(data) >= 40 and int.from_bytes(data[4:6], "big") + 40 == len(data)
    size = (data[0] & 15) * 4
    if size < 20 or int.from_bytes(data[2:4], "big") != len(data):
        return False
    total = sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, size, 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total == 0xFFFF


def unaltered(packet: Packet) -> bytes:
    """Everything of a packet that no node on the way may change: all but the hop limit and the checksum of the header."""
    data = packet.data
    return data[:8] + data[9:10] + data[12:] if packet.kind == IPV4 else data[:7] + data[8:]


def outward(packet: Packet) -> bool:
    """Whether it goes away from the network outside, towards the end of the chain."""
    return (packet.direction is Direction.OUT) is (packet.hop > 0)


def way(origin: int, to: int) -> list[int]:
    """The hops between two places of the chain, in order: -1 is the computer outside, 0 the host, then the cards. The uplink is hop 0."""
    first, last = min(origin, to), max(origin, to)
    hops = list(range(first + 1, last + 1))
    return hops if origin < to else hops[::-1]
