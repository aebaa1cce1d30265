"""The USB reader over pipes in memory: powering, exchanges, what breaks by its name, slots that share a device, giving up, letting go."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.card.profile import CardProfile
from bench.ccid import driver_blocks
from bench.ccid.codes import ClassRequest, ClockCommand, Mechanics, PowerSelect
from bench.ccid.commands import (
    Command,
    Escape,
    GetParameters,
    GetSlotStatus,
    IccClock,
    IccPowerOff,
    IccPowerOn,
    Mechanical,
    ResetParameters,
    Secure,
    SetDataRateAndClock,
    SetParameters,
    T0Apdu,
    XfrBlock,
)
from bench.ccid.descriptor import ClassDescriptor, Feature
from bench.ccid.parameters import T0Parameters
from bench.ccid.responses import DataBlock, DataRateAndClock, Parameters, Response, SlotStatus
from bench.engine import MonotonicEngine, Timebase
from bench.iso7816.apdu import CommandApdu
from bench.iso7816.port import Answer, ExchangeLevel, PowerUp
from bench.readers.activation import Wishes
from bench.readers.contract import RateControl, StampedAt
from bench.readers.faults import Fault
from bench.readers.usb import UsbLimits, UsbPlace, UsbReader, UsbWanted
from bench.readers.usb_errors import UsbError, busy, holders, usb_error
from tests.ccid.driver_loop import AUTO_RATE, CLOCK_HZ, ECHO, Loop, descriptor

T0 = CardProfile(b"T0", ta1=0x96, hop=False)
T1 = CardProfile(b"T1", ta1=0x96, hop=False, protocols=(1,))
HELLO = ECHO + b"\x05hello"
CHOOSES = Feature.AUTO_NEGOTIATION | Feature.AUTO_PARAMETERS | Feature.AUTO_CLOCK | Feature.AUTO_RATE


class Pipes:
    """A device's pipes, its firmware and cards behind them in virtual time; and what can be done to them."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.packet = 64
        self.gone = False
        self.frozen = threading.Event()
        self.mutate: Callable[[bytes], bytes] = lambda message: message
        self.closed = 0
        self._chunks: deque[bytes] = deque()
        self._lock = threading.Lock()
        loop.firmware.on_message = self._said

    def _said(self, message: bytes) -> None:
        message = self.mutate(message)
        whole = 4 * self.packet
        chunks = [message[at : at + whole] for at in range(0, len(message), whole)]
        if chunks and len(chunks[-1]) == whole:
            chunks.append(b"")  # a packet of no length ends what fills its packets
        self._chunks += chunks

    def _here(self) -> None:
        if self.gone:
            raise UsbError(Fault.READER, "reader 08e6:3437 at 1-1, bulk: the reader was unplugged", "plug it in again")

    def write(self, data: bytes, timeout_ms: int) -> bool:
        del timeout_ms
        self._here()
        with self._lock:
            self.loop.said.append(data)
            if not self.frozen.is_set():
                self.loop.firmware.receive(data)
        return True

    def read(self, timeout_ms: int) -> bytes | None:
        self._here()
        with self._lock:
            if not self._chunks and not self.frozen.is_set():
                self.loop.engine.wait(lambda: bool(self._chunks), self.loop.engine.timebase.hz * 30)
            if self._chunks:
                return self._chunks.popleft()
        time.sleep(timeout_ms / 1000)
        return None

    def ends(self, chunk: bytes) -> bool:
        return len(chunk) < 4 * self.packet

    def interrupt(self, timeout_ms: int) -> bytes | None:
        end = time.monotonic() + timeout_ms / 1000
        while time.monotonic() < end:
            self._here()
            with self._lock:
                if self.loop.notices:
                    return self.loop.notices.pop(0)
            time.sleep(0.005)
        return None

    def request(self, request: ClassRequest, value: int, length: int) -> bytes | None:
        self._here()
        firmware = self.loop.firmware
        match request:
            case ClassRequest.ABORT:
                return b"" if firmware.control_abort(value & 0xFF, value >> 8) else None
            case ClassRequest.GET_CLOCK_FREQUENCIES:
                return firmware.clock_frequencies()[:length]
            case ClassRequest.GET_DATA_RATES:
                return firmware.data_rates()[:length]

    def hands(self, action: Callable[[], object]) -> None:
        with self._lock:
            action()

    def close(self) -> None:
        self.closed += 1


