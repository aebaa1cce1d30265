"""RFC 9293's MUSTs about segments, options, windows and urgent data. The number in a test's name is the RFC's."""

import itertools
import struct

import pytest

from bench.net.connection import Reason, State, TcpSettings
from bench.net.errors import PacketError
from bench.net.ipv4 import parse_ipv4
from bench.net.segment import Segment, build_segment, mss_option, parse_segment, seq_add
from tests.net.tcp_script import ACK, FIN, HZ, ISS, PSH, RST, SYN, URG, Script, flags_of


def test_must_1_a_window_is_unsigned() -> None:
    script = Script(send_buffer=100_000, initial_segments=100).established(window=0xFFFF)
    script.give(bytes(40_000))
    assert sum(len(each.payload) for each in script.heard()) > 0x7FFF


@pytest.mark.parametrize("v6", [False, True])
def test_must_2_the_sender_puts_a_checksum(v6: bool) -> None:
    """Summed here word by word with the pseudo header of RFC 9293, 3.1 and RFC 8200, 8.1."""
    script = Script(v6=v6).established()
    script.give(b"odd")
    packet = script.packets[-1]
    tcp = packet[40:] if v6 else packet[20:]
    pseudo = (
        script.us
        + script.them
        + (struct.pack("!IHBB", len(tcp), 0, 0, 6) if v6 else struct.pack("!BBH", 0, 6, len(tcp)))
    )
    data = pseudo + tcp + b"\x00" * (len(tcp) & 1)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    assert (total, tcp[20:]) == (0xFFFF, b"odd")


@pytest.mark.parametrize("v6", [False, True])
def test_must_3_the_receiver_checks_it(v6: bool) -> None:
    script = Script(v6=v6).established()
    data = bytearray(
        build_segment(
            script.them,
            script.us,
            Segment(script.peer_port, script.port, script.seq, script.tcb.snd_nxt, ACK, 99, b"hello"),
        )
    )
    for place in (5, 13, 22):
        damaged = bytearray(data)
        damaged[place] ^= 0x10
        script.raw(bytes(damaged))
    assert (script.heard(), bytes(script.user.got)) == ([], b"")
    script.raw(bytes(data))
    assert bytes(script.user.got) == b"hello"


def test_must_4_end_of_options_no_operation_and_mss_are_known() -> None:
    script = Script()
    script.connect()
    script.say(SYN | ACK, options=b"\x01\x01\x01\x01" + mss_option(700) + b"\x00\x02\x04\x09")
    assert script.tcb.peer_mss == 700


def test_must_5_options_come_in_any_segment() -> None:
    script = Script().established()
    script.say(ACK | PSH, payload=b"x", options=b"\x01\x01\x01\x00")
    script.say(ACK | PSH, payload=b"y", options=mss_option(40))
    script.say(ACK | FIN, options=b"\xfd\x04\x00\x00")
    assert (bytes(script.user.got), script.tcb.state) == (b"xy", State.CLOSE_WAIT)


def test_must_6_unknown_options_are_passed_over_by_their_length() -> None:
    script = Script()
    script.connect()
    script.say(SYN | ACK, options=b"\x08\x0a" + bytes(8) + b"\xc8\x02" + mss_option(900))
    assert (script.tcb.state, script.tcb.peer_mss) == (State.ESTABLISHED, 900)


@pytest.mark.parametrize(
    "options", [b"\x02\x00\x00\x00", b"\xfe\x01\x00\x00", b"\x02\x09\x01\x00", b"\x01\x01\x01\x02"]
)
def test_must_7_an_illegal_option_length_breaks_nothing(options: bytes) -> None:
    script = Script()
    script.listen()
    script.say(SYN, options=options)
    assert (script.tcp.connections, script.heard()) == ({}, [])
    script.seq = ISS
    script.say(SYN)
    assert flags_of(script.heard()) == [SYN | ACK]


def test_must_14_mss_is_sent_and_received() -> None:
    script = Script(mtu=576)
    assert script.connect().options == mss_option(536)
    script.say(SYN | ACK, options=mss_option(100))
    script.heard()
    script.give(bytes(150))
    assert len(script.heard()[0].payload) == 100


