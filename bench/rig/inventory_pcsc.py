"""Readers that pcscd knows, with the card in each, as pcscd tells them without powering anything.

A reader's place on the USB bus (SCARD_ATTR_CHANNEL_ID, PC/SC part 3) makes it known as the device that the USB list shows, and so does its serial
number where it has one.
"""

import contextlib
import os
import re
from collections.abc import Sequence
from typing import Final

from bench.iso7816.port import ExchangeLevel
from bench.readers import pcsc_adapter
from bench.readers.contract import Abilities, RateControl, StampedAt
from bench.readers.pcsc import TIME_RESOLUTION_NS
from bench.readers.pcsc_adapter import Context, Reset
from bench.readers.pcsc_attributes import Attributes, read_attributes
from bench.readers.pcsc_errors import PcscError, PcscMissingError
from bench.rig.inventory import Found, Interface

USB_CHANNEL: Final = 0x20
NUMBERS: Final = re.compile(r" [0-9A-Fa-f]{2} [0-9A-Fa-f]{2}$")
"""What pcscd puts behind a name: the reader's place in its list, and the slot. They change when readers are plugged in in another order."""
IN_BRACKETS: Final = re.compile(r"\(([^()]+)\) [0-9A-Fa-f]{2} [0-9A-Fa-f]{2}$")
"""The serial number in a name, where libccid has put it there."""


def pcsc_readers(usb: Sequence[Found]) -> tuple[list[Found], list[str]]:
    """Every reader of pcscd, and remarks. ``usb``: what the USB list shows, to recognise readers in."""
    try:
        context = pcsc_adapter.establish()
    except (PcscError, PcscMissingError) as error:
        return [], [str(error)]
    try:
        names = context.readers()
        return [_found(context, name, names, usb) for name in names], []
    except PcscError as error:
        return [], [str(error)]
    finally:
        context.release()


def _found(context: Context, name: str, names: Sequence[str], usb: Sequence[Found]) -> Found:
    try:
        state = context.state(name)
    except PcscError as error:
        return Found(Interface.PCSC, name, name, pcsc_key(name), False, "pcscd", remark=str(error))
    attributes = Attributes() if state.in_use else _attributes(context, name)
    bracketed = IN_BRACKETS.search(name)
    serial = attributes.serial or (bracketed[1] if bracketed else "")
    device = _device(attributes, serial, usb)
    address = short_name(name, names)
    key = device.key if device is not None else pcsc_key(serial or address)
    slot = int(name[-2:], 16) if NUMBERS.search(name) else 0
    return Found(
        Interface.PCSC,
        address,
        name,
        f"{key}/slot{slot}" if slot else key,
        device.stable if device is not None else bool(serial),
        device.where if device is not None else "pcscd",
        serial or (device.serial if device is not None else ""),
        Abilities(
            ExchangeLevel.APDU,
            RateControl.OBSERVED if attributes.observed.ta1 else RateControl.UNKNOWN,
            (0, 1),
            "",
            (),
            1,
            TIME_RESOLUTION_NS,
            StampedAt.DRIVER,
            removal=True,
        ),
        state.present,
        state.atr,
        "another program" if state.in_use else "",
        "the card does not answer its reset: clean it, turn it round" if state.present and state.mute else "",
    )


def pcsc_key(name: str) -> str:
    """The identity of a reader that is no USB device: by name or serial number, and by the pcscd that has it where that is not the usual one."""
    daemon = os.environ.get(pcsc_adapter.SOCKET_VARIABLE, "")
    return f"pcsc:{name}@{daemon}" if daemon else f"pcsc:{name}"


def short_name(name: str, names: Sequence[str]) -> str:
    """The name without pcscd's numbers, where only this reader has it: it stays the same in another order of plugging in."""
    short = NUMBERS.sub("", name)
    return short if sum(short in each for each in names) == 1 else name


def _attributes(context: Context, name: str) -> Attributes:
    with contextlib.suppress(PcscError):  # somebody uses it by now: what its name and state tell must do
        connection = context.connect_direct(name)
        try:
            return read_attributes(connection.attribute)
        finally:
            connection.disconnect(Reset.LEAVE)
    return Attributes()


def _device(attributes: Attributes, serial: str, usb: Sequence[Found]) -> Found | None:
    """The USB device behind a reader: by bus and device number, else by a serial number that only one has."""
    if attributes.channel >> 16 == USB_CHANNEL:
        bus, number = attributes.channel >> 8 & 0xFF, attributes.channel & 0xFF
        for each in usb:
            if each.node == (bus, number):
                return each
    same = [each for each in usb if serial and each.serial == serial]
    return same[0] if len(same) == 1 else None
