"""Every rule of character timing at limit - 1, limit and limit + 1, both directions, at whole and fractional rates (ISO/IEC 7816-3:2006)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

import pytest

from bench.engine import Timebase
from bench.iso7816.atr import Atr, Edc, GlobalParameters, T1Parameters, build_atr, parse_atr
from bench.iso7816.edges import Edge, burst_edges, character_edges
from bench.iso7816.line import Burst, etu_ticks
from bench.iso7816.rates import Rate
from bench.iso7816.session import Character, Follower, Phase, SessionError, Side
from bench.iso7816.timing import TimingJudge
from bench.iso7816.timing_rules import Interval, TimingConditions, TimingRule, Uncertainty
from bench.observe import Verdict

CLOCK_HZ = 3_571_200
TIMEBASE = Timebase.for_clocks(CLOCK_HZ)
CYCLE = TIMEBASE.cycles(1, CLOCK_HZ)
RATES = [Rate(ta1) for ta1 in (0x11, 0x18, 0x97, 0x14, 0x17, 0x98)]
"""Whole F/D (372, 31, 8) and fractional ones (46.5, 5.8125, 42.67)."""
CARD, TERMINAL = Side.CARD, Side.TERMINAL
AT_LIMIT = [(-1, Verdict.FAIL), (0, Verdict.PASS), (1, Verdict.PASS)]
"""Etu beyond a lower limit, and what the judge must say."""
AT_MOST = [(-1, Verdict.PASS), (0, Verdict.PASS), (1, Verdict.FAIL)]
"""The same of an upper one."""
ECHO = bytes.fromhex("00 B0 00 00 04")


def etu(rate: Rate) -> int:
    return etu_ticks(rate, CLOCK_HZ, TIMEBASE)


def judge_for(
    atr: Atr,
    rate: Rate,
    *,
    protocol: int | None = None,
    uncertainty: Uncertainty | None = None,
    allowance: Fraction = Fraction(0),
) -> TimingJudge:
    conditions = TimingConditions(CLOCK_HZ, TIMEBASE.hz, uncertainty or Uncertainty(), allowance)
    return TimingJudge(conditions, Follower(atr, rate, protocol))


def t0_atr(**parameters: int) -> Atr:
    return parse_atr(build_atr(ta1=0x97, **parameters))  # type: ignore[arg-type]


def t1_atr(extra_guard_time: int | None = None, *, bwi_cwi: int = 0x45, edc: Edc | None = None) -> Atr:
    return parse_atr(
        build_atr(protocols=(1,), ta1=0x97, extra_guard_time=extra_guard_time, t1=T1Parameters(254, bwi_cwi, edc))
    )


@dataclass(slots=True)
class Talk:
    """Puts characters on a line, each a distance after the one before."""

    judge: TimingJudge
    time: int = 10**12

    def say(self, side: Side | None, data: bytes, distances: Iterable[int]) -> list[Interval]:
        found: list[Interval] = []
        for value, distance in zip(data, distances, strict=True):
            self.time += distance
            found = self.judge.take(self.time, value, side)
        return found


def of(rule: TimingRule, found: list[Interval]) -> Interval:
    (interval,) = [each for each in found if each.rule is rule]
    return interval


def header(talk: Talk, rate: Rate, data: bytes = ECHO, *, known: bool = True) -> None:
    talk.say(TERMINAL if known else None, data, [300 * etu(rate)] * len(data))


# --- T=0 -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", RATES, ids=str)
@pytest.mark.parametrize(("off", "verdict"), AT_LIMIT)
@pytest.mark.parametrize("known", [True, False])
def test_guard_time_from_the_card_is_12_etu(rate: Rate, off: int, verdict: Verdict, known: bool) -> None:
    """8.3: N does not concern the card's characters."""
    talk = Talk(judge_for(t0_atr(extra_guard_time=20), rate))
    header(talk, rate, known=known)
    card = CARD if known else None
    talk.say(card, b"\xb0", [50 * etu(rate)])
    found = talk.say(card, b"\x01", [(12 + off) * etu(rate)])
    interval = of(TimingRule.GUARD, found)
    assert interval.verdict is verdict
    assert (interval.side, interval.number, interval.value_etu, interval.limit_etu) == (CARD, 7, 12 + off, 12)
    assert interval.value_cycles == pytest.approx(float((12 + off) * rate.etu_cycles))
    assert talk.judge.report.verdict(CARD) is verdict
    assert talk.judge.report.verdict(TERMINAL) is Verdict.PASS


