"""Linux's pppd in a guest kernel as the PPP peer of our card, and the paper's figure 3 whole: pppd, our external support, pcscd, libccid, the card.

On a 16550 and on a virtconsole pppd speaks over a socket to the external support on the host, whose card lives in virtual time. In the last tests
everything but the card's USB device is in the guest.
"""

from __future__ import annotations

import json
import re
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec

import pytest

from bench.commands.ppp import GIVEN, RunningSupport
from bench.engine import MonotonicEngine, Timebase
from bench.host.ip_pool import AddressPool
from bench.host.ppp import FIRST4, IDENTIFIER, OWN4, PREFIX6, PppEnd, PppOffer
from bench.net.ppp.automaton import Patience
from bench.net.ppp.lcp import LcpWishes
from bench.net.protocols import text
from bench.rig.given import Given
from bench.rig.model import RigModel
from tests.guest.machine import Guest, Job, Result, Wire
from tests.guest.served import UsbCards

pytestmark = [pytest.mark.witness, pytest.mark.real]

HERE, CARD = "10.64.0.1", "10.64.0.2"
SHORTEST = 128
"""pppd takes no MRU below (its MINMRU)."""
WIRES = ("serial", "console")
PPPD = (
    *(
        "pppd",
        "noauth",
        "local",
        "nodetach",
        "nodefaultroute",
        "noproxyarp",
        "nocrtscts",
        "debug",
        "logfd",
        "1",
        "+ipv6",
    ),
    *("lcp-echo-interval", "5", "lcp-echo-failure", "4"),
)


@dataclass(frozen=True, slots=True)
class Told:
    """What the external support says of itself."""

    fcs_errors: int
    dropped: int
    longest_to_line: int

    @classmethod
    def read(cls, text: str) -> Told:
        told = json.loads(text)
        dropped = told["to_card"]["dropped"] + told["to_line"]["dropped"]
        return cls(told["fcs_errors"], dropped, told["to_line"]["longest"])


class Board:
    """The card behind our external support, at a wire of the guest."""

    def __init__(self, wire: Wire, **given: str) -> None:
        self.connection: socket.socket = wire.connect()
        model = RigModel.model_validate({"name": "software", "reader": {"kind": "software"}})
        values = Given.model_validate({**GIVEN, "ta1": "97", **given})
        number = self.connection.fileno()
        self.running = RunningSupport(model, values, number, number, 1 << 15, paced=False)
        self.running.start()

    def told(self) -> Told:
        """How full the buffers were."""
        return Told.read(self.running.told())

    def close(self) -> None:
        self.running.stop()
        self.connection.close()


class OurHost:
    """Our own PPP end as a host, without a hop or a card, at a wire of the guest: what it gives, pppd takes."""

    def __init__(self, wire: Wire) -> None:
        self.connection = wire.connect()
        self.connection.setblocking(False)
        self.engine = MonotonicEngine(Timebase.for_clocks(3_571_200)).start()
        self.engine.loop_bound = True
        pool = AddressPool(FIRST4, 1)
        offer = PppOffer(Patience(self.engine.timebase.hz), LcpWishes(accm=0), pool=pool)
        self.end = PppEnd(self.engine, offer, self._send, hdlc=True, seed=1)
        number = self.connection.fileno()
        self.engine.call(self.end.open)
        self.engine.loop.call_soon_threadsafe(self.engine.loop.add_reader, number, self._readable)

    def _send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def _readable(self) -> None:
        data = self.connection.recv(4096)
        self.engine.enter(lambda: self.end.receive(data))

    def close(self) -> None:
        self.engine.call(lambda: self.engine.loop.remove_reader(self.connection.fileno()))
        self.engine.stop()
        self.connection.close()


