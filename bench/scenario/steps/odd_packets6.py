"""Odd packets of IPv6, ICMPv6, UDP and TCP, and what RFC 8200, 4443, 768 and 9293 have a node say to them."""

from bench.scenario.steps.odd_support import (
    ECHO_PORT,
    ICMPV6,
    TCP,
    UDP,
    UNUSED_PORT,
    UNUSED_PROTOCOL,
    Case,
    Datagram,
    Echoed,
    Reset,
    Told,
    layer4,
    tcp,
    udp,
    udp_said,
)

ECHO = 128
HOP_BY_HOP, ROUTING, FRAGMENT, NO_NEXT, OPTIONS = 0, 43, 44, 59, 60
GROUP = bytes.fromhex("ff020000000000000000000000000099")
DATA = bytes(range(48, 72))
PAD = b"\x01\x04\0\0\0\0"
"""PadN over the six bytes that the shortest extension header has left."""


class _Maker:
    """Packets from the host to the card."""

    def __init__(self, source: bytes, card: bytes) -> None:
        self.source = source
        self.card = card
        self.number = 0x7800_0000

    def packet(
        self,
        protocol: int,
        payload: bytes,
        *,
        version: int = 6,
        length: int | None = None,
        limit: int = 64,
        label: int = 0,
        source: bytes | None = None,
        destination: bytes | None = None,
    ) -> bytes:
        """A packet; what is given takes the place of what is right."""
        first = version << 28 | label
        length = len(payload) if length is None else length
        head = first.to_bytes(4, "big") + length.to_bytes(2, "big") + bytes((protocol, limit))
        return head + (source or self.source) + (destination or self.card) + payload

    def message(
        self, rest: bytes = b"\x12\x34\x00\x01" + DATA, kind: int = ECHO, code: int = 0, wrong: int = 0
    ) -> bytes:
        """A message of ICMPv6, ``rest`` after its checksum."""
        return layer4(self.source, self.card, ICMPV6, bytes((kind, code, 0, 0)) + rest, wrong)

    def echo(
        self, rest: bytes = b"\x12\x34\x00\x01" + DATA, *before: tuple[int, bytes], limit: int = 64, label: int = 0
    ) -> bytes:
        """An echo request behind extension headers: each a number, and its bytes without the first."""
        return self.behind((*before,), ICMPV6, self.message(rest), limit, label)

    def behind(
        self, before: tuple[tuple[int, bytes], ...], protocol: int, payload: bytes, limit: int = 64, label: int = 0
    ) -> bytes:
        """A payload behind extension headers."""
        kinds = [*(kind for kind, _ in before), protocol]
        whole = b"".join(bytes((after,)) + rest for (_, rest), after in zip(before, kinds[1:], strict=True))
        return self.packet(kinds[0], whole + payload, limit=limit, label=label)

    def pieces(self, protocol: int, payload: bytes, cuts: tuple[int, ...]) -> list[bytes]:
        """Fragments of one packet, cut at multiples of 8."""
        self.number += 1
        number = self.number
        return [
            self.fragment(protocol, payload[begin:end], begin | (end < len(payload)), number)
            for begin, end in zip((0, *cuts), (*cuts, len(payload)), strict=True)
        ]

    def fragment(self, protocol: int, payload: bytes, place: int, number: int | None = None) -> bytes:
        """One fragment; ``place``: offset and M as they stand in the header."""
        self.number += 1
        head = b"\0" + place.to_bytes(2, "big") + (self.number if number is None else number).to_bytes(4, "big")
        return self.behind(((FRAGMENT, head),), protocol, payload)


def cases6(source: bytes, card: bytes) -> list[Case]:
    """All of them, from the host's address to the card's."""
    make = _Maker(source, card)
    return [*_headers(make), *_extensions(make), *_messages(make), *_errors(make), *_fragments(make), *_layer4(make)]


def _pointer(place: int) -> bytes:
    return place.to_bytes(4, "big")


