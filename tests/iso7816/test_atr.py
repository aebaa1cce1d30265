"""The answer to reset: worked examples, every rule broken once, round trips (ISO/IEC 7816-3:2006, clause 8)."""

import contextlib
from dataclasses import replace
from functools import reduce
from operator import xor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.iso7816.atr import (
    CLASSES,
    Atr,
    AtrError,
    ClockStop,
    Convention,
    Edc,
    GlobalParameters,
    InterfaceGroup,
    Rule,
    RuleKind,
    SpecificMode,
    T1Parameters,
    build_atr,
    parse_atr,
    read_atr,
)
from bench.iso7816.compact_tlv import (
    Category,
    CompactTag,
    DataObject,
    StatusIndicator,
    build_historical,
    parse_historical,
)
from bench.iso7816.errors import CompactTlvError, RateError
from bench.iso7816.rates import Rate, all_rates


def with_tck(hexadecimal: str) -> bytes:
    data = bytes.fromhex(hexadecimal)
    return data + bytes([reduce(xor, data[1:])])


# --- worked examples -------------------------------------------------------------------------------------------------


def test_uicc_example_of_ts_102_221() -> None:
    atr = parse_atr(with_tck("3B 97 95 80 1F 42 80 31 A0 73 BE 21 15"))
    assert (atr.fi, atr.di, atr.fmax_hz) == (512, 16, 5_000_000)
    assert atr.protocols == (0,)
    assert atr.indicated == (0, 15)
    assert atr.has_t15
    assert atr.clock_stop is ClockStop.STATE_L
    assert atr.classes == "B"
    assert atr.specific_mode is None


def test_uicc_example_with_t1() -> None:
    atr = parse_atr(with_tck("3B 97 95 80 B1 FE 00 1F 42 80 31 A0 73 BE 21 15"))
    assert atr.protocols == (0, 1)
    assert atr.first_protocol == 0
    assert (atr.ifsc, atr.bwi, atr.cwi, atr.edc) == (254, 0, 0, Edc.LRC)
    assert atr.classes == "B"


def test_cardos() -> None:
    atr = parse_atr(bytes.fromhex("3B F2 18 00 02 C1 0A 31 FE 58 C8 08 74"))
    assert atr.rate == Rate(0x18)
    assert atr.extra_guard_time == 2
    assert atr.protocols == (1,)
    assert (atr.ifsc, atr.bwi, atr.cwi) == (254, 5, 8)
    assert atr.historical_bytes == bytes.fromhex("C8 08")


def test_t0_only_card_has_no_tck() -> None:
    atr = parse_atr(bytes.fromhex("3B 7D 96 00 00 80 31 80 65 B0 83 11 48 C8 83 00 90 00"))
    assert atr.ta1 == 0x96
    assert atr.tck is None
    historical = atr.historical
    assert historical is not None
    assert historical.status == StatusIndicator(0x00, 0x9000)
    assert [item.tag for item in historical.objects] == [3, 6, 8]


def test_jcop_uses_eleven_etu() -> None:
    atr = parse_atr(bytes.fromhex("3B F8 18 00 FF 81 31 FE 45 4A 43 4F 50 76 32 34 31 43"))
    assert atr.extra_guard_time == 255
    assert (atr.bwi, atr.cwi) == (4, 5)
    historical = atr.historical
    assert historical is not None
    assert historical.category is Category.PROPRIETARY


def test_the_shortest_atr_stands_for_every_default() -> None:
    atr = parse_atr(bytes.fromhex("3F 00"))
    assert atr.convention is Convention.INVERSE
    assert (atr.ta1, atr.extra_guard_time, atr.wi, atr.protocols) == (0x11, 0, 10, (0,))
    assert (atr.ifsc, atr.bwi, atr.cwi, atr.edc) == (32, 4, 13, Edc.LRC)
    assert (atr.clock_stop, atr.class_indicator, atr.classes, atr.spu) == (ClockStop.NOT_SUPPORTED, 1, "A", 0)
    assert atr.historical is None
    assert not atr.has_t15


def test_specific_mode() -> None:
    """8.3: TA2 present means specific mode."""
    atr = parse_atr(bytes.fromhex("3B 90 96 10 90"))
    assert atr.specific_mode == SpecificMode(0, can_change=False, implicit=True)


def test_only_the_first_ta_for_t1_counts() -> None:
    """8.2.3, 11.4.2: specific bytes count at their first occurrence."""
    atr = parse_atr(with_tck("3B 80 81 91 40 11 20"))
    assert atr.ifsc == 0x40
    assert atr.protocols == (1,)


# --- each rule, broken once ------------------------------------------------------------------------------------------

