"""Real clients at ``cardbench gateway``: curl, socat, iperf3, http.server; the card on software lines, behind pcscd over vpcd, and over libccid."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from bench.rig.pcscd import Driver, missing_parts
from tests.gateway.daemon import ROOT, Daemon, alive, children, listening, served_again
from tests.gateway.support import FORWARDER, PATIENCE_S, own_address, wait
from tests.witness.programs import curl, run, tool, web_server

SERVES_WITHIN_S = 2.0
RIGS = ("software", "pcsc-vpcd", "pcsc-gempc-t0", "pcsc-gempc-t1")
MEBIBYTES = {"pcsc-gempc-t1": 1}
"""There and back; the issue's ten everywhere but over T=1, which shows the same once more."""
PAGES = 100
IPERF_PORT = 5201
UDP_ECHO = 7
APPLICATIONS = """
from bench.card.applications.datagrams import udp_echo
from tests.gateway.support import forwarder

forward = forwarder({port}, "{host}")
"""
POINTS = (
    "[cardbench.applications]\nforwarder = clients_of_the_gateway:forward\nudp-echo = clients_of_the_gateway:udp_echo\n"
)

pytestmark = [pytest.mark.witness, pytest.mark.real]


def missing(rig: str) -> str:
    if rig == "software":
        return ""
    driver = Driver.serial("", "GemPCTwin") if "gempc" in rig else Driver()
    return missing_parts(driver) or ("" if find_spec("smartcard") else "missing pyscard: pip install 'cardbench[pcsc]'")


