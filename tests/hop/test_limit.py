"""The limits that efficiencies refer to, against numbers worked out by hand; and the bench below them on every line (docs/protocol.md, 1)."""

from __future__ import annotations

from itertools import chain, pairwise, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.channels.limit import shortest
from bench.hop.limit import LineLimit, T0Limit, T1Limit

T0 = T0Limit(etu=1, pitch_to_card=12)
T1 = T1Limit(etu=1, pitch_to_card=11, pitch_from_card=11)
"""N = 255: 11 etu from character to character. Everything in etu."""


def test_an_envelope_over_t0() -> None:
    """Header 5 characters, INS, 255 of data, SW1 SW2: 263. Within each run 12 etu: 4 + 0 + 254 + 1 spans; and four turns of 16."""
    assert T0.envelope(255) == 4 * 12 + 16 + 16 + 254 * 12 + 16 + 12 + 16 == 3172
    assert T0.exchange(260, 2) == 3172


def test_a_fetch_over_t0() -> None:
    """Header, then INS, 255 bytes and SW1 SW2 in one run of 258: two turns."""
    assert T0.exchange(5, 257) == 4 * 12 + 16 + 257 * 12 + 16 == 3164


def test_a_fruitless_poll_over_t0() -> None:
    assert T0.exchange(5, 2) == 4 * 12 + 16 + 12 + 16


def test_extra_guard_time_runs_before_each_character_to_the_card() -> None:
    """N = 20: 32 etu, also after a character of the card; those of the card keep 12."""
    slow = T0Limit(etu=1, pitch_to_card=32)
    assert slow.envelope(10) == 4 * 32 + 16 + 32 + 9 * 32 + 16 + 12 + 32
    assert slow.tail == 32 - 10
    blocks = T1Limit(etu=1, pitch_to_card=32, pitch_from_card=12)
    assert blocks.envelope(10) == (4 + 15 - 1) * 32 + 22 + 5 * 12 + 32


def test_an_envelope_over_t1() -> None:
    """249 bytes are the most that fit a block: 4 + 5 + 249 = 258 characters, BGT, 4 + 2 back, BGT. 115 200 baud: 9 803 bytes a second."""
    assert T1.envelope(249) == 257 * 11 + 22 + 5 * 11 + 22 == 2926
    assert round(249 * 115_200 / 2926) == 9803
    assert T1.densest == 249


def test_an_envelope_in_two_blocks() -> None:
    """5 + 255 bytes: 254 and 6. I-block of 258, R-block of 4 back, I-block of 10, answer of 6; four turns."""
    assert T1.envelope(255) == 257 * 11 + 22 + 3 * 11 + 22 + 9 * 11 + 22 + 5 * 11 + 22 == 3102


def test_an_answer_in_two_blocks() -> None:
    """GET RESPONSE (9 characters), I-block of 254, R-block, I-block of the other 3."""
    assert T1.exchange(5, 257) == 8 * 11 + 22 + 257 * 11 + 22 + 3 * 11 + 22 + 6 * 11 + 22


def test_crc_costs_a_character_a_block() -> None:
    assert T1Limit(etu=1, pitch_to_card=11, pitch_from_card=11, edc=2).envelope(10) == T1.envelope(10) + 2 * 11


def test_card_time_counts_once_a_command() -> None:
    slow = T1Limit(etu=1, pitch_to_card=11, pitch_from_card=11, card=1000)
    assert slow.envelope(255) == T1.envelope(255) + 1000
    assert slow.carry([100] * 3, [100] * 3) == T1.carry([100] * 3, [100] * 3) + 3000


def test_one_way_to_the_card() -> None:
    assert T1.carry([247] * 4, []) == 4 * T1.envelope(248)


def test_one_way_from_the_card() -> None:
    """Each segment in a GET RESPONSE of its own: 5 bytes there, the segment and SW1 SW2 back."""
    assert T1.carry([], [247] * 4) == 4 * T1.exchange(5, 250)


def test_answers_ride_with_envelopes() -> None:
    """Le there, header and payload back: 1 + 1 + 100 characters beyond those of the ENVELOPE."""
    assert (
        T1.carry([100] * 5, [100] * 5) == 5 * (T1.envelope(101) + 11 * (1 + 101)) == 5 * T1.exchange(5 + 101 + 1, 103)
    )


def test_what_does_not_ride_is_fetched() -> None:
    assert T1.carry([100] * 2, [100] * 5) == 2 * T1.exchange(107, 103) + 3 * T1.exchange(5, 103)


