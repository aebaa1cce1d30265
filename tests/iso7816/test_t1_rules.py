"""The rules of T=1 (ISO/IEC 7816-3:2006, 11.6.2 and 11.6.3) between two sound sides, as transcripts.

Scenario numbers are those of annex A. `>` is to the card, `<` from it, `x` a block that arrives broken (parity or EDC) or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from textwrap import dedent

import pytest

from bench.iso7816.line import Burst
from bench.iso7816.t1_card import ApduLater, ApduReply
from bench.iso7816.t1_line import T1UsageError
from bench.iso7816.t1_outcome import T1Failure
from bench.iso7816.t1_states import TerminalState
from tests.iso7816.t1_pair import TIMING, Echo, Heard, Pair, Patient, flip


def breaking(*places: str, mask: int = 0x01) -> Pair:
    """A pair whose line breaks the blocks at these places: ">0" is the terminal's first, "<1" the card's second."""

    def disturb(direction: str, index: int, burst: Burst) -> Sequence[Heard]:
        return (flip(burst, 1, mask) if f"{direction}{index}" in places else Heard(burst),)

    return Pair(disturb=disturb)


def losing(*places: str) -> Pair:
    """A pair whose line loses these blocks altogether."""

    def disturb(direction: str, index: int, burst: Burst) -> Sequence[Heard]:
        return () if f"{direction}{index}" in places else (Heard(burst),)

    return Pair(disturb=disturb)


def instead(burst: Burst, data: str) -> Heard:
    """Other characters, which end when the burst would have ended."""
    other = bytes.fromhex(data)
    return Heard(Burst(other, burst.last - burst.pitch * (len(other) - 1), burst.pitch, burst.etu))


def small(pair: Pair, *, ifsc: int = 32, ifsd: int = 32, answer: int | None = None) -> Pair:
    """The same pair with short information fields, as if announced before, and answers of a given length."""
    pair.terminal.ifsc = pair.card.ifsc = ifsc
    pair.terminal.ifsd = pair.card.ifsd = ifsd
    pair.node.size = answer
    return pair


@dataclass(frozen=True, slots=True)
class Scenario:
    name: str
    pair: Pair
    transcript: str
    apdu: bytes = b"\x01\x02"


def scenarios(mask: int) -> list[Scenario]:
    """Blocks break by these bits of PCB: one is seen by parity, two by EDC."""
    broken = partial(breaking, mask=mask)
    return [
        Scenario("rule-2.1-A.1", broken(), "> I(0,0)\n< I(0,0)"),
        Scenario(
            "rule-5-A.5-chain-to-card",
            small(broken(), ifsc=2),
            "> I(0,1)\n< R(1)\n> I(1,1)\n< R(0)\n> I(0,0)\n< I(0,0)",
            bytes(6),
        ),
        Scenario(
            "rule-5-A.6-chain-from-card",
            small(broken(), ifsd=2, answer=2),
            "> I(0,0)\n< I(0,1)\n> R(1)\n< I(1,0)",
        ),
        Scenario("rule-7.1-A.8", broken(">0"), ">x I(0,0)\n< R(0)\n> I(0,0)\n< I(0,0)"),
        Scenario("rule-7.1-A.9", broken("<0"), "> I(0,0)\n<x I(0,0)\n> R(0)\n< I(0,0)"),
        Scenario("rule-7.6-A.10", broken(">0", "<0"), ">x I(0,0)\n<x R(0)\n> R(0)\n< R(0)\n> I(0,0)\n< I(0,0)"),
        Scenario("rule-7.2-A.11", broken("<0", ">1"), "> I(0,0)\n<x I(0,0)\n>x R(0)\n< R(1)\n> R(0)\n< I(0,0)"),
        Scenario("rule-7.2-A.12", broken("<0", ">1", "<1"), "> I(0,0)\n<x I(0,0)\n>x R(0)\n<x R(1)\n> R(0)\n< I(0,0)"),
        Scenario(
            "rule-7.2-A.13",
            broken("<0", ">1", "<1", ">2"),
            "> I(0,0)\n<x I(0,0)\n>x R(0)\n<x R(1)\n>x R(0)\n< R(1)\n> R(0)\n< I(0,0)",
        ),
        Scenario(
            "rule-7.2-A.21",
            small(broken("<0"), ifsc=2),
            "> I(0,1)\n<x R(1)\n> R(0)\n< R(1)\n> I(1,1)\n< R(0)\n> I(0,0)\n< I(0,0)",
            bytes(6),
        ),
        Scenario(
            "rule-7.2-A.22",
            small(broken("<0", ">1"), ifsc=2),
            "> I(0,1)\n<x R(1)\n>x R(0)\n< R(1)\n> I(1,1)\n< R(0)\n> I(0,0)\n< I(0,0)",
            bytes(6),
        ),
        Scenario(
            "rule-7.1-A.23",
            small(broken(">1"), ifsd=2, answer=2),
            "> I(0,0)\n< I(0,1)\n>x R(1)\n< R(1)\n> R(1)\n< I(1,0)",
        ),
        Scenario(
            "rule-7.2-A.24",
            small(broken(">1", "<1"), ifsd=2, answer=2),
            "> I(0,0)\n< I(0,1)\n>x R(1)\n<x R(1)\n> R(1)\n< I(1,0)",
        ),
        Scenario(
            "rule-7.1-chained-block-of-the-card",
            small(broken("<1"), ifsd=2, answer=2),
            "> I(0,0)\n< I(0,1)\n> R(1)\n<x I(1,0)\n> R(1)\n< I(1,0)",
        ),
        Scenario(
            "rule-7.1-chained-block-of-the-terminal",
            small(broken(">1"), ifsc=2),
            "> I(0,1)\n< R(1)\n>x I(1,0)\n< R(1)\n> I(1,0)\n< I(0,0)",
            bytes(4),
        ),
        Scenario(
            "rule-7.1-block-waiting-time",
            losing(">0"),
            ">x I(0,0)\n> R(0)\n< R(0)\n> I(0,0)\n< I(0,0)",
        ),
        Scenario("rule-7.1-answer-lost", losing("<0"), "> I(0,0)\n<x I(0,0)\n> R(0)\n< I(0,0)"),
        Scenario(
            "rule-7.2-R-lost",
            losing("<0", "<1"),
            "> I(0,0)\n<x I(0,0)\n> R(0)\n<x I(0,0)\n> R(0)\n< I(0,0)",
        ),
    ]


@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param(s, id=f"{s.name}-{seen}")
        for mask, seen in ((0x01, "parity"), (0x03, "edc"))
        for s in scenarios(mask)
    ],
)
def test_11_6_scenario(scenario: Scenario) -> None:
    pair = scenario.pair
    outcome = pair.exchange(scenario.apdu)
    assert pair.transcript == scenario.transcript
    assert outcome.error == ""
    assert outcome.response == pair.node.answer(scenario.apdu)
    assert pair.node.executed == [scenario.apdu]
    assert outcome.faults == ()
    assert pair.card.faults == []


def test_repetitions_are_counted() -> None:
    assert breaking().exchange(b"\1").retries == 0
    assert breaking("<0", ">1", "<1").exchange(b"\1").retries == 2


def test_rule_1_the_first_block_is_i0_or_an_s_block_from_the_terminal() -> None:
    pair = Pair()
    pair.announce_ifsd(254)
    pair.exchange(b"\0")
    pair.exchange(b"\0")
    assert pair.transcript == "> S(IFS request)\n< S(IFS response)\n> I(0,0)\n< I(0,0)\n> I(1,0)\n< I(1,0)"


# --- rule 3: waiting time extension ----------------------------------------------------------------------------------


def slow(bwts: float, *places: str) -> tuple[Pair, Patient]:
    node = Patient(int(TIMING.bwt * bwts))

    def disturb(direction: str, index: int, burst: Burst) -> Sequence[Heard]:
        return (flip(burst, 1, 0x01) if f"{direction}{index}" in places else Heard(burst),)

    pair = Pair(node, disturb=disturb)
    node.pair = pair
    return pair, node


@pytest.mark.parametrize(
    ("name", "bwts", "places", "transcript"),
    [
        ("A.2", 0.7, (), "> I(0,0)\n< S(WTX request)\n> S(WTX response)\n< I(0,0)"),
        ("in time", 0.4, (), "> I(0,0)\n< I(0,0)"),
        (
            "A.14 rule 7.1",
            0.7,
            ("<0",),
            "> I(0,0)\n<x S(WTX request)\n> R(0)\n< S(WTX request)\n> S(WTX response)\n< I(0,0)",
        ),
        (
            "A.15 rule 7.3",
            0.7,
            ("<0", ">1"),
            "> I(0,0)\n<x S(WTX request)\n>x R(0)\n< S(WTX request)\n> S(WTX response)\n< I(0,0)",
        ),
        (
            "rule 7.3 response broken",
            0.7,
            (">1",),
            "> I(0,0)\n< S(WTX request)\n>x S(WTX response)\n< S(WTX request)\n> S(WTX response)\n< I(0,0)",
        ),
        (
            "rule 7.3 answer broken",
            0.7,
            ("<1",),
            "> I(0,0)\n< S(WTX request)\n> S(WTX response)\n<x I(0,0)\n> R(0)\n< I(0,0)",
        ),
    ],
)
def test_rule_3_waiting_time_extension(name: str, bwts: float, places: tuple[str, ...], transcript: str) -> None:
    del name
    pair, node = slow(bwts, *places)
    outcome = pair.exchange(b"\x01\x02")
    assert pair.transcript == transcript
    assert outcome.response == b"\x02\x01\x90\x00"
    assert node.executed == [b"\x01\x02"]
    assert outcome.extensions == transcript.count("S(WTX response)")


def test_rule_3_the_multiplier_is_granted_as_asked_and_holds_for_one_wait() -> None:
    node = Patient(TIMING.bwt * 5)
    pair = Pair(node, wtx=6)
    node.pair = pair
    outcome = pair.exchange(b"\x01\x02")
    assert (outcome.error, outcome.extensions) == ("", 2)  # at 0.5 BWT, then at half of 6 BWT
    deadlines: list[int] = []
    burst = pair.terminal.begin(b"", pair.engine.now)
    deadlines.append(pair.terminal.deadline - burst.last)
    assert deadlines == [TIMING.bwt]


def test_rule_3_a_card_that_never_answers_is_ended_by_the_terminal() -> None:
    node = Patient(TIMING.bwt * 10**6)
    pair = Pair(node, requests_max=20)
    node.pair = pair
    outcome = pair.exchange(b"\x01\x02")
    assert outcome.failure is T1Failure.STORM
    assert outcome.needs_reset
    assert outcome.extensions == 20


# --- rule 4: information field sizes ---------------------------------------------------------------------------------


def ifs_of_card(*places: str) -> Pair:
    pair = breaking(*places)
    pair.card.announce_ifsc(0x79)
    return pair


@pytest.mark.parametrize(
    ("name", "places", "transcript"),
    [
        ("A.3", (), "> I(0,0)\n< S(IFS request)\n> S(IFS response)\n< I(0,0)"),
        ("A.16", ("<0",), "> I(0,0)\n<x S(IFS request)\n> R(0)\n< S(IFS request)\n> S(IFS response)\n< I(0,0)"),
        (
            "A.17",
            ("<0", ">1"),
            "> I(0,0)\n<x S(IFS request)\n>x R(0)\n< S(IFS request)\n> S(IFS response)\n< I(0,0)",
        ),
        (
            "A.18",
            (">1",),
            "> I(0,0)\n< S(IFS request)\n>x S(IFS response)\n< S(IFS request)\n> S(IFS response)\n< I(0,0)",
        ),
        ("A.19", ("<1",), "> I(0,0)\n< S(IFS request)\n> S(IFS response)\n<x I(0,0)\n> R(0)\n< I(0,0)"),
        (
            "A.20",
            ("<1", ">2"),
            "> I(0,0)\n< S(IFS request)\n> S(IFS response)\n<x I(0,0)\n>x R(0)\n< R(1)\n> R(0)\n< I(0,0)",
        ),
    ],
)
def test_rule_4_the_card_announces_its_size(name: str, places: tuple[str, ...], transcript: str) -> None:
    del name
    pair = ifs_of_card(*places)
    outcome = pair.exchange(b"\x01\x02")
    assert pair.transcript == transcript
    assert outcome.response == b"\x02\x01\x90\x00"
    assert pair.node.executed == [b"\x01\x02"]
    assert pair.terminal.ifsc == pair.card.ifsc == 0x79


def test_rule_4_the_terminal_announces_its_size_a4() -> None:
    pair = Pair()
    pair.exchange(b"\x01")
    assert pair.announce_ifsd(0x79).error == ""
    pair.exchange(b"\x02")
    assert pair.transcript == "> I(0,0)\n< I(0,0)\n> S(IFS request)\n< S(IFS response)\n> I(1,0)\n< I(1,0)"
    assert pair.terminal.ifsd == pair.card.ifsd == 0x79


def test_rule_4_sizes_change_within_chains_of_either_side() -> None:
    pair = small(Pair(), ifsc=2, ifsd=2, answer=4)
    first = pair.terminal.begin(bytes(6), 0)
    assert pair.terminal.announce_ifsd(5, 0) is None
    pair.card.announce_ifsc(7)
    outcome = pair.finish(first)
    assert outcome.response == pair.node.answer(bytes(6))
    assert pair.transcript == dedent(
        """\
        > I(0,1)
        < S(IFS request)
        > S(IFS response)
        < R(1)
        > S(IFS request)
        < S(IFS response)
        > I(1,0)
        < I(0,1)
        > R(1)
        < I(1,0)"""
    )
    assert (pair.terminal.ifsc, pair.card.ifsc, pair.terminal.ifsd, pair.card.ifsd) == (7, 7, 5, 5)


def test_rule_4_the_terminal_announces_while_the_card_is_chaining() -> None:
    pair = small(Pair(), ifsd=2, answer=10)
    first = pair.terminal.begin(b"\1\2", 0)
    pair.terminal.announce_ifsd(20, 0)
    assert pair.finish(first).response == pair.node.answer(b"\1\2")
    assert pair.lines == [
        "> I(0,0)", "< I(0,1)", "> S(IFS request)", "< S(IFS response)", "> R(1)", "< I(1,0)",
    ]  # fmt: skip


def test_rule_4_a_response_with_another_size_is_a_fault_of_the_card() -> None:
    def disturb(direction: str, index: int, burst: Burst) -> Sequence[Heard]:
        if (direction, index) == ("<", 0):
            return (instead(burst, "00 E1 01 FD 1D"),)
        return (Heard(burst),)

    pair = Pair(disturb=disturb)
    outcome = pair.announce_ifsd(254)
    assert outcome.error == ""
    assert [fault.clause for fault in outcome.faults] == ["11.6.2, rule 4"]
    assert pair.lines.count("> S(IFS request)") == 2


def test_rule_7_3_a_size_never_answered_ends_in_resynchronisation() -> None:
    pair = losing("<1", "<2", "<3")
    pair.exchange(b"\x01")
    outcome = pair.announce_ifsd(254)
    assert outcome.failure is T1Failure.REFUSED
    assert not outcome.needs_reset
    assert pair.lines[2:] == ["> S(IFS request)", "<x S(IFS response)"] * 3 + [
        "> S(RESYNCH request)",
        "< S(RESYNCH response)",
    ]
    assert pair.exchange(b"\x02").error == ""


def test_rule_8_the_card_repeats_its_size_once_then_listens() -> None:
    pair = losing("<1", "<2")
    pair.exchange(b"\x01")
    pair.card.announce_ifsc(100)
    outcome = pair.exchange(b"\x01\x02")
    assert outcome.response == b"\x02\x01\x90\x00"
    assert pair.lines[2:] == [
        "> I(1,0)", "<x S(IFS request)", "> R(1)", "<x S(IFS request)", "> R(1)", "< I(1,0)",
    ]  # fmt: skip
    assert pair.terminal.ifsc == 32


# --- rule 6: resynchronisation ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "places", "transcript"),
    [
        ("A.29", (), "> S(RESYNCH request)\n< S(RESYNCH response)"),
        ("A.30", ("<2",), "> S(RESYNCH request)\n<x S(RESYNCH response)\n> S(RESYNCH request)\n< S(RESYNCH response)"),
        ("A.31", (">2",), ">x S(RESYNCH request)\n< R(0)\n> S(RESYNCH request)\n< S(RESYNCH response)"),
        ("A.32", (">2", "<2"), ">x S(RESYNCH request)\n<x R(0)\n> S(RESYNCH request)\n< S(RESYNCH response)"),
    ],
)
def test_rule_6_2_resynchronisation(name: str, places: tuple[str, ...], transcript: str) -> None:
    del name
    pair = breaking(*places)
    pair.exchange(b"\x01")
    pair.exchange(b"\x01")
    assert pair.resynch().error == ""
    assert "\n".join(pair.lines[4:]) == transcript
    pair.exchange(b"\x02")
    assert pair.lines[-2:] == ["> I(0,0)", "< I(0,0)"], "rule 6: sequence numbers start anew"


def test_rule_6_sets_sizes_back_and_the_terminal_announces_its_own_again() -> None:
    pair = Pair()
    pair.announce_ifsd(200)
    pair.card.announce_ifsc(100)
    pair.exchange(b"\x01")
    pair.resynch()
    assert pair.terminal.ifsc == pair.card.ifsc == 32
    assert pair.terminal.ifsd == pair.card.ifsd == 200
    assert pair.lines[-4:] == [
        "> S(RESYNCH request)", "< S(RESYNCH response)", "> S(IFS request)", "< S(IFS response)",
    ]  # fmt: skip


def test_rule_7_4_2_after_three_attempts_the_terminal_resynchronises_and_starts_anew() -> None:
    pair = breaking("<1", "<2", "<3")
    pair.exchange(b"\x01")
    outcome = pair.exchange(b"\x01\x02")
    assert pair.lines[2:] == [
        "> I(1,0)", "<x I(1,0)", "> R(1)", "<x I(1,0)", "> R(1)", "<x I(1,0)",
        "> S(RESYNCH request)", "< S(RESYNCH response)", "> I(0,0)", "< I(0,0)",
    ]  # fmt: skip
    assert outcome.response == b"\x02\x01\x90\x00"
    assert outcome.resynchs == 1
    assert pair.node.executed == [b"\x01", b"\x01\x02", b"\x01\x02"], "rule 6.5: the card takes it for a new command"


def test_rule_6_4_after_three_resynchronisations_only_a_reset_helps() -> None:
    pair = losing(*(f"<{index}" for index in range(1, 30)))
    pair.exchange(b"\x01")
    outcome = pair.exchange(b"\x01\x02")
    assert [line for line in pair.lines[2:] if line.startswith(">")] == (
        ["> I(1,0)", "> R(1)", "> R(1)"] + ["> S(RESYNCH request)"] * 3
    )
    assert outcome.needs_reset
    assert pair.terminal.state is TerminalState.DEAD
    with pytest.raises(T1UsageError, match="reset it first"):
        pair.terminal.begin(b"", 0)


def test_rule_6_4_resynchronising_without_ever_getting_on_ends_too() -> None:
    """The card answers each RESYNCH and is silent on every command."""
    pair = losing(*(f"<{index}" for index in range(1, 60) if index not in (4, 8, 12)))
    pair.exchange(b"\x01")
    outcome = pair.exchange(b"\x02")
    assert outcome.needs_reset
    assert outcome.resynchs == 3
    assert outcome.failure is T1Failure.LOST


def test_rule_6_5_an_answer_computed_before_the_resynchronisation_is_forgotten() -> None:
    class Promises(Echo):
        def __init__(self) -> None:
            super().__init__()
            self.laters: list[ApduLater] = []

        def execute(self, apdu: bytes, later: ApduLater) -> ApduReply | None:
            self.executed.append(apdu)
            self.laters.append(later)
            return None

    node = Promises()
    pair = Pair(node)
    card = pair.card
    given: list[ApduReply] = []
    start = 10**12
    card.receive(Burst(bytes.fromhex("00 00 01 AA AB"), start, TIMING.pitch_to_card, TIMING.etu), given.append)
    resynch = Burst(bytes.fromhex("00 C0 00 C0"), start + TIMING.bwt * 3, TIMING.pitch_to_card, TIMING.etu)
    answer = card.receive(resynch, given.append)
    assert answer is not None
    assert answer.data.hex() == "00e000e0"
    node.laters[0](ApduReply(b"\x90\x00"))
    assert given == []


def test_rule_6_a_card_that_asks_for_resynchronisation_is_at_fault() -> None:
    def disturb(direction: str, index: int, burst: Burst) -> Sequence[Heard]:
        if (direction, index) == ("<", 0):
            return (instead(burst, "00 C0 00 C0"),)
        return (Heard(burst),)

    pair = Pair(disturb=disturb)
    outcome = pair.exchange(b"\x01\x02")
    assert outcome.response == b"\x02\x01\x90\x00"
    assert [str(fault) for fault in outcome.faults] == ["S(RESYNCH request) in state ANSWER (ISO/IEC 7816-3, 11.6)"]
    assert pair.lines[2:] == ["> R(0)", "< I(0,0)"]


# --- rule 7.4 to 7.6 -------------------------------------------------------------------------------------------------


def test_rule_7_4_1_without_any_block_three_attempts_are_all() -> None:
    pair = breaking(*(f"<{index}" for index in range(9)))
    outcome = pair.exchange(b"\x01\x02")
    assert [line for line in pair.lines if line.startswith(">")] == ["> I(0,0)", "> R(0)", "> R(0)"]
    assert outcome.failure is T1Failure.NO_START
    assert outcome.needs_reset
    assert "parity" in outcome.detail


def test_rule_7_4_1_a_mute_card() -> None:
    pair = losing(*(f"<{index}" for index in range(9)))
    outcome = pair.exchange(b"\x01\x02")
    assert outcome.error == "mute"
    assert outcome.needs_reset


def test_rule_7_4_3_the_card_asks_no_more_than_twice_then_listens_and_wakes_up() -> None:
    pair = Pair()
    card = pair.card
    broken = bytes.fromhex("00 00 01 AA 00")
    at = 10**12
    sent: list[str] = []
    for data in [broken] * 5 + [bytes.fromhex("00 00 01 AA AB")]:
        burst = card.receive(Burst(data, at, TIMING.pitch_to_card, TIMING.etu), lambda _reply: None)
        sent.append("" if burst is None else burst.data.hex())
        at += TIMING.bwt
    assert sent == ["00810081", "00810081", "", "", "", "000003aa900039"]


@pytest.mark.parametrize(("mask", "code"), [(0x01, "81"), (0x03, "81")])
def test_rule_7_5_the_card_answers_a_broken_first_block_with_r0(mask: int, code: str) -> None:
    def disturb(direction: str, index: int, burst: Burst) -> Sequence[Heard]:
        return (flip(burst, 3, mask) if (direction, index) == (">", 0) else Heard(burst),)

    pair = Pair(disturb=disturb)
    assert pair.exchange(b"\x01\x02").error == ""
    assert [line for line in pair.lines if line.startswith("<")] == ["< R(0)", "< I(0,0)"]
    assert pair.bursts[1][1].data[1:2].hex() == code


def test_rule_7_6_the_terminal_asks_with_r0_when_its_first_block_got_nothing() -> None:
    pair = losing(">0")
    assert pair.exchange(b"\x01\x02").error == ""
    assert pair.lines[:3] == [">x I(0,0)", "> R(0)", "< R(0)"]


def test_11_3_2_2_an_r_block_says_what_was_wrong() -> None:
    """LEN above IFSC is an error, but neither of parity nor of EDC."""
    pair = Pair()
    pair.card.ifsc = 1
    first = pair.terminal.begin(b"\x01\x02", 0)
    answer = pair.card.receive(first, lambda _reply: None)
    assert answer is not None
    assert answer.data.hex() == "00820082"


# --- rule 9: abortion of a chain -------------------------------------------------------------------------------------


@pytest.mark.parametrize("broken", ["", ">1", "<1"])
def test_rule_9_the_terminal_aborts_its_own_chain_a25(broken: str) -> None:
    pair = small(breaking(broken), ifsc=2)
    first = pair.terminal.begin(bytes(6), 0)
    pair.terminal.abort()
    outcome = pair.finish(first)
    assert (outcome.failure, outcome.needs_reset) == (T1Failure.ABORTED, False)
    if not broken:
        assert pair.lines == ["> I(0,1)", "< R(1)", "> S(ABORT request)", "< S(ABORT response)"]
    pair.lines.clear()
    assert pair.exchange(b"\1\2").response == b"\2\1\x90\0"
    assert pair.lines == ["> I(1,0)", "< I(0,0)"]
    assert pair.node.executed == [b"\1\2"]


@pytest.mark.parametrize("broken", ["", "<0", ">1", "<1"])
def test_rule_9_the_terminal_aborts_the_chain_of_the_card_a28(broken: str) -> None:
    pair = small(breaking(broken), ifsd=2, answer=6)
    first = pair.terminal.begin(b"\1\2", 0)
    pair.terminal.abort()
    outcome = pair.finish(first)
    assert (outcome.failure, outcome.needs_reset) == (T1Failure.ABORTED, False)
    if not broken:
        assert pair.lines == ["> I(0,0)", "< I(0,1)", "> S(ABORT request)", "< S(ABORT response)"]
    pair.node.size = 0
    pair.lines.clear()
    assert pair.exchange(b"\3").response == b"\x90\0"
    assert pair.lines == ["> I(1,0)", "< I(1,0)"]


@pytest.mark.parametrize("broken", ["", "<0", ">1", "<1", ">2", "<2"])
def test_rule_9_the_card_aborts_its_own_chain_a26(broken: str) -> None:
    pair = small(breaking(broken), ifsd=2, answer=6)
    first = pair.terminal.begin(b"\1\2", 0)
    original = pair.node.execute

    def execute(apdu: bytes, later: ApduLater) -> ApduReply | None:
        pair.engine.after(1, pair.card.abort)
        return original(apdu, later)

    pair.node.execute = execute  # type: ignore[method-assign]
    outcome = pair.finish(first)
    assert (outcome.failure, outcome.needs_reset) == (T1Failure.ABORTED_BY_CARD, False)
    if not broken:
        assert pair.lines == [
            "> I(0,0)", "< I(0,1)", "> R(1)", "< S(ABORT request)", "> S(ABORT response)", "< R(1)",
        ]  # fmt: skip
    pair.node.execute = original  # type: ignore[method-assign]
    pair.node.size = 0
    pair.lines.clear()
    assert pair.exchange(b"\3").response == b"\x90\0"
    assert pair.lines == ["> I(1,0)", "< I(1,0)"]


@pytest.mark.parametrize("broken", ["", "<1", ">2", "<2"])
def test_rule_9_the_card_aborts_the_chain_of_the_terminal_a27(broken: str) -> None:
    pair = small(breaking(broken), ifsc=2)
    first = pair.terminal.begin(bytes(6), 0)
    pair.engine.at(first.taken + 1, pair.card.abort)
    outcome = pair.finish(first)
    assert (outcome.failure, outcome.needs_reset) == (T1Failure.ABORTED_BY_CARD, False)
    if not broken:
        assert pair.lines == [
            "> I(0,1)", "< R(1)", "> I(1,1)", "< S(ABORT request)", "> S(ABORT response)", "< R(0)",
        ]  # fmt: skip
    pair.lines.clear()
    assert pair.exchange(b"\1\2").response == b"\2\1\x90\0"
    assert pair.lines == ["> I(0,0)", "< I(0,0)"]
    assert pair.node.executed == [b"\1\2"]


def test_rule_9_a_command_longer_than_any_is_aborted_by_the_card() -> None:
    pair = Pair(ifsc=254)
    outcome = pair.exchange(bytes(70_000))
    assert outcome.failure is T1Failure.ABORTED_BY_CARD
    assert pair.node.executed == []
    assert pair.exchange(b"\1").error == ""


def test_rule_9_a_response_longer_than_any_is_aborted_by_the_terminal() -> None:
    pair = Pair(ifsc=254)
    pair.announce_ifsd(254)
    pair.node.size = 70_000
    outcome = pair.exchange(b"\1")
    assert outcome.failure is T1Failure.TOO_LONG
    pair.node.size = 0
    assert pair.exchange(b"\1").error == ""


def test_the_longest_command_and_response_pass() -> None:
    pair = Pair(ifsc=254)
    pair.announce_ifsd(254)
    pair.node.size = 65_536
    assert len(pair.exchange(bytes(65_544)).response) == 65_538
    assert [len(apdu) for apdu in pair.node.executed] == [65_544]


def test_you_and_the_peer_are_told_apart() -> None:
    pair = Pair()
    pair.terminal.begin(b"\1", 0)
    misuses: list[Callable[[], object]] = [
        lambda: pair.terminal.begin(b"\1", 0),
        lambda: pair.terminal.resynch(0),
        lambda: pair.terminal.announce_ifsd(255, 0),
        lambda: pair.card.announce_ifsc(0),
        lambda: Pair().terminal.abort(),
        lambda: Pair().terminal.begin(b"", 0, 0x11),
    ]
    for misuse in misuses:
        with pytest.raises(T1UsageError):
            misuse()
