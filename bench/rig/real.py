"""Rigs in real time: a real driver under the monotonic clock, with the reference chain or a lab's own cards behind it."""

from collections.abc import Callable, Mapping
from typing import Final

from bench.engine import MonotonicEngine
from bench.host.peers import InProcessUplink
from bench.host.platform import Host, HostSettings
from bench.iso7816.port import TerminalPort
from bench.observe import Parameter, Sink
from bench.readers.contract import Abilities, Reader
from bench.readers.faults import Fault, fault_of
from bench.readers.wrappers import Checked, Recorded
from bench.rig import quarantine
from bench.rig.build import Rig, Tap, poll_plan
from bench.rig.calibration import CalibratedSplit
from bench.rig.declared import narrowed, spoken
from bench.rig.errors import RigError, RigNotAble
from bench.rig.given import Given
from bench.rig.guard import UNLIMITED, Guard, Guarded
from bench.rig.hands import Hands, Move, OrderedHands, hands_of
from bench.rig.inventory_match import reader_key
from bench.rig.ip_network import ip_network
from bench.rig.locks import ReaderLock
from bench.rig.model import ReaderKind, RigModel
from bench.rig.opening import card_clock, declared, open_reader, refusal, wish
from bench.rig.orders import ServeOrder
from bench.rig.served_reader import ServedReader, close_served_reader, served_reader
from bench.rig.software import PLAIN, REFERENCE, profile_named

UNPACED: Final = "the served card answers at once: no line sets its pace, and its times say nothing of one"


class RealRig(Rig):
    """A rig in real time. What breaks of it ends the step that waits with RigError, and so the point with verdict error."""

    def __init__(
        self,
        engine: MonotonicEngine,
        host: Host,
        uplink: InProcessUplink,
        declares: Mapping[str, object],
        given: Given,
        tap: Tap,
        reader: Reader,
        let_go: Callable[[str], None],
    ) -> None:
        super().__init__(engine, host, uplink, declares, given, None, tap)
        self.reader = reader
        self.served: ServedReader | None = None
        """What serves the cards, where they are the bench's own."""
        self.time_resolution_ns = reader.abilities.resolution_ns
        self.stamped = reader.abilities.stamped
        self._engine = engine
        self._let_go = let_go
        self._closed = False

    def close(self) -> None:
        """Power down, let go of the reader, stop the clock; closing twice is no mistake. Raises RigError for what broke and nobody heard of yet."""
        if self._closed:
            return
        self._closed = True
        try:
            self._engine.call(self.host.stop)
            self.reader.close()
        finally:
            if self.guard is not None:
                self.guard.end()
            self._let_go(self.reader.hung)
            self._engine.stop()
        failure = self._engine.failure()
        if failure is not None:
            raise failure


class _Making:
    """What has been made of a rig so far, so that it can be let go of wherever the rest goes wrong."""

    def __init__(self, model: RigModel) -> None:
        self.model = model
        self.served: ServedReader | None = None
        self.lock: ReaderLock | None = None
        self.engine: MonotonicEngine | None = None
        self.reader: Reader | None = None
        self.rig: RealRig | None = None
        self.broke = ""
        """The first thing that broke, of what no card can be blamed for."""

    def fault(self, text: str) -> None:
        """What broke while the rig was in use. A card that hands have taken away is no fault."""
        if self.rig is not None and self.rig.away and fault_of(text) in (Fault.ABSENT, Fault.READER):
            return
        if not self.broke:
            self.broke = text
            came_up = self.rig is not None and bool(self.rig.host.link.atr)
            quarantine.broke(self.model.name, text, came_up=came_up)
        assert self.engine is not None
        self.engine.fail(RigError(f"rig {self.model.name}: {text}"))

    def let_go(self, hung: str) -> None:
        """The point has ended, its reader is closed; ``hung`` is the driver call that did not return, or nothing."""
        if not self.broke:
            quarantine.worked(self.model.name)
        if hung and self.served is not None:
            close_served_reader()  # which also sets the thread free that hangs in it
        if self.lock is not None:
            self.lock.release()

    def undo(self) -> None:
        """The rig does not come about."""
        if self.reader is not None:
            self.reader.close()
        if self.engine is not None:
            self.engine.stop()
        if self.lock is not None:
            self.lock.release()


def real_rig(model: RigModel, given: Given, sink: Sink, seed: int = 0) -> RealRig:
    """The rig for one point on a real reader; ``seed`` is of its uplink's line. Raises RigNotAble and RigError."""
    quarantine.check(model.name)
    if reason := refusal(model, given):
        raise RigNotAble(reason)
    if model.serve is not None:
        profile_named(given.profile, given, 1)  # a scenario's mistake is no fault of the rig
    making = _Making(model)
    try:
        if model.serve is not None:
            making.served = served_reader()
            making.served.fresh(_order(model, given), model)
        else:
            making.lock = ReaderLock(reader_key(model.reader)).acquire()
        making.engine = engine = MonotonicEngine(model.timebase(given)).start()
        making.reader = reader = open_reader(model, given, engine, making.served)
        reader.on_fault = making.fault
        wish(reader, given)
        return _rig(making, engine, reader, given, sink, seed)
    except BaseException as error:
        making.undo()
        if isinstance(error, RigError):
            quarantine.broke(model.name, str(error))
        raise


