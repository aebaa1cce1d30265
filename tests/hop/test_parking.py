"""Idle polls that are no events leave no trace but their row: every round trip, record and tick is what it is with each poll made."""

from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.card.applications import STANDARD
from bench.card.card import Card
from bench.card.defects import DEFECTS
from bench.card.profile import CardProfile
from bench.engine import Timebase, VirtualEngine
from bench.hop.link import PollPlan
from bench.hop.parking import ParkingLot
from bench.hop.segment import SW_NOTHING
from bench.hop.terminal_link import ApduOutcome
from bench.host.peers import InProcessUplink, PeerSocket
from bench.host.platform import Host, HostSettings
from bench.iso7816.apdu import CommandApdu
from bench.iso7816.disturbance import Disturbance
from bench.observe import Exchange, LinkChange, ListSink, NullSink, Observation, Packet, Sink
from bench.readers.software import SoftwareReader
from bench.readers.wrappers import Cutting, Recorded
from bench.rig.build import build_rig
from bench.rig.given import Given
from bench.rig.model import RigModel

CLOCK_HZ = 3_571_200
MICROSECOND = 1_000


@dataclass(frozen=True, slots=True)
class Setting:
    """A chain, and how often it polls (µs)."""

    cards: int = 1
    protocol: int = 0
    ta1: int = 0x96
    first_us: int = 1000
    longest_us: int = 1000
    card_time_us: int = 0
    wtxs: int = 0
    detects: bool = False


class Line:
    """A host and cards in a row, whose idle polls are parked or not."""

    def __init__(self, setting: Setting, *, parked: bool) -> None:
        self.engine = VirtualEngine(Timebase.for_clocks(CLOCK_HZ))
        self.lot = ParkingLot() if parked else None
        poll = PollPlan(self.ticks(setting.first_us), self.ticks(setting.longest_us))
        self.sink = ListSink()
        self.uplink = InProcessUplink()
        self.cards: list[Card] = []
        self.readers: list[SoftwareReader] = []
        self.cutters: list[Cutting] = []
        profile = CardProfile(
            b"x",
            ta1=setting.ta1,
            mtu=64,
            applications=STANDARD[:2],
            protocols=(setting.protocol,),
            card_time_ns=setting.card_time_us * MICROSECOND,
            wtxs=setting.wtxs,
        )
        for number in range(1, setting.cards + 1):
            reader = SoftwareReader(self.engine, CLOCK_HZ, setting.ta1, detects=setting.detects)
            reader.lot = self.lot
            cutter = Cutting(reader, self.engine, self.ticks(10_000))
            port = Recorded(cutter, number, self.sink)
            card = Card(self.engine, replace(profile, identity=b"%02d" % number), poll, self.sink)
            reader.insert(card.contacts)
            if self.cards:
                self.cards[-1].attach_io2(port, number)
            else:
                self.host = Host(self.engine, port, self.uplink, HostSettings(64, poll), self.sink)
            self.cards.append(card)
            self.readers.append(reader)
            self.cutters.append(cutter)
        self.sockets: list[PeerSocket] = []
        self.heard: list[tuple[int, bytes]] = []
        """What came back from the cards, and when."""
        self.outcomes: list[ApduOutcome] = []

    def ticks(self, microseconds: int) -> int:
        return self.engine.timebase.nanoseconds(microseconds * MICROSECOND)

    def run(self, microseconds: int) -> None:
        self.engine.run(self.engine.now + self.ticks(microseconds))

    def send(self, number: int, size: int) -> None:
        """To the echo of a card, if it is listed."""
        found = [each.port for each in self.host.gateway.services() if (each.name, each.card) == ("echo", number)]
        if not found:
            return
        socket = self.uplink.dial(found[0])
        socket.on_data = lambda data: self.heard.append((self.engine.now, data))
        socket.write(bytes(range(size)))
        self.sockets.append(socket)

    def bounce(self, number: int, size: int) -> None:
        """What comes back over a connection goes out again in the same tick, a few times."""
        if not self.sockets:
            return
        socket = self.sockets[number % len(self.sockets)]
        left = 3

        def again(data: bytes) -> None:
            nonlocal left
            self.heard.append((self.engine.now, data))
            if left:
                left -= 1
                self.engine.after(0, lambda: socket.write(data))

        socket.on_data = again
        socket.write(bytes(size))

    def write(self, number: int, size: int) -> None:
        """Over a connection that is there, if one is."""
        if self.sockets:
            self.sockets[number % len(self.sockets)].write(bytes(size))

    def apdu(self) -> None:
        self.host.apdu(CommandApdu(0xA0, 0xEC, 0, 0, b"hello", 5), self.outcomes.append)

    def finish(self) -> None:
        """What is left to be told is told."""
        self.host.stop()
        if self.lot is not None:
            self.lot.settle()


