"""A software chain for tests: host, cards, the hands that remove and insert, and short words for what tests do with them."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from bench.card.applications import STANDARD
from bench.card.card import Card
from bench.card.profile import Application, CardProfile
from bench.engine import Timebase, VirtualEngine
from bench.hop.link import PollPlan
from bench.hop.terminal_link import ApduOutcome
from bench.host.gateway import Service
from bench.host.peers import InProcessUplink, PeerSocket
from bench.host.platform import Host, HostSettings
from bench.iso7816.apdu import CommandApdu
from bench.iso7816.port import TerminalPort
from bench.observe import Exchange, LinkChange, ListSink, Sink
from bench.readers.software import SoftwareReader
from bench.readers.wrappers import Cutting, Recorded

CLOCK_HZ = 3_571_200
"""TA1 = 11 is 9600 baud at this clock, 18 is 115 200, 96 is 223 200."""
FAST = 0x96
SLOW = 0x11


def profile(
    *applications: tuple[str, Application], mtu: int = 64, channels: int = 32, window: int = 8, ta1: int = FAST
) -> CardProfile:
    """A card; without applications the standard ones."""
    return CardProfile(
        identity=b"TEST",
        ta1=ta1,
        mtu=mtu,
        channels=channels,
        window=window,
        applications=applications or STANDARD,
    )


class Chain:
    """Cards in a row behind a host, under the virtual clock. Nothing is powered before ``start``."""

    def __init__(
        self,
        *profiles: CardProfile,
        ta1: int = FAST,
        mtu: int = 64,
        poll_ms: int = 1,
        detects: bool = False,
        host_window: int = 8,
        sink: Sink | None = None,
        wrap: Callable[[TerminalPort], TerminalPort] | None = None,
    ) -> None:
        self.engine = VirtualEngine(Timebase.for_clocks(CLOCK_HZ))
        period = self.ticks(poll_ms / 1000)
        poll = PollPlan(period, period)
        self.seen = ListSink()
        self.sink = sink if sink is not None else self.seen
        self.uplink = InProcessUplink()
        self.cards: list[Card] = []
        self.readers: list[SoftwareReader] = []
        self.cutters: list[Cutting] = []
        ports: list[TerminalPort] = []
        for number, each in enumerate(profiles, start=1):
            reader = SoftwareReader(self.engine, CLOCK_HZ, ta1, detects=detects)
            cutter = Cutting(reader, self.engine, self.ticks(0.01))
            port: TerminalPort = Recorded(cutter, number, self.sink)
            if wrap is not None:
                port = wrap(port)
            card = Card(self.engine, replace(each, identity=b"%02d" % number), poll, self.sink)
            reader.insert(card.contacts)
            if self.cards:
                self.cards[-1].attach_io2(port, number)
            self.cards.append(card)
            self.readers.append(reader)
            self.cutters.append(cutter)
            ports.append(port)
        self.host = Host(self.engine, ports[0], self.uplink, HostSettings(mtu, poll, host_window), self.sink)

    # -- time ------------------------------------------------------------------------------------------------------------

    def ticks(self, seconds: float) -> int:
        return round(seconds * self.engine.timebase.hz)

    @property
    def now(self) -> float:
        """Seconds since the engine began."""
        return self.engine.now / self.engine.timebase.hz

    def run(self, seconds: float) -> None:
        self.engine.run(self.engine.now + self.ticks(seconds))

    def wait(self, done: Callable[[], bool], seconds: float = 30) -> float:
        """Run until ``done``; gives how long that took. Fails where it does not come to pass."""
        begun = self.now
        assert self.engine.wait(done, self.ticks(seconds)), f"not within {seconds} s of the engine's time"
        return self.now - begun

    @property
    def exchanges(self) -> list[Exchange]:
        """What every reader has carried so far, in order."""
        return [each for each in self.seen.observations if isinstance(each, Exchange)]

    @property
    def link_changes(self) -> list[LinkChange]:
        return [each for each in self.seen.observations if isinstance(each, LinkChange)]

    # -- hands -----------------------------------------------------------------------------------------------------------

    def start(self, services: int | None = None) -> "Chain":
        """Power up, and wait until every card is numbered and (by default) all of their standard services are listed."""
        self.host.start()
        self.wait(lambda: len(self.host.cards) == len(self.cards))
        if services is None:
            services = sum(len(card.profile.applications) for card in self.cards)
        self.wait(lambda: len(self.services) >= services)
        return self

    def remove(self, number: int) -> None:
        self.readers[number - 1].remove()

    def insert(self, number: int) -> None:
        self.readers[number - 1].insert(self.cards[number - 1].contacts)

    # -- the host --------------------------------------------------------------------------------------------------------

    @property
    def services(self) -> list[Service]:
        return self.host.gateway.services()

    def port(self, name: str, card: int = 1) -> int:
        """The port under which a card's service is listed."""
        (found,) = (service.port for service in self.services if (service.name, service.card) == (name, card))
        return found

    def dial(self, name: str, card: int = 1, *, udp: bool = False, wait: bool = True) -> PeerSocket:
        """A connection from outside to a card's service."""
        socket = self.uplink.dial(self.port(name, card), udp=udp)
        if wait:
            self.wait(lambda: socket.open or socket.cause is not None)
        return socket

    def relay(self, origin: int, target: int, service: str = "echo") -> PeerSocket:
        """A connection through card ``origin``'s relay to a service of card ``target``."""
        socket = self.dial("relay", origin)
        socket.write(f"{target} {service}\n".encode())
        self.wait(lambda: bytes(socket.received) == b"connected\r\n")
        socket.received.clear()
        return socket

    def echo(self, socket: PeerSocket, data: bytes, seconds: float = 120) -> float:
        """Send ``data`` and wait until it has come back; gives the time it took."""
        socket.received.clear()
        socket.write(data)
        took = self.wait(lambda: len(socket.received) >= len(data) or socket.ended, seconds)
        assert bytes(socket.received) == data
        return took

    def apdu(self, command: CommandApdu, seconds: float = 300) -> ApduOutcome:
        """An ordinary APDU to the first card."""
        outcomes: list[ApduOutcome] = []
        self.host.apdu(command, outcomes.append)
        self.wait(lambda: bool(outcomes), seconds)
        return outcomes[0]

    # -- what must be left in the end --------------------------------------------------------------------------------------

    def assert_sound(self) -> None:
        """No application has crashed, nobody broke a rule."""
        assert [card.crashes for card in self.cards] == [[] for _ in self.cards]
        for node in [self.host.node, *(card.node for card in self.cards)]:
            assert (node.table.malformed, node.table.violations, node.reception.unknown, node.chain.malformed) == (
                0,
                0,
                0,
                0,
            )

    def assert_idle(self, listening: Sequence[int]) -> None:
        """Nothing but the services' own channels is left: ``listening`` counts them by card."""
        assert [len(card.node.table) for card in self.cards] == list(listening)
        assert [len(card.io._ends) for card in self.cards] == list(listening)
        assert len(self.host.node.table) == sum(listening)
        assert self.host.gateway.connections == 0
        for card in self.cards:
            queues = [card.io1.queue, *([card.io2.queue] if card.io2 is not None else [])]
            assert [(len(queue), queue.bytes) for queue in queues] == [(0, 0)] * len(queues)
        assert (len(self.host.link.queue), self.host.link.queue.bytes) == (0, 0)


def chain(cards: int = 1, **options: object) -> Chain:
    """``cards`` standard cards."""
    return Chain(*[profile() for _ in range(cards)], **options)  # type: ignore[arg-type]
