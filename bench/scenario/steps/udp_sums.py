"""Checksums of UDP (RFC 768; RFC 1122, 4.1.3.4; RFC 8200, 8.1): wrong ones are dropped in silence, none at all is right in IPv4 alone."""

from struct import pack
from typing import ClassVar, Final

from bench.card.applications.datagrams import ECHO_PORT
from bench.scenario.context import StepContext
from bench.scenario.step import Measure, Step
from bench.scenario.steps.ip_support import OUTSIDE, Version, Who, address_of, station
from bench.scenario.steps.support import wait
from bench.scenario.steps.tcp_peer import ANSWER, checksum
from bench.scenario.units import Span

UDP: Final = 17
SETTLE: Final = Span(10**9)


class UdpSums(Step):
    """Sends datagrams with a wrong checksum, without one and with a right one to an echo, and holds that those come back that must, and no others.

    Example:
        - udp_sums: {to: 1, version: 6}
          measure:
            echoed: {equals: 1, unit: datagrams}
    """

    verb: ClassVar[str] = "udp_sums"
    measures: ClassVar = {"echoed": Measure("datagrams", "what came back: the right one; in IPv4 the one without, too")}

    to: Who
    version: Version = "4"

    def run(self, context: StepContext) -> None:
        origin, engine = station(context, OUTSIDE), context.engine
        destination = address_of(context, self.to, int(self.version))
        port = origin.udp.bind(remote=(destination, ECHO_PORT))
        source = next(each for each in origin.known if len(each) == len(destination))
        came: list[bytes] = []

        def take() -> None:
            while (datagram := port.take()) is not None:
                came.append(datagram.payload)

        def send(payload: bytes, sum_of: int) -> None:
            body = pack("!HHHH", port.port, ECHO_PORT, 8 + len(payload), 0) + payload
            right = checksum(source, destination, UDP, body) or 0xFFFF
            body = body[:6] + (right * (sum_of & 1) ^ sum_of >> 1).to_bytes(2, "big") + body[8:]
            origin.node.send(source, destination, UDP, body, engine.now)

        def begin() -> None:
            port.on_datagram = take
            send(b"wrong", 1 | 0x0101 << 1)
            send(b"none", 0)
            send(b"right", 1)

        engine.call(begin)
        wait(context, lambda: b"right" in came, ANSWER)
        wait(context, lambda: len(came) > 2, SETTLE)
        engine.call(lambda: origin.udp.close(port))
        wanted = [b"none", b"right"] if self.version == "4" else [b"right"]
        if sorted(came) != wanted:
            shown = " ".join(each.decode(errors="replace") for each in sorted(came)) or "none"
            context.fail(f"of a wrong, a missing and a right checksum came back: {shown}")
        context.measured("echoed", len(came))
