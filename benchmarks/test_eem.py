"""What the card moves over CDC-EEM at full speed, in virtual time: the bus gives 19 packets of 64 bytes a millisecond to all bulk pipes together.

That bound, 9.73 Mb/s, is where the paper's "9.5 Mb per second, in theory" comes from. EEM, Ethernet, IP and TCP headers come off it, and the
acknowledgements, which share the bus. Nothing is measured here: it is exact, and the same on every machine.
"""

from collections import deque
from collections.abc import Callable

import pytest

from bench.card.applications import STANDARD
from bench.card.card import Card
from bench.card.data_link import CardDataLink
from bench.card.ip_profile import IpProfile
from bench.card.profile import CardProfile
from bench.ccid.eem import EemDecoder, EemFrame, encode_frame
from bench.ccid.usb_cdc_eem import BULK_IN, BULK_OUT, EemFunction, eem_device
from bench.ccid.usb_device import Completion, Transfer
from bench.engine import Timebase, VirtualEngine
from bench.hop.link import PollPlan
from bench.net.connection import Connection, Reason, TcpSettings
from bench.net.ethernet_link import EthernetLink, OwnAddress
from bench.net.node import Node
from bench.net.plug import IpSettings
from bench.net.protocols import address
from bench.net.tcp import Tcp
from bench.observe import NullSink
from bench.serve.usb_eem import ADDRESSES, MAC
from benchmarks.measure import show

PACKET = 64
PACKETS_A_FRAME = 19
"""Bulk transactions that fit into a frame of a millisecond at full speed (USB 2.0, table 5-9)."""
BOUND = PACKETS_A_FRAME * PACKET * 8 * 1000
TOTAL = 500_000
ASKED = 1524
"""Bytes Linux asks for in one transfer."""
DISCARD, CHARGEN = 9, 19


