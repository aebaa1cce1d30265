"""Our USB reader met by software from outside, in a guest: Linux's USB stack, udevd, pcscd with libccid's USB driver, pyscard.

Once our device speaks usbredir to QEMU from the host, once USB/IP to the guest's own kernel. The guest's side is usb_guest_exchanges.py.
"""

from __future__ import annotations

import json
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import pytest

from bench.card.profile import CardProfile
from tests.guest.machine import Guest, Job
from tests.guest.served import Served, UsbCards
from tests.processes import begun

pytestmark = [
    pytest.mark.witness,
    pytest.mark.real,
    pytest.mark.skipif(not find_spec("smartcard"), reason="missing pyscard: pip install 'cardbench[pcsc]'"),
]

READER = "Gemalto PC Twin Reader [CCID interface] (0001) 00 00"
"""What libccid calls a reader of these numbers."""
WAYS = ("usbredir", "usbip")


class Client:
    """pyscard in the guest, kept running."""

    def __init__(self, guest: Guest) -> None:
        self.job = guest.start([sys.executable, Path(__file__).with_name("usb_guest_exchanges.py")])
        self._lines = 0

    def line(self, timeout: float = 100) -> str:
        """The next thing it says. Raises TimeoutError, and may be asked again then."""
        said = self.job.wait_line(self._lines, timeout)
        self._lines += 1
        return said

    def begin(self, *words: str) -> None:
        self.job.write(" ".join(words).encode() + b"\n")

    def seen(self) -> dict[str, object]:
        """What the task saw. Raises AssertionError where it came to no end."""
        result: dict[str, object] = json.loads(self.line())
        assert "error" not in result, result
        return result

    def task(self, *words: str) -> dict[str, object]:
        self.begin(*words)
        return self.seen()


@dataclass(slots=True)
class Lab:
    """A guest with everything running that takes time to begin; readers come and go."""

    guest: Guest
    cards: dict[str, UsbCards]
    socket: Path
    pcscd: Job = field(init=False)
    client: Client = field(init=False)

    def begin(self) -> None:
        """pcscd, and a program that uses it."""
        words = ["pcscd", "--foreground", "--config", "/tmp/no-readers", "--debug"]
        self.client = Client(self.guest)
        self.pcscd = self.guest.start(words, {"LIBCCID_ifdLogLevel": "0x000F"})
        self.pcscd.wait_for("daemon ready", 60)
        assert self.client.line() == "ready"

    def end(self) -> None:
        self.client.job.stop()
        self.pcscd.stop()

    def empty(self) -> None:
        """No reader is there. Where pcscd was asked to let one go and has not, another takes its place: not every test is to fail for it."""
        if left := self.client.task("empty")["left"]:
            print(f"pcscd still lists {left}: begun anew")
            self.end()
            self.begin()
            assert self.client.task("empty") == {"left": []}

    @contextmanager
    def plugged(self, way: str, level: str = "tpdu", **given: str) -> Iterator[Served]:
        """The served card in a reader in the guest's port, the way that is asked for; the first that is there."""
        self.empty()
        with self.added(way, level, **given) as served:
            yield served

    @contextmanager
    def added(self, way: str, level: str = "tpdu", **given: str) -> Iterator[Served]:
        """The same, for a client that watches readers come already."""
        with ExitStack() as stack:
            served = stack.enter_context(self.cards[way].serve(level, **given))
            if way == "usbredir":
                stack.enter_context(self.guest.plug(self.socket))
            yield served

    def heard(self) -> Callable[[], str]:
        """Gives what pcscd and its driver have written since."""
        job, before = self.pcscd, len(self.pcscd.stdout)
        return lambda: self.pcscd.stdout[before if self.pcscd is job else 0 :]


@pytest.fixture(scope="module")
def lab(guest: Guest) -> Iterator[Lab]:
    socket = guest.directory / "reader.sock"
    guest.run(["mkdir", "-p", "/run/pcscd", "/tmp/no-readers"]).checked()
    with ExitStack() as stack:
        cards = {"usbredir": UsbCards.on_host(socket), "usbip": UsbCards.in_guest(guest)}
        for each in cards.values():
            stack.callback(each.stop)
        made = Lab(guest, cards, socket)
        made.begin()
        stack.callback(lambda: made.end())
        yield made


FIND = """
for place in /sys/bus/usb/devices/*; do
    read -r vendor <$place/idVendor && [ "$vendor" = 08e6 ] && cd $place && for name in $*; do read -r value <$name && echo "$value"; done
done 2>/dev/null; true
"""


def attributes(guest: Guest, *names: str) -> list[str]:
    """Of our device, as the guest's kernel has them in sysfs; empty where it is not there."""
    return guest.run(["sh", "-c", FIND, "sh", *names]).checked().splitlines()


