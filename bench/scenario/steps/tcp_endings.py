"""How connections begin and end out of the ordinary: a full queue, resets, TIME-WAIT, a peer that falls silent (RFC 9293, 3.6, 3.8.3, 3.10.7)."""

from itertools import pairwise
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from bench.card.applications.datagrams import ECHO_PORT
from bench.card.applications.streams import CHARGEN_PORT
from bench.card.applications.web import PORT as WEB_PORT
from bench.scenario.context import StepContext
from bench.scenario.step import Measure, Step
from bench.scenario.steps.ip_connections import ENDS
from bench.scenario.steps.ip_support import OUTSIDE, Program, Version, Who, station
from bench.scenario.steps.support import milliseconds
from bench.scenario.steps.tcp_peer import ACK, FIN, FIRST_PORT, ISS, PSH, RST, SYN, Heard, RawPeer
from bench.scenario.units import Count, Duration, Span

REQUEST: Final = b"GET / HTTP/1.0\r\n\r\n"
NOBODY: Final = 4444
"""A port without a service."""


class TcpQueue(Step):
    """Begins more handshakes than a port has room for and completes none, and holds that another client is served once they are over.

    Example:
        - tcp_queue: {to: 1, count: 20, over: reset}
          measure:
            open_time: {at_most: 10000, unit: ms}
    """

    verb: ClassVar[str] = "tcp_queue"
    measures: ClassVar = {
        "under_way": Measure("connections", "handshakes that the card had under way at once"),
        "open_time": Measure("ms", "from their end until the other client was served"),
    }

    to: Who
    version: Version = "4"
    count: Annotated[Count, Field(description="how many handshakes are begun", le=1000)] = 20
    over: Annotated[Literal["reset", "completed"], Field(description="how they end")] = "reset"
    within: Annotated[Duration, Field(description="how long the other client may take")] = Span(60 * 10**9)

    def run(self, context: StepContext) -> None:
        origin, engine = station(context, OUTSIDE), context.engine
        with RawPeer(context, self.to, int(self.version), ECHO_PORT, ports=self.count) as peer:
            for port in peer.ports:
                peer.say(SYN, seq=ISS, port=port)

            def answered() -> dict[int, Heard]:
                return {each.port: each for each in peer.heard if each.flags & (SYN | ACK) == SYN | ACK}

            program = Program(engine, origin.tcp, origin.name)
            peer.wait(lambda: bool(answered()))
            engine.call(lambda: self._connect(context, peer, program))
            peer.wait(lambda: len(answered()) == self.count or program.is_open, Span(2 * 10**9))
            under_way = answered()
            if not under_way:
                context.fail(f"none of {self.count} handshakes was answered")
            context.measured("under_way", len(under_way))
            over = engine.now
            for port, each in under_way.items():
                if self.over == "completed":
                    peer.say(ACK, seq=each.ack, ack=each.end, port=port)
                else:
                    peer.say(RST, seq=each.ack, port=port)
            peer.wait(lambda: program.is_open or program.reason is not None, self.within)
            if not program.is_open:
                why = "no answer" if program.reason is None else ENDS[program.reason]
                context.fail(f"after {len(under_way)} handshakes that came to nothing the next client had: {why}")
            context.measured("open_time", milliseconds(context, max(0, engine.now - over)))
            for port, each in answered().items():
                peer.say(RST, seq=each.ack, port=port)
            engine.call(lambda: self._leave(context, program))

    def _leave(self, context: StepContext, program: Program) -> None:
        if program.connection is not None:
            program.tcp.abort(program.connection, context.engine.now)

    def _connect(self, context: StepContext, peer: RawPeer, program: Program) -> None:
        origin = station(context, OUTSIDE)
        program.connection = origin.tcp.connect(peer.remote, ECHO_PORT, program, context.engine.now)


