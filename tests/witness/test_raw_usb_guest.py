"""Our raw USB reader in the guest, under a kernel's USB stack and libusb: against our own device over usbredir, and against QEMU's own reader."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.card.card import Card
from bench.card.profile import CardProfile
from bench.ccid.usb_descriptors import DeviceIdentity
from bench.engine import Timebase, VirtualEngine
from bench.hop.link import PollPlan
from bench.iso7816.apdu import CommandApdu
from bench.observe import NullSink
from bench.serve.usb_reader import ServedUsbReader
from bench.serve.usbredir_loop import UsbredirLoop
from bench.serve.vscard import ServedContacts, VscardLoop, connect
from tests.guest.machine import Guest, Job

pytestmark = [pytest.mark.witness, pytest.mark.real]

CLOCK_HZ = 4_000_000
OURS, QEMU = "08e6:3437", "08e6:4433"
ECHO_T0 = "A0EC000005 68656C6C6F".replace(" ", "")
T0 = CardProfile(b"T0", ta1=0x96, hop=False)
T1 = CardProfile(b"T1", ta1=0x96, hop=False, protocols=(1,))


class Program:
    """The program in the guest; one line, one answer."""

    def __init__(self, guest: Guest, job: Job) -> None:
        self.guest = guest
        self.job = job
        self._answered = 1

    def ask(self, line: str, timeout: float = 100) -> dict[str, object]:
        self.job.write(f"{line}\n".encode())
        done = self.guest.wait_until(
            lambda: self.job.stdout.count("\n") > self._answered or self.job.status is not None, timeout
        )
        assert done, f"{line}: nothing within {timeout:g} s"
        assert self.job.status is None, f"{line}: the program ended\n{self.job.stderr}"
        self._answered += 1
        answer: dict[str, object] = json.loads(self.job.stdout.splitlines()[self._answered - 1])
        return answer

    def exchange(self, name: str, command: str | bytes) -> bytes:
        answer = self.ask(f"{name} x {command.hex() if isinstance(command, bytes) else command}")
        assert answer["error"] == "", answer
        return bytes.fromhex(str(answer["response"]))


@pytest.fixture(scope="module")
def program(guest: Guest) -> Iterator[Program]:
    with guest.start([sys.executable, "-m", "tests.witness.raw_usb_program"]) as job:
        job.wait_for("ready", 180)
        yield Program(guest, job)


class Served:
    """A loop in a thread, and a way to do things in it."""

    def __init__(self, loop: UsbredirLoop | VscardLoop) -> None:
        self.loop = loop
        self._orders: deque[tuple[Callable[[], object], threading.Event]] = deque()
        self._stopping = False
        self._out, self._in = os.pipe()
        loop.watch(self._out, self._take)
        self._thread = threading.Thread(target=lambda: loop.run(lambda: self._stopping))
        self._thread.start()

    def do(self, order: Callable[[], object]) -> None:
        done = threading.Event()
        self._orders.append((order, done))
        os.write(self._in, b"!")
        assert done.wait(60)

    def _take(self) -> None:
        os.read(self._out, 1)
        order, done = self._orders.popleft()
        order()
        done.set()

    def stop(self) -> None:
        def stop() -> None:
            self._stopping = True

        self.do(stop)
        self._thread.join(60)
        assert not self._thread.is_alive()
        os.close(self._out)
        os.close(self._in)


def card(engine: VirtualEngine, profile: CardProfile) -> Card:
    return Card(engine, profile, PollPlan(engine.timebase.hz // 100, engine.timebase.hz), NullSink())


@contextmanager
def our_reader(
    guest: Guest, path: Path, *profiles: CardProfile, form: str = "tpdu", serial: str = "0001"
) -> Iterator[tuple[Served, list[Card]]]:
    """A reader of ours in a port of the guest."""
    engine = VirtualEngine(Timebase.for_clocks(CLOCK_HZ))
    cards = [card(engine, profile) for profile in profiles]
    identity = DeviceIdentity(0x08E6, 0x3437, "cardbench", "CCID reader", serial, release=0x0200)
    reader = ServedUsbReader(engine, [each.contacts for each in cards], form=form, identity=identity)
    served = Served(UsbredirLoop(path, reader))
    try:
        with guest.plug(path):
            yield served, cards
    finally:
        served.stop()


def opened(program: Program, name: str, device: str, slot: int = 1) -> dict[str, object]:
    """Open, as soon as the guest has seen the device."""
    limit = time.monotonic() + 60
    while time.monotonic() < limit:
        about = program.ask(f"{name} open {device} {slot}")
        if "error" not in about:
            return about
        program.guest.run(["sleep", "0.1"])
    raise AssertionError(about)


def told(program: Program, name: str, present: bool) -> bool:
    """Whether the reader tells that a card has come, or gone."""
    cards = program.ask(f"{name} card 30 {present:d}")["cards"]
    assert isinstance(cards, list)
    return bool(cards) and cards[-1] is present


@contextmanager
def opened_reader(program: Program, name: str, device: str, slot: int = 1) -> Iterator[dict[str, object]]:
    about = opened(program, name, device, slot)
    yield about
    closed = program.ask(f"{name} close")
    assert (closed["closed"], closed["threads"], closed["abandoned"]) == (True, [], [])


def echo(data: bytes) -> bytes:
    return CommandApdu(0xA0, 0xEC, 0, 0, data, 65_536 if len(data) > 255 else 256).encode()


class TestOurDevice:
    def test_t0_at_every_rate_the_bench_chooses(self, guest: Guest, program: Program, tmp_path: Path) -> None:
        with (
            our_reader(guest, tmp_path / "usb", T0) as (_, cards),
            opened_reader(program, "t0", f"{OURS}:0001") as about,
        ):
            assert (about["level"], about["rate"], about["slots"]) == ("tpdu", "selectable", 1)
            for ta1 in (0x11, 0x13, 0x94, 0x95, 0x96):
                up = program.ask(f"t0 up ta1={ta1:02x}")
                assert (up["error"], up["protocol"], up["ta1"], up["class"]) == ("", 0, ta1, "C"), up
                assert cards[0].contacts.rate.ta1 == ta1
                assert program.exchange("t0", ECHO_T0) == b"\x61\x05"
                assert program.exchange("t0", "00C0000005") == b"hello\x90\x00"
            answers = {"GetSlotStatus": "SlotStatus", "GetParameters": "Parameters", "IccClock": "NoneType"}
            for name, answer in answers.items():
                got = program.ask(f"t0 ccid {name}")
                assert got["answer"] == answer, got
            assert "ICC_CLOCK is refused, CMD_NOT_SUPPORTED" in str(got["error"])

    def test_t1_with_our_engine_on_top(self, guest: Guest, program: Program, tmp_path: Path) -> None:
        with our_reader(guest, tmp_path / "usb", T1) as (_, cards), opened_reader(program, "t1", OURS):
            for ta1 in (0x11, 0x96):
                up = program.ask(f"t1 up ta1={ta1:02x}")
                assert (up["error"], up["protocol"], up["ta1"]) == ("", 1, ta1), up
                assert cards[0].contacts.rate.ta1 == ta1
                data = bytes(range(256)) * 4
                assert program.exchange("t1", echo(data)) == data + b"\x90\x00"

    @pytest.mark.parametrize(("form", "level"), [("character", "character"), ("apdu", "apdu"), ("short-apdu", "apdu")])
    def test_other_levels(self, guest: Guest, program: Program, tmp_path: Path, form: str, level: str) -> None:
        with our_reader(guest, tmp_path / "usb", T1, form=form), opened_reader(program, form, OURS) as about:
            assert about["level"] == level
            up = program.ask(f"{form} up")
            assert (up["error"], up["protocol"]) == ("", 1)
            data = bytes(range(200)) * (15 if form == "apdu" else 1)
            assert program.exchange(form, echo(data)) == data + b"\x90\x00"

    def test_two_slots_and_their_notifications(self, guest: Guest, program: Program, tmp_path: Path) -> None:
        with (
            our_reader(guest, tmp_path / "usb", T0, T1) as (served, _),
            opened_reader(program, "one", OURS, 1),
            opened_reader(program, "two", OURS, 2),
        ):
            reader = served.loop.served
            assert isinstance(reader, ServedUsbReader)
            assert program.ask("one up ta1=96")["error"] == ""
            assert program.ask("two up ta1=95")["error"] == ""
            assert program.exchange("one", ECHO_T0) == b"\x61\x05"
            assert program.exchange("two", echo(b"second")) == b"second\x90\x00"
            program.ask("one card 0")
            served.do(lambda: reader.pull(1))
            assert told(
                program, "two", False
            )  # before that, perhaps, that it is there: a host that begins to listen is told so
            assert program.ask("one card 0")["cards"] in ([], [True])
            answer = program.ask(f"two x {echo(b'gone').hex()}")
            assert answer["error"] == "absent"
            assert "put it back" in str(answer["faults"])
            served.do(lambda: reader.insert(1))
            assert told(program, "two", True)
            assert program.ask("two up")["error"] == ""
            assert program.exchange("one", "00C0000005") == b"hello\x90\x00"

    def test_a_reader_that_is_unplugged_and_plugged_in_again(
        self, guest: Guest, program: Program, tmp_path: Path
    ) -> None:
        with our_reader(guest, tmp_path / "usb", T0) as (served, _), opened_reader(program, "hot", OURS):
            loop = served.loop
            assert isinstance(loop, UsbredirLoop)
            assert program.ask("hot up")["error"] == ""
            served.do(loop.unplug)
            faults = program.ask("hot fault 30")["faults"]
            assert "reader gone: reader 08e6:3437" in str(faults), faults
            answer = program.ask(f"hot x {ECHO_T0}")
            assert answer["error"] != ""
            served.do(loop.plug)
            limit = time.monotonic() + 60
            while time.monotonic() < limit:
                up = program.ask("hot up ta1=96")
                if not up["error"]:
                    break
                guest.run(["sleep", "0.1"])
            assert (up["error"], up["ta1"]) == ("", 0x96)
            assert program.exchange("hot", ECHO_T0) == b"\x61\x05"

    def test_somebody_else_holds_it(self, guest: Guest, program: Program, tmp_path: Path) -> None:
        with our_reader(guest, tmp_path / "usb", T0), opened_reader(program, "first", OURS):
            assert program.ask("first up")["error"] == ""
            holder = (
                "import sys, time; from bench.readers.usb import UsbWanted, find\n"
                "from bench.readers.usb_errors import UsbError\n"
                f"place = find(UsbWanted.parse('{OURS}'))\n"
                "try:\n    place.open()\nexcept UsbError as error:\n    print(error)"
            )
            said = guest.python(holder, timeout=60).checked()
            assert said.startswith("device busy: reader 08e6:3437 at ")
            assert "(process " in said
            assert "holds the reader; end that program, or use another reader" in said

    def test_a_user_who_may_not(self, guest: Guest, program: Program, tmp_path: Path) -> None:
        with our_reader(guest, tmp_path / "usb", T0), opened_reader(program, "nobody", OURS):
            program.ask("nobody user 65534")
            try:
                up = program.ask("nobody up")
            finally:
                program.ask("nobody user 0")
            assert str(up["error"]).startswith("permission denied: reader 08e6:3437 at ")
            assert "udev rule" in str(up["error"])


class TestQemuReader:
    """usb-ccid: an independent device. T=0, rate and voltage its own."""

    def test_it_is_driven_and_its_card_moved(self, guest: Guest, program: Program, tmp_path: Path) -> None:
        path = tmp_path / "vscard"
        engine = VirtualEngine(Timebase.for_clocks(CLOCK_HZ))
        first = card(engine, T0)
        with guest.plug_ccid(path):
            served = Served(VscardLoop(connect(str(path)), ServedContacts(engine, first.contacts, T0.atr, CLOCK_HZ)))
            loop = served.loop
            try:
                with opened_reader(program, "qemu", QEMU) as about:
                    assert (about["level"], about["rate"], about["protocols"]) == ("tpdu", "observed", [0])
                    up = program.ask("qemu up")
                    assert (up["error"], up["atr"], up["ta1"]) == ("", T0.atr.hex(), 0), up
                    assert program.exchange("qemu", ECHO_T0) == b"\x61\x05"
                    assert program.exchange("qemu", "00C0000005") == b"hello\x90\x00"
                    served.do(loop.pull)
                    assert told(program, "qemu", False)
                    assert program.ask(f"qemu x {ECHO_T0}")["error"] == "absent"
                    assert program.ask("qemu up")["error"] == "absent"
                    served.do(loop.insert)
                    assert told(program, "qemu", True)
                    assert program.ask("qemu up")["error"] == ""
                    assert program.exchange("qemu", ECHO_T0) == b"\x61\x05"
                    assert program.ask("qemu up protocol=1")["error"].startswith("protocol mismatch: T=1 is asked for")  # type: ignore[attr-defined]
                assert loop.trouble == ""  # type: ignore[union-attr]
            finally:
                served.stop()
