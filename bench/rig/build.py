"""From a rig file to a rig that runs: engine, reader, cards, host."""

from collections.abc import Callable, Mapping

from bench.engine import Engine, MonotonicEngine, VirtualEngine
from bench.hop.link import PollPlan
from bench.host.peers import InProcessUplink
from bench.host.platform import Host, HostSettings
from bench.observe import NullSink, Observation, Sink
from bench.readers.contract import StampedAt
from bench.rig.declared import narrowed, spoken
from bench.rig.errors import RigError
from bench.rig.given import Given
from bench.rig.guard import UNLIMITED, Guard
from bench.rig.hands import Hands, NoHands
from bench.rig.ip_network import IpNetwork, ip_network
from bench.rig.model import ReaderKind, RigModel
from bench.rig.software import PLAIN, REFERENCE, SoftwareChain, defect_named
from bench.rig.software_hands import SoftwareHands


class Tap:
    """Lets steps listen to what is observed, beside the records."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.listeners: list[Callable[[Observation], None]] = []
        self.settle: Callable[[], None] = _nothing
        """Has everything told that has been seen up to now: runs of idle polls are told of when they end."""

    def emit(self, observation: Observation, /) -> None:
        self.sink.emit(observation)
        for listener in self.listeners:
            listener(observation)


class Rig:
    """What a point runs on. ``host`` and ``uplink`` are there on every rig; ``chain`` only where the cards are software of this process."""

    def __init__(
        self,
        engine: Engine,
        host: Host,
        uplink: InProcessUplink,
        declares: Mapping[str, object],
        given: Given,
        chain: SoftwareChain | None,
        tap: Tap,
    ) -> None:
        self.engine = engine
        self.host = host
        self.uplink = uplink
        self.declares = declares
        self.given = given
        self.chain = chain
        self.tap = tap
        self.hands: Hands = NoHands()
        """Who moves the cards."""
        self.away = False
        """Hands have a card: that it (or its reader) is gone is no fault."""
        self.network: IpNetwork | None = None
        """The host's router and what is beyond its uplink, where the IP stack is given."""
        self.guard: Guard | None = None
        """What may be done to a card that is not the bench's own; None where it is."""
        self.stamped = StampedAt.LINE
        """Where the time stamps of exchanges are taken."""
        self.unpaced = ""
        """Empty, or why the times of exchanges say nothing of the line."""
        self.again: Callable[[Given], Rig] | None = None
        """Makes another rig of the same model for other conditions, with a fresh engine and no records; None where there is only one."""

    def close(self) -> None:
        """Power down and let go of everything."""
        self.engine.call(self.host.stop)
        if isinstance(self.engine, MonotonicEngine):
            self.engine.stop()


def build_rig(model: RigModel, given: Given, sink: Sink, seed: int, real: bool) -> Rig:
    """The rig for one point, its engine at tick 0, nothing powered yet.

    Raises RigNotAble where the rig is sound but cannot do what the point asks, RigError where it is broken.
    """
    if real != model.real:
        raise RigError(f"rig {model.name}: {'a real' if real else 'a software'} rig was asked for")
    given = model.conditions(given)
    if model.reader.kind is ReaderKind.SOFTWARE:
        return _software(model, given, sink, seed)
    from bench.rig.real import real_rig  # imports this module, and drivers only where one is used

    return real_rig(model, given, sink, seed)


def poll_plan(model: RigModel, given: Given, engine: Engine) -> PollPlan:
    """The poll periods in ticks; a scenario's own period holds for both."""
    timebase = engine.timebase
    if given.poll is not None:
        period = given.poll.ticks(timebase)
        return PollPlan(period, period)
    return PollPlan(
        timebase.nanoseconds(round(model.poll_ms.first * 10**6)),
        timebase.nanoseconds(round(model.poll_ms.longest * 10**6)),
    )


def _software(model: RigModel, given: Given, sink: Sink, seed: int) -> Rig:
    engine = VirtualEngine(model.timebase(given))
    poll = poll_plan(model, given, engine)
    tap = Tap(sink)
    chain = SoftwareChain(engine, given, poll, model.wires.detect == "switch", tap, seed)
    ordinary = given.defect is None or defect_named(given.defect).parks
    if ordinary and not getattr(sink, "whole", False):  # who asks for all payloads sees every poll
        tap.settle = chain.park_idle_polls().settle
    uplink = InProcessUplink()
    hop = given.profile != PLAIN
    host = Host(engine, chain.places[0].port, uplink, HostSettings(given.mtu, poll), tap, hop=hop)
    profile = chain.cards[0].profile
    declares: dict[str, object] = {
        "protocol": ("T=0", "T=1"),
        "cards": given.cards,
        "rate": True,
        "removable": True,
        "faults": True,
        "files": REFERENCE,
        "writes": UNLIMITED,
        "pin": True,
        "level": "character",
        "mtu": profile.mtu,
        "ports": profile.ports,
    }
    if hop:
        declares["stack"] = tuple(each for each in ("channel", "ip") if given.stack in (each, "both"))
        if profile.channel_stack:
            declares["channels"] = profile.channels
    rig = Rig(engine, host, uplink, narrowed(declares, model.declarations), given, chain, tap)
    rig.hands = SoftwareHands(engine, chain, given.clock_hz)
    if hop and given.stack != "channel":
        rig.network = ip_network(engine, host, given, tap, seed, poll, spoken(model.declarations))
    rig.again = lambda other: _software(model, other, NullSink(), seed)
    return rig


def _nothing() -> None:
    pass
