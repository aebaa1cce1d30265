"""What is attached, from a made-up machine: the kernel's files as they look on a real one."""

import time
from pathlib import Path

import pytest

from bench.ccid.descriptor import ClassDescriptor, Feature, Voltage
from bench.iso7816.port import ExchangeLevel
from bench.readers.contract import RateControl, StampedAt
from bench.rig import inventory
from bench.rig.inventory import Found, Interface, Inventory, Places, asked
from bench.rig.inventory_match import match, matches, reader_key
from bench.rig.inventory_pcsc import short_name
from bench.rig.inventory_serial import serial_ports
from bench.rig.inventory_usb import usb_readers
from bench.rig.model import ReaderModel

DEVICE = bytes.fromhex("12 01 00 02 00 00 00 08 E6 08 37 34 00 01 01 02 03 01")
CONFIGURATION = bytes.fromhex("09 02 5D 00 01 01 00 A0 32")
CCID = ClassDescriptor(
    slots=2,
    voltages=Voltage.V5 | Voltage.V3,
    protocols=(0, 1),
    default_clock_khz=4000,
    maximum_clock_khz=8000,
    features=Feature.TPDU,
).encode()
INTERRUPT = bytes.fromhex("07 05 83 03 08 00 10")
BULK = bytes.fromhex("07 05 01 02 40 00 00 07 05 82 02 40 00 00")


def interface(klass: int, protocol: int = 0, number: int = 0) -> bytes:
    return bytes((9, 4, number, 0, 3, klass, 0, protocol, 0))


class Machine:
    """A made-up machine's files."""

    def __init__(self, root: Path) -> None:
        self.places = Places(root / "sys", root / "dev", root / "proc")
        for folder in ("sys/bus/usb/devices", "sys/class/tty", "dev/bus/usb/001", "dev/serial/by-id", "proc"):
            (root / folder).mkdir(parents=True)
        self.root = root

    def usb(self, name: str, descriptors: bytes, number: int, **texts: str) -> Path:
        device = self.places.sys / "bus/usb/devices" / name
        device.mkdir()
        (device / "descriptors").write_bytes(descriptors)
        defaults = {"idVendor": "08e6", "idProduct": "3437", "product": "PC Twin Reader", "manufacturer": "Gemalto"}
        for file, text in {**defaults, "busnum": "1", "devnum": str(number), **texts}.items():
            (device / file).write_text(f"{text}\n")
        (self.places.dev / f"bus/usb/001/{number:03}").touch()
        return device

    def tty(self, name: str, device: Path, by_id: str = "") -> None:
        port = self.places.sys / "class/tty" / name
        port.mkdir()
        (port / "device").symlink_to(device)
        (self.places.dev / name).touch()
        if by_id:
            (self.places.dev / "serial/by-id" / by_id).symlink_to(self.places.dev / name)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_ccid_reader_is_read_from_its_descriptors(machine: Machine) -> None:
    machine.usb("1-2", DEVICE + CONFIGURATION + interface(0x0B) + CCID + BULK + INTERRUPT, 7, serial="7A1F")
    (found,), remarks = usb_readers(machine.places)
    assert remarks == []
    assert (found.address, found.key, found.stable) == ("08e6:3437:7A1F", "usb:08e6:3437:7A1F", True)
    assert (found.name, found.where, found.node) == ("Gemalto PC Twin Reader", "bus port 1-2", (1, 7))
    able = found.abilities
    assert able is not None
    assert (able.level, able.rate, able.slots, able.classes) == (ExchangeLevel.TPDU, RateControl.SELECTABLE, 2, "AB")
    assert (able.clocks_hz, able.stamped, able.removal) == ((4_000_000, 8_000_000), StampedAt.TRANSFER, True)


@pytest.mark.parametrize(
    "features", [Feature.TPDU | Feature.AUTO_NEGOTIATION, Feature.SHORT_APDU, Feature.EXTENDED_APDU]
)
def test_who_chooses_the_rate_himself_is_not_offered_for_sweeps(machine: Machine, features: Feature) -> None:
    machine.usb("1-2", DEVICE + CONFIGURATION + interface(0x0B) + ClassDescriptor(features=features).encode(), 7)
    (found,), _ = usb_readers(machine.places)
    assert found.abilities is not None
    assert found.abilities.rate is RateControl.OBSERVED
    assert not found.abilities.removal


