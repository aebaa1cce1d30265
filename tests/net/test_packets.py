"""Packets built and parsed: vectors of the RFCs, every field, and what strict parsing refuses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.net import ipv4, ipv6
from bench.net.checksum import checksum, is_sound, ones_sum
from bench.net.errors import PacketError
from bench.net.icmp import Icmp, parse_icmp4, parse_icmp6
from bench.net.ipv4 import Ipv4, parse_ipv4
from bench.net.ipv6 import FragmentHeader, Ipv6, parse_ipv6, walk
from bench.net.protocols import Proto, address
from bench.net.segment import Segment, build_segment, mss_option, parse_segment, read_mss, seq_add, seq_diff
from bench.net.udp import UdpDatagram, build_udp, parse_udp

A4, B4 = address("10.0.0.1"), address("10.0.0.2")
A6, B6 = address("2001:db8::1"), address("2001:db8::2")
u8, u16, u32 = st.integers(0, 255), st.integers(0, 65_535), st.integers(0, 2**32 - 1)
addresses4, addresses6 = st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16)


def reference_sum(data: bytes) -> int:
    """RFC 1071, 4.1, as the RFC has it: 16-bit words, carries folded."""
    total = 0
    for at in range(0, len(data) - 1, 2):
        total += data[at] << 8 | data[at + 1]
    if len(data) & 1:
        total += data[-1] << 8
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def test_the_example_of_rfc_1071() -> None:
    data = bytes.fromhex("0001f203f4f5f6f7")
    assert (ones_sum(data), checksum(data)) == (0xDDF2, 0x220D)


@given(st.binary(max_size=600))
def test_the_checksum_is_that_of_the_loop(data: bytes) -> None:
    assert checksum(data) % 0xFFFF == (reference_sum(data) ^ 0xFFFF) % 0xFFFF
    if len(data) % 2 == 0:
        assert is_sound(data + checksum(data).to_bytes(2, "big"))


def test_a_sum_of_all_ones_is_sent_as_zero() -> None:
    """RFC 1624, 3: 0xFFFF would check as well, but no sum of words that are not all zero gives it; UDP alone has 0xFFFF for it."""
    body = bytes.fromhex("0001f203f4f5f6f7")
    assert checksum(body + checksum(body).to_bytes(2, "big")) == 0
    words = {build_segment(A4, B4, Segment(7, 8, seq, 0, 0x10, 100))[16:18] for seq in range(1 << 16)}
    assert b"\0\0" in words
    assert b"\xff\xff" not in words


@given(
    addresses4,
    addresses4,
    u8,
    st.binary(max_size=100),
    u8,
    u16,
    st.booleans(),
    st.integers(0, 0x1000).map(lambda n: n * 8),
    u8,
    st.sampled_from([b"", b"\x94\x04\x00\x00", b"\x01" * 40]),
)
def test_ipv4_comes_back_as_it_was(
    source: bytes,
    destination: bytes,
    protocol: int,
    payload: bytes,
    ttl: int,
    identification: int,
    dont: bool,
    offset: int,
    tos: int,
    options: bytes,
) -> None:
    packet = Ipv4(source, destination, protocol, payload, ttl, identification, dont, False, offset, tos, options)
    assert parse_ipv4(packet.encode() + b"padding") == packet
    assert packet.length == len(packet.encode())


@given(st.binary(max_size=120))
def test_whatever_comes_parsing_gives_a_packet_or_says_where(data: bytes) -> None:
    for parse in (
        parse_ipv4,
        lambda data: walk(parse_ipv6(data)),
        parse_icmp4,
        lambda data: parse_udp(A4, B4, data),
        lambda data: parse_segment(A6, B6, data),
        read_mss,
        ipv4.parse_options,
        ipv6.parse_options,
    ):
        place = 0
        try:
            parse(data)
        except PacketError as error:
            place = error.offset
        assert 0 <= place <= len(data) + 20


GOOD = Ipv4(A4, B4, Proto.UDP, b"12345678").encode()


@pytest.mark.parametrize(
    ("data", "offset"),
    [
        (GOOD[:19], 19),
        (b"\x65" + GOOD[1:], 0),
        (b"\x44" + GOOD[1:], 0),
        (GOOD[:2] + b"\x00\x10" + GOOD[4:], 2),
        (GOOD[:-1], 2),
        (GOOD[:8] + b"\x01" + GOOD[9:], 10),
    ],
)
def test_ipv4_refuses(data: bytes, offset: int) -> None:
    with pytest.raises(PacketError) as refused:
        parse_ipv4(data)
    assert (refused.value.protocol, refused.value.offset) == ("IPv4", offset)


def test_ipv4_refuses_fragments_that_cannot_be() -> None:
    with pytest.raises(PacketError, match="beyond the longest"):
        parse_ipv4(Ipv4(A4, B4, 17, b"x" * 64, offset=65_520).encode())
    with pytest.raises(PacketError, match="not the last"):
        parse_ipv4(Ipv4(A4, B4, 17, b"x" * 7, more_fragments=True).encode())


def test_ipv4_options() -> None:
    options = (ipv4.Ipv4Option(ipv4.ROUTER_ALERT, b"\x00\x00"), ipv4.Ipv4Option(ipv4.RECORD_ROUTE, b"\x04" + bytes(4)))
    data = ipv4.build_options(options)
    assert (ipv4.parse_options(data), len(data) % 4) == (options, 0)
    assert [each.copied for each in options] == [True, False]
    for bad, offset in ((b"\x07", 20), (b"\x07\x01", 21), (b"\x01\x07\x09\x00", 22)):
        with pytest.raises(PacketError) as refused:
            ipv4.parse_options(bad)
        assert refused.value.offset == offset


@given(
    addresses6, addresses6, st.sampled_from([6, 17, 58, 59]), st.binary(max_size=90), u8, u8, st.integers(0, 0xFFFFF)
)
def test_ipv6_comes_back_as_it_was(
    source: bytes, destination: bytes, next_header: int, payload: bytes, hop_limit: int, traffic: int, flow: int
) -> None:
    packet = Ipv6(source, destination, next_header, payload, hop_limit, traffic, flow)
    assert parse_ipv6(packet.encode() + b"padding") == packet
    assert packet.length == len(packet.encode())


def test_the_extension_headers_are_walked() -> None:
    inner = FragmentHeader(Proto.UDP, 0, True, 77).encode() + b"12345678"
    hop = ipv6.build_options(Proto.FRAGMENT, (ipv6.Ipv6Option(0x05, b"\x00\x00"),))
    found = walk(Ipv6(A6, B6, Proto.HOP_BY_HOP, hop + inner))
    assert [(each.kind, each.offset) for each in found.extensions] == [(0, 40), (44, 48)]
    assert (found.protocol, found.offset, found.naming) == (Proto.UDP, 56, 48)
    assert FragmentHeader.parse(found.extensions[1].data) == FragmentHeader(Proto.UDP, 0, True, 77)
    assert ipv6.parse_options(found.extensions[0].data) == (ipv6.Ipv6Option(0x05, b"\x00\x00", 2),)
    later = FragmentHeader(Proto.HOP_BY_HOP, 8, False, 77).encode() + b"\xff\xff"
    assert walk(Ipv6(A6, B6, Proto.FRAGMENT, later)).protocol == Proto.HOP_BY_HOP  # what is in it cannot be known yet
    with pytest.raises(PacketError, match="left"):
        walk(Ipv6(A6, B6, Proto.DESTINATION_OPTIONS, b"\x3b\x01" + bytes(6)))


@given(u16.filter(bool), u16.filter(bool), st.binary(max_size=80))
def test_udp_comes_back_as_it_was(source: int, destination: int, payload: bytes) -> None:
    datagram = UdpDatagram(source, destination, payload)
    for here, there in ((A4, B4), (A6, B6)):
        data = build_udp(here, there, datagram)
        assert parse_udp(here, there, data + b"padding") == datagram
        damaged = bytes((data[0] ^ 0x10,)) + data[1:]
        with pytest.raises(PacketError, match="checksum"):
            parse_udp(here, there, damaged)


def test_udp_without_a_checksum() -> None:
    data = build_udp(A4, B4, UdpDatagram(1, 2, b"x"))
    bare = data[:6] + b"\x00\x00" + data[8:]
    assert parse_udp(A4, B4, bare).payload == b"x"
    with pytest.raises(PacketError, match="no checksum over IPv6"):
        parse_udp(A6, B6, bare)


@given(
    u16, u16, u32, u32, st.integers(0, 63), u16, st.binary(max_size=80), u16, st.sampled_from([b"", mss_option(1400)])
)
def test_tcp_comes_back_as_it_was(
    source: int,
    destination: int,
    seq: int,
    ack: int,
    flags: int,
    window: int,
    payload: bytes,
    urgent: int,
    options: bytes,
) -> None:
    segment = Segment(source, destination, seq, ack, flags, window, payload, urgent, options)
    for here, there in ((A4, B4), (A6, B6)):
        data = build_segment(here, there, segment)
        assert parse_segment(here, there, data) == segment
        with pytest.raises(PacketError, match="checksum"):
            parse_segment(here, there, data[:4] + bytes((data[4] ^ 1,)) + data[5:])


def test_tcp_options() -> None:
    assert read_mss(b"") is None
    assert (
        read_mss(b"\x01\x01\xfd\x04\x00\x00" + mss_option(1220) + b"\x00\x00") == 1220
    )  # unknown ones are passed over
    assert read_mss(b"\x00" + mss_option(1220)) is None  # after the end nothing counts
    for bad in (b"\x02", b"\x02\x00\x00\x00", b"\x02\x05\x01\x00", b"\x02\x03\x01\x00", b"\xfd\x01\x00\x00"):
        with pytest.raises(PacketError):
            read_mss(bad)


def test_sequence_numbers_wrap() -> None:
    assert seq_add(0xFFFF_FFFF, 2) == 1
    assert (seq_diff(1, 0xFFFF_FFFF), seq_diff(0xFFFF_FFFF, 1)) == (2, -2)
    assert seq_diff(0x8000_0000, 0) == -(2**31)


@given(u8, u8, u32, st.binary(max_size=80))
def test_icmp_comes_back_as_it_was(kind: int, code: int, rest: int, payload: bytes) -> None:
    message = Icmp(kind, code, rest, payload)
    if any((kind, code, rest, *payload)):  # nothing but zeros has no sum
        assert parse_icmp4(message.encode4()) == message
    assert parse_icmp6(A6, B6, message.encode6(A6, B6)) == message