class Bench:
    """One device, any number of readers on its slots."""

    def __init__(self, engine: MonotonicEngine) -> None:
        self.engine = engine
        self.readers: list[UsbReader] = []
        self.faults: list[str] = []
        self.cards: list[bool] = []
        self.opened = 0
        self.there = True
        self.error: UsbError | None = None

    def device(self, shape: ClassDescriptor, *profiles: CardProfile | None, **more: tuple[int, ...]) -> Pipes:
        self.shape = shape
        self.pipes = Pipes(Loop(shape, profiles, **more))  # type: ignore[arg-type]
        return self.pipes

    def find(self, wanted: UsbWanted) -> UsbPlace:
        if not self.there:
            raise UsbError(Fault.READER, f"no USB reader {wanted} is attached (there are: none)", "plug it in")
        return UsbPlace(self.shape, True, f"memory {id(self.pipes)}", self.open)

    def open(self) -> Pipes:
        if self.error is not None:
            raise self.error
        self.opened += 1
        return self.pipes

    def reader(self, slot: int = 1, clock_hz: int | None = None) -> UsbReader:
        limits = UsbLimits(power=20, transmit=20, close=5)
        made = UsbReader(self.engine, "08e6:3437", slot, clock_hz=clock_hz, limits=limits, finder=self.find)
        made.on_fault = self.faults.append
        made.on_card = self.cards.append
        self.readers.append(made)
        return made

    def wait(self, done: Callable[[], bool], seconds: float = 15) -> None:
        assert self.engine.wait(done, round(seconds * self.engine.timebase.hz))

    def up(self, reader: UsbReader, **wishes: object) -> PowerUp:
        reader.wishes = Wishes(**({"classes": "ABC"} | wishes))  # type: ignore[arg-type]
        ups: list[PowerUp] = []
        self.engine.call(lambda: reader.power_up(ups.append))
        self.wait(lambda: bool(ups))
        return ups[0]

    def exchange(self, reader: UsbReader, command: bytes) -> Answer:
        answers: list[Answer] = []
        self.engine.call(lambda: reader.submit(command, answers.append))
        self.wait(lambda: bool(answers))
        return answers[0]


@pytest.fixture
def bench() -> Iterator[Bench]:
    engine = MonotonicEngine(Timebase.for_clocks(CLOCK_HZ)).start()
    made = Bench(engine)
    yield made
    if hasattr(made, "pipes"):
        made.pipes.frozen.clear()
    for reader in made.readers:
        assert reader.close()
    engine.stop()
    assert not [each.name for each in threading.enumerate() if each.name.startswith("reader 08e6")]


def test_what_it_says_of_itself(bench: Bench) -> None:
    shape = descriptor(Feature.TPDU, slots=2, clocks=2, maximum_clock_khz=5000)
    bench.device(shape, T0, T0, clocks_hz=(4_000_000, 5_000_000))
    reader = bench.reader()
    able = reader.abilities
    assert (able.level, able.rate, able.stamped) == (ExchangeLevel.TPDU, RateControl.SELECTABLE, StampedAt.TRANSFER)
    assert (able.protocols, able.classes, able.slots, able.removal) == ((0, 1), "ABC", 2, True)
    assert {0x11, 0x96} <= set(able.rates)
    assert bench.opened == 0, "nothing has been opened yet"
    assert bench.up(reader).error == ""
    assert reader.abilities.clocks_hz == (4_000_000, 5_000_000)
    bench.device(descriptor(Feature.EXTENDED_APDU | CHOOSES), T0)
    other = bench.reader().abilities
    assert (other.level, other.rate, other.rates) == (ExchangeLevel.APDU, RateControl.OBSERVED, ())


