"""The software reader: the terminal's end of a virtual wire, at character level, in the engine's time.

It does not simulate currents, rise times or contact bounce; a voltage is an operating class, A, B or C. Inserting and removing a card is exact to the
tick: what is on the wire at that moment is lost, as on real contacts. Characters arrive as they were sent, unless ``disturb`` says otherwise.
"""

from collections.abc import Callable

from bench.engine import Engine
from bench.iso7816.disturbance import Disturbance
from bench.iso7816.line import Burst, CardEnd
from bench.iso7816.port import Answer, PowerUp
from bench.iso7816.session import Side
from bench.iso7816.t1_terminal import T1Terminal
from bench.readers.character import CharacterReader
from bench.readers.contract import Abilities, RateControl, StampedAt
from bench.readers.disturbed import DisturbedWire


class SoftwareReader(CharacterReader):
    """A TerminalPort over a virtual line. ``insert`` and ``remove`` are its hands."""

    def __init__(self, engine: Engine, clock_hz: int, ta1: int | None = None, *, detects: bool = False) -> None:
        super().__init__(engine, clock_hz, ta1)
        self.detects = detects
        """Whether a switch tells at once that the card is gone; otherwise silence does."""
        self.on_burst: Callable[[Burst, Side], None] | None = None
        """Told of every burst when it is sent (it may begin later), and who sends it: where the line is watched."""
        self.on_fault: Callable[[str], None] = _nobody
        """Never told: nothing of a virtual wire breaks."""
        self.on_card: Callable[[bool], None] = _nobody
        self._card: CardEnd | None = None
        self._wire: DisturbedWire | None = None
        self._contact = 0
        """Counts insertions, removals and power-downs: what was sent before one does not arrive after it."""

    @property
    def abilities(self) -> Abilities:
        return Abilities(
            self.level,
            RateControl.SELECTABLE,
            (0, 1),
            "ABC",
            (self.clock_hz,),
            1,
            0,
            StampedAt.LINE,
            removal=self.detects,
        )

    @property
    def hung(self) -> str:
        return ""

    def close(self) -> bool:
        """Power down."""
        self.power_down()
        return True

    def power_up(self, done: Callable[[PowerUp], None]) -> None:
        if not self._noticed():
            super().power_up(done)
            return
        self.power_down()
        self._power_done = done
        self.engine.at(self.engine.now, lambda: self._no_card(done))

    def _no_card(self, done: Callable[[PowerUp], None]) -> None:
        if self._power_done is done:
            self._power_done = None
            done(PowerUp(b"", "absent"))

    # -- hands -------------------------------------------------------------------------------------------------------------

    @property
    def present(self) -> bool:
        return self._card is not None

    def insert(self, card: CardEnd) -> None:
        """Put a card on the contacts. It is found by the next power-up."""
        self.remove()
        self._contact += 1
        self._card = card
        card.transmit = self._from_card
        self._switched(True)

    def remove(self) -> CardEnd | None:
        """Take the card away: it loses power at once."""
        card, self._card = self._card, None
        self._contact += 1
        self._arriving = None
        if card is not None:
            card.transmit = _lost
            card.power_down(self.engine.now)
            self._switched(False)
            if self.detects and self._done is not None:
                self._dead = "absent"
                self._finish(Answer(b"", self.engine.now, self.engine.now, error="absent"))
        return card

    def _switched(self, here: bool) -> None:
        """The switch tells, where there is one and somebody listens."""
        if self.detects and self.on_card is not _nobody:
            self.engine.at(self.engine.now, lambda: self.on_card(here))

    # -- the wire ------------------------------------------------------------------------------------------------------------

    def disturb(self, disturbance: Disturbance | None, mismatch_ppm: int = 0) -> None:
        """From now on every burst goes through ``disturbance``; None is a line without faults, whose ends may still differ in rate."""
        self.mismatch_ppm = mismatch_ppm
        self._wire = DisturbedWire(self.engine, disturbance or Disturbance(0))

    def _to_card(self, burst: Burst) -> None:
        if self.on_burst is not None:
            self.on_burst(burst, Side.TERMINAL)
        card = self._card
        if card is None:
            return
        contact = self._contact
        if self._wire is not None:
            self._wire.to_card(burst, self, card, lambda: contact == self._contact)
            return
        self.engine.at(burst.taken, lambda: card.receive(burst) if contact == self._contact else None)

    def _from_card(self, burst: Burst) -> None:
        if self.on_burst is not None:
            self.on_burst(burst, Side.CARD)
        contact = self._contact
        card = self._card
        if self._wire is not None and card is not None:
            self._arriving = self._wire.from_card(burst, self, card, lambda: contact == self._contact)
            if isinstance(self._terminal, T1Terminal) and self._arriving is not None:
                self._terminal.incoming(self._arriving)
            return
        self._arriving = burst
        if isinstance(self._terminal, T1Terminal):
            self._terminal.incoming(burst)
        self.engine.at(burst.taken, lambda: self.receive(burst) if contact == self._contact else None)

    def card_here(self) -> CardEnd | None:
        return self._card

    def activation_reset(self) -> None:
        self._contact += 1
        self._arriving = None
        if self._wire is not None:
            self._wire.reset()

    def _noticed(self) -> str:
        return "absent" if self.detects and self._card is None else ""


def _nobody(_told: object) -> None:
    pass


def _lost(_burst: Burst) -> None:
    pass