@pytest.mark.parametrize("way", WAYS)
def test_the_kernel_enumerates_the_reader(lab: Lab, way: str) -> None:
    limit = time.monotonic() + 60
    with lab.plugged(way):
        while not (interface := attributes(lab.guest, "*:1.0/bInterfaceClass", "*:1.0/bNumEndpoints")):
            assert time.monotonic() < limit, "the kernel sees no reader"
            lab.guest.run(["sleep", "0.1"])
        assert interface == ["0b", "03"]
        names = ("idProduct", "product", "manufacturer", "serial", "speed", "bNumInterfaces", "bConfigurationValue")
        values = [value.strip() for value in attributes(lab.guest, *names)]
        assert values == ["3437", "CCID reader", "cardbench", "0001", "12", "1", "1"]
    while attributes(lab.guest, "idProduct") and time.monotonic() < limit:  # the kernel may still have to take note
        lab.guest.run(["sleep", "0.1"])
    assert attributes(lab.guest, "idProduct") == []


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("protocol", ["T=0", "T=1"])
def test_apdus_come_through_pcscd_and_libccid_exactly(lab: Lab, way: str, protocol: str) -> None:
    heard = lab.heard()
    with lab.plugged(way, protocol=protocol, ta1="96") as served:
        seen = lab.client.task("echo", protocol)
    assert seen["reader"] == READER
    assert seen["atr"] == served.atr
    assert seen["protocol"] == protocol
    assert seen["wrong"] == []
    negotiated = {"T=0": "FF 10 96", "T=1": "FF 11 96"}[protocol]
    assert negotiated in heard(), "at TPDU level libccid itself makes the PPS"


@pytest.mark.parametrize("level", ["tpdu", "apdu"])
def test_extended_apdus_of_64_kib(lab: Lab, level: str) -> None:
    """Over T=1 by libccid's own blocks, and in chained messages of a reader at extended APDU level."""
    with lab.plugged("usbredir", level, protocol="T=1", ta1="97"):
        seen = lab.client.task("extended", "T=1")
    assert seen["wrong"] == []
    assert seen["longest"] == 65_535


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("level", ["tpdu", "short-apdu"])
def test_a_card_that_goes_and_comes_is_noticed_through_the_interrupt_pipe(lab: Lab, way: str, level: str) -> None:
    """libccid polls no reader that has an interrupt pipe: what it learns of movements it learns there."""
    heard = lab.heard()
    with lab.plugged(way, level) as served:
        lab.client.begin("movements", "T=0")
        assert lab.client.line() == "present"
        served.pull()
        assert lab.client.line() == "absent"
        served.insert()
        assert lab.client.line() == "again"
        assert lab.client.seen()["wrong"] == []
    assert "NotifySlotChange: 50 02" in heard()


@pytest.mark.parametrize("way", WAYS)
def test_a_reader_that_is_plugged_in_and_out_is_seen_by_a_running_pcscd(lab: Lab, way: str) -> None:
    lab.empty()
    lab.client.begin("hotplug", "2")
    assert lab.client.line() == "none"
    for _ in range(2):
        with lab.added(way):
            assert lab.client.line() == "came"
        assert lab.client.line() == "went"
    assert lab.client.seen()["readers"] == [READER] * 2


@pytest.mark.parametrize("way", WAYS)
def test_a_reader_of_three_slots_of_which_two_are_empty(lab: Lab, way: str) -> None:
    with lab.plugged(way, slots="3") as served:
        seen = lab.client.task("slots", "3")
        lab.client.begin("movements", "T=0")
        assert lab.client.line() == "present"
        served.pull()
        assert lab.client.line() == "absent"
        for _ in range(
            3
        ):  # libccid may miss a notification of several slots that comes while none of its threads waits for one
            served.insert()
            with suppress(TimeoutError):
                assert lab.client.line(15) == "again"
                break
            served.pull()
        assert lab.client.seen()["wrong"] == []
    assert seen["readers"] == [f"{READER[:-2]}{number:02}" for number in range(3)]
    assert seen["wrong"] == []


def test_the_device_leaves_its_port_and_comes_back_by_itself(lab: Lab) -> None:
    """As when somebody pulls the reader's plug: the carrier tells, the socket stays open."""
    lab.empty()
    lab.client.begin("hotplug", "2")
    assert lab.client.line() == "none"
    with lab.added("usbredir") as served:
        assert lab.client.line() == "came"
        served.unplug()
        assert lab.client.line() == "went"
        served.plug()
        assert lab.client.line() == "came"
        served.unplug()
        assert lab.client.line() == "went"
        assert lab.client.seen()["readers"] == [READER] * 2


OPEN = """
from bench.readers.usb import UsbWanted, find
from bench.readers.usb_errors import UsbError
try:
    find(UsbWanted.parse("08e6:3437")).open()
except UsbError as error:
    print(error)
"""


def test_raw_usb_says_plainly_that_pcscd_holds_the_reader(lab: Lab) -> None:
    """As it really does, by libccid and libusb; and what to do about it."""
    with lab.plugged("usbredir"):
        assert lab.client.task("echo", "T=0")["wrong"] == []
        said = lab.guest.python(OPEN, timeout=100).checked()
    assert re.match(
        r"device busy: reader 08e6:3437 at \S+, [a-z ]+: pcscd \(process \d+\) holds the reader; stop pcscd while ",
        said,
    ), said
    assert "systemctl stop pcscd.socket pcscd.service; or use kind: pcsc" in said


def test_the_command_line_offers_the_same(lab: Lab, tmp_path: Path) -> None:
    socket = tmp_path / "reader"
    command = (
        sys.executable,
        "-m",
        "bench.cli",
        "card",
        "--serve",
        "usbredir",
        "--socket",
        str(socket),
        "--cards",
        "2",
    )
    with begun(command) as process:
        assert process.stdout is not None
        says = [process.stdout.readline() for _ in range(2)]
        assert CardProfile(identity=b"").atr.hex(" ").upper() in says[0]
        assert f"-chardev socket,id=card,path={socket} -device usb-redir,chardev=card" in says[1]
        lab.empty()
        with lab.guest.plug(socket):
            assert lab.client.task("echo", "T=0")["wrong"] == []
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert not socket.exists()
