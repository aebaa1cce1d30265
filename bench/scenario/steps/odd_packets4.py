"""Odd packets of IPv4, ICMP, UDP and TCP, and what RFC 791, 792, 768, 9293 and 1122 have a host say to them."""

from bench.scenario.steps.odd_support import (
    ECHO_PORT,
    ICMP,
    TCP,
    UDP,
    UNUSED_PORT,
    UNUSED_PROTOCOL,
    Case,
    Datagram,
    Echoed,
    Reset,
    Told,
    icmp4,
    layer4,
    tcp,
    udp,
    udp_said,
)
from bench.scenario.steps.tcp_peer import internet_checksum

ECHO = 8
BROADCAST = b"\xff\xff\xff\xff"
GROUP = b"\xe0\x00\x00\x01"
DATA = bytes(range(48, 72))
MORE = 0x2000


class _Maker:
    """Packets from the host to the card."""

    def __init__(self, source: bytes, card: bytes) -> None:
        self.source = source
        self.card = card
        self.number = 0x7800

    def packet(
        self,
        protocol: int,
        payload: bytes,
        *,
        version: int = 4,
        words: int | None = None,
        length: int | None = None,
        number: int | None = None,
        fragment: int = 0,
        ttl: int = 64,
        tos: int = 0,
        wrong: int = 0,
        source: bytes | None = None,
        destination: bytes | None = None,
        options: bytes = b"",
    ) -> bytes:
        """A datagram; what is given takes the place of what is right. ``fragment``: flags and offset as they stand in the header."""
        self.number += 1
        words = 5 + len(options) // 4 if words is None else words
        length = 20 + len(options) + len(payload) if length is None else length
        head = bytes((version << 4 | words, tos)) + length.to_bytes(2, "big")
        head += (self.number if number is None else number).to_bytes(2, "big") + fragment.to_bytes(2, "big")
        head += bytes((ttl, protocol, 0, 0)) + (source or self.source) + (destination or self.card) + options
        total = internet_checksum(head) ^ wrong
        return head[:10] + total.to_bytes(2, "big") + head[12:] + payload

    def echo(self, rest: bytes = b"\x12\x34\x00\x01" + DATA, **changes: int | bytes | None) -> bytes:
        """An echo request, right but for the changes of its header."""
        return self.packet(ICMP, icmp4(ECHO, 0, rest), **changes)  # type: ignore[arg-type]

    def udp(self, body: bytes, wrong: int = 0, **changes: bytes) -> bytes:
        """A datagram of UDP."""
        destination = changes.get("destination", self.card)
        whole = layer4(changes.get("source", self.source), destination, UDP, body, wrong)
        return self.packet(UDP, whole, **changes)  # type: ignore[arg-type]

    def tcp(self, body: bytes, wrong: int = 0) -> bytes:
        """A segment."""
        return self.packet(TCP, layer4(self.source, self.card, TCP, body, wrong))

    def pieces(self, protocol: int, payload: bytes, cuts: tuple[int, ...]) -> list[bytes]:
        """Fragments of one datagram, cut at multiples of 8."""
        self.number += 1
        number, ends = self.number, (*cuts, len(payload))
        return [
            self.packet(
                protocol, payload[begin:end], number=number, fragment=begin >> 3 | (MORE if end < len(payload) else 0)
            )
            for begin, end in zip((0, *cuts), ends, strict=True)
        ]


def cases4(source: bytes, card: bytes) -> list[Case]:
    """All of them, from the host's address to the card's."""
    make = _Maker(source, card)
    return [*_headers(make), *_messages(make), *_errors(make), *_fragments(make), *_layer4(make)]