def test_a_packet_that_needs_two_blocks_is_not_cut_in_two() -> None:
    """250 bytes: one ENVELOPE in two blocks is shorter than two ENVELOPEs."""
    assert T1.carry([250], []) == T1.envelope(251) < T1.envelope(249) + T1.envelope(3)


def test_a_long_packet_is_cut_where_blocks_end() -> None:
    """1 000 bytes: 248 to an ENVELOPE leaves 8 for a fifth; of four with up to 254 each, two take two blocks, which is longer."""
    fifth = 4 * T1.envelope(249) + T1.envelope(9)
    fourth = T1.envelope(255) + T1.envelope(251) + 2 * T1.envelope(249)
    assert T1.carry([1000], []) == fifth < fourth


def test_small_blocks_make_chains() -> None:
    """IFSC 32: 100 bytes are 106 with APDU and segment header, so four blocks; one ENVELOPE all the same."""
    small = T1Limit(etu=1, pitch_to_card=11, pitch_from_card=11, ifsc=32)
    assert small.carry([100], []) == small.envelope(101) == T1.envelope(101) + 3 * ((3 + 3) * 11 + 2 * 22)


def test_credits_ride_for_nothing_but_their_characters() -> None:
    """Windows of 4: 12 messages beyond it need 6 credits of 5 bytes."""
    assert shortest(T1, {0: [100] * 16}, {}, 4, 4) == 16 * T1.envelope(101) + 6 * 11 * (1 + 1 + 5)
    assert shortest(T0, {0: [100] * 16}, {}, 4, 4) == 16 * T0.envelope(101) + 6 * T0.fetch(6)


def test_credit_is_of_one_channel() -> None:
    """Four channels with windows of 4: of 8 messages each, 4 need credit, which is two credits a channel, whatever the others have left."""
    four = {channel: [100] * 8 for channel in range(4)}
    assert shortest(T0, four, {}, 4, 4) == 32 * T0.envelope(101) + 8 * T0.fetch(6)
    assert shortest(T0, {}, four, 4, 4) == 32 * T0.fetch(101) + 8 * T0.envelope(6)
    assert shortest(T0, {0: [100] * 12, 1: [100] * 4}, {}, 4, 4) == 16 * T0.envelope(101) + 4 * T0.fetch(6)


def test_data_the_other_way_carries_credit() -> None:
    there = {channel: [100] * 8 for channel in range(4)}
    assert shortest(T0, there, {9: [50] * 8}, 4, 4) == 32 * T0.envelope(101) + 8 * T0.fetch(51)
    assert shortest(T0, there, {9: [50] * 5}, 4, 4) == 32 * T0.envelope(101) + 5 * T0.fetch(51) + 3 * T0.fetch(6)


def _cuts(length: int) -> list[list[int]]:
    """Every way to cut a packet into up to three segments, some of them at least."""
    whole = [[length]]
    edges = sorted({1, length // 3, length // 2, 247, 248, 251, 254, length - 247, length - 254, length - 1})
    inside = [edge for edge in edges if 0 < edge < length]
    two = [[edge, length - edge] for edge in inside]
    three = [[a, b - a, length - b] for a, b in pairwise(inside)]
    return [cut for cut in whole + two + three if max(cut) <= 254]


def _legal(limit: T1Limit, there: list[int], back: list[int]) -> int:
    """The time of a sequence that carries these segments, as many answers riding as there are ENVELOPEs."""
    ticks = 0
    for segment in there:
        answer = back.pop() if back else None
        ticks += limit.envelope(1 + segment) if answer is None else limit.exchange(7 + segment, answer + 3)
    return ticks + sum(limit.exchange(5, answer + 3) for answer in back)


@settings(max_examples=20)
@pytest.mark.parametrize("ifs", [1, 4, 32, 100, 131, 254])
@given(st.lists(st.integers(1, 400), max_size=2), st.lists(st.integers(1, 400), max_size=2))
def test_no_cut_beats_the_limit(ifs: int, there: list[int], back: list[int]) -> None:
    limit = T1Limit(etu=1, pitch_to_card=12, pitch_from_card=12, ifsc=ifs, ifsd=ifs)
    bound = limit.carry(there, back)
    for cut_there in product(*map(_cuts, there)):
        for cut_back in product(*map(_cuts, back)):
            assert bound <= _legal(limit, [*chain(*cut_there)], [*chain(*cut_back)])


@pytest.mark.parametrize("limit", [T0, T1])
def test_nothing_costs_nothing(limit: LineLimit) -> None:
    assert limit.carry([], []) == 0
