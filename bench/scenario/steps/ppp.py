"""The host as the card's PPP peer, over the hop or over a serial line and the external support; and what passes between them.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from bench.host.external_support import BUFFER
from bench.host.external_support_hop import SupportPlug
from bench.host.ip_pool import AddressPool
from bench.host.ppp import FIRST4, PREFIX6, PppEnd, PppOffer, PppOverHop
from bench.host.ppp_line import SerialLine
from bench.net.icmp import Icmp
from bench.net.ppp.automaton import Patience, patience_on
from bench.net.ppp.lcp import LcpWishes
from bench.net.ppp.link import Phase
from bench.net.ppp.packets import PppProtocol
from bench.net.protocols import text
from bench.scenario.context import StepContext
from bench.scenario.errors import BenchFault, NotApplicable
from bench.scenario.step import Measure, Step
from bench.scenario.steps.support import milliseconds, wait
from bench.scenario.units import Count, Duration, Number, Size, Span, Whole

PPP: Final = "ppp"
"""The note that ``ppp_open`` leaves."""
WITHIN: Final = Span(60 * 10**9)
FRAME: Final = 1506
PROTOCOLS: Final = {4: PppProtocol.IPCP, 6: PppProtocol.IPV6CP}


@dataclass(slots=True)
class PppBench:
    """What ``ppp_open`` has set up."""

    end: PppEnd
    plug: SupportPlug | None = None
    line: SerialLine | None = None
    replies: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    """When echo replies came, and with what, by sequence."""
    sequence: int = 0

    def replied(self, _source: bytes, message: Icmp, now: int) -> None:
        self.replies[message.rest & 0xFFFF] = now, message.payload

    def card(self, version: int) -> bytes | None:
        """The card's address: what was agreed, in IPv6 the one of the prefix."""
        if version == 4:
            return self.end.face.peers.get(PppProtocol.IPCP)
        peer = self.end.face.peers.get(PppProtocol.IPV6CP)
        return None if peer is None else PREFIX6.address[:8] + peer[8:]


def ppp(context: StepContext) -> PppBench:
    """What ``ppp_open`` has set up. Raises BenchFault where no step did."""
    return context.note(PPP, PppBench)