class Gateways:
    """Gateways on one rig, one after the other, all at one address; the card carries two applications of an installed package beside its own."""

    def __init__(self, rig: str, folder: Path) -> None:
        self.rig = rig
        self.address = own_address()
        self._folder = folder
        package = folder / "clients_of_the_gateway-1.0.dist-info"
        package.mkdir()
        (package / "METADATA").write_text("Metadata-Version: 2.1\nName: clients-of-the-gateway\nVersion: 1.0\n")
        (package / "entry_points.txt").write_text(POINTS)
        text = APPLICATIONS.format(port=IPERF_PORT, host=self.address)
        (folder / "clients_of_the_gateway.py").write_text(text)
        self._began: list[Daemon] = []

    @property
    def daemon(self) -> Daemon:
        return self._began[-1]

    def start(self) -> Daemon:
        options = ["--mtu", "1270"]
        if self.rig != "software":
            options += ["--rig", f"rigs/{self.rig}.yaml"]
        paths = (str(self._folder), str(ROOT), os.environ.get("PYTHONPATH", ""))
        environment = {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
        log = self._folder / f"log-{len(self._began)}"
        self._began.append(Daemon(self.address, log, *options, environment=environment))
        wait(self.serves, 2 * PATIENCE_S)
        return self.daemon

    def serves(self) -> bool:
        names = {row["name"] for row in self.daemon.directory()}
        return self.daemon.serving() and names >= {"forwarder", "udp-echo", "apdu"}

    def end(self) -> None:
        for daemon in self._began:
            daemon.end()


@pytest.fixture(scope="module", params=RIGS)
def gateways(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateways]:
    rig = str(request.param)
    if lacks := missing(rig):
        pytest.skip(lacks)
    made = Gateways(rig, tmp_path_factory.mktemp(rig))
    try:
        made.start()
        yield made
        started = children(made.daemon.process.pid)
        made.daemon.process.send_signal(signal.SIGTERM)
        assert made.daemon.process.wait(PATIENCE_S) == 0
        assert made.daemon.entries("fault") == []
        assert listening(made.address) == set()
        wait(lambda: not any(map(alive, started)))
    finally:
        made.end()


# -- curl ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["--http1.0", "--http1.1"])
def test_curl_gets_a_page(gateways: Gateways, version: str) -> None:
    head, _, body = curl(version, "--include", f"http://{gateways.address}/").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.")
    assert b" 200 " in head.split(b"\r\n")[0]
    assert body.startswith(b"<!doctype html>")


def test_curl_gets_a_hundred_pages_in_a_row_over_one_connection(gateways: Gateways) -> None:
    names = [word for _ in range(PAGES) for word in ("--output", os.devnull, f"http://{gateways.address}/")]
    began = time.monotonic()
    rows = curl("--write-out", "%{http_code} %{num_connects}\n", *names).split()
    print(f"{gateways.rig}: {PAGES / (time.monotonic() - began):.1f} pages/s")
    assert rows[::2] == [b"200"] * PAGES
    assert sum(map(int, rows[1::2])) == 1


def test_a_card_fetches_from_pythons_http_server_and_serves_it_on(gateways: Gateways, tmp_path: Path) -> None:
    page = os.urandom(30_000)
    (tmp_path / "page.bin").write_bytes(page)

    fetch = f"http://{gateways.address}:8008"
    with web_server(tmp_path) as far:
        assert curl(f"{fetch}/{far}/page.bin") == page
    refused = curl(f"{fetch}/http://192.0.2.1/", "--include")
    assert b" 403 " in refused.split(b"\r\n")[0]


# -- socat ---------------------------------------------------------------------------------------------------------------------


def test_socat_moves_bulk_there_and_back_intact(gateways: Gateways) -> None:
    data = os.urandom(MEBIBYTES.get(gateways.rig, 10) << 20)
    began = time.monotonic()
    back = run(tool("socat"), "-t", "120", "-", f"TCP:{gateways.address}:7", data=data)
    print(f"{gateways.rig}: {len(data) / (time.monotonic() - began) / 1024:.0f} KiB/s each way")
    assert hashlib.sha256(back).digest() == hashlib.sha256(data).digest()


def test_socat_speaks_udp(gateways: Gateways) -> None:
    port = gateways.daemon.port("udp-echo")
    answer = run(tool("socat"), "-t", "3", "-", f"UDP:{gateways.address}:{port}", data=b"datagram")
    assert answer == b"datagram"


def test_socat_reads_the_directory_and_it_lists_what_listens(gateways: Gateways) -> None:
    lines = run(tool("socat"), "-u", f"TCP:{gateways.address}:7816", "-").decode().splitlines()
    rows = gateways.daemon.directory()
    assert [" ".join(map(str, row.values())) for row in rows] == lines
    assert "echo 7 tcp 1 listening" in lines
    listed = {int(str(row["port"])) for row in rows if row["protocol"] == "tcp"}
    assert listening(gateways.address) == listed | {7816}
    with socket.create_server((gateways.address, IPERF_PORT)) as far:
        far.settimeout(PATIENCE_S)
        for port in listed:
            with socket.create_connection((gateways.address, port), PATIENCE_S):
                if port == FORWARDER:  # its call is answered here: iperf3's server would take it for its client
                    far.accept()[0].close()


def test_socat_speaks_apdus_while_a_channel_is_busy(gateways: Gateways) -> None:
    with gateways.daemon.dial("chargen") as busy:
        assert busy.recv(1)
        order = b"00A4000C023F00\natr\n"
        answers = run(tool("socat"), "-t", "60", "-", f"TCP:{gateways.address}:7817", data=order).split()
    assert answers[0] == b"9000"
    assert answers[1].startswith(b"3B")


# -- iperf3 --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["forward", "reverse"])
def test_iperf3_moves_bulk_through_the_card(gateways: Gateways, way: str, tmp_path: Path) -> None:
    """iperf3's client, the gateway, the card, the gateway, iperf3's server; or the other way. It compares no contents (socat's hashes do)."""
    mebibytes = MEBIBYTES.get(gateways.rig, 10)
    told = tmp_path / "server.json"
    server = subprocess.Popen(
        (tool("iperf3"), "--server", "--one-off", "--json", "--bind", gateways.address, "--port", str(IPERF_PORT)),
        stdin=subprocess.DEVNULL, stdout=told.open("wb"), stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait(lambda: server.poll() is not None or IPERF_PORT in listening(gateways.address))
        out = run(
            "iperf3", "--client", gateways.address, "--port", str(FORWARDER), "--json",
            "--bytes", f"{mebibytes + 1}M", "--window", "64K", "--length", "16K",
            *(["--reverse"] if way == "reverse" else []),
        )  # fmt: skip
        assert server.wait(PATIENCE_S) == 0
        said, heard = out.decode(), told.read_text()
        assert "error" not in said + heard, f"{said}\n{heard}\n{gateways.daemon.log.read_text()[-4000:]}"
        end = json.loads(said if way == "reverse" else heard)["end"]["sum_received"]
        print(f"{gateways.rig} {way}: {end['bytes']} bytes, {end['bits_per_second'] / 8192:.0f} KiB/s")
        assert end["bytes"] >= mebibytes << 20, "what the other end has received, not what was handed to a socket"
    finally:
        server.kill()
        server.wait(PATIENCE_S)


# -- killed --------------------------------------------------------------------------------------------------------------------


def test_killed_in_the_middle_of_a_transfer_it_serves_again_at_once(gateways: Gateways) -> None:
    took = []
    while len(took) < 3 and (not took or took[-1] >= SERVES_WITHIN_S):  # a busy machine may be busy just then
        started = children(gateways.daemon.process.pid)
        assert bool(started) is (gateways.rig != "software")
        gateways.daemon.kill_mid_transfer()
        assert listening(gateways.address) == set()
        wait(lambda started=started: not any(map(alive, started)))  # type: ignore[misc]
        second = gateways.start()
        second.echo()
        took.append(served_again(second))
        assert listening(gateways.address) == {r["port"] for r in second.directory() if r["protocol"] == "tcp"} | {7816}
        assert second.port("echo") == 7
    print(f"{gateways.rig}: served again {took[-1]:.3f} s after the card was powered")
    assert took[-1] < SERVES_WITHIN_S