Act = tuple[str, int, int]


def perform(line: Line, act: Act) -> None:
    what, number, size = act
    place = number % len(line.cards)
    match what:
        case "send":
            line.send(place + 1, size)
        case "write":
            line.write(number, size)
        case "bounce":
            line.bounce(number, size)
        case "apdu":
            line.apdu()
        case "remove":
            line.readers[place].remove()
        case "insert":
            line.readers[place].insert(line.cards[place].contacts)
        case "warm" | "cold":
            line.host.link.restart(warm=what == "warm")
        case "disturb":
            line.readers[place].disturb(Disturbance(7, 0.001))
        case "listen":
            line.readers[place].on_burst = lambda _burst, _side: None
        case "deaf":
            line.readers[place].on_burst = None
        case "cut":
            cutter = line.cutters[place]
            line.cutters[place].cut_commands.update(range(cutter.count + 2, cutter.count + 6, 3))
        case "count":
            line.heard.append((line.cutters[place].attempts, b"attempts"))
        case "settle":
            if line.lot is not None:
                line.lot.settle()
        case _:
            raise AssertionError(what)


def play(setting: Setting, acts: list[tuple[int, bool, Act]], *, parked: bool) -> Line:
    line = Line(setting, parked=parked)
    line.host.start()
    line.run(400_000 * setting.cards)
    for microseconds, inside, act in acts:
        if inside:
            line.engine.after(line.ticks(microseconds), lambda act=act: perform(line, act))  # type: ignore[misc]
            line.run(microseconds)
        else:
            line.run(microseconds)
            perform(line, act)
    line.run(3_000_000)
    line.finish()
    return line


def told(line: Line) -> list[str]:
    """Every observation, the idle polls one by one, in the order of their times."""
    found: list[tuple[int, str]] = []
    for each in line.sink.observations:
        if isinstance(each, Exchange):
            for turn in range(each.count):
                start = each.start_ticks + turn * each.period_ticks
                one = replace(each, start_ticks=start, count=1, period_ticks=0)
                found.append((start, repr(one)))
        else:
            found.append((_time(each), repr(each)))
    return [text for _, text in sorted(found)]


def _time(observation: Observation) -> int:
    assert hasattr(observation, "time_ticks")
    return int(observation.time_ticks)


def same(setting: Setting, acts: list[tuple[int, bool, Act]]) -> tuple[Line, Line]:
    every, parked = (play(setting, acts, parked=each) for each in (False, True))
    expected, found = told(every), told(parked)
    for a, b in zip(expected, found, strict=False):
        assert b == a
    assert len(found) == len(expected)
    assert parked.heard == every.heard
    assert [(each.start, each.end, each.error) for each in parked.outcomes] == [
        (each.start, each.end, each.error) for each in every.outcomes
    ]
    packets = [[each for each in line.sink.observations if isinstance(each, Packet)] for line in (every, parked)]
    assert packets[0] == packets[1]
    assert [each.count for each in parked.cutters] == [each.count for each in every.cutters]
    assert [each.crashes for each in parked.cards] == [[] for _ in parked.cards]
    return every, parked


