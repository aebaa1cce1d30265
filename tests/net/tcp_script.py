"""One end of TCP under test, and a peer whose every segment the test writes itself."""

from dataclasses import replace

from bench.net.connection import Connection, TcpSettings
from bench.net.icmp import Icmp
from bench.net.ipv4 import Ipv4, parse_ipv4
from bench.net.ipv6 import Ipv6, parse_ipv6
from bench.net.node import Node
from bench.net.protocols import Proto
from bench.net.segment import ACK, FIN, PSH, RST, SYN, URG, Segment, build_segment, parse_segment, seq_add
from bench.net.tcp import Listener, Tcp
from tests.net.tcp_pair import A4, A6, B4, B6, HZ, User

__all__ = ["ACK", "FIN", "HZ", "ISS", "PEER", "PORT", "PSH", "RST", "SYN", "URG", "Script", "flags_of"]

PEER, PORT = 5000, 80
ISS = 0xFFFF_FF00
"""The peer's, so that its numbers wrap soon."""


class Script:
    """``user`` and ``connection`` are ours; ``say`` is the peer's; ``heard`` takes what we sent since."""

    def __init__(
        self, *, v6: bool = False, mtu: int = 1280, settings: TcpSettings | None = None, **changes: int
    ) -> None:
        self.now = 1
        self.us, self.them = (A6, B6) if v6 else (A4, B4)
        self.node = Node(HZ)
        self.packets: list[bytes] = []
        self.times: list[int] = []
        self.node.add_interface("link", mtu, self._send)
        self.node.assign(0, A4, 24)
        self.node.assign(0, A6, 64)
        self.tcp = Tcp(self.node, replace(settings or TcpSettings.usual(HZ), **changes), secret=b"s")
        self.user = User(self.tcp, self)
        self.user.answers_end = False
        self.connection: Connection | None = None
        self.listener: Listener | None = None
        self.iss = 0
        """Ours."""
        self.seq = ISS
        """What the peer would send next."""
        self.window = 8192
        self.port = PORT
        self.peer_port = PEER
        self._heard = 0

    def _send(self, data: bytes) -> bool:
        self.packets.append(data)
        self.times.append(self.now)
        return True

    def heard(self) -> list[Segment]:
        """TCP segments we sent since the last call."""
        new, self._heard = self.packets[self._heard :], len(self.packets)
        return [segment for data in new if (segment := self.segment(data)) is not None]

    def segment(self, data: bytes) -> Segment | None:
        """The TCP segment in a packet of ours."""
        if data[0] >> 4 == 4:
            four = parse_ipv4(data)
            return parse_segment(self.us, self.them, four.payload) if four.protocol == Proto.TCP else None
        six = parse_ipv6(data)
        return parse_segment(self.us, self.them, six.payload) if six.next_header == Proto.TCP else None

    def only(self) -> Segment:
        """The one segment we sent since."""
        found = self.heard()
        assert len(found) == 1, found
        return found[0]

    def say(
        self,
        flags: int,
        *,
        seq: int | None = None,
        ack: int | None = None,
        payload: bytes = b"",
        window: int | None = None,
        options: bytes = b"",
        urgent: int = 0,
    ) -> None:
        """A segment of the peer; by default in sequence, acknowledging all we sent. Its own numbers go on only when ``seq`` is not given."""
        if ack is None:
            ack = self.connection.snd_max if self.connection is not None else 0
        begin = self.seq if seq is None else seq
        segment = Segment(
            self.peer_port,
            self.port,
            begin,
            ack if flags & ACK else 0,
            flags,
            self.window if window is None else window,
            payload,
            urgent,
            options,
        )
        if seq is None:
            self.seq = seq_add(begin, segment.length)
        self.raw(build_segment(self.them, self.us, segment))

    def raw(self, data: bytes, source: bytes = b"", destination: bytes = b"", options: bytes = b"") -> None:
        """A TCP payload as it stands, in a packet."""
        source, destination = source or self.them, destination or self.us
        if len(source) == 4:
            self.node.receive(0, Ipv4(source, destination, Proto.TCP, data, options=options).encode(), self.now)
        else:
            self.node.receive(0, Ipv6(source, destination, Proto.TCP, data).encode(), self.now)

    def error(self, kind: int, code: int, *, quoted: bytes | None = None, rest: int = 0) -> None:
        """An ICMP error about a packet of ours: the last one, if no other is given."""
        data = self.packets[-1] if quoted is None else quoted
        if len(self.us) == 4:
            message = Icmp(kind, code, rest, data[:28]).encode4()
            self.node.receive(0, Ipv4(self.them, self.us, Proto.ICMP, message).encode(), self.now)
        else:
            message = Icmp(kind, code, rest, data[:60]).encode6(self.them, self.us)
            self.node.receive(0, Ipv6(self.them, self.us, Proto.ICMPV6, message).encode(), self.now)

    def wait(self, seconds: float) -> None:
        """Let time go by."""
        end = self.now + round(seconds * HZ)
        while (due := self.tcp.due) is not None and due <= end:
            self.now = max(self.now, due)
            self.tcp.tick(self.now)
        self.now = end

    # -- ways to begin -------------------------------------------------------------------------------------------------

    def listen(self) -> None:
        self.listener = self.tcp.listen(PORT, lambda _connection: self.user)

    def connect(self) -> Segment:
        """We open: gives our SYN."""
        self.port, self.peer_port = 49_152, PEER
        self.connection = self.tcp.connect(self.them, PEER, self.user, self.now)
        self.user.connection = self.connection
        self.port = self.connection.ends.local_port
        syn = self.only()
        self.iss = syn.seq
        return syn

    def established(self, *, options: bytes = b"", window: int | None = None, active: bool = True) -> "Script":
        """Open, by us or by the peer, with nothing left to hear."""
        if active:
            self.connect()
            self.say(SYN | ACK, options=options, window=window)
        else:
            self.listen()
            self.say(SYN, options=options, window=window)
            (self.connection,) = self.tcp.connections.values()
            self.iss = self.connection.iss
            self.say(ACK, window=window)
        self.heard()
        return self

    @property
    def tcb(self) -> Connection:
        assert self.connection is not None
        return self.connection

    def give(self, data: bytes, *, urgent: bool = False) -> int:
        """Our user sends."""
        return self.tcp.send(self.tcb, data, self.now, urgent=urgent)


def flags_of(segments: list[Segment]) -> list[int]:
    return [each.flags for each in segments]