def _order(model: RigModel, given: Given) -> ServeOrder:
    """What the process that serves is told of the point: its conditions, as a scenario file writes them."""
    values = given.model_dump(mode="json", exclude_none=True)
    texts = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in values.items()}
    if model.reader.kind is ReaderKind.SERIAL:
        texts["clock_hz"] = str(card_clock(model, given))
    return ServeOrder(texts, paced=_paced(given))


def _paced(given: Given) -> bool:
    """Whether a served card keeps to the time of its line: where the point says what a command takes it."""
    return given.card_time.ns > 0


def _rig(making: _Making, engine: MonotonicEngine, reader: Reader, given: Given, sink: Sink, seed: int) -> RealRig:
    model = making.model
    tap, uplink = Tap(sink), InProcessUplink()
    settings = HostSettings(given.mtu, poll_plan(model, given, engine))
    hop = (given.profile if making.served is not None else model.cards[0].profile) != PLAIN
    port: TerminalPort = Checked(reader, making.fault)
    guard: Guard | None = None
    if making.served is None:
        guard = Guard(model, reader_key(model.reader))
        port = Guarded(port, engine, guard, engine.fail)
    unpaced = making.served is not None and not _paced(given)
    split = calibrated_split(model, engine, sink, paced=not unpaced)
    recorded = Recorded(port, 1, tap, engine=engine, split=split, now=lambda: engine.now)
    host = engine.call(lambda: Host(engine, recorded, uplink, settings, tap, hop=hop))
    hands = _hands(making.served, model, given)
    declares = _declares(reader.abilities, hands, model, given, hop)
    rig = RealRig(engine, host, uplink, declares, given, tap, reader, making.let_go)
    rig.served, rig.hands, rig.guard = making.served, hands, guard
    if unpaced:
        rig.unpaced = UNPACED
    if hop and given.stack != "channel":
        versions = spoken(model.declarations)
        rig.network = engine.call(lambda: ip_network(engine, host, given, tap, seed, settings.poll, versions))
    making.rig = rig
    return rig


def calibrated_split(
    model: RigModel, engine: MonotonicEngine, sink: Sink, *, paced: bool = True
) -> CalibratedSplit | None:
    """What divides the reader's time from the card's, where this very reader was calibrated; the record tells of it."""
    key = latency_key(model)
    mine = [each for each in model.calibrations if each.key == key]
    for each in mine:
        text = f"T={each.protocol} of {each.date}, {each.driver or each.reader}"
        sink.emit(Parameter("calibration", text, False))
    return CalibratedSplit(mine, engine.timebase, paced=paced) if mine else None


def latency_key(model: RigModel) -> str:
    """The identity under which a rig's latency is kept: the reader's; where the bench serves the card, the way it does."""
    return reader_key(model.reader) if model.serve is None else f"served:{model.serve.way}:{model.reader.kind}"


def _hands(served: ServedReader | None, model: RigModel, given: Given) -> Hands:
    return hands_of(model) if served is None else OrderedHands(served.pull, served.insert, given.cards)


def _declares(abilities: Abilities, hands: Hands, model: RigModel, given: Given, hop: bool) -> dict[str, object]:
    """What is known of the cards and of the path to them."""
    nobody = hands.why_not(Move.PULL, 1) or hands.why_not(Move.INSERT, 1)
    declares: dict[str, object] = {
        **declared(abilities),
        "removable": f"no ({nobody})" if nobody else True,
        "cards": given.cards,
    }
    if model.serve is None:
        # a lab's own cards without their declaration: how many there are, and whether they speak the hop
        if given.cards != len(model.cards):
            raise RigNotAble(f"the rig has {len(model.cards)} cards, the point asks for {given.cards}")
        declares |= {"protocol": tuple(f"T={number}" for number in abilities.protocols)}
        declares |= Guard(model, reader_key(model.reader)).declares()
    else:
        profile = profile_named(given.profile, given, 1)
        offered = (0, 1) if given.offers == "both" else (int((given.offers or given.protocol)[-1]),)
        declares |= {
            "protocol": tuple(f"T={number}" for number in offered if number in abilities.protocols),
            "mtu": profile.mtu,
            "ports": profile.ports,
            "files": REFERENCE,
            "writes": UNLIMITED,
            "pin": True,
        }
        if hop and profile.channel_stack:
            declares["channels"] = profile.channels
    if hop:
        carried = given.stack if model.serve is not None else _carried(model)
        declares["stack"] = tuple(each for each in ("channel", "ip") if carried in (each, "both"))
    return narrowed(declares, model.declarations)


def _carried(model: RigModel) -> str:
    """The stacks that all of a lab's own cards carry, as declaration or rig file say; empty where they have none in common."""
    declared = model.declarations or (None,) * len(model.cards)
    stacks = {
        card.stack if declaration is None else declaration.stack
        for card, declaration in zip(model.cards, declared, strict=True)
    } - {"both"}
    return stacks.pop() if len(stacks) == 1 else "" if stacks else "both"
