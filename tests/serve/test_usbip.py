"""Our device as Linux's vhci_hcd sees it: USB/IP's layouts, message by message, and the port it is put into. The kernel is met in the guest."""

from __future__ import annotations

from dataclasses import dataclass
from errno import ECONNRESET, EINVAL, EPIPE, EREMOTEIO
from pathlib import Path
from struct import pack, unpack_from

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.ccid.codes import PowerSelect
from bench.ccid.messages import GetSlotStatus, IccPowerOn
from bench.ccid.usb_descriptors import Speed
from bench.ccid.usb_device import Setup
from bench.serve.usbip import Flag, Message, UsbipDevice, UsbipError
from bench.serve.usbip_loop import Port, UsbipLoop
from tests.serve.usb_support import answer_of, served_reader

OUT, IN = 0, 1
STATUS = """hub port sta spd dev      sockfd local_busid
hs  0000 006 002 00000001 000003 1-1
hs  0001 004 000 00000000 000000 0-0
ss  0008 004 000 00000000 000000 0-0
"""


@dataclass(frozen=True, slots=True)
class Ended:
    number: int
    status: int
    actual: int = 0
    data: bytes = b""


class Kernel:
    """What vhci_hcd is to the device."""

    def __init__(self) -> None:
        self.served = served_reader()
        self.device = UsbipDevice(self.served)
        self._buffer = bytearray()

    def submit(
        self,
        number: int,
        direction: int,
        endpoint: int,
        length: int = 0,
        data: bytes = b"",
        setup: Setup | None = None,
        flags: int = 0,
    ) -> None:
        raw = setup.encode() if setup is not None else bytes(8)
        basic = pack(">IIIII", Message.SUBMIT, number, 2, direction, endpoint)
        self.device.feed(basic + pack(">IiiIi8s", flags, length or len(data), 0, 0, 0, raw) + data)

    def unlink(self, number: int, which: int) -> None:
        self.device.feed(pack(">IIIII", Message.UNLINK, number, 2, 0, 0) + pack(">I24x", which))

    def ends(self, *directions: int) -> list[Ended]:
        """What came back; ``directions`` of what is expected, as the header does not tell it."""
        self._buffer += self.device.take()
        found = []
        for direction in directions:
            kind, number = unpack_from(">II", self._buffer)
            if kind == Message.UNLINKED:
                found.append(Ended(number, *unpack_from(">i", self._buffer, 20)))
                del self._buffer[:48]
                continue
            assert kind == Message.SUBMITTED
            status, actual = unpack_from(">ii", self._buffer, 20)
            size = 48 + (actual if direction == IN else 0)
            found.append(Ended(number, status, actual, bytes(self._buffer[48:size])))
            del self._buffer[:size]
        assert not self._buffer
        return found

    def control(self, setup: Setup, number: int = 1) -> Ended:
        direction = IN if setup.to_host else OUT
        self.submit(number, direction, 0, setup.length, setup=setup)
        (end,) = self.ends(direction)
        return end

    def configure(self) -> None:
        assert self.control(Setup(0, 9, 1, 0, 0)).status == 0


def test_control_transfers() -> None:
    kernel = Kernel()
    assert kernel.control(Setup(0x80, 6, 0x0100, 0, 64)) == Ended(1, 0, 18, kernel.served.device.descriptors.device)
    assert kernel.control(Setup(0x80, 6, 0x0600, 0, 10)) == Ended(1, -EPIPE)


def test_a_card_answers_over_bulk_pipes() -> None:
    kernel = Kernel()
    kernel.configure()
    command = IccPowerOn(0, 3, PowerSelect.V5)
    kernel.submit(5, IN, 2, 512)
    assert kernel.ends() == []
    kernel.submit(6, OUT, 1, data=command.encode())
    sent, received = kernel.ends(OUT, IN)
    assert sent == Ended(6, 0, 10)
    assert (received.number, received.status) == (5, 0)
    assert answer_of(received.data, command).status.ok


def test_a_transfer_that_may_not_be_short() -> None:
    kernel = Kernel()
    kernel.configure()
    kernel.submit(6, OUT, 1, data=GetSlotStatus(0, 1).encode())
    kernel.submit(5, IN, 2, 64, flags=Flag.SHORT_NOT_OK)
    _, end = kernel.ends(OUT, IN)
    assert (end.status, end.actual) == (-EREMOTEIO, 10)


