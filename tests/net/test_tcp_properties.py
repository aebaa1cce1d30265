"""Properties of two ends of ours: exactly the bytes, whatever link, windows and readers do; and nothing sent twice for no reason."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.net.connection import Connection, Reason, State, TcpSettings
from bench.net.protocols import Proto
from bench.net.segment import Segment, build_segment, seq_add
from tests.net.tcp_pair import A4, A6, B4, B6, HZ, Pair
from tests.net.tcp_script import ACK, FIN, PSH, SYN, Script

PATIENT = replace(TcpSettings.usual(HZ), r2=5_000 * HZ, r2_syn=5_000 * HZ)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), loss=st.sampled_from([0.0, 0.05, 0.2]), capacity=st.sampled_from([64, 600, 8192]))
def test_readers_that_take_what_they_like_when_they_like(seed: int, loss: float, capacity: int) -> None:
    chance = random.Random(seed)

    def fate(_number: int, _data: bytes) -> list[int]:
        return [] if chance.random() < loss else [chance.randrange(HZ // 20)]

    pair = Pair(576, fate=fate, settings=replace(PATIENT, receive_buffer=capacity))
    data = chance.randbytes(4000)
    pair.server.reads = False
    pair.client.todo += data
    pair.client.finish = True
    pair.connect()
    for _ in range(20_000):
        pair.run(chance.random() / 2)
        server = pair.server.connection
        if server is not None:
            pair.server.read(chance.randrange(1, 300))
            assert server.readable + server._in.beyond <= capacity
            if server.peer_ended and not server.readable:
                break
    assert bytes(pair.server.got) == data


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), v6=st.booleans())
def test_a_peer_that_takes_its_window_back(seed: int, v6: bool) -> None:
    """A scripted receiver drops, delays and shrinks its window at random, and takes only what lies in it: every byte arrives all the same."""
    chance = random.Random(seed)
    script = Script(v6=v6, settings=replace(PATIENT, send_buffer=1 << 16), initial_segments=4).established(window=3000)
    data = chance.randbytes(15_000)
    assert script.give(data) == len(data)
    got, window, begin = bytearray(), 3000, seq_add(script.iss, 1)
    for _ in range(3_000):
        for each in script.heard():
            at = each.seq - seq_add(begin, len(got)) & 0xFFFF_FFFF
            at = at - (1 << 32) if at >= 1 << 31 else at
            if chance.random() < 0.1 or not each.payload:
                continue
            if at <= 0 < at + len(each.payload):
                got += each.payload[-at:][:window]
            window = chance.choice((0, 1, 100, 535, 536, 3000, window))
            script.say(ACK, ack=seq_add(begin, len(got)), window=window)
        if len(got) == len(data):
            break
        script.wait(chance.choice((0.01, 0.3, 3)))
        if chance.random() < 0.3:
            window = chance.choice((0, 700, 3000))
            script.say(ACK, ack=seq_add(begin, len(got)), window=window)
    assert bytes(got) == data
    assert script.tcb.state is State.ESTABLISHED


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_segments_in_any_order_and_overlap_give_the_stream_once(data: st.DataObject) -> None:
    stream = bytes(range(256)) * 2
    script = Script().established()
    begin = script.seq
    pieces = data.draw(st.lists(st.tuples(st.integers(0, 511), st.integers(1, 200)), max_size=30))
    for at, size in [*pieces, *((at, 64) for at in range(0, 512, 64))]:
        payload = stream[at : at + size]
        flags = ACK | (FIN if at + size >= len(stream) and data.draw(st.booleans()) else 0)
        script.say(flags, seq=seq_add(begin, at), payload=payload, ack=script.tcb.snd_max)
    script.say(ACK | FIN, seq=seq_add(begin, len(stream)))
    assert bytes(script.user.got) == stream
    assert (script.tcb.state, script.tcb._in.beyond) == (State.CLOSE_WAIT, 0)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_the_fast_path_does_what_the_strict_one_does(data: st.DataObject) -> None:
    """The same segments into two nodes, one of which knows no flows: the same packets out, the same state."""
    sides = [Script(), Script()]
    for each in sides:
        each.established()
    sides[1].node.flows = _Nothing()
    for _ in range(data.draw(st.integers(1, 12))):
        action = data.draw(st.sampled_from(["data", "ack", "give", "wait", "odd"]))
        size = data.draw(st.integers(0, 700))
        window = data.draw(st.sampled_from([0, 1, 600, 8192]))
        wrong = data.draw(st.integers(-3, 3))
        for each in sides:
            if action == "data":
                each.say(ACK | PSH, payload=bytes(size), window=window)
            elif action == "ack":
                each.say(ACK, ack=seq_add(each.tcb.snd_una, size), window=window)
            elif action == "give":
                each.give(bytes(size))
            elif action == "wait":
                each.wait(size / 100)
            else:
                each.say(ACK, seq=seq_add(each.seq, wrong), payload=bytes(size))
    fast, strict = sides
    assert fast.packets == strict.packets
    assert fast.user.got == strict.user.got
    assert _state(fast.tcb) == _state(strict.tcb)
    assert fast.node.events == strict.node.events


class _Nothing(dict):  # type: ignore[type-arg]
    """Flows are put in and never found."""

    def __bool__(self) -> bool:
        return False


def _state(connection: Connection) -> list[object]:
    return [getattr(connection, name) for name in Connection.__slots__ if name.islower() and _plain(connection, name)]


def _plain(connection: Connection, name: str) -> bool:
    return isinstance(getattr(connection, name), int | bytes | bytearray | tuple | None | State)


@pytest.mark.parametrize("v6", [False, True])
@pytest.mark.parametrize("size", [1, 5, 536, 537, 1220])
def test_odd_and_even_payloads_take_the_fast_path(v6: bool, size: int) -> None:
    """And a damaged packet does not, wherever it is damaged: it is counted as malformed, or told apart by its addresses."""
    script = Script(v6=v6).established()
    script.say(ACK, payload=b"x")  # now the flow is known
    us, them = (A6, B6) if v6 else (A4, B4)
    strict = script.node.handlers.pop(Proto.TCP)
    before = len(script.user.got)
    script.say(ACK, payload=bytes(size))
    assert len(script.user.got) == before + size
    script.node.handlers[Proto.TCP] = strict
    begin = script.seq
    segment = Segment(script.peer_port, script.port, begin, script.tcb.snd_max, ACK, 8192, bytes(size))
    body = build_segment(them, us, segment)
    for at in range(0, len(body), 7):
        damaged = bytearray(body)
        damaged[at] ^= 0x04
        script.raw(bytes(damaged))
    assert len(script.user.got) == before + size


# -- slow lines ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hops", [1, 4, 16])
@pytest.mark.parametrize("mtu", [128, 576, 1280])
@pytest.mark.parametrize("baud", [9_600, 115_200, 625_000])
def test_nothing_is_sent_twice_on_a_slow_line(baud: int, mtu: int, hops: int) -> None:
    """Half-duplex hops of 12 etu a byte that store and forward; the RTO has the floor that such a path needs: two frames and one back, on each."""
    byte = 12 * HZ // baud
    free = [0] * hops
    pair: Pair

    def fate(_number: int, data: bytes) -> list[int]:
        at = pair.now
        inward = data[12:16] == A4
        for hop in range(hops) if inward else reversed(range(hops)):
            at = max(at, free[hop]) + len(data) * byte
            free[hop] = at
        return [at - pair.now]

    floor = max(HZ, hops * (2 * mtu + 40) * byte + HZ // 2)
    own = replace(
        TcpSettings.usual(HZ), rto_floor=floor, rto_initial=floor, receive_buffer=4 * mtu, send_buffer=4 * mtu
    )
    pair = Pair(mtu, delay=HZ // 1000, fate=fate, settings=own)
    size = 12 * mtu
    pair.client.todo += bytes(size)
    pair.client.finish = True
    connection = pair.connect()
    pair.run(20_000, lambda: pair.client.reason is not None)
    assert (len(pair.server.got), pair.client.reason) == (size, Reason.FINISHED)
    server = pair.server.connection
    assert server is not None
    assert (connection.counts.retransmissions, server.counts.retransmissions, server.counts.duplicates_in) == (0, 0, 0)
    assert sum(1 for _, _, data in pair.seen if data[33] & SYN) == 2