@pytest.mark.parametrize("profile", [T0, T1], ids=["T=0", "T=1"])
def test_power_up_at_the_rate_wished_for_and_an_exchange(bench: Bench, profile: CardProfile) -> None:
    bench.device(descriptor(), profile)
    reader = bench.reader()
    up = bench.up(reader, ta1=0x96)
    assert (up.atr, up.error) == (profile.atr, "")
    assert (reader.ta1, reader.protocol, reader.clock_hz) == (0x96, profile.protocols[0], CLOCK_HZ)
    assert (reader.operating_class, reader.fetches_itself) == ("C", False)
    command = HELLO if profile is T0 else CommandApdu(0xA0, 0xEC, 0, 0, b"hello", 256).encode()
    answer = bench.exchange(reader, command)
    assert answer.response == (b"\x61\x05" if profile is T0 else b"hello\x90\x00")
    assert 0 < answer.start < answer.end
    assert not bench.faults


def test_messages_longer_than_a_transfer_and_such_as_fill_their_packets(bench: Bench) -> None:
    bench.device(descriptor(Feature.EXTENDED_APDU | CHOOSES, maximum_message=2000), T1)
    reader = bench.reader()
    bench.up(reader)
    for size in (1, 244, 245, 246, 500, 1000, 3000):
        data = (bytes(range(256)) * 12)[:size]
        answer = bench.exchange(reader, CommandApdu(0xA0, 0xEC, 0, 0, data, 65_536).encode())
        assert answer.response == data + b"\x90\x00"


