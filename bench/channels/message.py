"""Channel messages (docs/protocol.md, section 3): what the bytes mean."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, TypeAlias

VERSION: Final = 1
VERSION_BITS: Final = VERSION << 6
TYPE_BITS: Final = 0x0F
WEIGHTS: Final = (1, 2, 4, 8)
"""The shares of a line that a channel may have, by their code in b6 and b5 of a message."""
HEADER_LENGTH: Final = 5
MAX_CREDIT: Final = 255
HOST: Final = 0


class MessageType(IntEnum):
    """The low half of a message's first byte (3.1)."""

    OPEN = 1
    OPENED = 2
    REFUSED = 3
    DATA = 4
    CREDIT = 5
    SHUT = 6
    CLOSE = 7
    UNREACHABLE = 8


class Transport(IntEnum):
    """UICC/terminal interface transport level (ETSI TS 102 223, 8.59); UDP_SERVER is ours."""

    UDP_CLIENT_REMOTE = 0x01
    TCP_CLIENT_REMOTE = 0x02
    TCP_SERVER = 0x03
    UDP_CLIENT_LOCAL = 0x04
    TCP_CLIENT_LOCAL = 0x05
    UDP_SERVER = 0x83

    @property
    def is_server(self) -> bool:
        return self in (Transport.TCP_SERVER, Transport.UDP_SERVER)

    @property
    def is_udp(self) -> bool:
        return self in (Transport.UDP_CLIENT_REMOTE, Transport.UDP_CLIENT_LOCAL, Transport.UDP_SERVER)


class AddressKind(IntEnum):
    """What the bytes of an address are."""

    NONE = 0
    NAME = 1
    IPV4 = 4
    IPV6 = 6


class Cause(IntEnum):
    """Why a channel was refused or closed (ETSI TS 102 223, 8.12: additional information for Bearer Independent Protocol error)."""

    NONE = 0x00
    NO_CHANNEL = 0x01
    CHANNEL_CLOSED = 0x02
    NOT_VALID = 0x03
    NO_BUFFER = 0x04
    SECURITY = 0x05
    NO_TRANSPORT = 0x06
    NOT_REACHABLE = 0x07
    SERVICE_ERROR = 0x08
    SERVICE_UNKNOWN = 0x09
    PORT_NOT_AVAILABLE = 0x10

    @property
    def text(self) -> str:
        """The standard's words."""
        return _CAUSE_TEXT[self]


_CAUSE_TEXT: Final = {
    Cause.NONE: "no specific cause",
    Cause.NO_CHANNEL: "no channel available",
    Cause.CHANNEL_CLOSED: "channel closed",
    Cause.NOT_VALID: "channel number not valid",
    Cause.NO_BUFFER: "requested buffer size not available",
    Cause.SECURITY: "security error",
    Cause.NO_TRANSPORT: "requested transport level not available",
    Cause.NOT_REACHABLE: "remote device not reachable",
    Cause.SERVICE_ERROR: "service error",
    Cause.SERVICE_UNKNOWN: "service unknown",
    Cause.PORT_NOT_AVAILABLE: "port not available",
}


class MessageError(ValueError):
    """Bytes that are no channel message: says which and why."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a client wants to go, or whence it came: nothing, a name, or an IP address in network order."""

    kind: AddressKind
    value: bytes

    @classmethod
    def none(cls) -> "Address":
        return cls(AddressKind.NONE, b"")

    @classmethod
    def name(cls, text: str) -> "Address":
        return cls(AddressKind.NAME, text.encode("ascii"))


@dataclass(frozen=True, slots=True)
class Open:
    """Body of OPEN."""

    own: int
    transport: Transport
    port: int
    mtu: int
    address: Address

    def encode(self) -> bytes:
        return (
            bytes((self.own, self.transport))
            + self.port.to_bytes(2, "big")
            + self.mtu.to_bytes(2, "big")
            + bytes((self.address.kind,))
            + self.address.value
        )


@dataclass(frozen=True, slots=True)
class Opened:
    """Body of OPENED."""

    own: int
    port: int
    mtu: int

    def encode(self) -> bytes:
        return bytes((self.own,)) + self.port.to_bytes(2, "big") + self.mtu.to_bytes(2, "big")


