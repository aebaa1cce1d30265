"""A reader with the reference card in it, on each path there is: what the contract suite is held on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from bench.engine import Engine, VirtualEngine
from bench.hop.link import PollPlan
from bench.iso7816.apdu import CommandApdu, ResponseApdu, parse_response
from bench.iso7816.port import Answer, ExchangeLevel, PowerUp, WarmResets
from bench.iso7816.transport import ApduOverT0
from bench.observe import NullSink
from bench.readers.contract import Reader
from bench.rig.build import build_rig
from bench.rig.given import Given
from bench.rig.loader import load_rig_file
from bench.rig.model import ReaderKind, RigModel, ServeWay
from bench.rig.orders import Told
from bench.rig.pcscd import Driver, missing_parts
from bench.rig.real import RealRig
from bench.rig.served_reader import ServedReader
from bench.rig.software import SoftwareChain, profile_named, wishes_of

ROOT = Path(__file__).resolve().parents[3]
HANG_S = 10.0
"""Nothing may take longer, whatever happens."""
PLAIN = {"profile": "plain"}
"""A card that speaks only when spoken to: nothing but the test's own exchanges is on its line."""


@dataclass(frozen=True)
class ReaderPath:
    """A path by its name, which is that of its rig file."""

    name: str
    guest: bool = False
    """It needs the virtual machine's USB."""
    supply: bool = True
    """Whether the reader can take power away from a card; a pty has no line for it, and QEMU keeps it from a card passed through."""
    resets: bool = True
    """Whether a power-up reaches the card; QEMU's reader answers for a card passed through with the answer to reset it once gave."""

    @property
    def model(self) -> RigModel:
        file = "default" if self.name == "software" else self.name
        return load_rig_file(ROOT / "rigs" / f"{file}.yaml").rigs[0]

    @property
    def missing(self) -> str:
        """What this machine lacks for the path; empty where nothing."""
        model = self.model
        if model.reader.kind is ReaderKind.PCSC:
            way = model.serve.way if model.serve is not None else None
            serial = way in (ServeWay.GEMPC_TWIN, ServeWay.GEMPC_SIMPRO)
            driver = Driver() if way is ServeWay.VPCD else Driver.serial("", "") if serial else Driver.usb()
            return missing_parts(driver) or _module("smartcard", "pcsc")
        if model.reader.kind is ReaderKind.SERIAL:
            return _module("serial", "serial")
        return _module("usb", "usb") if model.reader.kind is ReaderKind.USB else ""


PATHS = (
    ReaderPath("software"),
    ReaderPath("pcsc-vpcd"),
    ReaderPath("pcsc-gempc-t0"),
    ReaderPath("pcsc-gempc-t1"),
    ReaderPath("serial-rfc2217"),
    ReaderPath("serial-pty", supply=False),
    ReaderPath("usb-raw-t0", guest=True),
    ReaderPath("usb-raw-t1", guest=True),
    ReaderPath("usb-qemu", guest=True, supply=False, resets=False),
    ReaderPath("pcsc-usb-t0", guest=True),
    ReaderPath("pcsc-usb-t1", guest=True),
)


def _module(name: str, extra: str) -> str:
    return "" if find_spec(name) is not None else f"the extra '{extra}' is not installed"


