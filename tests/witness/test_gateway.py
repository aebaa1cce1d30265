"""Real clients at the gateway: curl, socat and iperf3 talk to cards, on software lines and behind pcscd; a card fetches from Python's http.server."""

import contextlib
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from bench.rig.pcscd import missing_parts
from tests.gateway.support import FORWARDER, Gate, forwarder, gateway, own_address, read_all, udp_echo, wait
from tests.witness.programs import curl, run, tool, web_server

ROOT = Path(__file__).resolve().parents[2]
MEBIBYTES = 10

pytestmark = [pytest.mark.witness, pytest.mark.real]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as made:
        return int(made.getsockname()[1])


IPERF_PORT = free_port()


@pytest.fixture(scope="module")
def gate() -> Iterator[Gate]:
    policy: dict[str, object] = {"times": {"udp_idle": "2 s"}}  # a peer of a UDP service counts until then
    with gateway(("forwarder", forwarder(IPERF_PORT)), ("udp-echo", udp_echo), mtu="1270", policy=policy) as made:
        yield made
        made.idle()


# -- curl ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["--http1.0", "--http1.1"])
def test_curl_gets_a_page_of_the_card(gate: Gate, version: str) -> None:
    page = curl(f"http://{gate.address}/", version, "--include")
    head, _, body = page.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.")
    assert b" 200 " in head.split(b"\r\n")[0]
    assert body.startswith(b"<!doctype html>")


def test_curl_gets_a_hundred_pages_in_a_row_over_one_connection(gate: Gate) -> None:
    url = f"http://{gate.address}/"
    names = [option for _ in range(100) for option in ("--output", "/dev/null", url)]
    out = run(
        tool("curl"),
        "--silent",
        "--show-error",
        "--noproxy",
        "*",
        "--write-out",
        "%{http_code} %{num_connects}\n",
        *names,
    )
    rows = [line.split() for line in out.decode().splitlines()]
    assert [row[0] for row in rows] == ["200"] * 100
    assert sum(int(row[1]) for row in rows) == 1


def test_a_card_fetches_from_pythons_http_server_and_serves_it_on(gate: Gate, tmp_path: Path) -> None:
    page = os.urandom(30_000)
    (tmp_path / "page.bin").write_bytes(page)

    with web_server(tmp_path) as far:
        assert curl(f"http://{gate.address}:{gate.port('fetch')}/{far}/page.bin") == page
    refused = curl(f"http://{gate.address}:{gate.port('fetch')}/http://192.0.2.1/", "--include")
    assert b" 403 " in refused.split(b"\r\n")[0]


# -- socat ---------------------------------------------------------------------------------------------------------------------


def test_socat_moves_10_mib_there_and_back_intact(gate: Gate) -> None:
    data = os.urandom(MEBIBYTES << 20)
    began = time.monotonic()
    back = run(tool("socat"), "-t", "60", "-", f"TCP:{gate.address}:{gate.port('echo')}", data=data)
    print(f"{MEBIBYTES / (time.monotonic() - began):.2f} MiB/s each way")
    assert hashlib.sha256(back).digest() == hashlib.sha256(data).digest()


def test_socat_speaks_udp(gate: Gate) -> None:
    answer = run(tool("socat"), "-t", "1", "-", f"UDP:{gate.address}:{gate.port('udp-echo')}", data=b"datagram")
    assert answer == b"datagram"


def test_socat_reads_the_directory_and_speaks_apdus(gate: Gate) -> None:
    lines = run(tool("socat"), "-u", f"TCP:{gate.address}:7816", "-").decode().splitlines()
    assert "echo 7 tcp 1 listening" in lines
    answers = run(tool("socat"), "-t", "5", "-", f"TCP:{gate.address}:7817", data=b"00A4000C023F00\natr\n").split()
    assert answers[0] == b"9000"
    assert answers[1].startswith(b"3B")


# -- iperf3 --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [(), ("--reverse",)], ids=["to-the-server", "from-the-server"])
def test_iperf3_moves_10_mib_through_the_card(gate: Gate, way: tuple[str, ...]) -> None:
    server = subprocess.Popen(
        (tool("iperf3"), "--server", "--one-off", "--bind", "127.0.0.1", "--port", str(IPERF_PORT)),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait(lambda: b":%04X " % IPERF_PORT in Path("/proc/net/tcp").read_bytes())
        out = run(
            "iperf3", "--client", gate.address, "--port", str(FORWARDER), "--bytes", f"{MEBIBYTES}M", "--json",
            "--length", "16K", *way,
        )  # fmt: skip
        end = json.loads(out)["end"]
        received = end["sum_received"]["bytes"]
        print(f"{' '.join(way) or 'forward'}: {end['sum_received']['bits_per_second'] / 8 / (1 << 20):.2f} MiB/s")
        assert received >= (MEBIBYTES << 20) if way else end["sum_sent"]["bytes"] >= MEBIBYTES << 20
        assert server.wait(30) == 0
    finally:
        server.kill()
        server.wait(10)


# -- behind pcscd --------------------------------------------------------------------------------------------------------------

MISSING = missing_parts() or ("" if find_spec("smartcard") else "missing pyscard: pip install 'cardbench[pcsc]'")


@pytest.mark.skipif(bool(MISSING), reason=MISSING or "nothing is missing")
@pytest.mark.parametrize("rig", ["pcsc-vpcd", "pcsc-gempc-t0"])
def test_the_same_card_behind_pcscd(rig: str) -> None:
    address = own_address()
    command = (
        sys.executable,
        "-m",
        "bench.cli",
        "gateway",
        "--rig",
        f"rigs/{rig}.yaml",
        "--listen",
        address,
        "--mtu",
        "1280",
    )
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )

    def serves() -> bool:
        assert process.poll() is None, f"the gateway has ended with status {process.returncode}"
        with contextlib.suppress(OSError), socket.create_connection((address, 7816), 5) as made:
            made.sendall(b"\n")
            names = {line.split()[0] for line in read_all(made).splitlines() if line}
            return {b"echo", b"web", b"apdu"} <= names
        return False

    try:
        wait(serves, 60)
        assert b"<!doctype html>" in curl(f"http://{address}/")
        data = os.urandom(100_000)
        back = run(tool("socat"), "-t", "30", "-", f"TCP:{address}:7", data=data)
        assert hashlib.sha256(back).digest() == hashlib.sha256(data).digest()
        answers = run(tool("socat"), "-t", "5", "-", f"TCP:{address}:7817", data=b"00A4000C023F00\n")
        assert answers.strip() == b"9000"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait(10)