class TcpResets(Step):
    """Sends an open connection and a port without a service what is not theirs, and holds each answer to the standard.

    A reset or a SYN within the window that is not exact, and an acknowledgement of what was never sent, are asked about, no more (RFC 5961).
    An exact reset ends the connection; a segment that belongs to nobody is answered with the reset of RFC 9293, 3.10.7.1.

    Example:
        - tcp_resets: {to: 1}
    """

    verb: ClassVar[str] = "tcp_resets"
    measures: ClassVar = {"answers": Measure("segments", "segments that were answered as they must be")}

    to: Who
    version: Version = "4"

    def run(self, context: StepContext) -> None:
        answers = 0
        with RawPeer(context, self.to, int(self.version), ECHO_PORT) as peer:
            peer.open()
            peer.answers = True
            strange = {
                "a reset within the window": (RST, peer.seq + 100, peer.ack),
                "a SYN within the window": (SYN, peer.seq + 50, peer.ack),
                "an acknowledgement of what was never sent": (ACK, peer.seq, peer.ack + 5000),
                "a segment that is old": (ACK | PSH, peer.seq - 10, peer.ack),
            }
            for what, (flags, seq, ack) in strange.items():
                since = len(peer.heard)
                peer.say(flags, b"0123456789" if flags & PSH else b"", seq=seq, ack=ack)
                found = peer.answer(since, lambda each: not each.payload, what)
                if found.flags != ACK or found.ack != peer.seq or found.seq != peer.ack:
                    context.fail(f"{what} is answered with {found}, expected ACK seq {peer.ack} ack {peer.seq}")
                answers += 1
                self._still_there(context, peer, what)
            peer.say(RST, seq=peer.seq)
            since = len(peer.heard)
            peer.say(ACK)
            self._reset(context, peer.answer(since, lambda _each: True, "a segment after a reset"), peer.ack, None)
        with RawPeer(context, self.to, int(self.version), NOBODY) as peer:
            nobody = "a port without a service"
            for flags in (SYN, FIN):
                since = len(peer.heard)
                peer.say(flags, seq=peer.seq)
                self._reset(context, peer.answer(since, lambda _each: True, nobody), 0, peer.seq + 1)
                answers += 1
            since = len(peer.heard)
            peer.say(ACK, ack=7777)
            self._reset(context, peer.answer(since, lambda _each: True, nobody), 7777, None)
            answers += 1
        context.measured("answers", answers + 1)

    def _still_there(self, context: StepContext, peer: RawPeer, what: str) -> None:
        had = len(peer.received)
        peer.say(ACK | PSH, b"still there?")
        if not peer.wait(lambda: len(peer.received) >= had + 12):
            context.fail(f"after {what} the connection does not go on")

    def _reset(self, context: StepContext, found: Heard, seq: int, ack: int | None) -> None:
        wanted = RST if ack is None else RST | ACK
        if found.flags != wanted or found.seq != seq or (ack is not None and found.ack != ack & 0xFFFF_FFFF):
            context.fail(f"the answer is {found}, expected a reset with seq {seq}")


class TcpTimeWait(Step):
    """Has the card end one connection after the other (a page of its web server each), and holds that it takes the next one, however many wait.

    The last one's end comes again and is answered, as TIME-WAIT is for; a SYN with a later number then opens it anew (RFC 9293, 3.10.7.4, MAY-2).

    Example:
        - tcp_time_wait: {to: 1, count: 100}
          measure:
            open_time: {at_most: 500, unit: ms}
    """

    verb: ClassVar[str] = "tcp_time_wait"
    measures: ClassVar = {"open_time": Measure("ms", "the longest handshake")}

    to: Who
    version: Version = "4"
    count: Annotated[Count, Field(description="how many connections, one after the other", le=1000)] = 8

    def run(self, context: StepContext) -> None:
        longest = 0
        with RawPeer(context, self.to, int(self.version), WEB_PORT, ports=self.count) as peer:
            peer.answers = True
            for number in range(self.count):
                begun = context.engine.now
                peer.open(FIRST_PORT + number)
                longest = max(longest, context.engine.now - begun)
                peer.say(ACK | PSH, REQUEST)
                if not peer.wait(lambda: peer.peer_ended):
                    context.fail(f"connection {number + 1} did not end within a minute of its request")
                self._end(peer)
            since = len(peer.heard)
            peer.say(ACK | FIN, seq=peer.seq - 1)
            peer.answer(since, lambda each: each.flags == ACK and each.ack == peer.seq, "an end that comes again")
            since = len(peer.heard)
            peer.say(SYN, seq=peer.seq + 10_000)
            peer.answer(since, lambda each: each.flags == SYN | ACK, "a later SYN")
            peer.say(RST, seq=peer.seq + 10_001)
        context.measured("open_time", milliseconds(context, longest))

    def _end(self, peer: RawPeer) -> None:
        since = len(peer.heard)
        peer.say(ACK | FIN)
        peer.answer(since, lambda each: each.flags == ACK and each.ack == peer.seq, "the end of our direction")


class TcpSilence(Step):
    """Falls silent while the card sends, and holds that it tries again, each time later, for at least 100 s (SHLD-11, MUST-19), and then gives up.

    Example:
        - tcp_silence: {to: 1}
          measure:
            patience: {at_least: 100, unit: s}
    """

    verb: ClassVar[str] = "tcp_silence"
    measures: ClassVar = {
        "patience": Measure("s", "from the first byte without an answer until the card gave up"),
        "tries": Measure("segments", "how often the first byte was sent"),
    }

    to: Who
    version: Version = "4"
    within: Annotated[Duration, Field(description="how long it may go on")] = Span(1800 * 10**9)

    def run(self, context: StepContext) -> None:
        with RawPeer(context, self.to, int(self.version), CHARGEN_PORT) as peer:
            peer.open()
            gone = peer.answer(1, lambda each: bool(each.flags & RST), "silence", self.within)
            times = [each.time for each in peer.heard if each.payload and each.seq == peer.ack]
            pauses = [later - sooner for sooner, later in pairwise(times)]
            if len(pauses) < 2:
                context.fail(f"what was not answered was sent {len(times)} times")
            if any(later < sooner for sooner, later in pairwise(pauses)):
                shown = ", ".join(f"{milliseconds(context, each):.0f}" for each in pauses)
                context.fail(f"the card does not back off: pauses of {shown} ms")
            since = len(peer.heard)
            peer.say(ACK)
            after = peer.answer(since, lambda _each: True, "a segment to a connection that was given up")
            if not after.flags & RST:
                context.fail(f"a connection that was given up answers {after}")
            context.measured("patience", milliseconds(context, gone.time - times[0]) / 1000)
            context.measured("tries", len(times))
