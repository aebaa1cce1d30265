"""Packets that must not arrive: those that cannot be delivered, and those whose source is a lie. What crosses the hops is judged."""

from ipaddress import ip_address
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from bench.files.models import expected
from bench.net.chain_control import address_of as numbered
from bench.net.icmp import Icmp, Icmp4, Icmp6
from bench.net.ipv4 import Ipv4
from bench.net.ipv6 import Ipv6
from bench.net.node import Interface
from bench.net.protocols import Proto, text
from bench.net.udp import UdpDatagram, build_udp
from bench.observe import Packet
from bench.scenario.context import StepContext
from bench.scenario.errors import BenchFault
from bench.scenario.step import Measure, Step
from bench.scenario.steps.ip_packets import (
    Named,
    Told,
    carrying,
    is_ip,
    outward,
    packets,
    sound_header,
    told,
    way,
)
from bench.scenario.steps.ip_support import HOST, OUTSIDE, VERSIONS, Station, Version, Who, address_of, network, station
from bench.scenario.steps.support import Watch, milliseconds, wait
from bench.scenario.units import Count, Duration, Line, Span

CODES: Final = {
    4: {"host": (3, 1), "protocol": (3, 2), "port": (3, 3), "hop-limit": (11, 0)},
    6: {"host": (1, 3), "protocol": (4, 1), "port": (1, 4), "hop-limit": (3, 0)},
}
"""Type and code by what is wrong (RFC 792, 1812; RFC 4443)."""
UNUSED_PORT: Final = 40_000
UNUSED_PROTOCOL: Final = 253
"""RFC 3692: for experiments, so nobody's."""
NONCE: Final = 16
SETTLE: Final = Span(2 * 10**9)
"""How long a packet that goes in circles is given to show it."""
PLACES: Final = {OUTSIDE: -1, HOST: 0}


def place(who: str) -> int:
    """Where somebody is: -1 outside, 0 the host, then the cards."""
    return PLACES[who] if who in PLACES else int(who)


def probe(asks: str, source: bytes, destination: bytes, nonce: bytes, hop_limit: int) -> bytes:
    """A packet that ends in ``nonce``: an echo request, a datagram for a port nobody has, or a protocol nobody has."""
    v4 = len(source) == 4
    if asks == "echo":
        echo = Icmp(Icmp4.ECHO if v4 else Icmp6.ECHO, 0, int.from_bytes(nonce[:4], "big"), nonce)
        protocol: int = Proto.ICMP if v4 else Proto.ICMPV6
        payload = echo.encode4() if v4 else echo.encode6(source, destination)
    elif asks == "udp":
        protocol, payload = Proto.UDP, build_udp(source, destination, UdpDatagram(UNUSED_PORT, UNUSED_PORT, nonce))
    else:
        protocol, payload = UNUSED_PROTOCOL, nonce
    if v4:
        return Ipv4(source, destination, protocol, payload, hop_limit).encode()
    return Ipv6(source, destination, protocol, payload, hop_limit).encode()


def way_out(context: StepContext, origin: Station, destination: bytes) -> Interface:
    """Where a station sends packets for a destination. Raises BenchFault where it has no way."""
    found = context.engine.call(lambda: origin.node.way(destination))
    if found is None:
        raise BenchFault(f"{origin.name} has no way of its own to {text(destination)}: nothing can be sent from there")
    return found


