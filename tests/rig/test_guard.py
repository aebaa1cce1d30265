"""The guard: only the card the rig names is written to, within its budget, and no retry counter is touched."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.engine import Timebase, VirtualEngine
from bench.iso7816.port import Answer, ExchangeLevel, PowerUp
from bench.rig.errors import RigError
from bench.rig.given import Given, Needs
from bench.rig.guard import TRIES, WRITES, Danger, Guard, Guarded, Ledger, judge
from bench.rig.loader import parse_rig_file
from bench.rig.locks import DIRECTORY_VARIABLE
from bench.rig.model import RigModel

ATR = bytes.fromhex("3B 02 14 50")
OTHER = bytes.fromhex("3B 00")
UPDATE = bytes.fromhex("00 D6 00 00 02 AA BB")
READ = bytes.fromhex("00 B0 00 00 02")
VERIFY = bytes.fromhex("00 20 00 01 04 31 32 33 34")


@pytest.fixture(autouse=True)
def _own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DIRECTORY_VARIABLE, str(tmp_path / "locks"))


def rig(card: str = "atr: 3B 02 14 50", guard: str = "write_budget: 5") -> RigModel:
    text = (
        "station: lab\nrigs:\n  - name: a\n    reader: {kind: pcsc, name: R}\n"
        f"    cards: [{{{card}}}]\n    guard: {{{guard}}}\n"
    )
    return parse_rig_file(text, Path("lab.yaml")).rigs[0]


class FakeCard:
    """A port with a card that answers from a list, and notes what reached it."""

    level = ExchangeLevel.TPDU
    fetches_itself = False
    protocol = 0
    ta1 = 0
    clock_hz = 0

    def __init__(self, engine: VirtualEngine, atr: bytes = ATR) -> None:
        self.engine = engine
        self.atr = atr
        self.answers: dict[bytes, bytes] = {}
        self.reached: list[bytes] = []
        self.ups = 0

    def power_up(self, done: Callable[[PowerUp], None]) -> None:
        self.ups += 1
        self.engine.after(1, lambda: done(PowerUp(self.atr)))

    def power_down(self) -> None:
        pass

    def submit(self, command: bytes, done: Callable[[Answer], None]) -> None:
        self.reached.append(command)
        response = self.answers.get(command, b"\x90\x00")
        self.engine.after(1, lambda: done(Answer(response, 0, 1)))


class Bench:
    """A guarded card, and what became of it."""

    def __init__(self, model: RigModel, atr: bytes = ATR, writes: int = 0) -> None:
        self.engine = VirtualEngine(Timebase(10**9))
        self.card = FakeCard(self.engine, atr)
        self.guard = Guard(model, "usb:1:2:3")
        self.refusals: list[RigError] = []
        self.port = Guarded(self.card, self.engine, self.guard, self.refusals.append)
        self.guard.begin(writes)

    def power(self) -> "Bench":
        ups: list[PowerUp] = []
        self.port.power_up(ups.append)
        assert self.engine.wait(lambda: bool(ups), 1000)
        return self

    def send(self, command: bytes) -> Answer:
        answers: list[Answer] = []
        self.port.submit(command, answers.append)
        assert self.engine.wait(lambda: bool(answers), 1000)
        return answers[0]


def test_every_instruction_that_writes_or_counts_tries_is_known() -> None:
    assert not WRITES.keys() & TRIES.keys()
    for cla in (0x00, 0x0C, 0x10, 0x40, 0x80, 0x84, 0xA0):
        assert judge(bytes((cla, 0xD6, 0, 0))).danger is Danger.WRITE
        assert judge(bytes((cla, 0x20, 0, 1))).danger is Danger.PIN
        for harmless in (0xA4, 0xB0, 0xB2, 0xC0, 0xC2, 0xCA, 0x84, 0xEC):
            assert judge(bytes((cla, harmless, 0, 0))).danger is Danger.NONE


def test_reading_is_nobodys_business() -> None:
    bench = Bench(rig(card="", guard="")).power()
    assert bench.send(READ).response == b"\x90\x00"
    assert bench.refusals == []


def test_a_declared_write_reaches_the_named_card_and_is_counted() -> None:
    bench = Bench(rig(), writes=3).power()
    bench.send(UPDATE)
    bench.send(UPDATE)
    assert bench.card.reached == [UPDATE, UPDATE]
    bench.guard.end()
    assert Guard(rig(), "usb:1:2:3").declares()["writes"] == 3  # of 5; the third was not made and is given back


def test_an_undeclared_write_never_reaches_the_card() -> None:
    bench = Bench(rig()).power()
    answer = bench.send(UPDATE)
    assert bench.card.reached == []
    assert "UPDATE BINARY changes the card, and the scenario has not declared it" in answer.error
    assert "the guard: UPDATE BINARY" in str(bench.refusals[0])


def test_one_write_more_than_declared_is_one_too_many() -> None:
    bench = Bench(rig(), writes=1).power()
    bench.send(UPDATE)
    bench.send(UPDATE)
    assert bench.card.reached == [UPDATE]
    assert len(bench.refusals) == 1


def test_another_card_is_never_written_to() -> None:
    bench = Bench(rig(), OTHER, writes=1).power()
    answer = bench.send(UPDATE)
    assert bench.card.reached == []
    assert "the rig names the card with ATR 3B 02 14 50, in the reader is one with 3B 00" in answer.error


def test_a_card_that_was_not_powered_by_us_is_not_known() -> None:
    bench = Bench(rig(), writes=2).power()
    bench.port.power_down()
    assert "has not been powered" in bench.send(UPDATE).error


IDENTITY = "atr: 3B 02 14 50, identity: {apdus: [00 A4 00 0C 02 2F E2, 00 B0 00 00 04], answer: 98 01 02 03}"


def test_cards_of_one_atr_are_told_apart_by_what_they_answer() -> None:
    right = Bench(rig(IDENTITY), writes=1)
    right.card.answers[bytes.fromhex("00 B0 00 00 04")] = bytes.fromhex("98 01 02 03 90 00")
    right.power()
    assert right.card.ups == 2  # the scenario finds the card as fresh as ever
    right.send(UPDATE)
    assert right.card.reached[-1] == UPDATE

    wrong = Bench(rig(IDENTITY), writes=1)
    wrong.card.answers[bytes.fromhex("00 B0 00 00 04")] = bytes.fromhex("98 01 02 04 90 00")
    wrong.power()
    assert "identity is 98 01 02 04 (9000), the rig names 98 01 02 03" in wrong.send(UPDATE).error
    assert UPDATE not in wrong.card.reached


def test_the_identity_is_asked_for_only_where_something_is_to_be_written() -> None:
    bench = Bench(rig(IDENTITY)).power()
    assert (bench.card.reached, bench.card.ups) == ([], 1)


def test_the_budget_holds_over_runs() -> None:
    for _ in range(2):
        bench = Bench(rig(), writes=2).power()
        bench.send(UPDATE)
        bench.send(UPDATE)
        bench.guard.end()
    with pytest.raises(RigError, match="the write budget of 5 does not hold 2 more: 4 are counted in"):
        Bench(rig(), writes=2)
    declared = Guard(rig(), "usb:1:2:3").declares()
    assert Needs.model_validate({"writes": "1"}).missing(declared) == ""
    assert "needs writes 2, declared is 1" in Needs.model_validate({"writes": "2"}).missing(declared)


def test_a_point_that_was_killed_is_counted_in_full() -> None:
    Bench(rig(), writes=4)  # never ends
    assert Guard(rig(), "usb:1:2:3").declares()["writes"] == 1


@pytest.mark.parametrize(
    ("card", "guard", "reason"),
    [
        ("profile: plain", "write_budget: 5", "does not name the card"),
        ("atr: 3B 02 14 50", "", "gives no write budget"),
        ("atr: 3B 02 14 50", "write_budget: 0", "gives no write budget"),
    ],
)
def test_a_rig_that_permits_nothing_says_why(card: str, guard: str, reason: str) -> None:
    missing = Needs.model_validate({"writes": "1"}).missing(Guard(rig(card, guard), "k").declares())
    assert reason in missing


def test_pins_are_for_rigs_that_allow_them() -> None:
    missing = Needs.model_validate({"pin": "true"}).missing(Guard(rig(), "k").declares())
    assert "allow_pin: true} is not set" in missing
    bench = Bench(rig()).power()
    assert "VERIFY may use up a retry counter" in bench.send(VERIFY).error
    assert bench.card.reached == []


def test_the_last_try_is_never_used_not_even_by_the_next_run() -> None:
    bench = Bench(rig(guard="allow_pin: true")).power()
    bench.card.answers[VERIFY] = bytes.fromhex("63 C2")
    assert bench.send(VERIFY).error == ""
    bench.card.answers[VERIFY] = bytes.fromhex("63 C1")
    assert bench.send(VERIFY).error == ""
    assert "1 tries are left" in bench.send(VERIFY).error
    again = Bench(rig(guard="allow_pin: true")).power()
    assert "1 tries are left" in again.send(VERIFY).error
    assert again.card.reached == []


def test_an_extended_apdu_does_not_smuggle_anything_in() -> None:
    first = bytes.fromhex("00 C2 00 00 09 00 D6 00 00 00 01 2C AA BB")
    more = bytes.fromhex("00 C2 00 00 04 00 20 00 01")  # data that looks like a command
    bench = Bench(rig()).power()
    assert "UPDATE BINARY" in bench.send(first).error
    reading = Bench(rig()).power()
    assert reading.send(bytes.fromhex("00 C2 00 00 07 00 CB 3F FF 00 01 00")).error == ""
    assert reading.send(more).error == ""
    assert reading.send(bytes.fromhex("00 C2 00 00 00")).error == ""
    assert "UPDATE BINARY" in reading.send(first).error


def test_the_hop_passes() -> None:
    bench = Bench(rig()).power()
    for command in ("80 C2 00 00 04 20 24 2C D6", "80 C0 00 00 00", "A0 EC 00 00 01 00"):
        assert bench.send(bytes.fromhex(command)).error == ""


def test_a_count_that_cannot_be_read_stops_writing() -> None:
    ledger = Ledger("card-x")
    ledger.path.write_text("half a fi")
    with pytest.raises(RigError, match="is no write count"):
        ledger.set_aside(1, 5)


def test_given_is_not_touched_by_what_is_needed() -> None:
    assert "writes" not in Given().texts()