class Bus:
    """A full-speed bus with one device: transactions take their share of each frame, IN and OUT in turn. A refused one (NAK) takes none."""

    def __init__(self, engine: VirtualEngine, function: EemFunction) -> None:
        self.engine = engine
        self.device = eem_device(function)
        self.on_frame: Callable[[bytes], None] = lambda _frame: None
        self.carried = 0
        """Packets, both ways."""
        self._decoder = EemDecoder(PACKET)
        self._out: deque[bytes] = deque()
        """Packets of the transfers that wait, each transfer ended by a short one."""
        self._going = bytearray()
        self._in: deque[int] = deque()
        """Packets still to be carried of a transfer that the device has ready."""
        self._ready = b""
        self.device.set_configuration(1)
        self._ask()
        self._slot = engine.timebase.hz // 1000 // PACKETS_A_FRAME
        self._turn_in = True
        self._running = False
        self._tick()

    def send(self, frame: bytes) -> bool:
        """A frame of the host, one transfer each, as Linux does it."""
        packet = encode_frame(frame)
        if len(packet) % PACKET == 0:
            packet += bytes(2)
        self._out.extend(packet[at : at + PACKET] for at in range(0, len(packet), PACKET))
        return True

    def _ask(self) -> None:
        self.device.submit(Transfer(BULK_IN, self._fetched, length=ASKED))

    def _fetched(self, completion: Completion) -> None:
        self._ready = completion.data
        self._in.extend([1] * -(-len(completion.data) // PACKET))

    def _tick(self) -> None:
        for inward in (self._turn_in, not self._turn_in):
            if inward and self._in:
                self._in.popleft()
                if not self._in:
                    self._arrived()
                break
            if not inward and self._out:
                packet = self._out.popleft()
                self._going += packet
                if len(packet) < PACKET:
                    data, self._going = bytes(self._going), bytearray()
                    self.device.submit(Transfer(BULK_OUT, lambda _end: None, data=data))
                break
        else:
            self.engine.after(self._slot, self._tick)
            return
        self.carried += 1
        self._turn_in = not self._turn_in
        self.engine.after(self._slot, self._tick)

    def _arrived(self) -> None:
        data = self._ready
        for each in self._decoder.feed(data):
            if isinstance(each, EemFrame):
                self.on_frame(each.data)
        self._ask()


class Host:
    """A computer with our own stack at the other end."""

    def __init__(self, engine: VirtualEngine, bus: Bus) -> None:
        self.engine = engine
        hz = engine.timebase.hz
        self.node = Node(hz)
        self.tcp = Tcp(self.node, TcpSettings.usual(hz, send_buffer=65_535, receive_buffer=65_535), secret=b"host")
        self.tcp.on_due = self._rearm
        self.link = EthernetLink(self.node, bytes.fromhex("020000000001"), 1500, bus.send, lambda: engine.now)
        self.link.begin((OwnAddress(address("10.78.64.1"), 24),), 0)
        bus.on_frame = self._took

    def _took(self, frame: bytes) -> None:
        packet = self.link.receive(frame, self.engine.now)
        if packet is not None:
            self.node.receive(self.link.interface.number, packet, self.engine.now)

    def _rearm(self) -> None:
        due = self.tcp.due
        if due is not None:
            self.engine.at(due, lambda: self.tcp.tick(self.engine.now))


class Peer:
    """Takes or gives TOTAL bytes, and notes when."""

    def __init__(self, host: Host, *, gives: bool) -> None:
        self.host = host
        self.left = TOTAL
        self.gives = gives
        self.closing = False
        self.began: int | None = None
        self.ended: int | None = None

    def opened(self, connection: Connection) -> None:
        self.began = self.host.engine.now
        self.room(connection)

    def received(self, connection: Connection) -> None:
        now = self.host.engine.now
        while data := self.host.tcp.read(connection, 65_535, now):
            self.left -= len(data)
        if self.left <= 0 and self.ended is None:
            self.ended = now

    def room(self, connection: Connection) -> None:
        while self.gives and self.left and (room := connection.send_room):
            piece = bytes(min(self.left, room))
            self.left -= len(piece)
            self.host.tcp.send(connection, piece, self.host.engine.now)
        if self.gives and not self.left and not self.closing:
            self.closing = True  # the FIN is acknowledged at once, where the last data would wait for a delayed ACK
            self.host.tcp.close(connection, self.host.engine.now)

    def closed(self, connection: Connection, reason: Reason) -> None:
        del connection
        if self.gives and reason is Reason.FINISHED:
            self.ended = self.host.engine.now


def card_at(engine: VirtualEngine, function: EemFunction) -> CardDataLink:
    settings = IpSettings(send_buffer=65_535, receive_buffer=65_535, flow_packets=64)
    profile = CardProfile(b"EEM0001", channel_stack=False, ip=IpProfile(settings=settings), applications=STANDARD)
    card = Card(engine, profile, PollPlan(engine.timebase.hz, engine.timebase.hz), NullSink())
    link = CardDataLink(card, MAC, ADDRESSES, function.send)
    function.on_link, function.on_frame, function.on_room = link.up, link.frame, link.room
    return link


@pytest.mark.parametrize("direction", ["from-card", "to-card"])
def test_full_speed_bulk_beside_its_bound(direction: str) -> None:
    engine = VirtualEngine(Timebase.for_clocks(4_000_000))
    function = EemFunction()
    link = card_at(engine, function)
    bus = Bus(engine, function)
    host = Host(engine, bus)
    assert engine.wait(lambda: bool(link.link and link.link.due is None), 5 * engine.timebase.hz)
    peer = Peer(host, gives=direction == "to-card")
    port = DISCARD if peer.gives else CHARGEN
    host.tcp.connect(ADDRESSES[0].address, port, peer, engine.now)
    assert engine.wait(lambda: peer.ended is not None, 60 * engine.timebase.hz)
    assert peer.began is not None
    assert peer.ended is not None
    rate = TOTAL * 8 * engine.timebase.hz / (peer.ended - peer.began)
    line = f"{direction}: {rate / 1e6:.2f} Mb/s of TCP payload, {100 * rate / BOUND:.1f} % of the bound of {BOUND / 1e6:.2f}"
    show("CDC-EEM at full speed, in virtual time", [line])
    assert rate < BOUND
    assert rate > 0.8 * BOUND