@pytest.mark.parametrize(("v6", "default"), [(False, 536), (True, 1220)])
def test_must_15_without_the_option_536_or_1220_are_assumed(v6: bool, default: int) -> None:
    script = Script(v6=v6, mtu=1500, initial_segments=4).established()
    script.give(bytes(3000))
    assert next(len(each.payload) for each in script.heard()) == default


@pytest.mark.parametrize(("v6", "told"), [(False, 1460), (True, 1460), (False, 300)])
def test_must_16_the_effective_size_is_the_least_of_all(v6: bool, told: int) -> None:
    script = Script(v6=v6, mtu=400).established(options=mss_option(told))
    script.give(bytes(1000))
    assert len(script.heard()[0].payload) == min(told, 400 - 20 - (40 if v6 else 20))


@pytest.mark.parametrize(
    ("v6", "mtu", "mss"), [(False, 68, 28), (False, 1500, 1460), (True, 1280, 1220), (True, 128, 68)]
)
def test_must_67_the_mss_told_is_what_can_be_received(v6: bool, mtu: int, mss: int) -> None:
    assert Script(v6=v6, mtu=mtu).connect().options == mss_option(mss)


def test_must_64_options_need_no_alignment() -> None:
    script = Script()
    script.connect()
    script.say(SYN | ACK, options=b"\x01" + mss_option(800) + b"\x01\x01\x00")
    assert script.tcb.peer_mss == 800


def test_must_65_mss_is_in_syns_only() -> None:
    for active in (True, False):
        script = Script().established(active=active)
        script.give(b"x")
        script.say(ACK | FIN)
        script.tcp.close(script.tcb, script.now)
        script.wait(200)
        for packet in script.packets:
            segment = script.segment(packet)
            assert segment is not None
            assert bool(segment.options) is bool(segment.flags & SYN)


def test_must_68_options_we_send_have_their_length() -> None:
    assert Script().connect().options[:2] == b"\x02\x04"


def test_must_69_padding_is_zero_and_the_header_ends_on_a_word() -> None:
    with pytest.raises(ValueError, match="multiple of 4"):
        build_segment(bytes(4), bytes(4), Segment(1, 2, 0, 0, ACK, 0, options=b"\x01"))
    script = Script()
    script.connect()
    tcp = parse_ipv4(script.packets[0]).payload
    assert (tcp[12], len(tcp)) == (6 << 4, 24)  # no padding is needed, the reserved bits are zero


# -- windows -------------------------------------------------------------------------------------------------------------


def test_must_34_a_window_that_shrinks_over_what_is_under_way() -> None:
    script = Script(initial_segments=4).established(window=2000)
    script.give(bytes(range(256)) * 8)
    assert sum(len(each.payload) for each in script.heard()) == 2000 - 2000 % 536
    script.say(ACK, ack=seq_add(script.iss, 1), window=100)
    script.wait(1.5)
    assert [len(each.payload) for each in script.heard()] == [100]  # SHLD-16: what is still within is sent again
    script.say(ACK, ack=seq_add(script.iss, 101), window=0)
    script.wait(300)
    assert script.user.reason is Reason.TIMED_OUT  # nobody answers the probes
    script = Script(initial_segments=4).established(window=2000)
    script.give(bytes(2048))
    script.heard()
    for _ in range(300):
        script.say(ACK, ack=seq_add(script.iss, 1), window=0)
        script.wait(1)
    assert (script.user.reason, script.tcb.state) == (None, State.ESTABLISHED)  # SHLD-17
    assert {len(each.payload) for each in script.heard()} == {1}
    script.say(ACK, ack=seq_add(script.iss, 1), window=4000)
    script.wait(0.1)
    assert len(script.heard()[0].payload) == 536


