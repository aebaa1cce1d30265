"""PPS: the exchange as values, every answer a card may give, the card's own answer (ISO/IEC 7816-3:2006, clause 9)."""

from functools import reduce
from operator import xor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.iso7816.errors import PpsError
from bench.iso7816.pps import Pps, PpsOutcome, evaluate, expected_length, parse_pps, respond
from bench.iso7816.rates import Rate, all_rates, sweep_range

PARAMETER = st.none() | st.integers(0, 255)
ANY_PPS = st.builds(Pps, st.integers(0, 14), PARAMETER, PARAMETER, PARAMETER)
ASSIGNED = st.sampled_from([rate.ta1 for rate in all_rates()])
REQUEST = st.builds(Pps, st.integers(0, 14), st.none() | ASSIGNED, PARAMETER, PARAMETER)


@pytest.mark.parametrize(
    ("pps", "hexadecimal"),
    [
        (Pps(0, 0x11), "FF 10 11 FE"),
        (Pps(0, 0x18), "FF 10 18 F7"),
        (Pps(0, 0x95), "FF 10 95 7A"),
        (Pps(1, 0x97), "FF 11 97 79"),
        (Pps(1), "FF 01 FE"),
        (Pps(0, 0x96, 0x01, 0x00), "FF 70 96 01 00 18"),
    ],
)
def test_vectors(pps: Pps, hexadecimal: str) -> None:
    assert pps.encode() == bytes.fromhex(hexadecimal)
    assert parse_pps(bytes.fromhex(hexadecimal)) == pps


@given(ANY_PPS)
def test_round_trip(pps: Pps) -> None:
    data = pps.encode()
    assert parse_pps(data) == pps
    assert reduce(xor, data) == 0
    assert expected_length(data[1]) == len(data) <= 6


@given(st.binary(max_size=8))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        pps = parse_pps(data)
    except PpsError:
        return
    assert pps.encode() == data


@pytest.mark.parametrize(
    ("hexadecimal", "what"),
    [
        ("FF 10", "2 bytes"),
        ("FE 10 11 FF", r"byte 1 \(PPSS\)"),
        ("FF 90 11 7E", "bit 8 is reserved"),
        ("FF 10 11", "announces 4"),
        ("FF 00 FF FF", "announces 3"),
        ("FF 10 11 FF", r"byte 4 \(PCK\) is FF; FE makes"),
        ("FF 0F F0", "T=15"),
    ],
)
def test_what_is_no_pps_is_told(hexadecimal: str, what: str) -> None:
    with pytest.raises(PpsError, match=what):
        parse_pps(bytes.fromhex(hexadecimal))


# --- 9.3, the terminal's side ----------------------------------------------------------------------------------------


@given(REQUEST)
def test_a_full_echo_puts_everything_in_force(request_: Pps) -> None:
    result = evaluate(request_, request_.encode())
    assert result.outcome is PpsOutcome.ACCEPTED
    assert result.protocol == request_.protocol
    assert result.rate == Rate(0x11 if request_.pps1 is None else request_.pps1)


def test_a_response_without_pps1_keeps_the_default_rate() -> None:
    result = evaluate(Pps(0, 0x96), bytes.fromhex("FF 00 FF"))
    assert result.outcome is PpsOutcome.PARTIAL
    assert result.rate_refused
    assert result.rate == Rate(0x11)
    assert "PPS1" in result.detail


def test_a_response_without_pps2_still_takes_the_rate() -> None:
    result = evaluate(Pps(0, 0x96, pps2=1), Pps(0, 0x96).encode())
    assert result.outcome is PpsOutcome.PARTIAL
    assert not result.rate_refused
    assert result.rate == Rate(0x96)


@pytest.mark.parametrize(
    ("response", "outcome"),
    [
        (b"", PpsOutcome.SILENT),
        (bytes.fromhex("FF 10 96 78"), PpsOutcome.MALFORMED),
        (bytes.fromhex("FF"), PpsOutcome.MALFORMED),
        (Pps(1, 0x96).encode(), PpsOutcome.WRONG_PROTOCOL),
        (Pps(0, 0x95).encode(), PpsOutcome.WRONG_ECHO),
        (Pps(0, 0x96, pps2=0).encode(), PpsOutcome.UNASKED),
        (Pps(0, 0x96, pps3=0).encode(), PpsOutcome.UNASKED),
    ],
)
def test_an_unsuccessful_exchange_is_named(response: bytes, outcome: PpsOutcome) -> None:
    result = evaluate(Pps(0, 0x96), response)
    assert result.outcome is outcome
    assert not result.outcome.successful


@given(REQUEST, st.binary(max_size=7))
def test_success_only_for_a_subset_of_the_request(request_: Pps, response: bytes) -> None:
    result = evaluate(request_, response)
    if result.outcome.successful:
        answer = parse_pps(response)
        assert answer.protocol == request_.protocol
        for asked, got in ((request_.pps1, answer.pps1), (request_.pps2, answer.pps2), (request_.pps3, answer.pps3)):
            assert got in (None, asked)


def test_proposing_a_reserved_rate_is_the_callers_mistake() -> None:
    with pytest.raises(PpsError, match="PPS1=F0"):
        evaluate(Pps(0, 0xF0), b"")


def test_a_value_that_does_not_fit_is_refused() -> None:
    with pytest.raises(PpsError, match="T=15"):
        Pps(15)
    with pytest.raises(PpsError, match="PPS2 is one byte"):
        Pps(0, pps2=256)


# --- 9.1, 9.3, the card's side ---------------------------------------------------------------------------------------

CARD_RATES = sweep_range(0x95, 3_571_200)


@given(REQUEST)
def test_a_sound_card_answers_so_that_the_terminal_succeeds(request_: Pps) -> None:
    answer = respond(request_.encode(), protocols=(0, 1), accepts=CARD_RATES)
    if request_.protocol > 1:
        assert answer is None
        return
    assert answer is not None
    result = evaluate(request_, answer.response.encode())
    assert result.outcome.successful
    assert (result.protocol, result.rate) == (answer.protocol, answer.rate)


def test_the_card_leaves_out_a_rate_it_does_not_take() -> None:
    answer = respond(Pps(0, 0x97).encode(), protocols=(0,), accepts=CARD_RATES)
    assert answer is not None
    assert answer.response == Pps(0)
    assert answer.rate == Rate(0x11)


def test_code_01_is_the_same_rate_as_code_11() -> None:
    answer = respond(Pps(0, 0x05).encode(), protocols=(0,), accepts=CARD_RATES)
    assert answer is not None
    assert answer.response == Pps(0, 0x05)


def test_the_card_is_silent_at_what_is_no_pps_or_another_protocol() -> None:
    assert respond(bytes.fromhex("FF 10 96 78"), protocols=(0,), accepts=CARD_RATES) is None
    assert respond(Pps(1, 0x95).encode(), protocols=(0,), accepts=CARD_RATES) is None


def test_pps2_is_echoed_only_where_the_card_takes_it_and_pps3_never() -> None:
    request_ = Pps(0, 0x95, pps2=1, pps3=7).encode()
    without = respond(request_, protocols=(0,), accepts=CARD_RATES)
    with_spu = respond(request_, protocols=(0,), accepts=CARD_RATES, pps2=(1,))
    assert without is not None
    assert with_spu is not None
    assert without.response == Pps(0, 0x95)
    assert with_spu.response == Pps(0, 0x95, pps2=1)
