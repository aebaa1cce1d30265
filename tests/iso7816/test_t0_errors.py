"""Error signal and repetition of characters (ISO/IEC 7816-3, 7.3), in both roles, and failures with their names."""

from __future__ import annotations

import pytest

from bench.iso7816.line import Burst
from bench.iso7816.t0 import NULLS, Later, Reply, T0Card, T0Outcome, T0Terminal, T0Timing
from bench.iso7816.t0_line import REPEAT_AFTER_ETU, REPETITIONS, Repeater
from bench.iso7816.t0_tables import CARD, TERMINAL, Action, CardEvent, TerminalEvent, TerminalState

ETU = 100
WAIT = 9600 * ETU
TIMING = T0Timing(ETU, 12 * ETU, 12 * ETU, WAIT)
READ = bytes.fromhex("80 B2 00 00 03")
WRITE = bytes.fromhex("80 C4 00 00 03 0A 0B 0C")


class Handler:
    """C4 takes data; everything is answered 9000, B2 with three bytes."""

    def takes_data(self, header: bytes) -> bool:
        return header[1] == 0xC4

    def execute(self, header: bytes, _data: bytes, _later: Later) -> Reply:
        return Reply(b"\x01\x02\x03" if header[1] == 0xB2 else b"", 0x9000)


def later(_reply: Reply) -> None:
    raise AssertionError("the handler answers at once")


def from_card(data: bytes, start: int) -> Burst:
    return Burst(data, start, TIMING.pitch_to_terminal, ETU)


def begun(command: bytes = READ) -> tuple[T0Terminal, Burst]:
    terminal = T0Terminal(TIMING, 0)
    return terminal, terminal.begin(command, 0)


# -- repetition, as a transmitter ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("pitch_etu", [11, 12, 13, 14, 267])
@pytest.mark.parametrize("index", [0, 2, 4])
def test_7_3_the_refused_character_and_all_after_it_are_sent_again_2_etu_after_detection(
    pitch_etu: int, index: int
) -> None:
    burst = Burst(READ, 5000, pitch_etu * ETU, ETU)
    again = Repeater().again(burst, index)
    assert again is not None
    assert again.data == READ[index:]
    refused = burst.start + index * burst.pitch
    assert again.start - (refused + 11 * ETU) >= 2 * ETU
    assert again.start == refused + max(pitch_etu, REPEAT_AFTER_ETU) * ETU
    assert again.pitch == burst.pitch


def test_7_3_a_character_is_repeated_three_times_and_then_no_more() -> None:
    repeater = Repeater()
    burst: Burst | None = Burst(READ, 0, 12 * ETU, ETU)
    index = 2
    for _ in range(REPETITIONS):
        assert burst is not None
        burst = repeater.again(burst, index)
        index = 0
    assert burst is not None
    assert repeater.again(burst, 0) is None


def test_7_3_each_character_has_its_own_three_repetitions() -> None:
    repeater = Repeater()
    burst = Burst(bytes(20), 0, 12 * ETU, ETU)
    for _ in range(19):
        again = repeater.again(burst, 1)
        assert again is not None
        for _ in range(REPETITIONS - 1):
            again = repeater.again(again, 0)
            assert again is not None
        burst = again


def test_7_3_the_terminal_repeats_and_the_exchange_goes_on() -> None:
    terminal, header = begun()
    again = terminal.signalled(header, 3)
    assert isinstance(again, Burst)
    assert again.data == READ[3:]
    outcome = terminal.receive(from_card(b"\xb2\x01\x02\x03\x90\x00", again.last + TIMING.turnaround))
    assert isinstance(outcome, T0Outcome)
    assert (outcome.response, outcome.retries, outcome.error) == (b"\x01\x02\x03\x90\x00", 1, "")
    assert outcome.characters == 5 + 1 + 6


def test_7_3_the_terminal_gives_up_after_the_fourth_refusal_and_says_which_character() -> None:
    terminal, burst = begun()
    step: Burst | T0Outcome | None = terminal.signalled(burst, 1)
    for _ in range(REPETITIONS):
        assert isinstance(step, Burst)
        step = terminal.signalled(step, 0)
    assert isinstance(step, T0Outcome)
    assert step.error == "parity: the card refused the character B2 4 times"
    assert not step.response
    assert step.retries == REPETITIONS


def test_7_3_a_refusal_after_the_end_of_the_exchange_changes_nothing() -> None:
    terminal, header = begun()
    assert isinstance(terminal.receive(from_card(b"\x6d\x00", header.last + TIMING.turnaround)), T0Outcome)
    assert terminal.signalled(header, 4) is None


def test_7_3_the_card_repeats_its_answer_from_the_refused_character_on() -> None:
    card = T0Card(Handler(), TIMING)
    answer = card.receive(Burst(READ, 0, 12 * ETU, ETU), later)
    assert answer is not None
    again = card.signalled(answer, 2)
    assert again is not None
    assert again.data == b"\x02\x03\x90\x00"
    assert again.start == answer.start + 2 * answer.pitch + 13 * ETU


def test_7_3_a_card_whose_character_is_refused_four_times_forgets_the_command() -> None:
    card = T0Card(Handler(), TIMING)
    ack = card.receive(Burst(WRITE[:5], 0, 12 * ETU, ETU), later)
    for _ in range(REPETITIONS):
        assert ack is not None
        ack = card.signalled(ack, 0)
    assert ack is not None
    assert card.signalled(ack, 0) is None
    answer = card.receive(Burst(READ, ack.last + 100 * ETU, 12 * ETU, ETU), later)
    assert answer is not None
    assert answer.data == b"\xb2\x01\x02\x03\x90\x00"


# -- error signal, as a receiver ----------------------------------------------------------------------------------------


