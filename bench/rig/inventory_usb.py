"""USB readers, from the descriptors that the kernel keeps: seen by every user, and also while a program holds the device.

A device is a reader by an interface of class 0x0B (CCID; protocols 1 and 2 are ICCD), or of the vendor's class with a CCID class descriptor
(USB 2.0, 9.6; CCID 1.1, 5.1).
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.ccid.descriptor import INTERFACE_CLASS, decode_descriptor
from bench.ccid.descriptor import LENGTH as CLASS_LENGTH
from bench.ccid.descriptor import TYPE as CLASS_TYPE
from bench.ccid.driver_plan import Plan
from bench.ccid.errors import CcidMessageError
from bench.readers.contract import Abilities
from bench.readers.usb import abilities_of
from bench.rig.inventory import Found, Interface, Places

DEVICES: Final = "bus/usb/devices"
VENDOR_CLASS: Final = 0xFF
INTERFACE: Final = 4
"""bDescriptorType of an interface."""
INTERRUPT: Final = 3
"""Transfer type in bmAttributes of an endpoint."""
ENDPOINT: Final = 5
ICCD: Final = {1: "ICCD version A", 2: "ICCD version B"}


@dataclass(slots=True)
class _Part:
    """One interface of a device."""

    number: int
    kind: int
    protocol: int
    klass: bytes = b""
    interrupt: bool = False


def usb_readers(places: Places) -> tuple[list[Found], list[str]]:
    """Every USB reader of this machine, and remarks."""
    folder = places.sys / DEVICES
    if not folder.is_dir():
        return [], ["the kernel shows no USB bus here (no /sys/bus/usb): a container, or a machine without USB"]
    found: list[Found] = []
    for device in sorted(folder.iterdir()):
        if ":" in device.name or not (device / "descriptors").is_file():
            continue
        with contextlib.suppress(OSError):  # unplugged while we look
            found.extend(_readers(device, places))
    return found, []


def _readers(device: Path, places: Places) -> Iterator[Found]:
    for part in _parts((device / "descriptors").read_bytes()):
        if part.kind == INTERFACE_CLASS or (part.kind == VENDOR_CLASS and len(part.klass) == CLASS_LENGTH):
            yield _found(device, part, places)


def _found(device: Path, part: _Part, places: Places) -> Found:
    pair = f"{_text(device / 'idVendor').lower()}:{_text(device / 'idProduct').lower()}"
    serial = _text(device / "serial")
    name = " ".join(filter(None, (_text(device / "manufacturer"), _text(device / "product")))) or pair
    node = places.dev / "bus/usb" / _padded(device / "busnum") / _padded(device / "devnum")
    abilities, remark = _abilities(part)
    if not remark and node.exists() and not os.access(node, os.R_OK | os.W_OK):
        remark = f"this user may not use it: give the group of {node} access (a udev rule for {pair}), or run as root"
    return Found(
        Interface.USB,
        f"{pair}:{serial}" if serial else pair,
        name,
        usb_key(pair, serial, device.name),
        bool(serial),
        f"bus port {device.name}",
        serial,
        abilities,
        holder=_holder(device, part, node, places),
        remark=remark,
        node=(int(node.parent.name), int(node.name)),
    )


def usb_key(pair: str, serial: str, port: str) -> str:
    """The identity of a USB device: by its serial number, else by the port it is plugged into."""
    return f"usb:{pair}:{serial}" if serial else f"usb:{pair}@{port}"


def _abilities(part: _Part) -> tuple[Abilities | None, str]:
    if part.protocol in ICCD and part.kind == INTERFACE_CLASS:
        return None, f"{ICCD[part.protocol]}, not a CCID reader: use it through PC/SC"
    try:
        descriptor = decode_descriptor(part.klass)
    except CcidMessageError as error:
        return None, f"its class descriptor is damaged: {error}"
    return abilities_of(Plan(descriptor), part.interrupt), ""


def _parts(descriptors: bytes) -> Iterator[_Part]:
    """The interfaces of all configurations. A descriptor that runs over the end ends the list: nothing in it can be trusted."""
    part: _Part | None = None
    at = 0
    while at + 2 <= len(descriptors):
        length, kind = descriptors[at], descriptors[at + 1]
        body = descriptors[at : at + length]
        if length < 2 or len(body) < length:
            break
        if kind == INTERFACE and length >= 9:
            if part is not None:
                yield part
            part = _Part(body[2], body[5], body[7])
        elif part is not None and kind == CLASS_TYPE and length == CLASS_LENGTH:
            part.klass = body
        elif part is not None and kind == ENDPOINT and length >= 7 and body[3] & 3 == INTERRUPT:
            part.interrupt = True
        at += length
    if part is not None:
        yield part


def _holder(device: Path, part: _Part, node: Path, places: Places) -> str:
    """Who has claimed the interface: a driver of the kernel, or the programs that have the device open where a program has."""
    for interface in device.parent.glob(f"{device.name}:*.{part.number}"):
        driver = interface / "driver"
        if not driver.exists():
            return ""
        name = driver.resolve().name
        return (_programs(node, places) or "a program") if name == "usbfs" else f"the kernel's driver {name}"
    return ""


def _programs(node: Path, places: Places) -> str:
    """Programs with ``node`` open, as far as this user may see."""
    found = set()
    for descriptor in places.proc.glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if descriptor.readlink() == node:
                process = descriptor.parents[1]
                found.add(f"{_text(process / 'comm')} (process {process.name})")
    return ", ".join(sorted(found))


def _padded(file: Path) -> str:
    """A bus or device number as in /dev/bus/usb."""
    text = _text(file)
    return text.zfill(3) if text.isdigit() else "000"


def _text(file: Path) -> str:
    try:
        text = file.read_text(errors="replace")
    except OSError:
        return ""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
