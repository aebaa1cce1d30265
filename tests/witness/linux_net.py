"""A chain of cards behind a TUN device in a network namespace of its own, and the machine's programs in that namespace."""

from __future__ import annotations

import ctypes
import itertools
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from bench.card.applications import STANDARD
from bench.commands.route import LinkOptions, RunningRoute, capture_to
from bench.host.tun import DEVICE
from bench.rig.build import Rig
from bench.rig.given import Given
from bench.rig.model import RigModel
from tests.gateway.support import forwarder, wait

T = TypeVar("T")

MODEL = RigModel.model_validate({"name": "software", "reader": {"kind": "software"}})
MACHINE4 = "10.78.0.1"
FORWARDER = 5201
"""Of the card; what comes there goes on to the same port of the machine."""
CLONE_NEWNET = 0x4000_0000
_numbers = itertools.count(1)


def missing_means() -> str:
    """What this machine lacks for TUN devices in namespaces; empty where nothing."""
    if shutil.which("ip") is None:
        return "missing ip: apt-get install iproute2"
    if not Path(DEVICE).exists():
        return f"missing {DEVICE}"
    if os.geteuid() != 0:
        return "TUN devices and network namespaces need root"
    probe = f"cbprobe{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, check=False)
    if made.returncode:
        return f"no network namespaces here: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "delete", probe], check=True)
    return ""


def card4(number: int) -> str:
    return f"10.78.16.{number + 1}"


def card6(number: int) -> str:
    return f"fd78:16::{number + 1}"


@dataclass
class Lab:
    """What runs."""

    namespace: str
    running: RunningRoute
    mtu: int
    capture: Path

    def run(self, *words: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """A program in the namespace. Its output as it is: no end of a line is translated."""
        whole = ["ip", "netns", "exec", self.namespace, *words]
        done = subprocess.run(whole, capture_output=True, timeout=timeout, check=False, stdin=subprocess.DEVNULL)
        return subprocess.CompletedProcess(whole, done.returncode, done.stdout.decode(), done.stderr.decode())

    def checked(self, *words: str, timeout: float = 60) -> str:
        """Its output, where it ended well."""
        done = self.run(*words, timeout=timeout)
        assert done.returncode == 0, f"{words}: status {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    @contextmanager
    def serving(self, *words: str, port: int) -> Iterator[None]:
        """A server in the namespace, from when it listens."""
        silent = subprocess.DEVNULL
        process = subprocess.Popen(
            ["ip", "netns", "exec", self.namespace, *words], stdin=silent, stdout=silent, stderr=silent
        )
        try:
            wait(lambda: f":{port} " in self.checked("ss", "-Hltn"))
            yield
        finally:
            process.terminate()
            process.wait(10)

    def within(self, function: Callable[[], T], timeout: float = 60) -> T:
        """Run a function in a thread whose sockets are the namespace's."""
        results: list[T] = []
        errors: list[BaseException] = []

        def body() -> None:
            try:
                with Path(f"/run/netns/{self.namespace}").open("rb") as file:
                    if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET):
                        raise OSError(ctypes.get_errno(), "setns")
                results.append(function())
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=body, name="in-namespace", daemon=True)
        thread.start()
        thread.join(timeout)
        assert not thread.is_alive(), f"stuck after {timeout:g} s"
        if errors:
            raise errors[0]
        return results[0]


@contextmanager
def namespace() -> Iterator[str]:
    """A network namespace of one's own, with loopback up."""
    for old in Path("/run/netns").glob("cb*-*"):  # of sessions that were killed
        owner = old.name.removeprefix("cb").partition("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            subprocess.run(["ip", "netns", "delete", old.name], check=False, capture_output=True)
    name = f"cb{os.getpid()}-{next(_numbers)}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        yield name
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=False)


@contextmanager
def lab(directory: Path, mtu: int, link_mtu: int, cards: int = 3, seed: int = 1, **given: str) -> Iterator[Lab]:
    """A chain whose hops have ``mtu``, behind a link of ``link_mtu``; everything is up when the body begins."""
    conditions = Given.model_validate({"stack": "ip", "cards": str(cards), "mtu": str(mtu), "ta1": "97", **given})
    capture = directory / f"uplink-{mtu}-{link_mtu}-{len(given)}.pcapng"

    def prepare(rig: Rig) -> None:
        assert rig.chain is not None
        for card in rig.chain.cards:
            card.profile = replace(
                card.profile, applications=(*STANDARD, ("forwarder", forwarder(FORWARDER, MACHINE4, offered=FORWARDER)))
            )

    with ExitStack() as stack:
        name = stack.enter_context(namespace())
        stream = stack.enter_context(capture.open("wb", buffering=0))  # a copy is made while it is written
        running = RunningRoute(MODEL, conditions, LinkOptions("cards0", name, link_mtu), seed=seed, prepare=prepare)
        stack.callback(running.stop)
        capture_to(running, stream)
        running.start()
        wait(lambda: len(running.cards()) == cards)
        yield Lab(name, running, mtu, capture)
        failure = running.drive.failure()
        assert failure is None, failure
        assert running.rig.chain is not None
        assert [each.crashes for each in running.rig.chain.cards] == [[]] * cards


BAD = (
    "_ws.malformed || ip.checksum.status == 0 || tcp.checksum.status == 0 || udp.checksum.status == 0"
    " || icmp.checksum.status == 0 || icmpv6.checksum.status == 0"
)
"""What tshark finds wrong with a packet, as a display filter."""
OF_THE_KERNEL = "tcp.checksum == 0xffff && !(ip.src == 10.78.16.0/24 || ipv6.src == fd78:16::/64)"
"""Linux writes a checksum of zero as FFFF for TCP too, as only UDP must (its skb_checksum_help); tshark expects 0000. The cards are held to 0000."""
CHECKED = [f"-o{name}.check_checksum:TRUE" for name in ("ip", "tcp", "udp")]


def tshark_finds(capture: Path, display_filter: str) -> list[str]:
    """The packets of a capture that pass a filter."""
    words = ["tshark", "-r", str(capture), "-n", *CHECKED, "-oip.defragment:TRUE", "-Y", display_filter]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
