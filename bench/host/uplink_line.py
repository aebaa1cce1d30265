"""A line to a network with latency, bandwidth and loss, such as GPRS: a PacketUplink, exact in the engine's time and seeded.

Each direction by itself: a packet waits for those before it, takes its bits' time, then the latency; it may be lost on the way, or come later than
the one behind it where there is jitter. What passes the queue's bound is dropped.

Units: times are ticks of the engine's timebase, lengths are bytes, rates are bits a second.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from bench.engine import Engine
from bench.observe import Direction, Packet, Sink

UPLINK_HOP = 0
"""The number under which packets on the uplink are recorded: before the first hop."""


@dataclass(frozen=True, slots=True)
class LineSettings:
    """What a line is like. All zero: it costs nothing and loses nothing."""

    latency: int = 0
    """Ticks, one way."""
    jitter: int = 0
    """Ticks at most, added to a packet's latency by chance."""
    bandwidth: int = 0
    """Bits a second, each way; 0: without bound."""
    loss: float = 0.0
    """Probability that a packet is lost, each way."""
    duplication: float = 0.0
    """Probability that a packet that is not lost comes twice, each with a latency of its own."""
    queue: int = 65_536
    """Bytes that may wait, each way."""
    mtu: int = 1500


class UplinkLine:
    """The router's end is the PacketUplink; ``enter`` and ``on_delivered`` are the network's end."""

    def __init__(self, engine: Engine, settings: LineSettings, seed: int, sink: Sink) -> None:
        self.engine = engine
        self.settings = settings
        self.sink = sink
        self.on_packet: Callable[[bytes], None] = _drop
        self.on_room: Callable[[], None] = _nothing
        self.on_delivered: Callable[[bytes], None] = _drop
        """The network's: a packet came out there."""
        self.lost = 0
        self.dropped = 0
        """For want of room."""
        self.closed = False
        self._random = Random(seed)
        self._out = _Way(self, Direction.OUT)
        self._in = _Way(self, Direction.IN)

    @property
    def mtu(self) -> int:
        return self.settings.mtu

    def send(self, packet: bytes) -> bool:
        return self._out.enter(packet)

    def enter(self, packet: bytes) -> bool:
        """A packet from the network towards the router."""
        return self._in.enter(packet)

    def close(self) -> None:
        self.closed = True

    def arrived(self, packet: bytes, direction: Direction) -> None:
        """A packet came to the other end."""
        if self.closed:
            return
        self.observe(packet, direction)
        (self.on_delivered if direction is Direction.OUT else self.on_packet)(packet)

    def observe(self, packet: bytes, direction: Direction) -> None:
        """Record a packet that was not lost."""
        kind = "ipv4" if packet[0] >> 4 == 4 else "ipv6"
        self.sink.emit(Packet(self.engine.now, 0, UPLINK_HOP, direction, kind, -1, -1, 0, len(packet), packet))

    def chance(self, probability: float) -> bool:
        """Whether something happens to a packet. One source for the whole line: the same seed, the same fates."""
        return probability > 0 and self._random.random() < probability

    def delay(self) -> int:
        """One packet's latency."""
        settings = self.settings
        return settings.latency + (self._random.randint(0, settings.jitter) if settings.jitter else 0)


class _Way:
    """One direction."""

    def __init__(self, line: UplinkLine, direction: Direction) -> None:
        self.line = line
        self.direction = direction
        self._free_at = 0
        self._waiting = 0

    def enter(self, packet: bytes) -> bool:
        line = self.line
        settings = line.settings
        if line.closed or len(packet) > settings.mtu:
            return False
        if self._waiting + len(packet) > settings.queue:
            line.dropped += 1
            return False
        engine = line.engine
        begin = max(engine.now, self._free_at)
        if settings.bandwidth:
            begin += len(packet) * 8 * engine.timebase.hz // settings.bandwidth
        self._free_at = begin
        self._waiting += len(packet)
        engine.at(begin, lambda: self._left(packet))
        return True

    def _left(self, packet: bytes) -> None:
        line = self.line
        self._waiting -= len(packet)
        if line.chance(line.settings.loss):
            line.lost += 1
        else:
            for _ in range(2 if line.chance(line.settings.duplication) else 1):
                line.engine.after(line.delay(), lambda: line.arrived(packet, self.direction))
        if self.direction is Direction.OUT:
            line.on_room()


def _drop(_packet: bytes) -> None:
    pass


def _nothing() -> None:
    pass
