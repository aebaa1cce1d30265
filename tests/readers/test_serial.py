"""The serial reader against the served card, over RFC 2217 and over a pty."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from serial.tools import list_ports
from serial.tools.list_ports_common import ListPortInfo

from bench.card.contacts import Contacts
from bench.card.profile import CardProfile
from bench.engine import VirtualEngine
from bench.hop.link import PollPlan
from bench.host.peers import InProcessUplink
from bench.host.platform import Host, HostSettings
from bench.iso7816.atr import SpecificMode, parse_atr
from bench.iso7816.port import ExchangeLevel
from bench.observe import NullSink
from bench.readers.contract import RateControl, StampedAt
from bench.readers.serial import SerialOptions
from bench.readers.serial_adapter import PortSettings, SerialPort, attached, unmark
from bench.readers.serial_errors import SerialPortError, SerialTrouble
from bench.readers.threads import abandoned
from bench.serve.uart import Pacing
from tests.serial_support import CLOCK_HZ, ECHO, FAST, SELECT, Terminal, card, served_uart, serving, terminal

pytestmark = pytest.mark.real

WAYS = ("rfc2217", "pty")
SWEEP = (0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x94, 0x95, 0x96, 0x97)
DETECTED = SerialOptions(detect="dcd")


def echoed(t: Terminal, size: int) -> None:
    """ECHO of so many bytes comes back, in the way of the protocol in use."""
    data = bytes(index * 7 & 0xFF for index in range(size))
    command = ECHO + bytes((size,)) + data
    if t.reader.protocol == 1:
        assert t.exchange(command + b"\0").response == data + b"\x90\x00"
        return
    assert t.exchange(command).response == bytes((0x61, size))
    assert t.exchange(bytes((0, 0xC0, 0, 0, size))).response == data + b"\x90\x00"


@pytest.mark.parametrize("protocol", [0, 1])
@pytest.mark.parametrize("way", WAYS)
def test_every_rate_of_the_sweep(way: str, protocol: int) -> None:
    def fresh(ta1: int) -> object:
        return served_uart(card(ta1=ta1, protocols=(protocol,)))

    with serving(way, served_uart(card())) as served, terminal(served.loop.address) as t:
        for ta1 in SWEEP:
            served.call(lambda ta1=ta1: served.loop.replace(fresh(ta1)))  # type: ignore[misc]
            t.ask(ta1=ta1)
            assert t.power_up().error == ""
            assert (t.reader.ta1, t.reader.protocol) == (ta1, protocol)
            echoed(t, 1)
            echoed(t, 254)
            baud = served.loop.served.settings.baud
            assert baud == round(CLOCK_HZ / t.reader.atr.rate.etu_cycles)  # type: ignore[union-attr]
        assert t.faults == []


@pytest.mark.parametrize("way", WAYS)
def test_what_it_says_of_itself(way: str) -> None:
    with serving(way, served_uart(card())) as served, terminal(served.loop.address) as t:
        said = t.reader.abilities
        assert (said.level, said.rate, said.protocols) == (ExchangeLevel.CHARACTER, RateControl.SELECTABLE, (0, 1))
        assert (said.stamped, said.clocks_hz, said.removal) == (StampedAt.UART, (CLOCK_HZ,), False)
        assert said.resolution_ns >= 1_000_000


@pytest.mark.parametrize("way", WAYS)
def test_times_are_of_the_wall_and_in_order(way: str) -> None:
    with serving(way, served_uart(card())) as served, terminal(served.loop.address, FAST) as t:
        assert t.power_up().error == ""
        before = t.engine.now
        end = before
        for _ in range(50):
            answer = t.exchange(SELECT)
            assert answer.start >= end
            assert answer.end > answer.start
            assert answer.card_ticks >= 0
            end = answer.end
        grace = t.engine.timebase.nanoseconds(t.reader.time_resolution_ns)
        assert end <= t.engine.now + grace


def test_a_paced_line_takes_its_time() -> None:
    with (
        serving("rfc2217", served_uart(card(ta1=0x11), pacing=Pacing.LINE)) as served,
        terminal(served.loop.address) as t,
    ):
        assert t.power_up().error == ""
        answer = t.exchange(ECHO + b"\x40" + bytes(64))
        seconds = (answer.end - answer.start) / t.engine.timebase.hz
        least = (5 + 1 + 64 + 2 - 1) * 12 / 9600
        assert least < seconds < least + 1
        assert answer.response == b"\x61\x40"


@dataclass(frozen=True, slots=True)
class InverseProfile(CardProfile):
    """A card of the inverse convention."""

    def _atr(self, specific: SpecificMode | None) -> bytes:
        return b"\x3f" + CardProfile._atr(self, specific)[1:]


@pytest.mark.parametrize("protocol", [0, 1])
@pytest.mark.parametrize("way", WAYS)
def test_a_card_of_the_inverse_convention(way: str, protocol: int) -> None:
    profile = InverseProfile(identity=b"I", ta1=FAST, protocols=(protocol,))
    with serving(way, served_uart(profile)) as served, terminal(served.loop.address, FAST) as t:
        assert t.power_up().atr == profile.atr
        assert profile.atr[0] == 0x3F
        echoed(t, 200)
        assert t.warm_reset().atr == profile.atr
        echoed(t, 3)
        if way == "rfc2217":
            parity = served.loop.served.settings.parity
            assert parity == "O"


@pytest.mark.parametrize(("protocol", "extra"), [(0, 0), (0, 3), (0, 255), (1, 0), (1, 3), (1, 255)])
def test_extra_guard_time(protocol: int, extra: int) -> None:
    profile = card(protocols=(protocol,), extra_guard_time=extra)
    with serving("rfc2217", served_uart(profile)) as served, terminal(served.loop.address, FAST) as t:
        assert t.power_up().error == ""
        begun = time.monotonic()
        echoed(t, 20)
        assert served.loop.served.settings.stop_bits == (1 if (protocol, extra) == (1, 255) else 2)
        if extra == 3:  # each character is handed over by itself
            assert time.monotonic() - begun >= 20 * 15 / 223_200


def test_a_cold_reset_takes_the_supply_away_and_a_warm_one_does_not() -> None:
    profile = card(specific=SpecificMode(0, can_change=True))
    with serving("rfc2217", served_uart(profile)) as served, terminal(served.loop.address) as t:
        for _ in range(2):
            assert t.power_up().atr == profile.atr
            assert t.warm_reset().atr == profile.traits.warm_atr
        assert parse_atr(profile.atr).specific_mode is not None
        assert parse_atr(profile.traits.warm_atr).specific_mode is None


def test_rst_on_dtr_and_the_other_way_round() -> None:
    from bench.serve.rfc2217_loop import Rfc2217Loop
    from tests.serial_support import Serving

    loop = Rfc2217Loop(served_uart(card()), reset="dtr", reset_on=False)
    served = Serving(loop)
    try:
        with terminal(loop.address, FAST, SerialOptions(reset="dtr", reset_inverted=True)) as t:
            assert t.power_up().atr == card().atr
            echoed(t, 5)
        with terminal(loop.address, FAST) as t:
            assert t.power_up().error == "mute"
    finally:
        served.stop()


@pytest.mark.parametrize("echo", [True, False])
@pytest.mark.parametrize("option", [True, False, None])
def test_echo_as_wired_and_as_said(option: bool | None, echo: bool) -> None:
    uart = served_uart(card(ta1=0x11))
    uart.echo = echo
    options = SerialOptions(echo=option, patience_ns=200_000_000)
    with serving("pty", uart) as served, terminal(served.loop.address, None, options) as t:
        assert t.power_up().error == ""  # nothing is sent
        answer = t.exchange(SELECT)
        if option is None or option == echo:
            assert (answer.response, answer.error) == (b"\x90\x00", "")
            assert (answer.start, answer.card_ticks >= 0) == (answer.start, True)
            assert t.exchange(SELECT).response == b"\x90\x00"
            assert t.faults == []
        elif option:
            assert "Phoenix" in answer.error
            assert t.faults == [answer.error]
        else:
            assert answer.error.startswith("protocol: procedure byte")


@pytest.mark.parametrize("echo", [True, False])
def test_echo_is_found_out_by_the_pps_request_too(echo: bool) -> None:
    uart = served_uart(card())
    uart.echo = echo
    with serving("pty", uart) as served, terminal(served.loop.address, FAST, SerialOptions(echo=None)) as t:
        assert t.power_up().error == ""
        assert t.reader.ta1 == FAST
        echoed(t, 30)


def test_a_wrong_rate_gives_garbage_as_on_a_wire() -> None:
    with serving("rfc2217", served_uart(card())) as served:
        heard = {}
        for baud in (9600, 9700, 10_753, 19_200):
            port = SerialPort(served.loop.address, PortSettings(baud), rts=True, dtr=True)
            try:
                port.discard()
                port.lines(rts=False, dtr=True)
                heard[baud] = b"".join(port.read().data for _ in range(4))
            finally:
                port.close()
        atr = card().atr
        assert heard[9600] == heard[9700] == atr
        assert heard[10_753] != atr != heard[19_200]
        assert heard[10_753]
        with terminal(served.loop.address, clock_hz=4_000_000) as t:
            result = t.power_up()
            assert result.atr == b""
            assert "bad ATR" in result.error
            assert "4000000 Hz" in result.error


def test_the_wrong_parity_is_heard_as_damaged() -> None:
    with serving("rfc2217", served_uart(card(ta1=0x11))) as served:
        options = SerialOptions(parity="none", patience_ns=200_000_000)
        with terminal(served.loop.address, None, options) as t:
            assert t.power_up().error == ""
            answer = t.exchange(SELECT)  # the card refuses what has wrong parity, and waits for it to come again
            assert answer.error == "mute"


@pytest.mark.parametrize("protocol", [0, 1])
def test_a_pulled_card(protocol: int) -> None:
    with (
        serving("rfc2217", served_uart(card(protocols=(protocol,)))) as served,
        terminal(served.loop.address, FAST, DETECTED) as t,
    ):
        assert t.reader.abilities.removal
        assert t.power_up().error == ""
        echoed(t, 10)
        served.call(served.loop.pull)
        assert t.until(lambda: t.moves == [False])
        assert t.exchange(SELECT).error == "absent"
        assert t.power_up().error == "absent"
        served.call(served.loop.insert)
        assert t.until(lambda: t.moves == [False, True])
        assert t.power_up().error == ""
        echoed(t, 10)
        assert t.faults == []


def test_a_card_pulled_in_the_middle_of_an_exchange() -> None:
    with (
        serving("rfc2217", served_uart(card(ta1=0x11), pacing=Pacing.LINE)) as served,
        terminal(served.loop.address, None, DETECTED) as t,
    ):
        assert t.power_up().error == ""
        answers: list[object] = []
        t.engine.call(lambda: t.reader.submit(ECHO + b"\xfe" + bytes(254), answers.append))
        time.sleep(0.1)
        assert answers == []
        served.call(served.loop.pull)
        assert t.until(lambda: bool(answers), 2)
        assert answers[0].error == "absent"  # type: ignore[attr-defined]


@contextmanager
def served_process(*options: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """``cardbench card`` as a process; gives the address it prints."""
    process = subprocess.Popen(
        (sys.executable, "-m", "bench.cli", "card", *options),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).parents[2],
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        yield line.split(" at ", 1)[1].split(",")[0], process
    finally:
        process.kill()
        process.wait(10)
        assert process.stdout is not None
        process.stdout.close()


def free_port() -> str:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        return str(server.getsockname()[1])


@pytest.mark.parametrize("way", WAYS)
def test_a_server_killed_in_the_middle_of_an_exchange(way: str, tmp_path: Path) -> None:
    port = free_port()
    link = str(tmp_path / "reader")
    options = ("--serve", "rfc2217", "--port", port) if way == "rfc2217" else ("--serve", "tty", "--device", link)
    with (
        served_process(*options, "--paced") as (address, process),
        terminal(address if way == "rfc2217" else link) as t,
    ):
        assert t.power_up().error == ""
        answers: list[object] = []
        t.engine.call(lambda: t.reader.submit(ECHO + b"\xfe" + bytes(254), answers.append))
        time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
        assert t.until(lambda: bool(answers), 5)
        assert "gone" in answers[0].error  # type: ignore[attr-defined]
        assert any("run again" in fault for fault in t.faults)
        assert t.power_up().error.startswith("reader gone: ")
        with served_process(*options):
            assert t.power_up().error == ""
            echoed(t, 4)
    assert abandoned() == ()


@pytest.mark.parametrize("way", WAYS)
def test_three_cards_in_a_row(way: str) -> None:
    profiles = [card(ta1=0x97) for _ in range(3)]
    with serving(way, served_uart(*profiles, ta1=0x97)) as served, terminal(served.loop.address, 0x97) as t:
        engine = t.engine
        uplink = InProcessUplink()
        poll = PollPlan(engine.timebase.nanoseconds(2_000_000), engine.timebase.nanoseconds(10_000_000))
        host = engine.call(lambda: Host(engine, t.reader, uplink, HostSettings(64, poll), NullSink()))
        engine.call(host.start)
        assert t.until(lambda: len(host.cards) == 3, 20), t.faults
        assert t.until(lambda: any((s.name, s.card) == ("echo", 3) for s in host.gateway.services()), 20)
        (port,) = (s.port for s in host.gateway.services() if (s.name, s.card) == ("echo", 3))
        socket = engine.call(lambda: uplink.dial(port))
        data = bytes(range(256)) * 4
        engine.call(lambda: socket.write(data))
        assert t.until(lambda: len(socket.received) >= len(data), 30)
        assert bytes(socket.received) == data
        engine.call(host.stop)
        assert t.faults == []


def refusals() -> list[tuple[str, Callable[[Path], str], SerialTrouble, str]]:
    return [
        ("missing", lambda path: str(path / "ttyUSB9"), SerialTrouble.MISSING, "plug the adapter in"),
        ("no-tty", lambda _: "/dev/null", SerialTrouble.OTHER, "/dev/null"),
        ("nobody", lambda _: f"rfc2217://127.0.0.1:{free_port()}", SerialTrouble.SERVER, "start the server"),
        ("no-scheme", lambda _: "nonsense://here", SerialTrouble.MISSING, "nonsense"),
        ("no-match", lambda _: "hwgrep://no-such-adapter", SerialTrouble.MISSING, "no-such-adapter"),
    ]


@pytest.mark.parametrize(("make", "trouble", "text"), [each[1:] for each in refusals()], ids=[r[0] for r in refusals()])
def test_a_port_that_cannot_be_opened_is_named(
    make: Callable[[Path], str], trouble: SerialTrouble, text: str, tmp_path: Path
) -> None:
    url = make(tmp_path)
    with pytest.raises(SerialPortError, match=text) as caught:
        SerialPort(url, PortSettings(9600))
    assert caught.value.trouble is trouble
    with terminal(url) as t:
        result = t.power_up()
        assert text in result.error
        assert t.faults == [result.error]


def test_a_port_of_another_program_is_busy() -> None:
    with serving("pty", served_uart(card())) as served:
        first = SerialPort(served.loop.address, PortSettings(9600, "N"))
        try:
            with terminal(served.loop.address) as t:
                assert t.power_up().error.startswith("device busy: ")
        finally:
            first.close()
        with terminal(served.loop.address) as t:
            assert t.power_up().error == ""


def test_permission_denied_is_named() -> None:
    """As another user where we are root, who may open everything."""
    with serving("pty", served_uart(card())) as served:
        path = served.loop.address
        os.chmod(path, 0)
        program = (
            "import os\n"
            "from bench.readers.serial_adapter import PortSettings, SerialPort\n"
            "from bench.readers.serial_errors import SerialPortError\n"
            "if os.geteuid() == 0: os.setgid(65534); os.setuid(65534)\n"
            f"try: SerialPort({path!r}, PortSettings(9600))\n"
            "except SerialPortError as error: print(error)\n"
        )
        root = str(Path(__file__).parents[2])
        done = subprocess.run(
            (sys.executable, "-c", program), env={**os.environ, "PYTHONPATH": root}, capture_output=True, text=True
        )
        assert done.stdout.startswith("permission denied: "), done.stderr
        assert "dialout" in done.stdout


def test_a_client_while_another_is_there_is_sent_away() -> None:
    with serving("rfc2217", served_uart(card())) as served, terminal(served.loop.address) as t:
        assert t.power_up().error == ""
        with terminal(served.loop.address) as other:
            assert re.match(
                "device busy: the server of rfc2217://.* hangs up at once, saying 'Port already in use': .*; end the program",
                other.power_up().error,
            )
        assert t.exchange(SELECT).response == b"\x90\x00"


@pytest.mark.parametrize("words", [b"", b"login: "], ids=["silent", "no-telnet"])
def test_a_server_that_takes_the_connection_and_does_not_answer_is_named(words: bytes) -> None:
    """A frozen one: the system takes connections for it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        peers: list[socket.socket] = []

        def greet() -> None:
            peer, _ = server.accept()
            peer.sendall(words)
            peers.append(peer)

        greeter = threading.Thread(target=greet, daemon=True)
        if words:
            greeter.start()
        with terminal(f"rfc2217://127.0.0.1:{server.getsockname()[1]}") as t:
            error = t.power_up().error
        assert re.match(
            r"driver hangs: the server of .* takes the connection and does not answer.*; restart the server", error
        )
        for peer in peers:
            peer.close()


