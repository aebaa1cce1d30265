"""RFC 9293's MUSTs about acknowledgements, retransmission, patience and keep-alives. The number in a test's name is the RFC's."""

import itertools
from dataclasses import replace

import pytest

from bench.net.connection import Counts, Reason, State, TcpSettings
from bench.net.segment import seq_add
from tests.net.tcp_pair import B4, Pair
from tests.net.tcp_script import ACK, FIN, HZ, PSH, RST, SYN, Script, flags_of

MSS = 536


def sent_at(script: Script, begin: int) -> list[float]:
    """Seconds at which packets went out, from the one numbered ``begin`` on."""
    return [time / HZ for time in script.times[begin:]]


def test_must_17_nagle_can_be_turned_off() -> None:
    for nagle, count in ((True, 1), (False, 4)):
        script = Script(nagle=nagle).established()
        for _ in range(4):
            script.give(b"key")
        assert len(script.heard()) == count


def test_nagle_sends_the_rest_with_the_acknowledgement() -> None:
    """SHLD-7."""
    script = Script().established()
    for _ in range(4):
        script.give(b"key")
    script.heard()
    script.say(ACK, ack=seq_add(script.iss, 4))
    assert script.only().payload == b"keykeykey"


def test_must_18_karn_a_segment_sent_twice_gives_no_sample() -> None:
    script = Script().established()
    script.give(b"x")
    rto = script.tcb.rtt.rto
    script.wait(rto / HZ + 0.1)
    assert (script.tcb.counts.timeouts, script.tcb.rtt.rto) == (1, 2 * rto)
    before = (script.tcb.rtt.srtt, script.tcb.rtt.variation)
    script.say(ACK)
    assert (script.tcb.rtt.srtt, script.tcb.rtt.variation, script.tcb.rtt.rto) == (*before, 2 * rto)
    script.give(b"y")
    script.wait(0.1)
    script.say(ACK)
    assert script.tcb.rtt.rto < 2 * rto  # a clean sample ends the back-off


def test_must_19_back_off_is_exponential() -> None:
    script = Script().established()
    script.give(b"x")
    begin = len(script.packets) - 1
    script.wait(62)
    times = sent_at(script, begin)
    assert [round(b - a) for a, b in itertools.pairwise(times)] == [1, 2, 4, 8, 16]


def test_must_19_slow_start_and_congestion_avoidance() -> None:
    script = Script(send_buffer=65_535, initial_segments=1)
    script.window = 60_000
    script.established()
    script.give(bytes(65_535))
    flights = []
    for _ in range(5):
        segments = script.heard()
        flights.append(len(segments))
        for each in segments:
            script.say(ACK, ack=seq_add(each.seq, MSS))
    assert flights == [1, 2, 4, 8, 16]
    script.wait(5)  # all of the next flight is lost
    assert script.tcb.congestion.ssthresh in range(14 * MSS, 18 * MSS)
    assert script.tcb.congestion.cwnd == MSS
    script.tcb.congestion.cwnd = script.tcb.congestion.ssthresh
    before = script.tcb.congestion.cwnd
    script.tcb.congestion.acknowledged(before, 0, 0)
    assert script.tcb.congestion.cwnd == before + MSS


def test_three_duplicates_bring_the_segment_back_at_once() -> None:
    """RFC 5681, 3.2; RFC 6582's partial acknowledgements."""
    script = Script(initial_segments=10).established()
    script.give(bytes(7 * MSS))
    first = script.heard()[0].seq
    for count in range(4):
        script.say(ACK, ack=first)
        assert len([each for each in script.heard() if each.seq == first]) == (count == 2)
    script.say(ACK, ack=seq_add(first, 2 * MSS))  # the second one was lost, too
    assert script.heard()[0].seq == seq_add(first, 2 * MSS)
    script.say(ACK)
    assert (script.tcb.counts.fast_retransmissions, script.tcb.counts.timeouts) == (1, 0)
    assert script.tcb.congestion.cwnd <= script.tcb.congestion.ssthresh


