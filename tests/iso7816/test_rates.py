"""Rates and times against the tables and worked numbers of ISO/IEC 7816-3:2006, 7.1, 8.3, 10.2, 11.2, 11.4.3."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.iso7816 import rates
from bench.iso7816.errors import RateError
from bench.iso7816.rates import RATE_DEFAULT, Rate, all_rates, sweep_range

ANY_RATE = st.sampled_from(all_rates())


@pytest.mark.parametrize(
    ("ta1", "clock_hz", "baud"),
    [
        (0x11, 3_571_200, 9_600),
        (0x12, 3_571_200, 19_200),
        (0x18, 3_571_200, 115_200),
        (0x19, 3_571_200, 192_000),
        (0x95, 3_686_400, 115_200),
        (0x96, 5_000_000, 312_500),
        (0x97, 4_800_000, 600_000),
        (0x16, 4_000_000, Fraction(4_000_000 * 32, 372)),
        (0x98, 4_800_000, 112_500),
    ],
)
def test_baud_is_f_times_d_over_f(ta1: int, clock_hz: int, baud: Fraction | int) -> None:
    assert Rate(ta1).baud(clock_hz) == baud


@pytest.mark.parametrize(
    ("ta1", "etu"),
    [(0x11, 372), (0x14, Fraction(93, 2)), (0x17, Fraction(93, 16)), (0x18, 31), (0x98, Fraction(128, 3)), (0x96, 16)],
)
def test_etu_in_clock_cycles_is_exact(ta1: int, etu: Fraction | int) -> None:
    assert Rate(ta1).etu_cycles == etu


def test_table_7_and_8_have_these_reserved_codes() -> None:
    reserved_f = {fi for fi in range(16) if fi not in rates.F_TABLE}
    reserved_d = {di for di in range(16) if di not in rates.D_TABLE}
    assert reserved_f == {0x7, 0x8, 0xE, 0xF}
    assert reserved_d == {0x0, 0xA, 0xB, 0xC, 0xD, 0xE, 0xF}


@pytest.mark.parametrize(("ta1", "what"), [(0x71, "Fi code 7"), (0xF1, "Fi code F"), (0x10, "Di code 0"), (0x1A, "Di")])
def test_a_reserved_code_is_named(ta1: int, what: str) -> None:
    with pytest.raises(RateError, match=what):
        Rate(ta1)


@pytest.mark.parametrize("ta1", [-1, 256])
def test_ta1_is_one_byte(ta1: int) -> None:
    with pytest.raises(RateError, match="one byte"):
        Rate(ta1)


@given(st.integers(0, 255))
def test_a_code_is_a_rate_or_is_refused(ta1: int) -> None:
    if rates.is_assigned(ta1):
        rate = Rate(ta1)
        assert rate.etu_cycles * rate.d == rate.f
    else:
        with pytest.raises(RateError):
            Rate(ta1)


@given(ANY_RATE, st.integers(1, 20_000_000))
def test_the_sweep_of_a_card_stays_within_its_own_factors(own: Rate, clock_hz: int) -> None:
    """9.2: Fn within Fd..Fi, Dn within Dd..Di; 8.3: no clock above f(max)."""
    swept = sweep_range(own.ta1, clock_hz)
    if clock_hz > own.fmax_hz:
        assert swept == ()
        return
    assert own in swept
    assert all(372 <= rate.f <= own.f and 1 <= rate.d <= own.d for rate in swept)
    pairs = [(rate.f, rate.d) for rate in swept]
    assert len(set(pairs)) == len(pairs)
    missing = {(r.f, r.d) for r in all_rates() if 372 <= r.f <= own.f and r.d <= own.d} - set(pairs)
    assert not missing


def test_the_sweep_of_ta1_95() -> None:
    assert [f"{rate.ta1:02X}" for rate in sweep_range(0x95, 5_000_000)] == (
        ["11", "12", "13", "14", "15", "18", "91", "92", "93", "94", "95", "98"]
    )


def test_a_card_without_ta1_has_one_rate() -> None:
    assert sweep_range(RATE_DEFAULT, 3_571_200) == (Rate(0x11),)


@pytest.mark.parametrize(
    ("wi", "fi", "clock_hz", "seconds"),
    [
        (10, 372, 3_571_200, Fraction(1)),
        (10, 512, 5_000_000, Fraction(98304, 100_000)),
        (1, 372, 5_000_000, Fraction(71424, 1_000_000)),
        (255, 372, 5_000_000, Fraction(18213120, 1_000_000)),
    ],
)
def test_wwt_depends_on_fi_and_not_on_d(wi: int, fi: int, clock_hz: int, seconds: Fraction) -> None:
    assert Fraction(rates.wwt_cycles(wi, fi), clock_hz) == seconds


@pytest.mark.parametrize(("cwi", "etu"), [(0, 12), (5, 43), (8, 267), (13, 8203), (15, 32779)])
def test_cwt(cwi: int, etu: int) -> None:
    assert rates.cwt_etu(cwi) == etu


@pytest.mark.parametrize(("bwi", "tenths"), [(0, 1), (1, 2), (4, 16), (9, 512)])
def test_bwt_is_eleven_etu_and_a_time_that_no_rate_changes(bwi: int, tenths: int) -> None:
    for ta1 in (0x11, 0x18, 0x98):
        rate = Rate(ta1)
        rest = rates.bwt_cycles(bwi, rate) - 11 * rate.etu_cycles
        assert rest / 3_571_200 == Fraction(tenths, 10)


def test_wtx_multiplies_the_whole_bwt() -> None:
    rate = Rate(0x95)
    assert rates.bwt_cycles(4, rate, wtx=3) == 3 * rates.bwt_cycles(4, rate)


def test_extra_guard_time_counts_current_etu_without_t15_and_ta1_etu_with_it() -> None:
    """8.3: R = F/D without T=15, R = Fi/Di with it."""
    current, indicated = Rate(0x11), Rate(0x96)
    assert rates.guard_cycles(5, 0, current, indicated, t15=False) == (12 + 5) * 372
    assert rates.guard_cycles(5, 0, current, indicated, t15=True) == 12 * 372 + 5 * 16


@pytest.mark.parametrize(("protocol", "etu"), [(0, 12), (1, 11)])
def test_n_255_shortens_only_t1(protocol: int, etu: int) -> None:
    """8.3, 11.2."""
    rate = Rate(0x11)
    assert rates.guard_cycles(255, protocol, rate, rate, t15=False) == etu * 372
    assert rates.card_guard_etu(255, protocol) == etu


def test_the_card_sends_without_extra_guard_time() -> None:
    """8.3: no extra guard time is used to transmit from the card."""
    assert rates.card_guard_etu(200, 0) == rates.card_guard_etu(200, 1) == 12


def test_impossible_arguments_are_refused() -> None:
    rate = Rate(0x11)
    with pytest.raises(RateError, match="WI=0"):
        rates.wwt_cycles(0, 372)
    with pytest.raises(RateError, match="CWI=16"):
        rates.cwt_etu(16)
    with pytest.raises(RateError, match="BWI=10"):
        rates.bwt_cycles(10, rate)
    with pytest.raises(RateError, match="WTX multiplier 0"):
        rates.bwt_cycles(1, rate, wtx=0)
    with pytest.raises(RateError, match="N=256"):
        rates.extra_guard_cycles(256, rate, rate, t15=False)
    with pytest.raises(RateError, match="0 Hz"):
        rate.baud(0)
