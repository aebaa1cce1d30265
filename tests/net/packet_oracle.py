"""What a node may answer to a packet, written from the RFCs alone: it shares no code with ``bench.net``.

RFC 1122, 3.2.2 and 4.2.2; RFC 1812, 4.3.2 and 5.2.7; RFC 4443, 2.4; RFC 9293, 3.10.7.
"""

import ipaddress
import struct
from dataclasses import dataclass

ICMP, TCP, UDP, ICMP6 = 1, 6, 17, 58
ERRORS4 = {3, 4, 5, 11, 12}
HEADERS6 = {0, 43, 44, 60}


def ones(data: bytes) -> int:
    """RFC 1071, as it is written."""
    if len(data) % 2:
        data += b"\x00"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@dataclass(frozen=True, slots=True)
class Seen:
    """An IP packet as far as it can be understood."""

    version: int
    source: bytes
    destination: bytes
    protocol: int
    body: bytes
    later_fragment: bool
    fragment: bool
    ttl: int
    sound: bool
    """Lengths and, for IPv4, the header's checksum are right."""
    length: int

    @property
    def transport_sound(self) -> bool:
        """Whether the checksum above IP is right; True for what has none."""
        body = self.body
        if self.protocol == ICMP and self.version == 4:
            return len(body) >= 8 and ones(body) == 0xFFFF
        if self.protocol not in (TCP, UDP, ICMP6):
            return True
        if self.protocol == UDP:
            if len(body) < 8:
                return False
            length, total = struct.unpack_from("!HH", body, 4)
            if not 8 <= length <= len(body) or (total == 0 and self.version == 6):
                return False
            if total == 0:
                return True
            body = body[:length]
        pseudo = self.source + self.destination + struct.pack("!IHBB", len(body), 0, 0, self.protocol)
        return len(body) >= 4 and ones(pseudo + body) == 0xFFFF

    @property
    def is_icmp(self) -> bool:
        return self.protocol == (ICMP if self.version == 4 else ICMP6)

    @property
    def is_icmp_error(self) -> bool:
        if not self.is_icmp or not self.body:
            return False
        return self.body[0] in ERRORS4 if self.version == 4 else self.body[0] < 128 or self.body[0] == 137

    @property
    def tcp_flags(self) -> int:
        return self.body[13] if self.protocol == TCP and len(self.body) >= 20 else 0


def look(data: bytes) -> Seen | None:
    """The packet in ``data``; None where not even its addresses can be told."""
    if len(data) >= 20 and data[0] >> 4 == 4:
        return _look4(data)
    if len(data) >= 40 and data[0] >> 4 == 6:
        return _look6(data)
    return None


def _look4(data: bytes) -> Seen:
    size, total, word = (data[0] & 15) * 4, int.from_bytes(data[2:4], "big"), int.from_bytes(data[6:8], "big")
    sound = 20 <= size <= total <= len(data) and ones(data[:size]) == 0xFFFF
    body = data[size:total]
    later = bool(word & 0x1FFF)
    return Seen(4, data[12:16], data[16:20], data[9], body, later, later or bool(word & 0x2000), data[8], sound, total)


def _look6(data: bytes) -> Seen:
    length, kind = int.from_bytes(data[4:6], "big"), data[6]
    sound = 40 + length <= len(data)
    at, end = 40, min(len(data), 40 + length)
    later = fragment = False
    while kind in HEADERS6 and at + 8 <= end and not later:
        size = 8 if kind == 44 else (data[at + 1] + 1) * 8
        if at + size > end:
            break
        if kind == 44:
            word = int.from_bytes(data[at + 2 : at + 4], "big")
            later, fragment = bool(word & 0xFFF8), fragment or bool(word & 0xFFF9)
        kind = data[at]
        at += size
    return Seen(6, data[8:24], data[24:40], kind, data[at:end], later, fragment, data[7], sound, 40 + length)


def names_one_host(packed: bytes) -> bool:
    """Whether an error may go there: one host that is somewhere on the net."""
    if len(packed) == 4:
        return packed[0] not in (0, 127) and packed[0] < 224
    where = ipaddress.IPv6Address(packed)
    return not (where.is_multicast or where.is_unspecified or where.is_loopback)


def is_group(packed: bytes) -> bool:
    return packed[0] >> 4 == 14 or packed == b"\xff" * 4 if len(packed) == 4 else packed[0] == 255


