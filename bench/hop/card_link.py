"""The card's side of a hop at work: HopCard as a Link, with the watchdog that notices a terminal side gone silent (docs/protocol.md, section 2).

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections.abc import Callable, Hashable

from bench.engine import Engine, Timer
from bench.hop.card import HopAnswer, HopCard
from bench.hop.queue import FairQueue, Queued
from bench.hop.segment import INS_ENVELOPE, INS_GET_RESPONSE, SW_HOP_DOWN, Kind
from bench.observe import LinkChange, Sink

WATCHDOG_SLACK_NS = 10**9
"""What the card adds to two poll periods before it gives the terminal side up."""


class CardLink:
    """A Link whose other side asks. ``hop_command`` answers ENVELOPE and GET RESPONSE of the hop's class."""

    def __init__(self, engine: Engine, mtu: int, sink: Sink) -> None:
        self.engine = engine
        self.sink = sink
        self.hop = 0
        self.queue = FairQueue(mtu)
        self.machine = HopCard(self.queue, mtu)
        self.machine.on_packet = self._packet
        self.on_packet: Callable[[Kind, bytes], None] = _no_packet
        self.on_change: Callable[[bool, str], None] = _no_change
        self._mtu = mtu
        self._up = False
        self.busy_until: Callable[[], int] = _never_busy
        """Up to which tick commands and their answers have kept the line, or may keep it: silence begins after that."""
        self._given_up = False
        self._patience = 0
        self._heard = 0
        self._watch: Timer | None = None
        self._wake: Callable[[], None] | None = None
        """Set while the terminal side's polls are parked (bench.hop.parking)."""
        self._watched = False

    @property
    def mtu(self) -> int:
        return self._mtu

    @property
    def up(self) -> bool:
        return self._up

    def submit(self, kind: Kind, packet: bytes, flow: Hashable, *, force: bool = False) -> bool:
        if self._wake is not None:
            self._wake()
        return self.queue.push(Queued(kind, packet, flow), force=force)

    def parks(self, p1: int, cycle: int) -> bool:
        """Whether polls with this P1, in such a distance, may be parked: nothing waits, and they are no silence to the watchdog."""
        return not self._given_up and self.machine.silent(p1) and (not self._up or cycle < self._patience)

    def park(self, wake: Callable[[], None]) -> None:
        """Polls come that are no events: ``wake`` is called before anything waits here. They count as heard."""
        self._wake = wake
        self._watched = self._watch is not None
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def unpark(self, heard: int | None) -> None:
        """The last poll was heard at ``heard``; None where none came."""
        self._wake = None
        if heard is not None:
            self._heard = heard
        if self._watched and self._up and self._watch is None:
            self._watch = self.engine.at(self._heard + self._patience, self._look)

    def hop_command(self, header: bytes, data: bytes, le: int | None, inline: bool) -> HopAnswer:
        """Answer a command of the hop's class. ``le``: Le beside data, None where there is none; ``inline``: as HopCard has it."""
        self.heard()
        if self._given_up:
            return HopAnswer(b"", SW_HOP_DOWN)
        ins, p1 = header[1], header[2]
        if ins == INS_ENVELOPE:
            return self.machine.envelope(p1, data, le)
        if ins == INS_GET_RESPONSE:
            return self.machine.get_response(p1, le if le is not None else 256, inline)
        return HopAnswer(b"", 0x6D00)

    def heard(self, at: int | None = None) -> None:
        """A command came, of either model: the terminal side is there."""
        self._heard = self.engine.now if at is None else at

    def numbered(self, number: int, mtu: int, poll_ms: int) -> None:
        """The terminal side greeted: the link is up, and will be missed when it falls silent."""
        self.hop = number
        self._mtu = mtu
        self.queue.quantum = mtu
        self.machine.joiner.limit = mtu
        timebase = self.engine.timebase
        self._patience = timebase.nanoseconds(2 * poll_ms * 10**6 + WATCHDOG_SLACK_NS)
        if not self._up:
            self._up = True
            self.sink.emit(LinkChange(self.engine.now, self.hop, "card", True, "hello"))
            self.on_change(True, "hello")
        if self._watch is None:
            self._watch = self.engine.after(self._patience, self._look)

    def reset(self, reason: str) -> None:
        """Power or reset: the link is down and both toggles start again."""
        self._down(reason)
        self._given_up = False
        self.machine.reset()

    def _look(self) -> None:
        self._watch = None
        if not self._up:
            return
        now = self.engine.now
        self._heard = max(self._heard, min(self.busy_until(), now))
        silent = now - self._heard
        if silent >= self._patience:
            self._given_up = True
            self._down("poll watchdog")
        else:
            self._watch = self.engine.after(self._patience - silent, self._look)

    def _down(self, reason: str) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if self._up:
            self._up = False
            self.sink.emit(LinkChange(self.engine.now, self.hop, "card", False, reason))
            self.on_change(False, reason)

    def _packet(self, kind: Kind, packet: bytes) -> None:
        if kind is Kind.CONTROL or self._up:
            self.on_packet(kind, packet)


def _never_busy() -> int:
    return 0


def _no_packet(_kind: Kind, _packet: bytes) -> None:
    pass


def _no_change(_up: bool, _reason: str) -> None:
    pass