REFUSED = "reader fault: {} is refused, CMD_NOT_SUPPORTED (00); see whether the reader can do that"
COMMANDS: list[tuple[Callable[[int, int], Command], type[Response] | str]] = [
    (GetSlotStatus, SlotStatus),
    (GetParameters, Parameters),
    (ResetParameters, Parameters),
    (lambda slot, seq: SetParameters.of(slot, seq, T0Parameters()), Parameters),
    (lambda slot, seq: SetDataRateAndClock(slot, seq, CLOCK_HZ // 1000, CLOCK_HZ // 372), DataRateAndClock),
    (lambda slot, seq: XfrBlock(slot, seq, HELLO), DataBlock),
    (IccPowerOff, SlotStatus),
    (lambda slot, seq: IccPowerOn(slot, seq, PowerSelect.V5), DataBlock),
    (lambda slot, seq: IccClock(slot, seq, ClockCommand.STOP), REFUSED.format("ICC_CLOCK")),
    (lambda slot, seq: T0Apdu(slot, seq, 3, 0x00, 0xC2), REFUSED.format("T0_APDU")),
    (lambda slot, seq: Secure(slot, seq, b"\x00"), REFUSED.format("SECURE")),
    (lambda slot, seq: Mechanical(slot, seq, Mechanics.EJECT), REFUSED.format("MECHANICAL")),
    (lambda slot, seq: Escape(slot, seq, b"\x02"), "reader fault: ESCAPE is refused, BAD_DATA (0A)"),
]
"""Every message of the class but Abort, and its answer or why there is none, of a reader at TPDU level that stops no clock."""


@pytest.mark.parametrize(("make", "awaited"), COMMANDS, ids=[make(0, 0).type.name.lower() for make, _ in COMMANDS])
def test_every_message_of_the_class_goes_out_and_its_answer_comes_back(
    bench: Bench, make: Callable[[int, int], Command], awaited: type[Response] | str
) -> None:
    pipes = bench.device(descriptor(), T0)
    reader = bench.reader()
    bench.up(reader)
    answers: list[tuple[Response | None, str]] = []
    bench.engine.call(lambda: reader.command(make, lambda *answer: answers.append(answer)))
    bench.wait(lambda: bool(answers))
    ((response, error),) = answers
    sent = pipes.loop.said[-1]
    assert sent == make(0, sent[6]).encode()
    if isinstance(awaited, str):
        assert response is None
        assert error.startswith(awaited)
        assert bench.faults == [error]
        assert bench.exchange(reader, HELLO).response == b"\x61\x05", "a refusal does not harm"
    else:
        assert isinstance(response, awaited)
        assert (response.seq, error, bench.faults) == (sent[6], "", [])


def test_another_clock(bench: Bench) -> None:
    clocks = (4_000_000, 5_000_000)
    bench.device(descriptor(Feature.TPDU, clocks=2, maximum_clock_khz=5000), T0, clocks_hz=clocks)
    reader = bench.reader(clock_hz=5_000_000)
    assert bench.up(reader, ta1=0x96).error == ""
    assert reader.clock_hz == 5_000_000


def test_slots_share_one_device(bench: Bench) -> None:
    pipes = bench.device(descriptor(slots=2), T0, T1)
    one, two = bench.reader(1), bench.reader(2)
    assert bench.up(one).error == ""
    assert bench.up(two).error == ""
    assert bench.opened == 1
    assert bench.exchange(one, HELLO).response == b"\x61\x05"
    assert bench.exchange(two, CommandApdu(0xA0, 0xEC, 0, 0, b"2", 256).encode()).response == b"2\x90\x00"
    bench.wait(lambda: bench.cards.count(True) >= 2)
    bench.cards.clear()
    told: list[bool] = []
    one.on_card = told.append
    pipes.hands(pipes.loop.slots[1].remove)
    bench.wait(lambda: bench.cards == [False])
    assert not told
    assert one.close()
    assert pipes.closed == 0
    assert two.close()
    assert pipes.closed == 1


def test_a_card_that_is_pulled_and_put_back(bench: Bench) -> None:
    pipes = bench.device(descriptor(), T0)
    reader = bench.reader()
    bench.up(reader)
    pipes.hands(pipes.loop.slots[0].remove)
    assert bench.exchange(reader, HELLO).error == "absent"
    assert bench.faults == ["absent: the card was pulled from 08e6:3437; put it back"]
    assert bench.up(reader).error == "absent"
    assert len(bench.faults) == 1, "no card is no fault while powering"
    card = pipes.loop.cards[0]
    assert card is not None
    pipes.hands(lambda: pipes.loop.slots[0].insert(card.contacts))
    assert bench.up(reader).error == ""


def test_a_reader_that_is_unplugged_is_told_once_found_again(bench: Bench) -> None:
    pipes = bench.device(descriptor(), T0)
    reader = bench.reader()
    bench.up(reader)
    pipes.gone = True
    bench.there = False
    bench.wait(lambda: bool(bench.faults))
    assert bench.faults[0].startswith("reader gone: ")
    assert bench.exchange(reader, HELLO).error != ""
    assert bench.up(reader).error == "reader gone: no USB reader 08e6:3437 is attached (there are: none); plug it in"
    bench.device(descriptor(), T0)
    bench.there = True
    assert bench.up(reader).error == ""
    assert bench.exchange(reader, HELLO).response == b"\x61\x05"
    assert bench.opened == 2
    assert pipes.closed == 1


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (busy("opening it", ("pcscd (process 7)",), ""), "device busy: opening it: pcscd (process 7) holds the reader; stop pcscd"),
        (busy("opening it", (), "cdc_acm"), "device busy: opening it: the kernel's driver cdc_acm has the reader; unbind it"),
    ],
)  # fmt: skip
def test_a_device_that_cannot_be_opened(bench: Bench, error: UsbError, words: str) -> None:
    bench.device(descriptor(), T0)
    bench.error = error
    reader = bench.reader()
    up = bench.up(reader)
    assert up.error.startswith(words)
    assert bench.faults == [up.error]
    bench.error = None
    assert bench.up(reader).error == ""


def test_error_numbers_have_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "001").mkdir()
    (tmp_path / "001" / "002").touch()
    monkeypatch.setattr("bench.readers.usb_errors.USBFS", str(tmp_path))
    faults = {number: usb_error(number, "it", 1, 2).fault for number in (19, 13, 1, 16, 32, 75, 5)}
    assert faults == {
        19: Fault.READER,
        13: Fault.DENIED,
        1: Fault.DENIED,
        16: Fault.BUSY,
        32: Fault.OTHER,
        75: Fault.GARBLED,
        5: Fault.OTHER,
    }
    assert "udev rule" in str(usb_error(13, "it", 1, 2))
    assert usb_error(5, "it", 1, 3).fault is Fault.READER, "its node has gone"


