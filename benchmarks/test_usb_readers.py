"""Raw USB against libccid, pcscd and pyscard, in one guest: two readers of ours in its ports, the same card in each, rounds in turns.

The issue asks for 1.2. Printed, not asserted: the guest's processor is made of software, and the machine has moods.
"""

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import pytest

from bench.card.card import Card
from bench.card.profile import CardProfile
from bench.ccid.usb_ccid import IDENTITY
from bench.ccid.usb_descriptors import DeviceIdentity
from bench.engine import Timebase, VirtualEngine
from bench.hop.link import PollPlan
from bench.observe import NullSink
from bench.serve.usb_reader import ServedUsbReader
from bench.serve.usbredir_loop import UsbredirLoop
from benchmarks.measure import show
from tests.guest.fixture import guest as guest
from tests.guest.machine import Guest

ROUNDS = 15
EXCHANGES = 30
CLOCK_HZ = 4_000_000
OURS = DeviceIdentity(0x1209, 0x0001, "cardbench", "CCID reader", "0002", release=0x0200)
"""Not in libccid's list of readers, so that pcscd leaves it alone."""


@contextmanager
def plugged(guest: Guest, path: Path, identity: DeviceIdentity, profile: CardProfile) -> Iterator[None]:
    engine = VirtualEngine(Timebase.for_clocks(CLOCK_HZ))
    poll = PollPlan(engine.timebase.hz, engine.timebase.hz)
    card = Card(engine, profile, poll, NullSink())
    loop = UsbredirLoop(path, ServedUsbReader(engine, [card.contacts], identity=identity))
    stopping = threading.Event()
    thread = threading.Thread(target=lambda: loop.run(stopping.is_set))
    thread.start()
    try:
        with guest.plug(path):
            yield
    finally:
        stopping.set()
        thread.join(10)


@pytest.mark.parametrize("protocol", [0, 1])
def test_raw_usb_against_libccid(guest: Guest, tmp_path: Path, protocol: int) -> None:
    profile = CardProfile(b"BM", ta1=0x96, hop=False, protocols=(protocol,))
    with ExitStack() as stack:
        stack.enter_context(plugged(guest, tmp_path / "theirs", IDENTITY, profile))
        stack.enter_context(plugged(guest, tmp_path / "ours", OURS, profile))
        nothing = guest.share / "reader.conf.d"
        nothing.mkdir(exist_ok=True)
        stack.enter_context(guest.start(["pcscd", "-f", "-c", nothing]))
        program = [sys.executable, "-m", "benchmarks.usb_program", "1209:0001", str(ROUNDS), str(EXCHANGES)]
        said = guest.run(program, timeout=300).checked()
    lines = []
    for line in said.splitlines():
        found = json.loads(line)
        ratios = sorted(found["ratios"])
        assert found["protocol"] == protocol
        lines.append(
            f"{found['size']:3} bytes: raw USB {found['ours_us']:6.0f} µs, libccid and pyscard {found['theirs_us']:6.0f} µs, "
            f"ratio {median(ratios):.2f} ({ratios[len(ratios) // 4]:.2f} to {ratios[-1 - len(ratios) // 4]:.2f})"
        )
    show(f"Raw USB against libccid, pcscd and pyscard, T={protocol} (the issue asks for 1.2)", lines)