@dataclass(frozen=True, slots=True)
class Link:
    """pppd with its link up."""

    guest: Guest
    job: Job
    name: str

    def terminate(self) -> Result:
        """Tell pppd alone to end the link, and wait until it has."""
        self.guest.run(["sh", "-c", f"kill -TERM $(head -n 1 /run/{self.name}.pid)"]).checked()
        return self.job.wait(60)

    def ping(self, length: int, count: int = 1, where: str = CARD) -> None:
        """Packets of a length, whole, there and back. Raises AssertionError."""
        header = 28 if "." in where else 48
        words = [
            "ping",
            "-n",
            "-c",
            str(count),
            "-i",
            "0.05",
            "-W",
            "20",
            "-p",
            "5a7e",
            "-s",
            str(length - header),
            where,
        ]
        if ":" in where:
            words[1:1] = ["-I", self.name]
        for _ in range(3):  # a kernel that is kept waiting drops packets; what our end drops, it counts
            result = self.guest.run(words, 90)
            if result.status == 0 and f"{count} received" in result.stdout:
                return
        raise AssertionError(f"{length} bytes: {result.stdout}{result.stderr}")


def running(guest: Guest, *words: str, addresses: str = f"{HERE}:{CARD}") -> Job:
    """pppd, begun; without ``addresses`` it asks for one."""
    guest.run(["mkdir", "-p", "/run/lock"]).checked()  # Debian's options ask for a lock file there
    return guest.start([*PPPD, *words, addresses or "noipdefault"])


@contextmanager
def pppd(guest: Guest, *words: str, timeout: float = 90) -> Iterator[Link]:
    """pppd from its start until IPCP is up; ended when the block is left."""
    with running(guest, *words) as job:
        job.wait_for("remote IP address", timeout)
        name = re.search(r"Using interface (ppp\d+)", job.stdout)
        assert name is not None, job.stdout
        yield Link(guest, job, name[1])


@contextmanager
def board(guest: Guest, kind: str, **given: str) -> Iterator[tuple[Wire, Board]]:
    wire = guest.serial(0) if kind == "serial" else guest.console(0)
    made = Board(wire, **given)
    try:
        yield wire, made
    finally:
        made.close()


@pytest.mark.parametrize("kind", WIRES)
def test_pppd_comes_up_terminates_and_comes_up_again(guest: Guest, kind: str) -> None:
    with board(guest, kind) as (wire, made):
        for _ in range(2):
            with pppd(guest, wire.device, "115200") as link:
                log = link.job.wait_for("remote LL address")
                assert re.search(r"rcvd \[LCP ConfAck .*<magic", log)
                assert re.search(r"rcvd \[IPCP ConfReq id=0x\w+ <addr 0\.0\.0\.0>", log), "the card asks for an address"
                assert f"remote IP address {CARD}" in log
                link.ping(84, 3)
                local = re.search(r"remote LL address (fe80::\S+)", log)
                assert local is not None
                link.ping(84, 1, local[1])
                result = link.terminate()
            assert "rcvd [LCP TermAck" in result.stdout
            assert "Connection terminated" in result.stdout
        told = made.told()
    assert told.fcs_errors <= 1  # what the kernel's terminal echoes until pppd makes it raw
    assert told.dropped == 0
    assert told.longest_to_line > 0


@pytest.mark.parametrize("kind", WIRES)
def test_curl_fetches_from_the_cards_web_server(guest: Guest, kind: str) -> None:
    with board(guest, kind) as (wire, _made), pppd(guest, wire.device, "115200"):
        page = guest.run(["curl", "-sS", "--max-time", "60", f"http://{CARD}/"], 90).checked()
        assert "<html" in page
        note = guest.run(
            ["curl", "-sSL", "--max-time", "60", "--data-urlencode", "text=by way of PPP", f"http://{CARD}/note"], 90
        )
        assert "by way of PPP" in note.checked()


@pytest.mark.parametrize("mru", [SHORTEST, 296, 576, 1006, 1280, 1500])
def test_pings_at_every_mru(guest: Guest, mru: int) -> None:
    """The card's MRU bounds what pppd's interface sends, so that the kernel cuts longer packets; every length up to the MRU comes back."""
    with (
        board(guest, "console", mru=str(mru)) as (wire, _made),
        pppd(guest, wire.device, "115200", "mru", str(mru)) as link,
    ):
        shown = guest.run(["cat", f"/sys/class/net/{link.name}/mtu"]).checked()
        assert int(shown) == mru
        for length in sorted({36, SHORTEST - 1, mru - 1, mru}):
            link.ping(length)
        if mru >= 576:
            link.ping(1500)
        else:
            link.ping(2 * mru)


