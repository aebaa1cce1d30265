"""scapy builds, we decode; we build, scapy decodes and rebuilds it to the same bytes, its own checksums put in."""

import ipaddress
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.net import ipv4, ipv6
from bench.net.fragments import fragment4, fragment6
from bench.net.icmp import Icmp, Icmp4, Icmp6, parse_icmp4, parse_icmp6
from bench.net.ipv4 import Ipv4, parse_ipv4
from bench.net.ipv6 import FragmentHeader, Ipv6, Ipv6Option, parse_ipv6, walk
from bench.net.ppp.packets import Code, ControlPacket, Option, PppProtocol, encode_options, parse_control, parse_options
from bench.net.protocols import Proto, text
from bench.net.segment import Segment, build_segment, mss_option, parse_segment, read_mss
from bench.net.udp import UdpDatagram, build_udp, parse_udp

scapy_inet = pytest.importorskip("scapy.layers.inet", reason="scapy is not installed (pip install -e '.[dev]')")
scapy_inet6 = pytest.importorskip("scapy.layers.inet6")
scapy_ppp = pytest.importorskip("scapy.layers.ppp")
scapy_packet = pytest.importorskip("scapy.packet")

IP, TCP, UDP, ICMP = scapy_inet.IP, scapy_inet.TCP, scapy_inet.UDP, scapy_inet.ICMP
IPv6 = scapy_inet6.IPv6
pytestmark = pytest.mark.witness

u8, u16, u32 = st.integers(0, 255), st.integers(0, 65_535), st.integers(0, 2**32 - 1)
ports = st.integers(1, 65_535)
payloads = st.binary(max_size=300)
v4 = st.binary(min_size=4, max_size=4)
v6 = st.binary(min_size=16, max_size=16).filter(lambda packed: packed[0] != 0xFF)
EXAMPLES = settings(max_examples=60, deadline=None)


def rebuilt(packet: object, *fields: tuple[type, str]) -> bytes:
    """The packet as scapy makes it anew, with these fields computed by scapy."""
    for layer, field in fields:
        delattr(packet[layer], field)  # type: ignore[index]
    return bytes(packet)  # type: ignore[call-overload, no-any-return]


@EXAMPLES
@given(
    v4,
    v4,
    payloads,
    u8,
    u16,
    u8,
    st.booleans(),
    st.sampled_from([b"", b"\x94\x04\x00\x00", b"\x07\x07\x04\x00\x00\x00\x00\x00"]),
)
def test_ipv4_with_options(
    source: bytes,
    destination: bytes,
    payload: bytes,
    ttl: int,
    identification: int,
    tos: int,
    dont: bool,
    options: bytes,
) -> None:
    ours = Ipv4(source, destination, 253, payload, ttl, identification, dont, tos=tos, options=options).encode()
    theirs = IP(ours)
    assert (theirs.src, theirs.dst, theirs.ttl, theirs.id, theirs.tos) == (
        text(source),
        text(destination),
        ttl,
        identification,
        tos,
    )
    assert (theirs.flags.DF, bytes(theirs.payload)) == (dont, payload)
    assert rebuilt(theirs, (IP, "chksum"), (IP, "len"), (IP, "ihl")) == ours
    built = bytes(
        IP(
            src=text(source),
            dst=text(destination),
            ttl=ttl,
            id=identification,
            tos=tos,
            proto=253,
            options=theirs.options,
        )
        / payload
    )
    found = parse_ipv4(built)
    assert (found.source, found.destination, found.payload, found.ttl, found.tos) == (
        source,
        destination,
        payload,
        ttl,
        tos,
    )
    assert found.options == options
    assert len(ipv4.parse_options(found.options)) == bool(options)


