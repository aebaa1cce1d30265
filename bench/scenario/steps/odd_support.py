"""Packets written byte by byte, and what must come back for them, by the layouts of the RFCs: a judge does not ask the code it judges."""

from dataclasses import dataclass, field
from typing import Final, Protocol

from bench.scenario.steps.tcp_peer import checksum, internet_checksum

ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
UNUSED_PROTOCOL: Final = 253
"""RFC 3692: for experiments, so nobody's."""
UNUSED_PORT: Final = 40_000
ECHO_PORT: Final = 7
OUR_PORT: Final = 20_007


class Wanted(Protocol):
    """One answer that is due."""

    @property
    def name(self) -> str: ...

    def differs(self, protocol: int, source: bytes, destination: bytes, payload: bytes) -> str:
        """In what an answer is not this one; empty where it is."""


@dataclass(frozen=True, slots=True)
class Case:
    """Packets sent one after the other, and all that may be said to them."""

    name: str
    clause: str
    packets: tuple[bytes, ...]
    wanted: tuple[Wanted, ...] = ()
    within_s: int = 30
    optional: bool = False
    """It should be answered so, and may be passed over."""

    @property
    def goes_on(self) -> bool:
        """Whether it is sound, so that a router must pass it on."""
        limits = [each[8 if each[0] >> 4 == 4 else 7] for each in self.packets]
        return (
            bool(self.wanted) and all(isinstance(each, (Echoed, Datagram)) for each in self.wanted) and min(limits) > 1
        )


@dataclass(frozen=True, slots=True)
class Echoed:
    """An echo reply with the identifier, the number and the data of the request (RFC 792; RFC 4443, 4.2)."""

    rest: bytes
    by: bytes
    name: str = field(default="an echo reply", init=False)

    def differs(self, protocol: int, source: bytes, destination: bytes, payload: bytes) -> str:
        kind = 0 if protocol == ICMP else 129
        if protocol not in (ICMP, ICMPV6) or payload[:2] != bytes((kind, 0)):
            return f"protocol {protocol}: {payload[:16].hex()}"
        if not _sound(protocol, source, destination, payload):
            return "its checksum is wrong"
        if source != self.by:
            return "it comes from another address than the one that was asked"
        return "" if payload[4:] == self.rest else f"it says {payload[4:].hex()}, not {self.rest.hex()}"


@dataclass(frozen=True, slots=True)
class Told:
    """An ICMP error; ``rest`` are its second four bytes where they are laid down. It quotes ``about`` as far as it may."""

    kind: int
    code: int
    about: bytes
    rest: bytes | None = None
    name: str = field(default="an ICMP error", init=False)

    def differs(self, protocol: int, source: bytes, destination: bytes, payload: bytes) -> str:
        if protocol not in (ICMP, ICMPV6) or payload[:2] != bytes((self.kind, self.code)):
            return f"type {self.kind} code {self.code}; it said, in protocol {protocol}, {payload[:16].hex()}"
        if not _sound(protocol, source, destination, payload):
            return "its checksum is wrong"
        if self.rest is not None and payload[4:8] != self.rest:
            return f"it says {payload[4:8].hex()}, not {self.rest.hex()}"
        most = 576 - 28 if protocol == ICMP else 1280 - 48
        quoted, least = payload[8:], 28 if protocol == ICMP else 48
        if len(quoted) > most or len(quoted) < min(least, len(self.about)):
            return f"it quotes {len(quoted)} bytes: at least {min(least, len(self.about))} and at most {most} are asked for"
        return "" if self.about.startswith(quoted) else f"it quotes {quoted.hex()}"


@dataclass(frozen=True, slots=True)
class Datagram:
    """A datagram of the card's echo service, with a right checksum."""

    payload: bytes
    port: int = OUR_PORT
    name: str = field(default="the datagram back", init=False)

    def differs(self, protocol: int, source: bytes, destination: bytes, payload: bytes) -> str:
        if protocol != UDP:
            return f"protocol {protocol}: {payload[:16].hex()}"
        ports = ECHO_PORT.to_bytes(2, "big") + self.port.to_bytes(2, "big")
        if payload[:4] != ports or int.from_bytes(payload[4:6], "big") != len(payload):
            return f"its header is {payload[:8].hex()}"
        if payload[6:8] != b"\0\0" and not _sound(protocol, source, destination, payload):
            return "its checksum is wrong"
        return "" if payload[8:] == self.payload else f"it brings {payload[8:].hex()}, not {self.payload.hex()}"


