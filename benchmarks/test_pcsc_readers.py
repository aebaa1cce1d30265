"""PC/SC, side by side over one pcscd with vpcd: our reader against a bare pyscard loop, the served card against a trivial one.

What is compared takes turns in short rounds, and each round gives one ratio: the machine's moods pass over both alike.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from bench.engine import MonotonicEngine, Timebase
from bench.iso7816.port import Answer, PowerUp
from bench.readers import pcsc_adapter
from bench.readers.pcsc import PcscReader
from bench.rig.pcscd import SLOTS, PrivatePcscd, missing_parts
from benchmarks.measure import show

smartcard = pytest.importorskip("smartcard.System", reason="pyscard is not installed (make setup-pcsc)")
if reason := missing_parts():
    pytest.skip(reason, allow_module_level=True)

ROUNDS = 40
EXCHANGES = 100
SIZES = (1, 64, 255)
ECHO = bytes((0xA0, 0xEC, 0, 0))
TRIVIAL = (sys.executable, str(Path(__file__).with_name("trivial_card.py")))
SERVED = (sys.executable, "-m", "bench.cli", "card", "--serve", "vpcd", "--port")
SEEN_WITHIN_S = 10

Round = Callable[[bytes], float]
"""Makes ``EXCHANGES`` exchanges of a command and gives the seconds they took."""


@contextmanager
def _cards(*programs: tuple[str, ...]) -> Iterator[list[str]]:
    """A private pcscd with a card of each program, in slots from the first on; gives the readers' names."""
    daemon = PrivatePcscd()
    started: list[subprocess.Popen[bytes]] = []
    try:
        daemon.start()
        pcsc_adapter.use_socket(str(daemon.socket))
        for slot, program in enumerate(programs):
            nowhere = subprocess.DEVNULL
            command = (*program, str(daemon.port + slot))
            started.append(subprocess.Popen(command, stdin=nowhere, stdout=nowhere, stderr=nowhere))
        yield _present(len(programs))
    finally:
        for process in started:
            process.kill()
            process.wait()
        daemon.remove()


def _present(count: int) -> list[str]:
    assert count <= SLOTS
    context = pcsc_adapter.establish()
    try:
        names = list(context.readers())[:count]
        limit = time.monotonic() + SEEN_WITHIN_S
        while not all(context.state(name).present for name in names):
            assert time.monotonic() < limit, "pcscd does not see the cards"
            time.sleep(0.05)
        return names
    finally:
        context.release()


class _Bare:
    """A loop over pyscard's own connection, as its user guide shows it."""

    def __init__(self, name: str) -> None:
        (reader,) = (each for each in smartcard.readers() if str(each) == name)
        self._connection: Any = reader.createConnection()
        self._connection.connect()

    def round(self, command: bytes) -> float:
        transmit, octets = self._connection.transmit, list(command)
        begun = time.perf_counter()
        for _ in range(EXCHANGES):
            transmit(octets)
        return time.perf_counter() - begun

    def close(self) -> None:
        self._connection.disconnect()
        self._connection.release()


class _Ours:
    """The bench's reader, one exchange after the other: each is submitted when the one before has been answered."""

    def __init__(self, name: str) -> None:
        self._engine = MonotonicEngine(Timebase.for_clocks(3_571_200)).start()
        leave = pcsc_adapter.Reset.LEAVE  # the other one uses the card, too
        self._reader = PcscReader(self._engine, name, power_with=leave, leave_with=leave)
        ups: list[PowerUp] = []
        self._engine.call(lambda: self._reader.power_up(ups.append))
        assert self._engine.wait(lambda: bool(ups), 10 * self._engine.timebase.hz)
        assert not ups[0].error, ups[0].error

    def round(self, command: bytes) -> float:
        left = EXCHANGES
        ended: list[float] = []

        def answered(answer: Answer) -> None:
            nonlocal left
            assert not answer.error, answer.error
            left -= 1
            if left:
                self._reader.submit(command, answered)
            else:
                ended.append(time.perf_counter())

        begun = time.perf_counter()
        self._engine.call(lambda: self._reader.submit(command, answered))
        assert self._engine.wait(lambda: bool(ended), 60 * self._engine.timebase.hz)
        return ended[0] - begun

    def step_by_step(self, command: bytes) -> float:
        """The same as a step of a scenario does it: from outside the engine, waiting for each answer."""
        begun = time.perf_counter()
        for _ in range(EXCHANGES):
            answers: list[Answer] = []
            self._engine.call(lambda answers=answers: self._reader.submit(command, answers.append))  # type: ignore[misc]
            assert self._engine.wait(lambda answers=answers: bool(answers), 60 * self._engine.timebase.hz)  # type: ignore[misc]
        return time.perf_counter() - begun

    def close(self) -> None:
        self._reader.close()
        self._engine.stop()


def _ratios(one: Round, other: Round, command: bytes) -> str:
    """How many exchanges ``one`` makes in the time ``other`` needs for one, as a line of text."""
    taken: list[tuple[float, float]] = []
    one(command)
    other(command)
    for turn in range(ROUNDS):
        if turn % 2:
            ours = one(command)
            taken.append((ours, other(command)))
        else:
            theirs = other(command)
            taken.append((one(command), theirs))
    ratios = sorted(theirs / ours for ours, theirs in taken)
    low, high = ratios[ROUNDS // 4], ratios[-ROUNDS // 4]
    rates = [EXCHANGES / median(each) for each in zip(*taken, strict=True)]
    return f"{median(ratios):6.3f} (half of {ROUNDS} rounds {low:.3f} to {high:.3f}); {rates[0]:6.0f} against {rates[1]:6.0f} exchanges a second"


def _echo(size: int) -> bytes:
    return ECHO + bytes((size,)) + bytes(size)


def test_our_reader_beside_a_bare_pyscard_loop() -> None:
    lines = []
    with _cards(TRIVIAL) as (name,):
        bare, ours = _Bare(name), _Ours(name)
        lines += [f"{size:4} bytes: {_ratios(ours.round, bare.round, _echo(size))}" for size in SIZES]
        lines += [
            f"{size:4} bytes, step by step: {_ratios(ours.step_by_step, bare.round, _echo(size))}" for size in SIZES
        ]
        ours.close()
        bare.close()
    show("Our PC/SC reader over a bare pyscard loop (at least 0.95)", lines)


def test_served_card_beside_a_trivial_one() -> None:
    lines = []
    with _cards(TRIVIAL, SERVED) as (trivial, served):
        one, other = _Bare(served), _Bare(trivial)
        lines += [f"{size:4} bytes: {_ratios(one.round, other.round, _echo(size))}" for size in SIZES]
        one.close()
        other.close()
    show("The served card over a trivial one, both through vpcd and a bare pyscard loop (at least 0.6)", lines)
