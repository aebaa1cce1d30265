"""The T=1 block on its own (ISO/IEC 7816-3:2006, 11.3 and 11.4.4)."""

from __future__ import annotations

from functools import reduce
from operator import xor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.iso7816.t1_block import (
    CRC_ISO_13239,
    CRC_LIBCCID,
    LRC,
    Block,
    BlockError,
    BlockRule,
    EdcScheme,
    IBlock,
    RBlock,
    RCode,
    SBlock,
    Supervisory,
    decode_block,
    encode_block,
    lrc,
    nad_of,
    swap_nad,
)

VECTORS: list[tuple[Block, str]] = [
    (SBlock(0, Supervisory.IFS, False, 0xFE), "00 C1 01 FE 3E"),
    (SBlock(0, Supervisory.IFS, True, 0xFE), "00 E1 01 FE 1E"),
    (RBlock(0, 0), "00 80 00 80"),
    (RBlock(0, 1), "00 90 00 90"),
    (RBlock(0, 0, RCode.CHECK), "00 81 00 81"),
    (SBlock(0, Supervisory.RESYNCH), "00 C0 00 C0"),
    (SBlock(0, Supervisory.RESYNCH, True), "00 E0 00 E0"),
    (SBlock(0, Supervisory.WTX, False, 1), "00 C3 01 01 C3"),
    (SBlock(0, Supervisory.WTX, True, 1), "00 E3 01 01 E3"),
    (IBlock(0, 0, False, bytes.fromhex("00A4040000")), "00 00 05 00 A4 04 00 00 A5"),
]

NADS = st.sampled_from([0] + [dad << 4 | sad for sad in range(8) for dad in range(8) if sad != dad])
BLOCKS: st.SearchStrategy[Block] = st.one_of(
    st.builds(IBlock, NADS, st.integers(0, 1), st.booleans(), st.binary(max_size=254)),
    st.builds(RBlock, NADS, st.integers(0, 1), st.sampled_from(RCode)),
    st.builds(SBlock, NADS, st.sampled_from([Supervisory.RESYNCH, Supervisory.ABORT]), st.booleans()),
    st.builds(SBlock, NADS, st.just(Supervisory.IFS), st.booleans(), st.integers(1, 254)),
    st.builds(SBlock, NADS, st.just(Supervisory.WTX), st.booleans(), st.integers(1, 255)),
)
SCHEMES = st.sampled_from([LRC, CRC_LIBCCID, CRC_ISO_13239])


@pytest.mark.parametrize(("block", "text"), VECTORS, ids=[f"{block}-{text[3:5]}" for block, text in VECTORS])
def test_11_3_vectors(block: Block, text: str) -> None:
    data = bytes.fromhex(text)
    assert encode_block(block, LRC) == data
    assert decode_block(data, LRC) == block


@pytest.mark.parametrize(("data", "crc"), [("00C101FE", "544E"), ("008000", "B5FF")])
def test_11_4_4_crc_vectors_as_libccid_sends_them(data: str, crc: str) -> None:
    assert CRC_LIBCCID.compute(bytes.fromhex(data)).hex().upper() == crc


@given(st.binary(max_size=259))
def test_11_4_4_crc_is_the_reflected_one(data: bytes) -> None:
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x8408 if crc & 1 else 0)
    assert CRC_LIBCCID.compute(data) == crc.to_bytes(2, "big")
    assert CRC_ISO_13239.compute(data) == (crc ^ 0xFFFF).to_bytes(2, "little")


def test_11_4_4_iso_13239_check_value() -> None:
    """The published check value of this CRC (CRC-16/X-25) is 906E, here low byte first."""
    assert CRC_ISO_13239.compute(b"123456789").hex().upper() == "6E90"


@given(st.binary(max_size=512))
def test_11_4_4_lrc_is_the_xor_of_all_bytes(data: bytes) -> None:
    assert lrc(data) == reduce(xor, data, 0)


@given(BLOCKS, SCHEMES)
def test_every_block_comes_back(block: Block, edc: EdcScheme) -> None:
    assert decode_block(encode_block(block, edc), edc) == block


