"""``cardbench card --serve usbredir`` and ``usbip``: wrong use and a machine without the means end in words."""

from __future__ import annotations

import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.commands.card import card_command
from bench.serve.usbip_loop import CONTROLLER


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(card_command, words, catch_exceptions=False)
    return result.exit_code, result.output


def test_usbredir_wants_a_socket() -> None:
    status, said = run("--serve", "usbredir")
    assert status == 2
    assert "--serve usbredir wants --socket PATH" in said


def test_a_place_where_nothing_can_listen(tmp_path: Path) -> None:
    status, said = run("--serve", "usbredir", "--socket", str(tmp_path / "no" / "such" / "place"))
    assert status == 3
    assert "nothing can listen at" in said
    assert "name a path where nothing is" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "--serve eem wants --socket PATH"),
        (("--socket", "x", "--cards", "2"), "offers one card"),
        (("--socket", "x", "--paced"), "no line of ISO/IEC 7816-3"),
    ],
)
def test_what_an_interface_cannot_be(words: tuple[str, ...], said: str) -> None:
    status, printed = run("--serve", "eem", *words)
    assert status == 2
    assert said in printed


def test_an_interface_at_a_place_where_nothing_can_listen(tmp_path: Path) -> None:
    status, said = run("--serve", "eem", "--socket", str(tmp_path / "no" / "such" / "place"))
    assert status == 3
    assert "nothing can listen at" in said


def test_a_card_is_a_network_interface_until_it_is_interrupted(tmp_path: Path) -> None:
    """The device that a usbredir host is told of: class and subclass of CDC-EEM in its one interface (CDC 1.2, table 4)."""
    path = tmp_path / "card"
    words = [sys.executable, "-m", "bench.cli", "card", "--serve", "eem", "--socket", str(path)]
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert "10.78.64.2 and fd78:40::2" in process.stdout.readline()
            with socket.socket(socket.AF_UNIX) as host:
                host.settimeout(60)
                host.connect(str(path))
                host.sendall(struct.pack("<III64sI", 0, 68, 0, b"test", 0))
                heard = b""
                while len(heard) < 4096 and bytes((1, 0x02, 0x0C, 0x07)) not in _interfaces(heard):
                    piece = host.recv(4096)
                    assert piece, "hung up"
                    heard += piece
        finally:
            process.send_signal(signal.SIGINT)
            status = process.wait(60)
    assert status == 0
    assert not path.exists()


def _interfaces(heard: bytes) -> list[bytes]:
    """Count, class, subclass and protocol of each interface packet (type 4: a count and three arrays of 32, after one of numbers)."""
    found = []
    while len(heard) >= 12:
        kind, length, _ = struct.unpack_from("<III", heard)
        body, heard = heard[12 : 12 + length], heard[12 + length :]
        if kind == 4 and len(body) == 132:
            found.append(bytes((body[0], body[36], body[68], body[100])))
    return found


def test_a_level_nobody_knows() -> None:
    status, said = run("--serve", "usbip", "--level", "block")
    assert status == 2
    assert "'tpdu'" in said


@pytest.mark.skipif(
    CONTROLLER.exists(), reason="this machine has no lack of vhci_hcd (the module is loaded): nothing to complain of"
)
def test_a_machine_without_virtual_ports() -> None:
    status, said = run("--serve", "usbip")
    assert status == 3
    assert "as root: modprobe vhci_hcd" in said
