"""The way between the software reader and a card where characters suffer: schedules what `bench.iso7816.disturbance` makes of each burst.

The line is half-duplex: an end that sends hears nothing, so of two that send at once neither hears the other's characters.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections.abc import Callable, Collection
from typing import Protocol

from bench.engine import Engine
from bench.iso7816.disturbance import Delivery, Disturbance, End, Towards, carry
from bench.iso7816.line import CHARACTER_TAKEN_ETU, Burst, CardEnd

Alive = Callable[[], bool]
"""Whether what was sent may still arrive: no reset, no removal since."""


class LineEnd(Protocol):
    """What a disturbed wire asks of either end, and tells it."""

    @property
    def etu(self) -> int: ...

    @property
    def signals(self) -> bool: ...

    def receive(self, burst: Burst, damaged: Collection[int] = ()) -> None: ...

    def signalled(self, burst: Burst, index: int) -> None: ...


class TerminalEnd(LineEnd, Protocol):
    """The reader; it knows the clock it supplies."""

    clock_hz: int


class DisturbedWire:
    """One line. ``to_card`` and ``from_card`` are called when a burst is sent, at the latest when it begins."""

    def __init__(self, engine: Engine, disturbance: Disturbance) -> None:
        self.engine = engine
        self.disturbance = disturbance
        self.reset()

    def reset(self) -> None:
        """RST fell, or a card came or went: nobody sends, nobody is inside a frame."""
        self._sends = dict.fromkeys(Towards, (0, 0))
        """From when to when the last burst in that direction is sent."""
        self._deaf = dict.fromkeys(Towards, 0)
        """Until when the end that a direction leads to is inside a frame."""

    def to_card(self, burst: Burst, terminal: TerminalEnd, card: CardEnd, alive: Alive) -> None:
        """A burst of the terminal."""
        cycle = self.engine.timebase.cycles(1, terminal.clock_hz)
        self._carry(Towards.CARD, burst, End(burst.etu), End(card.etu, cycle), terminal, card, alive)

    def from_card(self, burst: Burst, terminal: TerminalEnd, card: CardEnd, alive: Alive) -> Burst | None:
        """A burst of the card; gives what of it the terminal hears first, if anything."""
        cycle = self.engine.timebase.cycles(1, terminal.clock_hz)
        return self._carry(Towards.TERMINAL, burst, End(burst.etu, cycle), End(terminal.etu), card, terminal, alive)

    def _carry(
        self, towards: Towards, burst: Burst, sends: End, hears: End, sender: LineEnd, receiver: LineEnd, alive: Alive
    ) -> Burst | None:
        disturbance = self.disturbance
        self._sends[towards] = (burst.start, burst.end)
        faults = disturbance.faults(towards, len(burst.data))
        deaf = self._deaf[towards]
        if not faults and deaf <= burst.start and hears.bears(sends, disturbance.jitter):
            self.engine.at(burst.taken, lambda: self._arrive(towards, [(burst, frozenset())], receiver, alive))
            return burst
        delivery = carry(
            burst, faults, sends, hears, signals=receiver.signals, disturbance=disturbance, deaf_until=deaf
        )
        self._deaf[towards] = delivery.deaf_until
        self._tell_sender(towards, delivery, burst, sender, alive)
        pieces = delivery.pieces(burst.pitch, hears.etu)
        if not pieces:
            return None
        self.engine.at(delivery.ended, lambda: self._arrive(towards, pieces, receiver, alive))
        begin = pieces[0][0].start
        # whatever is in it: it begins then, and has been taken when all of it has
        return Burst(bytes(2), begin, delivery.ended - begin - CHARACTER_TAKEN_ETU * hears.etu, hears.etu)

    def _tell_sender(self, towards: Towards, delivery: Delivery, burst: Burst, sender: LineEnd, alive: Alive) -> None:
        index = delivery.signalled
        if index is None:
            return
        self._sends[towards] = (burst.start, delivery.signalled_at)
        self.engine.at(delivery.signalled_at, lambda: sender.signalled(burst, index) if alive() else None)

    def _arrive(
        self, towards: Towards, pieces: list[tuple[Burst, frozenset[int]]], receiver: LineEnd, alive: Alive
    ) -> None:
        opposite = Towards.TERMINAL if towards is Towards.CARD else Towards.CARD
        for piece, damaged in pieces:
            if not alive():
                return
            heard = _outside(piece, damaged, *self._sends[opposite])
            if heard is not None:
                receiver.receive(*heard)


def _outside(burst: Burst, damaged: frozenset[int], begin: int, end: int) -> tuple[Burst, frozenset[int]] | None:
    """What of a burst is heard by an end that sends from ``begin`` to ``end``."""
    if burst.start >= end or burst.end <= begin:
        return burst, damaged
    keep = [
        index
        for index in range(len(burst.data))
        if (start := burst.start + index * burst.pitch) >= end or start + burst.end - burst.last <= begin
    ]
    if not keep:
        return None
    first = keep[0]
    data = bytes(burst.data[index] for index in keep)
    moved = Burst(data, burst.start + first * burst.pitch, burst.pitch, burst.etu)
    return moved, frozenset(keep.index(index) for index in damaged if index in keep)
