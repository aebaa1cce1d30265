"""The two sides of CCID in one process, under the virtual clock: our driver, our firmware, a pair of pipes between them, and hands on both."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bench.card.card import Card
from bench.card.profile import CardProfile
from bench.ccid.codes import ClassRequest
from bench.ccid.descriptor import ClassDescriptor, Feature
from bench.ccid.driver import Asked, CcidDriver, Powered
from bench.ccid.driver_levels import Exchanged
from bench.ccid.driver_pipe import Heard, Listen, Numbers, Pause, Request, Send, Step, Steps, T
from bench.ccid.driver_plan import Plan, read_list
from bench.ccid.firmware import CcidFirmware, FirmwareTraits
from bench.engine import Timebase, VirtualEngine
from bench.hop.link import PollPlan
from bench.iso7816.port import ExchangeLevel
from bench.observe import ListSink
from bench.readers.tpdu import SlotTraits, TpduSlot
from bench.readers.tpdu_apdu import ApduSlot

CLOCK_HZ = 4_000_000
ECHO = bytes.fromhex("A0EC0000")
SELECT_MASTER_FILE = bytes.fromhex("00A40000023F00")
MANUAL = Feature.TPDU
"""A reader that leaves everything to the host."""
AUTO_RATE = Feature.TPDU | Feature.AUTO_CLOCK | Feature.AUTO_RATE


def descriptor(features: Feature = AUTO_RATE, **changes: object) -> ClassDescriptor:
    values: dict[str, object] = {
        "features": features,
        "default_clock_khz": CLOCK_HZ // 1000,
        "maximum_clock_khz": CLOCK_HZ // 1000,
        "data_rate_bps": CLOCK_HZ // 372,
        "maximum_rate_bps": 1_000_000,
    }
    return ClassDescriptor(**(values | changes))  # type: ignore[arg-type]


@dataclass(slots=True)
class Loop:
    """A reader with cards in it, and one driver a slot."""

    descriptor: ClassDescriptor
    profiles: Sequence[CardProfile | None]
    clocks_hz: tuple[int, ...] = (CLOCK_HZ,)
    rates_bps: tuple[int, ...] = ()
    mutate: Callable[[bytes], bytes | None] = field(default=lambda message: message)
    """What becomes of a message on its way to the host; None: nothing arrives."""
    said: list[bytes] = field(default_factory=list)
    """Every message of the host."""
    requests: list[Request] = field(default_factory=list)
    notices: list[bytes] = field(default_factory=list)
    engine: VirtualEngine = field(init=False)
    firmware: CcidFirmware = field(init=False)
    cards: list[Card | None] = field(init=False)
    slots: list[TpduSlot | ApduSlot] = field(init=False)
    drivers: list[CcidDriver] = field(init=False)
    inbox: deque[bytes] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.engine = VirtualEngine(Timebase.for_clocks(*self.clocks_hz))
        features = self.descriptor.features
        traits = SlotTraits(
            self.clocks_hz,
            self.descriptor.classes,
            self.descriptor.maximum_rate_bps,
            self.descriptor.level,
            auto_parameters=bool(features & Feature.AUTO_PARAMETERS),
            auto_pps=bool(features & Feature.AUTO_PPS),
        )
        kind = ApduSlot if self.descriptor.level is ExchangeLevel.APDU else TpduSlot
        self.slots = [kind(self.engine, traits) for _ in self.profiles]
        poll = PollPlan(self.engine.timebase.hz // 100, self.engine.timebase.hz)
        self.cards = [
            None if profile is None else Card(self.engine, profile, poll, ListSink()) for profile in self.profiles
        ]
        clocks_khz = tuple(each // 1000 for each in self.clocks_hz)
        lists = FirmwareTraits(self.descriptor, clocks_khz, self.rates_bps)
        self.firmware = CcidFirmware(self.engine, self.slots, lists)
        self.firmware.on_message = self._to_host
        self.firmware.on_interrupt = self.notices.append
        for slot, card in zip(self.slots, self.cards, strict=True):
            if card is not None:
                slot.insert(card.contacts)
        plan = Plan(
            self.descriptor,
            read_list(self.firmware.clock_frequencies(), "clocks"),
            read_list(self.firmware.data_rates(), "rates"),
        )
        outstanding: Numbers = {}
        self.drivers = [CcidDriver(plan, number, outstanding) for number in range(len(self.profiles))]

    def _to_host(self, message: bytes) -> None:
        changed = self.mutate(message)
        if changed is not None:
            self.inbox.append(changed)

    @property
    def ns(self) -> int:
        return self.engine.timebase.to_ns(self.engine.now)

    def run(self, steps: Steps[T]) -> T:
        """Carry out a conversation."""
        try:
            step = next(steps)
            while True:
                step = steps.send(self._do(step))
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]

    def _do(self, step: Step) -> Heard:
        timebase = self.engine.timebase
        match step:
            case Send():
                sent = self.ns
                self.said.append(step.message)
                self.firmware.receive(step.message)
                return self._hear(step.limit_ns, sent)
            case Listen():
                return self._hear(step.limit_ns, 0)
            case Request():
                self.requests.append(step)
                assert step.request is ClassRequest.ABORT
                taken = self.firmware.control_abort(step.value & 0xFF, step.value >> 8)
                return Heard(b"" if taken else None, self.ns)
            case Pause():
                self.engine.run(self.engine.now + timebase.nanoseconds(step.ns))
                return Heard(b"", self.ns)

    def _hear(self, limit_ns: int, sent_ns: int) -> Heard:
        self.engine.wait(lambda: bool(self.inbox), self.engine.timebase.nanoseconds(limit_ns))
        return Heard(self.inbox.popleft() if self.inbox else None, self.ns, sent_ns)

    # -- short words -----------------------------------------------------------------------------------------------------

    @property
    def driver(self) -> CcidDriver:
        return self.drivers[0]

    def power_up(self, slot: int = 0, **asked: object) -> Powered:
        self.drivers[slot].asked = Asked(**asked)  # type: ignore[arg-type]
        return self.run(self.drivers[slot].power_up())

    def exchange(self, command: bytes, slot: int = 0) -> Exchanged:
        return self.run(self.drivers[slot].exchange(command, self.ns))

    def sent(self, kind: int) -> list[bytes]:
        """The host's messages of one type."""
        return [each for each in self.said if each[0] == kind]