def test_a_server_that_hangs_up_without_a_word_is_most_likely_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=lambda: server.accept()[0].close(), daemon=True).start()
        with terminal(f"rfc2217://127.0.0.1:{server.getsockname()[1]}") as t:
            assert re.match("device busy: the server of .* hangs up at once: most likely", t.power_up().error)


def test_a_port_named_by_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """hwgrep://: pyserial looks among the ports that are attached; here it is shown one more."""
    with serving("pty", served_uart(card())) as served:
        found = ListPortInfo(served.loop.address)
        found.description, found.hwid = "Smart Mouse", "USB VID:PID=0403:6001 SER=LAB7"
        monkeypatch.setattr(list_ports, "comports", lambda *_: [found])
        with terminal("hwgrep://SER=LAB7", FAST, SerialOptions(parity="none")) as t:
            assert t.power_up().error == ""
            assert t.exchange(SELECT).response == b"\x90\x00"
        with terminal("hwgrep://SER=LAB8", FAST, SerialOptions(parity="none")) as t:
            assert re.match("reader gone: no port 'hwgrep://SER=LAB8': .*; plug the adapter in", t.power_up().error)


def test_ports_are_listed() -> None:
    for port in attached():
        assert port.device.startswith("/dev/")
        assert port.by_id == "" or os.path.realpath(port.by_id) == os.path.realpath(port.device)


