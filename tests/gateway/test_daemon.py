"""``cardbench gateway`` as a process: it starts, says what it does, stops cleanly, and serves again at once after it was killed."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.cli import main
from tests.gateway.daemon import ROOT, Daemon, listening, served_again
from tests.gateway.support import PATIENCE_S, own_address, read_all, read_exactly, wait

SERVES_WITHIN_S = 2.0


@pytest.fixture
def start(tmp_path: Path) -> Iterator[object]:
    started: list[Daemon] = []

    def one(*options: str, address: str | None = None) -> Daemon:
        daemon = Daemon(address or own_address(), tmp_path / f"log-{len(started)}", *options)
        started.append(daemon)
        return daemon

    yield one
    for daemon in started:
        daemon.end()


def test_killed_in_the_middle_of_a_transfer_it_serves_again_at_once(start) -> None:  # type: ignore[no-untyped-def]
    address = own_address()
    first = start("--cards", "2", address=address)
    wait(lambda: first.serving(2))
    first.kill_mid_transfer()
    assert listening(address) == set()
    second = start("--cards", "2", address=address)
    wait(lambda: second.serving(2))
    for card in (1, 2):
        second.echo(card)
    took = served_again(second)
    print(f"served again {took:.3f} s after the first card was powered")
    assert took < SERVES_WITHIN_S
    assert listening(address) == {row["port"] for row in second.directory()} | {7816}
    assert {row["port"] for row in second.directory() if row["card"] == 1 and row["name"] == "echo"} == {7}


def test_a_signal_lets_connections_end_and_leaves_nothing(start) -> None:  # type: ignore[no-untyped-def]
    daemon = start("--cards", "1", "--admin", "0")
    greeting = daemon.said()
    assert f"serving on {daemon.address}: directory at port 7816" in greeting
    wait(lambda: daemon.serving(1))
    admin = int(greeting.split("127.0.0.1:")[1].split("/")[0])
    wait(lambda: fetch(admin, "/readyz") == (200, "ready\n"))
    made = socket.create_connection((daemon.address, 7), PATIENCE_S)
    made.sendall(b"one")
    assert read_exactly(made, 3) == b"one"
    daemon.process.send_signal(signal.SIGTERM)
    wait(lambda: bool(daemon.entries("gateway.drain")))
    assert fetch(admin, "/readyz") == (503, "draining\n")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((daemon.address, 7), PATIENCE_S)
    made.sendall(b"two")
    assert read_exactly(made, 3) == b"two"
    made.shutdown(socket.SHUT_WR)
    assert read_all(made) == b""
    made.close()
    assert daemon.process.wait(PATIENCE_S) == 0
    assert daemon.entries()[-1]["event"] == "gateway.stop"
    assert listening(daemon.address) == set()
    closed = daemon.entries("connection.close")[-1]
    assert (closed["card"], closed["cause"], closed["received_bytes"], closed["sent_bytes"]) == (1, "none", 6, 6)


def test_a_second_signal_waits_for_nobody(start) -> None:  # type: ignore[no-untyped-def]
    daemon = start()
    wait(lambda: daemon.serving(1))
    with socket.create_connection((daemon.address, 19), PATIENCE_S) as made:
        made.recv(100)
        daemon.process.send_signal(signal.SIGINT)
        wait(lambda: bool(daemon.entries("gateway.drain")))
        daemon.process.send_signal(signal.SIGINT)
        began = time.monotonic()
        assert daemon.process.wait(PATIENCE_S) == 0
        assert time.monotonic() - began < 9, "with one signal it would have been 10 s"
        with pytest.raises(ConnectionResetError):
            read_all(made)


def test_a_second_gateway_on_the_same_address_says_so_and_ends_with_3(start) -> None:  # type: ignore[no-untyped-def]
    first = start()
    wait(lambda: first.serving(1))
    second = start(address=first.address)
    assert second.process.wait(PATIENCE_S) == 3
    assert "7816: Address already in use" in second.log.read_text()
    assert first.serving(1)


def test_an_admin_port_that_is_taken_is_named_and_ends_with_3(start) -> None:  # type: ignore[no-untyped-def]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        daemon = start("--admin", str(port))
        assert daemon.process.wait(PATIENCE_S) == 3
    assert f"error: the admin port {port}: " in daemon.log.read_text()
    assert len(daemon.entries("gateway.stop")) == 1
    assert listening(daemon.address) == set()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--listen", "nowhere"], "--listen: expected an address of this machine"),
        (["--cards", "many"], "--cards: expected a whole number"),
        (["--rig-name", "other"], "has no rig named 'other'"),
        (["--policy", "missing.yaml"], "missing.yaml:1:1: a file that cannot be read"),
        (["--ta1", "FF"], "--ta1: TA1=FF: Fi code F is reserved"),
        (["--ta1", "96x"], "--ta1: expected TA1: two hexadecimal digits"),
        (["--mtu", "3"], "--mtu: expected 32 or more, found '3'"),
        (["--profile", "nosuch"], "--profile: no profile named 'nosuch': the software card has reference"),
        (["--apdu", "x"], "--apdu: expected a port from 0 to 65535"),
        (["--directory", "7817"], "port 7817 for both the directory and the APDU channel: give --directory or --apdu"),
    ],
)
def test_wrong_use_ends_with_2_and_says_what_is_wrong(
    options: list[str], told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["cardbench", "gateway", *options])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert told in capsys.readouterr().err


def test_an_address_of_another_machine_is_told_for_what_it_is(start) -> None:  # type: ignore[no-untyped-def]
    daemon = start(address="192.0.2.1")
    assert daemon.process.wait(PATIENCE_S) == 3
    said = daemon.log.read_text()
    assert "192.0.2.1 port 7816: Cannot assign requested address" in said
    assert "another gateway" not in said


def test_a_policy_that_holds_no_connection_at_all_is_refused_with_the_numbers(start, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "policy.yaml"
    file.write_text("limits: {memory: 100 KiB}\n")
    daemon = start("--policy", str(file))
    assert daemon.process.wait(PATIENCE_S) == 2
    assert "memory: 102400 bytes hold no connection at all: one takes 1" in daemon.log.read_text()
    file.write_text("apdu: 9999\ndirectory: 9999\n")
    daemon = start("--policy", str(file))
    assert daemon.process.wait(PATIENCE_S) == 2
    assert "policy.yaml:1:7: port 9999 for both the directory and the APDU channel" in daemon.log.read_text()


def test_an_apdu_port_that_is_taken_is_told_and_had_as_soon_as_it_is_free(start) -> None:  # type: ignore[no-untyped-def]
    address = own_address()
    with socket.create_server((address, 7817)):
        daemon = start(address=address)
        greeting = daemon.said()
        taken = f"no APDU port yet ({address} port 7817: Address already in use)"
        assert taken in greeting or "once a card is there" in greeting
        wait(lambda: bool(daemon.entries("refused")))
        wait(lambda: daemon.serving(1))
        time.sleep(2.5)
        assert len(daemon.entries("refused")) == 1, "told once, however often it is tried"
        assert "apdu" not in {row["name"] for row in daemon.directory()}
    wait(lambda: "apdu" in {row["name"] for row in daemon.directory()})
    with socket.create_connection((address, 7817), PATIENCE_S) as made:
        made.sendall(b"atr\n")
        assert made.recv(2) == b"3B"


def test_two_gateways_of_one_address_by_their_options(start) -> None:  # type: ignore[no-untyped-def]
    address = own_address()
    daemon = start("--apdu", "0", "--directory", "0", address=address)
    directory = int(daemon.said().split("directory at port ")[1].split(",")[0])
    ports: list[int] = []

    def listed() -> bool:
        with socket.create_connection((address, directory), PATIENCE_S) as made:
            words = [line.split() for line in read_all(made).decode().splitlines()]
        ports[:] = [int(row[1]) for row in words if row and row[0] == "apdu"]
        return bool(ports)

    wait(listed)
    (port,) = ports
    with socket.create_connection((address, port), PATIENCE_S) as made:
        made.sendall(b"atr\n")
        assert made.recv(2) == b"3B"
    assert start("--apdu", "off").said().count("APDU") == 0


def test_a_rig_that_is_not_there_is_told_once_and_waited_for(start, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    rig = tmp_path / "rig.yaml"
    reader = "reader: {kind: pcsc, name: No Such Reader}"
    rig.write_text(f"station: s\nrigs:\n  - name: a\n    {reader}\n    cards: [{{profile: reference}}]\n")
    daemon = start("--rig", str(rig), "--admin", "0")
    greeting = daemon.said()
    assert "APDUs at port 7817 once a card is there" in greeting
    assert "; no card: " in greeting
    time.sleep(4)
    told = [each["reason"] for each in daemon.entries("card.missing")]
    assert told
    assert len(set(told)) == len(told) <= 2
    assert daemon.entries("fault") == []
    admin = int(greeting.split("127.0.0.1:")[1].split("/")[0])
    status, why = fetch(admin, "/readyz")
    assert (status, why.startswith("no card: ")) == (503, True)
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(PATIENCE_S) == 0


def fetch(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_a_log_nobody_reads_stops_nothing() -> None:
    reading, writing = os.pipe()
    process = subprocess.Popen(
        (sys.executable, "-m", "bench.cli", "gateway", "--listen", (address := own_address()), "--log", "debug"),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=writing,
    )
    os.close(writing)
    try:
        wait(lambda: 7 in listening(address))
        for _ in range(400):
            with socket.create_connection((address, 7), PATIENCE_S) as made:
                made.sendall(b"x")
                assert made.recv(1) == b"x"
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait(PATIENCE_S)
        os.close(reading)