def _headers(make: _Maker) -> list[Case]:
    rest = b"\x12\x34\x00\x01" + DATA
    body, back = make.message(rest), (Echoed(rest, make.card),)
    return [
        Case("an echo request", "RFC 4443, 4.1", (make.echo(rest),), back),
        Case("version 5", "RFC 8200, 3", (make.packet(ICMPV6, body, version=5),)),
        Case("version 7", "RFC 8200, 3", (make.packet(ICMPV6, body, version=7),)),
        Case(
            "a payload length of one byte more than came",
            "RFC 8200, 3",
            (make.packet(ICMPV6, body, length=len(body) + 1),),
        ),
        Case("39 bytes", "RFC 8200, 3", (make.echo(rest)[:39],)),
        Case("bytes behind the payload", "RFC 8200, 3", (make.echo(rest) + b"padding",), back),
        Case("a hop limit of 1", "RFC 8200, 3", (make.echo(rest, limit=1),), back),
        Case("a flow label and a traffic class", "RFC 8200, 6 and 7", (make.echo(rest, label=0xFFFFFFF),), back),
        Case("from a group", "RFC 4291, 2.7", (make.packet(UNUSED_PROTOCOL, DATA, source=GROUP),)),
        Case("from nobody", "RFC 4443, 2.4 e", (make.packet(UNUSED_PROTOCOL, DATA, source=bytes(16)),)),
        Case("to a group of others", "RFC 4443, 2.4 e", (make.packet(UNUSED_PROTOCOL, DATA, destination=GROUP),)),
        Case("from this card itself", "RFC 3704, 2.2", (make.packet(UNUSED_PROTOCOL, DATA, source=make.card),)),
        Case(
            "to the loopback", "RFC 4291, 2.5.3", (make.packet(UNUSED_PROTOCOL, DATA, destination=bytes(15) + b"\x01"),)
        ),
    ]


def _extensions(make: _Maker) -> list[Case]:
    rest = b"\x12\x34\x00\x01" + DATA
    back = (Echoed(rest, make.card),)
    hop, options = (HOP_BY_HOP, b"\0" + PAD), (OPTIONS, b"\0" + PAD)
    long = (OPTIONS, b"\x01" + b"\x01\x0c" + bytes(12))
    pads = (OPTIONS, b"\0" + b"\0\0\0\0\0\0")

    def unknown(kind: int) -> bytes:
        return make.echo(rest, (OPTIONS, b"\0" + bytes((0, 0, kind, 2, 0xAA, 0xBB))))

    late, source_route = make.echo(rest, options, hop), make.echo(rest, (ROUTING, b"\0" + b"\0\x01\0\0\0\0"))
    later_route = make.echo(rest, options, (ROUTING, b"\0" + b"\0\x01\0\0\0\0"))
    told, group, nobody = unknown(0x9E), unknown(0xDE), make.behind((options,), UNUSED_PROTOCOL, DATA)
    second = make.echo(rest, options, (OPTIONS, b"\0" + bytes((0x9E, 1, 0, 1, 1, 0))))
    return [
        Case("hop-by-hop options", "RFC 8200, 4.3", (make.echo(rest, hop),), back),
        Case("destination options", "RFC 8200, 4.6", (make.echo(rest, options),), back),
        Case("both, and one of 16 bytes", "RFC 8200, 4.1", (make.echo(rest, hop, options, long),), back),
        Case("six Pad1", "RFC 8200, 4.2", (make.echo(rest, pads),), back),
        Case(
            "a routing header that is done",
            "RFC 8200, 4.4",
            (make.echo(rest, (ROUTING, b"\0" + b"\xfd\0\0\0\0\0")),),
            back,
        ),
        Case(
            "a routing header that is not", "RFC 8200, 4.4", (source_route,), (Told(4, 0, source_route, _pointer(42)),)
        ),
        Case("the same behind options", "RFC 8200, 4.4", (later_route,), (Told(4, 0, later_route, _pointer(50)),)),
        Case("hop-by-hop options that are not the first", "RFC 8200, 4.1", (late,), (Told(4, 1, late, _pointer(40)),)),
        Case("an unknown option to be skipped", "RFC 8200, 4.2", (unknown(0x1E),), back),
        Case("an unknown option to be dropped for", "RFC 8200, 4.2", (unknown(0x5E),)),
        Case("an unknown option to be told of", "RFC 8200, 4.2", (told,), (Told(4, 2, told, _pointer(44)),)),
        Case("one to be told of to one host", "RFC 8200, 4.2", (group,), (Told(4, 2, group, _pointer(44)),)),
        Case("one to be told of in the second header", "RFC 8200, 4.2", (second,), (Told(4, 2, second, _pointer(50)),)),
        Case(
            "a protocol that nobody has behind options", "RFC 4443, 3.4", (nobody,), (Told(4, 1, nobody, _pointer(40)),)
        ),
        Case("nothing behind the header", "RFC 8200, 4.7", (make.packet(NO_NEXT, b""),)),
        Case("bytes where there is nothing", "RFC 8200, 4.7", (make.packet(NO_NEXT, DATA),)),
        Case("nothing behind options", "RFC 8200, 4.7", (make.behind((options,), NO_NEXT, DATA),)),
    ]


