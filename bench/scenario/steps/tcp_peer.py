"""A TCP end outside whose every segment a step writes itself, by the layouts of RFC 9293, 3.1: a judge does not ask the code it judges.

Units: times are ticks of the engine's timebase, lengths are bytes, sequence numbers are modulo 2**32.
"""

from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct
from typing import Final

from bench.net.node import Arrived, Handler
from bench.scenario.context import StepContext
from bench.scenario.steps.ip_support import OUTSIDE, address_of, network, station
from bench.scenario.steps.support import wait
from bench.scenario.units import Span

TCP: Final = 6
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
NAMES: Final = {FIN: "FIN", SYN: "SYN", RST: "RST", PSH: "PSH", ACK: "ACK"}
ISS: Final = 0xFFFF_FE00
"""Our first number: it wraps soon."""
FIRST_PORT: Final = 20_000
ANSWER: Final = Span(60 * 10**9)
"""How long an answer may take that must come."""
_HEADER: Final = Struct("!HHIIBBHHH")
_MSS: Final = 2


@dataclass(frozen=True, slots=True)
class Heard:
    """A segment of the card's."""

    time: int
    port: int
    """Ours."""
    flags: int
    seq: int
    ack: int
    window: int
    mss: int | None
    payload: bytes

    @property
    def end(self) -> int:
        """The number after it."""
        return self.seq + len(self.payload) + bool(self.flags & SYN) + bool(self.flags & FIN) & 0xFFFF_FFFF

    def __str__(self) -> str:
        names = " ".join(name for bit, name in NAMES.items() if self.flags & bit)
        return f"{names or 'no flags'} seq {self.seq} ack {self.ack} window {self.window}, {len(self.payload)} bytes"


def behind(number: int, other: int) -> int:
    """How far ``number`` is beyond ``other``; negative where it lies before."""
    return (number - other + 0x8000_0000 & 0xFFFF_FFFF) - 0x8000_0000


def mss_option(size: int) -> bytes:
    """The option of a SYN."""
    return bytes((_MSS, 4)) + size.to_bytes(2, "big")


