"""T=0 from character edges (ISO/IEC 7816-3:2006, clause 10): what an exchange takes, procedure bytes, waiting times, what either side does when the
other stops."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.engine import Timebase
from bench.iso7816.atr import build_atr, parse_atr
from bench.iso7816.line import Burst
from bench.iso7816.rates import Rate
from bench.iso7816.t0 import Later, Reply, T0Card, T0Outcome, T0Terminal, T0Timing
from tests.iso7816.wire import CLOCK_HZ, GET_RESPONSE, THINK, Handler, Wire, answer, envelope, get_response

RATES = [0x11, 0x14, 0x18, 0x96]
ATR_AT_11 = parse_atr(build_atr(ta1=0x11))
TIMEBASE = Timebase.for_clocks(CLOCK_HZ)
TIMING = T0Timing.at_rate(ATR_AT_11, Rate(0x11), CLOCK_HZ, TIMEBASE)
ETU = TIMING.etu


def spacing(wire: Wire, ta1: int = 0x80) -> int:
    """From the first leading edge of one command to that of the next, in ticks."""
    first, second = wire.starts(ta1)[:2]
    return second - first


# -- what an exchange takes (10.2: 12 etu from character to character, 16 etu where the direction turns) ----------------


@pytest.mark.parametrize("ta1", RATES)
@pytest.mark.parametrize("size", [1, 2, 64, 254, 255])
def test_an_envelope_of_n_bytes_takes_12_n_plus_112_etu(ta1: int, size: int) -> None:
    # Leading edges, in etu from the first:
    #   header CLA INS P1 P2 P3        0, 12, 24, 36, 48
    #   INS from the card              48 + 16 = 64
    #   data, n characters             64 + 16 = 80 … 80 + 12 (n - 1)
    #   SW1 from the card              80 + 12 (n - 1) + 16 = 84 + 12 n
    #   SW2                            96 + 12 n
    #   next header, at the earliest   96 + 12 n + 16 = 112 + 12 n
    wire = Wire(answer(), ta1)
    wire.exchange(envelope(size), envelope(size))
    assert spacing(wire) == (12 * size + 112) * wire.etu


@pytest.mark.parametrize("ta1", RATES)
@pytest.mark.parametrize("size", [1, 2, 64, 255, 256])
def test_a_get_response_of_n_bytes_takes_12_n_plus_104_etu(ta1: int, size: int) -> None:
    # header 0 … 48; INS at 64; n data, SW1 and SW2 follow it 12 etu apart: SW2 at 64 + 12 (n + 2); next header 16 later: 104 + 12 n
    wire = Wire(answer(bytes(size)), ta1)
    wire.exchange(get_response(size), get_response(size))
    assert spacing(wire) == (12 * size + 104) * wire.etu


def test_a_poll_takes_92_etu() -> None:
    # header 0 … 48; SW1 at 64, SW2 at 76; next header at 92
    wire = Wire(answer(b"", 0x6200))
    wire.exchange(get_response(0), get_response(0))
    assert spacing(wire) == 92 * wire.etu


@pytest.mark.parametrize("ticks_ns", [1, 1_000, 123_456_789, 400_000_000])
def test_declared_card_time_is_added_to_the_tick(ticks_ns: int) -> None:
    ticks = TIMEBASE.nanoseconds(ticks_ns)
    wire = Wire(answer(b"", 0x9000, ticks))
    answers = wire.exchange(envelope(100), envelope(100))
    assert spacing(wire) == (12 * 100 + 112) * wire.etu + ticks
    assert answers[0].card_ticks == ticks
    wire = Wire(answer(bytes(100), 0x9000, ticks))
    answers = wire.exchange(get_response(100), get_response(100))
    assert spacing(wire) == (12 * 100 + 104) * wire.etu + ticks
    assert answers[0].card_ticks == ticks


@pytest.mark.parametrize("extra", [1, 4, 16, 254])
def test_extra_guard_time_parts_characters_to_the_card_and_no_others(extra: int) -> None:
    # 8.3: a character to the card comes at least 12 + N etu after the previous one, whoever sent that; 10.2: at least 16 where the direction
    # turns. A header has 4 such gaps, n data characters n - 1, and an ENVELOPE turns twice towards the card: to its data, to the next
    # header. Characters from the card stay as they are.
    turn = max(16, 12 + extra) - 16
    wire = Wire(answer(), extra_guard_time=extra)
    wire.exchange(envelope(10), envelope(10))
    assert spacing(wire) == (12 * 10 + 112 + extra * (4 + 9) + 2 * turn) * wire.etu
    wire = Wire(answer(bytes(10)), extra_guard_time=extra)
    wire.exchange(get_response(10), get_response(10))
    assert spacing(wire) == (12 * 10 + 104 + extra * 4 + turn) * wire.etu


def test_n_255_means_12_etu_under_t0() -> None:
    wire = Wire(answer(), extra_guard_time=255)
    wire.exchange(envelope(10), envelope(10))
    assert spacing(wire) == (12 * 10 + 112) * wire.etu


def test_an_answer_says_when_it_began_and_ended_and_what_was_on_the_line() -> None:
    wire = Wire(answer(bytes(20)))
    (got,) = wire.exchange(get_response(20))
    assert got.start == wire.sent[0].start
    assert got.end - got.start == (64 + 12 * 22 + 10) * wire.etu  # to the end of SW2's parity bit
    assert got.characters == 5 + 1 + 20 + 2
    assert (got.response, got.error, got.card_ticks) == (bytes(20) + b"\x90\x00", "", 0)


def test_an_exchange_of_255_bytes_costs_at_most_6_events() -> None:
    wire = Wire(lambda header, _data, _later: Reply(bytes(255) if header[1] == GET_RESPONSE else b"", 0x9000))
    wire.exchange(envelope(255))
    for command in (envelope(255), get_response(255)):
        before = wire.engine.events
        wire.exchange(*[command] * 10)
        assert wire.engine.events - before <= 6 * 10


# -- procedure bytes (10.3.3) --------------------------------------------------------------------------------------------


def _burst(data: bytes, start: int) -> Burst:
    return Burst(data, start, TIMING.pitch_to_terminal, ETU)


def test_10_3_3_ins_complemented_lets_one_byte_go_at_a_time() -> None:
    terminal = T0Terminal(TIMING, 0)
    command = bytes((0x80, 0xC2, 0, 0, 4, 1, 2, 3, 4))
    sent = terminal.begin(command, 0)
    got = bytearray()
    for at in range(4):
        step = terminal.receive(_burst(b"\x3d", sent.last + TIMING.turnaround))
        assert isinstance(step, Burst)
        assert step.data == command[5 + at : 6 + at]
        got += step.data
        sent = step
    assert bytes(got) == command[5:]
    outcome = terminal.receive(_burst(b"\x90\x00", sent.last + TIMING.turnaround))
    assert isinstance(outcome, T0Outcome)
    assert (outcome.response, outcome.error) == (b"\x90\x00", "")


def test_10_3_3_ins_after_its_complement_lets_the_rest_go() -> None:
    terminal = T0Terminal(TIMING, 0)
    sent = terminal.begin(bytes((0x80, 0xC2, 0, 0, 4, 1, 2, 3, 4)), 0)
    one = terminal.receive(_burst(b"\x3d", sent.last + TIMING.turnaround))
    assert isinstance(one, Burst)
    rest = terminal.receive(_burst(b"\xc2", one.last + TIMING.turnaround))
    assert isinstance(rest, Burst)
    assert (one.data, rest.data) == (b"\x01", b"\x02\x03\x04")


@settings(max_examples=150)
@given(st.binary(min_size=1, max_size=40), st.data())
def test_10_3_3_a_card_may_mix_procedure_bytes_and_bursts_as_it_likes(payload: bytes, data: st.DataObject) -> None:
    """Outgoing data: INS (all the rest), its complement (one byte) and NULL in any mixture, cut into bursts anywhere."""
    stream, at = bytearray(), 0
    while at < len(payload):
        how = data.draw(st.sampled_from(["ins", "one", "null"]))
        if how == "null":
            stream.append(0x60)
        elif how == "one":
            stream += bytes((0x3F, payload[at]))
            at += 1
        else:
            stream += b"\xc0" + payload[at:]
            at = len(payload)
    stream += b"\x61\x10"
    terminal = T0Terminal(TIMING, 0)
    sent = terminal.begin(bytes((0x80, 0xC0, 0, 0, len(payload))), 0)
    start = sent.last + TIMING.turnaround
    outcome: Burst | T0Outcome | None = None
    while stream:
        assert outcome is None
        size = data.draw(st.integers(1, len(stream)))
        burst = _burst(bytes(stream[:size]), start)
        del stream[:size]
        outcome = terminal.receive(burst)
        start = burst.last + TIMING.pitch_to_terminal
    assert isinstance(outcome, T0Outcome)
    assert (outcome.response, outcome.error, outcome.card_ticks) == (payload + b"\x61\x10", "", 0)


@pytest.mark.parametrize("byte", [0x00, 0x3E, 0xC1, 0xFF, 0x50, 0x80])
def test_10_3_3_any_other_procedure_byte_is_a_named_error(byte: int) -> None:
    terminal = T0Terminal(TIMING, 0)
    sent = terminal.begin(bytes((0x80, 0xC0, 0, 0, 4)), 0)
    outcome = terminal.receive(_burst(bytes((byte,)), sent.last + TIMING.turnaround))
    assert isinstance(outcome, T0Outcome)
    assert outcome.error.startswith(f"protocol: procedure byte {byte:02X}")


def test_10_3_3_a_card_that_asks_for_more_than_there_is_breaks_the_protocol() -> None:
    terminal = T0Terminal(TIMING, 0)
    sent = terminal.begin(bytes((0x80, 0xC2, 0, 0, 1, 7)), 0)
    data = terminal.receive(_burst(b"\xc2", sent.last + TIMING.turnaround))
    assert isinstance(data, Burst)
    outcome = terminal.receive(_burst(b"\xc2", data.last + TIMING.turnaround))
    assert isinstance(outcome, T0Outcome)
    assert "all data had gone" in outcome.error


@pytest.mark.parametrize(
    "command", [b"", b"\x80\xc2\x00\x00", b"\x80\xc2\x00\x00\x02\x01", b"\x80\xc2\x00\x00\x00\x01"]
)
def test_10_3_2_what_is_no_tpdu_is_refused_before_it_is_sent(command: bytes) -> None:
    with pytest.raises(ValueError, match="a T=0 command of"):
        T0Terminal(TIMING, 0).begin(command, 0)


@settings(max_examples=200)
@given(st.lists(st.binary(min_size=1, max_size=300), max_size=8), st.booleans())
def test_a_terminal_survives_any_bytes(bursts: list[bytes], incoming: bool) -> None:
    terminal = T0Terminal(TIMING, 0)
    sent = terminal.begin(envelope(30) if incoming else get_response(30), 0)
    start = sent.last + TIMING.turnaround
    for data in bursts:
        burst = _burst(data, start)
        step = terminal.receive(burst)
        if isinstance(step, T0Outcome):
            assert step.error or len(step.response) >= 2
        start = (step.last if isinstance(step, Burst) else burst.last) + TIMING.turnaround


@settings(max_examples=200)
@given(st.lists(st.tuples(st.binary(min_size=1, max_size=300), st.integers(12, 20_000)), max_size=12))
def test_a_card_survives_any_bytes_and_never_answers_too_early(bursts: list[tuple[bytes, int]]) -> None:
    card = T0Card(Handler(answer(b"", 0x6D00)), TIMING)
    start = 0
    for data, gap in bursts:
        burst = Burst(data, start, TIMING.pitch_to_card, ETU)
        reply = card.receive(burst, lambda _reply: None)
        if reply is not None:
            assert reply.start >= burst.last + TIMING.turnaround
            start = reply.last
        else:
            start = burst.last
        start += gap * ETU


# -- waiting time (10.2) -----------------------------------------------------------------------------------------------------


def _thinking(ticks: int) -> Wire:
    """A card that answers INS 40 after ``ticks``, by a call, as an application does."""
    wires: list[Wire] = []

    def execute(header: bytes, _data: bytes, later: Later) -> Reply | None:
        if header[1] != THINK:
            return Reply(b"", 0x9000)
        wires[0].engine.after(ticks, lambda: later(Reply(b"", 0x9000)))
        return None

    wires.append(Wire(execute))
    return wires[0]


def _gaps(wire: Wire) -> list[int]:
    """Between the leading edges of neighbouring characters of the whole exchange."""
    edges = sorted(
        burst.start + burst.pitch * index for burst in wire.sent + wire.answered for index in range(len(burst.data))
    )
    return [after - before for before, after in pairwise(edges)]


@pytest.mark.parametrize("seconds", [1, 10])
def test_10_3_3_null_keeps_the_link_within_its_waiting_time_while_an_application_thinks(seconds: int) -> None:
    wire = _thinking(seconds * TIMEBASE.hz)
    (got,) = wire.exchange(bytes((0x00, THINK, 0, 0, 0)))
    assert (got.response, got.error) == (b"\x90\x00", "")
    nulls = [burst for burst in wire.answered if burst.data == b"\x60"]
    assert len(nulls) >= seconds * TIMEBASE.hz // TIMING.waiting_time
    assert max(_gaps(wire)) <= TIMING.waiting_time
    assert min(_gaps(wire)) >= 12 * ETU
    late = wire.answered[-1].start - (wire.sent[0].taken + seconds * TIMEBASE.hz)
    assert 0 <= late <= 16 * ETU, "the answer leaves as soon as it is there, and the guard time after a NULL over"


@pytest.mark.parametrize("etu", [4_799, 4_801, 9_600, 9_601, 48_000])
def test_10_3_3_declared_card_time_beyond_the_waiting_time_is_exact_too(etu: int) -> None:
    wire = Wire(answer(b"", 0x9000, etu * ETU))
    wire.exchange(bytes((0x00, THINK, 0, 0, 0)), bytes((0x00, THINK, 0, 0, 0)))
    late = spacing(wire, 0x00) - (92 + etu) * ETU
    assert 0 <= late < 12 * ETU  # 0 but where a NULL had just begun
    assert max(_gaps(wire)) <= TIMING.waiting_time


def test_an_answer_promised_before_a_reset_does_not_answer_the_command_after_it() -> None:
    wire = _thinking(TIMEBASE.hz)
    wire.reader.submit(bytes((0x00, THINK, 0, 0, 0)), lambda _answer: None)
    wire.engine.run(wire.engine.now + TIMEBASE.hz // 4)
    powered: list[object] = []
    wire.reader.power_up(powered.append)
    assert wire.engine.wait(lambda: bool(powered), TIMEBASE.hz // 2)
    begun = wire.engine.now
    wire.exchange(bytes((0x00, THINK, 0, 0, 0)))
    assert wire.engine.now - begun > TIMEBASE.hz  # its own second, not what was left of the other's


def test_10_2_a_silent_card_is_given_up_when_the_work_waiting_time_is_over() -> None:
    wire = Wire(answer())
    wire.lose = {0}
    (got,) = wire.exchange(envelope(3))
    assert got.error == "mute"
    assert (
        got.end == wire.sent[0].last + TIMING.waiting_time
    )  # WI 10, Fi 372: 3 571 200 cycles from the last leading edge
    assert TIMING.waiting_time == TIMEBASE.cycles(10 * 960 * 372, CLOCK_HZ)


@pytest.mark.parametrize(("ticks", "heard"), [(0, True), (-1, True), (1, False)])
def test_10_2_the_waiting_time_runs_from_leading_edge_to_leading_edge(ticks: int, heard: bool) -> None:
    wire = Wire(answer())
    terminal_says = wire.contacts.receive

    def slow(burst: Burst) -> None:  # a card that uses its time up, to the tick, and says nothing meanwhile
        wire.sent.append(burst)
        start = burst.last + TIMING.waiting_time + ticks
        wire.engine.at(start, lambda: wire.contacts.transmit(Burst(b"\x6d\x00", start, 12 * ETU, ETU)))

    wire.contacts.receive = slow  # type: ignore[method-assign]
    (got,) = wire.exchange(get_response(9))
    assert (got.response, got.error) == ((b"\x6d\x00", "") if heard else (b"", "mute"))
    wire.engine.run(wire.engine.now + TIMEBASE.hz // 100)  # what comes too late is heard by nobody
    wire.contacts.receive = terminal_says  # type: ignore[method-assign]
    (after,) = wire.exchange(envelope(3))
    assert after.response == b"\x90\x00"


def test_10_2_a_long_answer_that_began_in_time_is_heard_to_its_end() -> None:
    # WI 1: the waiting time is 960 etu, an answer of 256 bytes takes 3108: none of its gaps is longer than 12
    wire = Wire(answer(bytes(256)), wi=1)
    (got,) = wire.exchange(get_response(256))
    assert (len(got.response), got.error) == (258, "")


def test_10_2_half_a_header_is_dropped_after_the_waiting_time() -> None:
    card = T0Card(Handler(answer()), TIMING)
    assert card.receive(Burst(b"\x80\xc2\x80", 0, 12 * ETU, ETU), lambda _reply: None) is None
    again = Burst(envelope(1)[:5], 24 * ETU + TIMING.waiting_time, 12 * ETU, ETU)
    reply = card.receive(again, lambda _reply: None)
    assert reply is not None
    assert reply.data == b"\xc2"


def test_10_2_a_header_within_the_waiting_time_may_come_in_pieces() -> None:
    card = T0Card(Handler(answer()), TIMING)
    assert card.receive(Burst(b"\x80\xc2\x80", 0, 12 * ETU, ETU), lambda _reply: None) is None
    rest = Burst(b"\x00\x01", 24 * ETU + TIMING.waiting_time - 1, 12 * ETU, ETU)
    reply = card.receive(rest, lambda _reply: None)
    assert reply is not None
    assert reply.data == b"\xc2"


def test_10_2_a_command_whose_data_never_came_is_dropped_and_the_next_one_answered() -> None:
    # The card's INS is lost: the terminal gives up after the waiting time and sends the command again; the card must not take it for data.
    wire = Wire(answer())
    wire.mute = True
    (got,) = wire.exchange(envelope(20))
    assert got.error == "mute"
    wire.mute = False
    (got,) = wire.exchange(envelope(20))
    assert (got.response, got.error) == (b"\x90\x00", "")
    assert wire.handler.commands == [envelope(20)]
