"""The served card and our PC/SC reader, met by software from outside: pcscd with vpcd's driver, pyscard, opensc-tool.

Once the card is ours and the programs are theirs; once the reader is ours too and a real pcscd stands between. Everything that can break is broken.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias
from xml.etree import ElementTree

import pytest

from bench.card.files import CLA_ECHO, INS_ECHO
from bench.card.profile import CardProfile
from bench.iso7816.apdu import CommandApdu
from bench.observe import Exchange, ListSink
from bench.readers import threads as reader_threads
from bench.readers.pcsc import DriverLimits
from bench.rig import opening, quarantine
from bench.rig.build import Rig, build_rig
from bench.rig.errors import RigError, RigNotAble
from bench.rig.given import Given
from bench.rig.loader import load_rig_file
from bench.rig.model import RigModel
from bench.rig.pcscd import READER, PrivatePcscd, missing_parts
from bench.rig.served_reader import ServedReader, close_served_reader, served_reader
from tests.processes import begun, freeze

MISSING = missing_parts() or ("" if find_spec("smartcard") else "missing pyscard: pip install 'cardbench[pcsc]'")

pytestmark = [
    pytest.mark.witness,
    pytest.mark.real,
    pytest.mark.skipif(bool(MISSING), reason=MISSING or "nothing is missing"),
]

ROOT = Path(__file__).resolve().parents[2]
ATR = CardProfile(identity=b"").atr
HANG_S = 10
"""Nothing may take longer, whatever breaks."""


# -- programs from outside meet the served card ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def offered() -> Iterator[dict[str, str]]:
    """``cardbench card`` with a pcscd of its own; gives the environment in which programs find it."""
    command = (sys.executable, "-m", "bench.cli", "card", "--serve", "vpcd", "--pcscd", "--cards", "2")
    with begun(command) as process:
        assert process.stdout is not None
        exported = process.stdout.readline()
        assert exported.startswith("export PCSCLITE_CSOCK_NAME="), process.stderr and process.stderr.read()
        serving = process.stdout.readline()
        assert ATR.hex(" ").upper() in serving
        environment = {**os.environ, "PCSCLITE_CSOCK_NAME": exported.strip().partition("=")[2]}
        _program(environment, WAIT_FOR_CARD)
        yield environment
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert not Path(environment["PCSCLITE_CSOCK_NAME"]).parent.exists()


WAIT_FOR_CARD = """
from smartcard.CardRequest import CardRequest
CardRequest(timeout=10).waitforcard()
"""
EXCHANGES = """
import sys
from smartcard.System import readers
connection = readers()[0].createConnection()
connection.connect()
print(bytes(connection.getATR()).hex())
for line in sys.stdin:
    data, sw1, sw2 = connection.transmit(list(bytes.fromhex(line)))
    print((bytes(data) + bytes((sw1, sw2))).hex())