def test_must_35_a_closed_window_is_probed() -> None:
    script = Script().established(window=0)
    script.give(b"abcdef")
    assert script.heard() == []
    script.wait(1.1)
    probe = script.only()
    assert (probe.payload, probe.seq) == (b"a", seq_add(script.iss, 1))
    script.say(ACK, ack=seq_add(script.iss, 2), window=100)  # it took the byte
    assert script.only().payload == b"bcdef"


def test_must_36_the_window_stays_closed_and_is_probed_again_and_again_more_and_more_rarely() -> None:
    script = Script().established(window=0)
    script.give(b"abcdef")
    for _ in range(1000):
        script.wait(1)
        if script.heard():
            script.say(ACK, ack=seq_add(script.iss, 1), window=0)
    times = [time for time, packet in zip(script.times, script.packets, strict=True) if script.segment(packet).payload]
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert all(b >= a for a, b in itertools.pairwise(gaps))  # SHLD-30
    assert (gaps[0] < 5 * HZ, gaps[-1]) == (True, 60 * HZ)


def test_must_37_a_connection_lives_while_its_peer_answers_probes() -> None:
    script = Script().established(window=0)
    script.give(b"abcdef")
    for _ in range(3600):
        script.wait(1)
        if script.heard():
            script.say(ACK, ack=seq_add(script.iss, 1), window=0)
    assert (script.user.reason, script.tcb.state) == (None, State.ESTABLISHED)
    script.wait(400)  # and not when it does not
    assert script.user.reason is Reason.TIMED_OUT


def test_must_66_acknowledgements_resets_and_urgent_pointers_pass_a_closed_window() -> None:
    def full() -> Script:
        script = Script(receive_buffer=100)
        script.user.reads = False
        script.established()
        script.say(ACK, payload=bytes(100))
        script.wait(1)
        assert script.heard()[-1].window == 0
        return script

    script = full()
    script.give(b"x")
    script.say(ACK | URG, payload=b"more", seq=script.seq, urgent=4)
    assert (script.tcb.snd_una == script.tcb.snd_max, script.tcb.urgent_left, script.tcb.readable) == (True, 104, 100)
    script = full()
    script.say(RST)
    assert script.user.reason is Reason.RESET


def test_must_38_the_sender_avoids_silly_windows() -> None:
    script = Script().established(window=1000)
    script.give(bytes(5000))
    script.heard()
    for _ in range(20):  # the peer opens the window by driblets
        script.say(ACK, window=10)
        assert script.heard() == []
    script.say(ACK, window=600)
    assert [len(each.payload) for each in script.heard()] == [536]


def test_must_39_the_receiver_avoids_silly_windows() -> None:
    script = Script(receive_buffer=2000)
    script.user.reads = False
    script.established()
    script.say(ACK, payload=bytes(1000))
    script.say(ACK, payload=bytes(1000))
    script.wait(1)
    assert script.heard()[-1].window == 0
    for _ in range(99):
        script.user.read(10)
    assert script.heard() == []  # 990 bytes are not worth a segment
    script.user.read(10)
    assert script.only().window == 1000


# -- urgent data ---------------------------------------------------------------------------------------------------------


def test_must_30_urgent_data_is_supported_both_ways() -> None:
    script = Script().established()
    script.give(b"help", urgent=True)
    sent = script.only()
    assert (sent.flags & URG, sent.urgent, sent.payload) == (URG, 4, b"help")
    script.say(ACK | URG, payload=b"help", urgent=4)
    assert bytes(script.user.got) == b"help"  # in line with the other data


def test_must_31_urgent_data_of_any_length() -> None:
    script = Script(send_buffer=200_000, initial_segments=200).established(window=0xFFFF)
    script.give(bytes(100_000), urgent=True)
    end = seq_add(script.tcb.snd_una, 100_000)
    heard = script.heard()
    assert [each.urgent for each in heard[:3]] == [0xFFFF] * 3  # as far as the field can say
    assert heard[-1].urgent == min(0xFFFF, end - heard[-1].seq & 0xFFFF_FFFF)
    script.tcb.on_urgent = lambda _connection: None
    for size in (1, 60_000):
        script.say(ACK | URG, payload=b"u", urgent=size)
        assert script.tcb.urgent_left == size - 1


