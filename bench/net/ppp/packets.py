"""Control packets and their options (RFC 1661, 5 and 6), shared by LCP, IPCP and IPV6CP."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from bench.net.errors import PacketError

HEADER: Final = 4


class PppError(PacketError):
    """Not a frame or packet of PPP: discarded in silence (RFC 1661, 5)."""


class PppProtocol(IntEnum):
    """Protocol field (RFC 1661, 2; IANA)."""

    IPV4 = 0x0021
    IPV6 = 0x0057
    IPCP = 0x8021
    IPV6CP = 0x8057
    LCP = 0xC021
    PAP = 0xC023
    CHAP = 0xC223


class Code(IntEnum):
    """RFC 1661, 5: the first seven are every control protocol's, the others LCP's."""

    CONFIGURE_REQUEST = 1
    CONFIGURE_ACK = 2
    CONFIGURE_NAK = 3
    CONFIGURE_REJECT = 4
    TERMINATE_REQUEST = 5
    TERMINATE_ACK = 6
    CODE_REJECT = 7
    PROTOCOL_REJECT = 8
    ECHO_REQUEST = 9
    ECHO_REPLY = 10
    DISCARD_REQUEST = 11


@dataclass(frozen=True, slots=True)
class ControlPacket:
    """One control packet. The code is a plain number: unknown ones must be rejected, not lost."""

    code: int
    identifier: int
    data: bytes = b""

    def encode(self) -> bytes:
        return bytes((self.code, self.identifier)) + (HEADER + len(self.data)).to_bytes(2, "big") + self.data


def parse_control(data: bytes) -> ControlPacket:
    """A control packet; padding after its length is dropped. Raises PppError."""
    if len(data) < HEADER:
        raise PppError("PPP", len(data), f"{len(data)} bytes, a control packet has {HEADER}")
    length = data[2] << 8 | data[3]
    if not HEADER <= length <= len(data):
        raise PppError("PPP", 2, f"a length of {length} bytes, {len(data)} came")
    return ControlPacket(data[0], data[1], data[HEADER:length])


@dataclass(frozen=True, slots=True)
class Option:
    """One configuration option: type and value."""

    kind: int
    value: bytes = b""


def encode_options(options: tuple[Option, ...]) -> bytes:
    """Options as they follow one another in a packet."""
    return b"".join(bytes((each.kind, 2 + len(each.value))) + each.value for each in options)


def parse_options(data: bytes) -> tuple[Option, ...]:
    """Raises PppError; its offset counts from the packet's first byte."""
    found = []
    at = 0
    while at < len(data):
        if at + 2 > len(data):
            raise PppError("PPP", HEADER + at, f"option {data[at]} has no length")
        length = data[at + 1]
        if length < 2 or at + length > len(data):
            raise PppError("PPP", HEADER + at + 1, f"option {data[at]} of length {length}, {len(data) - at} are left")
        found.append(Option(data[at], data[at + 2 : at + length]))
        at += length
    return tuple(found)