def test_unlinked_before_it_ended_it_has_no_other_end() -> None:
    kernel = Kernel()
    kernel.configure()
    kernel.submit(5, IN, 2, 512)
    kernel.unlink(6, 5)
    assert kernel.ends(OUT) == [Ended(6, -ECONNRESET)]
    kernel.unlink(7, 5)
    assert kernel.ends(OUT) == [Ended(7, 0)]
    kernel.submit(8, OUT, 1, data=GetSlotStatus(0, 1).encode())
    kernel.submit(9, IN, 2, 512)
    assert [end.number for end in kernel.ends(OUT, IN)] == [8, 9], "the answer was kept"


def test_the_interrupt_pipe() -> None:
    kernel = Kernel()
    kernel.configure()
    kernel.submit(5, IN, 3, 16)
    assert kernel.ends(IN) == [Ended(5, 0, 2, b"\x50\x03")]
    kernel.submit(6, IN, 3, 16)
    kernel.served.pull()
    assert kernel.ends(IN) == [Ended(6, 0, 2, b"\x50\x02")]


def test_an_endpoint_that_is_not_there() -> None:
    kernel = Kernel()
    kernel.configure()
    kernel.submit(5, IN, 7, 16)
    assert kernel.ends(IN) == [Ended(5, -EINVAL)]


def test_messages_come_in_pieces() -> None:
    kernel = Kernel()
    kernel.configure()
    data = GetSlotStatus(0, 1).encode()
    whole = pack(">IIIII", Message.SUBMIT, 5, 2, OUT, 1) + pack(">IiiIi8s", 0, len(data), 0, 0, 0, bytes(8)) + data
    for byte in whole:
        kernel.device.feed(bytes((byte,)))
    assert kernel.ends(OUT) == [Ended(5, 0, 10)]


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n".ljust(48, b" "),
        pack(">IIIII", Message.SUBMIT, 1, 2, OUT, 1) + pack(">IiiIi8s", 0, -1, 0, 0, 0, bytes(8)),
        pack(">IIIII", Message.SUBMIT, 1, 2, OUT, 1) + pack(">IiiIi8s", 0, 64, 0, 3, 0, bytes(8)),
        pack(">IIIII", Message.SUBMIT, 1, 2, OUT, 99) + pack(">IiiIi8s", 0, 64, 0, 0, 0, bytes(8)),
    ],
)
def test_what_is_no_usbip_ends_the_connection(data: bytes) -> None:
    with pytest.raises(UsbipError):
        Kernel().device.feed(data)


@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_end_the_connection(data: bytes) -> None:
    kernel = Kernel()
    kernel.configure()
    try:
        kernel.device.feed(pack(">I", Message.SUBMIT) + data)
    except UsbipError:
        return


# -- the port --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def controller(tmp_path: Path) -> Path:
    """A directory as sysfs has it for vhci_hcd."""
    (tmp_path / "status").write_text(STATUS)
    for name in ("attach", "detach"):
        (tmp_path / name).touch()
    return tmp_path


def test_a_free_port_is_taken_and_given_back(controller: Path) -> None:
    port = Port(Speed.FULL, controller)
    number, _, device, speed = (controller / "attach").read_text().split()
    assert (number, device, speed) == ("1", "2", "2")
    assert port.number == 1
    port.close()
    port.close()
    assert (controller / "detach").read_text() == "1"


def test_no_free_port(controller: Path) -> None:
    (controller / "status").write_text(STATUS.replace("hs  0001 004", "hs  0001 006"))
    with pytest.raises(OSError, match="no free port"):
        Port(Speed.FULL, controller)


def test_no_controller(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        UsbipLoop(served_reader(), tmp_path / "none")


def test_a_kernel_that_lets_go_ends_the_loop(controller: Path) -> None:
    loop = UsbipLoop(served_reader(), controller)
    assert loop.address.endswith("port 1")
    loop.run(lambda: False)  # the files take no socket, so the other end is closed already
    assert loop.ended
    assert loop.address == ""