@pytest.mark.parametrize("rate", RATES, ids=str)
@pytest.mark.parametrize("n", [0, 1, 2, 20, 254, 255])
@pytest.mark.parametrize(("off", "verdict"), AT_LIMIT)
def test_guard_time_to_the_card_is_12_etu_and_n(rate: Rate, n: int, off: int, verdict: Verdict) -> None:
    """8.3: 12 + N etu; N = 255 is 0 under T=0."""
    talk = Talk(judge_for(t0_atr(extra_guard_time=n), rate))
    limit = 12 + n % 255
    talk.say(TERMINAL, b"\x00", [0])
    interval = of(TimingRule.GUARD, talk.say(TERMINAL, b"\xb0", [(limit + off) * etu(rate)]))
    assert (interval.verdict, interval.side, interval.limit_etu) == (verdict, TERMINAL, limit)
    assert talk.judge.report.verdict(CARD) is Verdict.PASS
    assert talk.judge.report.verdict() is verdict


def test_extra_guard_time_with_t15_counts_in_etu_of_ta1() -> None:
    """8.3: R is Fi/Di of TA1 where T=15 is there, whatever rate is in use."""
    atr = parse_atr(build_atr(ta1=0x97, extra_guard_time=4, t15=GlobalParameters()))
    rate = Rate(0x11)
    talk = Talk(judge_for(atr, rate))
    talk.say(TERMINAL, b"\x00", [0])
    interval = of(TimingRule.GUARD, talk.say(TERMINAL, b"\xb0", [12 * 372 * CYCLE + 4 * 8 * CYCLE]))
    assert interval.limit == 12 * 372 * CYCLE + 4 * 8 * CYCLE
    assert interval.verdict is Verdict.PASS


@pytest.mark.parametrize("rate", RATES, ids=str)
@pytest.mark.parametrize(("off", "verdict"), AT_LIMIT)
@pytest.mark.parametrize("side", [CARD, TERMINAL])
def test_turn_around_of_t0_is_16_etu(rate: Rate, off: int, verdict: Verdict, side: Side) -> None:
    """10.2, both ways; with N small the extra guard time adds nothing to it."""
    talk = Talk(judge_for(t0_atr(extra_guard_time=2), rate))
    header(talk, rate, bytes.fromhex("00 D6 00 00 02"))
    if side is TERMINAL:
        talk.say(CARD, b"\xd6", [20 * etu(rate)])
    found = talk.say(side, b"\xd6" if side is CARD else b"\x01", [(16 + off) * etu(rate)])
    interval = of(TimingRule.TURNAROUND, found)
    assert (interval.verdict, interval.side, interval.limit_etu) == (verdict, side, 16)


@pytest.mark.parametrize(("off", "verdict"), AT_LIMIT)
def test_extra_guard_time_runs_from_the_cards_characters_too(off: int, verdict: Verdict) -> None:
    """8.3: the delay is from the previous character, whoever sent it."""
    rate = Rate(0x96)
    talk = Talk(judge_for(t0_atr(extra_guard_time=20), rate))
    header(talk, rate)
    talk.say(CARD, b"\x6d\x00", [20 * etu(rate), 12 * etu(rate)])
    interval = of(TimingRule.TURNAROUND, talk.say(TERMINAL, b"\x00", [(32 + off) * etu(rate)]))
    assert (interval.verdict, interval.limit_etu) == (verdict, 32)


@pytest.mark.parametrize("rate", RATES, ids=str)
@pytest.mark.parametrize("wi", [1, 10, 255])
@pytest.mark.parametrize(("off", "verdict"), AT_MOST)
@pytest.mark.parametrize("after", ["header", "null", "data"])
def test_work_waiting_time(rate: Rate, wi: int, off: int, verdict: Verdict, after: str) -> None:
    """10.2: WI * 960 * Fi clock cycles before any character of the card, whatever D is in use; a NULL starts it again."""
    talk = Talk(judge_for(t0_atr(wi=wi), rate))
    header(talk, rate)
    if after != "header":
        talk.say(CARD, b"\x60" if after == "null" else b"\xb0", [20 * etu(rate)])
    limit = wi * 960 * 512 * CYCLE
    interval = of(TimingRule.WWT, talk.say(CARD, b"\xb0", [limit + off * etu(rate)]))
    assert (interval.verdict, interval.side, interval.limit) == (verdict, CARD, limit)