def _messages(make: _Maker) -> list[Case]:
    longest = b"\xff\xff\xff\xff" + bytes(each & 0xFF for each in range(400))

    def message(rest: bytes, kind: int = ECHO, code: int = 0, wrong: int = 0) -> tuple[bytes]:
        return (make.packet(ICMPV6, make.message(rest, kind, code, wrong)),)

    return [
        Case("an echo request without data", "RFC 4443, 4.1", message(bytes(4)), (Echoed(bytes(4), make.card),)),
        Case("one of an odd length", "RFC 4443, 4.1", message(bytes(5)), (Echoed(bytes(5), make.card),)),
        Case("one of 404 bytes", "RFC 4443, 4.1", message(longest), (Echoed(longest, make.card),)),
        Case("a checksum off by one", "RFC 4443, 2.3", message(bytes(4) + DATA, wrong=1)),
        Case("7 bytes of ICMPv6", "RFC 4443, 2.1", message(bytes(3))),
        Case("no byte of ICMPv6", "RFC 4443, 2.1", (make.packet(ICMPV6, b""),)),
        Case("a message that nobody knows", "RFC 4443, 2.4 b", message(bytes(4) + DATA, kind=200)),
        Case("an error that nobody knows", "RFC 4443, 2.4 a", message(bytes(4) + make.echo()[:48], kind=100)),
        Case("an echo reply that nobody waits for", "RFC 4443, 4.2", message(bytes(4) + DATA, kind=129)),
        Case("a redirect", "RFC 4861, 8.1", message(bytes(36), kind=137)),
        Case("an error that quotes half a header", "RFC 4443, 2.4 d", message(bytes(4) + b"\x60" * 10, kind=1, code=4)),
        Case("an error that quotes IPv4", "RFC 4443, 2.4 d", message(b"\0\0\5\0" + b"\x45" * 48, kind=2)),
    ]


def _errors(make: _Maker) -> list[Case]:
    def datagram(payload: bytes) -> bytes:
        return make.packet(UDP, layer4(make.source, make.card, UDP, udp(UNUSED_PORT, payload)))

    asked, port, long = make.packet(UNUSED_PROTOCOL, DATA), datagram(DATA), datagram(bytes(500))
    about = make.packet(ICMPV6, make.message(bytes(4) + asked[:48], 1, 4))
    return [
        Case("a protocol that nobody has", "RFC 4443, 3.4", (asked,), (Told(4, 1, asked, _pointer(6)),)),
        Case("a port that nobody has", "RFC 4443, 3.1", (port,), (Told(1, 4, port, bytes(4)),)),
        Case("500 bytes for a port that nobody has", "RFC 4443, 2.4 c", (long,), (Told(1, 4, long, bytes(4)),)),
        Case("an error about what the card has not sent", "RFC 4443, 2.4 e", (about,)),
    ]


