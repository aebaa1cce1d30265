"""docs/protocol.md, section 3, routing: lower numbers inward, higher ones outward, never back; what cannot go on comes back as UNREACHABLE."""

from bench.channels.loopback import Loopback
from bench.channels.message import MessageType, pack
from bench.channels.node import ChannelNode
from bench.channels.route_table import Port, RouteTable
from bench.engine import Timebase, VirtualEngine
from bench.hop.chain import ChainMember
from bench.hop.control import NodeFacts
from bench.hop.link import PollPlan
from bench.hop.segment import Kind
from bench.hop.terminal_link import TerminalLink
from bench.observe import NullSink
from bench.readers.software import SoftwareReader


class Middle:
    """Node 2 of a chain of three cards: both its links take whatever they are given."""

    def __init__(self) -> None:
        self.engine = VirtualEngine(Timebase(10**9))
        self.chain = ChainMember(64, 1, number=2)
        self.node = ChannelNode(self.engine, self.chain, 4)
        self.inward = Loopback(self.engine, 64)
        self.node.attach_inward(self.inward)
        self.outward = Loopback(self.engine, 64)
        self.sent: list[tuple[str, bytes]] = []
        self.inward.on_packet = lambda _kind, packet: self.sent.append(("inward", packet))
        self.outward.on_packet = lambda _kind, packet: self.sent.append(("outward", packet))
        self.chain.outward = self.outward  # type: ignore[assignment]
        self.chain.beyond[3] = NodeFacts(3, 64, 4, 2, b"")
        self.node.routes.chain = self.chain

    def hears(self, packet: bytes, came_by: Port) -> list[tuple[str, bytes]]:
        self.node.reception.receive(Kind.CHANNEL, packet, came_by)
        self.engine.run(self.engine.now + 1)
        sent, self.sent = self.sent, []
        return sent


def data(destination: int, source: int) -> bytes:
    return pack(MessageType.DATA, destination, source, 5, 0, b"payload")


def unreachable(to: int, packet: bytes) -> bytes:
    return pack(MessageType.UNREACHABLE, to, 2, 0, 0, packet[:12])


def test_messages_pass_in_both_directions() -> None:
    middle = Middle()
    for destination, source, came_by, way in [
        (3, 0, Port.INWARD, "outward"),
        (3, 1, Port.INWARD, "outward"),
        (0, 3, Port.OUTWARD, "inward"),
        (1, 3, Port.OUTWARD, "inward"),
    ]:
        packet = data(destination, source)
        assert middle.hears(packet, came_by) == [(way, packet)]


def test_a_message_never_goes_back_where_it_came_from() -> None:
    middle = Middle()
    packet = data(1, 0)  # from the host to card 1, and yet it has come to card 2
    assert middle.hears(packet, Port.INWARD) == [("inward", unreachable(0, packet))]
    packet = data(3, 3)
    assert middle.hears(packet, Port.OUTWARD) == [("outward", unreachable(3, packet))]


def test_a_card_that_is_not_there_is_unreachable_and_only_its_source_is_told() -> None:
    middle = Middle()
    packet = data(4, 0)
    assert middle.hears(packet, Port.INWARD) == [("inward", unreachable(0, packet))]
    middle.chain.beyond.clear()
    packet = data(3, 1)
    assert middle.hears(packet, Port.INWARD) == [("inward", unreachable(1, packet))]
    assert middle.node.emission.unreachable == 2


def test_unreachable_itself_is_dropped_where_it_cannot_go_on() -> None:
    middle = Middle()
    assert middle.hears(unreachable(4, data(0, 4)), Port.INWARD) == []


def test_what_has_no_destination_is_counted() -> None:
    middle = Middle()
    assert middle.hears(b"\x44\x03\x00\x05", Port.INWARD) == []
    assert middle.node.reception.unknown == 1


def test_a_node_without_a_number_knows_no_way_to_anyone() -> None:
    chain = ChainMember(64, 1)
    routes = RouteTable(chain, Loopback(VirtualEngine(Timebase(10**9)), 64))
    assert [routes.resolve(node).link for node in (0, 1, 2, 254)] == [None] * 4


def test_a_way_outward_is_open_only_while_the_link_is_up() -> None:
    engine = VirtualEngine(Timebase.for_clocks(3_571_200))
    reader = SoftwareReader(engine, 3_571_200)
    link = TerminalLink(engine, reader, 1, 64, PollPlan(1, 1), NullSink())
    chain = ChainMember(64, 1, number=0)
    chain.connect_outward(link)
    chain.beyond[1] = NodeFacts(1, 64, 4, 2, b"")
    routes = RouteTable(chain, Loopback(engine, 64))
    assert routes.resolve(1).link is None
    assert routes.resolve(0).port is Port.LOCAL