connection.disconnect()
"""


def _program(environment: dict[str, str], text: str, stdin: str = "") -> list[str]:
    """Run a pyscard program that knows nothing of the bench; gives the lines it printed."""
    done = subprocess.run(
        (sys.executable, "-c", text), input=stdin, env=environment, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def _opensc(environment: dict[str, str], *arguments: str) -> str:
    tool = shutil.which("opensc-tool")
    if tool is None:
        pytest.skip("opensc-tool is missing: apt-get install --no-install-recommends opensc")
    done = subprocess.run((tool, *arguments), env=environment, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout


class TestForeignPrograms:
    def test_pyscard_sees_the_answer_to_reset(self, offered: dict[str, str]) -> None:
        assert _program(offered, EXCHANGES) == [ATR.hex()]

    def test_pyscard_reads_and_writes_files(self, offered: dict[str, str]) -> None:
        commands = ["00A4000C020001", "00D600000411223344", "00B0000004"]
        assert _program(offered, EXCHANGES, "\n".join(commands))[1:] == ["9000", "9000", "112233449000"]

    def test_pyscard_gets_every_byte_of_every_length(self, offered: dict[str, str]) -> None:
        """The card's own echo, from 1 byte to a long extended APDU."""
        sizes = [1, 2, 127, 128, 254, 255, 256, 4096, 65_000]
        payloads = [random.Random(size).randbytes(size) for size in sizes]
        commands = [
            CommandApdu(CLA_ECHO, INS_ECHO, 0, 0, payload, 65_536 if len(payload) > 255 else 256)
            for payload in payloads
        ]
        answers = _program(offered, EXCHANGES, "\n".join(command.encode().hex() for command in commands))[1:]
        assert answers == [(payload + b"\x90\x00").hex() for payload in payloads]

    def test_opensc_tool_lists_the_reader_with_its_card(self, offered: dict[str, str]) -> None:
        listed = _opensc(offered, "-l")
        assert READER in listed
        assert "Yes" in next(line for line in listed.splitlines() if READER in line)

    def test_opensc_tool_reads_the_answer_to_reset(self, offered: dict[str, str]) -> None:
        assert _opensc(offered, "-r", "0", "-a").strip().lower() == ATR.hex(":")

    def test_opensc_tool_exchanges_apdus(self, offered: dict[str, str]) -> None:
        said = _opensc(offered, "-r", "0", "-c", "default", "-s", "00:A4:00:0C:02:00:01", "-s", "00:A4:00:0C:02:7F:FF")
        assert "SW1=0x90, SW2=0x00" in said
        assert "SW1=0x6A, SW2=0x82" in said

    def test_the_hop_answers_a_poll_that_was_made_by_hand(self, offered: dict[str, str]) -> None:
        """docs/protocol.md, 1.3: nothing waits for a terminal that has not greeted."""
        assert _program(offered, EXCHANGES, "80C0800000")[1:] == ["6200"]

    def test_a_greeting_made_by_hand_numbers_the_card(self, offered: dict[str, str]) -> None:
        """docs/protocol.md, 2: HELLO from node 0 with MTU 64; the answer comes inline."""
        answer = bytes.fromhex(_program(offered, EXCHANGES, "80C2800008C00101000040003200")[1])
        assert answer[:6] == bytes.fromhex("C0 02 01 01 00 40")
        assert answer[-2:] == b"\x90\x00"


# -- our reader, their daemon ------------------------------------------------------------------------------------------

Open: TypeAlias = Callable[..., Rig]


@pytest.fixture
def model() -> RigModel:
    return load_rig_file(ROOT / "rigs" / "pcsc-vpcd.yaml").rigs[0]


@pytest.fixture
def sink() -> ListSink:
    return ListSink()


@pytest.fixture
def open_rig(model: RigModel, sink: ListSink) -> Iterator[Open]:
    opened: list[Rig] = []

    def open_one(**given: str) -> Rig:
        opened.append(build_rig(model, Given.model_validate(given), sink, 0, True))
        return opened[-1]

    yield open_one
    for rig in opened:
        with contextlib.suppress(RigError):
            rig.close()
    quarantine.clear()


@pytest.fixture(scope="module", autouse=True)
def nothing_left() -> Iterator[None]:
    yield
    close_served_reader()


def _wait(rig: Rig, done: Callable[[], bool], seconds: float = HANG_S) -> bool:
    return rig.engine.wait(done, round(seconds * rig.engine.timebase.hz))


def _up(rig: Rig, cards: int = 1) -> None:
    rig.engine.call(rig.host.start)
    assert _wait(rig, lambda: len(rig.host.cards) == cards), rig.host.link.last_error


def _served() -> ServedReader:
    return served_reader()


def _card_pid() -> int:
    cards = _served().cards
    assert cards is not None
    return cards.pid


def _stream(rig: Rig) -> None:
    """Keep both directions of an echo busy from now on."""
    assert _wait(rig, lambda: any(service.port == 7 for service in rig.host.gateway.services()))

    def start() -> None:
        socket = rig.uplink.dial(7)
        socket.source = bytes
        socket.on_data = lambda _data: None
        socket.flush()

    rig.engine.call(start)


