"""What is attached to this machine: readers over PC/SC, USB and serial, each with what it can do and what it is known again by.

Looking changes nothing: no card is powered, no device is claimed, no port is opened. What one interface cannot be asked becomes a ``Remark``.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Final

from bench.readers.contract import Abilities

LIMIT_S: Final = 10.0
"""How long one interface may take to answer."""


class Interface(StrEnum):
    """The way to a reader; also ``kind`` in a rig file."""

    PCSC = "pcsc"
    USB = "usb"
    SERIAL = "serial"


@dataclass(frozen=True, slots=True)
class Found:
    """One reader, over one interface."""

    interface: Interface
    address: str
    """What a rig file calls it: the reader's PC/SC name, ``vendor:product[:serial]``, or the port."""
    name: str
    """What it calls itself."""
    key: str
    """Its identity, the same over every interface."""
    stable: bool
    """Whether the identity outlives being plugged in elsewhere."""
    where: str
    """The place: bus and port, or the device file."""
    serial: str = ""
    """Its serial number, empty where it has none."""
    abilities: Abilities | None = None
    """What it can do, as far as it tells without a card; None where it does not."""
    card: bool | None = None
    """Whether a card is in it; None where that is not known."""
    atr: bytes = b""
    holder: str = ""
    """The program that has it now."""
    remark: str = ""
    """What keeps it from being used, and what to do."""
    node: tuple[int, int] = (0, 0)
    """usb: numbers of bus and device, which change each time it is plugged in."""


@dataclass(frozen=True, slots=True)
class Remark:
    """What could not be asked, and what to do."""

    interface: Interface
    text: str


@dataclass(frozen=True, slots=True)
class Inventory:
    """Everything that was found, by interface and identity."""

    found: tuple[Found, ...]
    remarks: tuple[Remark, ...]


@dataclass(frozen=True, slots=True)
class Places:
    """Where the kernel tells of devices; others for tests."""

    sys: Path = Path("/sys")
    dev: Path = Path("/dev")
    proc: Path = Path("/proc")


Lister = Callable[[], tuple[Sequence[Found], Sequence[str]]]
"""Asks one interface: readers, and remarks."""


def take_inventory(places: Places | None = None, limit_s: float = LIMIT_S) -> Inventory:
    """Look at all three interfaces. Raises nothing: an interface that fails or does not answer is a remark."""
    # Only here are the drivers' libraries looked for.
    from bench.rig.inventory_pcsc import pcsc_readers
    from bench.rig.inventory_serial import serial_ports
    from bench.rig.inventory_usb import usb_readers

    where = places if places is not None else Places()
    usb = asked(Interface.USB, lambda: usb_readers(where), limit_s)
    listers: tuple[tuple[Interface, Lister], ...] = (
        (Interface.PCSC, lambda: pcsc_readers(usb.found)),
        (Interface.SERIAL, lambda: serial_ports(where)),
    )
    parts = [usb, *(asked(interface, lister, limit_s) for interface, lister in listers)]
    order = list(Interface)
    found = sorted(
        (each for part in parts for each in part.found), key=lambda each: (order.index(each.interface), each.address)
    )
    remarks = sorted((each for part in parts for each in part.remarks), key=lambda each: order.index(each.interface))
    return Inventory(tuple(_told_apart(found)), tuple(remarks))


def asked(interface: Interface, lister: Lister, limit_s: float) -> Inventory:
    """Ask in a thread, for drivers may not return; a thread that does not is left behind and ends with the process."""
    answers: list[Inventory] = []

    def ask() -> None:
        try:
            found, remarks = lister()
        except Exception as error:
            found, remarks = (), (f"cannot be asked: {type(error).__name__}: {error}",)
        answers.append(Inventory(tuple(found), tuple(Remark(interface, text) for text in remarks)))

    thread = threading.Thread(target=ask, name=f"inventory {interface}", daemon=True)
    thread.start()
    thread.join(limit_s)
    if answers:
        return answers[0]
    return Inventory((), (Remark(interface, f"did not answer within {limit_s:g} s: unplug what hangs, or restart it"),))


def _told_apart(found: Sequence[Found]) -> list[Found]:
    """Two devices that report one serial number (some makers give all the same) are known by their places instead."""
    keys: dict[tuple[Interface, str], set[str]] = {}
    for each in found:
        keys.setdefault((each.interface, each.key), set()).add(each.where)
    return [
        replace(
            each,
            key=f"{each.key}@{each.where}",
            stable=False,
            remark=each.remark or "another device reports the same serial number: known by its place only",
        )
        if len(keys[each.interface, each.key]) > 1 and each.interface is not Interface.PCSC
        else each
        for each in found
    ]
