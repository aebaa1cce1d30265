"""Which packets belong together: the key under which a hop's queue gives a flow its turn (one direction of a connection)."""

from typing import Final

_PORTS: Final = frozenset((6, 17))


def flow_of(packet: bytes) -> bytes:
    """Protocol, addresses and, where they are right behind the header, ports. Fragments of two hosts are one flow: only the first has ports."""
    if packet[0] >> 4 == 4:
        if packet[0] == 0x45 and packet[9] in _PORTS and not (packet[6] & 0x3F or packet[7]):
            return packet[9:10] + packet[12:24]
        return packet[9:10] + packet[12:20]
    if packet[6] in _PORTS:
        return packet[6:7] + packet[8:44]
    return packet[6:7] + packet[8:40]


def source_of(packet: bytes) -> bytes:
    """The source address."""
    return packet[12:16] if packet[0] >> 4 == 4 else packet[8:24]


def destination_of(packet: bytes) -> bytes:
    """The destination address."""
    return packet[16:20] if packet[0] >> 4 == 4 else packet[24:40]


def is_later_fragment(packet: bytes) -> bool:
    """Whether this is a fragment that is not the first of its datagram."""
    if packet[0] >> 4 == 4:
        return bool(packet[6] & 0x1F or packet[7])
    return packet[6] == 44 and len(packet) >= 44 and bool(packet[42] or packet[43] & 0xF8)
