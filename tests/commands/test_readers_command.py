"""`cardbench readers`, `rig scan` and `calibrate`: what they say, keep and end with; and met by a real pcscd."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench.cli import cardbench
from bench.iso7816.port import ExchangeLevel
from bench.observe import Exchange, ListSink
from bench.readers.contract import Abilities, RateControl, StampedAt
from bench.rig.build import build_rig
from bench.rig.calibration import read_calibrations, summary
from bench.rig.given import Given
from bench.rig.inventory import Found, Interface, Inventory, Remark
from bench.rig.loader import load_rig_file
from bench.rig.pcscd import missing_parts
from bench.rig.served_reader import close_served_reader
from bench.scenario.registry import step_classes
from tests.processes import begun

ROOT = Path(__file__).resolve().parents[2]
MISSING = missing_parts() or ("" if find_spec("smartcard") else "missing pyscard: pip install 'cardbench[pcsc]'")
needs_pcscd = pytest.mark.skipif(bool(MISSING), reason=MISSING or "nothing is missing")

ABLE = Abilities(
    ExchangeLevel.TPDU, RateControl.SELECTABLE, (0, 1), "ABC", (4_000_000,), 2, 125_000, StampedAt.TRANSFER, True
)
GEM = Found(
    Interface.USB,
    "08e6:3437:7A1F",
    "PC Twin",
    "usb:08e6:3437:7A1F",
    True,
    "bus port 1-3",
    "7A1F",
    ABLE,
    holder="pcscd (process 7)",
)
ACR = Found(
    Interface.PCSC,
    "ACR38",
    "ACR38 00 00",
    "usb:1:2@1-4",
    False,
    "bus port 1-4",
    card=True,
    atr=bytes.fromhex("3B 02 14 50"),
)
ATTACHED = Inventory((ACR, GEM), (Remark(Interface.SERIAL, "the kernel shows no serial ports here"),))


@pytest.fixture
def attached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.commands.readers.take_inventory", lambda: ATTACHED)
    monkeypatch.setattr("bench.commands.rigs.take_inventory", lambda: ATTACHED)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cardbench, arguments)


@pytest.mark.usefixtures("attached")
def test_readers_are_listed_for_people() -> None:
    result = run("readers")
    assert result.exit_code == 0
    assert "usb  08e6:3437:7A1F" in result.stdout
    assert (
        "level tpdu, rate selectable, T=0/T=1, classes ABC, 4 MHz, 2 slots, times 125 µs (USB transfers)"
        in result.stdout
    )
    assert "in use by pcscd (process 7)" in result.stdout
    assert "present, ATR 3B 02 14 50" in result.stdout
    assert "unstable" in result.stdout.partition("usb  08e6")[0]
    assert result.stderr == "serial: the kernel shows no serial ports here\n"


@pytest.mark.usefixtures("attached")
def test_readers_are_listed_for_programs() -> None:
    result = run("readers", "--json")
    tree = json.loads(result.stdout)
    assert [each["interface"] for each in tree["readers"]] == ["pcsc", "usb"]
    assert tree["readers"][1]["abilities"]["rate"] == "selectable"
    assert tree["readers"][0]["atr"] == "3B 02 14 50"
    assert tree["remarks"] == [{"interface": "serial", "text": "the kernel shows no serial ports here"}]


def test_a_machine_without_readers_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.commands.readers.take_inventory", lambda: Inventory((), ()))
    result = run("readers")
    assert (result.exit_code, result.stdout) == (0, "no reader is attached\n")


def test_without_anything_installed_there_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_module(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr("bench.readers.pcsc_adapter._library", None)
    monkeypatch.setattr("bench.readers.pcsc_adapter.import_module", no_module)
    result = run("readers")
    assert result.exit_code == 0
    assert "pcsc: pyscard is not installed" in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.usefixtures("attached")
def test_scan_writes_then_has_nothing_to_do(tmp_path: Path) -> None:
    path = tmp_path / "rigs/lab.yaml"
    first = run("rig", "scan", "--out", str(path), "--station", "lab-3")
    assert first.exit_code == 0
    assert f"{path} written" in first.stdout
    file = load_rig_file(path)
    assert (file.station, len(file.rigs)) == ("lab-3", 2)
    before = path.read_bytes()
    again = run("rig", "scan", "--out", str(path))
    assert f"{path} is up to date" in again.stdout
    assert path.read_bytes() == before


@pytest.mark.usefixtures("attached")
def test_a_dry_run_shows_the_change_and_makes_none(tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    text = "station: lab   # mine\nrigs:\n  - {name: a, reader: {kind: usb, device: '08e6:3437'}, cards: [{}]}\n"
    path.write_text(text)
    result = run("rig", "scan", "--out", str(path), "--dry-run", "--only", "usb")
    assert result.exit_code == 0
    assert "changed: a: serial 7A1F put in" in result.stdout
    assert "-  - {name: a, reader: {kind: usb, device: '08e6:3437'}, cards: [{}]}" in result.stdout
    assert "+  - {name: a, reader: {kind: usb, device: '08e6:3437', serial: 7A1F}, cards: [{}]}" in result.stdout
    assert "ACR38" not in result.stdout
    assert path.read_text() == text


@pytest.mark.usefixtures("attached")
def test_a_file_with_a_mistake_is_named_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text("station: lab\nrigs: none\n")
    ran = subprocess.run(
        [sys.executable, "-m", "bench.cli", "rig", "scan", "--out", str(path)],
        capture_output=True, text=True, timeout=60, check=False, cwd=ROOT, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert ran.returncode == 2 or "nothing is attached" in ran.stderr
    assert path.read_text() == "station: lab\nrigs: none\n"
    assert "Traceback" not in ran.stderr


def test_nothing_attached_and_no_file_is_nothing_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.commands.rigs.take_inventory", lambda: Inventory((), ()))
    result = run("rig", "scan", "--out", str(tmp_path / "lab.yaml"))
    assert result.exit_code == 3
    assert not (tmp_path / "lab.yaml").exists()


@pytest.mark.parametrize("command", [("readers",), ("rig", "scan"), ("calibrate",)])
def test_help_teaches(command: tuple[str, ...]) -> None:
    result = run(*command, "--help")
    assert "Examples:" in result.stdout
    assert "Exit status:" in result.stdout


def test_the_software_reader_takes_no_time_of_its_own(tmp_path: Path) -> None:
    rig = tmp_path / "soft.yaml"
    rig.write_text("station: lab\nrigs:\n  - {name: soft, reader: {kind: software}}\n")
    result = run("calibrate", "--rig", str(rig), "--rounds", "20")
    assert result.exit_code == 0, result.output
    assert "median 0.0 µs" in result.stdout
    (kept,) = read_calibrations(tmp_path / "soft.calibration.json").calibrations
    assert [each.kind for each in kept.series] == ["bare", "data"]
    assert {time for each in kept.series for time in each.times_ns} == {0}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--rig-name", "other"), "has no rig named 'other'; it has soft"),
        (("--command", "00 A4"), "no command APDU"),
        (("--command", "zz"), "no command APDU"),
        (("--rounds", "3"), "3 is not in the range"),
    ],
)
def test_wrong_use_is_told(arguments: tuple[str, ...], told: str, tmp_path: Path) -> None:
    rig = tmp_path / "soft.yaml"
    rig.write_text("station: lab\nrigs:\n  - {name: soft, reader: {kind: software}}\n")
    result = run("calibrate", "--rig", str(rig), *arguments)
    assert result.exit_code == 2
    assert told in " ".join(result.stderr.split())


# -- with a real pcscd -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def offered() -> Iterator[dict[str, str]]:
    """The reference card behind a pcscd of its own; gives the environment in which programs find it."""
    command = (sys.executable, "-m", "bench.cli", "card", "--serve", "vpcd", "--pcscd")
    with begun(command) as process:
        assert process.stdout is not None
        exported = process.stdout.readline()
        assert exported.startswith("export PCSCLITE_CSOCK_NAME="), process.stderr and process.stderr.read()
        process.stdout.readline()
        yield {**os.environ, "PCSCLITE_CSOCK_NAME": exported.strip().partition("=")[2]}
        process.send_signal(signal.SIGINT)
        process.wait(60)


def program(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench.cli", *arguments],
        env=environment, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.witness
@pytest.mark.real
@needs_pcscd
def test_a_real_pcscd_tells_of_its_readers_and_cards(offered: dict[str, str], tmp_path: Path) -> None:
    limit = time.monotonic() + 10
    while True:
        tree = json.loads(program(offered, "readers", "--json").stdout)
        readers = {each["address"]: each for each in tree["readers"] if each["interface"] == "pcsc"}
        if any(each["card"] for each in readers.values()) or time.monotonic() > limit:
            break
    assert set(readers) == {"cardbench 00 00", "cardbench 00 01"}
    first, second = readers["cardbench 00 00"], readers["cardbench 00 01"]
    assert (first["card"], second["card"]) == (True, False)
    assert first["atr"].startswith("3B")
    path = tmp_path / "lab.yaml"
    written = program(offered, "rig", "scan", "--out", str(path), "--only", "pcsc")
    assert written.returncode == 0, written.stderr
    file = load_rig_file(path)
    assert [rig.reader.name for rig in file.rigs] == ["cardbench 00 00", "cardbench 00 01"]
    assert file.rigs[0].cards[0].atr == bytes.fromhex(first["atr"])
    assert "up to date" in program(offered, "rig", "scan", "--out", str(path), "--only", "pcsc").stdout
    ran = program(offered, "calibrate", "--rig", str(path), "--rounds", "30")
    assert ran.returncode == 0, ran.stderr
    absent = program(offered, "calibrate", "--rig", str(path), "--rig-name", file.rigs[1].name, "--rounds", "30")
    assert absent.returncode == 3
    assert "Traceback" not in absent.stderr
    assert "no card to measure with" in absent.stderr


@pytest.mark.witness
@pytest.mark.real
@needs_pcscd
def test_a_calibrated_reader_divides_the_exchanges_of_its_runs(tmp_path: Path) -> None:
    rig = tmp_path / "pcsc-vpcd.yaml"
    rig.write_bytes((ROOT / "rigs/pcsc-vpcd.yaml").read_bytes())
    result = run("calibrate", "--rig", str(rig), "--rounds", "60")
    assert result.exit_code == 0, result.output
    model = load_rig_file(rig).rigs[0]
    (kept,) = model.calibrations
    found = summary(kept.series[0].times_ns)
    assert 0 < found.low_ns <= found.median_ns <= found.high_ns
    sink = ListSink()
    try:
        opened = build_rig(model, Given(), sink, 0, True)
        try:
            opened.engine.call(opened.host.start)
            assert opened.engine.wait(lambda: bool(opened.host.cards), opened.engine.timebase.nanoseconds(20 * 10**9))
        finally:
            opened.close()
    finally:
        close_served_reader()
    exchanges = [each for each in sink.observations if isinstance(each, Exchange) and not each.error]
    assert exchanges
    for each in exchanges:
        assert each.reader_ticks + each.wire_ticks + each.card_ticks == each.duration_ticks
        assert min(each.reader_ticks, each.wire_ticks, each.card_ticks, each.host_ticks) >= 0
        assert each.uncertainty_ticks > 0
    medians = [opened.engine.timebase.nanoseconds(summary(each.times_ns).median_ns) for each in kept.series]
    assert all(each.reader_ticks == min(each.duration_ticks, medians[len(each.command) > 5]) for each in exchanges)


def test_the_step_that_moves_a_card_is_there() -> None:
    assert {"remove_card", "insert_card", "move_card"} <= step_classes().keys()
