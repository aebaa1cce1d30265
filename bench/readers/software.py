"""The software reader: the terminal's end of a virtual wire, at character level, in the engine's time.

It does not simulate currents, rise times or contact bounce; a voltage is an operating class, A, B or C. Inserting and removing a card is exact to the
tick: what is on the wire at that moment is lost, as on real contacts. Characters arrive as they were sent, unless ``disturb`` says otherwise.
"""

from collections.abc import Callable

from bench.card.card import Card
from bench.card.contacts import Contacts
from bench.engine import FROM_CARD, TO_CARD, Engine, VirtualEngine
from bench.hop.card_link import CardLink
from bench.hop.parking import Course, IdlePolls, ParkingLot
from bench.iso7816.disturbance import Disturbance
from bench.iso7816.line import CHARACTER_TAKEN_ETU, Burst, CardEnd
from bench.iso7816.port import Answer, PowerUp
from bench.iso7816.session import Side
from bench.iso7816.t0 import T0Outcome
from bench.iso7816.t1_outcome import T1Outcome
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
        self.lot: ParkingLot | None = None
        """Where idle polls are parked; None where every one of them is to be seen."""
        self.on_fault: Callable[[str], None] = _nobody
        """Never told: nothing of a virtual wire breaks."""
        self.on_card: Callable[[bool], None] = _nobody
        self._card: CardEnd | None = None
        self._wire: DisturbedWire | None = None
        self._contact = 0
        """Counts insertions, removals and power-downs: what was sent before one does not arrive after it."""
        self._on_burst: Callable[[Burst, Side], None] | None = None
        self._bursts = 0
        """Sent in the exchange under way, or the last one, either way."""
        self._out: Burst | None = None
        self._course: Course | None = None
        """How idle polls go with this card, since it was reset."""
        self._wake: Callable[[], None] = _awake

    @property
    def on_burst(self) -> Callable[[Burst, Side], None] | None:
        """Told of every burst when it is sent (it may begin later), and who sends it: where the line is watched."""
        return self._on_burst

    @on_burst.setter
    def on_burst(self, told: Callable[[Burst, Side], None] | None) -> None:
        self._wake()
        self._on_burst = told

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
        self._wake()
        self.remove()
        self._contact += 1
        self._card = card
        card.transmit = self._from_card
        self._switched(True)

    def remove(self) -> CardEnd | None:
        """Take the card away: it loses power at once."""
        self._wake()
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
        self._wake()
        self._course = None
        self.mismatch_ppm = mismatch_ppm
        self._wire = DisturbedWire(self.engine, disturbance or Disturbance(0))

    def _to_card(self, burst: Burst) -> None:
        self._bursts += 1
        self._out = burst
        if self._on_burst is not None:
            self._on_burst(burst, Side.TERMINAL)
        card = self._card
        if card is None:
            return
        contact = self._contact
        if self._wire is not None:
            self._wire.to_card(burst, self, card, lambda: contact == self._contact)
            return
        self.engine.at(burst.taken, lambda: card.receive(burst) if contact == self._contact else None, TO_CARD)

    def _from_card(self, burst: Burst) -> None:
        self._bursts += 1
        if self._on_burst is not None:
            self._on_burst(burst, Side.CARD)
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
        self.engine.at(burst.taken, lambda: self.receive(burst) if contact == self._contact else None, FROM_CARD)

    # -- idle polls (a ParkingPort) ----------------------------------------------------------------------------------------

    def submit(self, command: bytes, done: Callable[[Answer], None]) -> None:
        self._bursts = 0
        super().submit(command, done)

    def idle(self, command: bytes, seen: Answer | None, due: int, period: int) -> IdlePolls | None:
        """See `bench.hop.parking.ParkingPort`. Polls whose characters are watched or disturbed, or of a card that took its time, are none to park."""
        engine, terminal, link = self.engine, self._terminal, self._hop_side()
        if self.lot is None or not isinstance(engine, VirtualEngine) or link is None or terminal is None:
            return None
        if self._wire is not None or self._on_burst is not None:
            return None
        now, out = engine.now, self._out
        if seen is not None and out is not None:
            plain = self._bursts == 2 and not seen.error
            self._course = Course(out.taken - out.start, now - out.start, seen) if plain else None
        course = self._course
        if course is None:
            return None
        free = terminal.timing.turnaround_to_card - CHARACTER_TAKEN_ETU * terminal.timing.etu
        first = max(due, now)
        asked, start = first, max(first, now + free)
        leads, starts = [start - first], [first]
        for _ in range(2):
            over = start + course.over
            asked = max(asked + period, over)
            start = max(asked, over + free)
            leads.append(start - asked)
            starts.append(asked)
        cycle = starts[2] - starts[1]
        if leads[1] != leads[2] or not link.parks(command[2], max(cycle, starts[1] - starts[0])):
            return None
        return IdlePolls(engine, command, course, first, leads[0], starts[1], leads[1], cycle, due <= now)

    def park(self, wake: Callable[[], None], settle: Callable[[], None]) -> None:
        self._wake = wake
        link = self._hop_side()
        if link is not None:
            link.park(wake)
        if self.lot is not None:
            self.lot.add(id(self), settle)

    def tell(self, polls: IdlePolls, count: int) -> None:
        """Nobody counts here."""

    def unpark(self, polls: IdlePolls, over: int) -> None:
        self._wake = _awake
        if self.lot is not None:
            self.lot.remove(id(self))
        link = self._hop_side()
        assert link is not None
        if isinstance(self._terminal, T1Terminal):  # every poll turns the sequence numbers over
            for number in range(max(0, over - (1 if over % 2 else 2)), over):
                self._make_up(polls, number)
        elif over and polls.asked == over:  # else the poll on the line sets all that the last one left
            self._make_up(polls, over - 1)
        link.unpark(polls.starts_at(over - 1) + polls.course.heard if over else None)

    def resume(self, polls: IdlePolls, number: int, done: Callable[[Answer], None]) -> None:
        terminal, card, link = self._terminal, self._card, self._hop_side()
        assert terminal is not None
        assert card is not None
        assert link is not None
        self._done = done
        self._bursts = 0
        burst = terminal.begin(polls.command, polls.starts_at(number))
        if polls.heard > number:
            self._bursts, self._out = 1, burst
            card.receive(burst)
            link.heard(burst.taken)
        else:
            self._to_card(burst)
        self._watch.keep(terminal.deadline)

    def _make_up(self, polls: IdlePolls, number: int) -> None:
        """A poll that is over: both ends are as it left them."""
        terminal, card = self._terminal, self._card
        assert terminal is not None
        assert card is not None
        answers: list[Burst] = []
        card.transmit = answers.append
        card.receive(terminal.begin(polls.command, polls.starts_at(number)))
        card.transmit = self._from_card
        outcome = terminal.receive(answers[0]) if answers else None
        if not isinstance(outcome, T0Outcome | T1Outcome) or outcome.response != polls.course.answer.response:
            raise RuntimeError(
                "a parked card no longer answers a poll as it did: it was changed without the reader's knowing"
            )

    def _hop_side(self) -> CardLink | None:
        """The hop's other side, where the card is one of the bench's own without a defect at its contacts."""
        card = self._card
        if isinstance(card, Contacts) and isinstance(card.handler, Card):
            return card.handler.io1
        return None

    def card_here(self) -> CardEnd | None:
        return self._card

    def activation_reset(self) -> None:
        self._course = None
        self._contact += 1
        self._arriving = None
        if self._wire is not None:
            self._wire.reset()

    def _noticed(self) -> str:
        return "absent" if self.detects and self._card is None else ""


def _nobody(_told: object) -> None:
    pass


def _awake() -> None:
    pass


def _lost(_burst: Burst) -> None:
    pass
