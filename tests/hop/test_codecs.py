"""Codecs of the hop, the chain and the channels round trip; arbitrary bytes end in a value or the named error, never in anything else."""

from hypothesis import given
from hypothesis import strategies as st

from bench.channels.message import (
    WEIGHTS,
    Address,
    AddressKind,
    Body,
    Cause,
    Ended,
    Message,
    MessageError,
    MessageType,
    Open,
    Opened,
    Transport,
    decode_message,
)
from bench.hop.control import (
    MAX_MTU,
    MIN_MTU,
    Control,
    ControlError,
    DownReason,
    Hello,
    HelloAnswer,
    NodeDown,
    NodeFacts,
    NodeUp,
    decode_control,
)
from bench.hop.segment import Cutter, Joiner, Kind, Segment, SegmentError, decode_segment

BYTE = st.integers(0, 255)
PORT = st.integers(0, 65_535)
MTU = st.integers(MIN_MTU, MAX_MTU)

SEGMENT = st.builds(
    Segment, st.booleans(), st.booleans(), st.integers(0, 1), st.sampled_from(Kind), st.binary(max_size=254)
)
FACTS = st.builds(NodeFacts, BYTE, MTU, BYTE, BYTE, st.binary(max_size=16))
CONTROL: st.SearchStrategy[Control] = st.one_of(
    st.builds(Hello, BYTE, BYTE, MTU, PORT),
    st.builds(HelloAnswer, BYTE, FACTS),
    st.builds(NodeUp, FACTS),
    st.builds(NodeDown, BYTE, st.sampled_from(DownReason)),
)
ADDRESS = st.one_of(
    st.just(Address.none()),
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=30).map(Address.name),
    st.binary(min_size=4, max_size=4).map(lambda value: Address(AddressKind.IPV4, value)),
    st.binary(min_size=16, max_size=16).map(lambda value: Address(AddressKind.IPV6, value)),
)


@st.composite
def messages(draw: st.DrawFn) -> Message:
    kind = draw(st.sampled_from(MessageType))
    body: Body
    if kind is MessageType.OPEN:
        body = Open(draw(BYTE), draw(st.sampled_from(Transport)), draw(PORT), draw(PORT), draw(ADDRESS))
    elif kind is MessageType.OPENED:
        body = Opened(draw(BYTE), draw(PORT), draw(PORT))
    elif kind in (MessageType.REFUSED, MessageType.CLOSE):
        body = Ended(draw(st.sampled_from(Cause)))
    elif kind in (MessageType.DATA, MessageType.UNREACHABLE):
        body = draw(st.binary(max_size=300))
    else:
        body = b""
    weight = draw(st.sampled_from(WEIGHTS))
    return Message(kind, draw(BYTE), draw(BYTE), draw(BYTE), draw(BYTE), body, weight)


@given(SEGMENT)
def test_1_2_segments_round_trip(segment: Segment) -> None:
    assert decode_segment(segment.encode()) == segment


@given(st.binary(max_size=300))
def test_1_2_any_bytes_are_a_segment_or_a_segment_error(data: bytes) -> None:
    try:
        segment = decode_segment(data)
    except SegmentError:
        return
    assert segment.encode() == data


@given(CONTROL)
def test_2_control_packets_round_trip(control: Control) -> None:
    assert decode_control(control.encode()) == control


@given(st.binary(max_size=40) | st.builds(lambda first, rest: bytes((first,)) + rest, st.integers(0, 5), st.binary()))
def test_2_any_bytes_are_a_control_packet_or_a_control_error(data: bytes) -> None:
    try:
        control = decode_control(data)
    except ControlError:
        return
    if not (isinstance(control, NodeDown) and control.reason is DownReason.UNKNOWN):  # reasons yet to come read as 0
        assert control.encode() == data


@given(messages())
def test_3_messages_round_trip(message: Message) -> None:
    assert decode_message(message.encode()) == message


@given(
    st.binary(max_size=40)
    | st.builds(lambda kind, rest: bytes((0x40 | kind,)) + rest, st.integers(0, 9), st.binary(max_size=40))
)
def test_3_any_bytes_are_a_message_or_a_message_error(data: bytes) -> None:
    try:
        message = decode_message(data)
    except MessageError:
        return
    if not (isinstance(message.body, Ended) and message.body.cause is Cause.NONE):  # causes yet to come read as 0
        assert message.encode() == data


@given(st.lists(st.binary(max_size=1500), max_size=6), st.sampled_from(Kind))
def test_1_2_what_a_cutter_cuts_a_joiner_joins(packets: list[bytes], kind: Kind) -> None:
    cutter, joiner = Cutter(), Joiner(1500)
    for packet in packets:
        cutter.load(kind, packet)
        joined = None
        while cutter.current:
            assert joined is None
            assert 1 <= len(cutter.current) <= 255
            assert joiner.is_new(cutter.current)
            joined = joiner.take(cutter.current)
            assert not joiner.is_new(cutter.current)
            cutter.taken()
        assert joined == (kind, packet)


@given(st.lists(st.binary(min_size=1, max_size=255), max_size=20))
def test_1_3_a_joiner_refuses_by_name_and_never_holds_more_than_the_mtu(segments: list[bytes]) -> None:
    joiner = Joiner(100)
    for segment in segments:
        expected = joiner.expect
        try:
            whole = joiner.take(segment)
        except SegmentError:
            assert joiner.pending == 0
        else:
            assert whole is None or len(whole[1]) <= 100
        assert joiner.pending <= 100
        assert joiner.expect == expected ^ 1  # taken, whatever it was