class TestOurReader:
    def test_the_chain_of_three_is_numbered(self, open_rig: Open) -> None:
        rig = open_rig(cards="3", mtu="64")
        _up(rig, 3)
        assert [facts.identity for facts in rig.host.cards.values()] == [b"CB0001", b"CB0002", b"CB0003"]
        assert rig.host.link.atr == ATR

    def test_an_echo_comes_back_byte_for_byte(self, open_rig: Open, sink: ListSink) -> None:
        rig = open_rig(mtu="256")
        _up(rig)
        assert _wait(rig, lambda: any(service.port == 7 for service in rig.host.gateway.services()))
        data = random.Random(1).randbytes(20_000)
        socket = rig.engine.call(lambda: rig.uplink.dial(7))
        rig.engine.call(lambda: socket.write(data))
        assert _wait(rig, lambda: len(socket.received) >= len(data))
        assert bytes(socket.received) == data
        exchanges = [seen for seen in sink.observations if isinstance(seen, Exchange)]
        assert {seen.level for seen in exchanges} == {"apdu"}
        assert all(seen.duration_ticks > 0 and not seen.error for seen in exchanges)
        ends = [seen.start_ticks + seen.duration_ticks for seen in exchanges]
        assert all(end <= after.start_ticks for end, after in zip(ends, exchanges[1:], strict=False)), "one at a time"

    def test_an_ordinary_apdu_goes_beside(self, open_rig: Open) -> None:
        rig = open_rig()
        _up(rig)
        outcomes: list[bytes] = []
        command = CommandApdu(CLA_ECHO, INS_ECHO, 0, 0, bytes(5000), 65_536)
        rig.engine.call(
            lambda: rig.host.apdu(command, lambda got: outcomes.append(got.response.data if got.response else b""))
        )
        assert _wait(rig, lambda: bool(outcomes))
        assert outcomes == [bytes(5000)]

    def test_each_point_gets_a_fresh_card(self, open_rig: Open) -> None:
        """What one point wrote into a file is not there in the next; daemon and process are the same."""
        read: list[bytes] = []
        pids = []
        for write in (True, False):
            rig = open_rig()
            rig.engine.call(rig.host.start)
            assert _wait(rig, lambda rig=rig: rig.host.link.powered)  # type: ignore[misc]
            commands = [CommandApdu(0, 0xA4, 0, 0x0C, b"\x00\x01")]
            commands += [CommandApdu(0, 0xD6, 0, 0, b"mine")] if write else []
            commands.append(CommandApdu(0, 0xB0, 0, 0, b"", 4))
            before = len(read)
            for command in commands:
                rig.engine.call(
                    lambda rig=rig, command=command: rig.host.apdu(  # type: ignore[misc]
                        command, lambda got: read.append(got.response.data if got.response else b"?")
                    )
                )
            wanted = before + len(commands)
            assert _wait(rig, lambda wanted=wanted: len(read) == wanted)  # type: ignore[misc]
            pids.append((_served().daemon.pid, _card_pid()))
            rig.close()
        assert read[2] == b"mine"
        assert read[-1] != b"mine"
        assert pids[0] == pids[1]

    def test_a_declared_card_time_is_taken_in_real_time(self, open_rig: Open, sink: ListSink) -> None:
        rig = open_rig(card_time="30 ms")
        rig.engine.call(rig.host.start)
        assert _wait(rig, lambda: sum(isinstance(seen, Exchange) for seen in sink.observations) > 10)
        rig.close()
        times = [rig.engine.timebase.to_ns(s.duration_ticks) for s in sink.observations if isinstance(s, Exchange)]
        assert min(times) >= 30 * 10**6

    @pytest.mark.parametrize(
        ("given", "reason"),
        [
            ({"ta1": "96"}, "cannot choose a baud rate; the rate is only observed"),
            ({"clock_hz": "4000000"}, "cannot choose the card clock"),
            ({"protocol": "T=1"}, "points over T=1 need another path"),
        ],
    )
    def test_what_does_not_apply_says_so(self, open_rig: Open, given: dict[str, str], reason: str) -> None:
        with pytest.raises(RigNotAble, match=reason):
            open_rig(**given)

    def test_a_profile_nobody_knows_is_an_error(self, open_rig: Open) -> None:
        with pytest.raises(RigError, match="no profile named 'nobody-knows'"):
            open_rig(profile="nobody-knows")

    def test_a_need_for_rates_is_refused_with_the_reason(self, open_rig: Open) -> None:
        assert "the rate is only observed" in str(open_rig().declares["rate"])


