"""Which attached reader a rig file means, and the identity under which it is locked."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from bench.rig.inventory import LIMIT_S, Found, Interface, Places, asked
from bench.rig.model import ReaderKind, ReaderModel


def matches(found: Found, reader: ReaderModel) -> bool:
    """Whether ``found`` is the reader that a rig file describes: by serial number where the file has one, else by its address."""
    if str(found.interface) != str(reader.kind):
        return False
    if reader.serial is not None:
        return reader.serial == found.serial
    match found.interface:
        case Interface.PCSC:
            return reader.name is not None and (reader.name in found.name)
        case Interface.USB:
            return _same_device(reader.device or "", found)
        case Interface.SERIAL:
            return _same_port(reader.port or "", found)


def match(reader: ReaderModel, found: Sequence[Found]) -> Found | None:
    """The one of ``found`` that is meant; None where none is, or several could be."""
    same = [each for each in found if matches(each, reader)]
    exact = [each for each in same if each.address == (reader.name or reader.device or reader.port)]
    chosen = exact if len(same) > 1 else same
    return chosen[0] if len(chosen) == 1 else None


@cache
def reader_key(reader: ReaderModel, places: Places | None = None) -> str:
    """The identity of a rig's reader: the attached device's, which is the same over every interface; else its address. Asks the drivers once."""
    where = places if places is not None else Places()
    address = reader.name or reader.device or reader.port or ""
    interface = Interface(str(reader.kind)) if reader.kind is not ReaderKind.SOFTWARE else None
    there = () if interface is None else asked(interface, lambda: (_attached(interface, where), ()), LIMIT_S).found
    found = match(reader, there)
    if found is not None:
        return found.key
    if interface is Interface.PCSC:
        from bench.rig.inventory_pcsc import pcsc_key

        return pcsc_key(reader.serial or address)
    return f"{reader.kind}:{reader.serial or address}"


def _attached(interface: Interface, places: Places) -> Sequence[Found]:
    from bench.rig.inventory_pcsc import pcsc_readers
    from bench.rig.inventory_serial import serial_ports
    from bench.rig.inventory_usb import usb_readers

    match interface:
        case Interface.PCSC:
            return pcsc_readers(usb_readers(places)[0])[0]
        case Interface.USB:
            return usb_readers(places)[0]
        case Interface.SERIAL:
            return serial_ports(places)[0]


def _same_device(device: str, found: Found) -> bool:
    """``vendor:product`` means any such reader, ``vendor:product:serial`` one."""
    vendor, _, rest = device.partition(":")
    product, _, serial = rest.partition(":")
    pair = ":".join(found.address.split(":")[:2])
    return f"{vendor}:{product}".lower() == pair.lower() and serial in ("", found.serial)


def _same_port(port: str, found: Found) -> bool:
    """By name, or by where the name leads to. A URL is no port of this machine."""
    if port in (found.address, found.where):
        return True
    if "://" in port:
        return False
    return Path(port).resolve() == Path(found.where).resolve()