def test_a_card_that_takes_less_than_pppds_least_mru_says_so(guest: Guest) -> None:
    """pppd answers an MRU of 100 with a Nak of 128; the card, which has room for 100, ends the link instead of overrunning."""
    with (
        board(guest, "console", mru="100", takes="100") as (wire, made),
        running(guest, wire.device, "115200") as job,
    ):
        assert "rcvd [LCP ConfReq" in job.wait_for("mru 100")
        assert re.search(r"sent \[LCP ConfNak id=0x\w+ <mru 128>", job.wait_for("ConfNak"))
        job.wait_for("rcvd [LCP TermReq")
        card = made.running.rig.chain
        assert card is not None
        link = card.cards[0].ip
        assert link is not None
        assert "the peer wants an MRU of 128" in link.link.why  # type: ignore[attr-defined]


def test_the_kernel_takes_address_and_prefix_from_our_host(guest: Guest) -> None:
    """IPCP from the pool; the prefix by Router Advertisement, of which Linux makes an address by itself."""
    host = OurHost(guest.console(0))
    try:
        with running(guest, "/dev/hvc0", "115200", addresses="") as job:
            job.wait_for("remote LL address")
            name = re.search(r"Using interface (ppp\d+)", job.stdout)
            assert name is not None
            shown = ""
            for _ in range(300):
                shown = guest.run(["ip", "-o", "address", "show", "dev", name[1]]).checked()
                if text(PREFIX6.address)[:9] in shown:
                    break
            assert f"inet {text(FIRST4)} peer {text(OWN4)}" in shown
            assert re.search(r"inet6 fd78:19::\S+/64 scope global", shown), shown
            link = Link(guest, job, name[1])
            link.ping(1500, 1, text(OWN4))
            link.ping(1280, 1, text(PREFIX6.address[:8] + IDENTIFIER))
            assert "rcvd [LCP TermAck" in link.terminate().stdout
    finally:
        host.close()


RIG = """
station: guest
rigs:
  - name: figure-3
    reader: {{kind: pcsc, name: "{reader}"}}
    poll_ms: {{first: 2, longest: 10}}
    cards: [{{profile: reference}}]
"""


@pytest.mark.skipif(not find_spec("smartcard"), reason="missing pyscard: pip install 'cardbench[pcsc]'")
@pytest.mark.parametrize("protocol", ["T=1"])
def test_the_papers_figure_3_whole(guest: Guest, protocol: str) -> None:
    """pppd, the external support as its child on a pty, pcscd, libccid's USB driver, QEMU's usbredir, our reader, the card."""
    path = guest.directory / "figure3.sock"
    rig = guest.share / "figure3.yaml"
    rig.write_text(RIG.format(reader="Gemalto PC Twin Reader"))
    guest.run(["mkdir", "-p", "/run/pcscd", "/tmp/no-readers"]).checked()
    with ExitStack() as stack:
        cards = UsbCards.on_host(path)
        stack.callback(cards.stop)
        daemon = stack.enter_context(guest.start(["pcscd", "--foreground", "--config", "/tmp/no-readers"]))
        given = {"protocol": protocol, "ta1": "97", "mtu": "1500", "stack": "ip", "addressing": "ppp"}
        stack.enter_context(cards.serve("tpdu", **given))
        stack.enter_context(guest.plug(path))
        support = f"{sys.executable} -m bench.cli ppp - --rig {rig} 2>/tmp/support.json"
        words = ["lcp-max-configure", "30", "pty", support]
        with pppd(guest, *words, timeout=120) as link:
            link.ping(84, 3)
            link.ping(1500)
            page = guest.run(["curl", "-sS", "--max-time", "60", f"http://{CARD}/"], 90).checked()
            assert "<html" in page
            assert "rcvd [LCP TermAck" in link.terminate().stdout
        for _ in range(300):
            told = guest.run(["cat", "/tmp/support.json"]).checked()
            if "to_line" in told:
                break
            time.sleep(0.2)
        figures = Told.read(told.strip().splitlines()[-1])
        assert figures.longest_to_line >= 1500
        assert figures.dropped == 0
        assert figures.fcs_errors <= 1
        assert daemon.running
