"""Serial ports of this machine, with the by-id names that udev gives: a Phoenix interface cannot be told from any other port, so all are listed."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bench.iso7816.port import ExchangeLevel
from bench.readers.contract import Abilities, RateControl, StampedAt
from bench.readers.serial_line import LOCAL_RESOLUTION_NS
from bench.rig.inventory import Found, Interface, Places
from bench.rig.inventory_usb import usb_key

TTYS: Final = "class/tty"
BY_ID: Final = "serial/by-id"
NO_UART: Final = "0"
"""``type`` of a port of the 8250 driver behind which nothing is."""


def serial_ports(places: Places) -> tuple[list[Found], list[str]]:
    """Every serial port with hardware behind it, and remarks."""
    folder = places.sys / TTYS
    if not folder.is_dir():
        return [], ["the kernel shows no serial ports here (no /sys/class/tty)"]
    names = _by_id(places)
    found: list[Found] = []
    for port in sorted(folder.iterdir()):
        with contextlib.suppress(OSError):
            found.extend(_ports(port, names, places))
    return found, []


def _ports(port: Path, names: dict[Path, Path], places: Places) -> Iterator[Found]:
    if not (port / "device").exists() or _text(port / "type") == NO_UART:
        return
    node = places.dev / port.name
    if not node.exists():
        return
    usb = _usb_device((port / "device").resolve())
    by_id = names.get(node.resolve())
    address = str(by_id if by_id is not None else node)
    serial = _text(usb / "serial") if usb is not None else ""
    remark = (
        ""
        if by_id is not None or usb is None
        else "it has no by-id name: its number may change when it is plugged in again"
    )
    if not os.access(node, os.R_OK | os.W_OK):
        remark = f"this user may not use it: join the group of {node} (dialout on Debian: usermod -aG dialout USER)"
    yield Found(
        Interface.SERIAL,
        address,
        _name(usb) or "serial port",
        _key(usb, serial, port),
        by_id is not None or usb is None,
        str(node),
        serial,
        Abilities(
            ExchangeLevel.CHARACTER,
            RateControl.SELECTABLE,
            (0, 1),
            "",
            (),
            1,
            _resolution(port),
            StampedAt.UART,
            removal=False,
        ),
        remark=remark,
    )


def _key(usb: Path | None, serial: str, port: Path) -> str:
    """A port of the machine itself keeps its name; one of a USB adapter is known by that, and by which port of it it is."""
    if usb is None:
        return f"serial:{port.name}"
    pair = f"{_text(usb / 'idVendor').lower()}:{_text(usb / 'idProduct').lower()}"
    interface = (port / "device").resolve()
    while interface.parent != usb:
        interface = interface.parent
    return f"{usb_key(pair, serial, usb.name)}#{interface.name.rpartition('.')[2]}"


def _name(usb: Path | None) -> str:
    if usb is None:
        return ""
    return " ".join(filter(None, (_text(usb / "manufacturer"), _text(usb / "product"))))


def _usb_device(device: Path) -> Path | None:
    """The USB device that a port belongs to, None for a port of the machine itself."""
    for above in (device, *device.parents):
        if (above / "idVendor").is_file():
            return above
    return None


def _by_id(places: Places) -> dict[Path, Path]:
    folder = places.dev / BY_ID
    if not folder.is_dir():
        return {}
    return {link.resolve(): link for link in sorted(folder.iterdir(), reverse=True)}


def _resolution(port: Path) -> int:
    """FTDI's driver tells how long its chip gathers characters before it hands them over, in ms."""
    timer = _text((port / "device").resolve() / "latency_timer")
    return int(timer) * 1_000_000 if timer.isdigit() and int(timer) else LOCAL_RESOLUTION_NS


def _text(file: Path) -> str:
    try:
        return " ".join(file.read_text(errors="replace").split())
    except OSError:
        return ""