class Oracle:
    """Judges what a node with these addresses sent, packet by packet."""

    def __init__(self, own: set[bytes], mtus: dict[int, int]) -> None:
        self.own = own
        self.mtus = mtus
        self.recent: list[bytes] = []
        """What came lately: an error about a datagram in fragments quotes an earlier packet."""
        self.judged = 0

    def judge(self, came: bytes, number: int, sent: list[tuple[int, bytes]]) -> None:
        """Raises AssertionError, naming the rule, where one of ``sent`` must not follow ``came`` (which came over interface ``number``)."""
        self.recent.append(came)
        del self.recent[:-400]
        cause = look(came)
        for out, data in sent:
            self.judged += 1
            answer = look(data)
            assert answer is not None, "what is sent is IP"
            assert answer.sound, "what is sent has sound lengths and checksums"
            assert answer.fragment or answer.source not in self.own or answer.transport_sound, (
                "checksum of what is sent"
            )
            assert len(data) == answer.length <= self.mtus[out], "nothing longer than the MTU"
            assert cause is not None, "what is no IP packet has no consequences"
            assert cause.sound, "what has no sound header has no consequences"
            assert not is_group(cause.source), "nothing for a group as a source"
            if answer.source in self.own:
                self._answer(cause, answer)
            else:
                self._forwarded(cause, answer, number, out)

    def _answer(self, cause: Seen, answer: Seen) -> None:
        assert names_one_host(answer.destination), "no answer to what names no host"
        if answer.later_fragment:
            return
        if answer.is_icmp_error:
            self._error(answer)
            return
        if cause.destination in self.own and not cause.fragment:
            assert cause.transport_sound, "no answer to a wrong checksum"
        if answer.is_icmp:
            assert answer.body[0] in (0, 129), "a node asks nothing by itself"
            assert cause.is_icmp, "an echo reply follows an echo request"
            assert cause.fragment or cause.body[0] in (8, 128), "an echo reply follows an echo request"
            assert cause.version == 6 or not is_group(cause.destination), "no echo reply for a group over IPv4"
            assert answer.destination == cause.source, "an echo reply goes to who asked"
        if answer.tcp_flags & 4 and not cause.fragment:
            assert cause.protocol == TCP, "a reset follows a segment"
            assert not cause.tcp_flags & 4, "no reset to a reset"
            assert not is_group(cause.destination), "no reset for a group"

    def _error(self, answer: Seen) -> None:
        quoted = answer.body[8:]
        assert answer.length <= (576 if answer.version == 4 else 1280), "an error stays short"
        assert not answer.fragment or answer.length <= 104, "an error is cut only where hardly more than headers pass"
        origin = next((each for each in reversed(self.recent) if each.startswith(quoted)), None)
        assert origin is not None, "an error quotes what came, unchanged"
        about = look(origin)
        assert about is not None, "an error is about an IP packet"
        assert about.sound, "no error about a wrong header checksum"
        assert not about.is_icmp_error or about.later_fragment, "no error about an error"
        assert about.version == 6 or not about.later_fragment, (
            "no error about a later fragment (RFC 4443 has no such rule)"
        )
        assert names_one_host(about.source), "no error to what names no host"
        assert about.source == answer.destination, "an error goes to the source"
        exempt = answer.version == 6 and (answer.body[0] == 2 or (answer.body[0], answer.body[1]) == (4, 2))
        assert exempt or not is_group(about.destination), "no error about a packet for a group"
        if (
            about.destination in self.own
            and not about.fragment
            and answer.body[:2] == (b"\x03\x03" if answer.version == 4 else b"\x01\x04")
        ):
            assert about.transport_sound, "no port unreachable for a wrong checksum"

    def _forwarded(self, cause: Seen, answer: Seen, number: int, out: int) -> None:
        assert (cause.source, cause.destination) == (answer.source, answer.destination), "forwarded as it came"
        assert cause.destination not in self.own, "what is ours goes no further"
        assert cause.ttl > 1, "a packet without hops left goes no further"
        assert answer.ttl == cause.ttl - 1, "a hop is counted"
        assert out != number, "nothing goes back over a link between two"
        assert not is_group(cause.destination), "groups are not routed"
        assert names_one_host(cause.source), "only what can be answered is forwarded"
        assert answer.body in cause.body, "payloads go unchanged"