def test_must_32_the_user_is_told_at_once() -> None:
    script = Script().established()
    told: list[int] = []
    script.tcb.on_urgent = lambda connection: told.append(connection.urgent_left)
    script.user.reads = False
    script.say(ACK, payload=b"plain")
    script.say(ACK | URG, urgent=20)
    assert told == [25]  # before any of it has come
    script.say(ACK | URG, payload=b"x" * 10, urgent=20)
    assert told == [25]  # the same pointer is not told twice
    script.say(ACK | URG, payload=b"x" * 10, urgent=30)
    assert told == [25, 45]


def test_must_33_the_user_can_learn_how_much_is_urgent() -> None:
    script = Script().established()
    script.user.reads = False
    script.say(ACK | URG, payload=b"urgent", urgent=6)
    assert script.tcb.urgent_left == 6
    script.user.read(4)
    assert script.tcb.urgent_left == 2
    script.user.read(4)
    assert (script.tcb.urgent_left, script.tcb.urgent_until) == (0, None)


def test_must_62_the_pointer_names_the_byte_after_the_urgent_ones() -> None:
    script = Script().established()
    script.give(b"abc", urgent=True)
    sent = script.only()
    assert seq_add(sent.seq, sent.urgent) == seq_add(script.iss, 1 + 3)


# -- PUSH, and what lies below ---------------------------------------------------------------------------------------------


def test_must_60_nothing_waits_for_ever_for_a_push() -> None:
    script = Script(initial_segments=1).established()
    script.give(bytes(600))
    script.say(ACK)
    script.give(b"x")
    script.say(ACK)
    script.wait(10)
    assert script.tcb.unsent == 0


def test_must_61_the_last_segment_of_what_waits_has_psh() -> None:
    script = Script(initial_segments=4).established()
    script.give(bytes(1100))
    assert [bool(each.flags & PSH) for each in script.heard()] == [False, False]
    script.say(ACK)
    assert script.only().flags & PSH


def test_must_48_the_diffserv_field_is_the_users() -> None:
    for v6 in (False, True):
        script = Script(v6=v6, traffic_class=0xB8).established()
        script.give(b"x")
        assert {int.from_bytes(each[:2], "big") >> 4 & 0xFF if v6 else each[1] for each in script.packets} == {0xB8}


@pytest.mark.parametrize("v6", [False, True])
def test_must_49_the_hop_limit_can_be_set(v6: bool) -> None:
    script = Script(v6=v6, hop_limit=7).established()
    script.give(b"x")
    assert {each[7] if v6 else each[8] for each in script.packets} == {7}
    assert {each[7] if v6 else each[8] for each in Script(v6=v6).established().packets} == {64}


def test_must_50_ip_options_are_none_of_tcps_business() -> None:
    script = Script().established()
    segment = Segment(script.peer_port, script.port, script.seq, script.tcb.snd_nxt, ACK | PSH, 8192, b"hello")
    script.raw(build_segment(script.them, script.us, segment), options=b"\x07\x07\x08\x00\x00\x00\x00\x00")
    assert bytes(script.user.got) == b"hello"


def test_reserved_bits_are_ignored() -> None:
    data = bytearray(build_segment(bytes(4), bytes(4), Segment(1, 2, 3, 4, ACK, 5, b"x")))
    data[12] |= 0x0F
    with pytest.raises(PacketError, match="checksum"):
        parse_segment(bytes(4), bytes(4), bytes(data))
    data[16:18] = (int.from_bytes(data[16:18], "big") - 0x0F00).to_bytes(2, "big")
    assert parse_segment(bytes(4), bytes(4), bytes(data)).payload == b"x"


def test_settings_are_the_rfcs() -> None:
    usual = TcpSettings.usual(HZ)
    assert (usual.r1, usual.r2 >= 100 * HZ, usual.r2_syn >= 180 * HZ, usual.msl, usual.keep_alive) == (
        3,
        True,
        True,
        120 * HZ,
        0,
    )