BROKEN = [
    ("", Rule.EMPTY, 1, "TS"),
    ("3B", Rule.EMPTY, 2, "T0"),
    ("3A 00", Rule.TS, 1, "TS"),
    ("03 00", Rule.TS, 1, "TS"),
    ("3B 10", Rule.TRUNCATED, 3, "TA1"),
    ("3B 80", Rule.TRUNCATED, 3, "TD1"),
    ("3B C0 00 20", Rule.TRUNCATED, 5, "TB2"),
    ("3B 02 AA", Rule.TRUNCATED, 4, "T2"),
    ("3B 80 01", Rule.TCK_MISSING, 4, "TCK"),
    ("3B 80 80 1F 01", Rule.TCK_MISSING, 6, "TCK"),
    ("3B 80 01 80", Rule.TCK_WRONG, 4, "TCK"),
    ("3B 01 AA AB", Rule.TCK_PRESENT, 4, "TCK"),
    ("3B 01 AA AA", Rule.EXTRA_BYTES, 4, "TCK"),
    ("3B 80 01 81 00", Rule.EXTRA_BYTES, 5, "after TCK"),
    ("3B 10 71", Rule.FI_RESERVED, 3, "TA1"),
    ("3B 10 10", Rule.DI_RESERVED, 3, "TA1"),
    ("3B 80 0F 8F", Rule.T15_IN_TD1, 3, "TD1"),
    ("3B 80 81 00 01", Rule.T_ORDER, 4, "TD2"),
    ("3B 80 02 82", Rule.T_RESERVED, 3, "TD1"),
    ("3B 80 10 40", Rule.TA2_RESERVED, 4, "TA2"),
    ("3B 80 40 00", Rule.WI_ZERO, 4, "TC2"),
    ("3B 80 81 11 00 10", Rule.IFSC, 5, "TA3"),
    ("3B 80 81 11 FF EF", Rule.IFSC, 5, "TA3"),
    ("3B 80 81 21 A0 80", Rule.BWI, 5, "TB3"),
    ("3B 80 81 41 02 42", Rule.EDC_RESERVED, 5, "TC3"),
    ("3B 80 80 1F 05 1A", Rule.CLASS_RESERVED, 5, "TA3"),
    ("3B 80 80 1F 00 1F", Rule.CLASS_RESERVED, 5, "TA3"),
    ("3B 02 80 32", Rule.COMPACT_TLV, 4, "T2"),
    ("3B 02 00 32", Rule.COMPACT_TLV, 3, "T1"),
    ("3B 03 80 80 00", Rule.COMPACT_TLV, 4, "T2"),
]


@pytest.mark.parametrize(("hexadecimal", "rule", "position", "name"), BROKEN)
def test_a_broken_rule_is_told_with_byte_value_and_clause(
    hexadecimal: str, rule: Rule, position: int, name: str
) -> None:
    data = bytes.fromhex(hexadecimal)
    (violation,) = read_atr(data).violations
    assert (violation.rule, violation.position, violation.name) == (rule, position, name)
    assert violation.value == (data[position - 1] if position <= len(data) else None)
    assert rule.clause in str(violation)
    assert name in str(violation)
    if rule.kind is RuleKind.HISTORICAL:
        assert parse_atr(data).historical_bytes
    else:
        with pytest.raises(AtrError) as caught:
            parse_atr(data)
        assert caught.value.violation == violation
        assert caught.value.rule is rule


def test_too_long() -> None:
    """8.2.1: 33 bytes in all."""
    longest = bytes.fromhex("3B FF 11 00 00 F1 00 00 00 F1 20 45 00 F1 00 00 00 71 00 00 00") + bytes(15)
    assert len(longest) == 36
    rules = [found.rule for found in read_atr(longest).violations]
    assert Rule.TOO_LONG in rules
    with pytest.raises(AtrError):
        parse_atr(longest)


def test_33_bytes_are_not_too_long() -> None:
    data = with_tck("3B FF 11 00 00 F1 80 00 00 F1 20 45 00 71 00 00 00")[:-1] + bytes([0x00] * 15)
    data += bytes([reduce(xor, data[1:])])
    assert len(data) == 33
    assert Rule.TOO_LONG not in [found.rule for found in read_atr(data).violations]


def test_every_rule_has_a_test() -> None:
    assert {rule for _, rule, _, _ in BROKEN} | {Rule.TOO_LONG} == set(Rule)


def test_several_violations_are_all_listed_structure_first() -> None:
    reading = read_atr(bytes.fromhex("3B 90 70 01 00"))
    assert [found.rule for found in reading.violations] == [Rule.TCK_WRONG, Rule.FI_RESERVED]
    assert reading.atr is not None
    with pytest.raises(RateError):
        _ = reading.atr.rate