class Station:
    """One reader, one reference card behind it, and short words for what tests do with them."""

    def __init__(self, engine: Engine, reader: Reader, given: Given) -> None:
        self.engine = engine
        self.reader = reader
        self.given = given
        self.atr = profile_named(given.profile, given, 1).atr
        self.faults: list[str] = []
        self.cards: list[bool] = []
        reader.on_fault = self.faults.append

    # -- hands, and what the card sees: by who inherits

    def pull(self) -> None:
        raise NotImplementedError

    def insert(self) -> None:
        raise NotImplementedError

    def tell(self) -> Told:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    # -- time

    def wait(self, done: Callable[[], bool], seconds: float = HANG_S) -> bool:
        return self.engine.wait(done, round(seconds * self.engine.timebase.hz))

    def seconds(self, ticks: int) -> float:
        return ticks / self.engine.timebase.hz

    # -- the reader

    def power_up(self) -> PowerUp:
        return self._came_up(self.reader.power_up)

    def warm_reset(self) -> PowerUp:
        assert isinstance(self.reader, WarmResets)
        return self._came_up(self.reader.warm_reset)

    def _came_up(self, how: Callable[[Callable[[PowerUp], None]], None]) -> PowerUp:
        results: list[PowerUp] = []
        self.engine.call(lambda: how(results.append))
        assert self.wait(lambda: bool(results)), "the reader says nothing of a power-up"
        assert len(results) == 1
        return results[0]

    def up(self) -> Station:
        """The card is up, and is the one that is served."""
        result = self.power_up()
        assert not result.error, f"{result.error}; faults: {self.faults}"
        assert result.atr == self.atr
        return self

    def exchange(self, command: bytes, seconds: float = HANG_S) -> Answer:
        answers: list[Answer] = []
        self.engine.call(lambda: self.reader.submit(command, answers.append))
        assert self.wait(lambda: bool(answers), seconds), f"no answer to {command[:5].hex(' ')}, and no error"
        return answers[0]

    @property
    def tpdus(self) -> bool:
        """Whether the reader takes TPDUs of T=0: GET RESPONSE is ours then."""
        return self.reader.protocol == 0 and self.reader.level is not ExchangeLevel.APDU

    def apdu(self, command: CommandApdu) -> ResponseApdu:
        """Carry an APDU as this reader's level and protocol want it."""
        if not self.tpdus:
            answer = self.exchange(command.encode())
            assert not answer.error, f"{answer.error}; faults: {self.faults}"
            return parse_response(answer.response)
        over = ApduOverT0(command)
        step = over.start()
        while not isinstance(step, ResponseApdu):
            answer = self.exchange(step.data)
            assert not answer.error, f"{answer.error}; faults: {self.faults}"
            step = over.step(answer.response)
        return step


class SoftwareStation(Station):
    """The virtual wire: no time passes but the engine's."""

    def __init__(self, given: Given, model: RigModel) -> None:
        engine = VirtualEngine(model.timebase(given))
        period = engine.timebase.nanoseconds(10**6)
        self.chain = SoftwareChain(engine, given, PollPlan(period, period), True, NullSink())
        reader = self.chain.places[0].reader
        reader.wishes = wishes_of(given)
        super().__init__(engine, reader, given)

    def pull(self) -> None:
        self.chain.remove(1)

    def insert(self) -> None:
        self.chain.insert(1)

    def tell(self) -> Told:
        contacts = self.chain.cards[0].contacts
        return Told(contacts.powered, contacts.rate.f, contacts.rate.d)

    def close(self) -> None:
        assert self.reader.close()


class RealStation(Station):
    """A real driver, in real time, with the served card behind."""

    def __init__(self, given: Given, model: RigModel) -> None:
        rig = build_rig(model, given, NullSink(), 0, True)
        assert isinstance(rig, RealRig)
        self.rig = rig
        super().__init__(rig.engine, rig.reader, given)

    def pull(self) -> None:
        self._served.pull(1)

    def insert(self) -> None:
        self._served.insert(1)

    def tell(self) -> Told:
        assert self._served.cards is not None
        return self._served.cards.tell()

    def close(self) -> None:
        self.rig.close()

    @property
    def _served(self) -> ServedReader:
        assert self.rig.served is not None
        return self.rig.served


def open_station(path: ReaderPath, **given: str) -> Station:
    """A fresh card and the reader it is in. ``given`` as in scenarios."""
    model = path.model
    conditions = model.conditions(Given.model_validate({**PLAIN, **given}))
    return (RealStation if model.real else SoftwareStation)(conditions, model)