def test_a_reader_without_a_serial_number_is_known_by_its_port(machine: Machine) -> None:
    machine.usb("1-2.4", DEVICE + CONFIGURATION + interface(0x0B) + CCID, 9)
    (found,), _ = usb_readers(machine.places)
    assert (found.address, found.key, found.stable) == ("08e6:3437", "usb:08e6:3437@1-2.4", False)


def test_a_vendors_class_with_a_class_descriptor_is_a_reader_and_a_mouse_is_none(machine: Machine) -> None:
    machine.usb("1-1", DEVICE + CONFIGURATION + interface(0xFF) + CCID, 3, serial="A")
    machine.usb("1-3", DEVICE + CONFIGURATION + interface(0x03) + bytes.fromhex("09 21 11 01 00 01 22 34 00"), 4)
    machine.usb("1-4", DEVICE + CONFIGURATION + interface(0xFF), 5)
    found, _ = usb_readers(machine.places)
    assert [each.serial for each in found] == ["A"]


def test_an_iccd_token_is_told_and_left_to_pcscd(machine: Machine) -> None:
    machine.usb("1-1", DEVICE + CONFIGURATION + interface(0x0B, 2) + CCID, 3)
    (found,), _ = usb_readers(machine.places)
    assert found.abilities is None
    assert "ICCD version B" in found.remark


@pytest.mark.parametrize(
    "harm", [CCID[:30], bytes.fromhex("36 21"), bytes.fromhex("00 00"), b"", CCID[:40] + b"\xff" * 14]
)
def test_damaged_descriptors_are_told(machine: Machine, harm: bytes) -> None:
    machine.usb("1-1", DEVICE + CONFIGURATION + interface(0x0B) + harm, 3)
    (found,), _ = usb_readers(machine.places)
    assert found.abilities is None
    assert "class descriptor is damaged" in found.remark


def test_who_holds_a_reader_is_told(machine: Machine) -> None:
    device = machine.usb("1-2", DEVICE + CONFIGURATION + interface(0x0B) + CCID, 7, serial="7A1F")
    drivers = machine.root / "sys/bus/usb/drivers/usbfs"
    drivers.mkdir(parents=True)
    part = device.parent / "1-2:1.0"
    part.mkdir()
    assert usb_readers(machine.places)[0][0].holder == ""
    (part / "driver").symlink_to(drivers)
    assert usb_readers(machine.places)[0][0].holder == "a program"
    process = machine.root / "proc/421"
    (process / "fd").mkdir(parents=True)
    (process / "comm").write_text("pcscd\n")
    (process / "fd/9").symlink_to(machine.places.dev / "bus/usb/001/007")
    assert usb_readers(machine.places)[0][0].holder == "pcscd (process 421)"


def test_serial_ports_have_by_id_names_and_their_adapters_identity(machine: Machine) -> None:
    adapter = machine.usb(
        "1-5", b"", 8, idVendor="0403", idProduct="6001", serial="A1", product="UART", manufacturer="FTDI"
    )
    port = adapter / "1-5:1.0/ttyUSB0"
    port.mkdir(parents=True)
    (port / "latency_timer").write_text("16\n")
    machine.tty("ttyUSB0", port, "usb-FTDI_UART_A1-if00-port0")
    found, _ = serial_ports(machine.places)
    (one,) = found
    assert one.address == str(machine.places.dev / "serial/by-id/usb-FTDI_UART_A1-if00-port0")
    assert (one.key, one.stable, one.serial, one.name) == ("usb:0403:6001:A1#0", True, "A1", "FTDI UART")
    assert one.abilities is not None
    assert (one.abilities.level, one.abilities.rate) == (ExchangeLevel.CHARACTER, RateControl.SELECTABLE)
    assert one.abilities.resolution_ns == 16_000_000


