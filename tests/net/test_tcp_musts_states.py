"""RFC 9293's MUSTs about opening, closing, addresses, resets and ICMP. The number in a test's name is the RFC's."""

import hashlib
import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest

from bench.net.connection import Connection, Endpoints, Reason, State, TcpSettings
from bench.net.icmp import Icmp4, Icmp6
from bench.net.node import Event
from bench.net.protocols import address
from bench.net.segment import Segment, build_segment, mss_option, seq_add, seq_diff
from bench.net.tcp import TcpError
from tests.net.tcp_pair import A4, A6, B4, B6, Pair, User
from tests.net.tcp_script import ACK, FIN, HZ, ISS, PEER, PORT, RST, SYN, URG, Script, flags_of


def test_must_8_the_isn_follows_a_clock_of_four_microseconds() -> None:
    numbers = []
    for seconds in (0, 1, 2):
        script = Script()
        script.wait(seconds)
        numbers.append(script.connect().seq)
    assert [seq_diff(b, a) for a, b in itertools.pairwise(numbers)] == [250_000, 250_000]


def test_must_9_nobody_outside_can_compute_it() -> None:
    """It depends on a secret and on the connection (RFC 6528)."""
    numbers = set()
    for secret in (b"one", b"two"):
        for port in (1, 2):
            pair = Pair()
            pair.ta._secret = secret
            numbers.add(pair.ta.connect(B4, port, User(pair.ta, pair), 0, local_port=9).iss)
    assert len(numbers) == 4
    assert hashlib.blake2s(b"", key=b"s").digest_size == 32


def test_must_10_both_open_at_once() -> None:
    script = Script()
    syn = script.connect()
    script.say(SYN, options=mss_option(1000))
    assert [(each.flags, each.seq, each.ack) for each in script.heard()] == [(SYN | ACK, syn.seq, seq_add(ISS, 1))]
    assert script.tcb.state is State.SYN_RECEIVED
    script.say(SYN | ACK, seq=ISS)  # the peer's SYN again, now acknowledging ours
    assert (script.tcb.state, flags_of(script.heard())) == (State.ESTABLISHED, [ACK])
    script.say(ACK, payload=b"hello")
    assert (bytes(script.user.got), script.tcb.peer_mss) == (b"hello", 1000)