def test_duplicates_after_a_timeout_bring_nothing_back_twice() -> None:
    """RFC 6582, 3.2, step 1."""
    script = Script(initial_segments=10).established()
    script.give(bytes(7 * MSS))
    first = script.heard()[0].seq
    script.wait(1.2)
    script.heard()
    for _ in range(5):
        script.say(ACK, ack=first)
    assert (script.heard(), script.tcb.counts.fast_retransmissions) == ([], 0)


def test_must_20_after_r1_layer_3_and_the_user_hear_of_it_and_after_r2_it_is_over() -> None:
    script = Script().established()
    doubts: list[bytes] = []
    told: list[str] = []
    script.node.on_doubt = doubts.append
    script.tcb.on_trouble = lambda _connection, trouble: told.append(trouble)
    script.give(b"x")
    script.wait(10)
    assert (doubts, told) == ([], [])
    script.wait(10)
    assert (doubts, told) == ([B4], ["no answer to 3 retransmissions"])
    script.wait(79)
    assert script.user.reason is None
    script.wait(70)
    assert script.user.reason is Reason.TIMED_OUT
    assert script.heard()[-1].flags & RST


def test_must_21_the_user_can_set_r2() -> None:
    script = Script(r2=10 * HZ).established()
    script.give(b"x")
    script.wait(20)
    assert script.user.reason is Reason.TIMED_OUT


def test_must_22_and_must_23_a_syn_is_tried_for_three_minutes() -> None:
    script = Script()
    script.connect()
    doubts: list[bytes] = []
    script.node.on_doubt = doubts.append
    script.wait(180)
    assert (script.user.reason, len(doubts)) == (None, 1)
    assert {each.flags for each in script.heard()} == {SYN}
    script.wait(100)
    assert script.user.reason is Reason.TIMED_OUT


def test_must_22_and_must_23_so_is_the_answer_to_one() -> None:
    script = Script()
    script.listen()
    script.say(SYN)
    script.wait(180)
    assert len(script.tcp.connections) == 1
    assert {each.flags for each in script.heard()} == {SYN | ACK}
    script.wait(100)
    assert script.tcp.connections == {}


def test_must_24_and_must_25_keep_alive_is_off_unless_asked_for_and_can_be_turned_off() -> None:
    script = Script().established()
    script.wait(3 * 86_400)
    assert (script.heard(), script.tcp.due) == ([], None)
    script.tcp.keep_alive(script.tcb, script.now)
    script.wait(7_201)
    assert len(script.heard()) == 1
    script.tcp.keep_alive(script.tcb, script.now, on=False)
    script.wait(86_400)
    assert (script.heard(), script.tcb.state) == ([], State.ESTABLISHED)


def test_must_26_a_probe_goes_out_only_after_an_idle_time() -> None:
    script = Script(keep_alive=100 * HZ).established()
    for _ in range(20):
        script.wait(90)
        script.say(ACK, payload=b"x")
        script.wait(1)
    assert all(len(each.payload) == 0 and each.seq == script.tcb.snd_nxt for each in script.heard())  # acknowledgements
    script.wait(101)
    probe = script.heard()[-1]
    assert (probe.seq, probe.payload) == (seq_add(script.tcb.snd_nxt, -1), b"")  # SHLD-12
    script.say(ACK)
    script.give(b"data under way")
    script.heard()
    script.wait(90)
    assert {each.payload for each in script.heard()} == {b"data under way"}


def test_must_27_and_must_28_the_interval_is_two_hours_or_what_is_asked_for() -> None:
    script = Script().established()
    script.tcp.keep_alive(script.tcb, script.now)
    assert script.tcb.keep_alive == 2 * 3600 * HZ
    script.tcp.keep_alive(script.tcb, script.now, interval=50 * HZ)
    script.wait(51)
    assert len(script.heard()) == 1


@pytest.mark.parametrize("state", [State.ESTABLISHED, State.CLOSE_WAIT])
def test_must_29_a_probe_without_an_answer_ends_nothing(state: State) -> None:
    script = Script(keep_alive=100 * HZ).established()
    if state is State.CLOSE_WAIT:
        script.say(ACK | FIN)
        script.heard()
    for _ in range(30):
        script.wait(130)  # several probes are lost
        assert len(script.heard()) in range(1, 8)
        script.say(ACK)
    assert script.tcb.state is state
    script.wait(1000)
    assert script.user.reason is Reason.TIMED_OUT