def test_the_terminal_may_pause_between_commands() -> None:
    rate = Rate(0x11)
    talk = Talk(judge_for(t0_atr(wi=1), rate))
    header(talk, rate)
    talk.say(CARD, b"\x90\x00", [20 * etu(rate), 12 * etu(rate)])
    talk.say(TERMINAL, ECHO, [10**15, *[10**14] * 4])
    assert talk.judge.report.verdict() is Verdict.PASS


@pytest.mark.parametrize(("off", "verdict"), AT_MOST)
def test_a_card_that_stays_silent_breaks_the_waiting_time(off: int, verdict: Verdict) -> None:
    """The terminal begins a new command: if the waiting time was over, the card has not answered in time."""
    rate = Rate(0x18)
    talk = Talk(judge_for(t0_atr(wi=1), rate))
    header(talk, rate)
    found = talk.say(TERMINAL, b"\x00", [960 * 512 * CYCLE + off * etu(rate)])
    assert talk.judge.report.verdict(CARD) is verdict
    silent = [each for each in found if each.rule is TimingRule.WWT]
    assert [each.side for each in silent] == [CARD] * (verdict is Verdict.FAIL)
    header(talk, rate, ECHO[1:])
    (ack, *_) = talk.say(CARD, b"\xb0", [20 * etu(rate)])
    assert ack.side is CARD  # the new command was followed


# --- T=1 -----------------------------------------------------------------------------------------------------------------

I_BLOCK = bytes.fromhex("00 00 02 01 02 01")
R_BLOCK = bytes.fromhex("00 90 00 90")
WTX_REQUEST = bytes.fromhex("00 C3 01 03 C1")
WTX_RESPONSE = bytes.fromhex("00 E3 01 03 E1")


def block(talk: Talk, side: Side, data: bytes, rate: Rate, first: int) -> list[Interval]:
    return talk.say(side, data, [first, *[12 * etu(rate)] * (len(data) - 1)])


@pytest.mark.parametrize("rate", RATES, ids=str)
@pytest.mark.parametrize(("off", "verdict"), AT_LIMIT)
@pytest.mark.parametrize("side", [CARD, TERMINAL])
@pytest.mark.parametrize("known", [True, False])
def test_block_guard_time_is_22_etu(rate: Rate, off: int, verdict: Verdict, side: Side, known: bool) -> None:
    """11.4.3, both ways; a capture without direction follows the blocks."""
    talk = Talk(judge_for(t1_atr(), rate))
    distances = [12 * etu(rate)] * 5
    talk.say(TERMINAL if known else None, I_BLOCK, [0, *distances])
    if side is TERMINAL:
        talk.say(CARD if known else None, I_BLOCK, [30 * etu(rate), *distances])
    found = talk.say(side if known else None, b"\x00", [(22 + off) * etu(rate)])
    interval = of(TimingRule.BGT, found)
    assert (interval.verdict, interval.side, interval.limit_etu) == (verdict, side, 22)


@pytest.mark.parametrize("rate", RATES, ids=str)
@pytest.mark.parametrize("cwi", [1, 5, 13])
@pytest.mark.parametrize(("off", "verdict"), AT_MOST)
@pytest.mark.parametrize("side", [CARD, TERMINAL])
def test_character_waiting_time(rate: Rate, cwi: int, off: int, verdict: Verdict, side: Side) -> None:
    """11.4.3: 11 + 2^CWI etu within a block, both ways."""
    talk = Talk(judge_for(t1_atr(bwi_cwi=0x40 | cwi), rate))
    if side is CARD:
        block(talk, TERMINAL, R_BLOCK, rate, 0)
    talk.say(side, b"\x00", [30 * etu(rate)])
    found = talk.say(side, b"\x00", [(11 + 2**cwi + off) * etu(rate)])
    interval = of(TimingRule.CWT, found)
    assert (interval.verdict, interval.side, interval.limit_etu) == (verdict, side, 11 + 2**cwi)


@pytest.mark.parametrize("rate", RATES, ids=str)
@pytest.mark.parametrize("bwi", [0, 4, 9])
@pytest.mark.parametrize(("off", "verdict"), AT_MOST)
@pytest.mark.parametrize("edc", [Edc.LRC, Edc.CRC])
def test_block_waiting_time(rate: Rate, bwi: int, off: int, verdict: Verdict, edc: Edc) -> None:
    """11.4.3: 11 etu + 2^BWI * 960 * 372 cycles before the card's block."""
    talk = Talk(judge_for(t1_atr(bwi_cwi=bwi << 4 | 5, edc=edc), rate))
    block(talk, TERMINAL, R_BLOCK + (b"\x00" if edc is Edc.CRC else b""), rate, 0)
    limit = 11 * etu(rate) + 2**bwi * 960 * 372 * CYCLE
    interval = of(TimingRule.BWT, talk.say(CARD, b"\x00", [limit + off * etu(rate)]))
    assert (interval.verdict, interval.side, interval.limit) == (verdict, CARD, limit)