@pytest.mark.parametrize("delay", [HZ // 100, HZ])
def test_must_10_two_ends_of_ours_open_at_once(delay: int) -> None:
    pair = Pair(delay=delay)
    pair.tb.unlisten(pair.tb.listeners[0], 0)
    pair.client.todo += b"there"
    pair.server.todo += b"back"
    one = pair.ta.connect(B4, 7, pair.client, 0, local_port=6)
    two = pair.tb.connect(A4, 6, pair.server, 0, local_port=7)
    pair.run(10)
    assert (bytes(pair.server.got), bytes(pair.client.got)) == (b"there", b"back")
    assert (one.state, two.state) == (State.ESTABLISHED, State.ESTABLISHED)


def test_must_11_syn_received_remembers_where_it_came_from() -> None:
    """A passive open goes back to LISTEN when it is reset; an active one is refused."""
    script = Script()
    script.listen()
    script.say(SYN)
    (half_open,) = script.tcp.connections.values()
    assert half_open.state is State.SYN_RECEIVED
    script.say(RST)
    assert (script.tcp.connections, script.user.reason) == ({}, None)
    script.heard()
    script.seq = 1000
    script.say(SYN)
    assert flags_of(script.heard()) == [SYN | ACK]  # still listening
    script = Script()
    script.connect()
    script.say(SYN)
    script.say(RST)
    assert script.user.reason is Reason.REFUSED


def test_must_12_the_user_is_told_of_an_abort() -> None:
    script = Script().established()
    script.say(RST)
    assert (script.user.reason, script.tcp.connections) == (Reason.RESET, {})
    pair = Pair()
    pair.connect()
    pair.run(1)
    assert pair.server.connection is not None
    pair.tb.abort(pair.server.connection, pair.now)
    pair.run(1)
    assert (pair.client.reason, pair.server.reason) == (Reason.RESET, Reason.ABORTED)


def test_must_13_time_wait_lasts_two_maximum_segment_lifetimes() -> None:
    script = Script().established()
    script.tcp.close(script.tcb, script.now)
    script.say(ACK | FIN)
    assert (script.tcb.state, script.user.reason) == (State.TIME_WAIT, Reason.FINISHED)
    script.wait(239)
    assert script.tcb.state is State.TIME_WAIT
    script.heard()
    script.say(ACK | FIN, seq=script.seq - 1)  # it comes again: so do we, and the time begins anew
    assert flags_of(script.heard()) == [ACK]
    script.wait(239)
    assert script.tcp.connections
    script.wait(2)
    assert script.tcp.connections == {}


def test_must_41_a_passive_open_disturbs_nobody() -> None:
    script = Script().established(active=False)
    script.tcp.listen(81, lambda _connection: script.user)
    script.tcp.listen(PORT, lambda _connection: script.user, address=A6)
    script.say(ACK, payload=b"still here")
    assert (bytes(script.user.got), script.tcb.state) == (b"still here", State.ESTABLISHED)


def test_must_42_many_may_be_opened_on_one_port_at_once() -> None:
    pair = Pair()
    users = [User(pair.ta, pair) for _ in range(50)]
    servers: list[User] = []
    pair.tb.unlisten(pair.tb.listeners[0], 0)

    def serve(_connection: Connection) -> User:
        servers.append(User(pair.tb, pair))
        return servers[-1]

    pair.tb.listen(80, serve, backlog=50)
    for number, user in enumerate(users):
        user.todo += b"%d" % number
        user.finish = True
        pair.ta.connect(B4, 80, user, 0)
    pair.run(30)
    assert sorted(bytes(each.got) for each in servers) == sorted(b"%d" % number for number in range(50))


def test_must_43_the_user_may_name_the_local_address() -> None:
    script = Script()
    other = address("10.0.0.77")
    script.node.assign(0, other, 24)
    connection = script.tcp.connect(B4, 9, script.user, 1, local=other)
    assert (connection.ends.local, script.packets[-1][12:16]) == (other, other)
    for wrong in (B4, A6):
        with pytest.raises(TcpError, match="not an address of this node"):
            script.tcp.connect(B4, 9, script.user, 1, local=wrong)


@pytest.mark.parametrize(("remote", "local"), [(B4, A4), (B6, A6)])
def test_must_44_otherwise_ip_chooses_it(remote: bytes, local: bytes) -> None:
    assert Script().tcp.connect(remote, 9, User(Script().tcp, Script()), 1).ends.local == local


def test_must_45_every_segment_has_the_connections_address() -> None:
    script = Script()
    script.node.assign(0, address("10.0.0.77"), 24)
    script.us = address("10.0.0.77")
    script.established(active=False)
    script.give(b"x")
    script.wait(5)
    script.tcp.close(script.tcb, script.now)
    assert {each[12:16] for each in script.packets} == {address("10.0.0.77")}


@pytest.mark.parametrize("remote", ["224.0.0.1", "255.255.255.255", "0.0.0.0", "ff02::1", "::"])
def test_must_46_an_open_to_no_single_host_is_refused(remote: str) -> None:
    script = Script()
    with pytest.raises(TcpError, match="one host"):
        script.tcp.connect(address(remote), 80, script.user, 1)
    assert script.packets == []


def test_must_47_what_does_not_end_a_connection_is_told_all_the_same() -> None:
    script = Script().established()
    told: list[str] = []
    script.tcb.on_trouble = lambda _connection, trouble: told.append(trouble)
    script.give(b"x")
    script.error(Icmp4.UNREACHABLE, 1)
    assert told == ["ICMP type 3 code 1"]


def syn_from(source: bytes) -> bytes:
    return build_segment(source, A4 if len(source) == 4 else A6, Segment(PEER, PORT, 1, 0, SYN, 1000))


@pytest.mark.parametrize("to", ["224.0.0.1", "255.255.255.255", "ff02::1"])
def test_must_57_a_segment_to_a_group_is_dropped_in_silence(to: str) -> None:
    script = Script(v6=":" in to)
    script.listen()
    destination = address(to)
    script.raw(build_segment(script.them, destination, Segment(PEER, PORT, 1, 0, SYN, 1000)), destination=destination)
    assert (script.packets, script.tcp.connections) == ([], {})


@pytest.mark.parametrize("source", ["224.0.0.1", "255.255.255.255", "0.0.0.0", "127.0.0.1", "ff02::1", "::", "::1"])
def test_must_63_a_syn_from_no_single_host_is_dropped_in_silence(source: str) -> None:
    script = Script(v6=":" in source)
    script.node.interfaces[0].checks_sources = False
    script.listen()
    script.raw(syn_from(address(source)), source=address(source))
    assert (script.packets, script.tcp.connections) == ([], {})


@pytest.mark.parametrize("v6", [False, True])
def test_must_54_an_icmp_error_finds_its_connection(v6: bool) -> None:
    script = Script(v6=v6)
    script.connect()
    other = script.tcp.connect(script.them, 6000, User(script.tcp, script), script.now)
    script.error(Icmp6.UNREACHABLE if v6 else Icmp4.UNREACHABLE, 4 if v6 else 3, quoted=script.packets[0])
    assert (script.user.reason, script.tcb.state, other.state) == (Reason.UNREACHABLE, State.CLOSED, State.SYN_SENT)


def test_an_icmp_error_with_a_number_that_is_not_under_way_is_not_believed() -> None:
    """RFC 5927, 4.1."""
    script = Script()
    script.connect()
    forged = bytearray(script.packets[0])
    forged[24] ^= 0x40
    script.error(Icmp4.UNREACHABLE, 3, quoted=bytes(forged))
    assert script.tcb.state is State.SYN_SENT


def test_must_55_source_quench_is_dropped_in_silence() -> None:
    script = Script().established()
    script.give(b"x")
    before = (script.tcb.congestion.cwnd, len(script.packets))
    told: list[str] = []
    script.tcb.on_trouble = lambda _connection, trouble: told.append(trouble)
    script.error(Icmp4.SOURCE_QUENCH, 0)
    assert ((script.tcb.congestion.cwnd, len(script.packets)), told) == (before, [])


@pytest.mark.parametrize(
    ("v6", "kind", "code"),
    [
        *((False, Icmp4.UNREACHABLE, code) for code in (0, 1, 5)),
        (False, Icmp4.TIME_EXCEEDED, 0),
        (False, Icmp4.TIME_EXCEEDED, 1),
        (False, Icmp4.PARAMETER_PROBLEM, 0),
        (True, Icmp6.UNREACHABLE, 0),
        (True, Icmp6.UNREACHABLE, 3),
        (True, Icmp6.TIME_EXCEEDED, 0),
        (True, Icmp6.PARAMETER_PROBLEM, 0),
    ],
)
def test_must_56_a_soft_error_aborts_nothing(v6: bool, kind: int, code: int) -> None:
    script = Script(v6=v6)
    script.connect()
    script.error(kind, code)
    assert script.tcb.state is State.SYN_SENT
    script = Script(v6=v6).established()
    script.give(b"x")
    script.error(kind, code)
    assert script.tcb.state is State.ESTABLISHED


# -- the machine of 3.10, in every state -----------------------------------------------------------------------------------


def reach(state: State) -> Script:
    """A connection in any synchronized state, its script in step."""
    script = Script()
    if state is State.SYN_RECEIVED:
        script.listen()
        script.say(SYN)
        (script.connection,) = script.tcp.connections.values()
        script.heard()
        return script
    script.established()
    una = script.tcb.snd_una
    if state in (State.CLOSE_WAIT, State.LAST_ACK):
        script.say(ACK | FIN)
    if state not in (State.ESTABLISHED, State.CLOSE_WAIT):
        script.tcp.close(script.tcb, script.now)
    if state in (State.FIN_WAIT_2, State.TIME_WAIT):
        script.say(ACK)
    if state is State.CLOSING:
        script.say(ACK | FIN, ack=una)
    if state is State.TIME_WAIT:
        script.say(ACK | FIN)
    assert script.tcb.state is state
    script.heard()
    return script


SYNCHRONIZED = [
    State.SYN_RECEIVED,
    State.ESTABLISHED,
    State.FIN_WAIT_1,
    State.FIN_WAIT_2,
    State.CLOSE_WAIT,
    State.CLOSING,
    State.LAST_ACK,
    State.TIME_WAIT,
]


@pytest.mark.parametrize("state", SYNCHRONIZED)
def test_a_reset_counts_with_the_exact_number_only(state: State) -> None:
    """RFC 5961, 3.2, which RFC 9293, 3.10.7.4 has taken over."""
    script = reach(state)
    script.say(RST, seq=seq_add(script.seq, -1))
    script.say(RST, seq=seq_add(script.seq, 100_000))
    assert (script.heard(), script.tcb.state) == ([], state)
    script.say(RST, seq=seq_add(script.seq, 1))
    assert (flags_of(script.heard()), script.tcb.state) == ([ACK], state)
    script.say(RST)
    assert (script.heard(), script.tcb.state, script.tcp.connections) == ([], State.CLOSED, {})


@pytest.mark.parametrize("state", SYNCHRONIZED[1:])
def test_a_syn_within_the_window_is_answered_with_a_challenge(state: State) -> None:
    script = reach(state)
    script.say(SYN, seq=script.seq)
    if state is State.TIME_WAIT:
        assert [(each.flags, each.ack) for each in script.heard()] == [(ACK, script.seq)]
    else:
        assert flags_of(script.heard()) == [ACK]
    assert script.tcb.state is state


@pytest.mark.parametrize("state", SYNCHRONIZED)
def test_an_old_segment_is_acknowledged_and_otherwise_left(state: State) -> None:
    script = reach(state)
    script.say(ACK, seq=seq_add(script.seq, -5), payload=b"old")
    heard = script.heard()
    assert (flags_of(heard), script.tcb.state) == ([ACK], state)
    assert heard[0].ack == script.seq


@pytest.mark.parametrize("state", SYNCHRONIZED[1:-1])
def test_an_acknowledgement_of_what_was_never_sent_is_challenged(state: State) -> None:
    script = reach(state)
    script.say(ACK, ack=seq_add(script.tcb.snd_max, 1), seq=script.seq, payload=b"no")
    assert (flags_of(script.heard()), script.tcb.state, bytes(script.user.got)) == ([ACK], state, b"")


def test_a_wrong_acknowledgement_of_the_handshake_is_reset() -> None:
    script = Script()
    script.connect()
    script.say(SYN | ACK, ack=seq_add(script.iss, 2))
    sent = script.only()
    assert (sent.flags, sent.seq, script.tcb.state) == (RST, seq_add(script.iss, 2), State.SYN_SENT)
    script.say(RST | ACK, ack=seq_add(script.iss, 2))
    assert (script.heard(), script.tcb.state) == ([], State.SYN_SENT)
    script = reach(State.SYN_RECEIVED)
    script.say(ACK, ack=seq_add(script.tcb.iss, 5))
    assert (flags_of(script.heard()), script.tcb.state) == ([RST], State.SYN_RECEIVED)


@pytest.mark.parametrize(
    ("flags", "answer"),
    [
        (SYN, (RST | ACK, 0, ISS + 1)),
        (ACK, (RST, 77, 0)),
        (FIN, (RST | ACK, 0, ISS + 1)),
        (SYN | ACK, (RST, 77, 0)),
        (RST, None),
        (RST | ACK, None),
        (URG, (RST | ACK, 0, ISS)),
    ],
)
def test_a_segment_for_nobody_is_reset_and_a_reset_never_is(flags: int, answer: tuple[int, int, int] | None) -> None:
    """3.10.7.1."""
    script = Script()
    script.say(flags, ack=77)
    found = [(each.flags, each.seq, each.ack) for each in script.heard()]
    assert found == ([] if answer is None else [answer])


@pytest.mark.parametrize(
    ("flags", "answer"), [(RST, []), (ACK, [RST]), (FIN, []), (SYN | RST, []), (SYN | ACK, [RST]), (0, [])]
)
def test_a_listener_takes_nothing_but_syns(flags: int, answer: list[int]) -> None:
    """3.10.7.2."""
    script = Script()
    script.listen()
    script.say(flags, ack=77)
    assert (flags_of(script.heard()), script.tcp.connections) == (answer, {})


def test_a_fin_that_was_acknowledged_never_goes_out_again() -> None:
    script = reach(State.FIN_WAIT_2)
    script.say(ACK, payload=b"more")
    script.say(ACK, payload=b"and more")
    script.wait(100)
    assert {each.flags for each in script.heard()} == {ACK}


def test_half_close_lets_the_other_direction_go_on() -> None:
    script = Script().established()
    script.give(b"question")
    script.tcp.close(script.tcb, script.now)
    script.say(ACK)
    assert script.tcb.state is State.FIN_WAIT_2
    for number in range(20):
        script.wait(30)
        script.say(ACK, payload=b"%02d" % number)
    script.say(ACK | FIN)
    assert bytes(script.user.got) == b"".join(b"%02d" % number for number in range(20))
    assert script.tcb.state is State.TIME_WAIT


def test_both_close_at_once() -> None:
    pair = Pair()
    connection = pair.connect()
    pair.run(1)
    server = pair.server.connection
    assert server is not None
    pair.ta.close(connection, pair.now)
    pair.tb.close(server, pair.now)
    pair.run(1)
    assert (connection.state, server.state) == (State.TIME_WAIT, State.TIME_WAIT)
    assert (pair.client.reason, pair.server.reason) == (Reason.FINISHED, Reason.FINISHED)


def test_a_fin_beyond_a_gap_counts_once_the_gap_is_filled() -> None:
    script = Script().established()
    begin = script.seq
    script.say(ACK | FIN, seq=seq_add(begin, 5), payload=b"56789")
    assert (script.tcb.state, script.tcb.peer_ended) == (State.ESTABLISHED, False)
    script.say(ACK, seq=begin, payload=b"01234")
    assert (bytes(script.user.got), script.tcb.state, script.tcb.rcv_nxt) == (
        b"0123456789",
        State.CLOSE_WAIT,
        seq_add(begin, 11),
    )


def test_data_and_fin_are_told_before_the_end() -> None:
    """Whoever uses a connection reads its last bytes before it hears that all is over."""
    script = Script().established()
    script.tcp.close(script.tcb, script.now)
    order: list[str] = []
    received, closed = script.user.received, script.user.closed
    script.user.received = lambda connection: (order.append("received"), received(connection))[1]  # type: ignore[method-assign]
    script.user.closed = lambda connection, reason: (order.append("closed"), closed(connection, reason))[1]  # type: ignore[method-assign]
    script.say(ACK | FIN, payload=b"last words")
    assert (order, bytes(script.user.got)) == (["received", "closed"], b"last words")


def test_a_close_with_data_unread_is_a_reset() -> None:
    """SHLD-3."""
    script = Script().established()
    script.user.reads = False
    script.say(ACK, payload=b"never read")
    script.heard()
    script.tcp.close(script.tcb, script.now, deaf=True)
    assert (flags_of(script.heard()), script.user.reason) == ([RST | ACK], Reason.ABORTED)


def test_data_for_the_deaf_is_answered_with_a_reset() -> None:
    script = Script().established()
    script.tcp.close(script.tcb, script.now, deaf=True)
    script.heard()
    script.say(ACK, payload=b"hello?")
    assert (flags_of(script.heard()), script.tcb.state) == ([RST | ACK], State.CLOSED)


def test_the_deaf_wait_for_the_peers_fin_only_so_long() -> None:
    script = Script().established()
    script.tcp.close(script.tcb, script.now, deaf=True)
    script.say(ACK)
    script.wait(59)
    assert script.tcp.connections
    script.wait(2)
    assert script.tcp.connections == {}


def test_a_new_syn_ends_time_wait() -> None:
    """MAY-2."""
    script = Script().established(active=False)
    script.tcp.close(script.tcb, script.now)
    script.say(ACK | FIN)
    assert script.tcb.state is State.TIME_WAIT
    script.heard()
    script.seq = seq_add(script.seq, 1000)
    script.say(SYN)
    assert flags_of(script.heard()) == [SYN | ACK]
    script.connection = next(iter(script.tcp.connections.values()))
    assert script.tcb.state is State.SYN_RECEIVED


def test_challenges_are_rationed() -> None:
    """RFC 5961, 7."""
    script = Script().established()
    for _ in range(50):
        script.say(RST, seq=seq_add(script.seq, 9))
    assert len(script.heard()) == 10
    script.wait(1)
    script.say(RST, seq=seq_add(script.seq, 9))
    assert len(script.heard()) == 1


def test_syns_beyond_the_backlog_are_dropped_and_answered_when_they_come_again() -> None:
    script = Script()
    script.listener = script.tcp.listen(PORT, lambda _connection: script.user, backlog=2)
    for port in (1, 2, 3):
        script.peer_port = port
        script.seq = ISS
        script.say(SYN)
    assert (len(script.heard()), len(script.tcp.connections)) == (2, 2)
    script.peer_port, script.seq = 1, seq_add(ISS, 1)
    first = script.tcp.connections[Endpoints(A4, PORT, B4, 1)]
    script.say(ACK, ack=first.snd_max)
    script.peer_port, script.seq = 3, ISS
    script.say(SYN)
    assert len(script.heard()) == 1


def test_a_listener_with_an_address_goes_before_one_without() -> None:
    script = Script()
    chosen: list[str] = []

    def names(name: str) -> Callable[[Connection], User]:
        return lambda _connection: (chosen.append(name), User(script.tcp, script))[1]

    script.tcp.listen(PORT, names("any"))
    script.tcp.listen(PORT, names("mine"), address=A4)
    script.say(SYN)
    (script.connection,) = script.tcp.connections.values()
    script.say(ACK)
    assert chosen == ["mine"]


def test_connections_are_bounded() -> None:
    script = Script()
    script.tcp.limit = 3
    for port in (1, 2, 3):
        script.tcp.connect(B4, port, script.user, 1)
    with pytest.raises(TcpError, match="no memory"):
        script.tcp.connect(B4, 4, script.user, 1)
    script.listen()
    script.heard()
    script.say(SYN)
    assert script.heard() == []


def _waited_out(script: Script, peer_port: int) -> None:
    """The peer opens a connection, we end it, so that it is our end that waits out 2 MSL."""
    script.peer_port, script.seq = peer_port, ISS
    script.say(SYN)
    script.connection = script.tcp.connections[Endpoints(A4, PORT, B4, peer_port)]
    script.say(ACK)
    script.tcp.close(script.tcb, script.now)
    script.say(ACK | FIN)
    assert script.tcb.state is State.TIME_WAIT
    script.heard()


def test_at_the_limit_the_oldest_in_time_wait_makes_room() -> None:
    """RFC 9293, 3.6.1 wants 2 MSL of TIME-WAIT; a card of three connections is not closed to the world for so long."""
    script = Script()
    script.tcp.limit = 3
    script.listen()
    for port in (3, 1, 2):
        _waited_out(script, port)
        script.wait(1)
    for count, port in enumerate((7, 8), 1):
        script.peer_port, script.seq = port, ISS
        script.say(SYN)
        assert flags_of(script.heard()) == [SYN | ACK]
        assert (len(script.tcp.connections), script.tcp.recycled) == (3, count)
    assert sorted(ends.remote_port for ends in script.tcp.connections) == [2, 7, 8]
    script.port, script.peer_port = PORT, 2
    script.say(ACK | FIN, seq=seq_add(ISS, 1))  # the one that is left goes on waiting, and answers
    assert flags_of(script.heard()) == [ACK]
    script.tcp.connect(B4, 9, script.user, script.now)  # our own calls have its place, too
    script.heard()
    with pytest.raises(TcpError, match="no memory"):
        script.tcp.connect(B4, 10, script.user, script.now)
    script.peer_port, script.seq = 11, ISS
    script.say(SYN)
    assert script.heard() == []


def test_a_refused_syn_takes_nobody_s_place() -> None:
    script = Script()
    script.tcp.limit = 1
    script.listener = script.tcp.listen(PORT, lambda _connection: script.user, refuses=lambda: refusing)
    refusing = False
    _waited_out(script, 1)
    refusing = True
    script.peer_port, script.seq = 2, ISS
    script.say(SYN)
    assert flags_of(script.heard()) == [RST | ACK]
    assert [ends.remote_port for ends in script.tcp.connections] == [1]


def test_a_reset_connection_says_nothing_more() -> None:
    script = Script().established()
    script.give(bytes(100))
    script.say(RST)
    script.heard()
    script.wait(300)
    assert (script.heard(), script.tcp.due, script.node.events[Event.MALFORMED]) == ([], None, 0)


def test_a_handshake_that_nobody_completes_is_given_up() -> None:
    script = Script(settings=replace(TcpSettings.usual(HZ)))
    script.listen()
    script.say(SYN)
    script.wait(400)
    assert (script.tcp.connections, script.listener is not None and script.listener.half_open) == ({}, set())
