"""What bulk over IP can reach at the most, and what it reached, from packets written down by hand."""

import pytest

from bench.hop.limit import LineLimit, T0Limit, T1Limit
from bench.net.limit import Bulk
from bench.net.limit import shortest as shortest_at
from bench.net.path_time import delayed_ack, packet_ticks
from bench.observe import Direction, Packet
from bench.scenario.steps.ip_line import TCP, UDP, read

ETU = 31
T0 = T0Limit(ETU, 12 * ETU)
HZ = 115_200 * ETU


def shortest(limit: LineLimit, to_card: Bulk, from_card: Bulk, hz: int = HZ) -> int:
    return shortest_at(limit, to_card, from_card, hz)


def test_udp_down_is_so_many_envelopes_and_nothing_else() -> None:
    bulk = Bulk(payload=5 * 100, longest=100, headers=28)
    assert shortest(T0, bulk, Bulk()) == 5 * T0.envelope(1 + 128)


def test_udp_up_is_so_many_fetches_and_nothing_else() -> None:
    bulk = Bulk(payload=5 * 100, longest=100, headers=28)
    assert shortest(T0, Bulk(), bulk) == 5 * T0.fetch(1 + 128)


def test_a_long_packet_is_carried_in_the_fewest_segments() -> None:
    bulk = Bulk(payload=548, longest=548, headers=28)
    assert shortest(T0, bulk, Bulk()) == 2 * T0.envelope(255) + T0.envelope(1 + 576 - 2 * 254)


def test_tcp_needs_an_acknowledgement_for_every_second_segment() -> None:
    bulk = Bulk(payload=7 * 88, longest=88, headers=40, acknowledged=100)
    assert shortest(T0, bulk, Bulk()) == 7 * T0.envelope(129) + 3 * T0.fetch(41)


@pytest.mark.parametrize(("baud", "needed"), [(9600, 7), (13_441, 7), (19_200, 3)])
def test_segments_half_a_second_apart_are_acknowledged_one_by_one(baud: int, needed: int) -> None:
    """RFC 9293, MUST-40: 576 bytes take 0.76 s at 9600 baud, 0.55 s at 13 441, 0.38 s at 19 200."""
    bulk = Bulk(payload=7 * 536, longest=536, headers=40, acknowledged=100)
    packet = 2 * T0.envelope(255) + T0.envelope(1 + 576 - 2 * 254)
    assert shortest(T0, bulk, Bulk(), baud * ETU) == 7 * packet + needed * T0.fetch(41)


def test_no_more_acknowledgements_are_asked_than_crossed() -> None:
    """Where the receiver sent fewer, these are what nothing could be faster than."""
    bulk = Bulk(payload=7 * 88, longest=88, headers=40, acknowledged=1)
    assert shortest(T0, Bulk(), bulk) == 7 * T0.fetch(129) + T0.envelope(41)


def test_data_the_other_way_takes_acknowledgements_along() -> None:
    there = Bulk(payload=8 * 88, longest=88, headers=40, acknowledged=9)
    back = Bulk(payload=3 * 88, longest=88, headers=40, acknowledged=9)
    assert shortest(T0, there, back) == 8 * T0.envelope(129) + 3 * T0.fetch(129) + T0.fetch(41)


def test_runts_cost_more_than_the_limit() -> None:
    """The limit cuts a stream as the MTU lets it be cut, not as the card did."""
    whole = shortest(T0, Bulk(payload=880, longest=88, headers=40), Bulk())
    assert whole < shortest(T0, Bulk(payload=880, longest=44, headers=40), Bulk())


def test_over_t1_acknowledgements_ride_in_answers() -> None:
    t1 = T1Limit(ETU, 11 * ETU, 11 * ETU)
    bulk = Bulk(payload=4 * 88, longest=88, headers=40, acknowledged=2)
    alone = shortest(t1, Bulk(payload=4 * 88, longest=88, headers=40), Bulk())
    assert alone < shortest(t1, bulk, Bulk()) < alone + 2 * t1.exchange(5, 43)


def test_nothing_takes_no_time() -> None:
    assert shortest(T0, Bulk(), Bulk()) == 0


def _packet(kind: str, text: str) -> Packet:
    data = bytes.fromhex(text)
    return Packet(7, 0, 1, Direction.OUT, kind, -1, -1, 0, len(data), data)


ADDRESSES4 = "c0000201 0a4e1002"
TCP_PORTS = "c000 0009 00000001 00000002"


@pytest.mark.parametrize(
    ("flags", "payload", "acknowledges"),
    [("10", "", True), ("18", "0102", False), ("11", "", False), ("12", "", False), ("14", "", False)],
)
def test_a_pure_acknowledgement_is_told_from_data_and_ends(flags: str, payload: str, acknowledges: bool) -> None:
    length = 40 + len(payload) // 2
    header = f"4500 {length:04x} 0000 4000 40 06 0000 {ADDRESSES4}"
    crossing = read(_packet("ipv4", f"{header} {TCP_PORTS} 50{flags} 1000 0000 0000 {payload}"), TCP)
    assert crossing is not None
    assert (crossing.headers, crossing.payload, crossing.acknowledges) == (40, len(payload) // 2, acknowledges)


def test_options_are_headers() -> None:
    header = f"4600 0032 0000 4000 40 06 0000 {ADDRESSES4} 01010101"
    crossing = read(_packet("ipv4", f"{header} {TCP_PORTS} 6010 1000 0000 0000 01010101 ffff"), TCP)
    assert crossing is not None
    assert (crossing.headers, crossing.payload) == (48, 2)


def test_a_datagram_of_ipv6() -> None:
    header = "60000000 000b 11 40" + 32 * "0f"
    crossing = read(_packet("ipv6", f"{header} c000 0009 000b 0000 010203"), UDP)
    assert crossing is not None
    assert (crossing.headers, crossing.payload, crossing.start) == (48, 3, b"")


@pytest.mark.parametrize("fragment", ["2000", "0001", "2010"])
def test_fragments_are_none(fragment: str) -> None:
    header = f"4500 0020 0001 {fragment} 40 11 0000 {ADDRESSES4}"
    assert read(_packet("ipv4", f"{header} c000 0009 000c 0000 01020304"), UDP) is None


def test_the_other_protocol_is_none() -> None:
    header = f"4500 0020 0001 4000 40 11 0000 {ADDRESSES4}"
    assert read(_packet("ipv4", f"{header} c000 0009 000c 0000 01020304"), TCP) is None
    assert read(_packet("control", "01"), TCP) is None


@pytest.mark.parametrize("baud", [9600, 19_200, 115_200, 625_000])
@pytest.mark.parametrize("mtu", [128, 256, 576, 1280])
def test_an_acknowledgement_waits_for_a_second_segment_and_below_half_a_second(baud: int, mtu: int) -> None:
    hz = 1_000_000_000
    waits = delayed_ack(hz, mtu, hz // baud)
    assert hz // 5 <= waits < hz // 2
    assert waits >= min(2 * packet_ticks(mtu, hz // baud), hz * 2 // 5)
