"""Rig files from what is attached: new ones, and merges that lose nothing of the lab's."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.files.mistakes import FileError
from bench.rig.inventory import Found, Interface
from bench.rig.loader import parse_rig_file
from bench.rig.scan import merge, new_file, rig_name
from bench.rig.yaml_edit import scalar

PATH = Path("rigs/lab.yaml")
ATR = bytes.fromhex("3B 02 14 50")
ACR = Found(
    Interface.PCSC,
    "ACS ACR38U-CCID",
    "ACS ACR38U-CCID 00 00",
    "usb:072f:90cc@1-2",
    False,
    "bus port 1-2",
    card=True,
    atr=ATR,
)
GEM = Found(
    Interface.USB, "08e6:3437:7A1F", "Gemalto PC Twin Reader", "usb:08e6:3437:7A1F", True, "bus port 1-3", "7A1F"
)
FTDI = Found(
    Interface.SERIAL,
    "/dev/serial/by-id/usb-FTDI_UART_A1-if00-port0",
    "FTDI UART",
    "usb:0403:6001:A1#0",
    True,
    "/dev/ttyUSB0",
    "A1",
)

LAB = """\
# Station 3, second shelf. Ask Anna before moving anything.
station: lab-3

rigs:
  - name: software        # for a quick look
    reader: {kind: software}

  - name: shelf-two       # blue cable
    notes: |
      contacts cleaned in May
      # this is no comment, it belongs to the notes
    poll_ms: {longest: 20,   first: 2}
    reader:
      # was in lab 2 before
      device: 08e6:3437:7A1F   # the good one
      kind: usb
    cards:
      - profile: acme-7
        atr: "3B 02 14 50"
    hands: {pull: "uhubctl -l 1-1 -p 2 -a off", insert: 'uhubctl -l 1-1 -p 2 -a on'}
    guard: {write_budget: 500}

  - name: old-reader
    cards: [{profile: plain}]
    reader: {name: 'Old Reader', kind: pcsc}
    # the reader above is away for repair

