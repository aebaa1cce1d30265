"""Feature and property lists (PC/SC part 10), attributes, and the node address byte."""

import sys
from collections.abc import Mapping

import pytest

from bench.readers.pcsc_attributes import Attribute, Observed, coded, read_attributes, read_observed
from bench.readers.pcsc_features import (
    GET_FEATURE_REQUEST,
    Feature,
    FeatureCode,
    FeatureError,
    Features,
    Properties,
    get_nad_command,
    nad_in,
    nad_was_set,
    parse_features,
    parse_properties,
    set_nad_command,
)


class TestFeatures:
    def test_a_list_of_two(self) -> None:
        found = parse_features(bytes.fromhex("06 04 42 33 00 06  12 04 42 33 00 12"))
        assert found == (FeatureCode(0x06, 0x42330006), FeatureCode(0x12, 0x42330012))
        assert Features(found).code(Feature.GET_TLV_PROPERTIES) == 0x42330012
        assert Features(found).code(Feature.CCID_ESC_COMMAND) is None

    def test_no_features(self) -> None:
        assert parse_features(b"") == ()

    @pytest.mark.parametrize("wrong", ["06", "06 03 42 33 00 06", "06 04 42 33 00", "06 04 42 33 00 06 12"])
    def test_a_list_of_another_form_is_told_with_its_place(self, wrong: str) -> None:
        with pytest.raises(FeatureError, match=r"at byte [06]: "):
            parse_features(bytes.fromhex(wrong))

    def test_the_request_is_as_pcsc_lite_counts(self) -> None:
        assert GET_FEATURE_REQUEST == 0x42000D48


class TestProperties:
    def test_what_libccid_tells(self) -> None:
        tlv = bytes.fromhex("01 02 00 00  03 01 00  09 01 00  0B 02 E6 08  0C 02 37 34  0A 04 00 00 01 00")
        assert parse_properties(tlv) == Properties(0x08E6, 0x3437, 0x10000, "", 0)

    def test_a_firmware_name(self) -> None:
        assert parse_properties(b"\x08\x05GemTw").firmware == "GemTw"

    def test_nothing_told_is_none(self) -> None:
        assert parse_properties(b"") == Properties()

    @pytest.mark.parametrize("wrong", ["0B", "0B 02 E6", "03 01 00 0B 02"])
    def test_a_list_cut_short_is_told_with_its_place(self, wrong: str) -> None:
        with pytest.raises(FeatureError, match=r"end inside the property at byte [03]"):
            parse_properties(bytes.fromhex(wrong))


class TestNodeAddress:
    def test_setting(self) -> None:
        assert set_nad_command(0x21) == bytes.fromhex("3E 00 01 21")
        assert nad_was_set(bytes.fromhex("3E 00 01 00"))
        assert not nad_was_set(bytes.fromhex("3E 00 01 01"))
        assert not nad_was_set(b"")

    def test_getting(self) -> None:
        assert get_nad_command() == bytes.fromhex("3F 00 00")
        assert nad_in(bytes.fromhex("3F 00 02 00 21")) == 0x21
        assert nad_in(bytes.fromhex("3F 00 02 01 00")) is None

    @pytest.mark.parametrize("nad", [-1, 256])
    def test_a_byte_and_no_more(self, nad: int) -> None:
        with pytest.raises(ValueError, match="256"):
            set_nad_command(nad)


def _word(value: int) -> bytes:
    return value.to_bytes(4, sys.byteorder)


class TestAttributes:
    def test_a_driver_that_tells_everything(self) -> None:
        values: Mapping[Attribute, bytes] = {
            Attribute.VENDOR_NAME: b"Acme\0",
            Attribute.VENDOR_IFD_SERIAL_NO: b"12345\0junk",
            Attribute.VENDOR_IFD_VERSION: _word(0x02_10_0000),
            Attribute.CHANNEL_ID: _word(0x0020_0103),
            Attribute.MAXINPUT: _word(261),
            Attribute.CURRENT_F: _word(512),
            Attribute.CURRENT_D: _word(32),
            Attribute.CURRENT_CLK: _word(4000),
        }
        found = read_attributes(lambda tag: values.get(tag, b""))
        assert (found.vendor, found.serial, found.version) == ("Acme", "12345", "2.10")
        assert (found.channel, found.max_input) == (0x00200103, 261)
        assert found.observed == Observed(0x96, 4_000_000)

    def test_a_driver_that_tells_nothing(self) -> None:
        assert read_observed(lambda _tag: b"") == Observed()
        assert read_attributes(lambda _tag: b"").version == ""

    @pytest.mark.parametrize(
        ("f", "d", "ta1"), [(372, 1, 0x11), (372, 12, 0x18), (512, 64, 0x97), (373, 1, 0), (372, 3, 0)]
    )
    def test_f_and_d_as_ta1(self, f: int, d: int, ta1: int) -> None:
        assert coded(f, d) == ta1