class TestScenarios:
    """The real points of scenario files, as a lab runs them."""

    def test_what_needs_a_rate_is_not_applicable_and_the_rest_passes(self, tmp_path: Path) -> None:
        scenario = (
            "title: {title}\npurpose: A test.\nrequirements: [CH-FAIR-1]\n{extra}\n"
            "steps:\n  - power_on: {{}}\n  - assign_addresses: {{}}\n"
        )
        texts = {
            "needs-rate": "needs: {rate: true}\nsweep: {cards: [1]}\nreal: {cards: [1]}",
            "sweeps-rate": 'sweep: {ta1: ["11", "96"]}\nreal: {ta1: ["11", "96"]}',
        }
        for name, extra in texts.items():
            (tmp_path / f"{name}.yaml").write_text(scenario.format(title=name, extra=extra))
        options = ["--rig", "rigs/pcsc-vpcd.yaml", "--out", str(tmp_path / "out"), "--no-report"]
        options += ["--junitxml", str(tmp_path / "junit.xml")]
        done = subprocess.run(
            (sys.executable, "-m", "bench.cli", "run", str(tmp_path), *options),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        cases = {
            case.get("name"): case for case in ElementTree.parse(tmp_path / "junit.xml").getroot().iter("testcase")
        }
        reasons = {name: [str(skip.get("message")) for skip in case.iter("skipped")] for name, case in cases.items()}
        assert len(reasons) == 3
        told = sorted(reason for each in reasons.values() for reason in each)
        assert len(told) == 2
        assert all("not applicable" in reason and "the rate is only observed" in reason for reason in told)


class TestBroken:
    """Each fault: an error with a name, soon, and the next point runs."""

    def _broken(self, rig: Rig, cause: str) -> None:
        begun = time.monotonic()
        with pytest.raises(RigError, match=cause):
            _wait(rig, lambda: False, 60)
        with contextlib.suppress(RigError):
            rig.close()
        assert time.monotonic() - begun < HANG_S

    def _runs_again(self, open_rig: Open) -> None:
        rig = open_rig()
        _up(rig)
        rig.close()

    @pytest.mark.parametrize("seed", range(5))
    def test_the_card_is_killed_in_the_middle_of_a_transfer(self, open_rig: Open, seed: int) -> None:
        rig = open_rig()
        _up(rig)
        _stream(rig)
        pid = _card_pid()
        threading.Timer(random.Random(seed).uniform(0, 0.2), os.kill, (pid, signal.SIGKILL)).start()
        self._broken(rig, "served card's process was killed by SIGKILL")
        self._runs_again(open_rig)
        assert _card_pid() != pid

    @pytest.mark.parametrize("seed", range(2))
    def test_pcscd_is_killed_in_the_middle_of_a_transfer(self, open_rig: Open, seed: int) -> None:
        rig = open_rig()
        _up(rig)
        _stream(rig)
        pid = _served().daemon.pid
        assert pid is not None
        threading.Timer(random.Random(seed).uniform(0, 0.2), os.kill, (pid, signal.SIGKILL)).start()
        self._broken(rig, "pcscd was killed by SIGKILL")
        self._runs_again(open_rig)
        assert _served().daemon.pid != pid

    @pytest.mark.parametrize("who", ["card", "pcscd"])
    def test_a_driver_that_hangs_is_left_and_the_rig_put_in_quarantine(
        self, open_rig: Open, monkeypatch: pytest.MonkeyPatch, who: str
    ) -> None:
        monkeypatch.setattr(opening, "SERVED_LIMITS", DriverLimits(power=1.0, transmit=1.0, close=1.0))
        rig = open_rig()
        _up(rig)
        _stream(rig)
        pid = _card_pid() if who == "card" else _served().daemon.pid
        assert pid is not None
        freeze(pid)
        self._broken(rig, r"driver hangs: SCardTransmit of .* has not returned for 1 s")
        with pytest.raises(RigError, match="in quarantine since: driver hangs: SCardTransmit"):
            open_rig()
        limit = time.monotonic() + 5
        while reader_threads.abandoned() and time.monotonic() < limit:
            time.sleep(0.05)
        assert not reader_threads.abandoned(), "with the processes gone the driver call came back"
        quarantine.clear()
        self._runs_again(open_rig)

    def test_another_program_holds_the_card(self, open_rig: Open) -> None:
        rig = open_rig()
        holder = subprocess.Popen(
            (sys.executable, "-c", HOLD), env=dict(os.environ), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        with holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            rig.engine.call(rig.host.start)
            assert _wait(rig, lambda: "device busy" in rig.host.link.last_error)
            assert "end that program" in rig.host.link.last_error
            assert holder.stdin is not None
            holder.stdin.close()
        assert _wait(rig, lambda: len(rig.host.cards) == 1), "and goes on once it is free"

    def test_another_program_resets_the_card(self, open_rig: Open) -> None:
        rig = open_rig()
        _up(rig)
        _stream(rig)
        subprocess.run((sys.executable, "-c", RESET), env=dict(os.environ), check=True, timeout=20)
        self._broken(rig, "another program has reset the card .*; keep other programs off")

    def test_a_reader_that_is_not_there(self, model: RigModel) -> None:
        elsewhere = model.model_copy(update={"reader": model.reader.model_copy(update={"name": "Acme Reader"})})
        with pytest.raises(RigError, match="no reader matches 'Acme Reader'; pcscd lists: 'cardbench 00 00'"):
            build_rig(elsewhere, Given(), ListSink(), 0, True)


HOLD = """
import sys
from smartcard.System import readers
from smartcard.scard import SCARD_SHARE_EXCLUSIVE
connection = readers()[0].createConnection()
connection.connect(mode=SCARD_SHARE_EXCLUSIVE)
print("held", flush=True)
sys.stdin.read()
connection.disconnect()
"""
RESET = """
from smartcard.System import readers
from smartcard.scard import SCARD_RESET_CARD
connection = readers()[0].createConnection()
connection.connect(disposition=SCARD_RESET_CARD)
connection.disconnect()
"""


class TestNothingIsLeftBehind:
    def test_points_leak_no_descriptor_thread_or_process(self, open_rig: Open) -> None:
        open_rig().close()
        before = (_descriptors(), threading.active_count(), _children())
        for _ in range(5):
            rig = open_rig(cards="2")
            _up(rig, 2)
            rig.close()
        assert (_descriptors(), threading.active_count(), _children()) == before

    def test_closing_ends_the_processes_and_clears_the_directory(self, open_rig: Open) -> None:
        open_rig().close()
        directory, pids = _served().daemon.directory, (_served().daemon.pid, _card_pid())
        close_served_reader()
        assert not directory.exists()
        assert all(not Path(f"/proc/{pid}").exists() for pid in pids)

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
    def test_when_the_bench_is_killed_everything_goes_with_it(self, number: int) -> None:
        with begun((sys.executable, "-c", SIT)) as bench:
            assert bench.stdout is not None
            pids = [int(word) for word in bench.stdout.readline().split()]
            assert len(pids) == 2
            bench.send_signal(number)
            bench.wait(60)
        limit = time.monotonic() + 5
        while any(_alive(pid) for pid in pids) and time.monotonic() < limit:
            time.sleep(0.01)
        assert not [pid for pid in pids if _alive(pid)]

    def test_a_stale_directory_is_cleared_away(self, tmp_path: Path) -> None:
        from bench.rig import pcscd

        gone = subprocess.run(("sh", "-c", "echo $$"), capture_output=True, text=True, check=True).stdout.strip()
        stale, alive = tmp_path / f"{pcscd.PREFIX}{gone}-abc", tmp_path / f"{pcscd.PREFIX}{os.getpid()}-abc"
        for directory in (stale, alive):
            directory.mkdir()
            (directory / "pcscd.comm").touch()
        pcscd._clear_stale(tmp_path)
        assert not stale.exists()
        assert alive.exists()

    def test_a_daemon_may_be_started_again_over_a_stale_socket(self) -> None:
        close_served_reader()
        daemon = PrivatePcscd()
        try:
            daemon.start()
            first = daemon.pid
            assert first is not None
            os.kill(first, signal.SIGKILL)
            while daemon.running:
                time.sleep(0.01)
            assert daemon.socket.exists(), "a killed daemon leaves its socket"
            daemon.start()
            assert daemon.pid not in (None, first)
        finally:
            daemon.remove()
        assert not daemon.directory.exists()


SIT = """
import time
from pathlib import Path
from bench.rig.build import build_rig
from bench.rig.loader import load_rig_file
from bench.rig.given import Given
from bench.observe import NullSink
from bench.rig.served_reader import served_reader
build_rig(load_rig_file(Path("rigs/pcsc-vpcd.yaml")).rigs[0], Given(), NullSink(), 0, True)
print(served_reader().daemon.pid, served_reader().cards.pid, flush=True)
time.sleep(60)
"""


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def _children() -> set[int]:
    mine = os.getpid()
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[1]) == mine:
                found.add(int(stat.parent.name))
    return found


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