def _fragments(make: _Maker) -> list[Case]:
    rest = b"\x12\x34\x00\x02" + bytes(range(67))
    whole = make.message(rest)
    back = (Echoed(rest, make.card),)
    twice = make.pieces(ICMPV6, whole, (16, 64))
    lone, _lost = make.pieces(ICMPV6, whole, (40,))
    _gone, tail = make.pieces(ICMPV6, whole, (40,))
    first, second = make.pieces(UNUSED_PROTOCOL, DATA, (16,))
    odd, beyond = make.fragment(ICMPV6, whole[:41], 1), make.fragment(ICMPV6, whole[:24], 0xFFF8)
    edge = make.fragment(ICMPV6, whole[:7], 0xFFF8)
    number = 0x7900_0000
    inner = tuple(make.pieces(OPTIONS, bytes((UNUSED_PROTOCOL, 0)) + PAD + DATA, (16,)))
    atomic = make.fragment(UNUSED_PROTOCOL, DATA, 0)
    overlapped = (
        make.fragment(ICMPV6, whole[:40], 1, number),
        make.fragment(ICMPV6, whole[32:64], 32 | 1, number),
        make.fragment(ICMPV6, whole[40:], 40, number),
    )
    flood = [make.fragment(ICMPV6, whole[:8], 64 | 1) for _ in range(24)]
    return [
        Case("three fragments", "RFC 8200, 4.5", tuple(make.pieces(ICMPV6, whole, (8, 40))), back),
        Case("three fragments backwards", "RFC 8200, 4.5", tuple(make.pieces(ICMPV6, whole, (8, 40))[::-1]), back),
        Case("fragments that come twice", "RFC 8200, 4.5", (twice[0], twice[0], twice[2], twice[2], twice[1]), back),
        Case("fragments that overlap", "RFC 8200, 4.5", overlapped),
        Case("a fragment that is a whole packet", "RFC 6946, 4", (make.fragment(ICMPV6, whole, 0),), back),
        Case("a fragment of 41 bytes that is not the last", "RFC 8200, 4.5", (odd,), (Told(4, 0, odd, _pointer(4)),)),
        Case(
            "a fragment that ends beyond 65 535 bytes", "RFC 8200, 4.5", (beyond,), (Told(4, 0, beyond, _pointer(42)),)
        ),
        Case("one that ends there", "RFC 8200, 4.5", (edge,)),
        Case(
            "a protocol that nobody has, in fragments",
            "RFC 4443, 3.4",
            (first, second),
            (Told(4, 1, first, _pointer(40)),),
        ),
        Case(
            "the same behind options that are in the fragments",
            "RFC 4443, 3.4",
            inner,
            (Told(4, 1, inner[0], _pointer(48)),),
        ),
        Case(
            "a protocol that nobody has, in one fragment", "RFC 6946, 4", (atomic,), (Told(4, 1, atomic, _pointer(40)),)
        ),
        Case("a first fragment alone", "RFC 8200, 4.5", (lone,), (Told(3, 1, lone, bytes(4)),), 65),
        Case("a later fragment alone", "RFC 8200, 4.5", (tail,)),
        Case(
            "many packets begun, and one that is whole",
            "RFC 8200, 4.5",
            (*flood, *make.pieces(ICMPV6, whole, (24, 48))),
            back,
        ),
    ]


def _layer4(make: _Maker) -> list[Case]:
    def datagram(body: bytes, wrong: int = 0) -> bytes:
        return make.packet(UDP, layer4(make.source, make.card, UDP, body, wrong))

    def said(length: int) -> bytes:
        return make.packet(UDP, udp_said(make.source, make.card, length, b"text"))

    def segment(body: bytes, wrong: int = 0) -> bytes:
        return make.packet(TCP, layer4(make.source, make.card, TCP, body, wrong))

    return [
        Case("a datagram of no byte", "RFC 768", (datagram(udp(ECHO_PORT, b"")),), (Datagram(b""),)),
        Case("a datagram of one byte", "RFC 768", (datagram(udp(ECHO_PORT, b"x")),), (Datagram(b"x"),)),
        Case("a datagram without a checksum", "RFC 8200, 8.1", (make.packet(UDP, udp(ECHO_PORT, b"none")),)),
        Case("a checksum off by one", "RFC 1122, 4.1.3.4", (datagram(udp(ECHO_PORT, b"wrong"), 1),)),
        Case("a length of 7 bytes", "RFC 768", (said(7),)),
        Case("a length of one byte more than came", "RFC 768", (said(13),)),
        Case("7 bytes of UDP", "RFC 768", (make.packet(UDP, udp(ECHO_PORT, b"")[:7]),)),
        Case(
            "a SYN for a port that nobody has",
            "RFC 9293, 3.5.2",
            (segment(tcp(UNUSED_PORT, 100, 0, 2)),),
            (Reset(0, 101),),
        ),
        Case(
            "an acknowledgement for it",
            "RFC 9293, 3.5.2",
            (segment(tcp(UNUSED_PORT, 100, 777, 16)),),
            (Reset(777, None),),
        ),
        Case("a reset for it", "RFC 9293, 3.5.2", (segment(tcp(UNUSED_PORT, 100, 777, 4)),)),
        Case("a TCP header of 16 bytes", "RFC 9293, 3.1", (segment(tcp(UNUSED_PORT, 100, 0, 2, words=4)),)),
        Case("19 bytes of TCP", "RFC 9293, 3.1", (make.packet(TCP, tcp(UNUSED_PORT, 100, 0, 2)[:19]),)),
    ]
