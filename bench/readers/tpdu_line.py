"""A slot's end of the virtual line: the contacts a software card is put on, and what is on its way between the two.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections.abc import Callable, Collection
from typing import Protocol

from bench.engine import Engine
from bench.iso7816.disturbance import Disturbance
from bench.iso7816.line import Burst, CardEnd
from bench.iso7816.session import Side
from bench.readers.disturbed import DisturbedWire


class LineOwner(Protocol):
    """What the line tells, and asks for the etu it listens with."""

    clock_hz: int

    @property
    def etu(self) -> int: ...

    @property
    def signals(self) -> bool: ...

    def receive(self, burst: Burst, damaged: Collection[int] = ()) -> None: ...

    def signalled(self, burst: Burst, index: int) -> None: ...


class CardLine:
    """One line. A wrong rate gives garbage, as on a real one; ``disturb`` adds noise or jitter."""

    def __init__(self, engine: Engine, owner: LineOwner) -> None:
        self.engine = engine
        self.card: CardEnd | None = None
        self.arriving: Burst | None = None
        """The card's last burst, while it may have begun and not ended."""
        self.on_burst: Callable[[Burst, Side], None] | None = None
        """Told of every burst when it is sent (it may begin later), and who sends it: where the line is watched."""
        self._owner = owner
        self._wire = DisturbedWire(engine, Disturbance(0))
        self._disturbed = False
        self._contact = 0
        """Counts resets, insertions and removals: what was sent before one does not arrive after it."""

    def disturb(self, disturbance: Disturbance | None) -> None:
        """From now on every burst goes through ``disturbance``; None is a line without faults."""
        self._disturbed = disturbance is not None
        self._wire = DisturbedWire(self.engine, disturbance or Disturbance(0))

    def insert(self, card: CardEnd) -> None:
        self.remove()
        self.card = card
        card.transmit = self._from_card

    def remove(self) -> CardEnd | None:
        """Take the card away: it loses power at once, and what is on the way is lost."""
        card, self.card = self.card, None
        self.reset()
        if card is not None:
            card.transmit = _lost
            card.power_down(self.engine.now)
        return card

    def reset(self) -> None:
        """RST falls, or VCC goes: nothing that is on the way arrives."""
        self._contact += 1
        self.arriving = None
        self._wire.reset()

    def send(self, burst: Burst) -> None:
        """To the card, if there is one."""
        if self.on_burst is not None:
            self.on_burst(burst, Side.TERMINAL)
        card = self.card
        if card is None:
            return
        contact = self._contact
        if self._disturbed or card.etu != burst.etu:
            self._wire.to_card(burst, self._owner, card, lambda: contact == self._contact)
        else:
            self.engine.at(burst.taken, lambda: card.receive(burst) if contact == self._contact else None)

    def _from_card(self, burst: Burst) -> None:
        if self.on_burst is not None:
            self.on_burst(burst, Side.CARD)
        card = self.card
        assert card is not None, "a card that was taken away sends into the air"
        contact = self._contact
        if self._disturbed or burst.etu != self._owner.etu:
            self.arriving = self._wire.from_card(burst, self._owner, card, lambda: contact == self._contact)
            return
        self.arriving = burst
        self.engine.at(burst.taken, lambda: self._owner.receive(burst) if contact == self._contact else None)

    def heard(self, burst: Burst) -> None:
        """To be called by the owner's ``receive``. A card may have begun the next burst already."""
        if self.arriving is not None and self.arriving.start <= burst.start:
            self.arriving = None


def _lost(_burst: Burst) -> None:
    pass
