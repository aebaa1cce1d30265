"""The Internet checksum (RFC 1071), as arithmetic modulo 65 535 on one long integer: an order of magnitude faster than a loop over words."""


def ones_sum(data: bytes, initial: int = 0) -> int:
    """The ones' complement sum of 16-bit words, an odd byte padded with zero; congruent modulo 65 535, so 0 may stand for 0xFFFF."""
    value = int.from_bytes(data, "big")
    if len(data) & 1:
        value <<= 8
    return (value + initial) % 0xFFFF


def checksum(data: bytes, initial: int = 0) -> int:
    """The checksum that makes ``data`` (with its checksum field zero) sum to all ones: 0 to 0xFFFF. ``initial`` is a pseudo header's sum."""
    return 0xFFFF - ones_sum(data, initial)


def is_sound(data: bytes, initial: int = 0) -> bool:
    """Whether ``data`` with its checksum field filled sums to all ones. (All zero bytes never do: a sum of zeros is 0, not 0xFFFF.)"""
    value = int.from_bytes(data, "big")
    if len(data) & 1:
        value <<= 8
    value += initial
    return value != 0 and value % 0xFFFF == 0


def pseudo_header(source: bytes, destination: bytes, protocol: int, length: int) -> int:
    """The sum of the pseudo header of UDP, TCP (RFC 9293, 3.1) and ICMPv6 (RFC 8200, 8.1): for both versions the same words are added."""
    return int.from_bytes(source, "big") % 0xFFFF + int.from_bytes(destination, "big") % 0xFFFF + protocol + length