@pytest.mark.parametrize(("ts", "hint"), [(0x03, "inverse one"), (0x23, "direct one"), (0x55, "no convention")])
def test_a_ts_read_in_the_wrong_convention_is_recognised(ts: int, hint: str) -> None:
    with pytest.raises(AtrError, match=hint):
        parse_atr(bytes([ts, 0x00]))


@given(st.binary(max_size=40) | st.binary(max_size=40).map(lambda tail: b"\x3b" + tail))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    reading = read_atr(data)
    if reading.transmission_violations:
        with pytest.raises(AtrError):
            parse_atr(data)
    else:
        assert reading.atr is not None
        assert reading.atr.encode() == data
        assert len(data) <= 33
        assert reading.atr.rate in all_rates()
    for found in reading.violations:
        assert 1 <= found.position <= max(len(data), 1) + 1
        assert found.value is None or found.value == data[found.position - 1]


# --- building --------------------------------------------------------------------------------------------------------

BYTE = st.integers(0, 255)
OPTIONAL = st.none() | BYTE
PROTOCOLS = st.sampled_from([(0,), (1,), (0, 1), (14,), (0, 14), (0, 1, 14), (1, 14)])
T1 = st.builds(
    T1Parameters,
    ifsc=st.none() | st.integers(1, 254),
    bwi_cwi=st.none() | st.integers(0, 0x9F),
    edc=st.none() | st.sampled_from(Edc),
)
T15_GROUP = st.builds(GlobalParameters, st.sampled_from(ClockStop), st.sampled_from(sorted(CLASSES)), OPTIONAL)


@given(
    convention=st.sampled_from(Convention),
    protocols=PROTOCOLS,
    ta1=st.none() | st.sampled_from([rate.ta1 for rate in all_rates()]),
    tb1=OPTIONAL,
    n=OPTIONAL,
    mode=st.none() | st.builds(SpecificMode, st.integers(0, 14), st.booleans(), st.booleans()),
    tb2=OPTIONAL,
    wi=st.none() | st.integers(1, 255),
    t1=T1,
    t15=st.none() | T15_GROUP,
    historical=st.binary(max_size=15),
)
def test_what_is_built_is_read_back(
    convention: Convention,
    protocols: tuple[int, ...],
    ta1: int | None,
    tb1: int | None,
    n: int | None,
    mode: SpecificMode | None,
    tb2: int | None,
    wi: int | None,
    t1: T1Parameters,
    t15: GlobalParameters | None,
    historical: bytes,
) -> None:
    data = build_atr(
        convention=convention,
        protocols=protocols,
        ta1=ta1,
        tb1=tb1,
        extra_guard_time=n,
        specific_mode=mode,
        tb2=tb2,
        wi=wi if protocols[0] == 0 else None,
        t1=t1 if 1 in protocols else None,
        t15=t15,
        historical_bytes=historical,
    )
    atr = parse_atr(data)
    assert atr.encode() == data
    assert atr.convention is convention
    assert atr.protocols == protocols
    assert atr.ta1 == (0x11 if ta1 is None else ta1)
    assert atr.extra_guard_time == (n or 0)
    assert atr.specific_mode == mode
    assert atr.historical_bytes == historical
    assert atr.has_t15 == (t15 is not None)
    assert (atr.tck is None) == (protocols == (0,) and t15 is None)
    if protocols[0] == 0:
        assert atr.wi == (wi or 10)
    if 1 in protocols:
        assert atr.ifsc == (t1.ifsc or 32)
        assert atr.bwi << 4 | atr.cwi == (0x4D if t1.bwi_cwi is None else t1.bwi_cwi)
        assert atr.edc is (t1.edc or Edc.LRC)
    if t15 is not None:
        assert (atr.clock_stop, atr.class_indicator, atr.spu) == (t15.clock_stop, t15.class_indicator, t15.spu or 0)


@pytest.mark.parametrize(
    ("built", "hexadecimal"),
    [
        (build_atr(), "3B 00"),
        (build_atr(ta1=0x18, wi=10), "3B 90 18 40 0A"),
        (build_atr(protocols=(1,)), "3B 80 01 81"),
        (build_atr(protocols=(0, 1), t1=T1Parameters(254, 0x45)), "3B 80 80 31 FE 45 8A"),
        (build_atr(specific_mode=SpecificMode(0)), "3B 80 10 00"),
        (build_atr(historical_bytes=b"\x80"), "3B 01 80"),
    ],
)
def test_the_built_atr_is_the_shortest(built: bytes, hexadecimal: str) -> None:
    assert built == bytes.fromhex(hexadecimal)


