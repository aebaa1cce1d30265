"""What bulk over IP makes of the first hop's line, from the packets that crossed it.

The packets are read here by their layouts (RFC 791, 8200, 768, 9293): a judge does not ask the code it judges.
Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench.net.limit import Bulk, shortest
from bench.observe import Direction, Exchange, Observation, Packet
from bench.scenario.context import StepContext
from bench.scenario.errors import NotApplicable
from bench.scenario.steps.line_limits import line_limit

TCP: Final = 6
UDP: Final = 17
_ACK: Final = 0x10


@dataclass(frozen=True, slots=True)
class Crossing:
    """One packet of TCP or UDP that crossed the first hop. Fragments are none."""

    time: int
    direction: Direction
    headers: int
    """Bytes before the payload."""
    payload: int
    start: bytes
    """What tells the payload of a stream from what was sent before: addresses, ports and sequence number. Empty for UDP."""
    acknowledges: bool
    """A segment that does nothing but acknowledge."""


def of_interest(observation: Observation) -> bool:
    """What a watch must keep for ``share_of_limit``."""
    return isinstance(observation, Packet | Exchange) and observation.hop == 1


def share_of_limit(
    context: StepContext,
    seen: Sequence[Observation],
    directions: frozenset[Direction],
    protocol: int,
    longest: int | None = None,
) -> float | None:
    """Percent of the limit that the bulk in these directions reached on the first hop, from its first packet to its last full one: what
    is left of a stream waits by Nagle's rule for an acknowledgement, which may be delayed.

    ``longest``: payload of a packet, where the application chose it; by default what the MTU leaves. None where fewer than three packets crossed.
    Raises NotApplicable where the line shows no limit.
    """
    if context.rig.unpaced:
        raise NotApplicable(context.rig.unpaced)
    limit = line_limit(context, [each for each in seen if isinstance(each, Exchange)])
    if limit is None:
        raise NotApplicable("this reader shows neither the rate nor the clock: there is no limit to compare with")
    crossings = [
        crossing for each in seen if isinstance(each, Packet) and (crossing := read(each, protocol)) is not None
    ]
    data = _new(crossings, directions)
    if len(data) < 3:
        return None
    begun, ended = data[0].time, data[-1].time
    mtu = context.rig.host.link.mtu
    bulks = {
        direction: _bulk(crossings, [each for each in data if each.direction is direction], ended, mtu, longest)
        for direction in (Direction.OUT, Direction.IN)
    }
    best = shortest(limit, bulks[Direction.OUT], bulks[Direction.IN], context.engine.timebase.hz)
    return 100.0 * best / (ended - begun)


def _new(crossings: Sequence[Crossing], directions: frozenset[Direction]) -> list[Crossing]:
    """Packets with payload, in these directions; what is sent again does not count."""
    known: set[bytes] = set()
    found = []
    for each in crossings:
        if each.direction not in directions or not each.payload or each.start in known:
            continue
        if each.start:
            known.add(each.start)
        found.append(each)
    fullest = max((each.payload for each in found), default=0)
    while found and found[-1].payload < fullest:
        found.pop()
    return found


def _bulk(crossings: Sequence[Crossing], data: Sequence[Crossing], ended: int, mtu: int, longest: int | None) -> Bulk:
    """One direction's, without its first packet: a part of that had crossed before the span that is judged began."""
    if len(data) < 2:
        return Bulk()
    begun = data[0].time
    acknowledged = sum(
        each.acknowledges and each.direction is not data[0].direction and begun < each.time <= ended
        for each in crossings
    )
    headers = data[0].headers
    return Bulk(sum(each.payload for each in data[1:]), longest or mtu - headers, headers, acknowledged)


def sent_again(seen: Sequence[Observation], direction: Direction) -> int:
    """TCP segments with data that crossed the first hop once more in this direction, by what they say they are."""
    known: set[bytes] = set()
    again = 0
    for each in seen:
        if not isinstance(each, Packet) or each.direction is not direction:
            continue
        crossing = read(each, TCP)
        if crossing is not None and crossing.payload:
            again += crossing.start in known
            known.add(crossing.start)
    return again


def read(packet: Packet, wanted: int) -> Crossing | None:
    """A packet of TCP or UDP (``wanted``) without extension headers, that is no fragment; None for any other."""
    data = packet.data
    if packet.kind == "ipv4":
        layer4, protocol, addresses = (data[0] & 15) * 4, data[9], data[12:20]
        end = int.from_bytes(data[2:4], "big")
        whole = not int.from_bytes(data[6:8], "big") & 0x3FFF
    elif packet.kind == "ipv6":
        layer4, protocol, addresses = 40, data[6], data[8:40]
        end = 40 + int.from_bytes(data[4:6], "big")
        whole = True
    else:
        return None
    if not whole or protocol != wanted:
        return None
    headers = layer4 + (8 if protocol == UDP else (data[layer4 + 12] >> 4) * 4)
    payload = end - headers
    start = addresses + data[layer4 : layer4 + 8] if protocol == TCP else b""
    acknowledges = protocol == TCP and not payload and data[layer4 + 13] == _ACK
    return Crossing(packet.time_ticks, packet.direction, headers, payload, start, acknowledges)