@pytest.mark.parametrize(("off", "verdict"), AT_MOST)
def test_wtx_multiplies_the_next_block_waiting_time_only(off: int, verdict: Verdict) -> None:
    """11.6.2, rule 3: three times BWT after S(WTX response) with INF 03, once after that."""
    rate = Rate(0x96)
    talk = Talk(judge_for(t1_atr(bwi_cwi=0x05), rate))
    once = 11 * etu(rate) + 960 * 372 * CYCLE
    block(talk, TERMINAL, I_BLOCK, rate, 0)
    block(talk, CARD, WTX_REQUEST, rate, once)
    block(talk, TERMINAL, WTX_RESPONSE, rate, 30 * etu(rate))
    first = talk.say(CARD, R_BLOCK[:1], [3 * once + off * etu(rate)])
    interval = of(TimingRule.BWT, first)
    assert (interval.verdict, interval.limit) == (verdict, 3 * once)
    talk.say(CARD, R_BLOCK[1:], [12 * etu(rate)] * 3)
    block(talk, TERMINAL, I_BLOCK, rate, 30 * etu(rate))
    assert of(TimingRule.BWT, talk.say(CARD, b"\x00", [once + off * etu(rate)])).limit == once


@pytest.mark.parametrize(("off", "verdict"), AT_LIMIT)
@pytest.mark.parametrize("side", [CARD, TERMINAL])
def test_short_guard_time_of_t1_is_11_etu(off: int, verdict: Verdict, side: Side) -> None:
    """11.2: N = 255, both ways."""
    rate = Rate(0x97)
    talk = Talk(judge_for(t1_atr(255), rate))
    if side is CARD:
        block(talk, TERMINAL, R_BLOCK, rate, 0)
    talk.say(side, b"\x00", [30 * etu(rate)])
    interval = of(TimingRule.GUARD, talk.say(side, b"\x00", [(11 + off) * etu(rate)]))
    assert (interval.verdict, interval.limit_etu) == (verdict, 11)


@pytest.mark.parametrize(("off", "verdict"), AT_MOST)
def test_a_terminal_that_repeats_its_block_shows_a_silent_card(off: int, verdict: Verdict) -> None:
    rate = Rate(0x11)
    talk = Talk(judge_for(t1_atr(bwi_cwi=0x05), rate))
    block(talk, TERMINAL, R_BLOCK, rate, 0)
    limit = 11 * etu(rate) + 960 * 372 * CYCLE
    talk.say(TERMINAL, R_BLOCK, [limit + off * etu(rate), *[12 * etu(rate)] * 3])
    assert talk.judge.report.verdict(CARD) is verdict
    assert talk.judge.report.verdict(TERMINAL) is Verdict.PASS


@pytest.mark.parametrize(("off", "verdict"), AT_MOST)
def test_a_block_that_is_not_ended_breaks_the_character_waiting_time(off: int, verdict: Verdict) -> None:
    """The terminal asks for the block again: if CWT was over, the card has fallen silent in its midst."""
    rate = Rate(0x97)
    talk = Talk(judge_for(t1_atr(bwi_cwi=0x05), rate))
    block(talk, TERMINAL, R_BLOCK, rate, 0)
    block(talk, CARD, I_BLOCK[:3], rate, 30 * etu(rate))
    found = talk.say(TERMINAL, b"\x00", [(43 + off) * etu(rate)])
    assert talk.judge.report.verdict(CARD) is verdict
    silent = [each for each in found if each.rule is TimingRule.CWT]
    assert [each.side for each in silent] == [CARD] * (verdict is Verdict.FAIL)
    assert talk.judge.report.verdict(TERMINAL) is Verdict.PASS


# --- answer to reset, PPS --------------------------------------------------------------------------------------------------


def fresh() -> Talk:
    return Talk(TimingJudge(TimingConditions(CLOCK_HZ, TIMEBASE.hz), Follower()))


