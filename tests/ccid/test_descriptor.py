"""The class descriptor: the layout of CCID 1.1, 5.1."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.ccid.descriptor import ClassDescriptor, Feature, Voltage, decode_descriptor
from bench.ccid.errors import CcidMessageError
from bench.iso7816.port import ExchangeLevel


def test_layout_field_by_field() -> None:
    data = ClassDescriptor(
        slots=2,
        voltages=Voltage.V5 | Voltage.V3,
        default_clock_khz=4000,
        maximum_clock_khz=20_000,
        clocks=3,
        data_rate_bps=10_752,
        maximum_rate_bps=344_086,
        rates=106,
        maximum_ifsd=254,
        features=Feature.AUTO_PARAMETERS | Feature.TPDU,
        maximum_message=271,
        busy_slots=2,
    ).encode()
    assert len(data) == 54
    little = lambda at, size: int.from_bytes(data[at : at + size], "little")  # noqa: E731
    assert (data[0], data[1], little(2, 2)) == (0x36, 0x21, 0x0110)
    assert (data[4], data[5], little(6, 4)) == (1, 3, 3)
    assert (little(10, 4), little(14, 4), data[18]) == (4000, 20_000, 3)
    assert (little(19, 4), little(23, 4), data[27]) == (10_752, 344_086, 106)
    assert (little(28, 4), little(40, 4), little(44, 4)) == (254, 0x10002, 271)
    assert (data[48], data[49], data[52], data[53]) == (0xFF, 0xFF, 0, 2)


@pytest.mark.parametrize(
    ("features", "level", "extended"),
    [
        (Feature(0), ExchangeLevel.CHARACTER, False),
        (Feature.TPDU | Feature.AUTO_PPS, ExchangeLevel.TPDU, False),
        (Feature.SHORT_APDU, ExchangeLevel.APDU, False),
        (Feature.EXTENDED_APDU, ExchangeLevel.APDU, True),
    ],
)
def test_levels(features: Feature, level: ExchangeLevel, extended: bool) -> None:
    descriptor = decode_descriptor(ClassDescriptor(features=features).encode())
    assert (descriptor.level, descriptor.extended) == (level, extended)


@pytest.mark.parametrize(
    ("change", "offset"),
    [({0: 0x35}, 0), ({1: 0x22}, 1), ({42: 0x06}, 40), ({44: 10, 45: 0}, 44)],
)
def test_what_is_none_is_named_with_its_offset(change: dict[int, int], offset: int) -> None:
    data = bytearray(ClassDescriptor().encode())
    for at, value in change.items():
        data[at] = value
    with pytest.raises(CcidMessageError) as caught:
        decode_descriptor(bytes(data))
    assert caught.value.offset == offset


@given(st.binary(min_size=50, max_size=60))
def test_any_bytes_are_a_descriptor_or_a_named_error(data: bytes) -> None:
    try:
        descriptor = decode_descriptor(b"\x36\x21" + data)
    except CcidMessageError:
        return
    assert descriptor.encode() == b"\x36\x21" + data