def _headers(make: _Maker) -> list[Case]:
    rest = b"\x12\x34\x00\x01" + DATA
    back = (Echoed(rest, make.card),)
    options = {
        "no operations": b"\x01\x01\x01\x01",
        "the end of options": b"\x00\x00\x00\x00",
        "an option that nobody knows": b"\x5e\x04\xaa\xbb",
        "a router alert": b"\x94\x04\x00\x00",
        "an option to the last byte": b"\x01\x5e\x07\x01\x02\x03\x04\x05",
    }
    bad_options = {
        "an option of length 0": b"\x5e\x00\x00\x00",
        "an option of length 1": b"\x5e\x01\x00\x00",
        "an option longer than the header": b"\x5e\x05\x00\x00",
        "an option without a length": b"\x01\x01\x01\x5e",
    }
    wrong_options = [(name, make.echo(rest, options=each)) for name, each in bad_options.items()]
    return [
        Case("an echo request", "RFC 792", (make.echo(rest),), back),
        Case("version 5", "RFC 1122, 3.2.1.1", (make.echo(rest, version=5),)),
        Case("version 6 in a header of IPv4", "RFC 1122, 3.2.1.1", (make.echo(rest, version=6),)),
        Case("a header of 16 bytes", "RFC 791, 3.1", (make.echo(rest, words=4),)),
        Case("a header longer than the packet", "RFC 791, 3.1", (make.packet(ICMP, b"", words=6, length=20),)),
        Case("a total length of less than the header", "RFC 791, 3.1", (make.echo(rest, length=19),)),
        Case(
            "a total length of one byte more than came",
            "RFC 791, 3.1",
            (make.echo(rest, length=20 + 8 + len(DATA) + 1),),
        ),
        Case("a header checksum off by one", "RFC 1122, 3.2.1.2", (make.echo(rest, wrong=1),)),
        Case("a header checksum wrong in its first byte", "RFC 1122, 3.2.1.2", (make.echo(rest, wrong=0x8000),)),
        Case("19 bytes", "RFC 791, 3.1", (make.echo(rest)[:19],)),
        Case("bytes behind the total length", "RFC 791, 3.1", (make.echo(rest) + b"padding",), back),
        Case("a time to live of 1", "RFC 1122, 3.2.1.7", (make.echo(rest, ttl=1),), back),
        Case("a type of service", "RFC 1122, 3.2.1.6", (make.echo(rest, tos=0xFC),), back),
        Case("the flag that is reserved", "RFC 1122, 3.2.1", (make.echo(rest, fragment=0x4000),), back),
        *(Case(name, "RFC 1122, 3.2.1.8", (make.echo(rest, options=each),), back) for name, each in options.items()),
        *(
            Case(name, "RFC 1122, 3.2.2.5", (each,), (Told(12, 0, each),), optional=True)
            for name, each in wrong_options
        ),
        Case("from a group", "RFC 1122, 3.2.1.3", (make.echo(rest, source=GROUP),)),
        Case("from everybody", "RFC 1122, 3.2.1.3", (make.echo(rest, source=BROADCAST),)),
        Case("from this card itself", "RFC 3704, 2.2", (make.echo(rest, source=make.card),)),
        Case("from the loopback", "RFC 1122, 3.2.1.3", (make.echo(rest, source=b"\x7f\0\0\x01"),)),
        Case("to the loopback", "RFC 1122, 3.2.1.3", (make.echo(rest, destination=b"\x7f\0\0\x01"),)),
    ]


def _messages(make: _Maker) -> list[Case]:
    longest = b"\xff\xff\xff\xff" + bytes(each & 0xFF for each in range(400))
    short = icmp4(ECHO, 0, b"")
    return [
        Case("an echo request without data", "RFC 792", (make.echo(bytes(4)),), (Echoed(bytes(4), make.card),)),
        Case("one of an odd length", "RFC 792", (make.echo(bytes(5)),), (Echoed(bytes(5), make.card),)),
        Case("one of 404 bytes", "RFC 792", (make.echo(longest),), (Echoed(longest, make.card),)),
        Case(
            "a checksum off by one", "RFC 1122, 3.2.2", (make.packet(ICMP, icmp4(ECHO, 0, bytes(4) + DATA, wrong=1)),)
        ),
        Case("an ICMP message of 4 bytes", "RFC 792", (make.packet(ICMP, short),)),
        Case("an ICMP message of 7 bytes", "RFC 792", (make.packet(ICMP, icmp4(ECHO, 0, bytes(3))),)),
        Case("an ICMP message of no byte", "RFC 792", (make.packet(ICMP, b""),)),
        Case("a type that nobody knows", "RFC 1122, 3.2.2", (make.packet(ICMP, icmp4(42, 0, bytes(4) + DATA)),)),
        Case("an echo reply that nobody waits for", "RFC 792", (make.packet(ICMP, icmp4(0, 0, bytes(4) + DATA)),)),
        Case("a source quench", "RFC 6633", (make.packet(ICMP, icmp4(4, 0, bytes(4) + make.echo()[:28])),)),
        Case("a redirect", "RFC 1122, 3.2.2.2", (make.packet(ICMP, icmp4(5, 1, make.source + make.echo()[:28])),)),
        Case(
            "an error that quotes half a header",
            "RFC 1122, 3.2.2",
            (make.packet(ICMP, icmp4(3, 3, bytes(4) + b"\x45" * 10)),),
        ),
        Case(
            "an error that quotes IPv6",
            "RFC 1122, 3.2.2",
            (make.packet(ICMP, icmp4(3, 4, b"\0\0\0\x60" + b"\x60" * 28)),),
        ),
    ]


