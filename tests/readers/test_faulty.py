"""Injected faults: under the software reader, in virtual time, with what checks answers above them."""

from collections.abc import Callable

import pytest

from bench.engine import Timebase, VirtualEngine
from bench.iso7816.port import Answer, ExchangeLevel, PowerUp
from bench.readers.activation import Wishes
from bench.readers.contract import Abilities, RateControl, StampedAt
from bench.readers.faults import LASTING, Fault, broken_answer, fault_of
from bench.readers.faulty import Faulty, Injection
from bench.readers.wrappers import Checked

TIMEBASE = Timebase.for_clocks(3_571_200)
COMMAND = bytes.fromhex("00B0000002")
SOUND = bytes.fromhex("AABB9000")
PATIENCE = TIMEBASE.hz


class Sound:
    """A reader whose card answers every command alike, after a millisecond."""

    level = ExchangeLevel.TPDU
    fetches_itself = False
    protocol = 0
    ta1 = 0x11
    clock_hz = 3_571_200
    hung = ""

    def __init__(self, engine: VirtualEngine) -> None:
        self.engine = engine
        self.wishes = Wishes()
        self.on_fault: Callable[[str], None] = lambda _text: None
        self.on_card: Callable[[bool], None] = lambda _there: None

    @property
    def abilities(self) -> Abilities:
        return Abilities(self.level, RateControl.OBSERVED, (0,), "A", (self.clock_hz,), 1, 1, StampedAt.LINE, False)

    def power_up(self, done: Callable[[PowerUp], None]) -> None:
        self.engine.after(0, lambda: done(PowerUp(b"\x3b\x00")))

    def power_down(self) -> None:
        pass

    def submit(self, command: bytes, done: Callable[[Answer], None]) -> None:
        del command
        begun = self.engine.now
        self.engine.after(TIMEBASE.nanoseconds(10**6), lambda: done(Answer(SOUND, begun, self.engine.now)))

    def close(self) -> bool:
        return True


class Bench:
    """A faulty reader with what checks it, and what it told."""

    def __init__(self, *injections: Injection) -> None:
        self.engine = VirtualEngine(TIMEBASE)
        self.reader = Faulty(Sound(self.engine), self.engine, injections, PATIENCE)
        self.faults: list[str] = []
        self.reader.on_fault = self.faults.append
        self.port = Checked(self.reader, self.faults.append)

    def exchange(self) -> Answer:
        answers: list[Answer] = []
        self.port.submit(COMMAND, answers.append)
        assert self.engine.wait(lambda: bool(answers), 2 * PATIENCE)
        return answers[0]

    def power_up(self) -> PowerUp:
        ups: list[PowerUp] = []
        self.port.power_up(ups.append)
        assert self.engine.wait(lambda: bool(ups), PATIENCE)
        return ups[0]


def test_what_is_not_struck_goes_through() -> None:
    bench = Bench(Injection(Fault.GARBLED, 1))
    assert bench.power_up() == PowerUp(b"\x3b\x00")
    assert bench.exchange().response == SOUND
    assert bench.exchange().error
    assert bench.exchange().response == SOUND
    assert len(bench.faults) == 1


@pytest.mark.parametrize(
    "fault", [Fault.ABSENT, Fault.READER, Fault.DAEMON, Fault.RESET, Fault.TRUNCATED, Fault.GARBLED]
)
def test_an_exchange_that_breaks_is_an_error_with_the_faults_name(fault: Fault) -> None:
    bench = Bench(Injection(fault, 0))
    answer = bench.exchange()
    assert answer.response == b""
    assert fault_of(answer.error) is fault
    assert [fault_of(text) for text in bench.faults] == [fault]
    assert bench.exchange().response == SOUND


def test_a_frozen_driver_is_given_up_and_stays_so() -> None:
    bench = Bench(Injection(Fault.FROZEN, 0))
    answer = bench.exchange()
    assert answer.end - answer.start == PATIENCE
    assert [fault_of(text) for text in bench.faults] == [Fault.FROZEN]
    assert bench.reader.hung
    assert bench.exchange().error == bench.power_up().error == bench.reader.hung
    assert not bench.reader.close()


@pytest.mark.parametrize(("fault", "told"), [(Fault.BUSY, 0), (Fault.ABSENT, 0), (Fault.DENIED, 1), (Fault.DAEMON, 1)])
def test_a_power_up_that_breaks(fault: Fault, told: int) -> None:
    bench = Bench(Injection(fault, 0, powering=True))
    assert fault_of(bench.power_up().error) is fault
    assert len(bench.faults) == told
    assert bench.power_up().atr


def test_powering_down_forgets_what_is_frozen() -> None:
    bench = Bench(Injection(Fault.FROZEN, 0))
    answers: list[Answer] = []
    bench.port.submit(COMMAND, answers.append)
    bench.port.power_down()
    bench.engine.run(2 * PATIENCE)
    assert not answers
    assert bench.reader.hung


@pytest.mark.parametrize(("fault", "powering"), [(Fault.FROZEN, True), (Fault.DENIED, False), (Fault.OTHER, False)])
def test_what_cannot_happen_there_is_refused(fault: Fault, powering: bool) -> None:
    with pytest.raises(ValueError, match="can meet"):
        Injection(fault, 0, powering)


class TestBrokenAnswers:
    """What no card can have answered."""

    @pytest.mark.parametrize(
        ("response", "fault"),
        [
            ("", Fault.TRUNCATED),
            ("90", Fault.TRUNCATED),
            ("AABB6000", Fault.GARBLED),
            ("AABB1337", Fault.GARBLED),
            ("AABBCC9000", Fault.GARBLED),
        ],
    )
    def test_over_t0(self, response: str, fault: Fault) -> None:
        text = broken_answer(COMMAND, bytes.fromhex(response), ExchangeLevel.TPDU, 0)
        assert fault_of(text) is fault
        assert "try another cable or reader" in text

    @pytest.mark.parametrize("response", ["9000", "6700", "6C02", "6102", "AABB9000", "9F10"])
    def test_what_a_card_may_answer(self, response: str) -> None:
        assert not broken_answer(COMMAND, bytes.fromhex(response), ExchangeLevel.TPDU, 0)

    def test_over_t1_the_check_characters_vouch_for_what_is_odd(self) -> None:
        assert not broken_answer(COMMAND, bytes.fromhex("AABBCC1337"), ExchangeLevel.APDU, 1)
        assert broken_answer(COMMAND, b"\x90", ExchangeLevel.APDU, 1)

    def test_whole_apdus_may_answer_with_more_than_a_tpdu(self) -> None:
        assert not broken_answer(COMMAND, bytes(300) + b"\x90\x00", ExchangeLevel.APDU, 0)


def test_every_fault_is_known_by_its_text() -> None:
    assert all(fault_of(f"{fault}: this and that; do so") is fault for fault in Fault)
    assert fault_of("something else: happened") is Fault.OTHER
    assert Fault.FROZEN in LASTING
