"""`cardbench atr`, `rates`, `apdu`: what they say, as text and as JSON, and their exit status."""

import contextlib
import json
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from bench.commands.explain import apdu_command, atr_command, rates_command
from bench.iso7816.apdu import CommandApdu
from bench.iso7816.explain import HexError, parse_hex, to_json
from bench.iso7816.explain_apdu import explain_apdu, explain_cla
from bench.iso7816.explain_atr import explain_atr

CARDOS = "3B F2 18 00 02 C1 0A 31 FE 58 C8 08 74"
UICC = "3B 97 95 80 1F 42 80 31 A0 73 BE 21 15 37"


def run(command: click.Command, *arguments: str) -> Result:
    return CliRunner().invoke(command, list(arguments))


def run_json(command: click.Command, *arguments: str) -> tuple[int, dict[str, Any]]:
    result = run(command, *arguments, "--json")
    found = json.loads(result.stdout)
    assert isinstance(found, dict)
    return result.exit_code, found


# --- atr -------------------------------------------------------------------------------------------------------------


def test_atr_explains_each_byte_and_what_follows() -> None:
    result = run(atr_command, *CARDOS.split())
    assert result.exit_code == 0
    for text in (
        "Fi = 372, Di = 12",
        "extra guard time N = 2",
        "IFSC = 254",
        "BWI = 5, CWI = 8",
        "115200 bit/s",
        "CWT",
    ):
        assert text in result.stdout
    assert "sound: no rule is broken" in result.stdout


def test_atr_as_json() -> None:
    status, found = run_json(atr_command, CARDOS)
    assert status == 0
    assert found["sound"] is True
    assert found["protocols"] == [1]
    assert [note["name"] for note in found["bytes"]] == (
        ["TS", "T0", "TA1", "TB1", "TC1", "TD1", "TC2", "TD2", "TA3", "TB3", "T1", "T2", "TCK"]
    )
    times = {time["name"]: time for time in found["times"]}
    assert times["CWT"]["etu"] == 267
    assert times["BWT"]["cycles"] == 11 * 31 + 32 * 960 * 372
    assert found["rates"][1]["baud"] == 115200.0


def test_atr_of_a_uicc_at_another_clock() -> None:
    status, found = run_json(atr_command, UICC, "--clock-hz", "5000000")
    assert status == 0
    assert found["rates"][1] == {
        "name": "highest by TA1",
        "ta1": "95",
        "f": 512,
        "d": 16,
        "etu_cycles": 32,
        "baud": 156250.0,
    }
    (wwt,) = [time for time in found["times"] if time["name"] == "WWT"]
    assert wwt["seconds"] == pytest.approx(0.98304)


def test_a_clock_above_fmax_is_warned_of() -> None:
    assert "above f(max)" in run(atr_command, UICC, "--clock-hz", "5000001").stdout
    assert "above f(max)" not in run(atr_command, UICC, "--clock-hz", "5000000").stdout


@pytest.mark.parametrize(
    ("hexadecimal", "texts"),
    [
        (CARDOS[:-2] + "75", ("byte 13 (TCK, 75)", "74 would be right", "8.2.5")),
        ("3B 10 71", ("byte 3 (TA1, 71)", "Fi code 7", "8.3, table 7")),
        ("3B 80", ("byte 3 (TD1, missing)", "8.2.2")),
        ("03 00", ("byte 1 (TS, 03)", "inverse")),
        ("3B 02 80 32", ("byte 4 (T2, 32)", "ISO/IEC 7816-4")),
    ],
)
def test_a_wrong_atr_exits_1_and_names_byte_and_rule(hexadecimal: str, texts: tuple[str, ...]) -> None:
    result = run(atr_command, hexadecimal)
    assert result.exit_code == 1
    for text in ("BROKEN", *texts):
        assert text in result.stdout
    status, found = run_json(atr_command, hexadecimal)
    assert status == 1
    assert found["sound"] is False
    assert found["broken"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("3B 0x",), "character 5 is 'x'"),
        (("3B0",), "one digit is missing"),
        (("  ",), "no bytes"),
        ((CARDOS, "--clock-hz", "0"), "0 Hz"),
    ],
)
def test_wrong_use_exits_2(arguments: tuple[str, ...], text: str) -> None:
    result = run(atr_command, *arguments)
    assert result.exit_code == 2
    assert text in result.stderr
    assert result.stdout == ""


@given(st.binary(max_size=40) | st.binary(max_size=40).map(lambda tail: b"\x3b" + tail))
def test_any_atr_can_be_explained(data: bytes) -> None:
    explanation = explain_atr(data)
    assert explanation.text()
    assert json.dumps(to_json(explanation))
    assert explanation.sound == (not explanation.broken)
    if explanation.bytes:
        assert bytes.fromhex("".join(note.value for note in explanation.bytes)) == data
        assert [note.position for note in explanation.bytes] == list(range(1, len(data) + 1))


# --- rates -----------------------------------------------------------------------------------------------------------


