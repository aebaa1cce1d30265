"""cardbench route as people start it: what it says, what it leaves behind, and how it fails."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.commands.route import route_command
from bench.host.ip_pool import Lease
from bench.host.memory import HostMemory
from bench.host.tun import TunError, check_name
from bench.host.tun_setup import TunSetup, open_tun
from bench.net.dns import query, read_answer
from bench.net.protocols import address
from tests.gateway.support import wait
from tests.witness.linux_net import Lab, missing_means, namespace, tshark_finds

pytestmark = [
    pytest.mark.witness,
    pytest.mark.real,
    pytest.mark.skipif(bool(missing_means()), reason=missing_means() or "nothing is missing"),
]

COMMAND = (sys.executable, "-m", "bench.cli", "route", "--ta1", "97")


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=False).stdout


@contextmanager
def routing(name: str, *more: str) -> Iterator[subprocess.Popen[str]]:
    """The command in a namespace, once its two cards are there."""
    words = (*COMMAND, "--netns", name, "--cards", "2", *more)
    process = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        said = [process.stdout.readline().strip() for _ in range(3)]
        assert said == [
            "cards0 is up (Ctrl-C ends)",
            "card 1: 10.78.16.2, fd78:16::2",
            "card 2: 10.78.16.3, fd78:16::3",
        ]
        yield process
    finally:
        process.kill()
        process.communicate(timeout=10)


def test_everything_is_there_and_goes_again(tmp_path: Path) -> None:
    capture = tmp_path / "link.pcapng"
    with namespace() as name, routing(name, "--capture", str(capture)) as process:
        routes = ip("-n", name, "route", "show", "dev", "cards0") + ip(
            "-n", name, "-6", "route", "show", "dev", "cards0"
        )
        for each in ("10.78.16.0/20", "10.78.32.0/20", "fd78:16::/64", "fd78:17::/64"):
            assert each in routes
        lab = Lab(name, None, 1500, capture)  # type: ignore[arg-type]  # programs alone are run in it
        assert "<!doctype html>" in lab.checked("curl", "-sS", "-m", "20", "http://10.78.16.3/")
        asked = query(77, "card-2.cards.test", 4)

        def ask() -> bytes:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
                made.settimeout(10)
                made.sendto(asked, ("10.78.16.1", 53))
                return made.recv(512)

        assert read_answer(lab.within(ask), 77, "card-2.cards.test") == ("10.78.16.3",)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert "cards0" not in ip("-n", name, "link")
        assert shutil.which("tshark") is None or tshark_finds(capture, "dns") != []


def test_what_it_remembers_is_kept_in_a_file_and_holds_at_the_next_start(tmp_path: Path) -> None:
    """The file gives the first card an address that order alone would not; the second one's is in it as soon as it is granted."""
    memory = tmp_path / "memory"
    first = Lease(b"CB0001", address("10.78.48.9"))
    HostMemory((first,)).write(memory)
    with namespace() as name:
        words = (*COMMAND, "--netns", name, "--cards", "2", "--given", "addressing=pool", "--memory", str(memory))
        silent = subprocess.DEVNULL
        process = subprocess.Popen(words, stdin=silent, stdout=silent, stderr=silent)
        try:
            wait(lambda: len(HostMemory.read(memory).names) == 2)
            kept = HostMemory.read(memory)
            lab = Lab(name, None, 1500, memory)  # type: ignore[arg-type]  # programs alone are run in it
            lab.checked("ping", "-c", "1", "-W", "20", "10.78.48.9")
        finally:
            process.kill()
            process.wait(10)
    assert first in kept.leases
    assert {each.identity for each in kept.leases} == {b"CB0001", b"CB0002"}
    assert {(each.identity, each.label) for each in kept.names} == {(b"CB0001", "card-1"), (b"CB0002", "card-2")}


def test_killed_it_leaves_nothing() -> None:
    with namespace() as name, routing(name) as process:
        process.kill()
        process.wait(10)
        wait(lambda: "cards0" not in ip("-n", name, "link"))


def test_an_interface_that_is_taken_away_is_told() -> None:
    with namespace() as name, routing(name) as process:
        ip("-n", name, "link", "delete", "cards0")
        assert process.wait(10) == 3
        assert process.stderr is not None
        assert "error: the interface cards0 was taken away" in process.stderr.read()


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("--netns", "no-such-namespace"), 3, "no-such-namespace"),
        (("--tun", "lo"), 3, "interface lo"),
        (("--tun", "a-name-that-is-far-too-long"), 3, "cannot name a network interface"),
        (("--address", "10.0.0.1"), 2, "the router's address, the next one, is outside the prefix"),
        (("--address", "10.0.0.1/24", "--address", "10.1.0.1/24"), 2, "at most one of each version"),
        (("--given", "nonsense"), 2, "expected NAME=VALUE"),
        (("--given", "no_such=1"), 2, "no_such"),
        (("--given", "stack=channel"), 2, "must carry the IP stack"),
        (("--capture", "/no/such/place"), 2, "No such file"),
        (("--memory", "/dev/null"), 2, "expected '# cardbench host memory 1'"),
    ],
)
def test_mistakes_are_named(words: tuple[str, ...], status: int, said: str) -> None:
    kept = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        done = CliRunner().invoke(route_command, words)
    finally:
        for each, handler in kept.items():
            signal.signal(each, handler)
    assert done.exit_code == status, done.output
    assert said in done.output
    assert done.exception is None or isinstance(done.exception, SystemExit)


def test_who_may_not_is_told_what_to_do() -> None:
    """Another user's process: the device may not be opened."""
    pid = os.fork()
    if pid == 0:  # after setuid the environment may not be readable, so what is imported stays as it is
        os.setuid(65_534)
        try:
            open_tun(TunSetup("cbnobody"))
        except TunError as error:
            os._exit(0 if "CAP_NET_ADMIN" in str(error) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_two_cannot_have_one_name() -> None:
    device = open_tun(TunSetup(f"cbt{os.getpid() % 100_000}"))
    try:
        with pytest.raises(TunError, match="is there already: choose another name"):
            open_tun(TunSetup(device.name))
    finally:
        device.close()
        device.close()


@pytest.mark.parametrize("name", ["", "a/b", "a b", "a%d", ".", "sixteen-letters-"])
def test_names_the_kernel_would_not_take(name: str) -> None:
    with pytest.raises(TunError, match="cannot name a network interface"):
        check_name(name)