def _errors(make: _Maker) -> list[Case]:
    asked = make.packet(UNUSED_PROTOCOL, DATA)
    port = make.udp(udp(UNUSED_PORT, DATA))
    long = make.udp(udp(UNUSED_PORT, bytes(500)))
    about = icmp4(3, 2, bytes(4) + asked[:28])
    group = make.udp(udp(UNUSED_PORT, DATA), destination=GROUP)
    everybody = make.udp(udp(UNUSED_PORT, DATA), destination=BROADCAST)
    options = make.packet(UNUSED_PROTOCOL, DATA, options=b"\x01\x01\x01\x00")
    return [
        Case("a protocol that nobody has", "RFC 1122, 3.2.2.1", (asked,), (Told(3, 2, asked, bytes(4)),)),
        Case(
            "a protocol that nobody has, with options", "RFC 1122, 3.2.2", (options,), (Told(3, 2, options, bytes(4)),)
        ),
        Case("a port that nobody has", "RFC 1122, 3.2.2.1", (port,), (Told(3, 3, port, bytes(4)),)),
        Case("500 bytes for a port that nobody has", "RFC 1812, 4.3.2.3", (long,), (Told(3, 3, long, bytes(4)),)),
        Case("an error about what the card has not sent", "RFC 1122, 3.2.2", (make.packet(ICMP, about),)),
        Case("a port that nobody has, asked of a group", "RFC 1122, 3.2.2", (group,)),
        Case("a port that nobody has, asked of everybody", "RFC 1122, 3.2.2", (everybody,)),
        Case(
            "a protocol that nobody has, from everybody",
            "RFC 1122, 3.2.2",
            (make.packet(UNUSED_PROTOCOL, DATA, source=BROADCAST),),
        ),
        Case(
            "a protocol that nobody has, from a group",
            "RFC 1122, 3.2.2",
            (make.packet(UNUSED_PROTOCOL, DATA, source=GROUP),),
        ),
        Case(
            "a protocol that nobody has, from nobody",
            "RFC 1122, 3.2.2",
            (make.packet(UNUSED_PROTOCOL, DATA, source=bytes(4)),),
        ),
        Case(
            "a later fragment of a protocol that nobody has",
            "RFC 1122, 3.2.2",
            (make.packet(UNUSED_PROTOCOL, DATA, fragment=9),),
        ),
    ]


def _fragments(make: _Maker) -> list[Case]:
    rest = b"\x12\x34\x00\x02" + bytes(range(67))
    whole = icmp4(ECHO, 0, rest)
    back = (Echoed(rest, make.card),)
    first, second, third = make.pieces(ICMP, whole, (8, 40))
    twice = make.pieces(ICMP, whole, (16, 64))
    one, two = make.pieces(UNUSED_PROTOCOL, DATA, (16,))
    lone, _lost = make.pieces(ICMP, whole, (40,))
    _gone, tail = make.pieces(ICMP, whole, (40,))
    odd = make.packet(ICMP, whole[:41], fragment=MORE)
    mixed = make.pieces(ICMP, whole, (40,))
    ports = layer4(make.source, make.card, UDP, udp(ECHO_PORT, DATA))
    number = int.from_bytes(mixed[0][4:6], "big")
    same = [
        make.packet(UDP, ports[:16], number=number, fragment=MORE),
        make.packet(UDP, ports[16:], number=number, fragment=2),
    ]
    last = make.packet(ICMP, whole[:24], fragment=0x1FFF)
    flood = [make.packet(ICMP, whole[:8], fragment=MORE | 64) for _ in range(24)]
    again = make.pieces(ICMP, whole, (24, 48))
    return [
        Case("three fragments", "RFC 791, 3.2", (first, second, third), back),
        Case("three fragments backwards", "RFC 791, 3.2", tuple(reversed(make.pieces(ICMP, whole, (8, 40)))), back),
        Case("fragments that come twice", "RFC 791, 3.2", (twice[0], twice[0], twice[2], twice[2], twice[1]), back),
        Case(
            "two datagrams of one number and two protocols",
            "RFC 791, 3.2",
            (mixed[0], same[0], mixed[1], same[1]),
            (*back, Datagram(DATA)),
        ),
        Case("a fragment of 41 bytes that is not the last", "RFC 791, 3.2", (odd,)),
        Case("a fragment that ends beyond 65 535 bytes", "RFC 791, 3.2", (last,)),
        Case(
            "a protocol that nobody has, in two fragments", "RFC 1122, 3.2.2", (one, two), (Told(3, 2, one, bytes(4)),)
        ),
        Case("a first fragment alone", "RFC 1122, 3.3.2", (lone,), (Told(11, 1, lone, bytes(4)),), 125),
        Case("a later fragment alone", "RFC 792", (tail,)),
        Case("many datagrams begun, and one that is whole", "RFC 1122, 3.3.2", (*flood, *again), back),
    ]


