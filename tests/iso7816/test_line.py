"""Bursts on the I/O line (ISO/IEC 7816-3:2006, 7.1 to 7.3): edges, exact etu, and what a card without power or a reader without a card does."""

import pytest

from bench.engine import Timebase
from bench.iso7816.line import Burst, etu_near, etu_ticks
from bench.iso7816.port import Answer, PowerUp
from bench.iso7816.rates import Rate, all_rates
from tests.iso7816.wire import CLOCK_HZ, Wire, answer, envelope


def test_7_2_a_burst_knows_its_edges() -> None:
    burst = Burst(b"abc", 1000, 12 * 10, 10)
    assert burst.last == 1000 + 2 * 120
    assert burst.end == burst.last + 100  # start bit, eight data bits, parity
    assert burst.taken == burst.last + 110  # the error signal has been looked for (7.3)


@pytest.mark.parametrize("clock_hz", [CLOCK_HZ, 3_686_400, 4_000_000, 4_999_999])
def test_7_1_an_etu_is_a_whole_number_of_ticks_at_every_rate(clock_hz: int) -> None:
    timebase = Timebase.for_clocks(clock_hz)
    for rate in all_rates():
        ticks = etu_ticks(rate, clock_hz, timebase)
        assert etu_near(rate, clock_hz, timebase) == ticks
        assert ticks * rate.d * clock_hz == rate.f * timebase.hz


def test_7_1_an_etu_of_a_clock_that_is_not_the_timebases_is_refused() -> None:
    with pytest.raises(ValueError, match=r"is not a clock of this timebase|whole number of ticks"):
        etu_ticks(Rate(0x11), 3_000_001, Timebase.for_clocks(CLOCK_HZ))


def _ticks(wire: Wire, seconds: float) -> int:
    return round(seconds * wire.engine.timebase.hz)


def test_a_card_taken_away_in_the_middle_says_no_more_and_hears_no_more() -> None:
    for moment in range(0, 4000, 97):  # etu after the start of an exchange of 3172
        wire = Wire(answer())
        answers: list[Answer] = []
        wire.reader.submit(envelope(255), answers.append)
        wire.engine.run(wire.engine.now + moment * wire.etu)
        over = bool(answers)
        wire.reader.remove()
        wire.engine.run(wire.engine.now + _ticks(wire, 2))
        assert len(answers) == 1
        assert answers[0].error == ("" if over else "mute")
        assert not wire.contacts.powered


def test_a_reader_with_a_switch_tells_at_once() -> None:
    wire = Wire(answer())
    wire.reader.detects = True
    answers: list[Answer] = []
    wire.reader.submit(envelope(255), answers.append)
    wire.engine.run(wire.engine.now + 100 * wire.etu)
    wire.reader.remove()
    assert [each.error for each in answers] == ["absent"]
    wire.reader.submit(envelope(1), answers.append)
    assert [each.error for each in answers] == ["absent", "absent"]


def test_power_twice_within_a_reset_gives_one_answer_for_the_second() -> None:
    wire = Wire(answer())
    first: list[PowerUp] = []
    second: list[PowerUp] = []
    wire.reader.power_up(first.append)
    wire.engine.run(wire.engine.now + 50)  # RST is still low
    wire.reader.power_up(second.append)
    wire.engine.run(wire.engine.now + _ticks(wire, 1))
    assert first == []
    assert [each.error for each in second] == [""]


def test_power_down_drops_what_is_under_way() -> None:
    wire = Wire(answer())
    answers: list[Answer] = []
    wire.reader.submit(envelope(255), answers.append)
    wire.engine.run(wire.engine.now + 100 * wire.etu)
    wire.reader.power_down()
    wire.engine.run(wire.engine.now + _ticks(wire, 3))
    assert answers == []
    with pytest.raises(RuntimeError, match="has answered to reset"):
        wire.reader.submit(envelope(1), answers.append)


def test_a_reader_without_a_card_says_mute_when_the_window_of_the_answer_to_reset_is_over() -> None:
    wire = Wire(answer())
    wire.reader.remove()
    ups: list[PowerUp] = []
    begun = wire.engine.now
    wire.reader.power_up(ups.append)
    assert wire.engine.wait(lambda: bool(ups), _ticks(wire, 1))
    assert [each.error for each in ups] == ["mute"]
    assert wire.engine.now - begun >= wire.engine.timebase.cycles(400 + 40_000, CLOCK_HZ)


@pytest.mark.parametrize("ta1", [0x11, 0x18, 0x95, 0x96])
def test_a_rate_negotiated_by_pps_holds_for_both_sides(ta1: int) -> None:
    wire = Wire(answer(), ta1)
    assert wire.reader.ta1 == ta1
    assert wire.contacts.rate == Rate(ta1)


def test_a_clock_that_a_reader_tells_of_need_not_be_the_timebases() -> None:
    """CCID has whole kilohertz: 3571 for 3 571 200 Hz, 56 ppm off."""
    timebase = Timebase.for_clocks(CLOCK_HZ)
    near = etu_near(Rate(0x11), 3_571_000, timebase)
    assert near / etu_ticks(Rate(0x11), 3_571_200, timebase) == pytest.approx(3_571_200 / 3_571_000, abs=1e-9)