@dataclass(frozen=True, slots=True)
class Ended:
    """Body of REFUSED and CLOSE."""

    cause: Cause

    def encode(self) -> bytes:
        return bytes((self.cause,))


Body: TypeAlias = Open | Opened | Ended | bytes


@dataclass(frozen=True, slots=True)
class Message:
    """One channel message, decoded. ``body`` is bytes for DATA, CREDIT, SHUT and UNREACHABLE; ``weight`` is one of ``WEIGHTS``."""

    type: MessageType
    destination: int
    source: int
    channel: int
    credit: int
    body: Body
    weight: int = 1

    def encode(self) -> bytes:
        body = self.body if isinstance(self.body, bytes) else self.body.encode()
        packet = pack(self.type, self.destination, self.source, self.channel, self.credit, body)
        return bytes((packet[0] | weight_bits(self.weight),)) + packet[1:]


def weight_bits(weight: int) -> int:
    """A weight in its place in a message's first byte. Raises ValueError for one that has no code."""
    if weight not in WEIGHTS:
        raise ValueError(f"a weight of {weight}: there are {', '.join(map(str, WEIGHTS))}")
    return WEIGHTS.index(weight) << 4


def weight_of(packet: bytes) -> int:
    """The weight that a message bears."""
    return WEIGHTS[packet[0] >> 4 & 3]


def pack(kind: MessageType, destination: int, source: int, channel: int, credit: int, body: bytes = b"") -> bytes:
    """A message's bytes, at weight 1."""
    return bytes((VERSION_BITS | kind, destination, source, channel, credit)) + body


def decode_message(packet: bytes) -> Message:
    """The message in ``packet``. Raises MessageError."""
    if len(packet) < HEADER_LENGTH:
        raise MessageError(f"a channel message of {len(packet)} bytes: the header alone has {HEADER_LENGTH}")
    first, destination, source, channel, credit = packet[:HEADER_LENGTH]
    if first >> 6 != VERSION:
        raise MessageError(f"channel message of version {first >> 6}: this is version {VERSION}")
    kind = _TYPES.get(first & TYPE_BITS)
    if kind is None:
        raise MessageError(f"channel message of type {first & TYPE_BITS}: types 1 to 8 are assigned")
    return Message(kind, destination, source, channel, credit, _body(kind, packet[HEADER_LENGTH:]), weight_of(packet))


_TYPES: Final = {int(kind): kind for kind in MessageType}
_ADDRESS_LENGTH: Final = {AddressKind.NONE: 0, AddressKind.IPV4: 4, AddressKind.IPV6: 16}


def _body(kind: MessageType, body: bytes) -> Body:
    if kind in (MessageType.DATA, MessageType.UNREACHABLE):
        return body
    if kind in (MessageType.CREDIT, MessageType.SHUT):
        if body:
            raise MessageError(f"{kind.name} with a body of {len(body)} bytes: must be empty")
        return b""
    if kind in (MessageType.CLOSE, MessageType.REFUSED):
        if len(body) != 1:
            raise MessageError(f"{kind.name} with a body of {len(body)} bytes: must be one, the cause")
        return Ended(Cause(body[0]) if body[0] in _CAUSE_TEXT else Cause.NONE)
    if kind is MessageType.OPENED:
        if len(body) != 5:
            raise MessageError(f"OPENED with a body of {len(body)} bytes: must be 5")
        return Opened(body[0], int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big"))
    return _open(body)


def _open(body: bytes) -> Open:
    if len(body) < 7:
        raise MessageError(f"OPEN with a body of {len(body)} bytes: must be at least 7")
    try:
        transport, kind = Transport(body[1]), AddressKind(body[6])
    except ValueError as error:
        raise MessageError(f"OPEN: {error}") from error
    value = body[7:]
    if kind is AddressKind.NAME:
        if not value or not all(0x21 <= byte <= 0x7E for byte in value):
            raise MessageError(f"OPEN: the name {value!r} must be printable ASCII without blanks")
    elif len(value) != _ADDRESS_LENGTH[kind]:
        raise MessageError(f"OPEN: an address of {len(value)} bytes where {kind.name} has {_ADDRESS_LENGTH[kind]}")
    return Open(
        body[0], transport, int.from_bytes(body[2:4], "big"), int.from_bytes(body[4:6], "big"), Address(kind, value)
    )
