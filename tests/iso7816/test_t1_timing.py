"""Times of T=1 from leading edge to leading edge (ISO/IEC 7816-3:2006, 11.2, 11.4.3), each worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import pytest

from bench.iso7816.atr import Edc, T1Parameters, build_atr, parse_atr
from bench.iso7816.line import Burst
from bench.iso7816.rates import Rate
from bench.iso7816.t1_block import CRC_LIBCCID, LRC, EdcScheme, IBlock, encode_block
from bench.iso7816.t1_card import ApduLater, ApduReply, T1Card
from bench.iso7816.t1_line import T1Timing, T1TimingError
from bench.iso7816.t1_outcome import T1Failure, T1Outcome
from bench.iso7816.t1_terminal import T1Terminal
from tests.iso7816.t1_pair import CLOCK_HZ, TIMEBASE, TIMING, Echo, Heard, Pair, timing

ETU = TIMING.etu


@pytest.mark.parametrize("ta1", [0x11, 0x18, 0x96, 0x19, 0x15])
@pytest.mark.parametrize(("extra_guard_time", "to_card", "to_terminal"), [(255, 11, 11), (0, 12, 12), (4, 16, 12)])
@pytest.mark.parametrize(("edc", "epilogue"), [(LRC, 1), (CRC_LIBCCID, 2)])
def test_an_exchange_of_i_blocks_takes_exactly_its_characters_and_one_turn_around(
    ta1: int, extra_guard_time: int, to_card: int, to_terminal: int, edc: EdcScheme, epilogue: int
) -> None:
    """n and m bytes of INF: (n + 3 + EDC - 1) spacings, BGT, (m + 3 + EDC - 1) spacings, and the last character."""
    times = timing(ta1, extra_guard_time)
    f_over_d = Fraction({0x11: "372", 0x18: "31", 0x96: "16", 0x19: "93/5", 0x15: "93/4"}[ta1])
    for n, m in ((0, 2), (1, 2), (254, 2), (254, 254), (5, 254)):
        pair = Pair(times=times, edc=edc, ifsc=254)
        pair.terminal.ifsd = pair.card.ifsd = 254
        pair.node.size = m - 2
        outcome = pair.exchange(bytes(n))
        etus = (n + 2 + epilogue) * to_card + 22 + (m + 2 + epilogue) * to_terminal + 10
        assert Fraction(outcome.end - outcome.start, TIMEBASE.hz) == etus * f_over_d / CLOCK_HZ
        assert outcome.characters == n + m + 2 * (3 + epilogue)
        assert outcome.card_ticks == 0


def test_the_next_block_of_the_terminal_follows_after_the_block_guard_time() -> None:
    """249 bytes in ENVELOPEs (254 of INF), answered 9000, back to back: (257 + 5) * 11 + 2 * 22 etu each."""
    times = timing(0x18)
    pair = Pair(times=times, ifsc=254)
    pair.node.size = 0
    starts = [pair.exchange(bytes(254)).start for _ in range(4)]
    periods = {later - earlier for earlier, later in pairwise(starts)}
    assert periods == {2926 * times.etu}
    assert round(249 / (2926 / 115_200)) == 9803


def test_11_2_eleven_etu_when_n_is_255() -> None:
    assert timing(extra_guard_time=255).pitch_to_card == 11 * ETU
    assert timing(extra_guard_time=255).pitch_to_terminal == 11 * ETU
    assert timing(extra_guard_time=0).pitch_to_card == 12 * ETU
    assert (timing(extra_guard_time=20).pitch_to_card, timing(extra_guard_time=20).pitch_to_terminal) == (
        32 * ETU,
        12 * ETU,
    )


@pytest.mark.parametrize(("bwi", "seconds"), [(0, "0.1"), (4, "1.6"), (9, "51.2")])
def test_11_4_3_block_waiting_time_does_not_follow_the_rate(bwi: int, seconds: str) -> None:
    for ta1, f_over_d in ((0x11, Fraction(372)), (0x96, Fraction(16))):
        exact = Fraction(seconds) + 11 * f_over_d / CLOCK_HZ
        assert Fraction(timing(ta1, bwi=bwi).bwt, TIMEBASE.hz) == exact


@pytest.mark.parametrize(("cwi", "etu"), [(0, 12), (5, 43), (8, 267), (13, 8203), (15, 32_779)])
def test_11_4_3_character_waiting_time(cwi: int, etu: int) -> None:
    assert timing(cwi=cwi).cwt == etu * ETU


def test_a_guard_time_longer_than_the_character_waiting_time_is_refused() -> None:
    with pytest.raises(T1TimingError, match="no block of such a card can be sent"):
        timing(extra_guard_time=100, cwi=0)


def answering() -> tuple[T1Terminal, Burst, bytes]:
    """A terminal that has sent I(0,0), its burst, and the characters of a right answer."""
    terminal = T1Terminal(TIMING, -(10**15), ifsc=32)
    return terminal, terminal.begin(b"\1", 0), encode_block(IBlock(0, 0, False, b"\x90\x00"), LRC)


@pytest.mark.parametrize(("over", "error"), [(-1, False), (0, False), (1, True)])
def test_11_4_3_bwt_is_kept_to_the_tick_by_the_first_character(over: int, error: bool) -> None:
    """The block may end long after BWT: its first leading edge counts."""
    terminal, sent, data = answering()
    burst = Burst(data, sent.last + TIMING.bwt + over, TIMING.pitch_to_terminal, ETU)
    terminal.incoming(burst)
    asked = terminal.expire(sent.last + TIMING.bwt)
    if error:
        assert isinstance(asked, Burst)
        assert asked.data.hex() == "00820082"
    else:
        assert asked is None
        outcome = terminal.receive(burst)
        assert isinstance(outcome, T1Outcome)
        assert outcome.response == b"\x90\x00"
        assert outcome.card_ticks == TIMING.bwt + over - TIMING.bgt


@pytest.mark.parametrize(("over", "error"), [(-1, False), (0, False), (1, True)])
def test_11_4_3_cwt_is_kept_to_the_tick_within_a_block(over: int, error: bool) -> None:
    terminal, sent, data = answering()
    first = Burst(data[:3], sent.last + TIMING.bgt, TIMING.pitch_to_terminal, ETU)
    rest = Burst(data[3:], first.last + TIMING.cwt + over, TIMING.pitch_to_terminal, ETU)
    terminal.incoming(first)
    assert terminal.receive(first) is None
    assert terminal.deadline == first.last + TIMING.cwt
    terminal.incoming(rest)
    step = terminal.expire(first.last + TIMING.cwt)
    assert isinstance(step, Burst) is error
    if not error:
        assert isinstance(terminal.receive(rest), T1Outcome)


def test_11_4_3_a_spacing_above_cwt_breaks_the_block() -> None:
    terminal, sent, data = answering()
    step = terminal.receive(Burst(data, sent.last + TIMING.bgt, TIMING.cwt + 1, ETU))
    assert isinstance(step, Burst)
    assert step.data.hex() == "00820082"


def test_11_4_3_a_block_that_breaks_off_is_answered_after_cwt() -> None:
    pair = Pair()
    first = pair.terminal.begin(b"\1\2\3", 0)
    cut = replace(first, data=first.data[:5])
    assert pair.card.receive(cut, lambda _reply: None) is None
    assert pair.card.deadline == cut.last + TIMING.cwt
    answer = pair.card.remind()
    assert answer is not None
    assert answer.data.hex() == "00820082"
    assert answer.start == cut.last + TIMING.cwt


def test_11_4_3_a_card_that_answers_before_the_guard_time_is_at_fault_but_understood() -> None:
    terminal, sent, data = answering()
    outcome = terminal.receive(Burst(data, sent.last + TIMING.bgt - 1, TIMING.pitch_to_terminal, ETU))
    assert isinstance(outcome, T1Outcome)
    assert outcome.error == ""
    assert [fault.clause for fault in outcome.faults] == ["11.4.3"]


def test_both_sides_driving_the_line_is_a_broken_block() -> None:
    terminal, sent, data = answering()
    step = terminal.receive(Burst(data, sent.last, TIMING.pitch_to_terminal, ETU))
    assert isinstance(step, Burst)
    assert step.data.hex() == "00810081"


def test_rule_3_time_runs_from_the_last_character_of_the_response() -> None:
    class Working(Echo):
        def execute(self, apdu: bytes, later: ApduLater) -> ApduReply | None:
            reply = super().execute(apdu, later)
            assert reply is not None
            reply.ticks = TIMING.bwt * 3
            return reply

    pair = Pair(Working(), wtx=3)
    outcome = pair.exchange(b"\1")
    granted = pair.bursts[2][1]
    assert pair.lines[1:3] == ["< S(WTX request)", "> S(WTX response)"]
    asked = pair.bursts[1][1]
    first = pair.bursts[0][1]
    assert asked.start == first.last + TIMING.bwt // 2
    assert outcome.extensions == 2
    assert pair.bursts[3][1].start == granted.last + TIMING.bwt * 3 // 2
    assert pair.bursts[-1][1].start - first.last == TIMING.bwt * 3 + TIMING.bgt


def test_a_reply_s_own_time_is_card_time() -> None:
    class Working(Echo):
        def execute(self, apdu: bytes, later: ApduLater) -> ApduReply | None:
            reply = super().execute(apdu, later)
            assert reply is not None
            reply.ticks = 12_345
            return reply

    assert Pair(Working()).exchange(b"\1").card_ticks == 12_345


def test_a_mute_card_is_given_up_within_three_block_waiting_times() -> None:
    def lose(_direction: str, _index: int, _burst: Burst) -> Sequence[Heard]:
        return ()

    pair = Pair(disturb=lose)
    outcome = pair.exchange(b"\1")
    assert outcome.failure is T1Failure.MUTE
    r_block = 3 * TIMING.pitch_to_card
    assert outcome.end == 4 * TIMING.pitch_to_card + 2 * r_block + 3 * TIMING.bwt


@pytest.mark.parametrize("code", list(Edc))
def test_both_sides_are_made_from_the_answer_to_reset(code: Edc) -> None:
    atr = parse_atr(build_atr(protocols=(1,), ta1=0x18, extra_guard_time=2, t1=T1Parameters(0xFE, 0x58, code)))
    rate = Rate(0x18)
    terminal = T1Terminal.for_card(atr, rate, CLOCK_HZ, TIMEBASE, 0)
    card = T1Card.for_atr({0: Echo()}, atr, rate, CLOCK_HZ, TIMEBASE)
    assert terminal.timing == card.timing == T1Timing.at_rate(atr, rate, CLOCK_HZ, TIMEBASE)
    assert (terminal.ifsc, card.ifsc, terminal.ifsd, card.ifsd) == (254, 254, 32, 32)
    sent = terminal.begin(b"\1\2", 0)
    assert sent.start == terminal.timing.bgt, "BGT since the last character of the ATR"
    answer = card.receive(sent, lambda _reply: None)
    assert answer is not None
    outcome = terminal.receive(answer)
    assert isinstance(outcome, T1Outcome)
    assert outcome.response == b"\2\1\x90\0"
    assert outcome.characters == 2 * 3 + 2 + 4 + 2 * (1 if code is Edc.LRC else 2)
