"""The serial path against programs of others: pyserial's own client at our RFC 2217 server, and ser2net between our reader and our card."""

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import serial

from bench.readers.serial import SerialOptions
from tests.readers.test_serial import InverseProfile, echoed
from tests.serial_support import FAST, SELECT, card, served_uart, serving, terminal

pytestmark = [pytest.mark.witness, pytest.mark.real]

SER2NET = shutil.which("ser2net") or shutil.which("ser2net", path="/usr/sbin:/sbin")
needs_ser2net = pytest.mark.skipif(SER2NET is None, reason="ser2net (Debian: ser2net) is not installed")
NO_PARITY = SerialOptions(parity="none")
"""Behind ser2net is a pty, which carries none."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


# -- pyserial's client at our server ------------------------------------------------------------------------------------------


@contextmanager
def client(url: str, **settings: object) -> Iterator[serial.SerialBase]:
    """pyserial's port, RTS (and so RST) held, as after opening any port."""
    port = serial.serial_for_url(url, do_not_open=True, timeout=0.5, parity="E", stopbits=2, **settings)
    port.open()
    try:
        yield port
    finally:
        port.close()


def reset(port: serial.SerialBase) -> bytes:
    """By RTS; gives what comes then."""
    port.rts = True
    port.reset_input_buffer()
    port.rts = False
    return bytes(port.read(64))


def test_pyserial_resets_a_card_and_speaks_to_it() -> None:
    with serving("rfc2217", served_uart(card())) as served, client(served.loop.address) as port:
        assert port.read(1) == b""  # RTS is on: the card is in reset
        assert reset(port) == card().atr
        assert (port.cts, port.dsr, port.cd) == (True, True, True)
        port.write(SELECT[:5])
        assert port.read(6) == SELECT[:5] + b"\xa4"
        port.write(SELECT[5:])
        assert port.read(4) == SELECT[5:] + b"\x90\x00"
        assert reset(port) == card().atr


def test_pyserial_changes_the_rate_after_pps() -> None:
    with serving("rfc2217", served_uart(card(ta1=FAST))) as served, client(served.loop.address) as port:
        reset(port)
        request = bytes.fromhex("FF 10 96 79")
        port.write(request)
        assert port.read(8) == request * 2
        port.baudrate = 223_200
        port.write(SELECT[:5])
        assert port.read(6) == SELECT[:5] + b"\xa4"
        port.baudrate = 9600
        port.write(SELECT[5:])
        assert not port.read(64).endswith(b"\x90\x00")


def test_pyserial_sees_the_card_come_and_go_and_takes_its_supply() -> None:
    with serving("rfc2217", served_uart(card())) as served, client(served.loop.address) as port:
        reset(port)
        served.call(served.loop.pull)
        limit = time.monotonic() + 5
        while port.cd and time.monotonic() < limit:
            time.sleep(0.01)
        assert (port.cts, port.dsr, port.cd) == (False, False, False)
        assert reset(port) == b""
        served.call(served.loop.insert)
        while not port.cd and time.monotonic() < limit:
            time.sleep(0.01)
        assert reset(port) == card().atr
        port.dtr = False
        assert reset(port) == b""
        port.dtr = True
        assert port.read(64) == card().atr


@pytest.mark.parametrize("settings", [{"bytesize": 7}, {"bytesize": 5}], ids=str)
def test_pyserial_is_told_what_our_server_cannot_do(settings: dict[str, int]) -> None:
    with (
        serving("rfc2217", served_uart(card())) as served,
        pytest.raises(ValueError, match="rejected"),
        client(served.loop.address, **settings),
    ):
        pass


# -- ser2net between our reader and our card on a pty -------------------------------------------------------------------------


@contextmanager
def ser2net(device: str, directory: Path) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """ser2net that exports ``device``; gives its URL."""
    assert SER2NET is not None
    port = free_port()
    file = directory / "ser2net.yaml"
    file.write_text(
        "connection: &card\n"
        f"    accepter: telnet(rfc2217),tcp(nodelay),127.0.0.1,{port}\n"
        f"    connector: serialdev,{device},9600n81,local\n"
        "    options:\n"
        "      chardelay: false\n",
        encoding="ascii",
    )
    process = subprocess.Popen(
        (SER2NET, "-n", "-d", "-c", str(file), "-P", str(directory / "pid")),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        limit = time.monotonic() + 10
        while time.monotonic() < limit:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None
                time.sleep(0.02)
        # ser2net switches no lines of a pty, and then does not answer that it did
        yield f"rfc2217://127.0.0.1:{port}?ign_set_control", process
    finally:
        process.kill()
        process.wait(10)


@needs_ser2net
@pytest.mark.parametrize("ta1", [0x11, 0x13, 0x18, 0x94, 0x97])
@pytest.mark.parametrize("protocol", [0, 1])
def test_through_ser2net_at_every_kind_of_rate(protocol: int, ta1: int, tmp_path: Path) -> None:
    with (
        serving("pty", served_uart(card(ta1=ta1, protocols=(protocol,)))) as served,
        ser2net(served.loop.address, tmp_path) as (url, _),
        terminal(url, ta1, NO_PARITY) as t,
    ):
        assert t.power_up().error == ""
        assert (t.reader.ta1, t.reader.protocol) == (ta1, protocol)
        for size in (1, 100, 254):
            echoed(t, size)
        assert served.loop.served.settings.baud == round(3_571_200 / t.reader.atr.rate.etu_cycles)  # type: ignore[union-attr]
        assert t.warm_reset().error == ""
        echoed(t, 16)
        assert t.faults == []


@needs_ser2net
def test_the_inverse_convention_through_ser2net(tmp_path: Path) -> None:
    profile = InverseProfile(identity=b"I", ta1=FAST)
    with (
        serving("pty", served_uart(profile)) as served,
        ser2net(served.loop.address, tmp_path) as (url, _),
        terminal(url, FAST, NO_PARITY) as t,
    ):
        assert t.power_up().atr == profile.atr
        echoed(t, 250)


@needs_ser2net
def test_ser2net_that_ends_is_named(tmp_path: Path) -> None:
    with (
        serving("pty", served_uart(card())) as served,
        ser2net(served.loop.address, tmp_path) as (url, process),
        terminal(url, FAST, NO_PARITY) as t,
    ):
        assert t.power_up().error == ""
        process.send_signal(signal.SIGKILL)
        assert t.until(lambda: bool(t.faults), 5)
        assert t.faults[0].startswith("reader gone: ")
        assert "gone" in t.exchange(SELECT).error
        assert t.power_up().error.startswith("reader gone: ")


@needs_ser2net
def test_a_port_without_lines_behind_ser2net_says_what_to_do(tmp_path: Path) -> None:
    with (
        serving("pty", served_uart(card())) as served,
        ser2net(served.loop.address, tmp_path) as (url, _),
        terminal(url.partition("?")[0], FAST, NO_PARITY) as t,
    ):
        assert "?ign_set_control" in t.power_up().error


@needs_ser2net
def test_a_port_that_ser2net_has_given_to_another_is_busy(tmp_path: Path) -> None:
    with (
        serving("pty", served_uart(card())) as served,
        ser2net(served.loop.address, tmp_path) as (url, _),
        terminal(url, FAST, NO_PARITY) as t,
    ):
        assert t.power_up().error == ""
        with terminal(url, FAST, NO_PARITY) as other:
            error = other.power_up().error
        assert error.startswith("device busy: the server of rfc2217://"), error
        assert t.exchange(SELECT).error == ""