@pytest.mark.parametrize(
    ("cycles", "verdict"),
    [
        (399, Verdict.FAIL),
        (400, Verdict.PASS),
        (401, Verdict.PASS),
        (39_999, Verdict.PASS),
        (40_000, Verdict.PASS),
        (40_001, Verdict.FAIL),
    ],
)
def test_window_of_the_answer_to_reset(cycles: int, verdict: Verdict) -> None:
    """6.2.2: 400 to 40 000 clock cycles after RST."""
    talk = fresh()
    talk.judge.reset(talk.time)
    found = talk.say(CARD, b"\x3b", [cycles * CYCLE])
    assert {each.rule for each in found} == {TimingRule.ATR_EARLIEST, TimingRule.ATR_LATEST}
    assert all(each.value_cycles == cycles for each in found)
    assert talk.judge.report.verdict(CARD) is verdict


@pytest.mark.parametrize(("off", "verdict"), AT_LIMIT)
def test_guard_time_within_the_answer_to_reset(off: int, verdict: Verdict) -> None:
    talk = fresh()
    talk.say(CARD, b"\x3b", [0])
    interval = of(TimingRule.ATR_GUARD, talk.say(CARD, b"\x00", [(12 + off) * 372 * CYCLE]))
    assert (interval.verdict, interval.limit_etu) == (verdict, 12)


@pytest.mark.parametrize(("off", "verdict"), AT_MOST)
def test_waiting_time_within_the_answer_to_reset(off: int, verdict: Verdict) -> None:
    """8.1: 9600 initial etu."""
    talk = fresh()
    talk.say(CARD, b"\x3b", [0])
    interval = of(TimingRule.ATR_WAITING, talk.say(CARD, b"\x00", [(9600 + off) * 372 * CYCLE]))
    assert (interval.verdict, interval.limit_etu) == (verdict, 9600)


def through_pps(talk: Talk, pps1: int, *, to_card: int = 12, to_terminal: int = 12, turn: int = 16) -> None:
    initial = 372 * CYCLE
    atr = build_atr(ta1=0x97)
    pps = bytes([0xFF, 0x10, pps1, 0xFF ^ 0x10 ^ pps1])
    talk.say(CARD, atr, [12 * initial] * len(atr))
    talk.say(TERMINAL, pps, [turn * initial, *[to_card * initial] * 3])
    talk.say(CARD, pps, [turn * initial, *[to_terminal * initial] * 3])


@pytest.mark.parametrize(("off", "verdict"), AT_LIMIT)
@pytest.mark.parametrize("side", [CARD, TERMINAL])
def test_guard_time_within_pps(off: int, verdict: Verdict, side: Side) -> None:
    talk = fresh()
    through_pps(talk, 0x96, **{"to_card" if side is TERMINAL else "to_terminal": 12 + off})
    assert talk.judge.report.verdict(side) is verdict
    assert talk.judge.report.verdict(side.other) is Verdict.PASS
    assert {each.rule for each in talk.judge.report.out} <= {TimingRule.PPS_GUARD}


@pytest.mark.parametrize(("off", "verdict"), AT_MOST)
@pytest.mark.parametrize("side", [CARD, TERMINAL])
def test_waiting_time_within_pps(off: int, verdict: Verdict, side: Side) -> None:
    talk = fresh()
    through_pps(talk, 0x96, **{"to_card" if side is TERMINAL else "to_terminal": 9600 + off})
    assert talk.judge.report.verdict(side) is verdict
    assert {each.rule for each in talk.judge.report.out} <= {TimingRule.PPS_WAITING}


@pytest.mark.parametrize(("off", "verdict"), AT_LIMIT)
@pytest.mark.parametrize("pps1", [0x96, 0x97, 0x14])
def test_the_first_command_keeps_the_guard_time_of_the_old_rate(pps1: int, off: int, verdict: Verdict) -> None:
    """9.1: the last character of PPS takes 12 etu of the old rate, more than 16 of a fast new one."""
    talk = fresh()
    through_pps(talk, pps1)
    interval = of(TimingRule.TURNAROUND, talk.say(TERMINAL, b"\x00", [12 * 372 * CYCLE + off * etu(Rate(pps1))]))
    assert (interval.verdict, interval.limit) == (verdict, 12 * 372 * CYCLE)


def test_a_refused_rate_stays_at_the_default_one() -> None:
    talk = fresh()
    initial = 372 * CYCLE
    atr = build_atr(ta1=0x97)
    talk.say(CARD, atr, [12 * initial] * len(atr))
    talk.say(TERMINAL, bytes.fromhex("FF 10 97 78"), [16 * initial] * 4)
    talk.say(CARD, bytes.fromhex("FF 00 FF"), [16 * initial] * 3)
    assert talk.judge.follower.rate == Rate(0x11)
    assert of(TimingRule.TURNAROUND, talk.say(TERMINAL, b"\x00", [16 * initial])).limit == 16 * initial