def test_ports_with_nothing_behind_are_left_out(machine: Machine) -> None:
    platform = machine.root / "sys/devices/platform/serial8250"
    platform.mkdir(parents=True)
    for name, kind in (("ttyS0", "4"), ("ttyS1", "0")):
        machine.tty(name, platform)
        (machine.places.sys / "class/tty" / name / "type").write_text(f"{kind}\n")
    (machine.places.sys / "class/tty/tty7").mkdir()
    (found,), _ = serial_ports(machine.places)
    assert (found.key, found.stable, found.remark) == ("serial:ttyS0", True, "")


def test_a_machine_without_any_bus_says_so(tmp_path: Path) -> None:
    nowhere = Places(tmp_path / "sys", tmp_path / "dev", tmp_path / "proc")
    for lister in (usb_readers, serial_ports):
        found, remarks = lister(nowhere)
        assert found == []
        assert len(remarks) == 1


def test_an_interface_that_hangs_or_breaks_is_a_remark() -> None:
    begun = time.monotonic()
    hung = asked(Interface.PCSC, lambda: (time.sleep(5), ((), ()))[1], 0.1)  # type: ignore[func-returns-value]
    assert time.monotonic() - begun < 2
    assert "did not answer within 0.1 s" in hung.remarks[0].text

    def breaks() -> tuple[tuple[Found, ...], tuple[str, ...]]:
        raise RuntimeError("kaput")

    assert "cannot be asked: RuntimeError: kaput" in asked(Interface.USB, breaks, 1).remarks[0].text


def test_two_devices_with_one_serial_number_are_known_by_their_places(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place, number in (("1-1", 3), ("1-2", 4)):
        machine.usb(place, DEVICE + CONFIGURATION + interface(0x0B) + CCID, number, serial="0001")
    monkeypatch.setattr("bench.rig.inventory_pcsc.pcsc_readers", lambda _usb: ([], ["no pcscd here"]))
    taken: Inventory = inventory.take_inventory(machine.places)
    assert len({each.key for each in taken.found}) == 2
    assert not any(each.stable for each in taken.found)
    assert all("same serial number" in each.remark for each in taken.found)
    assert [remark.text for remark in taken.remarks] == ["no pcscd here"]


def test_a_pcsc_name_loses_its_numbers_where_only_one_reader_has_it() -> None:
    names = ["ACS ACR38 00 00", "Gem 01 00", "Gem 02 00"]
    assert short_name(names[0], names) == "ACS ACR38"
    assert short_name(names[1], names) == "Gem 01 00"


def pcsc(name: str, serial: str = "") -> Found:
    return Found(Interface.PCSC, name, f"{name} 00 00", f"pcsc:{name}", False, "pcscd", serial)


def test_a_rig_means_the_reader_with_its_serial_number_and_no_other() -> None:
    model = ReaderModel.model_validate({"kind": "pcsc", "name": "Gem", "serial": "7"})
    assert matches(pcsc("Gem", "7"), model)
    assert matches(pcsc("Other name", "7"), model)
    assert not matches(pcsc("Gem", "8"), model)


def test_of_several_that_could_be_meant_only_an_exact_name_is() -> None:
    model = ReaderModel.model_validate({"kind": "pcsc", "name": "Gem"})
    assert match(model, [pcsc("Gem A"), pcsc("Gem B")]) is None
    assert match(model, [pcsc("Gem"), pcsc("Gem B")]) == pcsc("Gem")


def test_a_reader_is_locked_by_what_it_is_whatever_it_is_called(machine: Machine) -> None:
    machine.usb("1-2", DEVICE + CONFIGURATION + interface(0x0B) + CCID, 7, serial="7A1F")
    for device in ("08e6:3437", "08E6:3437:7A1F"):
        model = ReaderModel.model_validate({"kind": "usb", "device": device})
        assert reader_key(model, machine.places) == "usb:08e6:3437:7A1F"
    absent = ReaderModel.model_validate({"kind": "usb", "device": "1d50:6141"})
    assert reader_key(absent, machine.places) == "usb:1d50:6141"