@dataclass(frozen=True, slots=True)
class Reset:
    """A TCP reset with these numbers (RFC 9293, 3.5.2)."""

    seq: int
    ack: int | None
    name: str = field(default="a reset", init=False)

    def differs(self, protocol: int, source: bytes, destination: bytes, payload: bytes) -> str:
        if protocol != TCP or len(payload) < 20:
            return f"protocol {protocol}: {payload[:16].hex()}"
        if not _sound(protocol, source, destination, payload):
            return "its checksum is wrong"
        seq, ack = int.from_bytes(payload[4:8], "big"), int.from_bytes(payload[8:12], "big")
        flags = payload[13] & 31
        if flags != (4 if self.ack is None else 20) or seq != self.seq or (self.ack is not None and ack != self.ack):
            return f"it bears flags {flags:02x}, seq {seq} and ack {ack}"
        return ""


def upper(data: bytes) -> tuple[int, bytes, bytes, bytes]:
    """Protocol, source, destination and payload of a packet without extension headers."""
    if data[0] >> 4 == 4:
        return data[9], data[12:16], data[16:20], data[(data[0] & 15) * 4 :]
    return data[6], data[8:24], data[24:40], data[40:]


def own_length(data: bytes) -> bytes:
    """A packet without what was behind it."""
    if data[0] >> 4 == 4:
        return data[: int.from_bytes(data[2:4], "big")]
    return data[: 40 + int.from_bytes(data[4:6], "big")]


def icmp4(kind: int, code: int, rest: bytes, wrong: int = 0) -> bytes:
    """A message, ``rest`` after its checksum."""
    total = internet_checksum(bytes((kind, code, 0, 0)) + rest) ^ wrong
    return bytes((kind, code)) + total.to_bytes(2, "big") + rest


def layer4(source: bytes, destination: bytes, protocol: int, body: bytes, wrong: int = 0) -> bytes:
    """A message of layer 4, or of ICMPv6, with its checksum put in."""
    at = {TCP: 16, UDP: 6, ICMPV6: 2}[protocol]
    body = body[:at] + b"\0\0" + body[at + 2 :]
    total = checksum(source, destination, protocol, body) or (0xFFFF if protocol == UDP else 0)
    return body[:at] + (total ^ wrong).to_bytes(2, "big") + body[at + 2 :]


def udp(port: int, payload: bytes, length: int | None = None, source_port: int = OUR_PORT) -> bytes:
    """A datagram without its checksum, with another length than its own where one is given."""
    said = 8 + len(payload) if length is None else length
    return source_port.to_bytes(2, "big") + port.to_bytes(2, "big") + said.to_bytes(2, "big") + b"\0\0" + payload


def udp_said(source: bytes, destination: bytes, length: int, payload: bytes) -> bytes:
    """A datagram for the echo that says another length than its own, and whose checksum is right for that one: only the length is wrong."""
    body = udp(ECHO_PORT, payload, length)
    pseudo = source + destination + (bytes((0, UDP)) + length.to_bytes(2, "big") if len(source) == 4 else b"")
    if len(source) == 16:
        pseudo += length.to_bytes(4, "big") + bytes((0, 0, 0, UDP))
    return body[:6] + (internet_checksum(pseudo + body[:length]) or 0xFFFF).to_bytes(2, "big") + body[8:]


def tcp(port: int, seq: int, ack: int, flags: int, payload: bytes = b"", words: int = 5) -> bytes:
    """A segment without its checksum; ``words`` is the header's length that it says."""
    ports = OUR_PORT.to_bytes(2, "big") + port.to_bytes(2, "big")
    return (
        ports
        + seq.to_bytes(4, "big")
        + ack.to_bytes(4, "big")
        + bytes((words << 4, flags, 16, 0, 0, 0, 0, 0))
        + payload
    )


def _sound(protocol: int, source: bytes, destination: bytes, payload: bytes) -> bool:
    if protocol == ICMP:
        return internet_checksum(payload) == 0
    return checksum(source, destination, protocol, payload) == 0
