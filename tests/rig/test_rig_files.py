"""Rig files: what is right is read, what is wrong is told with its place."""

import re
from pathlib import Path

import pytest

from bench.engine import Timebase
from bench.files.mistakes import FileError
from bench.rig.given import Given, Needs
from bench.rig.loader import default_rig_file, load_rig_file
from bench.rig.model import ReaderKind
from bench.rig.opening import unmet

ROOT = Path(__file__).resolve().parents[2]
WRONG = Path(__file__).parent / "wrong"
PLACED = re.compile(r"[^:\n]+\.yaml:[0-9]+:[0-9]+: .+; expected .+")


def expected() -> dict[str, list[str]]:
    lines: dict[str, list[str]] = {}
    for line in (WRONG / "expected.txt").read_text(encoding="utf-8").splitlines():
        lines.setdefault(line.partition(":")[0], []).append(line)
    return lines


@pytest.mark.parametrize("name", sorted(path.name for path in WRONG.glob("*.yaml")))
def test_a_wrong_file_is_told_with_its_places(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(WRONG)
    with pytest.raises(FileError) as caught:
        load_rig_file(Path(name))
    told = str(caught.value).splitlines()
    assert all(PLACED.fullmatch(line) for line in told)
    assert told == expected()[name]


@pytest.mark.parametrize("path", sorted((ROOT / "rigs").glob("*.yaml")), ids=lambda path: path.stem)
def test_our_own_rigs_are_right(path: Path) -> None:
    assert load_rig_file(path).rigs


def test_the_default_is_one_software_chain_wherever_one_is(tmp_path: Path) -> None:
    built_in, text = default_rig_file(tmp_path)
    ours, _ = default_rig_file(ROOT)
    assert built_in.model_copy(update={"rigs": ()}) == ours.model_copy(update={"rigs": ()})
    assert built_in.rigs[0].model_copy(update={"notes": ours.rigs[0].notes}) == ours.rigs[0]
    assert "software" in text


def test_a_stations_own_default_comes_first(tmp_path: Path) -> None:
    (tmp_path / "rigs").mkdir()
    text = "station: lab-3\nrigs:\n  - name: own\n    reader: {kind: software}\n"
    (tmp_path / "rigs" / "default.yaml").write_text(text, encoding="utf-8")
    file, read = default_rig_file(tmp_path)
    assert (file.station, read) == ("lab-3", text)


def test_a_rig_file_as_a_lab_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    (tmp_path / "declarations").mkdir()
    declaration = tmp_path / "declarations" / "acme-7.yaml"
    declaration.write_text("card: Acme 7\nprotocols: [T=0]\nstack: none\n", encoding="utf-8")
    path.write_text(
        """station: lab-3
rigs:
  - name: three-in-a-row
    reader: {kind: serial, port: "rfc2217://rack-2:4001", clock_hz: 3579545, reset: rts}
    wires: {vcc: shared, clk: shared, rst: per-card, detect: polls}
    poll_ms: {first: 1, longest: 50}
    cards:
      - {profile: reference, ram: 2001-gemplus, declares: declarations/acme-7.yaml, atr: 3B 95 11}
      - {profile: reference}
    notes: second shelf, blue cable
""",
        encoding="utf-8",
    )
    (rig,) = load_rig_file(path).rigs
    assert rig.real
    assert rig.reader.kind is ReaderKind.SERIAL
    assert rig.cards[0].atr == bytes.fromhex("3B9511")
    assert rig.poll_ms.longest == 50
    assert [each and each.card for each in rig.declarations] == ["Acme 7", None]
    timebase = rig.timebase(Given(clock_hz=4_000_000))
    assert timebase == Timebase.for_clocks(4_000_000, 3_579_545)


def test_given_is_told_with_units() -> None:
    texts = Given.model_validate({"ta1": "96", "card_time": "1500 us", "mtu": "64"}).texts()
    assert texts["ta1"] == "96"
    assert texts["card_time"] == "1500 us"
    assert texts["protocol"] == "T=0"
    assert "poll" not in texts


@pytest.mark.parametrize(
    ("needs", "missing"),
    [
        ({}, ""),
        ({"level": "apdu"}, ""),
        ({"level": "character"}, ""),
        ({"level": "edge"}, "needs level edge, declared is character"),
        ({"channels": "8"}, ""),
        ({"channels": "9"}, "needs channels 9, declared is 8"),
        ({"protocol": "T=0"}, ""),
        ({"protocol": "T=1"}, "needs protocol T=1, declared is T=0"),
        ({"faults": "true"}, "needs faults yes, declared is no"),
        ({"mtu": "64"}, "needs mtu 64, of which card and rig declare nothing"),
    ],
)
def test_needs(needs: dict[str, str], missing: str) -> None:
    declares = {"level": "character", "channels": 8, "protocol": ("T=0",), "faults": False}
    assert Needs.model_validate(needs).missing(declares) == missing


@pytest.mark.parametrize(
    ("rig", "level", "reason"),
    [
        ("pcsc-usb-t1", "character", "needs level character: PC/SC shows"),
        ("pcsc-vpcd", "edge", "needs level edge: PC/SC shows"),
        ("pcsc-gempc-t0", "apdu", ""),
        ("pcsc-gempc-t0", None, ""),
        ("serial-pty", "character", ""),
        ("usb-raw-t0", "edge", ""),  # its descriptor tells, once it is open
    ],
)
def test_what_no_driver_shows_is_known_before_it_is_asked(rig: str, level: str | None, reason: str) -> None:
    """A card that is odd on its line, where nobody sees the line, is not given to a driver that may choke on it."""
    model = load_rig_file(ROOT / "rigs" / f"{rig}.yaml").rigs[0]
    told = unmet(model, Needs.model_validate({} if level is None else {"level": level}))
    assert told.startswith(reason)
    assert bool(told) is bool(reason)
