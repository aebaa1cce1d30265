"""docs/protocol.md, section 3: states, credit, ends, and peers that do not keep the rules."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.channels.channel import Channel, State
from bench.channels.message import (
    Address,
    Cause,
    Message,
    MessageType,
    Open,
    Opened,
    Transport,
    decode_message,
    pack,
)
from bench.channels.table import NoChannelError
from tests.channels.wires import Line, Owner


def _types(line: Line) -> list[str]:
    return [message.type.name for message in line.sent]


def test_open_data_close() -> None:
    line = Line()
    channel, owner, other, theirs = line.joined()
    assert channel.send(b"hello")
    line.run()
    assert other.send(b"world")
    line.run()
    channel.close()
    line.run()
    assert _types(line) == ["OPEN", "OPENED", "DATA", "DATA", "CLOSE", "CLOSE"]
    assert owner.events == ["world"]
    assert theirs.events == ["hello", "closed NONE"]
    assert [len(table) for table in line.tables] == [0, 0]


def test_refused_with_a_cause_and_nothing_left() -> None:
    line = Line()
    line.refuse = Cause.SECURITY
    _, owner = line.open()
    line.run()
    assert owner.events == ["closed SECURITY"]
    assert _types(line) == ["OPEN", "REFUSED"]
    assert [len(table) for table in line.tables] == [0, 0]


def test_closed_before_the_answer_came() -> None:
    line = Line()
    channel, owner = line.open()
    channel.close()
    line.run()
    assert _types(line) == ["OPEN", "OPENED", "CLOSE", "CLOSE"]
    assert owner.events == []
    assert [len(table) for table in line.tables] == [0, 0]


def test_closed_before_the_refusal_came_sends_no_close_to_nobody() -> None:
    line = Line()
    line.refuse = Cause.SERVICE_UNKNOWN
    channel, _ = line.open()
    channel.close()
    line.run()
    assert _types(line) == ["OPEN", "REFUSED"]
    assert [len(table) for table in line.tables] == [0, 0]


def test_both_sides_close_at_once() -> None:
    line = Line()
    channel, owner, other, theirs = line.joined()
    channel.close()
    other.close(Cause.SERVICE_ERROR)
    line.run()
    assert _types(line).count("CLOSE") == 2, "each side sends CLOSE once"
    assert (owner.events, theirs.events) == ([], [])
    assert [len(table) for table in line.tables] == [0, 0]


def test_shut_ends_one_direction_after_the_data() -> None:
    line = Line()
    channel, owner, other, theirs = line.joined()
    channel.send(b"last")
    channel.finish()
    line.run()
    assert theirs.events == ["last", "shut"]
    other.send(b"still")
    line.run()
    assert owner.events == ["still"]
    with pytest.raises(RuntimeError):
        channel.send(b"more")


def test_close_with_cause_0_waits_for_what_is_queued_and_one_with_a_cause_does_not() -> None:
    for cause, expected in ((Cause.NONE, 8), (Cause.SERVICE_ERROR, 4)):
        line = Line(window=4)
        channel, _, _, theirs = line.joined()
        for index in range(8):
            channel.send(b"%d" % index)
        channel.close(cause)
        line.run()
        assert theirs.events[-1] == f"closed {cause.name}"
        assert theirs.events[:-1] == [str(index) for index in range(expected)]


def test_credit_no_more_than_the_window_is_ever_under_way() -> None:
    line = Line(window=4)
    channel, _, other, theirs = line.joined()
    theirs.reads = False
    for index in range(8):
        channel.send(b"%d" % index)
    line.run()
    assert len(other.inbox) == 4
    assert not channel.send(b"no room")
    other.take()
    line.run()
    assert len(other.inbox) == 3, "one of four taken: not yet half of the window"
    other.take()
    line.run()
    assert len(other.inbox) == 4, "two of four: returned, and used"
    assert [message.credit for message in line.sent if message.type is MessageType.CREDIT] == [2]


def test_credit_rides_on_what_leaves_anyway() -> None:
    line = Line(window=4)
    channel, _, other, _ = line.joined()
    for index in range(3):
        channel.send(b"%d" % index)
        line.run()
        other.send(b"%d" % index)
        line.run()
    assert "CREDIT" not in _types(line) or _types(line).count("CREDIT") <= 1
    assert sum(message.credit for message in line.sent if message.type is MessageType.DATA) > 0


@settings(max_examples=100)
@given(st.lists(st.tuples(st.sampled_from(["a", "b", "run", "read a", "read b"]), st.integers(0, 59)), max_size=60))
def test_whatever_the_order_every_message_arrives_once_in_order(steps: Sequence[tuple[str, int]]) -> None:
    line = Line(window=3)
    channel, owner, other, theirs = line.joined()
    owner.reads = theirs.reads = False
    ends = {"a": (channel, theirs, other), "b": (other, owner, channel)}
    sent: dict[str, list[str]] = {"a": [], "b": []}
    for index, (what, size) in enumerate(steps):
        if what == "run":
            line.run()
        elif what in ends:
            text = str(index).ljust(min(size, 59), "x")
            if ends[what][0].send(text.encode()):
                sent[what].append(text)
        else:
            _, reader, end = ends[what[-1]]
            if end.inbox:
                reader.events.append(end.take().decode())
        for end in (channel, other):
            assert len(end.inbox) <= 3
            assert 0 <= end.credit <= 3
    while True:
        line.run()
        got = False
        for _, reader, end in ends.values():
            while end.inbox:
                reader.events.append(end.take().decode())
                got = True
        if not got and not line.queue:
            break
    assert [event for event in theirs.events if event != "room"] == sent["a"]
    assert [event for event in owner.events if event != "room"] == sent["b"]
    assert [table.violations for table in line.tables] == [0, 0]


# -- numbers -----------------------------------------------------------------------------------------------------------------


def test_all_channels_in_use_is_an_error_here_and_cause_01_there() -> None:
    line = Line(limit=3)
    for _ in range(3):
        line.joined()
    with pytest.raises(NoChannelError, match="all 3 channels of node 1"):
        line.open()
    other = Line(limit=3)
    other.tables[1].limit = 5
    owners: list[Owner] = []
    for _ in range(4):
        owners.append(other.open()[1])
        other.run()
    assert [owner.events for owner in owners] == [["opened 80"]] * 3 + [["closed NO_CHANNEL"]]
    assert [len(table) for table in other.tables] == [3, 3]


def test_a_thousand_channels_leave_nothing() -> None:
    line = Line(limit=4)
    for index in range(1000):
        channel, _, other, _ = line.joined()
        channel.send(b"x")
        (channel if index % 2 else other).close()
        line.run()
    assert [len(table) for table in line.tables] == [0, 0]
    assert [len(table._flows) for table in line.tables] == [0, 0]


# -- peers that break the rules ----------------------------------------------------------------------------------------------


def test_data_without_credit_closes_the_channel_and_is_counted() -> None:
    line = Line(window=4)
    channel, owner, other, theirs = line.joined()
    theirs.reads = False
    for index in range(5):
        line.tell(pack(MessageType.DATA, 0, 1, other.number, 0, b"%d" % index))
    assert theirs.events == ["closed SERVICE_ERROR"]
    assert owner.events == ["closed SERVICE_ERROR"]
    assert line.tables[0].violations == 1
    assert [len(table) for table in line.tables] == [0, 0]
    assert channel.state is State.CLOSED


def test_credit_above_255_in_all_is_a_fault_of_the_peer() -> None:
    line = Line()
    _, _, other, theirs = line.joined()
    line.tell(pack(MessageType.CREDIT, 0, 1, other.number, 255))
    assert theirs.events == ["closed SERVICE_ERROR"]
    assert line.tables[0].violations == 1


def test_data_after_shut_and_data_on_a_servers_channel_are_faults() -> None:
    line = Line()
    _, _, other, theirs = line.joined()
    line.tell(pack(MessageType.SHUT, 0, 1, other.number, 0))
    line.tell(pack(MessageType.DATA, 0, 1, other.number, 0, b"x"))
    assert theirs.events == ["shut", "closed SERVICE_ERROR"]
    line = Line()
    line.open(Transport.TCP_SERVER)
    line.run()
    server = line.accepted[-1]
    line.tell(pack(MessageType.DATA, 0, 1, server.number, 0, b"x"))
    assert line.owners[-1].events == ["closed SERVICE_ERROR"]


@pytest.mark.parametrize("kind", [MessageType.DATA, MessageType.CREDIT, MessageType.SHUT, MessageType.OPENED])
def test_a_message_for_a_channel_that_is_not_open_is_answered_unreachable(kind: MessageType) -> None:
    line = Line()
    body = b"\x05\x00\x50\x00\x40" if kind is MessageType.OPENED else b"x" if kind is MessageType.DATA else b""
    packet = pack(kind, 0, 1, 7, 0, body)
    line.tables[0].receive(packet)
    assert [(message.type, message.destination, message.body) for message in line.sent] == [
        (MessageType.UNREACHABLE, 1, packet[:12])
    ]


@pytest.mark.parametrize("kind", [MessageType.CLOSE, MessageType.REFUSED])
def test_an_end_for_a_channel_that_is_not_open_is_not_answered(kind: MessageType) -> None:
    line = Line()
    line.tell(pack(kind, 0, 1, 7, 0, b"\x00"))
    line.tell(pack(MessageType.UNREACHABLE, 0, 1, 0, 0, pack(MessageType.DATA, 1, 0, 7, 0)))
    assert line.sent == []


def test_unreachable_ends_the_channel_it_names_with_cause_07_and_no_other() -> None:
    line = Line()
    _, owner, other, _ = line.joined()
    _, second, _, _ = line.joined()
    line.tell(pack(MessageType.UNREACHABLE, 1, 0, 0, 0, pack(MessageType.DATA, 0, 1, other.number, 0, b"x")[:12]))
    assert owner.events == ["closed NOT_REACHABLE"]
    assert second.events == []
    assert len(line.tables[1]) == 1


def test_a_message_from_another_node_than_the_channels_is_not_its() -> None:
    line = Line()
    _, _, other, theirs = line.joined()
    line.tables[0].receive(pack(MessageType.DATA, 0, 2, other.number, 0, b"forged"))
    assert theirs.events == []
    assert line.sent[-1].type is MessageType.UNREACHABLE
    assert line.sent[-1].destination == 2


@settings(max_examples=300)
@given(
    st.lists(
        st.builds(
            lambda kind, channel, credit, body: bytes((0x40 | kind, 0, 1, channel, credit)) + body,
            st.integers(0, 9),
            st.integers(0, 4),
            st.integers(0, 255),
            st.binary(max_size=20),
        )
        | st.binary(max_size=20).map(lambda data: data[:1] + b"\x00" + data[2:]),
        max_size=30,
    )
)
def test_a_hostile_node_harms_nobody_elses_channel(packets: list[bytes]) -> None:
    line = Line(limit=6)
    table = line.tables[0]
    for packet in packets:
        table.receive(packet)
        line.queue.clear()  # the hostile node answers nothing
        assert len(table) <= 6
        assert all(len(channel.inbox) <= line.window for channel in table.channels)
        for message in line.sent:
            assert decode_message(message.encode()) == message


def test_weight_is_asked_for_granted_and_borne_by_every_message() -> None:
    line = Line()
    owner = Owner()
    channel = line.tables[1].open(owner, 0, Transport.TCP_CLIENT_REMOTE, 80, Address.none(), 4, weight=4)
    line.run()
    assert channel.weight == line.accepted[0].weight == 4
    channel.send(b"a")
    line.accepted[0].send(b"b")
    channel.close()
    line.run()
    assert {message.weight for message in line.sent} == {4}
    assert [message.type for message in line.sent][:2] == [MessageType.OPEN, MessageType.OPENED]


def test_less_weight_may_be_granted_and_more_than_granted_is_a_fault() -> None:
    line = Line()
    grant = line.tables[0].on_open

    def less(channel: Channel, request: Open) -> None:
        channel.weight = min(channel.weight, 2)
        grant(channel, request)

    line.tables[0].on_open = less
    owner = Owner()
    channel = line.tables[1].open(owner, 0, Transport.TCP_CLIENT_REMOTE, 80, Address.none(), 4, weight=8)
    line.run()
    assert channel.weight == 2
    heavy = Message(MessageType.DATA, 0, 1, channel.peer_number, 0, b"x", 4)
    line.tell(heavy.encode())
    assert line.owners[0].events == ["closed SERVICE_ERROR"]
    assert line.tables[0].violations == 1


def test_an_answer_that_grants_more_than_was_asked_for_opens_nothing() -> None:
    line = Line()
    line.tables[0].on_open = lambda _channel, _request: None
    channel, owner = line.open()
    line.run()
    line.tell(Message(MessageType.OPENED, 1, 0, channel.number, 4, Opened(9, 80, 64), 2).encode())
    assert not owner.events
    assert line.tables[1].violations == 1