class ExpectTold(Step):
    """Sends one packet that cannot be delivered, and holds that its sender is told so by ICMP, with the right code, quoting it; and that the packet
    crossed no hop twice.

    `to` may be the number of a card that is not there.

    Example:
        - expect_told: {from: outside, to: 9, told: host}
        - expect_told: {from: 1, address: 10.78.32.99, told: host, by: host}
        - expect_told: {from: 1, to: 3, asks: udp, told: port, by: 3}
        - expect_told: {from: outside, to: 3, told: hop-limit, hop_limit: 3, by: 2, version: 6}
    """

    verb: ClassVar[str] = "expect_told"
    measures: ClassVar = {
        "told": Measure("ms", "from sending until the error had come back"),
        "crossings": Measure("packets", "how often the packet crossed the hop that it crossed most often"),
    }

    origin: Annotated[Who, Field(alias="from")] = OUTSIDE
    to: Who = ""
    address: Annotated[Line | None, Field(description="an address, in the place of `to` and `version`")] = None
    asks: Annotated[
        Literal["echo", "udp", "protocol"],
        Field(description="an echo request, a datagram for a port nobody has, a protocol nobody has"),
    ] = "echo"
    told: Annotated[Literal["host", "port", "protocol", "hop-limit"], Field(description="what the sender must learn")]
    by: Annotated[Named | None, Field(description="who must say it; anybody where it is not said")] = None
    version: Version = "4"
    hop_limit: Annotated[Count, Field(description="TTL, or hop limit", le=255)] = 64
    within: Annotated[Duration, Field(description="how long it may take")] = Span(60 * 10**9)

    @model_validator(mode="after")
    def _one_destination(self) -> Self:
        if bool(self.to) is (self.address is not None):
            raise expected("either 'to' or 'address'")
        if self.address is not None:
            try:
                ip_address(self.address)
            except ValueError:
                raise expected("an IPv4 or IPv6 address") from None
        return self

    def run(self, context: StepContext) -> None:
        version = int(self.version) if self.address is None else ip_address(self.address).version
        origin = station(context, self.origin)
        source, destination = address_of(context, self.origin, version), self._destination(context, version)
        nonce = context.random.randbytes(NONCE)
        packet = probe(self.asks, source, destination, nonce, self.hop_limit)
        out = way_out(context, origin, destination)
        begun = context.engine.now
        with Watch(context, is_ip) as watch:
            context.engine.call(lambda: out.send(packet))

            def answer() -> tuple[Packet, Told] | None:
                for each in packets(watch):
                    error = told(each)
                    if error is not None and error.to == source and nonce in error.quoted and self._arrives(each):
                        return each, error
                return None

            wait(context, lambda: answer() is not None, self.within)
            found = answer()
            wait(context, lambda: False, SETTLE)
        crossed = [each.hop for each in carrying(watch, nonce)]
        most = max((crossed.count(hop) for hop in crossed), default=0)
        what = f"{self.asks} from {origin.name} to {text(destination)}"
        if found is None:
            context.fail(f"{what}: nobody said anything within {self.within}; it crossed hops {crossed}")
        where, error = found
        context.measured("told", milliseconds(context, error.time - begun))
        context.measured("crossings", most)
        if (error.kind, error.code) != CODES[version][self.told]:
            kind, code = CODES[version][self.told]
            context.fail(
                f"{what}: {text(error.by)} said type {error.kind} code {error.code}; expected type {kind} code {code} ({self.told})"
            )
        if not sound_header(where):
            context.fail(f"{what}: the header of the error is wrong: {where.data[:40].hex()}")
        if self.by is not None and error.by not in self._known(context, self.by):
            context.fail(f"{what}: {text(error.by)} said so, expected {self.by}")
        if most > 1:
            context.fail(f"{what}: it crossed hops {crossed}: no hop may carry it twice")

    def _destination(self, context: StepContext, version: int) -> bytes:
        if self.address is not None:
            return ip_address(self.address).packed
        if self.to.isdigit() and context.rig.chain is not None and int(self.to) > len(context.rig.chain.places):
            return numbered(network(context).router.prefixes[VERSIONS[version]], int(self.to))
        return address_of(context, self.to, version)

    def _arrives(self, packet: Packet) -> bool:
        """Whether this was the last hop on the way to the origin."""
        at = place(self.origin)
        return packet.hop == (at if outward(packet) else at + 1)

    def _known(self, context: StepContext, who: str) -> tuple[bytes, ...]:
        return station(context, who).known


class SendSpoofed(Step):
    """Sends one packet with a source that is not the sender's, and holds that the first node it comes to drops it: it crosses one hop, unanswered.

    The same packet with the sender's own source is sent first, and must be answered.

    Example:
        - send_spoofed: {from: 3, source: outside, to: 1}
        - send_spoofed: {from: outside, source: 2, to: 1, version: 6}
    """

    verb: ClassVar[str] = "send_spoofed"
    measures: ClassVar = {"hops": Measure("hops", "how many hops carried it")}

    origin: Annotated[Who, Field(alias="from")] = OUTSIDE
    source: Annotated[
        Named,
        Field(
            description="whose address it bears: a card's number, `host`, `outside`, `receiver`, `loopback`, `group`"
        ),
    ]
    to: Who
    version: Version = "4"
    within: Annotated[Duration, Field(description="how long the true one may take")] = Span(60 * 10**9)
    settle: Annotated[Duration, Field(description="how long the false one is watched")] = Span(5 * 10**9)

    def run(self, context: StepContext) -> None:
        version = int(self.version)
        origin = station(context, self.origin)
        destination = address_of(context, self.to, version)
        true, false = address_of(context, self.origin, version), self._source(context, version, destination)
        out = way_out(context, origin, destination)
        hops = way(place(self.origin), place(self.to))

        def send(source: bytes, span: Span, until: int) -> list[Packet]:
            nonce = context.random.randbytes(NONCE)
            packet = probe("echo", source, destination, nonce, 64)
            with Watch(context, is_ip) as watch:
                context.engine.call(lambda: out.send(packet))
                wait(context, lambda: len(carrying(watch, nonce)) >= until, span)
            return carrying(watch, nonce)

        if len(send(true, self.within, 2 * len(hops))) < 2 * len(hops):
            context.fail(f"{origin.name} does not even reach {text(destination)} with its own source {text(true)}")
        seen = send(false, self.settle, 2 * len(hops) + 1)
        context.measured("hops", len({each.hop for each in seen}))
        if not seen:
            raise BenchFault(f"{origin.name} sent nothing with the source {text(false)}")
        if len(seen) > 1:
            where = ", ".join(f"{each.hop} ({each.direction.value})" for each in seen)
            context.fail(f"a packet from {origin.name} with the source {text(false)} went on: it crossed hops {where}")

    def _source(self, context: StepContext, version: int, destination: bytes) -> bytes:
        if self.source == "receiver":
            return destination
        if self.source == "loopback":
            return bytes((127, 0, 0, 1)) if version == 4 else bytes(15) + b"\x01"
        if self.source == "group":
            return bytes((224, 0, 0, 1)) if version == 4 else b"\xff\x02" + bytes(13) + b"\x01"
        return address_of(context, self.source, version)