@EXAMPLES
@given(st.integers(1, 3000), st.integers(68, 1500), u16)
def test_ipv4_fragments(size: int, mtu: int, identification: int) -> None:
    body = bytes(index % 251 for index in range(size))
    whole = Ipv4(bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2)), 253, body, 64, identification)
    ours = [each.encode() for each in (fragment4(whole, mtu) if whole.length > mtu else (whole,))]
    assert max(map(len, ours)) <= mtu
    (again,) = scapy_inet.defragment([IP(each) for each in ours])
    assert bytes(again.payload) == body
    theirs: Iterable[object] = scapy_inet.fragment(IP(whole.encode()), fragsize=(mtu - 20) // 8 * 8)
    pieces = [parse_ipv4(bytes(each)) for each in theirs]  # type: ignore[call-overload]
    assert b"".join(each.payload for each in sorted(pieces, key=lambda each: each.offset)) == body
    assert [each.more_fragments for each in pieces] == [True] * (len(pieces) - 1) + [False]


@EXAMPLES
@given(v6, v6, payloads, u8, u8, st.integers(0, 0xFFFFF))
def test_ipv6(source: bytes, destination: bytes, payload: bytes, hop_limit: int, traffic: int, flow: int) -> None:
    ours = Ipv6(source, destination, 253, payload, hop_limit, traffic, flow).encode()
    theirs = IPv6(ours)
    assert [ipaddress.ip_address(each).packed for each in (theirs.src, theirs.dst)] == [source, destination]
    assert (theirs.hlim, theirs.tc, theirs.fl, theirs.nh, bytes(theirs.payload)) == (
        hop_limit,
        traffic,
        flow,
        253,
        payload,
    )
    assert rebuilt(theirs, (IPv6, "plen")) == ours
    built = IPv6(src=text(source), dst=text(destination), hlim=hop_limit, tc=traffic, fl=flow, nh=253) / payload
    assert parse_ipv6(bytes(built)) == Ipv6(source, destination, 253, payload, hop_limit, traffic, flow)


@EXAMPLES
@given(
    payloads,
    st.lists(st.tuples(st.sampled_from([0x05, 0x1E, 0x3E]), st.integers(0, 12)), max_size=3),
    u32,
    st.booleans(),
)
def test_ipv6_extension_headers(payload: bytes, kinds: list[tuple[int, int]], identification: int, more: bool) -> None:
    source, destination = "fd00::1", "fd00::2"
    options = tuple(Ipv6Option(kind, bytes(size)) for kind, size in kinds if kind != 0x05)
    inner = ipv6.build_options(253, options) + payload
    fragment = FragmentHeader(Proto.DESTINATION_OPTIONS, 0, more, identification).encode() + inner
    hop = ipv6.build_options(Proto.FRAGMENT, (Ipv6Option(0x05, b"\x00\x00"),)) + fragment
    ours = Ipv6(
        ipaddress.ip_address(source).packed, ipaddress.ip_address(destination).packed, Proto.HOP_BY_HOP, hop
    ).encode()
    theirs = IPv6(ours)
    assert theirs[scapy_inet6.IPv6ExtHdrHopByHop].options[0].otype == 5
    assert (theirs[scapy_inet6.IPv6ExtHdrFragment].id, theirs[scapy_inet6.IPv6ExtHdrFragment].m) == (
        identification,
        more,
    )
    seen = [each for each in theirs[scapy_inet6.IPv6ExtHdrDestOpt].options if each.otype > 1]
    assert [(each.otype, bytes(each.optdata)) for each in seen] == [(each.kind, each.data) for each in options]
    assert bytes(theirs[scapy_inet6.IPv6ExtHdrDestOpt].payload) == payload

    unknown = [scapy_inet6.HBHOptUnknown(otype=each.kind, optlen=len(each.data), optdata=each.data) for each in options]
    built = (
        IPv6(src=source, dst=destination)
        / scapy_inet6.IPv6ExtHdrHopByHop(options=[scapy_inet6.RouterAlert()])
        / scapy_inet6.IPv6ExtHdrRouting(addresses=[])
        / scapy_inet6.IPv6ExtHdrFragment(id=identification, m=more)
        / scapy_inet6.IPv6ExtHdrDestOpt(options=unknown, nh=253)
        / payload
    )
    packet = parse_ipv6(bytes(built))
    found = walk(packet)
    assert [each.kind for each in found.extensions] == [0, 43, 44, 60]
    assert FragmentHeader.parse(found.extensions[2].data).identification == identification
    parsed = ipv6.parse_options(found.extensions[3].data)
    assert [(each.kind, each.data) for each in parsed] == [(each.kind, each.data) for each in options]
    assert (found.protocol, packet.payload[found.offset - ipv6.HEADER :]) == (253, payload)


@EXAMPLES
@given(st.integers(1, 3000), st.integers(128, 1280), u32)
def test_ipv6_fragments(size: int, mtu: int, identification: int) -> None:
    body = bytes(index % 251 for index in range(size))
    one, two = ipaddress.ip_address("fd00::1").packed, ipaddress.ip_address("fd00::2").packed
    pieces = [IPv6(each.encode()) for each in fragment6(Ipv6(one, two, 253, body), mtu, identification)]
    assert max(len(bytes(each)) for each in pieces) <= mtu
    assert bytes(scapy_inet6.defragment6(pieces).payload) == body


@EXAMPLES
@given(u16, u16, payloads)
def test_icmp_echo_of_both_versions(identifier: int, sequence: int, payload: bytes) -> None:
    rest = identifier << 16 | sequence
    ours = Icmp(Icmp4.ECHO, 0, rest, payload).encode4()
    theirs = ICMP(ours)
    assert (theirs.type, theirs.id, theirs.seq, bytes(theirs.payload)) == (8, identifier, sequence, payload)
    assert rebuilt(theirs, (ICMP, "chksum")) == ours
    assert parse_icmp4(bytes(ICMP(type=8, id=identifier, seq=sequence) / payload)) == Icmp(8, 0, rest, payload)
    one, two = ipaddress.ip_address("fd00::1").packed, ipaddress.ip_address("fd00::2").packed
    body = Icmp(Icmp6.ECHO, 0, rest, payload).encode6(one, two)
    six = IPv6(Ipv6(one, two, Proto.ICMPV6, body).encode())
    echo = six[scapy_inet6.ICMPv6EchoRequest]
    assert (echo.id, echo.seq, bytes(echo.data)) == (identifier, sequence, payload)
    assert rebuilt(six, (scapy_inet6.ICMPv6EchoRequest, "cksum"))[40:] == body
    built = bytes(
        IPv6(src="fd00::1", dst="fd00::2") / scapy_inet6.ICMPv6EchoReply(id=identifier, seq=sequence, data=payload)
    )
    assert parse_icmp6(one, two, built[40:]) == Icmp(129, 0, rest, payload)


@EXAMPLES
@given(st.sampled_from([(3, 0), (3, 4), (11, 0), (12, 0)]), u16, v4, v4)
def test_icmp_errors(kind: tuple[int, int], value: int, source: bytes, destination: bytes) -> None:
    about = Ipv4(source, destination, 17, b"12345678").encode()
    message = Icmp(*kind, value if kind == (3, 4) else value & 0xFF << 24 if kind[0] == 12 else 0, about)
    theirs = ICMP(message.encode4())
    assert (theirs.type, theirs.code, theirs.nexthopmtu if kind == (3, 4) else 0) == (
        *kind,
        value if kind == (3, 4) else 0,
    )
    assert theirs[scapy_inet.IPerror].src == text(source)
    one, two = ipaddress.ip_address("fd00::1").packed, ipaddress.ip_address("fd00::2").packed
    big = scapy_inet6.ICMPv6PacketTooBig(mtu=value) / IPv6(src="fd00::2", dst="fd00::9")
    found = parse_icmp6(one, two, bytes(IPv6(src="fd00::1", dst="fd00::2") / big)[40:])
    assert (found.kind, found.rest, parse_ipv6(found.payload).source) == (2, value, two)


@EXAMPLES
@given(ports, ports, payloads)
def test_udp(source_port: int, destination_port: int, payload: bytes) -> None:
    for one, two, kind in (("10.0.0.1", "10.0.0.2", IP), ("fd00::1", "fd00::2", IPv6)):
        source, destination = ipaddress.ip_address(one).packed, ipaddress.ip_address(two).packed
        ours = build_udp(source, destination, UdpDatagram(source_port, destination_port, payload))
        built = bytes(
            kind(src=one, dst=two) / UDP(sport=source_port, dport=destination_port) / scapy_packet.Raw(payload)
        )
        assert built[20 if kind is IP else 40 :] == ours
        assert parse_udp(source, destination, ours) == UdpDatagram(source_port, destination_port, payload)


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
    for one, two, kind in (("10.0.0.1", "10.0.0.2", IP), ("fd00::1", "fd00::2", IPv6)):
        source, destination = ipaddress.ip_address(one).packed, ipaddress.ip_address(two).packed
        built = bytes(
            kind(src=one, dst=two)
            / TCP(
                sport=source_port,
                dport=destination_port,
                seq=seq,
                ack=ack,
                flags=flags,
                window=window,
                urgptr=urgent,
                options=[] if mss is None else [("MSS", mss)],
            )
            / scapy_packet.Raw(payload)
        )
        body = built[20 if kind is IP else 40 :]
        assert build_segment(source, destination, segment) == body
        assert parse_segment(source, destination, body) == segment
    theirs = TCP(build_segment(bytes(4), bytes(4), segment))
    assert dict(theirs.options) == ({} if mss is None else {"MSS": mss})


@EXAMPLES
@given(st.lists(st.sampled_from(["NOP", "WScale", "SAckOK", "Timestamp", "MSS"]), max_size=5, unique=True))
def test_tcp_options_that_we_do_not_know_are_passed_over(names: list[str]) -> None:
    values = {"NOP": None, "WScale": 7, "SAckOK": b"", "Timestamp": (1, 2), "MSS": 1234}
    body = bytes(IP(src="10.0.0.1", dst="10.0.0.2") / TCP(flags="S", options=[(name, values[name]) for name in names]))[
        20:
    ]
    segment = parse_segment(bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2)), body)
    assert read_mss(segment.options) == (1234 if "MSS" in names else None)


