"""Chains under the virtual clock: what a packet through 64 cards takes, what simulating it costs, and what idle polls cost, on the line and here.

Issue 5 asks, at 115 200 baud with 64 cards: 84 bytes end to end and back, from idle, in at most 1.5 s of virtual time, simulated at least 80 × faster
than real; idle at least 1 000 ×; CPU per hop at most 1.3 × that of a chain of 4.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import mean
from time import process_time

from bench.card.applications import STANDARD
from bench.card.card import Card
from bench.card.ip_profile import IpProfile
from bench.card.profile import CardProfile
from bench.engine import Timebase, VirtualEngine
from bench.hop.link import PollPlan
from bench.hop.parking import ParkingLot
from bench.hop.segment import Kind
from bench.host.peers import InProcessUplink
from bench.host.platform import Host, HostSettings
from bench.iso7816.port import TerminalPort
from bench.iso7816.rates import Rate
from bench.net.chain_control import address_of
from bench.observe import Exchange, ListSink, NullSink, Sink
from bench.readers.software import SoftwareReader
from bench.readers.wrappers import Recorded
from benchmarks.measure import show

CLOCK_HZ = 3_571_200
FAST = 0x18
"""115 200 baud."""
LENGTHS = (4, 16, 64)
PACKET = 84
"""An IPv4 echo request with 56 bytes, or a DATA message of the channel stack with 79."""
MESSAGE = PACKET - 5
ROUNDS = 25
IDLE_S = 200_000
RATES = (0x11, 0x13, 0x18, 0x96, 0x97)
PHASES = 200


class _Chain:
    """Cards in a row; the last offers an echo over the channel stack, all answer pings."""

    def __init__(
        self, count: int, *, parked: bool, ta1: int = FAST, ip: bool = False, poll_ms: int = 1, sink: Sink | None = None
    ) -> None:
        self.engine = VirtualEngine(Timebase.for_clocks(CLOCK_HZ))
        period = self.engine.timebase.nanoseconds(poll_ms * 10**6)
        poll = PollPlan(period, period)
        lot = ParkingLot() if parked else None
        sink = sink or NullSink()
        profile = CardProfile(b"", ta1=ta1, mtu=128, channel_stack=not ip, ip=IpProfile(versions=(4,)) if ip else None)
        self.cards: list[Card] = []
        ports: list[TerminalPort] = []
        for number in range(1, count + 1):
            reader = SoftwareReader(self.engine, CLOCK_HZ, ta1)
            reader.lot = lot
            port = Recorded(reader, number, sink)
            applications = STANDARD[:1] if number == count and not ip else ()
            card = Card(self.engine, replace(profile, identity=b"%02d" % number, applications=applications), poll, sink)
            reader.insert(card.contacts)
            if self.cards:
                self.cards[-1].attach_io2(port, number)
            self.cards.append(card)
            ports.append(port)
        self.uplink = InProcessUplink()
        self.host = Host(self.engine, ports[0], self.uplink, HostSettings(128, poll), sink)
        self.router = self.host.route() if ip else None
        self.host.start()
        self._wait(lambda: len(self.host.cards) == count)
        self.round_trip = self._pings() if ip else self._echoes()

    def idle(self, seconds: float) -> None:
        self.engine.run(self.engine.now + round(seconds * self.engine.timebase.hz))

    def _echoes(self) -> Callable[[], None]:
        self._wait(lambda: bool(self.host.gateway.services()))
        socket = self.uplink.dial(self.host.gateway.services()[0].port)
        self._wait(lambda: socket.open)

        def round_trip() -> None:
            socket.received.clear()
            socket.write(bytes(MESSAGE))
            self._wait(lambda: len(socket.received) == MESSAGE)

        return round_trip

    def _pings(self) -> Callable[[], None]:
        router = self.router
        assert router is not None
        far = address_of(router.prefixes[4], len(self.cards))
        ip = self.cards[-1].ip
        assert ip is not None
        self._wait(lambda: bool(ip.addresses) and router.route_to(far) is not None)
        replies: list[int] = []
        router.node.on_echo_reply = lambda _source, _message, now: replies.append(now)

        def round_trip() -> None:
            replies.clear()
            router.node.ping(far, 1, 1, bytes(PACKET - 28), self.engine.now)
            self._wait(lambda: bool(replies))

        return round_trip

    def _wait(self, done: Callable[[], bool]) -> None:
        assert self.engine.wait(done, 600 * self.engine.timebase.hz)


@dataclass(frozen=True, slots=True)
class _Trip:
    virtual_s: float
    cpu_s: float


def _trips(chain: _Chain, rounds: int) -> _Trip:
    """Round trips, each from idle and at another moment within a poll period; the longest in virtual time, the best of the CPU times.

    A CPU time is that of as many trips as cross 64 hops, so that short chains are not measured in shorter, luckier moments.
    """
    virtual, cpu = [], []
    trips = LENGTHS[-1] // len(chain.cards)
    for turn in range(rounds + 1):
        taken = 0.0
        for trip in range(trips):
            chain.idle(0.1 + 0.000137 * (turn * trips + trip))
            at, begun = chain.engine.now, process_time()
            chain.round_trip()
            taken += process_time() - begun
            if turn:
                virtual.append((chain.engine.now - at) / chain.engine.timebase.hz)
        if turn:
            cpu.append(taken / trips)
    return _Trip(max(virtual), min(cpu))


def _idle(chain: _Chain, seconds: float) -> float:
    """Virtual over CPU time."""
    chain.idle(1)
    begun = process_time()
    chain.idle(seconds)
    return seconds / max(process_time() - begun, 1e-9)


def test_a_packet_through_a_chain() -> None:
    lines = []
    for name, ip in (("IP", True), ("channel", False)):
        per_hop: dict[int, float] = {}
        for count in LENGTHS:
            chains = {parked: _Chain(count, parked=parked, ip=ip) for parked in (True, False)}
            trip, every = _trips(chains[True], ROUNDS), _trips(chains[False], 1)
            per_hop[count] = trip.cpu_s / count
            lines.append(
                f"{name:8} {count:3} cards: {trip.virtual_s:6.3f} s, {trip.virtual_s / trip.cpu_s:6.0f} × real time"
                f" ({every.virtual_s / every.cpu_s:5.1f} × with every poll an event),"
                f" {1e6 * per_hop[count]:6.0f} µs CPU a hop there and back"
            )
        lines.append(f"{name:8} CPU a hop, {LENGTHS[-1]} cards over {LENGTHS[0]}: {per_hop[64] / per_hop[4]:.2f}")
    show(
        f"{PACKET} bytes end to end and back, from idle, at 115 200 baud (the longest of {ROUNDS} round trips, the best of their CPU times)",
        lines,
    )


def test_an_idle_chain() -> None:
    lines = []
    for count in LENGTHS:
        parked = _idle(_Chain(count, parked=True), IDLE_S)
        every = _idle(_Chain(count, parked=False), 64 / count)
        lines.append(f"{count:3} cards: {parked:12,.0f} × real time ({every:7.1f} × with every poll an event)")
    show("An idle chain at 115 200 baud, polls every millisecond: virtual over CPU time", lines)


def test_what_idle_polls_take_and_what_they_give() -> None:
    """The shorter the period, the sooner a card is heard, and the more of its line is polls: both together, for each rate."""
    lines = []
    for ta1 in RATES:
        for poll_ms in (1, 10):
            sink = ListSink()
            chain = _Chain(1, parked=True, ta1=ta1, ip=True, poll_ms=poll_ms, sink=sink)
            hz = chain.engine.timebase.hz
            chain.idle(1)
            waits = []
            for phase in range(PHASES):
                chain.idle(0.25 + 0.010 * phase / PHASES)
                sink.observations.clear()
                at = chain.engine.now
                chain.cards[0].io1.submit(Kind.PPP, b"up", b"flow")
                chain.idle(0.5)
                found = next(each for each in sink.observations if isinstance(each, Exchange) and each.sw >> 8 == 0x6C)
                waits.append(max(0, found.start_ticks - at) / hz)
            chain.host.stop()
            runs = [each for each in sink.observations if isinstance(each, Exchange) and each.count > 1]
            longest = max(runs, key=lambda each: each.count)
            share = 100 * longest.duration_ticks / longest.period_ticks
            rate = Rate(ta1)
            lines.append(
                f"{CLOCK_HZ * rate.d // rate.f:7} baud, every {poll_ms:2} ms: {share:5.1f} % of the line,"
                f" a card waits {1e3 * mean(waits):6.2f} ms on average and {1e3 * max(waits):6.2f} ms at most to be asked"
            )
    show(f"Idle polls over T=0: occupancy of the line and wake-up latency together ({PHASES} phases each)", lines)
