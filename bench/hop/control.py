"""Control packets of the chain (docs/protocol.md, section 2): greeting, numbering, who came and went."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, TypeAlias

VERSION: Final = 1
LAST_NODE: Final = 254
MIN_MTU: Final = 32
MAX_MTU: Final = 1500


class ControlType(IntEnum):
    """First byte of a control packet."""

    HELLO = 1
    HELLO_ANSWER = 2
    NODE_UP = 3
    NODE_DOWN = 4


class DownReason(IntEnum):
    """Why a node went."""

    UNKNOWN = 0
    MUTE = 1
    ABSENT = 2
    BAD_PROTOCOL = 3


class ControlError(ValueError):
    """Bytes that are no control packet: says which and why."""


@dataclass(frozen=True, slots=True)
class Hello:
    """The terminal side greets: who it is and what it can."""

    version: int
    node: int
    mtu: int
    poll_ms: int

    def encode(self) -> bytes:
        return (
            bytes((ControlType.HELLO, self.version, self.node))
            + self.mtu.to_bytes(2, "big")
            + self.poll_ms.to_bytes(2, "big")
        )


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What a card says of itself."""

    node: int
    mtu: int
    channels: int
    ports: int
    identity: bytes

    def encode(self) -> bytes:
        return bytes((self.node,)) + self.mtu.to_bytes(2, "big") + bytes((self.channels, self.ports)) + self.identity


@dataclass(frozen=True, slots=True)
class HelloAnswer:
    """The card's answer: the number it took, and what it can."""

    version: int
    facts: NodeFacts

    def encode(self) -> bytes:
        return bytes((ControlType.HELLO_ANSWER, self.version)) + self.facts.encode()


@dataclass(frozen=True, slots=True)
class NodeUp:
    """A card came, somewhere further out."""

    facts: NodeFacts

    def encode(self) -> bytes:
        return bytes((ControlType.NODE_UP,)) + self.facts.encode()


@dataclass(frozen=True, slots=True)
class NodeDown:
    """A card, and everything beyond it, went."""

    node: int
    reason: DownReason

    def encode(self) -> bytes:
        return bytes((ControlType.NODE_DOWN, self.node, self.reason))


Control: TypeAlias = Hello | HelloAnswer | NodeUp | NodeDown


def decode_control(packet: bytes) -> Control:
    """The control packet in ``packet``. Raises ControlError."""
    if not packet:
        raise ControlError("an empty control packet: its first byte must be the type")
    kind, body = packet[0], packet[1:]
    if kind == ControlType.HELLO:
        if len(body) != 6:
            raise ControlError(f"HELLO of {len(packet)} bytes: must be 7")
        return Hello(body[0], body[1], _mtu(body[2:4]), int.from_bytes(body[4:6], "big"))
    if kind == ControlType.HELLO_ANSWER:
        if not body:
            raise ControlError("HELLO ANSWER without a version")
        return HelloAnswer(body[0], _facts(body[1:], "HELLO ANSWER"))
    if kind == ControlType.NODE_UP:
        return NodeUp(_facts(body, "NODE UP"))
    if kind == ControlType.NODE_DOWN:
        if len(body) != 2:
            raise ControlError(f"NODE DOWN of {len(packet)} bytes: must be 3")
        return NodeDown(body[0], DownReason(body[1]) if body[1] <= max(DownReason) else DownReason.UNKNOWN)
    raise ControlError(f"control packet of type {kind:02X}: types 01 to 04 are assigned")


def _facts(body: bytes, name: str) -> NodeFacts:
    if not 5 <= len(body) <= 21:
        raise ControlError(
            f"{name}: node, MTU, channels, ports and 0 to 16 bytes of identity make 5 to 21 bytes, not {len(body)}"
        )
    return NodeFacts(body[0], _mtu(body[1:3]), body[3], body[4], body[5:])


def _mtu(two: bytes) -> int:
    mtu = int.from_bytes(two, "big")
    if not MIN_MTU <= mtu <= MAX_MTU:
        raise ControlError(f"an MTU of {mtu} bytes: must be {MIN_MTU} to {MAX_MTU}")
    return mtu