def test_7_3_a_damaged_character_is_left_out_and_its_repetition_takes_its_place() -> None:
    terminal, header = begun()
    first = from_card(b"\xb2\x01\xff", header.last + TIMING.turnaround)
    assert terminal.receive(first, {2}) is None
    rest = from_card(b"\x02\x03\x90\x00", first.last + 13 * ETU)
    outcome = terminal.receive(rest)
    assert isinstance(outcome, T0Outcome)
    assert outcome.response == b"\x01\x02\x03\x90\x00"
    assert outcome.retries == 1


@pytest.mark.parametrize("pieces", [1, 4])
def test_7_3_four_damaged_characters_in_a_row_end_the_exchange(pieces: int) -> None:
    terminal, header = begun()
    at = header.last + TIMING.turnaround
    outcome = None
    for _ in range(pieces):
        count = 4 // pieces
        assert outcome is None
        outcome = terminal.receive(from_card(bytes(count), at), frozenset(range(count)))
        at += 13 * ETU * count
    assert isinstance(outcome, T0Outcome)
    assert outcome.error == "parity: 4 characters in a row from the card were damaged"


def test_7_3_three_damaged_characters_and_then_a_sound_one_do_not() -> None:
    terminal, header = begun()
    at = header.last + TIMING.turnaround
    for byte in b"\xb2\x01\x02\x03\x90":
        for _ in range(REPETITIONS):
            assert terminal.receive(from_card(b"\x55", at), {0}) is None
            at += 13 * ETU
        assert terminal.receive(from_card(bytes((byte,)), at)) is None
        at += 12 * ETU
    outcome = terminal.receive(from_card(b"\x00", at))
    assert isinstance(outcome, T0Outcome)
    assert (outcome.response, outcome.retries) == (b"\x01\x02\x03\x90\x00", 15)


def test_7_3_the_waiting_time_runs_from_a_damaged_character_too() -> None:
    terminal, header = begun()
    burst = from_card(b"\x55", header.last + TIMING.turnaround)
    terminal.receive(burst, {0})
    assert terminal.deadline == burst.last + WAIT


def test_7_3_the_card_takes_a_header_whose_characters_came_at_the_second_attempt() -> None:
    card = T0Card(Handler(), TIMING)
    assert card.receive(Burst(WRITE[:3], 0, 12 * ETU, ETU), later, {2}) is None
    ack = card.receive(Burst(WRITE[2:5], 2 * 12 * ETU + 13 * ETU, 12 * ETU, ETU), later)
    assert ack is not None
    assert ack.data == b"\xc4"


def test_7_3_a_card_that_hears_four_damaged_characters_in_a_row_stays_mute_and_forgets() -> None:
    card = T0Card(Handler(), TIMING)
    assert card.receive(Burst(WRITE[:2] + bytes(4), 0, 12 * ETU, ETU), later, {2, 3, 4, 5}) is None
    answer = card.receive(Burst(READ, 400 * ETU, 12 * ETU, ETU), later)
    assert answer is not None
    assert answer.data[0] == 0xB2


# -- failures for good ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        (b"\x12", "protocol: procedure byte 12 is neither INS, its complement, NULL nor SW1"),
        (b"\xb2\x01\x02\x03\xb2", "protocol: procedure byte B2 when all data had gone by"),
        (b"\x60" * (NULLS + 1), f"protocol: {NULLS + 1} NULL procedure bytes in one exchange"),
    ],
)
def test_10_3_3_what_is_no_procedure_byte_is_named(answer: bytes, name: str) -> None:
    terminal, header = begun()
    outcome = terminal.receive(from_card(answer, header.last + TIMING.turnaround))
    assert isinstance(outcome, T0Outcome)
    assert (outcome.error, outcome.response) == (name, b"")


def test_10_2_after_a_failure_the_next_command_waits_until_the_card_has_given_up_too() -> None:
    terminal, header = begun()
    terminal.receive(from_card(b"\x12", header.last + TIMING.turnaround))
    following = terminal.begin(READ, header.last + 40 * ETU)
    assert following.start >= header.last + WAIT


def test_10_2_a_late_answer_to_a_failed_command_is_not_taken_for_one_to_the_next() -> None:
    terminal, header = begun()
    terminal.receive(from_card(b"\x12", header.last + TIMING.turnaround))
    following = terminal.begin(READ, header.last + 40 * ETU)
    assert terminal.receive(from_card(b"\x90\x00", following.start - 500 * ETU)) is None
    outcome = terminal.receive(from_card(b"\x6f\x00", following.last + TIMING.turnaround))
    assert isinstance(outcome, T0Outcome)
    assert outcome.response == b"\x6f\x00"


def test_10_2_silence_is_named_mute_when_the_waiting_time_is_over() -> None:
    terminal, header = begun()
    assert terminal.deadline == header.last + WAIT
    assert terminal.expire(terminal.deadline).error == "mute"


# -- the tables -------------------------------------------------------------------------------------------------------------


def test_every_state_that_waits_has_an_end_for_silence_and_for_damage() -> None:
    for state, row in TERMINAL.items():
        if state is not TerminalState.IDLE:
            assert row[TerminalEvent.SILENCE].following is TerminalState.IDLE
            assert row[TerminalEvent.DAMAGED_AGAIN].action is Action.GIVE_UP


def test_every_state_is_reached_and_every_transition_has_a_clause() -> None:
    for table in (TERMINAL, CARD):
        reached = {step.following for row in table.values() for step in row.values()} - {None}
        assert reached == set(table)
        for row in table.values():
            for step in row.values():
                assert step.clause == "limit" or step.clause[0].isdigit()
    assert {event for row in TERMINAL.values() for event in row} == set(TerminalEvent)
    assert {event for row in CARD.values() for event in row} == set(CardEvent)
