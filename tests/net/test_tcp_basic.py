"""Two ends of our own TCP: open, bytes both ways, close, over both versions of IP; whatever is lost, doubled or late."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.net.connection import Reason, State, TcpSettings
from tests.net.tcp_pair import HZ, Pair


@pytest.mark.parametrize("v6", [False, True])
@pytest.mark.parametrize("mtu", [68, 128, 576, 1280, 1500])
def test_bytes_both_ways_and_an_orderly_end(mtu: int, v6: bool) -> None:
    pair = Pair(mtu, v6=v6)
    there, back = random.Random(1).randbytes(20_000), random.Random(2).randbytes(9_999)
    pair.client.todo += there
    pair.server.todo += back
    pair.client.finish = True
    connection = pair.connect()
    pair.run(60, lambda: pair.client.reason is not None and pair.server.reason is not None)
    assert (bytes(pair.server.got), bytes(pair.client.got)) == (there, back)
    assert (pair.client.reason, pair.server.reason) == (Reason.FINISHED, Reason.FINISHED)
    assert connection.state is State.TIME_WAIT
    assert connection.counts.retransmissions == 0
    assert max(len(data) for _, _, data in pair.seen) <= mtu
    pair.run(300)
    assert (pair.ta.connections, pair.tb.connections, pair.ta.due, pair.tb.due) == ({}, {}, None, None)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    loss=st.sampled_from([0.0, 0.02, 0.1, 0.2]),
    double=st.sampled_from([0.0, 0.1]),
    late=st.sampled_from([0, HZ // 50, HZ]),
    mtu=st.sampled_from([68, 128, 576]),
    v6=st.booleans(),
)
def test_exactly_the_bytes_whatever_the_link_does(
    seed: int, loss: float, double: float, late: int, mtu: int, v6: bool
) -> None:
    chance = random.Random(seed)

    def fate(_number: int, _data: bytes) -> list[int]:
        copies = 0 if chance.random() < loss else 2 if chance.random() < double else 1
        return [chance.randrange(late + 1) if chance.random() < 0.2 else 0 for _ in range(copies)]

    pair = Pair(mtu, v6=v6, fate=fate, settings=replace(TcpSettings.usual(HZ), r2=2_000 * HZ, r2_syn=2_000 * HZ))
    there, back = chance.randbytes(5_000), chance.randbytes(3_000)
    pair.client.todo += there
    pair.server.todo += back
    pair.client.finish = True
    pair.connect()
    pair.run(5_000, lambda: pair.client.reason is not None and pair.server.reason is not None)
    assert (bytes(pair.server.got), bytes(pair.client.got)) == (there, back)
    assert pair.client.reason is Reason.FINISHED


def test_nobody_listens() -> None:
    pair = Pair()
    pair.tb.unlisten(pair.tb.listeners[0], 0)
    pair.connect()
    pair.run(1)
    assert (pair.client.reason, pair.ta.connections) == (Reason.REFUSED, {})


def test_a_peer_that_vanishes_is_given_up_in_time() -> None:
    pair = Pair()
    pair.connect()
    pair.run(1)
    pair.fate = lambda _number, _data: []
    pair.client.write(b"hello?")
    pair.run(99)
    assert pair.client.reason is None
    pair.run(100)
    assert pair.client.reason is Reason.TIMED_OUT


def test_a_closed_window_is_probed_until_it_opens() -> None:
    pair = Pair()
    pair.server.reads = False
    pair.client.todo += bytes(30_000)
    connection = pair.connect()
    pair.run(600)
    assert (pair.client.reason, connection.snd_wnd, connection.counts.probes > 5) == (None, 0, True)
    pair.server.reads = True
    pair.server.read()
    pair.run(60)
    assert len(pair.server.got) == 30_000