class PppOpen(Step):
    """Sets up the host's end of a PPP link with the first card, and waits until it is up (or is refused, as expected).

    Over the hop the host itself is the peer; over the line it is a program such as pppd at a serial line of that rate, with the external support
    between that line and the hop. A second `ppp_open` opens the same link again.

    Example:
        - ppp_open: {over: line, baud: 115200}
          measure:
            up_after: {at_most: 1000, unit: ms}
    """

    verb: ClassVar[str] = "ppp_open"
    measures: ClassVar = {
        "up_after": Measure("ms", "from the first frame until IPCP is up"),
        "mru": Measure("bytes", "the MRU that the card has asked for"),
    }

    over: Annotated[Literal["hop", "line"], Field(description="where the peer is")] = "hop"
    baud: Annotated[Count, Field(description="rate of the line, 10 bits a character", le=10_000_000)] = 115_200
    errors: Annotated[Number, Field(description="probability that a character of the line is wrong", ge=0, le=0.1)] = (
        0.0
    )
    buffer: Annotated[Size, Field(description="of the external support, each way", ge=256)] = BUFFER
    pool: Annotated[Count, Field(description="IPv4 addresses that the host has to give", le=4096)] = 8
    held: Annotated[Whole, Field(description="how many of them other cards have")] = 0
    mru: Annotated[Count, Field(description="the host's own MRU", ge=68, le=1500)] = 1500
    versions: Annotated[Literal["4", "6", "both", "none"], Field(description="versions of IP that must come up")] = "4"
    within: Annotated[Duration, Field(description="how long it may take")] = WITHIN

    def run(self, context: StepContext) -> None:
        if context.rig.chain is None:
            raise NotApplicable("the host's PPP end is on software rigs so far")
        known = context.notes.get(PPP)
        begun = context.engine.now
        if isinstance(known, PppBench):
            bench = known
            context.engine.call(bench.end.open)
        else:
            bench = context.engine.call(lambda: self._set_up(context))
            context.notes[PPP] = bench
        link = bench.end.link
        wanted = {"4": (4,), "6": (6,), "both": (4, 6), "none": ()}[self.versions]
        unwanted = [each for each in (4, 6) if each not in wanted and self.versions in ("6", "none")]
        wait(context, lambda: all(link.is_up(PROTOCOLS[each]) for each in wanted) and link.lcp.opened, self.within)
        missing = [each for each in wanted if not link.is_up(PROTOCOLS[each])]
        if missing or not link.lcp.opened:
            reasons = "; ".join(link.reasons) or "nothing is known of the reason"
            context.fail(
                f"{'IPv' + str(missing[0]) if missing else 'LCP'} did not come up within {self.within}: {reasons}"
            )
        context.measured("up_after", milliseconds(context, context.engine.now - begun))
        context.measured("mru", link.peer_mru)
        if unwanted:
            wait(context, lambda: False, Span(10 * 10**9))
            if up := [each for each in unwanted if link.is_up(PROTOCOLS[each])]:
                context.fail(f"IPv{up[0]} came up, although it must not")
        if 6 in wanted:
            wait(context, lambda: False, Span(10**9))  # the prefix is told when IPV6CP is up

    def _set_up(self, context: StepContext) -> PppBench:
        engine, host = context.engine, context.rig.host
        hz = engine.timebase.hz
        pool = AddressPool(FIRST4, self.pool)
        for number in range(self.held):
            pool.take(b"other %d" % number)
        patience = Patience(3 * hz)
        if self.over == "line":
            scaled = patience_on(hz, hz * 10 // self.baud, FRAME)
            patience = Patience(max(scaled.restart, patience.restart))
        offer = PppOffer(patience, LcpWishes(mru=self.mru, accm=0), pool=pool)
        seed = context.random.getrandbits(32)
        junction = host.node.junction
        if self.over == "hop":
            bench = PppBench(PppOverHop(engine, junction, offer, seed).end)
            if host.cards:
                bench.end.open()
        else:
            plug = SupportPlug(engine, junction, host.link.mtu, self.buffer)
            plug.up = bool(host.cards)
            host.link.has_room = plug.has_room
            line = SerialLine(engine, plug, offer, self.baud, seed=seed, errors=self.errors)
            bench = PppBench(line.end, plug, line)
            bench.end.open()
        bench.end.node.on_echo_reply = bench.replied
        return bench


class PppPing(Step):
    """Sends ICMP echo requests from the PPP peer to the card, and holds that each comes back whole.

    Example:
        - ppp_ping: {size: 1500 B, count: 5}
          measure:
            round_trip: {at_most: 2000, unit: ms}
    """

    verb: ClassVar[str] = "ppp_ping"
    measures: ClassVar = {
        "round_trip": Measure("ms", "median"),
        "lost": Measure("requests", "requests without an answer"),
    }

    size: Annotated[
        Size, Field(description="length of the whole packet; longer than the MRU: it goes in fragments")
    ] = 84
    count: Annotated[Count, Field(description="how many, one after the other")] = 3
    version: Annotated[Literal["4", "6"], Field(description="version of IP")] = "4"
    may_lose: Annotated[Whole, Field(description="requests that may go without an answer")] = 0
    within: Annotated[Duration, Field(description="how long each may take")] = Span(30 * 10**9)

    def run(self, context: StepContext) -> None:
        bench = ppp(context)
        version = int(self.version)
        where = bench.card(version)
        if where is None:
            context.fail(f"the card has no IPv{version} address")
        header = {4: 28, 6: 48}[version]
        if self.size < header:
            raise BenchFault(f"an echo request over IPv{version} has {header} bytes at least")
        times: list[float] = []
        lost = 0
        for _ in range(self.count):
            payload = context.random.randbytes(self.size - header)
            sequence = bench.sequence = bench.sequence + 1 & 0xFFFF
            begun = context.engine.now
            context.engine.call(_pinging(bench, where, sequence, payload, begun))
            if not wait(context, lambda sequence=sequence: sequence in bench.replies, self.within):  # type: ignore[misc]
                lost += 1
                continue
            back, came = bench.replies.pop(sequence)
            if came != payload:
                context.fail(f"the reply from {text(where)} brought other bytes back than were sent")
            times.append(milliseconds(context, back - begun))
        if lost > self.may_lose:
            context.fail(f"{lost} of {self.count} requests of {self.size} bytes to {text(where)} were not answered")
        if times:
            context.measured("round_trip", median(times))
        context.measured("lost", lost)


def _pinging(bench: PppBench, where: bytes, sequence: int, payload: bytes, now: int) -> Callable[[], object]:
    return lambda: bench.end.node.ping(where, 1, sequence, payload, now)


class PppTerminate(Step):
    """Ends the link in good order, and holds that the card acknowledges it.

    Example:
        - ppp_terminate: {}
    """

    verb: ClassVar[str] = "ppp_terminate"
    measures: ClassVar = {"down_after": Measure("ms", "until the card's Terminate-Ack")}

    within: Annotated[Duration, Field(description="how long it may take")] = Span(10 * 10**9)

    def run(self, context: StepContext) -> None:
        bench = ppp(context)
        begun = context.engine.now
        before = bench.end.link.lcp.terminated
        context.engine.call(bench.end.close)
        wait(context, lambda: bench.end.link.phase is Phase.DEAD, self.within)
        if bench.end.link.lcp.terminated == before:
            context.fail("the card did not acknowledge the Terminate-Request")
        context.measured("down_after", milliseconds(context, context.engine.now - begun))


class PppLoop(Step):
    """Loops the serial line back for a while: the program must find it by its magic number and give up; the card hears nothing of it.

    Example:
        - ppp_loop: {for: 120 s}
    """

    verb: ClassVar[str] = "ppp_loop"

    duration: Annotated[Duration, Field(alias="for", description="how long the line is looped back")] = Span(
        120 * 10**9
    )

    def run(self, context: StepContext) -> None:
        bench = ppp(context)
        if bench.line is None:
            raise BenchFault("ppp_loop needs a link over a line (ppp_open: {over: line})")
        bench.line.looped = True
        context.engine.call(bench.end.lost)
        context.engine.call(bench.end.open)
        wait(context, lambda: bench.end.link.looped, self.duration)
        found = bench.end.link.looped
        bench.line.looped = False
        if not found:
            context.fail(f"the loop was not found within {self.duration}")


class PppFlood(Step):
    """Sends echo requests as fast as the serial line takes them, and measures how full the external support's buffers become.

    Example:
        - ppp_flood: {for: 10 s, size: 576 B}
          measure:
            to_card_dropped: {at_most: 0, unit: frames}
    """

    verb: ClassVar[str] = "ppp_flood"
    measures: ClassVar = {
        "to_card_longest": Measure("bytes", "most that waited for the hop"),
        "to_card_mean": Measure("bytes", "waited for the hop, mean over time"),
        "to_card_dropped": Measure("frames", "frames for the card for which there was no room"),
        "to_line_longest": Measure("bytes", "most that waited for the line"),
        "to_line_mean": Measure("bytes", "waited for the line, mean over time"),
        "to_line_dropped": Measure("frames", "frames of the card for which there was no room"),
        "answered": Measure("percent", "requests whose reply came back"),
        "goodput": Measure("B/s", "bytes of the replies' packets that came back, per second"),
    }

    duration: Annotated[Duration, Field(alias="for", description="how long")] = Span(10 * 10**9)
    size: Annotated[Size, Field(description="length of each packet", ge=28, le=1500)] = 576

    def run(self, context: StepContext) -> None:
        bench = ppp(context)
        plug, line, where = bench.plug, bench.line, bench.card(4)
        if plug is None or line is None or where is None:
            raise BenchFault("ppp_flood needs a link over a line that is up (ppp_open: {over: line})")
        engine = context.engine
        support = plug.support
        wait(context, lambda: False, Span(5 * 10**9))  # what still follows the opening
        begun = engine.now
        for buffer in (support.to_card, support.to_line):
            buffer.measure(begun)
        end = begun + self.duration.ticks(engine.timebase)
        payload = context.random.randbytes(self.size - 28)
        sent: list[int] = []

        def more() -> bool:
            while line.waiting < 2 * self.size and engine.now < end:
                bench.sequence = bench.sequence + 1 & 0xFFFF
                sent.append(bench.sequence)
                bench.end.node.ping(where, 1, bench.sequence, payload, engine.now)
            return engine.now >= end

        wait(context, more, self.duration)
        to_card, to_line = support.to_card.fill(engine.now), support.to_line.fill(engine.now)
        came = sum(each in bench.replies for each in sent)
        wait(context, lambda: all(each in bench.replies for each in sent), Span(60 * 10**9))
        answered = sum(each in bench.replies for each in sent)
        for name, fill in (("to_card", to_card), ("to_line", to_line)):
            context.measured(f"{name}_longest", fill.longest)
            context.measured(f"{name}_mean", fill.mean)
            context.measured(f"{name}_dropped", fill.dropped)
        context.measured("answered", 100.0 * answered / max(1, len(sent)))
        context.measured("goodput", came * self.size * engine.timebase.hz / (end - begun))
