"""What arrives at a card in any order, and what a card sends of the length that was asked for (RFC 9293, 3.7.1, 3.10.7.4)."""

from typing import Annotated, ClassVar

from pydantic import Field

from bench.card.applications.datagrams import ECHO_PORT
from bench.card.applications.streams import CHARGEN_PORT
from bench.pattern import pattern
from bench.scenario.context import StepContext
from bench.scenario.step import Measure, Step
from bench.scenario.steps.ip_support import OUTSIDE, VERSIONS, Version, Who, address_of, connect, station
from bench.scenario.steps.support import milliseconds, wait
from bench.scenario.steps.tcp_peer import ACK, PSH, RawPeer, behind, mss_option
from bench.scenario.units import Duration, Size, Span, Whole

HEADERS = {4: 40, 6: 60}
MSS_DEFAULT = {4: 536, 6: 1220}
"""Where a SYN says nothing (MUST-15)."""
SETTLE = Span(10**9)


class TcpOrder(Step):
    """Sends the bytes of an echo in segments that overlap, twice each and in disorder, and beyond the window, and holds that they come back in order.

    What lies beyond a gap a card may keep or forget; what lies beyond its window it must not keep. What is not acknowledged is sent again, in order.

    Example:
        - tcp_order: {to: 1, size: 2 KiB}
          measure:
            forgotten: {at_most: 100, unit: percent}
    """

    verb: ClassVar[str] = "tcp_order"
    measures: ClassVar = {
        "forgotten": Measure("percent", "bytes that had to be sent again since the card had not kept them"),
        "echo_time": Measure("ms", "until everything was back"),
    }

    to: Who
    version: Version = "4"
    size: Annotated[Size, Field(description="how much", ge=64, le=65_536)] = 2048
    segment: Annotated[Size, Field(description="bytes of a segment", ge=2, le=1400)] = 64
    within: Annotated[Duration, Field(description="how long it may take")] = Span(600 * 10**9)

    def run(self, context: StepContext) -> None:
        data = pattern(0, self.size)
        with RawPeer(context, self.to, int(self.version), ECHO_PORT) as peer:
            peer.answers = True
            first = peer.open().ack
            begun = context.engine.now
            taken = again = 0
            while taken < self.size:
                self._quiet(peer)
                room = self._window(peer, first) - taken
                batch = data[taken : taken + max(1, room)]
                self._scatter(context, peer, first + taken, batch, room)
                goal = taken + len(batch)
                peer.wait(lambda goal=goal: self._acknowledged(peer, first) >= goal, SETTLE)  # type: ignore[misc]
                now = self._acknowledged(peer, first)
                if now < goal:  # it keeps less than it offers: once more, in order
                    again += goal - now
                    for at in range(now, goal, self.segment):
                        peer.say(ACK, data[at : min(goal, at + self.segment)], seq=first + at)
                    peer.wait(lambda goal=goal: self._acknowledged(peer, first) >= goal)  # type: ignore[misc]
                if self._acknowledged(peer, first) <= taken:
                    context.fail(f"nothing after byte {taken} is taken, whatever is sent")
                taken = self._acknowledged(peer, first)
                peer.seq = first + taken & 0xFFFF_FFFF
            peer.wait(lambda: len(peer.received) >= self.size, self.within)
            if bytes(peer.received) != data:
                pairs = enumerate(zip(peer.received, data, strict=False))
                wrong = next((at for at, (came, sent) in pairs if came != sent), len(peer.received))
                context.fail(f"{len(peer.received)} of {self.size} bytes came back; what was sent ends at byte {wrong}")
            context.measured("forgotten", 100 * again / self.size)
            context.measured("echo_time", milliseconds(context, context.engine.now - begun))
            peer.leave()

    def _scatter(self, context: StepContext, peer: RawPeer, begin: int, batch: bytes, room: int) -> None:
        """Every piece twice, each a little longer than it need be, in disorder; and rubbish beyond the window."""
        pieces = [
            (at, batch[at : at + self.segment + self.segment // 2])
            for at in range(0, len(batch), self.segment)
            for _ in range(2)
        ]
        context.random.shuffle(pieces)
        peer.say(ACK | PSH, b"\xee" * 8, seq=begin + max(1, room))
        for at, piece in pieces:
            peer.say(ACK, piece, seq=begin + at)

    def _quiet(self, peer: RawPeer) -> None:
        """Until nothing more comes: then the window that was heard is the one that holds."""
        heard = -1
        while len(peer.heard) != heard:
            heard = len(peer.heard)
            peer.wait(lambda heard=heard: len(peer.heard) != heard, SETTLE)  # type: ignore[misc]

    def _acknowledged(self, peer: RawPeer, first: int) -> int:
        return max((behind(each.ack, first) for each in peer.heard if each.port == peer.port), default=0)

    def _window(self, peer: RawPeer, first: int) -> int:
        """The right edge, counted from the first byte."""
        return max(behind(each.ack + each.window, first) for each in peer.heard if each.flags & ACK)


class TcpMss(Step):
    """Asks for segments of a certain length (or says nothing: 536 or 1220 bytes), and holds that none is longer; the card asks for no more than fits.

    Unknown options come with the SYN: they are passed over by their length (MUST-6).

    Example:
        - tcp_mss: {to: 1, mss: 100}
          measure:
            longest: {at_least: 100, at_most: 100, unit: bytes}
    """

    verb: ClassVar[str] = "tcp_mss"
    measures: ClassVar = {
        "longest": Measure("bytes", "the longest segment that came"),
        "asked": Measure("bytes", "the MSS that the card asks for"),
    }

    to: Who
    version: Version = "4"
    mss: Annotated[Whole, Field(description="what we ask for; 0: nothing", le=1460)] = 0
    size: Annotated[Size, Field(description="how much is looked at", ge=1, le=65_536)] = 4096

    def run(self, context: StepContext) -> None:
        version = int(self.version)
        most = context.point.given.mtu - HEADERS[version]
        unknown = bytes((254, 6)) + b"what" + bytes((1, 4, 2, 1))  # one that nobody knows, NOP, SACK permitted, NOP
        with RawPeer(context, self.to, version, CHARGEN_PORT) as peer:
            peer.answers = True
            asked = peer.open(options=unknown + (mss_option(self.mss) if self.mss else b"")).mss
            if asked is None or asked > most:
                context.fail(f"the card asks for segments of {asked} bytes; its hop carries {most}")
            context.measured("asked", asked)
            if not peer.wait(lambda: len(peer.received) >= self.size):
                context.fail(f"{len(peer.received)} bytes came, expected {self.size}")
            longest = max(len(each.payload) for each in peer.heard)
            bound = min(self.mss or MSS_DEFAULT[version], most)
            if longest > bound:
                context.fail(f"a segment of {longest} bytes came, where {bound} are the most")
            if bytes(peer.received[: self.size]) != pattern(0, self.size):
                context.fail("what came is not what the card had to say")
            context.measured("longest", longest)
            peer.leave()


class TcpHalfClose(Step):
    """Sends to an echo and ends its own direction, and holds that everything comes back all the same before the card ends the other (MUST-12, 3.6).

    Example:
        - tcp_half_close: {to: 1, size: 4 KiB}
    """

    verb: ClassVar[str] = "tcp_half_close"
    measures: ClassVar = {"after_the_end": Measure("bytes", "what came back after our own end was acknowledged")}

    to: Who
    version: Version = "4"
    size: Annotated[Size, Field(description="how much is echoed", ge=1, le=1 << 20)] = 4096
    within: Annotated[Duration, Field(description="how long it may take")] = Span(600 * 10**9)

    def run(self, context: StepContext) -> None:
        origin = station(context, OUTSIDE)
        destination = address_of(context, self.to, int(self.version))
        program = connect(context, origin, destination, ECHO_PORT, self.within)
        connection = program.connection
        if connection is None or not program.is_open:
            context.fail("the echo service cannot be reached")
        assert len(destination) == VERSIONS[int(self.version)]
        back = bytearray()
        sent = ended_at = 0

        def give(room: int) -> bytes:
            nonlocal sent
            piece = pattern(sent, min(room, self.size - sent))
            sent += len(piece)
            return piece

        def take(data: bytes) -> None:
            back.extend(data)

        def begin() -> None:
            program.source, program.sink = give, take
            program.pump()

        context.engine.call(begin)
        wait(context, lambda: sent >= self.size and connection.send_room > 0, self.within)
        ended_at = len(back)
        context.engine.call(lambda: origin.tcp.close(connection, context.engine.now))
        wait(context, lambda: program.ended or program.reason is not None, self.within)
        if bytes(back) != pattern(0, self.size):
            context.fail(f"{len(back)} of {self.size} bytes came back after the end, or others than were sent")
        if not program.ended:
            context.fail(f"the card did not end its own direction within {self.within}")
        context.measured("after_the_end", len(back) - ended_at)
