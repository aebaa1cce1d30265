"""docs/protocol.md, section 3, fairness: each channel has its turn on each hop (deficit round robin), control packets go first, all is bounded."""

from collections import Counter, deque
from collections.abc import Hashable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.hop.queue import BURST, URGENT, FairQueue, Queued
from bench.hop.segment import Kind

MTU = 64
SIZES = st.lists(st.integers(1, MTU), min_size=1, max_size=6)


def packet(flow: Hashable, data: bytes) -> Queued:
    return Queued(Kind.CHANNEL, data, flow)


def jain(shares: Sequence[float]) -> float:
    """Jain's fairness index: 1 where all are equal, 1/n where one has everything."""
    return sum(shares) ** 2 / (len(shares) * sum(share * share for share in shares))


@given(
    st.lists(
        st.tuples(st.sampled_from([URGENT, b"a", b"b", b"c"]), st.integers(1, MTU)) | st.just((b"pop", 0)), max_size=80
    )
)
def test_order_is_kept_in_each_flow_and_nothing_is_lost_or_doubled(steps: list[tuple[bytes | None, int]]) -> None:
    queue = FairQueue(MTU)
    waiting: dict[bytes | None, deque[Queued]] = {flow: deque() for flow in (URGENT, b"a", b"b", b"c")}
    for flow, size in steps:
        if flow == b"pop":
            got = queue.pop()
            if got is None:
                assert not any(waiting.values())
                continue
            assert isinstance(got.flow, bytes | None)
            if waiting[URGENT]:
                assert got.flow is URGENT
            assert got is waiting[got.flow].popleft()
        else:
            item = packet(flow, bytes(size))
            if queue.push(item):
                waiting[flow].append(item)
            else:
                assert len(waiting[flow]) == queue.flow_packets
        assert len(queue) == sum(map(len, waiting.values()))
        assert queue.bytes == sum(len(item.data) for flow_queue in waiting.values() for item in flow_queue)


@settings(max_examples=60)
@given(st.lists(SIZES, min_size=2, max_size=8))
def test_no_backlogged_flow_starves_or_runs_ahead_by_more_than_two_mtu(patterns: list[list[int]]) -> None:
    queue = FairQueue(MTU)
    sent: Counter[int] = Counter()
    at = [0] * len(patterns)

    def fill(flow: int) -> None:
        while queue.room(flow) > 0:
            size = patterns[flow][at[flow] % len(patterns[flow])]
            at[flow] += 1
            assert queue.push(packet(flow, bytes(size)))

    for flow in range(len(patterns)):
        fill(flow)
    for _ in range(60 * len(patterns)):
        got = queue.pop()
        assert got is not None
        assert isinstance(got.flow, int)
        sent[got.flow] += len(got.data)
        fill(got.flow)
        shares = [sent[flow] for flow in range(len(patterns))]
        assert max(shares) - min(shares) < 2 * MTU  # one quantum, and one packet that overdraws it


def test_equal_backlogged_flows_share_every_window_of_ten_messages_a_flow() -> None:
    queue = FairQueue(MTU)
    flows = 8
    order: list[int] = []
    for flow in range(flows):
        while queue.room(flow):
            queue.push(packet(flow, bytes(MTU)))
    for _ in range(2000):
        got = queue.pop()
        assert got is not None
        assert isinstance(got.flow, int)
        order.append(got.flow)
        queue.push(packet(got.flow, bytes(MTU)))
    window = 10 * flows
    worst = min(
        jain([Counter(order[start : start + window])[flow] for flow in range(flows)])
        for start in range(len(order) - window)
    )
    assert worst == 1.0


def test_a_weight_gives_its_flow_that_many_turns_of_bytes() -> None:
    queue = FairQueue(MTU)
    queue.weigh = lambda _kind, data: data[0]
    sent: Counter[Hashable] = Counter()
    for _ in range(400):
        for flow, weight in ((b"heavy", 3), (b"light", 1)):
            while queue.room(flow):
                queue.push(packet(flow, bytes([weight]) * MTU))
        got = queue.pop()
        assert got is not None
        sent[got.flow] += 1
    assert sent == {b"heavy": 300, b"light": 100}


def test_a_flow_that_was_idle_goes_next_and_gains_nothing_by_pausing() -> None:
    queue = FairQueue(MTU)
    for flow in range(4):
        for _ in range(4):
            queue.push(packet(flow, bytes(MTU)))
    for _ in range(4):  # each has had its first turn
        first = queue.pop()
        assert first is not None
        queue.push(packet(first.flow, bytes(MTU)))
    sent: Counter[Hashable] = Counter()
    gaps: list[int] = []
    since = 0
    for _ in range(400):
        if queue.room(b"shy") == queue.flow_packets:
            queue.push(packet(b"shy", bytes(MTU)))  # back again as soon as its last has gone
        got = queue.pop()
        assert got is not None
        sent[got.flow] += 1
        since += 1
        if got.flow == b"shy":
            gaps.append(since)
            since = 0
        else:
            queue.push(packet(got.flow, bytes(MTU)))
    assert gaps[0] == 1, "a short message overtakes bulk"
    assert sent[b"shy"] <= 400 / 5 + 2, "one that pauses after each message has no more than its share"
    assert max(gaps) <= 5