# end of file
"""


def test_a_new_file_has_a_rig_for_each_reader() -> None:
    made = new_file([ACR, GEM, FTDI], "lab-9")
    file = parse_rig_file(made.text, PATH)
    assert file.station == "lab-9"
    assert [rig.reader.kind for rig in file.rigs] == ["pcsc", "usb", "serial"]
    assert [rig.reader.serial for rig in file.rigs] == [None, "7A1F", "A1"]
    assert file.rigs[0].cards[0].atr == ATR
    assert all(rig.guard.write_budget == 0 for rig in file.rigs)
    assert made.added == tuple(rig.name for rig in file.rigs)


def test_merging_again_changes_nothing() -> None:
    text = new_file([ACR, GEM, FTDI], "lab-9").text
    again = merge(text, PATH, [FTDI, GEM, ACR])
    assert again.text == text
    assert (again.added, again.changed, again.gone) == ((), (), ())


def test_every_line_of_the_labs_file_stays() -> None:
    merged = merge(LAB, PATH, [ACR, GEM, FTDI])
    lines = merged.text.splitlines()
    kept = iter(lines)
    assert all(line in kept for line in LAB.splitlines())  # in their order
    new = [line for line in lines if line not in LAB.splitlines()]
    assert new[0] == "      serial: 7A1F"
    assert merged.changed == ("shelf-two: serial 7A1F put in",)
    assert merged.gone == ("old-reader: its reader is not attached (Old Reader); kept",)
    file = parse_rig_file(merged.text, PATH)
    assert [rig.name for rig in file.rigs][:3] == ["software", "shelf-two", "old-reader"]
    assert [rig.name for rig in file.rigs][3:] == list(merged.added)
    before = parse_rig_file(LAB, PATH)
    assert file.rigs[0] == before.rigs[0]
    assert file.rigs[2] == before.rigs[2]
    assert file.rigs[1].notes == before.rigs[1].notes
    assert merge(merged.text, PATH, [ACR, GEM, FTDI]).text == merged.text


def test_a_comment_of_the_last_rig_stays_with_it() -> None:
    text = merge(LAB, PATH, [ACR, GEM]).text
    assert text.index("away for repair") < text.index("ACS ACR38U-CCID") < text.index("# end of file")


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_line_ends_are_the_files_own(newline: str) -> None:
    text = LAB.replace("\n", newline)
    merged = merge(text, PATH, [ACR, GEM]).text
    assert merged.count("\n") - merged.count("\r\n") == (0 if newline == "\r\n" else merged.count("\n"))


def test_a_file_in_flow_style_is_added_to_in_flow_style() -> None:
    text = "station: lab\nrigs: [{name: a, reader: {kind: software}}]  # short\n"
    merged = merge(text, PATH, [GEM]).text
    assert merged.startswith(
        "station: lab\nrigs: [{name: a, reader: {kind: software}}, {name: gemalto-pc-twin-reader-usb"
    )
    assert merged.endswith("]  # short\n")
    assert len(parse_rig_file(merged, PATH).rigs) == 2


def test_a_reader_that_was_moved_is_known_by_its_serial_number() -> None:
    text = "station: lab\nrigs:\n  - name: a\n    reader: {kind: serial, port: /dev/ttyUSB7, serial: A1}  # arm\n    cards: [{}]\n"
    merged = merge(text, PATH, [FTDI])
    assert merged.text == text.replace("/dev/ttyUSB7", FTDI.address)
    assert merged.changed == (f"a: port was /dev/ttyUSB7, is {FTDI.address}",)
    assert merged.added == ()


def test_a_reader_with_another_serial_number_is_another_reader() -> None:
    text = new_file([GEM], "lab").text
    other = replace(GEM, serial="7A20", address="08e6:3437:7A20", key="usb:08e6:3437:7A20")
    merged = merge(text, PATH, [other])
    assert len(merged.added) == len(merged.gone) == 1


def test_the_atr_decides_only_where_one_of_each_is_left() -> None:
    text = "station: lab\nrigs:\n  - name: a\n    reader: {kind: pcsc, name: Other Name}\n    cards: [{atr: 3B 02 14 50}]\n"
    merged = merge(text, PATH, [ACR])
    assert merged.changed == ("a: name was Other Name, is ACS ACR38U-CCID",)
    twins = merge(text, PATH, [ACR, replace(ACR, address="Second", name="Second 01 00", key="usb:2")])
    assert twins.changed == ()
    assert len(twins.added) == 2


def test_another_card_in_the_reader_is_told_and_not_written() -> None:
    text = new_file([ACR], "lab").text
    merged = merge(text, PATH, [replace(ACR, atr=bytes.fromhex("3B 00"))])
    assert merged.text == text
    assert "another card is in its reader, ATR 3B 00" in merged.remarks[0]


def test_rigs_that_are_not_of_this_machine_are_not_missed() -> None:
    text = (
        "station: lab\nrigs:\n  - name: a\n    reader: {kind: serial, port: 'rfc2217://rack:4001'}\n    cards: [{}]\n"
        "  - {name: b, reader: {kind: pcsc, name: x}, serve: {way: vpcd}, cards: [{}]}\n"
    )
    assert merge(text, PATH, []).gone == ()


def test_a_file_with_mistakes_is_left_alone() -> None:
    with pytest.raises(FileError, match=r"rigs/lab.yaml:2:1: .*unknown key 'rig'"):
        merge("station: lab\nrig: []\n", PATH, [GEM])


def test_names_are_ones_a_rig_may_have_and_differ() -> None:
    odd = replace(GEM, name="Ünïcode (R) Reader™ 3000 Pro Max")
    first = rig_name(odd, [])
    assert rig_name(odd, [first]) == f"{first}-2"
    assert parse_rig_file(new_file([odd, odd], "lab").text, PATH).rigs[1].name == f"{first}-2"


@given(
    st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1).filter(
        lambda text: text.strip() == text
    )
)
def test_whatever_a_reader_calls_itself_is_written_so_that_it_is_read_back(name: str) -> None:
    import yaml

    assert yaml.load(f"{{a: {scalar(name)}, b: c}}", Loader=yaml.BaseLoader)["a"] == name
    assert yaml.load(f"a: {scalar(name)}\nb: c\n", Loader=yaml.BaseLoader)["a"] == name