def test_a_reset_begins_a_new_session_at_the_default_rate() -> None:
    talk = fresh()
    talk.judge.reset(talk.time)
    through_pps(talk, 0x97)
    talk.judge.reset(talk.time + 10**9)
    assert talk.judge.follower.rate == Rate(0x11)
    talk.time += 10**9
    found = talk.say(CARD, b"\x3b", [399 * CYCLE])
    assert of(TimingRule.ATR_EARLIEST, found).verdict is Verdict.FAIL
    assert found[0].number == talk.judge.report.characters


# --- edges, error signal -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", RATES, ids=str)
@pytest.mark.parametrize(
    ("tenths", "verdict"),
    [(-21, Verdict.FAIL), (-20, Verdict.PASS), (0, Verdict.PASS), (20, Verdict.PASS), (21, Verdict.FAIL)],
)
def test_edges_within_a_fifth_of_an_etu(rate: Rate, tenths: int, verdict: Verdict) -> None:
    """7.2: an etu 2 % too long or short puts the last edge 0.2 etu off."""
    talk = Talk(judge_for(t0_atr(), rate))
    talk.say(TERMINAL, b"\x00", [0])
    real = etu(rate) * (1000 + tenths) // 1000
    # the parity of 03 is 0, at L: its last edge, back to H, is at 10 etu
    edges = character_edges(0x03, talk.time, real)[1:]
    assert edges[-1].time == talk.time + 10 * real
    found = talk.judge.shape(talk.time, rate, TERMINAL, edges)
    assert found[-1].verdict is verdict
    assert {each.verdict for each in found[:-1]} == {Verdict.PASS}
    assert found[-1].value_etu == pytest.approx(abs(tenths) / 100)


@pytest.mark.parametrize("divider", [5, 6])
def test_a_uart_that_divides_by_whole_cycles_is_found_out(divider: int) -> None:
    """TA1=17 has 5.8125 cycles an etu: five are 1.4 etu short over a character, six 0.32 etu long."""
    rate = Rate(0x17)
    talk = Talk(judge_for(t0_atr(), rate))
    talk.say(TERMINAL, b"\x00", [0])
    found = talk.judge.shape(talk.time, rate, TERMINAL, character_edges(0x03, talk.time, divider * CYCLE)[1:])
    assert talk.judge.report.verdict(TERMINAL) is Verdict.FAIL
    assert any(each.rule is TimingRule.EDGE and each.verdict is Verdict.FAIL for each in found)


@pytest.mark.parametrize(
    ("begin", "lasts", "broken"),
    [
        ("10.2", "1.5", TimingRule.SIGNAL_EARLIEST),
        ("10.3", "1.5", None),
        ("10.7", "1.5", None),
        ("10.8", "1.5", TimingRule.SIGNAL_LATEST),
        ("10.5", "0.9", TimingRule.SIGNAL_SHORTEST),
        ("10.5", "1", None),
        ("10.5", "2", None),
        ("10.5", "2.1", TimingRule.SIGNAL_LONGEST),
    ],
)
def test_error_signal(begin: str, lasts: str, broken: TimingRule | None) -> None:
    """7.3: from 10.5 ± 0.2 etu on, for one to two etu."""
    rate = Rate(0x11)
    talk = Talk(judge_for(t0_atr(), rate))
    talk.say(TERMINAL, b"\x00", [0])
    first = talk.time + int(Fraction(begin) * etu(rate))
    end = first + int(Fraction(lasts) * etu(rate))
    talk.judge.error_signal(talk.time, rate, CARD, first, end)
    assert [each.rule for each in talk.judge.report.out] == ([] if broken is None else [broken])


@pytest.mark.parametrize(("off", "verdict"), AT_LIMIT)
def test_repetition(off: int, verdict: Verdict) -> None:
    """7.3: seen at 11 etu, repeated 2 etu later at the earliest; the next interval runs from the repetition."""
    rate = Rate(0x11)
    talk = Talk(judge_for(t0_atr(), rate))
    talk.say(TERMINAL, b"\x00", [0])
    again = talk.time + (13 + off) * etu(rate)
    (interval,) = talk.judge.repetition(talk.time, again, rate, TERMINAL)
    assert (interval.verdict, interval.limit_etu) == (verdict, 13)
    talk.time = again
    assert of(TimingRule.GUARD, talk.say(TERMINAL, b"\xb0", [12 * etu(rate)])).verdict is Verdict.PASS


