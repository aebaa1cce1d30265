"""Packets followed from hop to hop: by the way they must take, and altered as little as they may be."""

from itertools import pairwise
from typing import Annotated, ClassVar

from pydantic import Field

from bench.observe import Packet
from bench.scenario.context import StepContext
from bench.scenario.step import Measure, Step
from bench.scenario.steps.ip_packets import hop_limit, is_ip, outward, packets, sound_header, unaltered, way
from bench.scenario.steps.ip_streams import Stream, serve_outside
from bench.scenario.steps.ip_support import OUTSIDE, Version, Who, address_of, station
from bench.scenario.steps.ip_told import SETTLE, place
from bench.scenario.steps.support import Watch, milliseconds, wait
from bench.scenario.units import Duration, Size, Span


class FollowPackets(Step):
    """Has bytes echoed over TCP between two stations, and follows each packet from hop to hop.

    What a node passes on must be what came, with a hop limit less by one and a sound header.

    `to` may be `outside`: a server there sends everything back.

    Example:
        - follow_packets: {from: 2, to: 4, size: 4 KiB}
          measure:
            elsewhere: {equals: 0, unit: packets}
    """

    verb: ClassVar[str] = "follow_packets"
    measures: ClassVar = {
        "elsewhere": Measure("packets", "IP packets on hops that are not between the two"),
        "packets": Measure("packets", "packets that crossed the first hop of the way"),
        "echo_time": Measure("ms", "until all bytes were back"),
    }

    origin: Annotated[Who, Field(alias="from")]
    to: Who
    version: Version = "4"
    size: Annotated[Size, Field(description="how much is echoed", ge=1, le=1 << 20)] = 4096
    within: Annotated[Duration, Field(description="how long it may take")] = Span(600 * 10**9)

    def run(self, context: StepContext) -> None:
        if self.to == OUTSIDE:
            serve_outside(context)
        destination = address_of(context, self.to, int(self.version))
        hops = way(place(self.origin), place(self.to))
        begun = context.engine.now
        with Watch(context, is_ip) as watch:
            stream = Stream.open(context, station(context, self.origin), destination, self.within)
            context.engine.call(lambda: stream.go_on(self.size))
            wait(context, lambda: stream.received >= self.size or stream.over, self.within)
            took = context.engine.now - begun
            context.engine.call(stream.program.close)
            wait(context, lambda: stream.over, self.within)
            wait(context, lambda: False, SETTLE)
        stream.check(context)
        if stream.received < self.size:
            context.fail(f"{stream.received} of {self.size} bytes came back within {self.within}")
        seen = packets(watch)
        context.measured("echo_time", milliseconds(context, took))
        context.measured("packets", sum(each.hop == hops[0] for each in seen))
        context.measured("elsewhere", sum(each.hop not in hops for each in seen))
        if missing := [hop for hop in hops if all(each.hop != hop for each in seen)]:
            context.fail(f"nothing crossed hop {missing[0]}, which is on the way")
        _follow(context, seen, hops)


def _follow(context: StepContext, seen: list[Packet], hops: list[int]) -> None:
    """Each packet of the way from hop to hop, by all that nobody may change of it."""
    limits: dict[tuple[bytes, bool], dict[int, list[int]]] = {}
    for each in seen:
        if each.hop not in hops:
            continue
        if not sound_header(each):
            context.fail(f"a packet on hop {each.hop} has a header that is not sound: {each.data[:40].hex()}")
        limits.setdefault((unaltered(each), outward(each)), {}).setdefault(each.hop, []).append(hop_limit(each))
    for (data, out), by_hop in limits.items():
        order = sorted(hops, reverse=not out)
        for before, after in pairwise(order):
            came, went = by_hop.get(before, []), by_hop.get(after, [])
            if len(went) > len(came):
                context.fail(f"a packet on hop {after} never came over hop {before}: {data[:48].hex()}")
            for first, second in zip(came, went, strict=False):
                if second != first - 1:
                    context.fail(f"hop limit {first} on hop {before}, {second} on hop {after}; expected {first - 1}")
        if len(by_hop.get(order[0], [])) > len(by_hop.get(order[-1], [])):
            context.fail(f"a packet was lost between hops {order[0]} and {order[-1]}, or altered: {data[:48].hex()}")
