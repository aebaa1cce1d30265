"""Our PC/SC reader against a PC/SC library that fails on demand. (Real daemons: tests/witness/test_pcsc_vpcd.py.)"""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Final

import pytest

from bench.engine import MonotonicEngine, Timebase
from bench.iso7816.port import Answer, ExchangeLevel, PowerUp
from bench.readers import pcsc, pcsc_adapter
from bench.readers.activation import Wishes
from bench.readers.contract import RateControl
from bench.readers.pcsc import DriverLimits, PcscReader, find_reader
from bench.readers.pcsc_attributes import Attribute
from bench.readers.pcsc_errors import ADVICE, PcscCode, PcscError, PcscMissingError, Trouble

TIMEBASE = Timebase.for_clocks(3_571_200)
ATR = bytes.fromhex("3B00")
READER: Final = "Acme Reader 00 00"
SELECT = bytes.fromhex("00A4000002 3F00")
PRESENT, EMPTY, CHANGED, UNKNOWN = 0x20, 0x10, 0x02, 0x04


class Library(SimpleNamespace):
    """As much of smartcard.scard as the adapter uses. Calls are noted in ``calls``; ``codes`` makes a call fail, ``hold`` makes it hang."""

    SCARD_SCOPE_SYSTEM = 2
    SCARD_SHARE_EXCLUSIVE, SCARD_SHARE_SHARED, SCARD_SHARE_DIRECT = 1, 2, 3
    SCARD_PROTOCOL_T0, SCARD_PROTOCOL_T1 = 1, 2
    SCARD_PCI_T0, SCARD_PCI_T1 = "pci T=0", "pci T=1"
    SCARD_LEAVE_CARD, SCARD_RESET_CARD, SCARD_UNPOWER_CARD = 0, 1, 2
    SCARD_STATE_UNAWARE, SCARD_STATE_CHANGED, SCARD_STATE_UNKNOWN, SCARD_STATE_UNAVAILABLE = 0, CHANGED, UNKNOWN, 8
    SCARD_STATE_PRESENT, SCARD_STATE_MUTE, SCARD_STATE_INUSE = PRESENT, 0x200, 0x100

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.codes: dict[str, int] = {}
        self.hold = threading.Event()
        self.held = ""
        self.names = [READER]
        self.state = PRESENT
        self.active = self.SCARD_PROTOCOL_T0
        self.shares: list[int] = []
        self.wanted: list[int] = []
        self.attributes: dict[int, bytes] = {}
        self.controls: dict[int, bytes] = {}

    def _call(self, name: str) -> int:
        self.calls.append(name)
        if name == self.held:
            self.hold.wait(20)
        return self.codes.get(name, 0)

    def SCardEstablishContext(self, _scope: int) -> tuple[int, str]:  # noqa: N802
        return self._call("SCardEstablishContext"), "context"

    def SCardListReaders(self, _context: str, _groups: list[str]) -> tuple[int, list[str]]:  # noqa: N802
        return self._call("SCardListReaders"), self.names

    def SCardGetStatusChange(  # noqa: N802
        self, _context: str, wait_ms: int, states: list[tuple[str, int]]
    ) -> tuple[int, list[tuple[str, int, list[int]]]]:
        name, known = states[0]
        code = self._call("SCardGetStatusChange")
        if known == self.state:
            time.sleep(wait_ms / 1000)
            if known == self.state:
                return PcscCode.SCARD_E_TIMEOUT, []
        return code, [(name, self.state | CHANGED, list(ATR) if self.state & PRESENT else [])]

    def SCardConnect(self, _context: str, _name: str, share: int, wanted: int) -> tuple[int, str, int]:  # noqa: N802
        self.shares.append(share)
        self.wanted.append(wanted)
        return self._call("SCardConnect"), "card", self.active

    def SCardReconnect(self, _card: str, _share: int, _wanted: int, how: int) -> tuple[int, int]:  # noqa: N802
        return self._call(f"SCardReconnect {how}"), self.active

    def SCardStatus(self, _card: str) -> tuple[int, str, int, int, list[int]]:  # noqa: N802
        return self._call("SCardStatus"), READER, 0, self.active, list(ATR)

    def SCardTransmit(self, _card: str, pci: str, data: list[int]) -> tuple[int, list[int]]:  # noqa: N802
        return self._call(f"SCardTransmit {pci}"), [*data, 0x90, 0x00]

    def SCardGetAttrib(self, _card: str, tag: int) -> tuple[int, list[int]]:  # noqa: N802
        found = self.attributes.get(tag)
        return (PcscCode.SCARD_E_UNSUPPORTED_FEATURE, []) if found is None else (0, list(found))

    def SCardControl(self, _card: str, code: int, _data: list[int]) -> tuple[int, list[int]]:  # noqa: N802
        found = self.controls.get(code)
        noted = self._call(f"SCardControl {code:08X}")
        return (noted or PcscCode.SCARD_E_NOT_TRANSACTED, []) if found is None else (noted, list(found))

    def SCardDisconnect(self, _card: str, how: int) -> int:  # noqa: N802
        return self._call(f"SCardDisconnect {how}")

    def SCardReleaseContext(self, _context: str) -> int:  # noqa: N802
        return self._call("SCardReleaseContext")