def _layer4(make: _Maker) -> list[Case]:
    def echo(payload: bytes, **changes: int) -> bytes:
        return make.udp(udp(ECHO_PORT, payload, **changes))

    def said(length: int) -> bytes:
        return make.packet(UDP, udp_said(make.source, make.card, length, b"text"))

    none = make.packet(UDP, udp(ECHO_PORT, b"none"))
    longer = make.packet(UDP, layer4(make.source, make.card, UDP, udp(ECHO_PORT, b"abc")) + b"behind it")
    return [
        Case("a datagram of no byte", "RFC 768", (echo(b""),), (Datagram(b""),)),
        Case("a datagram of one byte", "RFC 768", (echo(b"x"),), (Datagram(b"x"),)),
        Case("from port 65 535", "RFC 768", (echo(b"last", source_port=65_535),), (Datagram(b"last", 65_535),)),
        Case("from port 1", "RFC 768", (echo(b"first", source_port=1),), (Datagram(b"first", 1),)),
        Case("a datagram without a checksum", "RFC 768", (none,), (Datagram(b"none"),)),
        Case("a checksum off by one", "RFC 1122, 4.1.3.4", (make.udp(udp(ECHO_PORT, b"wrong"), wrong=1),)),
        Case("a length of 7 bytes", "RFC 768", (said(7),)),
        Case("a length of one byte more than came", "RFC 768", (said(13),)),
        Case("7 bytes of UDP", "RFC 768", (make.packet(UDP, udp(ECHO_PORT, b"")[:7]),)),
        Case("bytes behind the datagram", "RFC 768", (longer,), (Datagram(b"abc"),)),
        Case(
            "a SYN for a port that nobody has",
            "RFC 9293, 3.5.2",
            (make.tcp(tcp(UNUSED_PORT, 100, 0, 2)),),
            (Reset(0, 101),),
        ),
        Case("data for it", "RFC 9293, 3.5.2", (make.tcp(tcp(UNUSED_PORT, 100, 0, 0, b"data")),), (Reset(0, 104),)),
        Case(
            "an acknowledgement for it",
            "RFC 9293, 3.5.2",
            (make.tcp(tcp(UNUSED_PORT, 100, 777, 16)),),
            (Reset(777, None),),
        ),
        Case("a reset for it", "RFC 9293, 3.5.2", (make.tcp(tcp(UNUSED_PORT, 100, 777, 4)),)),
        Case("a SYN with a wrong checksum", "RFC 9293, 3.1", (make.tcp(tcp(UNUSED_PORT, 100, 0, 2), wrong=1),)),
        Case("a TCP header of 16 bytes", "RFC 9293, 3.1", (make.tcp(tcp(UNUSED_PORT, 100, 0, 2, words=4)),)),
        Case(
            "a TCP header longer than the segment", "RFC 9293, 3.1", (make.tcp(tcp(UNUSED_PORT, 100, 0, 2, words=6)),)
        ),
        Case("19 bytes of TCP", "RFC 9293, 3.1", (make.packet(TCP, tcp(UNUSED_PORT, 100, 0, 2)[:19]),)),
    ]