def test_who_holds_a_device(tmp_path: Path) -> None:
    process = tmp_path / "4711" / "fd"
    process.mkdir(parents=True)
    (tmp_path / "4711" / "comm").write_text("pcscd\n")
    (process / "5").symlink_to("/dev/bus/usb/001/002")
    (tmp_path / "4712" / "fd").mkdir(parents=True)
    assert holders("/dev/bus/usb/001/002", str(tmp_path)) == ("pcscd (process 4711)",)
    assert holders("/dev/bus/usb/001/003", str(tmp_path)) == ()


def test_a_frozen_reader_is_named_and_comes_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_blocks, "LEAST_NS", 10**8)
    monkeypatch.setattr(driver_blocks, "LONGEST_NS", 3 * 10**8)
    pipes = bench.device(descriptor(), T0)
    reader = bench.reader()
    bench.up(reader)
    pipes.frozen.set()
    answer = bench.exchange(reader, HELLO)
    assert answer.error.startswith("driver hangs: no answer to XFR_BLOCK within 0.3 s; unplug the reader")
    assert bench.faults == [answer.error]
    pipes.frozen.clear()
    assert bench.up(reader).error == ""
    assert bench.exchange(reader, HELLO).response == b"\x61\x05"


@pytest.mark.parametrize(
    ("mutate", "words"),
    [
        (lambda message: message[:-1], "truncated answer: "),
        (lambda message: message[:7], "truncated answer: "),
        (lambda message: message[:6] + b"\xaa" + message[7:], "garbled answer: DATA_BLOCK, offset 6: bSeq AA"),
        (lambda message: message[:10] + b"\x11\x22", "garbled answer: A0 EC 00 00 05 came back with 1122"),
    ],
)
def test_answers_that_are_none(bench: Bench, mutate: Callable[[bytes], bytes], words: str) -> None:
    pipes = bench.device(descriptor(), T0)
    reader = bench.reader()
    bench.up(reader)
    pipes.mutate = mutate
    answer = bench.exchange(reader, HELLO)
    assert answer.error.startswith(words)
    assert answer.response == b""
    assert bench.faults == [answer.error]
    pipes.mutate = lambda message: message
    assert bench.up(reader).error == ""
    assert bench.exchange(reader, HELLO).response == b"\x61\x05"


def test_powering_down_gives_up_what_is_under_way(bench: Bench) -> None:
    pipes = bench.device(descriptor(), T0)
    reader = bench.reader()
    bench.up(reader)
    pipes.frozen.set()
    answers: list[Answer] = []
    bench.engine.call(lambda: reader.submit(HELLO, answers.append))
    bench.wait(lambda: pipes.loop.said[-1][0] == XfrBlock.type)
    begun = time.monotonic()
    bench.engine.call(reader.power_down)
    pipes.frozen.clear()
    assert bench.up(reader, ta1=0x96).error == ""
    assert time.monotonic() - begun < 5
    assert not answers
    kinds = [each[0] for each in pipes.loop.said]
    assert GetSlotStatus.type in kinds
    assert IccPowerOff.type in kinds
    assert not bench.faults


def test_what_the_reader_cannot_do_is_no_fault(bench: Bench) -> None:
    bench.device(descriptor(AUTO_RATE, maximum_rate_bps=115_200), T0)
    reader = bench.reader()
    assert bench.up(reader, ta1=0x96).error.startswith("rate: TA1=96 is 250000 bit/s at 4000 kHz")
    assert bench.exchange(reader, HELLO).error.startswith("the card has no power")
    assert not bench.faults


@pytest.mark.parametrize("text", ["", "08e6", "08e6:", "8e6:3437", "08e6-3437", "08e6:3437:"])
def test_device_names_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="expected vendor:product or vendor:product:serial"):
        UsbWanted.parse(text)


def test_device_names() -> None:
    assert UsbWanted.parse("08E6:3437") == UsbWanted(0x08E6, 0x3437)
    assert str(UsbWanted.parse("08e6:3437:AB:1")) == "08e6:3437:AB:1"


def test_no_such_reader(bench: Bench) -> None:
    bench.there = False
    with pytest.raises(UsbError, match="reader gone: no USB reader 08e6:3437 is attached"):
        bench.reader()