class Bench:
    """A reader over the library, and what it told."""

    def __init__(self, library: Library, **options: object) -> None:
        self.library = library
        self.engine = MonotonicEngine(TIMEBASE).start()
        limits = DriverLimits(power=0.5, transmit=0.3, close=1.0)
        self.reader = PcscReader(self.engine, "Acme", limits=limits, **options)  # type: ignore[arg-type]
        self.faults: list[str] = []
        self.reader.on_fault = self.faults.append

    def _wait(self, done: Callable[[], bool]) -> None:
        assert self.engine.wait(done, 5 * TIMEBASE.hz)

    def power_up(self) -> PowerUp:
        results: list[PowerUp] = []
        self.engine.call(lambda: self.reader.power_up(results.append))
        self._wait(lambda: bool(results))
        return results[0]

    def transmit(self, command: bytes = SELECT) -> Answer:
        answers: list[Answer] = []
        self.engine.call(lambda: self.reader.submit(command, answers.append))
        self._wait(lambda: bool(answers))
        return answers[0]

    def close(self) -> None:
        self.library.hold.set()
        self.reader.close()
        self.engine.stop()


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    made = Library()
    monkeypatch.setattr(pcsc_adapter, "_library", made)
    monkeypatch.setattr(pcsc_adapter, "_socket_in_use", None)
    return made


@pytest.fixture
def bench(library: Library) -> Iterator[Bench]:
    made = Bench(library)
    yield made
    made.close()