def test_a_wrong_request_to_build_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one protocol"):
        build_atr(protocols=())
    with pytest.raises(ValueError, match="16 historical bytes"):
        build_atr(historical_bytes=bytes(16))
    with pytest.raises(ValueError, match="T=1 without T=1"):
        build_atr(t1=T1Parameters(254))
    with pytest.raises(ValueError, match="WI"):
        build_atr(protocols=(1,), wi=10)
    with pytest.raises(AtrError, match="ascend"):
        build_atr(protocols=(1, 0))
    with pytest.raises(AtrError, match="Fi code 7"):
        build_atr(ta1=0x71)
    with pytest.raises(AtrError, match="WI"):
        build_atr(wi=0)


def test_a_card_can_be_wrong_on_purpose() -> None:
    """`Atr.encode` gives the values it holds, sound or not."""
    sound = parse_atr(build_atr(protocols=(1,)))
    wrong = replace(sound, tck=0x00)
    with pytest.raises(AtrError, match="81 would be right"):
        parse_atr(wrong.encode())
    reserved = Atr(Convention.DIRECT, (InterfaceGroup(1, None, ta=0xFF),))
    with pytest.raises(AtrError, match="Fi code F"):
        parse_atr(reserved.encode())


# --- historical bytes, ISO/IEC 7816-4, 12.1.1 ------------------------------------------------------------------------

OBJECTS = st.lists(st.tuples(st.sampled_from([1, 2, 3, 4, 5, 6, 7, 0xF]), st.binary(max_size=4)), max_size=2).map(
    lambda pairs: tuple(DataObject(tag, value, 0) for tag, value in pairs)
)
STATUS = st.none() | st.sampled_from(
    [StatusIndicator(5, None), StatusIndicator(None, 0x9000), StatusIndicator(7, 0x9000)]
)


@given(OBJECTS, STATUS)
def test_compact_tlv_round_trip(objects: tuple[DataObject, ...], status: StatusIndicator | None) -> None:
    raw = build_historical(objects, status)
    historical = parse_historical(raw)
    assert historical is not None
    assert historical.category is Category.TLV
    assert historical.status == status
    found = [(item.tag, item.value) for item in historical.objects if item.tag != CompactTag.STATUS_INDICATOR]
    assert found == [(item.tag, item.value) for item in objects]


@given(st.binary(max_size=15))
def test_any_historical_bytes_are_read_or_refused(raw: bytes) -> None:
    with contextlib.suppress(CompactTlvError):
        historical = parse_historical(raw)
        assert (historical is None) == (raw == b"")


def test_category_00_ends_in_a_status_indicator() -> None:
    historical = parse_historical(bytes.fromhex("00 31 80 05 90 00"))
    assert historical is not None
    assert historical.status == StatusIndicator(0x05, 0x9000)
    assert historical.objects == (DataObject(CompactTag.CARD_SERVICE_DATA, b"\x80", 2),)


@pytest.mark.parametrize(("t1", "category"), [(0x10, Category.DIR_REFERENCE), (0x81, Category.RESERVED)])
def test_other_categories_hold_no_data_objects(t1: int, category: Category) -> None:
    historical = parse_historical(bytes([t1, 0x31, 0xFF]))
    assert historical is not None
    assert (historical.category, historical.objects) == (category, ())


def test_readers_invented_atr_for_storage_cards_is_understood() -> None:
    """PC/SC part 3, 3.1.3.2.3.2: a MIFARE Classic 1K as a contactless reader presents it."""
    atr = parse_atr(bytes.fromhex("3B 8F 80 01 80 4F 0C A0 00 00 03 06 03 00 01 00 00 00 00 6A"))
    historical = atr.historical
    assert historical is not None
    (identifier,) = historical.objects
    assert identifier.tag == CompactTag.APPLICATION_IDENTIFIER
    assert identifier.name == "application identifier"
    assert identifier.value.startswith(bytes.fromhex("A0 00 00 03 06"))


def test_historical_bytes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(CompactTlvError, match="at most 15"):
        DataObject(3, bytes(16), 1).encode()
    with pytest.raises(CompactTlvError, match="half a byte"):
        DataObject(16, b"", 1).encode()
    with pytest.raises(CompactTlvError, match="T0 can announce at most 15"):
        build_historical((DataObject(5, bytes(14), 1),))
    with pytest.raises(CompactTlvError, match="empty status indicator"):
        build_historical((), StatusIndicator(None, None))


def test_tags_without_a_name_are_shown_by_number() -> None:
    assert DataObject(9, b"", 1).name == "tag 9"
