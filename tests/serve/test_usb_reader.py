"""A reader with cards in it in the world's time: answers at once, or when the wall has reached them."""

from __future__ import annotations

import time

import pytest

from bench.ccid.codes import PowerSelect
from bench.ccid.messages import Command, GetSlotStatus, IccPowerOn, Response, XfrBlock
from bench.ccid.usb_ccid import BULK_IN, BULK_OUT
from bench.ccid.usb_device import Completion, Transfer
from bench.iso7816.port import ExchangeLevel
from bench.serve.usb_reader import FORMS, ServedUsbReader
from tests.serve.usb_support import answer_of, served_reader

ECHO = bytes.fromhex("A0EC000004") + b"echo"


def ask(served: ServedUsbReader, command: Command, within_s: float = 10) -> Response:
    """Send a command and turn the reader until it has answered."""
    ends: list[Completion] = []
    served.submit(Transfer(BULK_OUT, lambda _end: None, command.encode(), closed=True))
    served.submit(Transfer(BULK_IN, ends.append, length=4096))
    limit = time.monotonic() + within_s
    while not ends and time.monotonic() < limit:
        time.sleep(served.sleep(0.1))
        served.turn()
    return answer_of(ends[0].data, command)


def powered(form: str = "tpdu", *, paced: bool = False, **given: str) -> ServedUsbReader:
    served = served_reader(form, paced=paced, **given)
    served.device.set_configuration(1)
    assert ask(served, IccPowerOn(0, 1, PowerSelect.V5)).status.ok
    return served


@pytest.mark.parametrize("form", list(FORMS))
def test_each_level_is_declared_as_it_is(form: str) -> None:
    served = powered(form)
    descriptor = served.firmware.traits.descriptor
    assert descriptor.level is FORMS[form].level
    assert descriptor.extended == (form == "apdu")
    if descriptor.level is not ExchangeLevel.CHARACTER:
        response = ask(served, XfrBlock(0, 2, ECHO + b"\x00"))
        assert response.encode()[10:] == {"tpdu": b"\x61\x04"}.get(form, b"echo\x90\x00")


def test_unpaced_an_answer_is_there_at_once_and_paced_when_its_time_has_come() -> None:
    """A card that takes 300 ms; the line adds some."""
    took = {}
    for paced in (False, True):
        served = powered(paced=paced, card_time="300 ms")
        began = time.monotonic()
        assert ask(served, XfrBlock(0, 2, ECHO)).status.ok
        took[paced] = time.monotonic() - began
    assert took[False] < 0.25
    assert 0.3 < took[True] < 2


def test_a_card_that_thinks_for_long_keeps_the_host_waiting_with_time_extensions() -> None:
    served = powered(card_time="1200 ms")
    response = ask(served, XfrBlock(0, 2, ECHO))
    assert response.status.command == 2
    ends: list[Completion] = []
    limit = time.monotonic() + 10
    while time.monotonic() < limit:
        served.submit(Transfer(BULK_IN, ends.append, length=4096))
        while served.device.pending() and time.monotonic() < limit:
            time.sleep(served.sleep(0.1))
            served.turn()
        if ends[-1].data[7] == 0:
            break
    assert ends[-1].data[10:] == b"\x61\x04"


def test_several_slots_of_which_one_is_empty() -> None:
    first = served_reader()
    served = ServedUsbReader(first.slaved.engine, [None, None, None], form="tpdu")
    served.device.set_configuration(1)
    assert served.firmware.traits.descriptor.slots == 3
    assert ask(served, GetSlotStatus(2, 1)).status.icc == 2
    with pytest.raises(ValueError, match="no card was ever in slot 1"):
        served.insert(1)


def test_a_card_is_pulled_and_put_back() -> None:
    served = powered()
    served.pull()
    assert ask(served, GetSlotStatus(0, 2)).status.icc == 2
    served.insert()
    assert ask(served, GetSlotStatus(0, 3)).status.icc == 1
    assert ask(served, IccPowerOn(0, 4, PowerSelect.V5)).status.ok


def test_a_new_card_comes_without_being_looked_for_after_a_while() -> None:
    served = powered()
    fresh = served_reader()
    fresh.succeed(served)
    assert not fresh.slots[0].present
    limit = time.monotonic() + 5
    while not fresh.slots[0].present and time.monotonic() < limit:
        time.sleep(0.05)
        fresh.turn()
    assert fresh.slots[0].present
