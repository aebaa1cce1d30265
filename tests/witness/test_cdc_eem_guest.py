"""The card as a CDC-EEM device, met by Linux's own cdc_eem driver in the guest: interface, echoes, neighbours, ping, curl, ten mebibytes each way.

The rate under emulation says nothing; benchmarks/test_eem.py has the figure in virtual time.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.pattern import pattern
from tests.guest.machine import ROOT, Guest
from tests.witness.eem_card import BULK, DIGEST, SOURCE

pytestmark = [pytest.mark.witness, pytest.mark.real]

HOST4, CARD4, CARD6 = "10.78.64.1/24", "10.78.64.2", "fd78:40::2"
LINK_LOCAL = "fe80::43:42ff:fe00:2"
SIZES = (0, 8, 56, 1472, 1473, 4000)


class EemCard:
    """The process that serves the device."""

    def __init__(self, path: Path, *more: str) -> None:
        setpriv = shutil.which("setpriv")
        dies = (setpriv, "--pdeathsig", "KILL") if setpriv is not None else ()
        words = (*dies, sys.executable, "-m", "tests.witness.eem_card", str(path), *more)
        self.process = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.line() == "ready"

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def order(self, text: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()
        return self.line()

    def told(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.order("told"))
        return found

    def stop(self) -> None:
        with self.process as process:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(60)


class Eem:
    """A card in the guest's port, with the interface up."""

    def __init__(self, guest: Guest, card: EemCard) -> None:
        self.guest = guest
        self.card = card
        self.name = self._interface()
        self.sh(f"ip link set {self.name} up && ip address add {HOST4} dev {self.name}")

    def sh(self, text: str, timeout: float = 100) -> str:
        return self.guest.run(["sh", "-c", text], timeout).checked()

    def _interface(self) -> str:
        limit = time.monotonic() + 90
        while time.monotonic() < limit:
            found = self.sh(
                "for each in /sys/class/net/*/device/driver; do readlink -f $each | grep -q cdc_eem && echo $each; done; true"
            )
            if found:
                return found.split("/")[4]
            time.sleep(0.2)
        raise AssertionError("no interface of cdc_eem: " + self.sh("dmesg | tail -20"))


@contextmanager
def plugged(guest: Guest, *more: str) -> Iterator[Eem]:
    """A card in the guest's port; in the end it must have found nothing wrong with what the kernel sent."""
    path = guest.directory / f"eem{len(more)}.sock"
    card = EemCard(path, *more)
    try:
        with guest.plug(path):
            yield Eem(guest, card)
            told = card.told()
            assert told["faults"] == {"check": 0, "length": 0, "cut": 0, "reserved": 0}
            assert (told["malformed"], told["crashes"]) == (0, [])
    finally:
        card.stop()


@pytest.fixture(scope="module")
def eem(guest: Guest) -> Iterator[Eem]:
    """At full speed, with the sentinel in the place of check sequences."""
    with plugged(guest) as made:
        yield made


def test_high_speed_with_check_sequences(guest: Guest) -> None:
    """Packets of 512 bytes; the kernel's driver checks every sequence, and counts what is wrong. (First, as both cards have the same addresses.)"""
    with plugged(guest, "high", "calculated") as made:
        for size in SIZES:
            made.sh(f"ping -c 1 -W 40 -s {size} {CARD4}")
        assert "<!doctype html>" in made.sh(f"curl -sS -m 90 'http://{CARD4}/'")
        assert made.sh(f"cat /sys/class/net/{made.name}/statistics/rx_errors").strip() == "0"


def test_the_kernels_driver_brings_up_an_interface(eem: Eem) -> None:
    said = eem.sh(f"ip link show {eem.name}")
    assert "mtu 1500" in said
    assert "LOWER_UP" in said


def test_the_kernel_answers_the_cards_echo(eem: Eem) -> None:
    for size in (1, 60, 64, 500, 1400):
        data = bytes(each & 0xFF for each in range(size)).hex()
        assert eem.card.order(f"echo {data}") == data


def test_ping_of_both_versions(eem: Eem) -> None:
    for size in SIZES:
        eem.sh(f"ping -c 1 -W 40 -s {size} {CARD4}")


def test_the_host_makes_itself_an_address_by_the_cards_advertisement(eem: Eem) -> None:
    limit = time.monotonic() + 90
    while "fd78:40::" not in (said := eem.sh(f"ip -6 address show dev {eem.name} scope global -tentative")):
        assert time.monotonic() < limit, said
        time.sleep(0.2)


def test_ping6_finds_the_card_as_a_neighbour(eem: Eem) -> None:
    for size in SIZES:
        eem.sh(f"ping -c 1 -W 40 -s {size} {CARD6}")
    eem.sh(f"ping -c 1 -W 40 {LINK_LOCAL}%{eem.name}")
    assert "02:43:42:00:00:02" in eem.sh(f"ip -6 neighbour show dev {eem.name}")
    assert "02:43:42:00:00:02" in eem.sh(f"ip -4 neighbour show dev {eem.name}")


@pytest.mark.parametrize("host", [CARD4, f"[{CARD6}]"], ids=["ipv4", "ipv6"])
def test_curl_reaches_the_cards_web_server(eem: Eem, host: str) -> None:
    assert "<!doctype html>" in eem.sh(f"curl -sS -m 90 'http://{host}/'")


def test_ten_mebibytes_to_the_card(eem: Eem) -> None:
    want = hashlib.sha256(pattern(0, BULK)).hexdigest()
    (eem.guest.share / "bulk").write_bytes(pattern(0, BULK))
    said = eem.sh(f"socat -t 60 - TCP:{CARD4}:{DIGEST} < {eem.guest.share}/bulk", 120)
    assert said == want


def test_ten_mebibytes_from_the_card(eem: Eem) -> None:
    want = hashlib.sha256(pattern(0, BULK)).hexdigest()
    assert eem.sh(f"socat -u TCP:{CARD4}:{SOURCE} - | sha256sum", 120).split()[0] == want


def test_the_card_answers_echoes(eem: Eem) -> None:
    """The kernel's driver sends none, so pyusb takes its place for this."""
    said = eem.guest.run([sys.executable, Path(__file__).with_name("eem_guest_echo.py")], 60)
    assert len(json.loads(said.checked())) == 11
    told = eem.card.told()
    assert told["echoes"] == 11
