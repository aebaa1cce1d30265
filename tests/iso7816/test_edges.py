"""Characters and edges (ISO/IEC 7816-3:2006, 7.1 to 7.3, 8.1): worked out, rounded to clock cycles, and heard again."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.engine import Timebase
from bench.iso7816.atr_values import Convention
from bench.iso7816.edges import (
    HIGH,
    LOW,
    Edge,
    Uart,
    Wave,
    burst_edges,
    character_edges,
    moments,
    on_cycles,
    sample,
    swap,
    values,
)
from bench.iso7816.line import Burst, etu_ticks
from bench.iso7816.rates import Rate, all_rates

ETU = 3720
CONVENTIONS = st.sampled_from(Convention)


def letters(levels: tuple[int, ...]) -> str:
    return "".join("LH"[level] for level in levels)


def test_initial_characters_look_as_the_standard_draws_them() -> None:
    """8.1: (H)LHHLLLLLLH is 3F in the inverse convention, (H)LHHLHHHLLH is 3B in the direct one."""
    assert letters(moments(0x3F, Convention.INVERSE)) == "LHHLLLLLLH"
    assert letters(moments(0x3B, Convention.DIRECT)) == "LHHLHHHLLH"


def test_inverse_ts_heard_in_the_direct_convention_is_03_with_wrong_parity() -> None:
    (heard,) = sample(character_edges(0x3F, 100, ETU, Convention.INVERSE), ETU)
    assert (heard.value, heard.parity_ok, heard.frame_ok) == (0x03, False, True)
    assert swap(0x03) == 0x3F


@pytest.mark.parametrize("convention", Convention)
def test_parity_is_even_in_both_conventions(convention: Convention) -> None:
    one = LOW if convention is Convention.INVERSE else HIGH
    for value in range(256):
        levels = moments(value, convention)
        assert levels[0] == LOW
        assert sum(level == one for level in levels[1:]) % 2 == 0


def test_edges_of_a_character_alternate_and_end_at_h() -> None:
    for value in range(256):
        edges = character_edges(value, 50, ETU)
        assert edges[0] == Edge(50, LOW)
        assert edges[-1].level == HIGH
        assert all(one.level != other.level and one.time < other.time for one, other in pairwise(edges))
        assert edges[-1].time <= 50 + 10 * ETU


@given(
    data=st.binary(min_size=1, max_size=40),
    convention=CONVENTIONS,
    etu=st.integers(16, 10**6),
    start=st.integers(0, 10**9),
    pitch=st.integers(11, 300),
    phase=st.integers(0, 10**6),
    signals=st.booleans(),
)
def test_a_burst_is_heard_as_it_was_sent(
    data: bytes, convention: Convention, etu: int, start: int, pitch: int, phase: int, signals: bool
) -> None:
    heard = sample(
        burst_edges([Burst(data, start, pitch * etu, etu)], convention),
        etu,
        convention,
        phase=phase,
        error_signals=signals,
    )
    assert values(heard) == data
    assert all(character.sound and character.error_signal is None for character in heard)
    assert [character.start for character in heard] == [start + index * pitch * etu for index in range(len(data))]


@given(data=st.binary(min_size=1, max_size=20), permille=st.integers(-40, 40), phase=st.integers(0, ETU))
def test_a_receiver_four_percent_off_hears_every_character(data: bytes, permille: int, phase: int) -> None:
    own = Fraction(ETU * (1000 + permille), 1000)
    assert values(sample(burst_edges([Burst(data, 0, 12 * ETU, ETU)]), own, phase=phase)) == data


@pytest.mark.parametrize("permille", [-70, 70])
def test_a_receiver_seven_percent_off_does_not(permille: int) -> None:
    """The tenth moment is over (or has not begun) where its middle should be: 9.5 etu times 7 % is more than half an etu."""
    own = Fraction(ETU * (1000 + permille), 1000)
    heard = sample(burst_edges([Burst(bytes(range(256)), 0, 12 * ETU, ETU)]), own)
    assert values(heard) != bytes(range(256)) or not all(character.sound for character in heard)


@pytest.mark.parametrize("rate", all_rates(), ids=str)
def test_edges_on_clock_cycles_stay_within_a_fifth_of_an_etu(rate: Rate) -> None:
    """7.2: hardware moves edges to cycles of its clock; at every F/D, fractional ones included, they stay within 0.2 etu and are heard."""
    clock_hz = 3_571_200
    timebase = Timebase.for_clocks(clock_hz)
    etu, cycle = etu_ticks(rate, clock_hz, timebase), timebase.cycles(1, clock_hz)
    burst = Burst(bytes(range(0, 256, 5)), 1000 * cycle, 12 * etu, etu)
    exact = list(burst_edges([burst]))
    rounded = list(on_cycles(exact, cycle))
    assert all(edge.time % cycle == 0 for edge in rounded)
    worst = max(abs(one.time - other.time) for one, other in zip(exact, rounded, strict=True))
    assert worst * 2 <= cycle
    assert 5 * worst <= etu
    assert values(sample(rounded, etu)) == burst.data


def test_edges_of_whole_cycles_stay_where_they_are() -> None:
    edges = character_edges(0x5A, 700, 7)
    assert list(on_cycles(edges, 7)) == edges
    assert list(on_cycles([Edge(10, LOW), Edge(11, HIGH)], 4, origin=1)) == [Edge(9, LOW), Edge(13, HIGH)]


def test_wrong_parity_is_heard_as_such() -> None:
    (heard,) = sample(character_edges(0x5A, 0, ETU, parity_error=True), ETU)
    assert (heard.value, heard.parity_ok, heard.frame_ok) == (0x5A, False, True)


def test_a_line_that_stays_low_is_no_frame() -> None:
    wave = Wave([Edge(0, LOW), Edge(15 * ETU, HIGH), *character_edges(0x11, 20 * ETU, ETU)])
    broken, sound = sample(wave, ETU)
    assert not broken.frame_ok
    assert broken.ready == 15 * ETU
    assert (sound.value, sound.sound) == (0x11, True)


@pytest.mark.parametrize("length", [1, ETU // 32, ETU // 4])
def test_noise_shorter_than_half_a_moment_begins_no_character(length: int) -> None:
    wave = Wave([Edge(100, LOW), Edge(100 + length, HIGH), *character_edges(0x77, 100 + ETU, ETU)])
    (heard,) = sample(wave, ETU)
    assert (heard.start, heard.value) == (100 + ETU, 0x77)


@pytest.mark.parametrize("begins", [Fraction(103, 10), Fraction(21, 2), Fraction(107, 10)])
@pytest.mark.parametrize("lasts", [1, Fraction(3, 2), 2])
def test_an_error_signal_is_no_character(begins: Fraction, lasts: Fraction) -> None:
    """7.3: from 10.5 ± 0.2 etu on, for one to two etu, the receiver pulls the line down; the character comes again."""
    begin, end = int(begins * ETU), int((begins + lasts) * ETU)
    again = 14 * ETU
    wave = Wave(
        [
            *character_edges(0x42, 0, ETU, parity_error=True),
            Edge(begin, LOW),
            Edge(end, HIGH),
            *character_edges(0x42, again, ETU),
        ]
    )
    refused, repeated = sample(wave, ETU, error_signals=True)
    assert (refused.error_signal, refused.error_signal_end) == (begin, end)
    assert (repeated.start, repeated.sound, repeated.error_signal) == (again, True, None)


def test_without_error_signals_a_character_may_follow_after_11_etu() -> None:
    """11.2: N = 255 under T=1; a receiver that is 2 % slow sees it at 10.8 etu of its own."""
    data = bytes(range(200))
    heard = sample(burst_edges([Burst(data, 0, 11 * ETU, ETU)]), Fraction(ETU * 102, 100))
    assert values(heard) == data


def test_a_wave_drops_edges_that_change_nothing() -> None:
    wave = Wave([Edge(1, HIGH), Edge(5, LOW), Edge(6, LOW), Edge(9, HIGH), Edge(9, LOW), Edge(12, HIGH)])
    assert wave.times == [5, 12]
    assert [wave.level(time) for time in (0, 5, 11, 12)] == [HIGH, LOW, LOW, HIGH]
    assert (wave.falling(6), wave.rising(6), wave.rising(13)) == (None, 12, None)
    assert wave.between(5, 12) == [Edge(5, LOW), Edge(12, HIGH)]


def test_a_wave_that_begins_low_has_fallen_before() -> None:
    wave = Wave.alternating([40, 50], LOW)
    assert [wave.level(time) for time in (0, 39, 40, 50)] == [LOW, LOW, HIGH, LOW]


def test_edges_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="order of time"):
        Wave([Edge(5, LOW), Edge(4, HIGH)])


def test_an_etu_must_be_positive() -> None:
    with pytest.raises(ValueError, match="positive"):
        Uart(0)


@settings(max_examples=50)
@given(times=st.lists(st.integers(0, 10**6), max_size=300), etu=st.integers(1, 10**5), signals=st.booleans())
def test_any_noise_is_heard_to_its_end(times: list[int], etu: int, signals: bool) -> None:
    """Whatever the line does, sampling ends and goes forward."""
    wave = Wave.alternating(sorted(set(times)))
    heard = sample(wave, etu, error_signals=signals)
    assert all(one.start < other.start for one, other in pairwise(heard))