@EXAMPLES
@given(u8, st.integers(64, 65_535), u32, u32)
def test_lcp_and_ipcp(identifier: int, mru: int, magic: int, own: int) -> None:
    options = (Option(1, mru.to_bytes(2, "big")), Option(5, magic.to_bytes(4, "big")), Option(7), Option(8))
    ours = ControlPacket(Code.CONFIGURE_REQUEST, identifier, encode_options(options)).encode()
    theirs = scapy_ppp.PPP(PppProtocol.LCP.to_bytes(2, "big") + ours)
    lcp = theirs[scapy_ppp.PPP_LCP_Configure]
    assert (lcp.code, lcp.id, lcp.len) == (1, identifier, len(ours))
    assert (lcp.options[0].max_recv_unit, lcp.options[1].magic_number) == (mru, magic)
    assert [each.type for each in lcp.options] == [1, 5, 7, 8]
    built = scapy_ppp.PPP_LCP_Configure(
        code=2,
        id=identifier,
        options=[
            scapy_ppp.PPP_LCP_MRU_Option(max_recv_unit=mru),
            scapy_ppp.PPP_LCP_Magic_Number_Option(magic_number=magic),
        ],
    )
    found = parse_control(bytes(built))
    assert (found.code, found.identifier, parse_options(found.data)) == (2, identifier, options[:2])
    address = str(ipaddress.IPv4Address(own))
    built = scapy_ppp.PPP_IPCP(code=1, id=identifier, options=[scapy_ppp.PPP_IPCP_Option_IPAddress(data=address)])
    assert parse_options(parse_control(bytes(built)).data) == (Option(3, own.to_bytes(4, "big")),)
    echo = scapy_ppp.PPP_LCP_Echo(code=9, id=identifier, magic_number=magic, data=b"hello")
    assert parse_control(bytes(echo)) == ControlPacket(
        Code.ECHO_REQUEST, identifier, magic.to_bytes(4, "big") + b"hello"
    )
