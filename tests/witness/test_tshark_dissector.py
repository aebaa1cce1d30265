"""The dissector of our own layers in a real tshark, held against docs/protocol.md and, on damaged bytes, against the codecs."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.channels.message import MessageError, MessageType, Transport, decode_message
from bench.hop.control import ControlError, ControlType, DownReason, decode_control
from bench.hop.segment import Kind, SegmentError, decode_segment
from bench.net.chain_control import ChainControlError, Deed, Refusal, decode_chain_control
from bench.records.pcapng import Flow, LinkType, PcapngWriter, PduDirection, upper_pdu
from tests.hop.vectors import Vector, vectors
from tests.witness.tshark import NEEDS_TSHARK, Frame, dissected

pytestmark = [pytest.mark.witness, NEEDS_TSHARK]

HOP = "cardbench.hop"
CHAIN = "cardbench.chain"
CHANNEL = "cardbench.channel"
ADDRESS_KINDS = {"none": 0, "name": 1, "ipv4": 4, "ipv6": 6}
CAUSES = {"none": 0, "not-reachable": 7}
STEP = "docs/protocol::vectors step 1 transmit"
DAMAGED = 4000


class Writing:
    """A capture with one interface for each of our link types."""

    def __init__(self, path: Path) -> None:
        self._stream = path.open("wb")
        self._writer = PcapngWriter(self._stream)
        self._apdus = self._writer.interface("hop 1 apdu", LinkType.UPPER_PDU)
        self._control = self._writer.interface("hop 1 control", LinkType.USER0)
        self._channel = self._writer.interface("hop 1 channel", LinkType.USER1)
        self._time = 0

    def command(self, data: bytes) -> None:
        self._put(self._apdus, upper_pdu("data", PduDirection.SENT, data))

    def answer(self, data: bytes) -> None:
        self._put(self._apdus, upper_pdu("data", PduDirection.RECEIVED, data))

    def control(self, data: bytes) -> None:
        self._put(self._control, data)

    def message(self, data: bytes) -> None:
        self._put(self._channel, data)

    def close(self) -> None:
        self._stream.close()

    def _put(self, interface: int, data: bytes) -> None:
        self._time += 1
        self._writer.packet(interface, self._time, data, Flow.UNKNOWN, STEP)


def read(tmp_path: Path, writing: Writing, fields: list[str]) -> list[Frame]:
    writing.close()
    return dissected(tmp_path / "capture.pcapng", fields)


def number(text: str) -> int:
    return int(text, 0)


def check(vector: Vector, frame: Frame, wanted: dict[str, str | int]) -> None:
    """Everything wanted, as numbers or as text."""
    seen: dict[str, str | int] = {}
    for field, value in wanted.items():
        text = frame.get(field, [""])[0]
        seen[field] = number(text) if isinstance(value, int) and text else text
    assert seen == wanted, str(vector)


def test_1_commands_and_segments(tmp_path: Path) -> None:
    fields = ["instruction", "sequenced", "explicit", "expect", "le", "poll", "plain", "segment", "first", "last",
              "toggle", "kind", "payload", "length", "malformed", "sw", "meaning", "command_in", "repetition"]  # fmt: skip
    writing = Writing(tmp_path / "capture.pcapng")
    commands, segments = vectors("command"), vectors("segment")
    for vector in commands:
        if vector.says["sequenced"] == "0":  # a plain fetch is one only right after what announced a segment
            writing.command(bytes.fromhex("80C2800002C005"))
            writing.answer(bytes.fromhex("6112"))
        writing.command(vector.data)
    for vector in segments:
        writing.command(bytes.fromhex("80C0C100") + bytes((len(vector.data),)))
        writing.answer(vector.data + bytes.fromhex("9000"))
    frames = read(tmp_path, writing, [f"{HOP}.{field}" for field in fields])
    assert all(f"{HOP}.malformed" not in frame for frame in frames)

    assert sum(f"{HOP}.plain" in frame for frame in frames) == 1
    announcing = bytes.fromhex("C005").hex()
    asked = [frame for frame in frames[: -2 * len(segments)] if f"{HOP}.instruction" in frame]
    asked = [frame for frame in asked if frame.get(f"{HOP}.segment") != [announcing]]
    for vector, frame in zip(commands, asked, strict=True):
        says = vector.says
        wanted: dict[str, str | int] = {
            f"{HOP}.instruction": {"envelope": 0xC2, "get-response": 0xC0}[says["ins"]],
            **{f"{HOP}.{name}": int(says[name]) for name in ("sequenced", "explicit", "expect")},
        }
        if "le" in says:
            wanted[f"{HOP}.le"] = int(says["le"])
        else:
            wanted[f"{HOP}.segment"] = says["data"].lower()
        check(vector, frame, wanted)
    answers = frames[-2 * len(segments) + 1 :: 2]
    for vector, frame in zip(segments, answers, strict=True):
        says = vector.says
        check(
            vector,
            frame,
            {
                **{f"{HOP}.{name}": int(says[name]) for name in ("first", "last", "toggle")},
                f"{HOP}.kind": Kind[says["kind"].upper()],
                f"{HOP}.payload": says["payload"].replace(" ", "").lower(),
                f"{HOP}.sw": 0x9000,
                f"{HOP}.command_in": number(frame["frame.number"][0]) - 1,
            },
        )


def test_2_and_5_control_packets(tmp_path: Path) -> None:
    names = ["type", "version", "node", "mtu", "poll_ms", "channels", "ports", "identity", "reason", "prefix_length",
             "prefix_ipv4", "prefix_ipv6", "deed", "refusal", "ipv4", "ipv6", "name", "malformed"]  # fmt: skip
    writing = Writing(tmp_path / "capture.pcapng")
    every = vectors("control") + vectors("address")
    for vector in every:
        writing.control(vector.data)
    frames = read(tmp_path, writing, [f"{CHAIN}.{name}" for name in names])
    types = {"prefix": 5, "address": 6, "name": 7}
    for vector, frame in zip(every, frames, strict=True):
        assert f"{CHAIN}.malformed" not in frame
        wanted: dict[str, str | int] = {}
        for name, value in vector.says.items():
            match name:
                case "type":
                    wanted["type"] = types.get(value) or ControlType[value.upper().replace("-", "_")]
                case "identity":
                    wanted["identity"] = value.lower()
                case "reason" if vector.block == "control":
                    wanted["reason"] = DownReason[value.upper()]
                case "reason":
                    wanted["refusal"] = Refusal[value.upper().replace("-", "_")]
                case "deed":
                    wanted["deed"] = Deed[value.upper()]
                case "prefix":
                    address, _, length = value.partition("/")
                    wanted["prefix_length"] = int(length)
                    wanted["prefix_ipv6" if ":" in address else "prefix_ipv4"] = address
                case "address":
                    wanted["ipv6" if ":" in value else "ipv4"] = value
                case "name":
                    wanted["name"] = value
                case _:
                    wanted[name] = int(value)
        check(vector, frame, {f"{CHAIN}.{name}": value for name, value in wanted.items()})


def test_3_channel_messages(tmp_path: Path) -> None:
    names = ["version", "weight", "type", "destination", "source", "number", "credit", "body", "length", "own",
             "transport", "port", "mtu", "address_kind", "name", "ipv4", "ipv6", "cause", "malformed"]  # fmt: skip
    writing = Writing(tmp_path / "capture.pcapng")
    for vector in vectors("message"):
        writing.message(vector.data)
    frames = read(tmp_path, writing, [f"{CHANNEL}.{name}" for name in names])
    for vector, frame in zip(vectors("message"), frames, strict=True):
        assert f"{CHANNEL}.malformed" not in frame
        wanted: dict[str, str | int] = {"version": 1, "weight": 1}
        for name, value in vector.says.items():
            match name:
                case "type":
                    wanted["type"] = MessageType[value.upper()]
                case "channel":
                    wanted["number"] = int(value)
                case "transport":
                    wanted["transport"] = Transport[value.upper().replace("-", "_")]
                case "kind":
                    wanted["address_kind"] = ADDRESS_KINDS[value]
                case "address" if vector.says["kind"] == "name":
                    wanted["name"] = bytes.fromhex(value).decode()
                case "address" if vector.says["kind"] == "ipv4":
                    wanted["ipv4"] = ".".join(str(byte) for byte in bytes.fromhex(value))
                case "address":
                    assert value == ""
                case "body":
                    wanted["body"] = value.replace(" ", "").lower()
                case "cause":
                    wanted["cause"] = CAUSES[value]
                case _:
                    wanted[name] = int(value)
        check(vector, frame, {f"{CHANNEL}.{name}": value for name, value in wanted.items()})


@dataclass(frozen=True, slots=True)
class Damaged:
    """Bytes that may be no packet, and whether a codec takes them."""

    layer: str
    data: bytes
    sound: bool


def damaged(seed: int) -> Iterator[Damaged]:
    """Vectors with bytes changed, cut, repeated, and noise."""
    chance = random.Random(seed)
    blocks = {
        CHAIN: [vector.data for name in ("control", "address") for vector in vectors(name)],
        CHANNEL: [vector.data for vector in vectors("message")],
        HOP: [vector.data for vector in vectors("segment")],
    }
    for _ in range(DAMAGED):
        layer = chance.choice(list(blocks))
        data = bytearray(chance.choice(blocks[layer]))
        for _ in range(chance.randrange(4)):
            match chance.randrange(5):
                case 0:
                    data[chance.randrange(len(data))] = chance.randrange(256)
                case 1:
                    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
                case 2:
                    del data[chance.randrange(1, len(data) + 1) :]
                case 3:
                    data += chance.randbytes(chance.randrange(1, 20))
                case _:
                    data = bytearray(chance.randbytes(chance.randrange(1, 40)))
        yield Damaged(layer, bytes(data), sound(layer, bytes(data)))


def sound(layer: str, data: bytes) -> bool:
    try:
        if layer == HOP:
            decode_segment(data)
        elif layer == CHANNEL:
            decode_message(data)
        elif data[0] in (5, 6, 7):
            decode_chain_control(data)
        else:
            decode_control(data)
    except (SegmentError, MessageError, ControlError, ChainControlError):
        return False
    return True


def test_damaged_bytes_are_told_of_as_the_codecs_do(tmp_path: Path) -> None:
    """Malformed is what the codecs refuse, no more and no less; and nothing makes the dissector itself err."""
    writing = Writing(tmp_path / "capture.pcapng")
    every = list(damaged(20261123))
    for each in every:
        if each.layer == HOP:
            writing.command(bytes.fromhex("80C2800000")[:4] + bytes((len(each.data),)) + each.data)
        elif each.layer == CHANNEL:
            writing.message(each.data)
        else:
            writing.control(each.data)
    frames = read(tmp_path, writing, [f"{layer}.malformed" for layer in (HOP, CHAIN, CHANNEL)])
    assert len(frames) == DAMAGED
    assert min(sum(each.sound for each in every), sum(not each.sound for each in every)) > DAMAGED // 5
    told = [f"{each.layer}.malformed" in frame for each, frame in zip(every, frames, strict=True)]
    wrong = [each for each, malformed in zip(every, told, strict=True) if malformed is each.sound]
    assert wrong == []


def test_noise_on_the_line_never_makes_the_dissector_err(tmp_path: Path) -> None:
    """Commands and answers of any bytes, in any order: cut hop commands, answers without commands, ATRs in between."""
    chance = random.Random(7816)
    writing = Writing(tmp_path / "capture.pcapng")
    for _ in range(1500):
        start = chance.choice((b"\x80\xc2", b"\x80\xc0", b"\x00\xc0", b"\x80", b""))
        data = start + chance.randbytes(chance.randrange(1, 12))
        writing.command(data)
        if chance.random() < 0.8:
            writing.answer(
                chance.choice((b"\x61\x05", b"\x3b", b"", b"\xc1")) + chance.randbytes(chance.randrange(1, 9))
            )
    frames = read(tmp_path, writing, [f"{HOP}.instruction", f"{HOP}.sw", f"{HOP}.bad_status"])
    assert any(f"{HOP}.bad_status" in frame for frame in frames)
    assert sum(f"{HOP}.sw" in frame for frame in frames) > 300


def test_segments_sent_again_are_told(tmp_path: Path) -> None:
    writing = Writing(tmp_path / "capture.pcapng")
    for toggle in (0xC1, 0xE1, 0xE1, 0xC1):
        writing.command(bytes.fromhex("80C2800002") + bytes((toggle, 7)))
        writing.answer(bytes.fromhex("6200"))
    writing.answer(bytes.fromhex("3B00"))  # a reset begins anew: the same toggle is no repetition
    writing.command(bytes.fromhex("80C2800002C107"))
    frames = read(tmp_path, writing, [f"{HOP}.repeated", f"{HOP}.segment"])
    again = ["again" if f"{HOP}.repeated" in frame else "new" for frame in frames if f"{HOP}.segment" in frame]
    assert again == ["new", "new", "again", "new", "new"]
