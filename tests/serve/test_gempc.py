"""The GemPC reader on a serial line: its frames, its echo, its notifications, and time."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.ccid.codes import IccState, PowerSelect, SlotError
from bench.ccid.messages import (
    Abort,
    Command,
    DataBlock,
    Escape,
    EscapeAnswer,
    GetSlotStatus,
    IccPowerOn,
    Response,
    XfrBlock,
    decode_response,
)
from bench.engine import Timebase, VirtualEngine
from bench.iso7816.atr import build_atr
from bench.serve.gempc import NAK_FRAME, PAUSE_NS, Frames, Model, ServedGempc, encode_frame
from bench.serve.gempc_loop import GempcLoop, Pty
from tests.processes import begun
from tests.readers.recording_card import NOTHING, READ, RecordingCard, pattern

ROOT = Path(__file__).resolve().parents[2]
ATR = build_atr(ta1=0x96)
STATUS = GetSlotStatus(0, 1).encode()
PRESENT, ABSENT = b"\x50\x03", b"\x50\x02"
NOTIFY = Escape(0, 0, b"\x01\x01\x01")


# -- frames --------------------------------------------------------------------------------------------------------------


def test_a_frame_is_sync_ack_message_and_exclusive_or() -> None:
    frame = encode_frame(STATUS)
    assert frame[:2] == b"\x03\x06"
    assert frame[2:-1] == STATUS
    check = 0
    for byte in frame:
        check ^= byte
    assert not check


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=5), st.data())
def test_frames_are_found_wherever_they_are_cut(payloads: list[bytes], data: st.DataObject) -> None:
    messages = [Escape(0, 1, payload).encode() for payload in payloads]
    stream = b"".join(encode_frame(message) for message in messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    frames = Frames()
    found: list[bytes | None] = []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += frames.feed(stream[begin:end], 0)
    assert found == messages


@given(st.binary(max_size=600))
def test_noise_ends_in_no_frame_that_is_not_whole_and_is_over_after_a_pause(noise: bytes) -> None:
    frames = Frames()
    for found in frames.feed(noise, 0):
        assert found is None or len(found) >= 10
    assert frames.feed(encode_frame(STATUS), PAUSE_NS + 1) == [STATUS]


def test_a_wrong_check_is_asked_for_again() -> None:
    frame = bytearray(encode_frame(STATUS))
    frame[-1] ^= 1
    assert Frames().feed(bytes(frame), 0) == [None]
    reader = Desk()
    reader.served.receive(bytes(frame))
    assert reader.served.take_due() == NAK_FRAME


def test_a_length_no_message_has_is_no_beginning() -> None:
    assert Frames().feed(b"\x03\x06\x6f\xff\xff\xff\x7f\x00\x00\x00\x00\x00" + encode_frame(STATUS), 0) == [STATUS]


# -- a reader, without a port ----------------------------------------------------------------------------------------------


class Desk:
    """A reader with one card."""

    def __init__(self, model: Model = Model.SIM_PRO, *, paced: bool = False, ticks_ms: int = 0) -> None:
        engine = VirtualEngine(Timebase.for_clocks(4_000_000))
        self.card = RecordingCard(engine, ATR, ticks=engine.timebase.nanoseconds(ticks_ms * 10**6))
        self.served = ServedGempc(engine, [self.card.contacts], model, paced=paced)

    def raw(self, command: Command) -> bytes:
        self.served.receive(encode_frame(command.encode()))
        return self.served.take_due()

    def ask(self, command: Command) -> Response:
        (found,) = Frames().feed(self.raw(command), 0)
        assert found is not None
        return decode_response(found)


def test_the_twin_repeats_the_command_before_it_answers_and_the_others_do_not() -> None:
    command = encode_frame(STATUS)
    assert Desk(Model.TWIN).raw(GetSlotStatus(0, 1)).startswith(command)
    assert not Desk(Model.SIM_PRO).raw(GetSlotStatus(0, 1)).startswith(command)


@pytest.mark.parametrize("model", Model)
def test_it_calls_itself_by_name(model: Model) -> None:
    desk = Desk(model)
    raw = desk.raw(Escape(0, 1, b"\x02"))
    answer = decode_response(Frames().feed(raw, 0)[-1] or b"")
    assert isinstance(answer, EscapeAnswer)
    assert answer.data == model.value.firmware
    assert len(answer.data) < 50, "the driver's buffer"


def test_movements_are_told_before_the_next_answer_once_asked_for() -> None:
    desk = Desk()
    desk.served.pull()
    assert desk.raw(GetSlotStatus(0, 1)).startswith(b"\x03\x06"), "nobody has asked to be told"
    desk.ask(NOTIFY)
    desk.served.insert()
    assert desk.raw(GetSlotStatus(0, 2)).startswith(PRESENT + b"\x03\x06")
    assert desk.raw(GetSlotStatus(0, 3)).startswith(b"\x03\x06"), "told once"
    desk.served.pull()
    told = desk.raw(GetSlotStatus(0, 4))
    assert told.startswith(ABSENT)
    answer = decode_response(Frames().feed(told[2:], 0)[0] or b"")
    assert answer.status.icc is IccState.ABSENT


def test_movements_in_other_slots_are_not_told() -> None:
    desk = Desk()
    desk.ask(NOTIFY)
    other = RecordingCard(desk.served.slaved.engine, ATR)
    desk.served.insert(1, other.contacts)
    assert desk.raw(GetSlotStatus(1, 1)).startswith(b"\x03\x06")
    with pytest.raises(ValueError, match="slot"):
        Desk().served.insert(1)


def test_an_abort_needs_no_control_pipe() -> None:
    """There is none on a serial line."""
    desk = Desk(ticks_ms=30_000)
    desk.ask(IccPowerOn(0, 1, PowerSelect.V5))
    assert desk.ask(XfrBlock(0, 2, bytes((0, NOTHING, 0, 0)))).status.extends, "longer than a reader runs ahead"
    aborted, answer = (decode_response(found or b"") for found in Frames().feed(desk.raw(Abort(0, 3)), 0))
    assert (aborted.seq, aborted.status.error) == (2, SlotError.CMD_ABORTED)
    assert (answer.seq, answer.status.ok) == (3, True)


def test_unpaced_the_answer_is_there_at_once_and_the_engine_keeps_what_it_gained() -> None:
    desk = Desk(ticks_ms=450)
    desk.ask(IccPowerOn(0, 1, PowerSelect.V5))
    began = time.monotonic()
    answer = desk.ask(XfrBlock(0, 2, bytes((0, READ, 0, 0, 5))))
    assert time.monotonic() - began < 0.4
    assert isinstance(answer, DataBlock)
    assert answer.data == pattern(5) + b"\x90\x00"
    engine = desk.served.slaved.engine
    assert engine.timebase.to_ns(engine.now) > 450 * 10**6


def test_paced_the_answer_waits_for_the_wall() -> None:
    desk = Desk(paced=True, ticks_ms=200)
    desk.raw(IccPowerOn(0, 1, PowerSelect.V5))
    time.sleep(0.1)
    assert desk.served.take_due()
    began = time.monotonic()
    assert not desk.raw(XfrBlock(0, 2, bytes((0, NOTHING, 0, 0))))
    assert 0 < desk.served.sleep(1) < 0.25
    while not (said := desk.served.take_due()):
        time.sleep(0.002)
    assert 0.2 <= time.monotonic() - began < 0.6
    assert decode_response(Frames().feed(said, 0)[0] or b"").status.ok


# -- on a pty ----------------------------------------------------------------------------------------------------------------


class Port:
    """A loop in a thread, and a descriptor at the far end. ``between`` runs something between two turns of the loop."""

    def __init__(self, link: Path) -> None:
        self.desk = Desk()
        self.port = Pty(link)
        self.loop = GempcLoop(self.port, self.desk.served)
        self.stop = threading.Event()
        self.wake, self.woken = os.pipe()
        self.jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.loop.watch(self.wake, self._work)
        self.thread = threading.Thread(target=lambda: self.loop.run(self.stop.is_set))
        self.thread.start()
        self.far = os.open(self.loop.address, os.O_RDWR | os.O_NOCTTY)

    def between(self, action: Callable[[], None]) -> BaseException | None:
        done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

        def job() -> None:
            try:
                action()
            except ValueError as error:
                done.put(error)
            else:
                done.put(None)

        self.jobs.put(job)
        os.write(self.woken, b"!")
        return done.get(timeout=5)

    def close(self) -> None:
        self.stop.set()
        os.write(self.woken, b"!")
        self.thread.join(5)
        assert not self.thread.is_alive()
        for file in (self.far, self.wake, self.woken):
            os.close(file)
        self.port.close()

    def _work(self) -> None:
        os.read(self.wake, 1)
        if not self.jobs.empty():
            self.jobs.get()()


@pytest.fixture
def served_port(tmp_path: Path) -> Iterator[Port]:
    port = Port(tmp_path / "reader")
    yield port
    port.close()
    assert not (tmp_path / "reader").is_symlink()


def _talk(far: int, command: Command) -> tuple[bytes, Response]:
    """What came before the answer, and the answer."""
    os.write(far, encode_frame(command.encode()))
    heard = b""
    while True:
        heard += os.read(far, 4096)
        at = heard.find(b"\x03\x06")
        for found in Frames().feed(heard[max(at, 0) :], 0):
            assert found is not None
            return heard[:at], decode_response(found)


def test_a_driver_may_go_and_another_may_come(served_port: Port) -> None:
    far = served_port.far
    assert _talk(far, IccPowerOn(0, 1, PowerSelect.V5))[1].status.ok
    os.write(far, b"\x03\x06\x6f\x05\x00")  # it was killed in the middle of a frame
    again = os.open(served_port.loop.address, os.O_RDWR | os.O_NOCTTY)
    try:
        time.sleep(0.15)
        assert _talk(again, GetSlotStatus(0, 2))[1].status.icc is IccState.ACTIVE
    finally:
        os.close(again)


def test_another_chain_in_its_place_is_seen_to_come(served_port: Port) -> None:
    """A driver that knows the old card must see an empty reader in between."""
    far, loop = served_port.far, served_port.loop
    _talk(far, NOTIFY)
    assert _talk(far, IccPowerOn(0, 1, PowerSelect.V5))[1].status.ok
    fresh = Desk()
    assert served_port.between(lambda: loop.replace(fresh.served)) is None
    assert not served_port.desk.card.contacts.powered
    before, answer = _talk(far, GetSlotStatus(0, 2))
    assert (before, answer.status.icc) == (ABSENT, IccState.ABSENT)
    before, answer = _talk(far, GetSlotStatus(0, 3))
    assert (before, answer.status.icc) == (PRESENT, IccState.INACTIVE)


def test_another_model_in_its_place_is_refused(served_port: Port) -> None:
    refusal = served_port.between(lambda: served_port.loop.replace(Desk(Model.TWIN).served))
    assert "GemPCTwin" in str(refusal)
    assert _talk(served_port.far, GetSlotStatus(0, 1))[1].status.icc is IccState.INACTIVE


def test_a_place_that_is_taken_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match="file"):
        Pty(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


# -- the command -------------------------------------------------------------------------------------------------------------


def test_the_command_makes_the_link_and_takes_it_away(tmp_path: Path) -> None:
    link = tmp_path / "reader"
    command = (
        sys.executable,
        "-m",
        "bench.cli",
        "card",
        "--serve",
        "gempc",
        "--model",
        "pospro",
        "--device",
        str(link),
    )
    with begun(command) as process:
        assert process.stdout is not None
        assert f"in a GemCorePOSPro at {link}" in process.stdout.readline()
        assert f"DEVICENAME {link}:GemCorePOSPro" in process.stdout.readline()
        far = os.open(link, os.O_RDWR | os.O_NOCTTY)
        try:
            for slot, state in enumerate((IccState.INACTIVE, *[IccState.ABSENT] * 4)):
                assert _talk(far, GetSlotStatus(slot, slot))[1].status.icc is state
        finally:
            os.close(far)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert not link.is_symlink()


def test_the_command_says_what_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    command = (sys.executable, "-m", "bench.cli", "card", "--serve", "gempc", "--device", str(tmp_path / "file"))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 3
    assert "name a path where nothing is" in done.stderr