@pytest.mark.parametrize("size", [1, 16, 40, MTU])
def test_a_flow_that_pauses_after_each_message_takes_no_more_bytes_than_the_others(size: int) -> None:
    queue = FairQueue(MTU)
    for flow in range(4):
        for _ in range(4):
            queue.push(packet(flow, bytes(MTU)))
    sent: Counter[Hashable] = Counter()
    for _ in range(800):
        if queue.room(b"shy") == queue.flow_packets:
            queue.push(packet(b"shy", bytes(size)))
        got = queue.pop()
        assert got is not None
        sent[got.flow] += len(got.data)
        if got.flow != b"shy":
            queue.push(packet(got.flow, bytes(MTU)))
    saved = BURST * MTU if size <= MTU // 2 else 0
    assert sent[b"shy"] <= min(sent[flow] for flow in range(4)) + saved + 2 * MTU


def test_short_messages_with_pauses_overtake_bulk_until_savings_are_spent_and_again_when_they_are_earned() -> None:
    queue = FairQueue(MTU)
    flows = 31
    for flow in range(flows):
        for _ in range(4):
            queue.push(packet(flow, bytes(MTU)))
    waited: list[int] = []

    def say(size: int, between: int) -> None:
        """One short message, then so many of the others' at least."""
        queue.push(packet(b"shy", bytes(size)))
        since = 0
        said = False
        while not said or since < between:
            got = queue.pop()
            assert got is not None
            if got.flow == b"shy":
                said = True
                waited.append(since)
            else:
                since += 1
                queue.push(packet(got.flow, bytes(MTU)))

    for _ in range(BURST * MTU // 16):
        say(16, 1)
    assert max(waited) == 0, "a conversation of single words waits for nobody"
    waited.clear()
    for _ in range(20):
        say(16, 1)
    assert max(waited) > flows // 2, "its savings are spent: it has its share and no more"
    waited.clear()
    for _ in range(50):
        say(16, flows + 2)  # a word a round: less than its share, a quantum a round
    assert max(waited[5:]) == 0


def test_what_was_announced_and_not_given_can_be_overtaken() -> None:
    queue = FairQueue(MTU)
    for flow in (b"a", b"b"):
        for _ in range(3):
            queue.push(packet(flow, bytes(MTU)))
    first = queue.peek()
    queue.push(packet(b"shy", bytes(9)))
    queue.withdraw()
    got = queue.pop()
    assert got is not None
    assert got.flow == b"shy"
    assert queue.pop() is first


def test_bounds_hold_but_for_urgent_packets_and_callers_that_made_room_before() -> None:
    queue = FairQueue(MTU, flow_packets=2, total_bytes=5 * MTU)
    assert queue.push(packet(b"a", bytes(MTU)))
    assert queue.push(packet(b"a", bytes(MTU)))
    assert not queue.push(packet(b"a", bytes(MTU))), "packets of one flow"
    assert queue.push(packet(b"b", bytes(MTU)))
    assert queue.push(packet(b"b", bytes(MTU)))
    assert queue.push(packet(b"c", bytes(MTU)))
    assert not queue.push(packet(b"d", bytes(1))), "bytes in all"
    assert queue.push(packet(b"d", bytes(1)), force=True)
    assert queue.push(packet(URGENT, bytes(9)))
    assert queue.room(b"a") == 0
    assert queue.room(b"e") == 0, "bytes are short: it is told when there are some"


def test_where_bytes_are_short_flows_queue_one_packet_each_in_turn_and_leave_room_for_others() -> None:
    flows = 32
    queue = FairQueue(MTU, total_bytes=16 * MTU)
    order: list[int] = []

    def fill(flow: Hashable) -> None:
        while queue.room(flow) > 0:
            queue.push(packet(flow, bytes(MTU)))

    queue.on_taken = fill
    for flow in range(flows):
        fill(flow)
    for _ in range(40 * flows):
        assert queue.bytes <= 14 * MTU, "two packets' worth is left to those that pass through"
        got = queue.pop()
        assert got is not None
        assert isinstance(got.flow, int)
        order.append(got.flow)
    window = 10 * flows
    settled = order[4 * flows :]
    worst = min(
        jain([Counter(settled[start : start + window])[flow] for flow in range(flows)])
        for start in range(0, len(settled) - window, 7)
    )
    assert worst >= 0.98


def test_whoever_waits_for_room_is_told_when_a_packet_is_taken() -> None:
    queue = FairQueue(MTU)
    told: list[Hashable] = []
    queue.on_taken = told.append
    queue.push(packet(b"a", b"1"))
    queue.push(packet(URGENT, b"2"))
    assert queue.peek() is queue.pop()
    assert told == []  # nobody waits for room for control packets
    queue.pop()
    assert told == [b"a"]


def test_peek_holds_to_its_word() -> None:
    queue = FairQueue(MTU)
    queue.push(packet(b"a", b"1"))
    ahead = queue.peek()
    queue.push(packet(URGENT, b"2"))
    assert queue.pop() is ahead


def test_clear_leaves_nothing_behind() -> None:
    queue = FairQueue(MTU)
    for flow in (URGENT, b"a", b"b"):
        queue.push(packet(flow, b"x"))
    queue.peek()
    queue.clear()
    assert (len(queue), queue.bytes, queue.pop()) == (0, 0, None)


def test_refused_flows_get_their_turn_whoever_makes_their_names() -> None:
    """A stack that makes the name of a flow for each packet, and tries all that waits whoever is called, comes to an end."""
    queue = FairQueue(quantum=100, total_bytes=1000, flow_packets=4)
    wanted = dict.fromkeys(("one", "two", "three"), 6)

    def try_all(_flow: object) -> None:
        for name in wanted:
            flow = name.encode()  # equal to the one before, but not the same
            while wanted[name] and queue.room(flow):
                queue.push(Queued(Kind.IPV4, bytes(100), flow))
                wanted[name] -= 1

    queue.on_taken = try_all
    try_all(None)
    sent = 0
    while queue.pop() is not None:
        sent += 1
    assert (sent, wanted) == (18, dict.fromkeys(wanted, 0))
