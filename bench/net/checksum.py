"""The Internet checksum (RFC 1071), as arithmetic modulo 65 535 on one long integer: an order of magnitude faster than a loop over words."""


def _words(data: bytes, initial: int) -> int:
    value = int.from_bytes(data, "big")
    return initial + (value << 8 if len(data) & 1 else value)


def ones_sum(data: bytes, initial: int = 0) -> int:
    """The ones' complement sum of 16-bit words, an odd byte padded with zero; congruent modulo 65 535, so 0 may stand for 0xFFFF."""
    return _words(data, initial) % 0xFFFF


def checksum(data: bytes, initial: int = 0) -> int:
    """The checksum that makes ``data`` (with its checksum field zero) sum to all ones. ``initial`` is a pseudo header's sum.

    A ones' complement sum of anything but zeros is never 0 (RFC 1624, 3), so what is sent is 0x0000, not 0xFFFF, where both would check;
    only zeros alone give 0xFFFF. (UDP puts 0xFFFF for 0 on the wire itself: RFC 768.)
    """
    value = _words(data, initial)
    return -value % 0xFFFF if value else 0xFFFF


def is_sound(data: bytes, initial: int = 0) -> bool:
    """Whether ``data`` with its checksum field filled sums to all ones. (All zero bytes never do: a sum of zeros is 0, not 0xFFFF.)"""
    value = _words(data, initial)
    return value != 0 and value % 0xFFFF == 0


def pseudo_header(source: bytes, destination: bytes, protocol: int, length: int) -> int:
    """The sum of the pseudo header of UDP, TCP (RFC 9293, 3.1) and ICMPv6 (RFC 8200, 8.1): for both versions the same words are added."""
    return int.from_bytes(source, "big") % 0xFFFF + int.from_bytes(destination, "big") % 0xFFFF + protocol + length
