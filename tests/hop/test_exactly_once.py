"""docs/protocol.md, 1.4 and 1.5: whatever is lost, repeated or refused, and however answers come, every packet arrives once and in order."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.hop.card import HopCard
from bench.hop.queue import FairQueue
from bench.hop.segment import Kind, envelope, get_response
from bench.hop.terminal import HopDownError, HopTerminal
from tests.hop.in_memory import PERIOD, Fault, Way, make_pair, push, run

PACKETS = st.lists(
    st.tuples(st.sampled_from([Kind.CHANNEL, Kind.IPV4]), st.binary(max_size=600) | st.binary(max_size=4)), max_size=6
)
FAULTS = st.lists(st.sampled_from(Fault), max_size=60)
MTU = 600


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(Way), st.booleans(), PACKETS, PACKETS, FAULTS, st.lists(st.booleans(), max_size=30))
def test_1_5_everything_arrives_exactly_once_and_in_order(
    way: Way,
    explicit: bool,
    outward: list[tuple[Kind, bytes]],
    inward: list[tuple[Kind, bytes]],
    faults: list[Fault],
    refusals: list[bool],
) -> None:
    explicit = explicit and way in (Way.TPDU, Way.INLINE)  # E only where the reader hands 61xx through (1.4)
    pair = make_pair(way, MTU, explicit, iter(refusals))
    for kind, packet in outward:
        push(pair.terminal.queue, kind, packet)
    for kind, packet in inward:
        push(pair.card.queue, kind, packet)
    run(pair, iter(faults), 3000)
    assert pair.to_card == outward
    assert pair.to_terminal == inward


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(Way), st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=20), FAULTS)
def test_1_5_packets_queued_at_any_moment_arrive_exactly_once(
    way: Way, moments: list[tuple[int, bool]], faults: list[Fault]
) -> None:
    pair = make_pair(way, MTU, way is Way.TPDU, iter(()))
    waiting = [(at, outward, index) for index, (at, outward) in enumerate(sorted(moments))]
    sent_out: list[tuple[Kind, bytes]] = []
    sent_in: list[tuple[Kind, bytes]] = []

    def before(exchange: int) -> bool:
        while waiting and (waiting[0][0] <= exchange or pair.idle):
            _, outward, index = waiting.pop(0)
            packet = bytes((index,)) * (1 + 31 * index)
            (sent_out if outward else sent_in).append((Kind.CHANNEL, packet))
            push(pair.terminal.queue if outward else pair.card.queue, Kind.CHANNEL, packet)
        return bool(waiting)

    run(pair, iter(faults), 3000, before)
    assert pair.to_card == sent_out
    assert pair.to_terminal == sent_in
    assert len(sent_out) + len(sent_in) == len(moments)


@pytest.mark.parametrize("way", Way)
@pytest.mark.parametrize("fault", [Fault.COMMAND_LOST, Fault.ANSWER_LOST, Fault.TWICE, Fault.FETCH_LOST])
def test_1_5_any_single_exchange_may_be_cut(way: Way, fault: Fault) -> None:
    outward = [(Kind.CHANNEL, bytes((n,)) * (n * 60)) for n in range(1, 8)]
    inward = [(Kind.CHANNEL, bytes((n,)) * (n * 61)) for n in range(101, 108)]
    inward = [(kind, packet[: (n + 1) * 70]) for n, (kind, packet) in enumerate(inward)]
    index = 0
    while True:
        pair = make_pair(way, MTU, way in (Way.TPDU, Way.INLINE), iter(()))
        for kind, packet in outward:
            push(pair.terminal.queue, kind, packet)
        for kind, packet in inward:
            push(pair.card.queue, kind, packet)
        run(pair, iter([Fault.NONE] * index + [fault]), 500)
        assert (pair.to_card, pair.to_terminal) == (outward, inward), f"exchange {index} cut"
        if index > pair.exchanges:
            break
        index += 1
    assert index > 14


def _card(mtu: int = 64) -> HopCard:
    return HopCard(FairQueue(mtu), mtu)


def test_1_3_a_refused_segment_is_not_taken_and_comes_again_after_a_poll() -> None:
    pair = make_pair(Way.TPDU, 64, True, iter([True]))
    push(pair.terminal.queue, Kind.CHANNEL, b"outward")
    push(pair.card.queue, Kind.CHANNEL, b"inward")
    terminal, card = pair.terminal, pair.card
    first = terminal.next_command(0)
    assert first is not None
    refusal = card.envelope(first[2], first[5:], None)
    assert (refusal.data, refusal.sw) == (b"", 0x6A84)
    terminal.answered(b"\x6a\x84", 0)
    poll = terminal.next_command(0)
    assert poll == get_response(0, 0, True)
    terminal.answered(b"\x62\x00", 1)
    again = terminal.next_command(PERIOD)
    assert again is not None
    assert again[1:] == first[1:]
    assert card.envelope(again[2], again[5:], None).sw == 0x6100 | 7
    assert pair.to_card == [(Kind.CHANNEL, b"outward")]


def test_1_3_status_words_of_the_card() -> None:
    card = _card()
    assert card.envelope(0x80, b"", None).sw == 0x6700
    assert card.get_response(0x80, 256, False).sw == 0x6200
    assert card.envelope(0x80, b"\xc5\x00", None).sw == 0x6A80  # kind 5 is nobody's
    assert card.envelope(0x80, b"\x61\x00", None).sw == 0x6A80  # toggle 1, not first: no packet under way
    assert card.envelope(0x80, b"\xc1" + bytes(65), None).sw == 0x6A80  # longer than the MTU
    assert card.envelope(0x80, b"\xe1" + bytes(64), None).sw == 0x9000
    push(card.queue, Kind.CHANNEL, b"answer")
    assert card.get_response(0x80, 256, False).sw == 0x6C00 | 7
    assert card.get_response(0x80, 6, False).sw == 0x6C00 | 7
    answer = card.get_response(0x80, 7, False)
    assert (answer.data, answer.sw) == (b"\xc1answer", 0x9000)


def test_1_4_a_plain_fetch_needs_an_announcement_directly_before_it() -> None:
    card = _card()
    push(card.queue, Kind.CHANNEL, b"answer")
    assert card.plain_fetch(256, True).sw == 0x6985
    assert card.envelope(0x80, b"\xc1x", None).sw == 0x6100 | 7
    card.withdraw()
    assert card.plain_fetch(7, False).sw == 0x6985
    assert card.envelope(0x80, b"\xc1x", None).sw == 0x6100 | 7  # a repetition is answered as before
    answer = card.plain_fetch(7, False)
    assert (answer.data, answer.sw) == (b"\xc1answer", 0x9000)
    assert card.get_response(0x80, 7, False).data == b"\xc1answer"  # not acknowledged by the plain fetch
    assert card.get_response(0x81, 256, False).sw == 0x6200  # but by R


def test_1_5_what_a_plain_fetch_gave_is_acknowledged_by_the_next_r() -> None:
    card = _card()
    push(card.queue, Kind.CHANNEL, b"answer")
    assert card.envelope(0x80, b"\xc1x", None).sw == 0x6100 | 7
    assert card.plain_fetch(7, False).data == b"\xc1answer"
    assert card.get_response(0x81, 256, False).sw == 0x6200


def test_1_4_a_plain_fetch_never_strings_segments_together() -> None:
    card = _card(600)
    push(card.queue, Kind.CHANNEL, bytes(400))
    assert card.envelope(0xC0, b"\xc1x", None).sw == 0x61FF
    assert card.plain_fetch(255, False).sw == 0x9000  # though another waits, and E was set


def test_1_1_r_counts_only_where_p1_is_valid() -> None:
    card = _card()
    push(card.queue, Kind.CHANNEL, b"one")
    push(card.queue, Kind.CHANNEL, b"two")
    assert card.get_response(0x80, 4, False).data == b"\xc1one"
    assert card.envelope(0x01, b"\xc1x", None).sw == 0x6100 | 4
    assert card.get_response(0x80, 4, False).data == b"\xc1one"
    assert card.get_response(0x81, 4, False).data == b"\xe1two"


def test_1_1_without_e_a_fetch_never_says_61xx() -> None:
    card = _card()
    push(card.queue, Kind.CHANNEL, b"one")
    push(card.queue, Kind.CHANNEL, b"two")
    assert card.get_response(0x80, 4, False).sw == 0x9000
    assert card.get_response(0xC1, 4, False).sw == 0x9000  # nothing after this one
    card = _card()
    push(card.queue, Kind.CHANNEL, b"one")
    push(card.queue, Kind.CHANNEL, b"twenty")
    assert card.get_response(0xC0, 4, False).sw == 0x6100 | 7


def _terminal(**options: bool) -> HopTerminal:
    return HopTerminal(
        FairQueue(64), 64, explicit=options.get("explicit", True), inline=options.get("inline", False), period=PERIOD
    )


def test_1_5_a_command_is_tried_four_times_then_the_hop_is_down() -> None:
    terminal = _terminal()
    push(terminal.queue, Kind.CHANNEL, b"x")
    commands = []
    for _ in range(3):
        commands.append(terminal.next_command(0))
        terminal.failed("mute")
    commands.append(terminal.next_command(0))
    assert commands == [envelope(b"\xc1x", 0, True)] * 4
    with pytest.raises(HopDownError) as down:
        terminal.failed("mute")
    assert down.value.reason == "mute"


def test_2_two_failed_polls_are_enough() -> None:
    terminal = _terminal()
    assert terminal.next_command(0) == get_response(0, 0, True)
    terminal.failed("mute")
    assert terminal.next_command(0) == get_response(0, 0, True)
    with pytest.raises(HopDownError):
        terminal.failed("mute")


def test_2_a_reader_that_sees_the_card_go_is_believed_at_once() -> None:
    terminal = _terminal()
    assert terminal.next_command(0) is not None
    with pytest.raises(HopDownError) as down:
        terminal.failed("absent")
    assert down.value.reason == "absent"


@settings(max_examples=200)
@given(st.binary(max_size=300), st.sampled_from(["poll", "envelope"]))
def test_1_3_any_answer_is_understood_or_takes_the_hop_down_by_name(response: bytes, what: str) -> None:
    terminal = _terminal()
    if what == "envelope":
        push(terminal.queue, Kind.CHANNEL, b"x")
    assert terminal.next_command(0) is not None
    with suppress(HopDownError):
        terminal.answered(response, 0)


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["envelope", "get-response"]),
            st.integers(0, 255),
            st.binary(max_size=255),
            st.sampled_from([None, 1, 7, 255, 256]),
        )
    )
)
def test_1_3_a_card_answers_any_command_with_a_status_word_of_the_table(
    commands: list[tuple[str, int, bytes, int | None]],
) -> None:
    card = _card()
    for name, p1, data, le in commands:
        push(card.queue, Kind.CHANNEL, b"something")
        if name == "envelope":
            answer = card.envelope(p1, data, le)
        else:
            answer = card.get_response(p1, le or 256, False)
        assert answer.sw in (0x9000, 0x6200, 0x6A84, 0x6A80, 0x6700, 0x6985) or answer.sw >> 8 in (0x61, 0x6C)
        assert not answer.data or answer.sw == 0x9000 or answer.sw >> 8 == 0x61


def test_1_5_a_terminal_drops_a_segment_with_an_unexpected_toggle_as_a_repetition() -> None:
    terminal = _terminal()
    assert terminal.next_command(0) is not None
    assert terminal.answered(b"\xe1again\x90\x00", 0) is None
    assert terminal.next_command(PERIOD) == get_response(0, 0, True), "it is not acknowledged either"
    delivered = terminal.answered(b"\xc1first\x90\x00", PERIOD)
    assert delivered is not None
    assert delivered.data == b"first"
    assert terminal.next_command(3 * PERIOD) == get_response(0, 1, True)


def test_1_7_a_terminal_without_room_polls_on_but_takes_nothing() -> None:
    pair = make_pair(Way.INLINE, 64, True, iter(()))
    room = [False]
    pair.terminal.has_room = lambda: room[0]
    push(pair.card.queue, Kind.CHANNEL, b"wait")
    terminal, card = pair.terminal, pair.card
    now = 0
    for _ in range(5):
        command = terminal.next_command(now)
        assert command == get_response(0, 0, True), "the card must hear that somebody is there"
        answer = card.get_response(command[2], 256, True)
        assert terminal.answered(answer.data + answer.sw.to_bytes(2, "big"), now) is None
        assert terminal.next_command(now) is None
        assert terminal.deadline > now
        now = terminal.deadline
    room[0] = True
    run(pair, iter(()), 50)
    assert pair.to_terminal == [(Kind.CHANNEL, b"wait")]