def test_a_keep_alive_of_the_peer_is_answered() -> None:
    script = Script().established()
    script.say(ACK, seq=seq_add(script.seq, -1))
    script.say(ACK, seq=seq_add(script.seq, -1), payload=b"\x00")  # with a garbage octet (MAY-6)
    assert [(each.flags, each.ack) for each in script.heard()] == [(ACK, script.seq)] * 2
    assert bytes(script.user.got) == b""


def test_must_40_an_acknowledgement_is_late_by_less_than_half_a_second() -> None:
    script = Script().established()
    script.say(ACK, payload=b"x")
    assert script.heard() == []
    script.wait(0.19)
    assert script.heard() == []
    script.wait(0.3)
    assert flags_of(script.heard()) == [ACK]


def test_every_second_full_segment_is_acknowledged_at_once() -> None:
    """SHLD-19."""
    script = Script().established()
    for count in range(1, 9):
        script.say(ACK, payload=bytes(MSS))
        assert len(script.heard()) == (count % 2 == 0)


def test_must_58_an_acknowledgement_goes_with_data_where_it_can() -> None:
    script = Script().established()
    script.say(ACK, payload=b"question")
    script.give(b"answer")
    sent = script.only()
    assert (sent.payload, sent.ack) == (b"answer", script.seq)
    script.wait(1)
    assert all(each.payload for each in script.heard())  # no acknowledgement alone


def test_must_59_all_that_waits_is_taken_before_the_acknowledgement() -> None:
    script = Script().established()
    begin = script.seq
    for at in (3, 1, 2):
        script.say(ACK, seq=seq_add(begin, at * 100), payload=bytes((at,)) * 100)
    assert {each.ack for each in script.heard()} == {begin}  # a gap is told at once, each time
    script.say(ACK, seq=begin, payload=b"\x00" * 100)
    assert script.only().ack == seq_add(begin, 400)


# -- a conversation as a whole ---------------------------------------------------------------------------------------------

GOLDEN = """\
 0.000 > S    seq 0      ack 0      win 4096  len 0
 0.010 < S.   seq 0      ack 1      win 4096  len 0
 0.020 > .    seq 1      ack 1      win 4096  len 536
 0.020 > .    seq 537    ack 1      win 4096  len 536
 0.030 < .    seq 1      ack 1073   win 4096  len 0
 0.040 > .    seq 1073   ack 1      win 4096  len 536
 0.040 > .    seq 1609   ack 1      win 4096  len 536
 0.040 > FP.  seq 2145   ack 1      win 4096  len 355
 0.050 < .    seq 1      ack 2145   win 4096  len 0
 0.050 < F.   seq 1      ack 2501   win 3740  len 0
 0.060 > .    seq 2501   ack 2      win 4095  len 0
"""


def transcript(pair: Pair) -> str:
    """What went over the link: time, direction, flags, numbers from each side's first."""
    lines, first = [], {}
    for time, outward, data in pair.seen:
        seq, ack = (int.from_bytes(data[at : at + 4], "big") for at in (24, 28))
        first.setdefault(outward, seq)
        marks = "".join(
            mark for mark, bit in (("F", FIN), ("S", SYN), ("R", RST), ("P", PSH), (".", ACK)) if data[33] & bit
        )
        relative = ack - first.get(not outward, ack) & 0xFFFF_FFFF
        size = len(data) - 20 - (data[32] >> 4) * 4
        lines.append(
            f"{time / HZ:6.3f} {'<>'[outward]} {marks:4} seq {seq - first[outward] & 0xFFFF_FFFF:<6} "
            f"ack {relative:<6} win {int.from_bytes(data[34:36], 'big'):<5} len {size}\n"
        )
    return "".join(lines)


def test_open_bulk_and_close_are_as_on_paper() -> None:
    settings = replace(TcpSettings.usual(HZ), receive_buffer=4096, send_buffer=4096)
    pair = Pair(576, settings=settings)
    pair.client.todo += bytes(2499)
    pair.client.finish = True
    connection = pair.connect()
    pair.run(2)
    assert transcript(pair) == GOLDEN
    assert connection.counts == Counts()