SETTINGS = st.builds(
    Setting,
    cards=st.integers(1, 6),
    protocol=st.sampled_from((0, 1)),
    ta1=st.sampled_from((0x11, 0x18, 0x96)),
    first_us=st.sampled_from((500, 1000, 1001)),
    longest_us=st.sampled_from((1000, 1700, 7000, 50_000)),
    card_time_us=st.sampled_from((0, 0, 300)),
    wtxs=st.sampled_from((0, 0, 0, 1)),
    detects=st.booleans(),
)
TRAFFIC = ("send", "write", "bounce", "apdu", "settle")
HANDS = ("remove", "insert", "insert", "warm", "cold", "disturb", "listen", "deaf", "cut", "count")
ACTS = st.lists(
    st.tuples(
        st.integers(0, 3000) | st.integers(0, 60).map(lambda each: 1000 * each) | st.integers(0, 900_000),
        st.booleans(),
        st.tuples(st.sampled_from(TRAFFIC + TRAFFIC + HANDS), st.integers(0, 5), st.integers(1, 150)),
    ),
    max_size=8,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(SETTINGS, ACTS)
def test_what_happens_is_the_same_to_the_tick(setting: Setting, acts: list[tuple[int, bool, Act]]) -> None:
    same(setting, acts)


@pytest.mark.parametrize("protocol", [0, 1])
def test_a_packet_in_the_tick_in_which_a_poll_is_asked_for_waits_for_it(protocol: int) -> None:
    acts = [(1000, False, ("send", 0, 20)), (400_000, False, ("bounce", 0, 30)), (400_000, False, ("bounce", 0, 7))]
    every, _ = same(Setting(protocol=protocol), acts)
    assert len(every.heard) > 6


@pytest.mark.parametrize("protocol", [0, 1])
def test_an_idle_chain_costs_no_events_and_leaves_one_row_a_hop(protocol: int) -> None:
    line = Line(Setting(cards=3, protocol=protocol), parked=True)
    line.host.start()
    line.run(2_000_000)
    assert line.lot is not None
    line.lot.settle()
    events = line.engine.events
    line.sink.observations.clear()
    begun = line.engine.now
    line.run(600_000_000)
    assert line.engine.events == events
    line.lot.settle()
    rows = [each for each in line.sink.observations if isinstance(each, Exchange)]
    assert [each.hop for each in rows] == [1, 2, 3]
    for each in rows:
        assert (each.sw, each.error) == (SW_NOTHING, "")
        assert each.period_ticks == line.ticks(1000)
        assert each.count in (599_999, 600_000, 600_001)
        assert begun - each.period_ticks <= each.start_ticks <= begun + each.period_ticks


def test_the_watchdog_counts_parked_polls_and_still_notices_silence() -> None:
    setting = Setting(cards=2)
    _, parked = same(setting, [(6_000_000, False, ("count", 0, 1)), (3_000_000, False, ("remove", 0, 1))])
    downs = [
        (each.hop, each.side, each.reason)
        for each in parked.sink.observations
        if isinstance(each, LinkChange) and not each.up
    ]
    assert (1, "card", "power lost") in downs
    assert (1, "terminal", "mute") in downs
    silent = Line(setting, parked=True)
    silent.host.start()
    silent.run(20_000_000)
    silent.readers[1]._to_card = lambda _burst: None  # type: ignore[method-assign, assignment]  # a line that is cut: no reset, only silence
    silent.readers[1].on_burst = None
    silent.run(5_000_000)
    changes = [each for each in silent.sink.observations if isinstance(each, LinkChange) and not each.up]
    assert (2, "card", "poll watchdog") in [(each.hop, each.side, each.reason) for each in changes]


def test_who_wants_to_see_every_poll_sees_them() -> None:
    line = Line(Setting(), parked=True)
    line.host.start()
    line.run(1_000_000)
    seen: list[int] = []
    line.readers[0].on_burst = lambda burst, _side: seen.append(burst.start)
    line.run(1_000_000)
    assert len(seen) in range(1998, 2003), "a header and a status word a millisecond"
    line.readers[0].on_burst = None
    line.run(1_000_000)
    events = line.engine.events
    line.run(1_000_000)
    assert line.engine.events == events


def test_a_rig_with_a_defect_or_a_record_in_full_parks_nothing() -> None:
    assert _parks({}, NullSink())
    assert not _parks({"defect": next(iter(DEFECTS))}, NullSink())
    whole = NullSink()
    whole.whole = True  # type: ignore[attr-defined]
    assert not _parks({}, whole)


def _parks(given: dict[str, str], sink: Sink) -> bool:
    model = RigModel.model_validate({"name": "x", "reader": {"kind": "software"}, "cards": [{"profile": "reference"}]})
    rig = build_rig(model, Given.model_validate({"mtu": "64", **given}), sink, 1, False)
    assert rig.chain is not None
    return all(place.reader.lot is not None for place in rig.chain.places)