# --- uncertainty, unknown senders -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hundredths", "verdict"),
    [
        (1189, Verdict.FAIL),
        (1190, Verdict.INCONCLUSIVE),
        (1200, Verdict.INCONCLUSIVE),
        (1209, Verdict.INCONCLUSIVE),
        (1210, Verdict.PASS),
    ],
)
def test_a_value_that_may_lie_on_either_side_is_inconclusive(hundredths: int, verdict: Verdict) -> None:
    rate = Rate(0x11)
    uncertainty = Uncertainty(Fraction(etu(rate), 10))
    talk = Talk(judge_for(t0_atr(), rate, uncertainty=uncertainty))
    talk.say(TERMINAL, b"\x00", [0])
    (interval,) = talk.say(TERMINAL, b"\xb0", [hundredths * etu(rate) // 100])
    assert interval.verdict is verdict
    assert interval.uncertainty_etu == pytest.approx(0.1)
    assert talk.judge.report.verdict() is verdict


def test_clock_errors_grow_with_the_interval() -> None:
    """100 ppm of a work waiting time of 9600 etu are 0.96 etu: one etu beyond is out, half an etu is not known."""
    rate = Rate(0x11)
    atr = parse_atr(build_atr())
    for beyond, verdict in (
        (Fraction(1), Verdict.FAIL),
        (Fraction(1, 2), Verdict.INCONCLUSIVE),
        (Fraction(-1), Verdict.PASS),
    ):
        talk = Talk(judge_for(atr, rate, uncertainty=Uncertainty(ppm=Fraction(100))))
        header(talk, rate)
        found = talk.say(CARD, b"\x90", [int((9600 + beyond) * etu(rate))])
        assert of(TimingRule.WWT, found).verdict is verdict


@pytest.mark.parametrize(("tenths", "verdict"), [(117, Verdict.FAIL), (118, Verdict.PASS), (120, Verdict.PASS)])
def test_an_allowance_widens_a_limit(tenths: int, verdict: Verdict) -> None:
    rate = Rate(0x11)
    talk = Talk(judge_for(t0_atr(), rate, allowance=Fraction(1, 5)))
    talk.say(TERMINAL, b"\x00", [0])
    (interval,) = talk.say(TERMINAL, b"\xb0", [tenths * etu(rate) // 10])
    assert interval.verdict is verdict


@pytest.mark.parametrize(
    ("distance", "verdict"),
    [(11, Verdict.FAIL), (12, Verdict.INCONCLUSIVE), (15, Verdict.INCONCLUSIVE), (16, Verdict.PASS)],
)
def test_data_of_an_unknown_instruction_may_be_anyones(distance: int, verdict: Verdict) -> None:
    """Without direction: at least 16 etu after INS fits both, less than 12 neither, and in between nobody can say."""
    rate = Rate(0x11)
    talk = Talk(judge_for(t0_atr(), rate))
    talk.say(None, bytes.fromhex("A0 EC 00 00 04 EC"), [300 * etu(rate)] * 6)
    found = talk.say(None, b"\x01", [distance * etu(rate)])
    assert max(found, key=lambda each: list(Verdict).index(each.verdict)).verdict is verdict
    assert {each.side for each in found} == {None}
    assert talk.judge.report.verdict() is verdict
    expected = Verdict.INCONCLUSIVE if verdict is Verdict.FAIL else verdict  # somebody is wrong, and nobody knows who
    assert talk.judge.report.verdict(CARD) is expected


def test_a_named_instruction_has_a_direction() -> None:
    rate = Rate(0x11)
    follower = Follower(t0_atr(), rate, incoming=b"\xec")
    talk = Talk(TimingJudge(TimingConditions(CLOCK_HZ, TIMEBASE.hz), follower))
    talk.say(None, bytes.fromhex("A0 EC 00 00 04 EC"), [300 * etu(rate)] * 6)
    interval = of(TimingRule.TURNAROUND, talk.say(None, b"\x01", [12 * etu(rate)]))
    assert (interval.side, interval.verdict) == (TERMINAL, Verdict.FAIL)


def test_an_interval_tells_all_of_itself() -> None:
    rate = Rate(0x18)
    talk = Talk(judge_for(t0_atr(), rate, uncertainty=Uncertainty(Fraction(CYCLE))))
    header(talk, rate)
    interval = of(TimingRule.TURNAROUND, talk.say(CARD, b"\xb0", [15 * etu(rate)]))
    assert str(interval) == (
        "character 6 from the card: turnaround is 15 etu (465 clocks) ± 0.03226 etu (± 1 clocks), at least 16 etu (496 clocks) is "
        "required (ISO/IEC 7816-3, 10.2)"
    )


def test_one_interval_out_fails_the_whole() -> None:
    rate = Rate(0x97)
    talk = Talk(judge_for(t0_atr(), rate))
    for _ in range(50):
        header(talk, rate)
        talk.say(CARD, b"\xb0\x01\x02\x03\x04\x90\x00", [16 * etu(rate), *[12 * etu(rate)] * 6])
    assert talk.judge.report.verdict() is Verdict.PASS
    header(talk, rate)
    talk.say(CARD, b"\x90\x00", [16 * etu(rate), 12 * etu(rate) - 1])
    report = talk.judge.report
    assert report.verdict(CARD) is Verdict.FAIL
    (out,) = report.out
    assert (out.number, out.rule) == (50 * 12 + 7, TimingRule.GUARD)
    summary = report.summaries[TimingRule.GUARD, CARD]
    assert (summary.failed, summary.passed, summary.tightest) == (1, 50 * 6, out)


# --- following -----------------------------------------------------------------------------------------------------------


def follow(follower: Follower, text: str, side: Side | None = None) -> list[Character]:
    return [follower.take(0, value, side) for value in bytes.fromhex(text)]


def test_t0_is_followed_by_its_procedure_bytes() -> None:
    """10.3.3: INS complemented moves one byte, NULL none, INS the rest; then SW1 SW2."""
    sent = follow(
        Follower(t0_atr()), "00 D6 00 00 03 60 29 AA D6 BB CC 90 00 00 B0 00 00 00 B0" + "00" * 256 + "90 00 00"
    )
    sides = "".join("?" if each.side is None else each.side[0] for each in sent)
    assert sides == "t" * 5 + "cc" + "t" + "c" + "tt" + "cc" + "t" * 5 + "c" * 259 + "t"


def test_p3_00_brings_nothing_to_the_card() -> None:
    """10.3.2: an incoming command with P3 = 00 has no data."""
    sides = [each.side for each in follow(Follower(t0_atr()), "00 C2 00 00 00 90 00 00")]
    assert sides == [TERMINAL] * 5 + [CARD] * 2 + [TERMINAL]


def test_specific_mode_begins_at_the_rate_of_ta1() -> None:
    from bench.iso7816.atr import SpecificMode

    atr = build_atr(protocols=(1,), ta1=0x96, specific_mode=SpecificMode(1))
    follower = Follower()
    follow(follower, atr.hex())
    assert (follower.rate, follower.phase) == (Rate(0x96), Phase.T1)
    assert not follower.error_signals


@pytest.mark.parametrize("text", ["3A 00", "3B 10 7F", "3B 80 01 00"])
def test_a_wrong_answer_to_reset_cannot_be_followed(text: str) -> None:
    with pytest.raises(SessionError, match="no usable answer to reset"):
        follow(Follower(), text)


def test_a_wrong_pps_response_ends_the_session() -> None:
    follower = Follower()
    follow(follower, build_atr(ta1=0x97).hex() + "FF 10 97 78")
    with pytest.raises(SessionError, match="PPS response"):
        follow(follower, "FF 10 96 79")


def test_other_protocols_are_not_known() -> None:
    with pytest.raises(SessionError, match="T=14"):
        Follower(t0_atr(), protocol=14)


def test_edges_of_a_sound_burst_are_all_in_place() -> None:
    rate = Rate(0x17)
    talk = Talk(judge_for(t0_atr(), rate))
    burst = Burst(bytes(range(256)), talk.time, 12 * etu(rate), etu(rate))
    edges: list[Edge] = list(burst_edges([burst]))
    for index, value in enumerate(burst.data):
        start = burst.start + index * burst.pitch
        talk.judge.take(start, value, TERMINAL)
        own = [edge for edge in edges if start < edge.time <= start + 10 * burst.etu]
        talk.judge.shape(start, rate, TERMINAL, own)
    report = talk.judge.report
    assert report.verdict(TERMINAL) is Verdict.PASS
    assert report.summaries[TimingRule.EDGE, TERMINAL].tightest.value == 0