def test_rates_at_a_clock() -> None:
    status, found = run_json(rates_command, "--clock-hz", "3571200")
    assert status == 0
    rows = {row["ta1"]: row for row in found["rows"]}
    assert len(rows) == 108
    assert rows["11"]["baud"] == 9600.0
    assert rows["96"]["baud"] == 223200.0
    assert rows["14"]["etu_cycles"] == "93/2"
    assert rows["11"]["t0_bytes_per_s"] == 800.0


def test_rates_leave_out_what_the_clock_forbids() -> None:
    """8.3, table 7: f(max)."""
    status, found = run_json(rates_command, "--clock-hz", "4500000")
    assert status == 0
    assert {row["ta1"] for row in found["rows"]}.isdisjoint({f"0{d}" for d in "123456789"})
    assert found["above_fmax"] == 9
    assert "left out: 9 codes" in run(rates_command, "--clock-hz", "4500000").stdout


def test_rates_of_one_card() -> None:
    result = run(rates_command, "--clock-hz", "3571200", "--ta1", "96")
    assert result.exit_code == 0
    assert "ta1=96" in result.stdout
    assert "clock_hz=3571200" in result.stdout
    _, found = run_json(rates_command, "--ta1", "96")
    assert {row["ta1"] for row in found["rows"]} >= {"11", "18", "19", "91", "96"}
    assert "97" not in {row["ta1"] for row in found["rows"]}
    times = {time["name"]: time for time in found["times"]}
    assert times["WWT"]["cycles"] == 10 * 960 * 512


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--ta1", "71"), "Fi code 7 is reserved"),
        (("--ta1", "9696"), "TA1 is one byte"),
        (("--ta1", "zz"), "character 1 is 'z'"),
        (("--ta1", "96", "--clock-hz", "6000000"), "above f(max)"),
        (("--clock-hz", "-1"), "positive frequency"),
    ],
)
def test_impossible_rates_exit_2(arguments: tuple[str, ...], text: str) -> None:
    result = run(rates_command, *arguments)
    assert result.exit_code == 2
    assert text in result.stderr


# --- apdu ------------------------------------------------------------------------------------------------------------


def test_apdu_explains_case_lengths_and_tpdus() -> None:
    result = run(apdu_command, "00 A4 04 00 02 3F 00 00")
    assert result.exit_code == 0
    for text in ("case 4S", "SELECT", "2 data bytes", "at most 256", "00 A4 04 00 02 | 3F 00"):
        assert text in result.stdout


def test_apdu_with_extended_lengths_goes_in_envelopes() -> None:
    apdu = CommandApdu(0x00, 0xD6, 0, 0, bytes(300), 256)
    status, found = run_json(apdu_command, apdu.encode().hex())
    assert status == 0
    assert (found["case"], found["nc"], found["ne"], found["transport"]) == ("4E", 300, 256, "12.2.8")
    assert [tpdu[:14] for tpdu in found["tpdus"]] == ["00 C2 00 00 FF", "00 C2 00 00 36", "00 C2 00 00 00"]


def test_apdu_with_wrong_lengths_exits_1() -> None:
    result = run(apdu_command, "00 A4 04 00 03 3F 00")
    assert result.exit_code == 1
    assert "Lc=03 announces 3 data bytes, 2 bytes follow" in result.stderr


def test_apdu_that_no_card_could_take_is_warned_of() -> None:
    result = run(apdu_command, "FF 90 00 00")
    assert result.exit_code == 0
    assert "WARNING CLA FF is invalid" in result.stdout
    assert "WARNING INS 90 is invalid" in result.stdout


@pytest.mark.parametrize(
    ("cla", "text"),
    [(0x00, "channel 0"), (0x13, "chain follow"), (0x0C, "authenticated"), (0x41, "channel 5"), (0x60, "secure")],
)
def test_cla(cla: int, text: str) -> None:
    assert text in explain_cla(cla)


@given(st.binary(min_size=4, max_size=4), st.binary(max_size=600), st.none() | st.integers(1, 65_536))
def test_any_apdu_can_be_explained(header: bytes, data: bytes, le: int | None) -> None:
    command = CommandApdu(header[0], header[1], header[2], header[3], data, le)
    explanation = explain_apdu(command.encode())
    assert explanation.text()
    assert (explanation.nc, explanation.ne) == (len(data), le or 0)


# --- hexadecimal text ------------------------------------------------------------------------------------------------


@given(st.binary(min_size=1), st.sampled_from(["", " ", ":", "-", ", "]))
def test_hexadecimal_text_round_trip(data: bytes, separator: str) -> None:
    text = separator.join(f"{byte:02X}" for byte in data)
    assert parse_hex(text) == data
    assert parse_hex("0x" + text.lower()) == data


@given(st.text())
def test_any_text_is_bytes_or_refused(text: str) -> None:
    with contextlib.suppress(HexError):
        assert parse_hex(text)


def test_what_is_no_hexadecimal_text_is_told() -> None:
    with pytest.raises(HexError, match="hexadecimal digits, such as 3B 95 80"):
        parse_hex("ATR")
