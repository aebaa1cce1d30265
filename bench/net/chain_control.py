"""Control packets of the IP stack on a chain (docs/protocol.md, section 5): the prefix handed along, addresses and names claimed and granted."""

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from bench.net.protocols import is_one_host
from bench.net.routes import Prefix

PREFIX: Final = 5
ADDRESS: Final = 6
NAME: Final = 7

LONGEST_PREFIX: Final = {4: 24, 16: 120}
"""Bits, by the length of an address: what is left must hold a node number plus one."""
_LABEL: Final = re.compile(rb"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_LENGTHS: Final = (4, 16)


class Deed(IntEnum):
    """What is done with an address or a name."""

    CLAIM = 0
    GRANT = 1
    REFUSE = 2
    RELEASE = 3


class Refusal(IntEnum):
    """Why it was refused."""

    NONE = 0
    IN_USE = 1
    EXHAUSTED = 2
    NOT_PERMITTED = 3
    NO_MEMORY = 4


class ChainControlError(ValueError):
    """Bytes that are no such packet: says why."""


@dataclass(frozen=True, slots=True)
class PrefixPacket:
    """The chain's prefix of one version of IP; one of length 0 takes it back."""

    prefix: Prefix

    def encode(self) -> bytes:
        return bytes((PREFIX, self.prefix.length)) + self.prefix.address


@dataclass(frozen=True, slots=True)
class AddressPacket:
    """One address of node ``node``. A claim of the unspecified address asks the host to choose, and is refused as such."""

    node: int
    deed: Deed
    reason: Refusal
    address: bytes

    def encode(self) -> bytes:
        return bytes((ADDRESS, self.node, self.deed, self.reason)) + self.address


@dataclass(frozen=True, slots=True)
class NamePacket:
    """The name of node ``node``: one label."""

    node: int
    deed: Deed
    reason: Refusal
    name: str

    def encode(self) -> bytes:
        return bytes((NAME, self.node, self.deed, self.reason)) + self.name.encode("ascii")


ChainControl = PrefixPacket | AddressPacket | NamePacket


def decode_chain_control(packet: bytes) -> ChainControl:
    """The packet in ``packet``. Raises ChainControlError."""
    kind = packet[0] if packet else 0
    if kind == PREFIX:
        return PrefixPacket(_prefix(packet[1:]))
    if kind not in (ADDRESS, NAME):
        raise ChainControlError(f"type {kind:02X}: 05 to 07 belong to IP")
    if len(packet) < 5:
        raise ChainControlError(f"{len(packet)} bytes: node, deed and reason come before the address or the name")
    node, deed, reason, rest = packet[1], packet[2], packet[3], packet[4:]
    if not 1 <= node <= 254:
        raise ChainControlError(f"node {node}: cards are 1 to 254")
    if deed > max(Deed):
        raise ChainControlError(f"deed {deed}: 0 to {max(Deed)} are assigned")
    why = Refusal(reason) if reason <= max(Refusal) else Refusal.NONE
    if kind == NAME:
        if not _LABEL.fullmatch(rest):
            raise ChainControlError(
                f"{rest[:64]!r} is no label (RFC 1123: lower-case letters, digits and inner hyphens)"
            )
        return NamePacket(node, Deed(deed), why, rest.decode("ascii"))
    if len(rest) not in _LENGTHS:
        raise ChainControlError(f"an address of {len(rest)} bytes")
    if not is_one_host(rest) and (any(rest) or deed not in (Deed.CLAIM, Deed.REFUSE)):
        raise ChainControlError(f"{rest.hex()} names no single host")
    return AddressPacket(node, Deed(deed), why, rest)


def is_label(name: str) -> bool:
    """Whether a card may have this name."""
    return name.isascii() and _LABEL.fullmatch(name.encode("ascii")) is not None


def address_of(prefix: Prefix, node: int) -> bytes:
    """The address of a node by chain numbering: the prefix, and its number plus one."""
    size = len(prefix.address)
    return (int.from_bytes(prefix.address, "big") + node + 1).to_bytes(size, "big")


def beyond(prefix: Prefix, node: int) -> tuple[Prefix, ...]:
    """The addresses that chain numbering gives the nodes after ``node``, in as few prefixes as cover them exactly."""
    size = len(prefix.address)
    base = int.from_bytes(prefix.address, "big")
    first, end = node + 2, 256
    found = []
    while first < end:
        step = first & -first
        while first + step > end:
            step >>= 1
        found.append(Prefix((base + first).to_bytes(size, "big"), size * 8 - step.bit_length() + 1))
        first += step
    return tuple(found)


def _prefix(body: bytes) -> Prefix:
    if len(body) - 1 not in _LENGTHS:
        raise ChainControlError(f"PREFIX of {len(body) + 1} bytes: must be 6 or 18")
    length, address = body[0], body[1:]
    if length > LONGEST_PREFIX[len(address)]:
        raise ChainControlError(
            f"a prefix of {length} bits, at most {LONGEST_PREFIX[len(address)]} leave room for the cards"
        )
    try:
        prefix = Prefix(address, length)
    except ValueError as error:
        raise ChainControlError(str(error)) from None
    if length and not is_one_host(address_of(prefix, 1)):
        raise ChainControlError(f"{prefix} names no hosts")
    return prefix
