"""What goes beside exchanges, through Debian's pcscd: control codes and attributes of libccid, resets of each kind, cards that come and go."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, TypeVar

import pytest

from bench.iso7816.port import Answer, PowerUp
from bench.observe import NullSink
from bench.readers.contract import RateControl
from bench.readers.faults import Fault, fault_of
from bench.readers.pcsc import PcscReader
from bench.readers.pcsc_attributes import Attributes
from bench.readers.pcsc_features import ESCAPE, Feature, Features
from bench.rig import quarantine
from bench.rig.given import Given
from bench.rig.loader import load_rig_file
from bench.rig.pcscd import missing_parts
from bench.rig.real import RealRig, real_rig
from bench.rig.served_reader import close_served_reader, served_reader

MISSING = missing_parts() or ("" if find_spec("smartcard") else "missing pyscard: pip install 'cardbench[pcsc]'")

pytestmark = [
    pytest.mark.witness,
    pytest.mark.real,
    pytest.mark.skipif(bool(MISSING), reason=MISSING or "nothing is missing"),
]

ROOT = Path(__file__).parents[2]
GEMPC_TWIN = (0x08E6, 0x3437)
T = TypeVar("T")


class Open(Protocol):
    def __call__(self, rig: str, **given: str) -> "Station": ...


class Station:
    """A rig whose reader is a PcscReader, and short words for what tests do with it."""

    def __init__(self, rig: RealRig) -> None:
        self.rig = rig
        assert isinstance(rig.reader, PcscReader)
        self.reader = rig.reader
        self.faults: list[str] = []
        self.reader.on_fault = self.faults.append

    def ask(self, question: Callable[[Callable[[T], None]], None], seconds: float = 10) -> T:
        """What ``question`` answers through the function it is given."""
        answers: list[T] = []
        self.rig.engine.call(lambda: question(answers.append))
        assert self.until(lambda: bool(answers), seconds)
        return answers[0]

    def until(self, done: Callable[[], bool], seconds: float = 10) -> bool:
        return self.rig.engine.wait(done, round(seconds * self.rig.engine.timebase.hz))

    def power_up(self) -> PowerUp:
        return self.ask(self.reader.power_up)

    def transmit(self, command: str) -> Answer:
        return self.ask(lambda done: self.reader.submit(bytes.fromhex(command), done))


@pytest.fixture
def open_one() -> Iterator[Open]:
    opened: list[Station] = []

    def open_here(rig: str, **given: str) -> Station:
        model = load_rig_file(ROOT / "rigs" / f"{rig}.yaml").rigs[0]
        opened.append(Station(real_rig(model, Given.model_validate(given), NullSink())))
        return opened[-1]

    yield open_here
    for station in opened:
        station.rig.close()
    quarantine.clear()


@pytest.fixture(scope="module", autouse=True)
def nothing_stays() -> Iterator[None]:
    yield
    close_served_reader()


class TestLibccid:
    """Its serial driver, with our firmware as a GemPC Twin behind it."""

    @pytest.fixture
    def station(self, open_one: Open) -> Station:
        return open_one("pcsc-gempc-t1", protocol="T=1")

    @pytest.mark.parametrize("powered", [True, False], ids=["beside-a-card", "past-any-card"])
    def test_features_and_properties(self, station: Station, powered: bool) -> None:
        if powered:
            assert not station.power_up().error
        found: Features = station.ask(station.reader.features)
        assert not found.error
        assert found.code(Feature.GET_TLV_PROPERTIES) is not None
        assert found.code(Feature.MODIFY_PIN_DIRECT) is None, "this reader has no keys"
        assert (found.properties.vendor, found.properties.product) == GEMPC_TWIN
        assert found.properties.max_apdu_data == 0x10000

    def test_a_control_code_reaches_the_firmware(self, station: Station) -> None:
        """Escape 02 asks a Gemalto reader for its firmware's name, which libccid lets through."""
        station.power_up()
        answer = station.ask(lambda done: station.reader.control(ESCAPE, b"\x02", done))
        assert not answer.error
        assert answer.response
        assert answer.start < answer.end
        features: Features = station.ask(station.reader.features)
        assert features.properties.firmware.encode() == answer.response.strip(b"\0 ")

    def test_what_the_driver_refuses_is_no_fault_of_the_reader(self, station: Station) -> None:
        station.power_up()
        answer = station.ask(lambda done: station.reader.control(ESCAPE, b"\x77", done))
        assert "SCardControl" in answer.error
        assert not station.faults
        assert station.transmit("00A4000C02 0002").response == b"\x90\x00"

    def test_a_node_address_is_set_or_refused_with_the_reason(self, station: Station) -> None:
        """libccid sets NAD from 1.6.0 on; Debian 12 has 1.5.2."""
        station.power_up()
        reason = station.ask(lambda done: station.reader.set_nad(0x21, done))
        if reason:
            assert "libccid does from 1.6.0 on" in reason
            assert not station.faults
        assert station.transmit("00A4000C02 0002").response == b"\x90\x00"

    def test_attributes(self, station: Station) -> None:
        station.power_up()
        found: Attributes = station.ask(station.reader.attributes)
        assert not found.error
        assert found.max_input > 256
        assert found.version
        assert station.reader.abilities.rate is RateControl.UNKNOWN, "libccid does not tell F and D"

    def test_a_protocol_the_card_does_not_offer_is_named(self, open_one: Open) -> None:
        station = open_one("pcsc-gempc-t1", protocol="T=1")
        station.reader.wishes = type(station.reader.wishes)(protocol=0)
        assert station.power_up().error.startswith("protocol mismatch: ")
        station.reader.wishes = type(station.reader.wishes)(protocol=1)
        assert station.power_up().atr
        assert station.reader.protocol == 1