class TestSound:
    def test_powering_connects_resets_cold_and_reads_the_answer(self, bench: Bench) -> None:
        assert bench.power_up() == PowerUp(ATR)
        assert bench.library.calls[-3:] == ["SCardConnect", "SCardReconnect 2", "SCardStatus"]

    def test_powering_again_resets_cold_without_connecting_anew(self, bench: Bench) -> None:
        bench.power_up()
        bench.power_up()
        assert bench.library.calls.count("SCardConnect") == 1
        assert bench.library.calls.count("SCardReconnect 2") == 2

    def test_powering_down_takes_power_away(self, bench: Bench) -> None:
        bench.power_up()
        bench.engine.call(bench.reader.power_down)
        assert bench.engine.wait(lambda: "SCardDisconnect 2" in bench.library.calls, 5 * TIMEBASE.hz)

    @pytest.mark.parametrize("protocol", [0, 1])
    def test_the_protocol_is_what_the_driver_agreed_on(self, bench: Bench, protocol: int) -> None:
        bench.library.active = protocol + 1
        bench.power_up()
        assert bench.reader.protocol == protocol
        assert bench.transmit().response == SELECT + b"\x90\x00"
        assert bench.library.calls[-1] == f"SCardTransmit pci T={protocol}"

    def test_times_lie_around_the_driver_call(self, bench: Bench) -> None:
        bench.power_up()
        before = bench.engine.now
        answer = bench.transmit()
        assert before <= answer.start <= answer.end <= bench.engine.now

    def test_rate_and_clock_are_unknown(self, bench: Bench) -> None:
        bench.power_up()
        assert (bench.reader.ta1, bench.reader.clock_hz) == (0, 0)

    def test_a_rate_that_the_driver_tells_is_observed(self, library: Library) -> None:
        told = {Attribute.CURRENT_F: 512, Attribute.CURRENT_D: 32, Attribute.CURRENT_CLK: 4000}
        library.attributes = {int(tag): value.to_bytes(4, sys.byteorder) for tag, value in told.items()}
        bench = Bench(library)
        assert bench.reader.abilities.rate is RateControl.UNKNOWN
        bench.power_up()
        assert (bench.reader.ta1, bench.reader.clock_hz) == (0x96, 4_000_000)
        assert bench.reader.abilities.rate is RateControl.OBSERVED
        assert bench.reader.abilities.clocks_hz == (4_000_000,)
        bench.close()

    @pytest.mark.parametrize(("wish", "wanted"), [(None, 3), (0, 1), (1, 2)])
    def test_the_protocol_wished_for_is_the_one_asked_for(self, bench: Bench, wish: int | None, wanted: int) -> None:
        bench.reader.wishes = Wishes(protocol=wish)
        bench.power_up()
        assert bench.library.wanted == [wanted]

    def test_another_wish_connects_anew(self, bench: Bench) -> None:
        bench.power_up()
        bench.reader.wishes = Wishes(protocol=1)
        bench.power_up()
        assert bench.library.wanted == [3, 2]

    def test_a_warm_reset_is_asked_for_as_such(self, bench: Bench) -> None:
        bench.power_up()
        ups: list[PowerUp] = []
        bench.engine.call(lambda: bench.reader.warm_reset(ups.append))
        assert bench.engine.wait(lambda: bool(ups), 5 * TIMEBASE.hz)
        assert ups == [PowerUp(ATR)]
        assert "SCardReconnect 1" in bench.library.calls

    def test_a_card_may_be_taken_and_left_as_it_stands(self, library: Library) -> None:
        bench = Bench(library, power_with=pcsc_adapter.Reset.LEAVE, leave_with=pcsc_adapter.Reset.LEAVE)
        assert bench.power_up() == PowerUp(ATR)
        bench.close()
        assert not [call for call in library.calls if call.startswith("SCardReconnect")]
        assert "SCardDisconnect 0" in library.calls

    @pytest.mark.parametrize("exclusive", [False, True])
    def test_access_is_as_the_rig_file_says(self, library: Library, exclusive: bool) -> None:
        bench = Bench(library, exclusive=exclusive)
        bench.power_up()
        bench.close()
        assert library.shares == [library.SCARD_SHARE_EXCLUSIVE if exclusive else library.SCARD_SHARE_SHARED]

    def test_the_level_follows_the_protocol_unless_it_is_configured(self, library: Library) -> None:
        plain, told = Bench(library), Bench(library, level=ExchangeLevel.APDU)
        levels = [told.reader.level, plain.reader.level]
        library.active = library.SCARD_PROTOCOL_T1
        plain.power_up()
        levels.append(plain.reader.level)
        assert levels == [ExchangeLevel.APDU, ExchangeLevel.TPDU, ExchangeLevel.APDU]
        for bench in (plain, told):
            bench.close()

    def test_what_was_asked_for_before_a_power_down_is_not_answered_after_it(self, bench: Bench) -> None:
        bench.power_up()
        answers: list[Answer] = []
        bench.library.held = "SCardTransmit pci T=0"

        def ask_and_leave() -> None:
            bench.reader.submit(SELECT, answers.append)
            bench.reader.power_down()

        bench.engine.call(ask_and_leave)
        bench.library.hold.set()
        assert bench.engine.wait(lambda: "SCardDisconnect 2" in bench.library.calls, 5 * TIMEBASE.hz)
        assert not bench.engine.wait(lambda: bool(answers), TIMEBASE.hz // 20)

    def test_closing_lets_go_of_card_and_daemon(self, library: Library) -> None:
        bench = Bench(library)
        bench.power_up()
        bench.close()
        assert library.calls[-2:] == ["SCardDisconnect 2", "SCardReleaseContext"]


class TestPoweringFails:
    @pytest.mark.parametrize(
        ("call", "code", "says"),
        [
            ("SCardEstablishContext", PcscCode.SCARD_E_NO_SERVICE, "pcscd gone: pcscd does not run .* start it again"),
            ("SCardListReaders", PcscCode.SCARD_E_NO_READERS_AVAILABLE, "reader gone: .*pcscd lists: none"),
            ("SCardConnect", PcscCode.SCARD_W_SECURITY_VIOLATION, "permission denied: .*polkit"),
            ("SCardConnect", PcscCode.SCARD_E_READER_UNAVAILABLE, "reader gone: .*plug it in"),
        ],
    )
    def test_what_is_broken_has_a_name_and_says_what_to_do(
        self, bench: Bench, call: str, code: PcscCode, says: str
    ) -> None:
        bench.library.codes[call] = code
        error = bench.power_up().error
        assert re.search(says, error), error
        assert bench.faults == [error]

    def test_a_card_held_by_another_program_is_waited_for(self, bench: Bench) -> None:
        bench.library.codes["SCardConnect"] = PcscCode.SCARD_E_SHARING_VIOLATION
        error = bench.power_up().error
        assert error.startswith("device busy: another program holds the card")
        assert not bench.faults
        del bench.library.codes["SCardConnect"]
        assert bench.power_up() == PowerUp(ATR)

    def test_a_mute_card_is_the_cards_own_doing(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pcsc, "PULLED_GRACE_MS", 20)
        bench.library.codes["SCardConnect"] = PcscCode.SCARD_W_UNRESPONSIVE_CARD
        assert bench.power_up().error == "mute"
        assert not bench.faults

    def test_an_empty_reader_is_no_fault_and_a_card_is_found_as_soon_as_it_comes(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bench.library.state = EMPTY
        monkeypatch.setattr(pcsc, "CARD_SLICE_MS", 50)
        error = bench.power_up().error
        assert error.startswith(f"absent: no card is in the reader ({READER})")
        assert not bench.faults
        bench.library.state = PRESENT
        assert bench.power_up() == PowerUp(ATR)

    def test_an_unknown_code_is_shown_as_it_is(self, bench: Bench) -> None:
        bench.library.codes["SCardConnect"] = 0x80100123 - (1 << 32)
        assert "[SCardConnect: 80100123]" in bench.power_up().error

    def test_pyscard_missing_says_what_to_install(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        def missing(_name: str) -> None:
            raise ImportError("No module named 'smartcard'")

        monkeypatch.setattr(pcsc_adapter, "_library", None)
        monkeypatch.setattr(pcsc_adapter, "import_module", missing)
        error = bench.power_up().error
        assert "pip install 'cardbench[pcsc]'" in error
        assert bench.faults == [error]


class TestExchangesFail:
    def _fail(self, bench: Bench, code: PcscCode) -> Answer:
        bench.power_up()
        bench.library.codes["SCardTransmit pci T=0"] = code
        return bench.transmit()

    def test_a_pulled_card_is_absent_and_a_fault_of_the_rig(self, bench: Bench) -> None:
        answer = self._fail(bench, PcscCode.SCARD_W_REMOVED_CARD)
        assert (answer.response, answer.error) == (b"", "absent")
        (fault,) = bench.faults
        assert fault.startswith(f"absent: the card was pulled ({READER}); put it back")

    def test_a_failed_exchange_of_a_card_that_is_gone_means_it_was_pulled(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pcsc, "PULLED_GRACE_MS", 200)
        bench.power_up()
        bench.library.codes["SCardTransmit pci T=0"] = PcscCode.SCARD_E_NOT_TRANSACTED
        threading.Timer(0.05, setattr, (bench.library, "state", EMPTY)).start()
        assert bench.transmit().error == "absent"

    def test_a_failed_exchange_of_a_card_that_is_there_may_be_its_own_doing(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pcsc, "PULLED_GRACE_MS", 20)
        answer = self._fail(bench, PcscCode.SCARD_E_NOT_TRANSACTED)
        assert answer.error.startswith("exchange failed: the driver could not carry the exchange")
        assert not bench.faults

    @pytest.mark.parametrize("code", [PcscCode.SCARD_E_NO_SERVICE, PcscCode.SCARD_E_INVALID_HANDLE])
    def test_a_daemon_that_went_is_a_fault_and_the_next_power_up_asks_anew(self, bench: Bench, code: PcscCode) -> None:
        answer = self._fail(bench, code)
        assert answer.error.startswith("pcscd gone: ")
        assert bench.faults == [answer.error]
        bench.library.codes.clear()
        assert bench.power_up() == PowerUp(ATR)
        assert bench.library.calls.count("SCardEstablishContext") == 2

    def test_a_reset_by_another_program_is_named(self, bench: Bench) -> None:
        answer = self._fail(bench, PcscCode.SCARD_W_RESET_CARD)
        assert answer.error.startswith("reset by another program: ")
        assert "'access: exclusive'" in bench.faults[0]

    def test_a_cause_known_elsewhere_goes_before_the_symptom(self, bench: Bench) -> None:
        bench.reader.diagnose = lambda: "the served card's process was killed"
        answer = self._fail(bench, PcscCode.SCARD_E_NOT_TRANSACTED)
        assert answer.error == "the served card's process was killed"
        assert bench.faults == [answer.error]

    def test_without_a_connection_nothing_is_carried(self, bench: Bench) -> None:
        assert "[SCardTransmit: SCARD_W_UNPOWERED_CARD]" in bench.transmit().error

    def test_a_driver_that_hangs_is_named_and_the_reader_out_of_use(self, bench: Bench) -> None:
        bench.power_up()
        bench.library.held = "SCardTransmit pci T=0"
        begun = time.monotonic()
        answer = bench.transmit()
        assert time.monotonic() - begun < 3
        assert answer.error.startswith("SCardTransmit of 00 A4 00 00 02 at 'Acme' has not returned for")
        assert bench.faults[0].startswith("driver hangs: SCardTransmit of 00 A4 00 00 02")
        assert "unplug it or restart pcscd" in bench.faults[0]
        assert bench.reader.hung
        assert bench.power_up().error == answer.error, "the first cause is kept"


class TestNames:
    def test_a_part_that_only_one_has_is_enough(self) -> None:
        assert find_reader(["Acme One 00 00", "Acme Two 01 00"], "Two") == "Acme Two 01 00"

    def test_the_whole_name_wins_over_longer_ones(self) -> None:
        assert find_reader(["Acme", "Acme Two"], "Acme") == "Acme"

    def test_several_are_listed(self) -> None:
        with pytest.raises(ValueError, match="2 readers match 'Acme': name one of 'Acme One', 'Acme Two'"):
            find_reader(["Acme One", "Acme Two"], "Acme")

    def test_none_lists_those_there_are(self) -> None:
        with pytest.raises(ValueError, match="no reader matches 'Other'; pcscd lists: 'Acme One'"):
            find_reader(["Acme One"], "Other")


class TestTable:
    @pytest.mark.parametrize("code", [code for code in PcscCode if code in ADVICE])
    def test_every_row_says_what_and_what_to_do(self, code: PcscCode) -> None:
        error = PcscError("SCardTransmit", int(code) - (1 << 32), READER)
        assert error.code == code, "codes come signed from some libraries"
        assert error.trouble is ADVICE[code].trouble
        for part in (ADVICE[code].what, ADVICE[code].do, READER, code.name):
            assert part in str(error)

    def test_every_trouble_has_a_code(self) -> None:
        assert {advice.trouble for advice in ADVICE.values()} | {Trouble.OTHER} == set(Trouble)


def test_a_process_keeps_to_the_daemon_it_first_talked_to(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(pcsc_adapter.SOCKET_VARIABLE, "/somewhere/pcscd.comm")
    pcsc_adapter.establish().release()
    pcsc_adapter.use_socket("/somewhere/pcscd.comm")
    with pytest.raises(PcscMissingError, match="already uses the pcscd at /somewhere/"):
        pcsc_adapter.use_socket("/elsewhere/pcscd.comm")
    assert library.calls == ["SCardEstablishContext", "SCardReleaseContext"]