class RawPeer:
    """One connection at a time (``port``), and any number of ports from ``FIRST_PORT`` on. Use it with ``with``."""

    def __init__(self, context: StepContext, to: str, version: int, remote_port: int, ports: int = 1) -> None:
        self.context = context
        self.node = station(context, OUTSIDE).node
        self.remote = address_of(context, to, version)
        self.local = next(each for each in network(context).peer.addresses if len(each) == len(self.remote))
        self.remote_port = remote_port
        self.ports = range(FIRST_PORT, FIRST_PORT + ports)
        self.port = FIRST_PORT
        self.heard: list[Heard] = []
        self.received = bytearray()
        """What came in order on the present connection."""
        self.seq = ISS
        """What we send next."""
        self.ack = 0
        """What we expect next."""
        self.window = 8192
        self.answers = False
        """Acknowledge data and FIN as they come."""
        self.peer_ended = False
        self._before: Handler | None = None

    def __enter__(self) -> "RawPeer":
        self.context.engine.call(self._begin)
        return self

    def __exit__(self, *_exception: object) -> None:
        self.context.engine.call(self._end)

    # -- what we say ---------------------------------------------------------------------------------------------------

    def say(
        self,
        flags: int,
        payload: bytes = b"",
        *,
        seq: int | None = None,
        ack: int | None = None,
        port: int | None = None,
        options: bytes = b"",
    ) -> None:
        """A segment; by default the next one. Our own numbers go on only where ``seq`` is not given."""
        number = self.seq if seq is None else seq & 0xFFFF_FFFF
        acknowledged = (self.ack if ack is None else ack & 0xFFFF_FFFF) if flags & ACK else 0
        if seq is None:
            self.seq = self.seq + len(payload) + bool(flags & SYN) + bool(flags & FIN) & 0xFFFF_FFFF
        options += bytes(-len(options) % 4)
        local = self.port if port is None else port
        offset = 5 + len(options) // 4 << 4
        fields = (local, self.remote_port, number, acknowledged, offset, flags, self.window, 0, 0)
        body = _HEADER.pack(*fields) + options + payload
        body = body[:16] + checksum(self.local, self.remote, TCP, body).to_bytes(2, "big") + body[18:]
        self.context.engine.call(lambda: self._send(body))

    def open(self, port: int | None = None, options: bytes = b"") -> Heard:
        """A handshake; gives the card's SYN. The card fails the point where there is none."""
        if port is not None:
            self.port = port
        self.received.clear()
        self.peer_ended = False
        self.seq, self.ack = ISS, 0
        before = len(self.heard)
        self.say(SYN, options=options)
        found = self.answer(before, lambda each: bool(each.flags & (SYN | RST)), "a SYN")
        if found.flags & (SYN | ACK | RST) != SYN | ACK or found.ack != self.seq:
            self.context.fail(f"a SYN is answered with {found}")
        self.ack = found.end
        self.say(ACK)
        return found

    def leave(self) -> None:
        """End the connection by a reset: nothing stays on the card."""
        self.say(RST, seq=self.seq)

    # -- what we hear --------------------------------------------------------------------------------------------------

    def wait(self, done: Callable[[], bool], span: Span = ANSWER) -> bool:
        """Let time go by until ``done``; tells whether it is."""
        wait(self.context, done, span)
        return self.context.engine.call(done)

    def answer(self, since: int, wanted: Callable[[Heard], bool], to: str, span: Span = ANSWER) -> Heard:
        """The first segment heard after the ``since``-th that is ``wanted``. The card fails the point where none comes."""

        def found() -> Heard | None:
            return next((each for each in self.heard[since:] if each.port == self.port and wanted(each)), None)

        self.wait(lambda: found() is not None, span)
        heard = found()
        if heard is None:
            others = "; ".join(str(each) for each in self.heard[since : since + 4]) or "nothing"
            self.context.fail(f"{to} is not answered as it must be within {span}: {others}")
        return heard

    # -- inside --------------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._before = self.node.handlers[TCP]
        self.node.handlers[TCP] = self._arrived

    def _end(self) -> None:
        assert self._before is not None
        self.node.handlers[TCP] = self._before

    def _send(self, body: bytes) -> None:
        self.node.send(self.local, self.remote, TCP, body, self.context.engine.now, dont_fragment=True)

    def _arrived(self, packet: Arrived, now: int) -> bool:
        data = packet.payload
        if len(data) < _HEADER.size or int.from_bytes(data[2:4], "big") not in self.ports:
            assert self._before is not None
            return self._before(packet, now)
        _, port, seq, ack, offset, flags, window, _, _ = _HEADER.unpack_from(data)
        size = offset >> 4 << 2
        heard = Heard(now, port, flags & 31, seq, ack, window, _mss(data[20:size]), bytes(data[size:]))
        self.heard.append(heard)
        if port == self.port and heard.seq == self.ack and not flags & SYN and not self.peer_ended:
            if self.answers:
                self._take(heard)
        elif port == self.port and self.answers and heard.end != heard.seq and not flags & (SYN | RST):
            self.say(ACK)
        return True

    def _take(self, heard: Heard) -> None:
        self.received += heard.payload
        self.ack = heard.end
        self.peer_ended = bool(heard.flags & FIN)
        if heard.end != heard.seq:
            self.say(ACK)


def checksum(source: bytes, destination: bytes, protocol: int, body: bytes) -> int:
    """Of layer 4, with the pseudo header of RFC 9293, 3.1, and RFC 8200, 8.1."""
    length = len(body).to_bytes(2 if len(source) == 4 else 4, "big")
    pseudo = source + destination + bytes((0, protocol)) + length
    if len(source) == 16:
        pseudo = source + destination + length + bytes((0, 0, 0, protocol))
    return internet_checksum(pseudo + body)


def internet_checksum(data: bytes) -> int:
    """Of a header or a message alone (RFC 1071)."""
    data += bytes(len(data) & 1)
    total = sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


def _mss(options: bytes) -> int | None:
    at = 0
    while at < len(options) and options[at]:
        if options[at] == 1:
            at += 1
            continue
        length = options[at + 1] if at + 1 < len(options) else 0
        if options[at] == _MSS and length == 4:
            return int.from_bytes(options[at + 2 : at + 4], "big")
        at += max(2, length)
    return None
