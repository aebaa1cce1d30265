"""A writer of pcapng (draft-ietf-opsawg-pcapng): one section, interfaces with link types of their own, packets with nanoseconds, directions
and comments.

Little-endian. Of the blocks only Section Header, Interface Description and Enhanced Packet; nothing about the machine that writes.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from functools import cache, lru_cache
from typing import BinaryIO


class LinkType(IntEnum):
    """Link types of the tcpdump.org registry."""

    RAW_IP = 101
    """IPv4 or IPv6, told by the version."""
    USER0 = 147
    """Private use, as the next."""
    USER1 = 148
    UPPER_PDU = 252
    """Wireshark's: the packet is preceded by tags that name its dissector."""


class Flow(IntEnum):
    """The direction bits of epb_flags (section 4.3.1)."""

    UNKNOWN = 0
    INBOUND = 1
    OUTBOUND = 2


@dataclass(frozen=True, slots=True)
class Option:
    """An option of a block: its code and value."""

    code: int
    value: bytes


_SECTION_HEADER, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6
_BYTE_ORDER = 0x1A2B3C4D
_END_OF_OPTIONS, _COMMENT = 0, 1
_APPLICATION = 4
_INTERFACE_NAME, _INTERFACE_RESOLUTION = 2, 9
_PACKET_FLAGS = 2
_NANOSECONDS = bytes((9,))
"""if_tsresol: units of 10**-9 s."""


class PcapngWriter:
    """Writes packets to a stream. The section's header is written at once."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._interfaces = 0
        body = struct.pack("<IHHq", _BYTE_ORDER, 1, 0, -1)
        self._block(_SECTION_HEADER, body + _options(Option(_APPLICATION, b"cardbench")))

    def interface(self, name: str, link_type: LinkType) -> int:
        """Describe an interface; gives the number that its packets name. No limit on lengths, times in nanoseconds."""
        options = _options(
            Option(_INTERFACE_NAME, name.encode()),
            Option(_INTERFACE_RESOLUTION, _NANOSECONDS),
        )
        self._block(_INTERFACE, struct.pack("<HHI", link_type, 0, 0) + options)
        self._interfaces += 1
        return self._interfaces - 1

    def packet(self, interface: int, time_ns: int, data: bytes, flow: Flow, comment: str) -> None:
        """Write one packet, captured whole. ``time_ns`` counts from 1970, or from wherever the capture's user begins."""
        size = len(data)
        head = struct.pack("<IIIII", interface, time_ns >> 32, time_ns & 0xFFFFFFFF, size, size)
        self._block(_PACKET, head + data + bytes(-size % 4) + _packet_options(comment, flow))

    def _block(self, kind: int, body: bytes) -> None:
        length = len(body) + 12
        self._stream.write(struct.pack("<II", kind, length) + body + struct.pack("<I", length))


@lru_cache(maxsize=4096)  # packets of one step share them
def _packet_options(comment: str, flow: Flow) -> bytes:
    return _options(
        Option(_COMMENT, comment.encode("utf-8", errors="backslashreplace")),
        Option(_PACKET_FLAGS, struct.pack("<I", flow)),
    )


def _padded(data: bytes) -> bytes:
    """To a multiple of 32 bits."""
    return data + bytes(-len(data) % 4)


def _options(*options: Option) -> bytes:
    encoded = [struct.pack("<HH", option.code, len(option.value)) + _padded(option.value) for option in options]
    return b"".join(encoded) + struct.pack("<HH", _END_OF_OPTIONS, 0)


class PduDirection(IntEnum):
    """Seen from the interface device (the terminal)."""

    SENT = 0
    RECEIVED = 1


_PDU_END, _PDU_DISSECTOR, _PDU_DIRECTION = 0, 12, 35


def upper_pdu(dissector: str, direction: PduDirection, data: bytes) -> bytes:
    """A packet of link type UPPER_PDU: the tags (big-endian; wsutil/exported_pdu_tlvs.h) and the packet itself."""
    return _pdu_tags(dissector, direction) + data


@cache
def _pdu_tags(dissector: str, direction: PduDirection) -> bytes:
    name = _padded(dissector.encode())
    tags = struct.pack(">HH", _PDU_DISSECTOR, len(name)) + name
    tags += struct.pack(">HHI", _PDU_DIRECTION, 4, direction)
    return tags + struct.pack(">HH", _PDU_END, 0)
