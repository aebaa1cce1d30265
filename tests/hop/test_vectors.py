"""docs/protocol.md is normative: every vector on it decodes to what it says, and is encoded to the same bytes."""

import pytest

from bench.channels.message import (
    Address,
    AddressKind,
    Body,
    Cause,
    Ended,
    Message,
    MessageType,
    Open,
    Opened,
    Transport,
    decode_message,
)
from bench.hop.control import (
    Control,
    ControlType,
    DownReason,
    Hello,
    HelloAnswer,
    NodeDown,
    NodeFacts,
    NodeUp,
    decode_control,
)
from bench.hop.segment import (
    EXPECT,
    EXPLICIT,
    INS_ENVELOPE,
    INS_GET_RESPONSE,
    SEQUENCED,
    Kind,
    Segment,
    decode_segment,
    envelope,
    get_response,
)
from tests.hop.vectors import READ_ELSEWHERE, READ_HERE, Vector, blocks, vectors

CAUSES = {"none": Cause.NONE, "not-reachable": Cause.NOT_REACHABLE}


def test_every_block_of_the_page_is_read() -> None:
    assert blocks() == READ_HERE | READ_ELSEWHERE
    for block in READ_HERE:
        assert vectors(block), f"the block {block} is empty"


@pytest.mark.parametrize("vector", vectors("segment"), ids=str)
def test_1_2_segments(vector: Vector) -> None:
    says = vector.says
    segment = Segment(
        says["first"] == "1",
        says["last"] == "1",
        int(says["toggle"]),
        Kind[says["kind"].upper()],
        bytes.fromhex(says["payload"]),
    )
    assert decode_segment(vector.data) == segment
    assert segment.encode() == vector.data
    assert len(says) == 5


@pytest.mark.parametrize("vector", vectors("command"), ids=str)
def test_1_1_commands(vector: Vector) -> None:
    says, data = vector.says, vector.data
    assert data[1] == {"envelope": INS_ENVELOPE, "get-response": INS_GET_RESPONSE}[says["ins"]]
    p1 = data[2]
    assert bool(p1 & SEQUENCED) is (says["sequenced"] == "1")
    assert bool(p1 & EXPLICIT) is (says["explicit"] == "1")
    assert p1 & EXPECT == int(says["expect"])
    explicit, expect = says["explicit"] == "1", int(says["expect"])
    if says["ins"] == "envelope":
        assert envelope(bytes.fromhex(says["data"]), expect, explicit) == data
    elif says["sequenced"] == "1":
        assert get_response(int(says["le"]), expect, explicit) == data
    else:
        assert data == bytes((data[0], INS_GET_RESPONSE, 0, 0, int(says["le"])))  # what a reader sends by itself


def _facts(says: dict[str, str]) -> NodeFacts:
    return NodeFacts(
        int(says["node"]),
        int(says["mtu"]),
        int(says["channels"]),
        int(says["ports"]),
        bytes.fromhex(says["identity"]),
    )


def _control(says: dict[str, str]) -> Control:
    kind = ControlType[says["type"].upper().replace("-", "_")]
    if kind is ControlType.HELLO:
        return Hello(int(says["version"]), int(says["node"]), int(says["mtu"]), int(says["poll_ms"]))
    if kind is ControlType.HELLO_ANSWER:
        return HelloAnswer(int(says["version"]), _facts(says))
    if kind is ControlType.NODE_UP:
        return NodeUp(_facts(says))
    return NodeDown(int(says["node"]), DownReason[says["reason"].upper()])


@pytest.mark.parametrize("vector", vectors("control"), ids=str)
def test_2_control_packets(vector: Vector) -> None:
    control = _control(vector.says)
    assert decode_control(vector.data) == control
    assert control.encode() == vector.data


def _body(kind: MessageType, says: dict[str, str]) -> Body:
    if kind is MessageType.OPEN:
        transport = Transport[says["transport"].upper().replace("-", "_")]
        address = Address(AddressKind[says["kind"].upper()], bytes.fromhex(says["address"]))
        return Open(int(says["own"]), transport, int(says["port"]), int(says["mtu"]), address)
    if kind is MessageType.OPENED:
        return Opened(int(says["own"]), int(says["port"]), int(says["mtu"]))
    if kind in (MessageType.REFUSED, MessageType.CLOSE):
        return Ended(CAUSES[says["cause"]])
    return bytes.fromhex(says.get("body", ""))


@pytest.mark.parametrize("vector", vectors("message"), ids=str)
def test_3_channel_messages(vector: Vector) -> None:
    says = vector.says
    kind = MessageType[says["type"].upper()]
    message = Message(
        kind,
        int(says["destination"]),
        int(says["source"]),
        int(says["channel"]),
        int(says["credit"]),
        _body(kind, says),
        int(says.get("weight", "1")),
    )
    assert decode_message(vector.data) == message
    assert message.encode() == vector.data