def block_or_error(data: bytes, edc: EdcScheme) -> Block | BlockError:
    try:
        return decode_block(data, edc)
    except BlockError as error:
        return error


@given(st.binary(max_size=260), SCHEMES)
def test_any_characters_are_a_block_that_encodes_to_them_or_a_named_error(data: bytes, edc: EdcScheme) -> None:
    data = data + edc.compute(data)
    read = block_or_error(data, edc)
    if isinstance(read, BlockError):
        assert read.rule.clause in str(read)
        assert 1 <= read.position <= len(data) + 1
    else:
        assert encode_block(read, edc) == data


BROKEN: list[tuple[str, BlockRule, int]] = [
    ("00 00 00", BlockRule.TOO_SHORT, 4),
    ("00 00 05 00 A4 04", BlockRule.TRUNCATED, 6),
    ("00 80 00 80 00", BlockRule.TOO_LONG, 5),
    ("00 80 00 81", BlockRule.EDC, 4),
    ("FF 80 00 7F", BlockRule.NAD_FF, 1),
    ("80 80 00 00", BlockRule.NAD_RESERVED, 1),
    ("08 80 00 88", BlockRule.NAD_RESERVED, 1),
    ("11 80 00 91", BlockRule.NAD_SAME, 1),
    ("00 80 FF 7F", BlockRule.LEN_FF, 3),
    ("00 01 00 01", BlockRule.PCB, 2),
    ("00 83 00 83", BlockRule.PCB, 2),
    ("00 A0 00 A0", BlockRule.PCB, 2),
    ("00 C4 00 C4", BlockRule.PCB, 2),
    ("00 80 01 00 81", BlockRule.LEN_KIND, 3),
    ("00 C0 01 00 C1", BlockRule.LEN_KIND, 3),
    ("00 C1 00 C1", BlockRule.LEN_KIND, 3),
    ("00 C1 01 00 C0", BlockRule.IFS_VALUE, 4),
    ("00 C1 01 FF 3F", BlockRule.IFS_VALUE, 4),
    ("00 C3 01 00 C2", BlockRule.WTX_VALUE, 4),
]


@pytest.mark.parametrize(("text", "rule", "position"), BROKEN, ids=[f"{b[1].name}-{b[0][:8]}" for b in BROKEN])
def test_11_3_each_rule_broken_once(text: str, rule: BlockRule, position: int) -> None:
    with pytest.raises(BlockError) as caught:
        decode_block(bytes.fromhex(text), LRC)
    assert (caught.value.rule, caught.value.position) == (rule, position)
    assert rule.clause in str(caught.value)
    assert caught.value.code is (RCode.CHECK if rule is BlockRule.EDC else RCode.OTHER)


def test_11_5_wrong_parity_is_told_before_anything_else() -> None:
    with pytest.raises(BlockError) as caught:
        decode_block(bytes.fromhex("00 80 00 80"), LRC, damaged={2})
    assert (caught.value.rule, caught.value.position, caught.value.code) == (BlockRule.PARITY, 3, RCode.CHECK)


def test_11_4_2_len_above_ifs() -> None:
    data = encode_block(IBlock(0, 0, False, bytes(33)), LRC)
    assert decode_block(data, LRC, 33) == IBlock(0, 0, False, bytes(33))
    with pytest.raises(BlockError) as caught:
        decode_block(data, LRC, 32)
    assert caught.value.rule is BlockRule.LEN_IFS


@pytest.mark.parametrize(
    "block",
    [
        IBlock(0, 0, False, bytes(255)),
        IBlock(0x11, 0, False, b""),
        SBlock(0, Supervisory.IFS, False, 255),
        SBlock(0, Supervisory.WTX, False, 0),
    ],
)
def test_a_block_that_no_receiver_may_accept_is_not_made(block: Block) -> None:
    with pytest.raises(BlockError):
        encode_block(block, LRC)


def test_11_3_2_1_nad() -> None:
    assert nad_of(1, 2) == 0x21
    assert swap_nad(0x21) == 0x12
    assert swap_nad(0) == 0
    for sad, dad in ((3, 3), (8, 0), (0, -1)):
        with pytest.raises(BlockError):
            nad_of(sad, dad)
