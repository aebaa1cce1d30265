"""dpkt decodes what we build and finds its own checksums in it; we decode what dpkt builds."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.net.icmp import Icmp, parse_icmp4, parse_icmp6
from bench.net.ipv4 import Ipv4, parse_ipv4
from bench.net.ipv6 import FragmentHeader, Ipv6, build_options, parse_ipv6, walk
from bench.net.ppp.packets import ControlPacket, PppProtocol
from bench.net.protocols import Proto
from bench.net.segment import Segment, build_segment, mss_option, parse_segment
from bench.net.udp import UdpDatagram, build_udp, parse_udp
from tests.net.tcp_pair import A4, A6, B4, B6, Pair

dpkt = pytest.importorskip("dpkt", reason="dpkt is not installed (pip install -e '.[dev]')")
pytestmark = pytest.mark.witness

u8, u16, u32 = st.integers(0, 255), st.integers(0, 65_535), st.integers(0, 2**32 - 1)
ports = st.integers(1, 65_535)
payloads = st.binary(max_size=300)
v4 = st.binary(min_size=4, max_size=4)
EXAMPLES = settings(max_examples=100, deadline=None)


@EXAMPLES
@given(
    v4,
    v4,
    payloads,
    u8,
    u16,
    st.booleans(),
    st.integers(0, 0x1FFF),
    st.sampled_from([b"", b"\x94\x04\x00\x00", b"\x01" * 40]),
)
def test_ipv4(
    source: bytes,
    destination: bytes,
    payload: bytes,
    ttl: int,
    identification: int,
    dont: bool,
    offset: int,
    options: bytes,
) -> None:
    offset = min(offset, (65_535 - 20 - len(options) - len(payload)) // 8)
    packet = Ipv4(source, destination, 253, payload, ttl, identification, dont, False, offset * 8, 0, options)
    ours = packet.encode()
    theirs = dpkt.ip.IP(ours)
    assert (theirs.src, theirs.dst, theirs.p, theirs.ttl, theirs.id) == (source, destination, 253, ttl, identification)
    assert (bool(theirs.df), theirs.offset, theirs.opts, bytes(theirs.data)) == (dont, offset, options, payload)
    theirs.sum = 0
    assert bytes(theirs) == ours
    made = dpkt.ip.IP(src=source, dst=destination, p=253, ttl=ttl, id=identification, data=payload)
    made.len = len(made)
    assert parse_ipv4(bytes(made)) == Ipv4(source, destination, 253, payload, ttl, identification)


@EXAMPLES
@given(payloads, u32, st.booleans())
def test_ipv6_with_headers(payload: bytes, identification: int, more: bool) -> None:
    fragment = FragmentHeader(253, 0, more, identification).encode() + payload
    ours = Ipv6(A6, B6, Proto.HOP_BY_HOP, build_options(Proto.FRAGMENT, ()) + fragment, 9, 3, 77).encode()
    theirs = dpkt.ip6.IP6(ours)
    assert (theirs.src, theirs.dst, theirs.hlim, theirs.fc, theirs.flow) == (A6, B6, 9, 3, 77)
    found = theirs.extension_hdrs[44]
    assert (found.id, bool(found.m_flag), found.frag_off) == (identification, more, 0)
    made = dpkt.ip6.IP6(src=A6, dst=B6, nxt=253, hlim=5, data=payload, plen=len(payload))
    assert parse_ipv6(bytes(made)) == Ipv6(A6, B6, 253, payload, 5)
    assert walk(parse_ipv6(ours)).protocol == 253


@EXAMPLES
@given(ports, ports, u32, u32, st.integers(0, 63), u16, payloads, u16, st.one_of(st.none(), u16))
def test_tcp(
    source_port: int,
    destination_port: int,
    seq: int,
    ack: int,
    flags: int,
    window: int,
    payload: bytes,
    urgent: int,
    mss: int | None,
) -> None:
    options = b"" if mss is None else mss_option(mss)
    segment = Segment(source_port, destination_port, seq, ack, flags, window, payload, urgent, options)
    ours = build_segment(A4, B4, segment)
    theirs = dpkt.tcp.TCP(ours)
    assert (theirs.sport, theirs.dport, theirs.seq, theirs.ack, theirs.flags) == (
        source_port,
        destination_port,
        seq,
        ack,
        flags,
    )
    assert (theirs.win, theirs.urp, bytes(theirs.data)) == (window, urgent, payload)
    assert dpkt.tcp.parse_opts(theirs.opts) == ([] if mss is None else [(2, mss.to_bytes(2, "big"))])
    theirs.sum = 0
    whole = dpkt.ip.IP(src=A4, dst=B4, p=6, data=theirs)
    assert bytes(whole)[20:] == ours  # with dpkt's checksum
    assert parse_segment(A4, B4, bytes(whole)[20:]) == segment


@EXAMPLES
@given(ports, ports, payloads)
def test_udp(source_port: int, destination_port: int, payload: bytes) -> None:
    theirs = dpkt.udp.UDP(sport=source_port, dport=destination_port, data=payload)
    theirs.ulen = len(theirs)
    body = bytes(dpkt.ip.IP(src=A4, dst=B4, p=17, data=theirs))[20:]
    datagram = UdpDatagram(source_port, destination_port, payload)
    assert build_udp(A4, B4, datagram) == body
    assert parse_udp(A4, B4, body) == datagram


@EXAMPLES
@given(u16, u16, payloads)
def test_icmp_echo_of_both_versions(identifier: int, sequence: int, payload: bytes) -> None:
    message = Icmp(8, 0, identifier << 16 | sequence, payload)
    theirs = dpkt.icmp.ICMP(message.encode4())
    assert (theirs.type, theirs.data.id, theirs.data.seq, bytes(theirs.data.data)) == (8, identifier, sequence, payload)
    theirs.sum = 0
    assert parse_icmp4(bytes(theirs)) == message
    six = Icmp(128, 0, identifier << 16 | sequence, payload)
    body = six.encode6(A6, B6)
    packet = dpkt.ip6.IP6(Ipv6(A6, B6, Proto.ICMPV6, body).encode())
    assert (packet.data.type, packet.data.data.id, packet.data.data.seq) == (128, identifier, sequence)
    packet.data.sum = 0
    assert parse_icmp6(A6, B6, bytes(packet)[40:]) == six


def test_lcp_as_a_ppp_frame() -> None:
    lcp = ControlPacket(1, 7, b"\x01\x04\x05\xdc").encode()
    frame = dpkt.ppp.PPP(b"\xff\x03" + PppProtocol.LCP.to_bytes(2, "big") + lcp)
    assert (frame.p, bytes(frame.data)) == (0xC021, lcp)


@pytest.mark.parametrize("v6", [False, True])
def test_a_whole_conversation(v6: bool) -> None:
    """Every packet of two ends of ours, the fast path's included, rebuilt by dpkt with its checksums to the same bytes."""
    pair = Pair(576, v6=v6)
    pair.client.todo += bytes(range(256)) * 40
    pair.client.finish = True
    pair.connect()
    pair.run(60, lambda: pair.client.reason is not None and pair.server.reason is not None)
    assert len(pair.seen) > 20
    got = bytearray()
    for _, outward, data in pair.seen:
        packet = dpkt.ip6.IP6(data) if v6 else dpkt.ip.IP(data)
        packet.data.sum = 0
        if not v6:
            packet.sum = 0
        assert bytes(packet) == data
        if outward:
            got += packet.data.data
    assert bytes(got) == bytes(range(256)) * 40