def test_marks_of_wrong_parity() -> None:
    assert unmark(b"ab\xff\xffc\xff\x00d") == (b"ab\xffcd", frozenset({4}), b"")
    assert unmark(b"a\xff") == (b"a", frozenset(), b"\xff")
    assert unmark(b"a\xff\x00") == (b"a", frozenset(), b"\xff\x00")
    assert unmark(b"\xff\x41") == (b"\xff\x41", frozenset(), b"")


def test_any_port_of_pyserial_will_do() -> None:
    """loop:// is pyserial's own: what is sent comes back, and nobody is there."""
    with terminal("loop://", None, SerialOptions(patience_ns=100_000_000)) as t:
        assert t.power_up().error == "mute"
        assert t.faults == []


def test_a_mute_card_is_told_within_its_time() -> None:
    def mute(engine: VirtualEngine) -> Contacts:
        profile = card()
        contacts = Contacts(engine, profile.atr, 1000, None, lambda _: None, profile.traits)  # type: ignore[arg-type]
        contacts.power_up = lambda *_: None  # type: ignore[method-assign, assignment]
        return contacts

    with serving("rfc2217", served_uart(end=mute)) as served, terminal(served.loop.address) as t:
        begun = time.monotonic()
        assert t.power_up().error == "mute"
        assert time.monotonic() - begun < 5


@pytest.mark.parametrize(("offered", "asked"), [((0,), 1), ((1,), 0)])
def test_a_protocol_the_card_does_not_offer_is_not_proposed(offered: tuple[int, ...], asked: int) -> None:
    """ISO/IEC 7816-3, 9.2; and nobody's failure: a point that needs it does not apply."""
    with serving("pty", served_uart(card(protocols=offered))) as served, terminal(served.loop.address) as t:
        t.ask(protocol=asked)
        assert t.power_up().error == f"protocol mismatch: T={asked} is asked for, the card offers T={offered[0]}"
        assert t.faults == []
        t.ask()
        assert t.power_up().error == ""
