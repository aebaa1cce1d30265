"""APDU values: the seven cases, their encodings, the T=0 mapping, status words (7816-3:2006, 12.1, 12.2; 7816-4)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.iso7816.apdu import (
    Case,
    CommandApdu,
    Ins,
    ResponseApdu,
    StatusWord,
    T0Command,
    Transport,
    explain_sw,
    get_response,
    ins_is_valid,
    map_to_t0,
    parse_command,
    parse_response,
    transport_class,
)
from bench.iso7816.errors import ApduError

BYTE = st.integers(0, 255)
SIZES = st.one_of(st.integers(0, 300), st.sampled_from([254, 255, 256, 257, 65_534, 65_535]))
DATA = SIZES.map(lambda size: bytes(at * 7 & 0xFF for at in range(size)))
LE = st.none() | st.integers(1, 300) | st.sampled_from([255, 256, 257, 65_535, 65_536])


@st.composite
def commands(draw: st.DrawFn) -> CommandApdu:
    data, le = draw(DATA), draw(LE)
    extended = draw(st.booleans()) if data or le is not None else False
    return CommandApdu(draw(BYTE), draw(BYTE), draw(BYTE), draw(BYTE), data, le, extended)


@given(commands())
def test_round_trip(command: CommandApdu) -> None:
    assert parse_command(command.encode()) == command


@given(st.binary(max_size=300) | st.binary(max_size=4).map(lambda head: b"\0\xa4\0\0\0" + head))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        command = parse_command(data)
    except ApduError:
        return
    assert command.encode() == data


@pytest.mark.parametrize(
    ("hexadecimal", "case", "nc", "ne"),
    [
        ("00 A4 00 00", Case.CASE_1, 0, None),
        ("00 B0 00 00 10", Case.CASE_2S, 0, 16),
        ("00 B0 00 00 00", Case.CASE_2S, 0, 256),
        ("00 D6 00 00 02 AB CD", Case.CASE_3S, 2, None),
        ("00 A4 04 00 02 3F 00 00", Case.CASE_4S, 2, 256),
        ("00 B0 00 00 00 00 00", Case.CASE_2E, 0, 65_536),
        ("00 B0 00 00 00 01 00", Case.CASE_2E, 0, 256),
        ("00 D6 00 00 00 00 01 AB", Case.CASE_3E, 1, None),
        ("00 D6 00 00 00 00 01 AB 00 00", Case.CASE_4E, 1, 65_536),
        ("00 D6 00 00 00 00 01 AB 01 02", Case.CASE_4E, 1, 258),
    ],
)
def test_the_seven_cases(hexadecimal: str, case: Case, nc: int, ne: int | None) -> None:
    data = bytes.fromhex(hexadecimal)
    command = parse_command(data)
    assert (command.case, len(command.data), command.le) == (case, nc, ne)
    assert command.encode() == data


@pytest.mark.parametrize(
    ("hexadecimal", "what"),
    [
        ("00 A4 04", "3 bytes"),
        ("00 A4 04 00 03 AA BB", "Lc=03 announces 3 data bytes, 2 bytes follow"),
        ("00 A4 04 00 01 AA BB CC", "Lc=01 announces 1 data bytes, 3 bytes follow"),
        ("00 A4 04 00 00 01", "one byte is left"),
        ("00 A4 04 00 00 00 00 AA", "extended Lc is 0000"),
        ("00 A4 04 00 00 00 02 AA", "extended Lc=0002 announces 2 data bytes, 1 bytes follow"),
    ],
)
def test_lengths_that_do_not_fit_are_told(hexadecimal: str, what: str) -> None:
    with pytest.raises(ApduError, match=what):
        parse_command(bytes.fromhex(hexadecimal))


def test_fields_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ApduError, match="INS is one byte"):
        CommandApdu(0, 256, 0, 0)
    with pytest.raises(ApduError, match="Ne of 0"):
        CommandApdu(0, 0xB0, 0, 0, le=0)
    with pytest.raises(ApduError, match="case 1"):
        CommandApdu(0, 0xB0, 0, 0, extended=True)
    with pytest.raises(ApduError, match="65536 data bytes"):
        CommandApdu(0, 0xB0, 0, 0, bytes(65_536))


@given(st.binary(max_size=300), st.integers(0, 0xFFFF))
def test_response_round_trip(data: bytes, sw: int) -> None:
    response = ResponseApdu(data, sw)
    assert parse_response(response.encode()) == response
    assert response.sw1 << 8 | response.sw2 == sw


def test_a_response_has_a_status_word() -> None:
    with pytest.raises(ApduError, match="1 bytes"):
        parse_response(b"\x90")
    with pytest.raises(ApduError, match="two bytes"):
        ResponseApdu(b"", 0x10000)


def test_normal_processing_is_9000_and_61xx() -> None:
    assert ResponseApdu(b"", 0x9000).ok
    assert ResponseApdu(b"", 0x6110).ok
    assert not ResponseApdu(b"", 0x6C10).ok
    assert not ResponseApdu(b"", 0x6281).ok


# --- T=0 mapping, 12.2 -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "transport", "tpdus"),
    [
        (CommandApdu(0, 0xA4, 1, 2), Transport.P3_ZERO, ["00A4010200"]),
        (CommandApdu(0, 0xB0, 0, 0, le=16), Transport.P3_LE, ["00B0000010"]),
        (CommandApdu(0, 0xB0, 0, 0, le=256), Transport.P3_LE, ["00B0000000"]),
        (CommandApdu(0, 0xB0, 0, 0, le=16, extended=True), Transport.P3_LE, ["00B0000010"]),
        (CommandApdu(0, 0xD6, 0, 0, b"\xab"), Transport.P3_LC, ["00D6000001AB"]),
        (CommandApdu(0, 0xD6, 0, 0, b"\xab", le=9), Transport.P3_LC_THEN_GET_RESPONSE, ["00D6000001AB"]),
        (CommandApdu(0, 0xB0, 0, 0, le=300), Transport.P3_ZERO_THEN_GET_RESPONSE, ["00B0000000"]),
    ],
)
def test_commands_that_one_tpdu_carries(command: CommandApdu, transport: Transport, tpdus: list[str]) -> None:
    mapping = map_to_t0(command)
    assert mapping.transport is transport
    assert [(t.header + t.data).hex().upper() for t in mapping.commands] == tpdus
    assert mapping.le == command.le


@given(st.integers(256, 3000), LE, st.integers(1, 255))
def test_a_long_command_travels_in_envelopes_that_give_it_back(size: int, le: int | None, segment: int) -> None:
    """12.2.7, 12.2.8: the command APDU in pieces, ended by an ENVELOPE with empty data."""
    command = CommandApdu(0x83, 0xD6, 0, 0, bytes(size), le)
    mapping = map_to_t0(command, segment=segment)
    assert mapping.transport is (Transport.ENVELOPE if le is None else Transport.ENVELOPE_THEN_GET_RESPONSE)
    assert parse_command(b"".join(t.data for t in mapping.commands)) == command
    assert all(t.header[:4] == bytes([0x03, Ins.ENVELOPE, 0, 0]) for t in mapping.commands)
    assert all(t.header[4] == len(t.data) for t in mapping.commands)
    assert [bool(t.data) for t in mapping.commands] == [True] * (len(mapping.commands) - 1) + [False]


@pytest.mark.parametrize(("cla", "transport"), [(0x00, 0x00), (0x13, 0x03), (0x8C, 0x00), (0x45, 0x45), (0x7F, 0x4F)])
def test_transport_stays_on_the_logical_channel(cla: int, transport: int) -> None:
    assert transport_class(cla) == transport


def test_get_response_asks_for_256_with_p3_zero() -> None:
    assert get_response(0x81, 256).header == bytes.fromhex("01 C0 00 00 00")
    assert get_response(0x00, 7).header == bytes.fromhex("00 C0 00 00 07")
    with pytest.raises(ApduError, match="257"):
        get_response(0, 257)


def test_a_t0_header_and_its_data_agree() -> None:
    with pytest.raises(ApduError, match="5 bytes"):
        T0Command(b"\0\xb0\0\0")
    with pytest.raises(ApduError, match="P3=03"):
        T0Command(b"\0\xd6\0\0\x03", b"ab")
    with pytest.raises(ApduError, match="segments"):
        map_to_t0(CommandApdu(0, 0xB0, 0, 0), segment=0)


def test_ins_6x_and_9x_are_invalid() -> None:
    """10.3.2."""
    assert [ins for ins in range(256) if not ins_is_valid(ins)] == [*range(0x60, 0x70), *range(0x90, 0xA0)]


@pytest.mark.parametrize(
    ("sw", "text"),
    [
        (0x9000, "normal processing"),
        (0x6110, "16 response bytes"),
        (0x6C00, "256 response bytes"),
        (0x63C3, "counter at 3"),
        (0x6A82, "file not found"),
        (0x6981, "incompatible with file"),
        (0x6D00, "ins not supported"),
        (0x9F10, "proprietary"),
        (0x6012, "invalid"),
        (0x1234, "invalid"),
    ],
)
def test_status_words_are_explained(sw: int, text: str) -> None:
    assert text in explain_sw(sw)


@given(st.integers(0, 0xFFFF))
def test_every_status_word_has_an_explanation(sw: int) -> None:
    assert explain_sw(sw)


def test_no_status_word_has_an_sw1_the_standard_does_not_give() -> None:
    assert {word >> 8 for word in StatusWord} <= {0x90, *range(0x61, 0x70)}