class TestVpcd:
    """The smallest driver there is."""

    @pytest.fixture
    def station(self, open_one: Open) -> Station:
        return open_one("pcsc-vpcd")

    def test_a_driver_without_features_says_so(self, station: Station) -> None:
        station.power_up()
        found: Features = station.ask(station.reader.features)
        assert found.error or not found.codes
        assert not station.faults

    @pytest.mark.parametrize("kind", ["cold", "warm"])
    def test_a_reset_forgets_what_was_selected(self, station: Station, kind: str) -> None:
        station.power_up()
        station.transmit("00A4000C02 0002")
        assert station.transmit("00B0000001").response[-2:] == b"\x90\x00"
        up: PowerUp = station.ask(station.reader.warm_reset if kind == "warm" else station.reader.power_up)
        assert up.atr
        assert station.transmit("00B0000001").response == b"\x69\x86"

    def test_a_card_that_goes_and_comes_is_told(self, station: Station) -> None:
        seen: list[bool] = []
        station.rig.engine.call(lambda: setattr(station.reader, "on_card", seen.append))
        station.power_up()
        for there in (False, True, False, True):
            (served_reader().insert if there else served_reader().pull)(1)
            assert station.until(lambda: bool(seen))
            assert seen == [there]
            seen.clear()
        assert station.power_up().atr

    def test_a_daemon_that_goes_is_told_without_an_exchange(self, station: Station) -> None:
        station.rig.engine.call(lambda: setattr(station.reader, "on_card", lambda _there: None))
        station.power_up()
        pid = served_reader().daemon.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        assert station.until(lambda: bool(station.faults))
        assert "pcscd was killed by SIGKILL" in station.faults[0] or fault_of(station.faults[0]) is Fault.DAEMON

    def test_watching_leaves_no_thread(self, open_one: Open) -> None:
        open_one("pcsc-vpcd").rig.close()
        before = threading.active_count(), len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            station = open_one("pcsc-vpcd")
            station.rig.engine.call(lambda station=station: setattr(station.reader, "on_card", lambda _there: None))  # type: ignore[misc]
            station.power_up()
            begun = time.monotonic()
            station.rig.close()
            assert time.monotonic() - begun < 2
        assert (threading.active_count(), len(os.listdir("/proc/self/fd"))) == before
