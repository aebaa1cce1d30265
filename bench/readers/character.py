"""The terminal's end of an I/O line at character level: brings a card up, speaks T=0 or T=1, watches the waiting times.

What carries the characters is left to who inherits: a virtual wire (`software`), a serial port (`serial`).

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections.abc import Callable, Collection
from dataclasses import replace

from bench.engine import Engine
from bench.iso7816.atr import Atr
from bench.iso7816.line import Burst, CardEnd
from bench.iso7816.port import Answer, ExchangeLevel, PowerUp
from bench.iso7816.rates import GUARD_ETU, RATE_DEFAULT, Rate
from bench.iso7816.t0 import T0Outcome, T0Terminal, T0Timing
from bench.iso7816.t1_block import INF_MAX, edc_scheme
from bench.iso7816.t1_line import T1Timing, T1TimingError
from bench.iso7816.t1_outcome import T1Outcome
from bench.iso7816.t1_terminal import T1Terminal
from bench.readers.activation import Activated, Activation, Wishes, drifted
from bench.readers.waiting import WaitingWatch


class CharacterReader:
    """A TerminalPort at character level, in the time of its engine. Bursts go out through ``_to_card`` and come in through ``receive``."""

    level = ExchangeLevel.CHARACTER
    fetches_itself = False

    def __init__(self, engine: Engine, clock_hz: int, ta1: int | None = None) -> None:
        self.engine = engine
        self.clock_hz = clock_hz
        self.wishes = Wishes(ta1=ta1)
        """The rate to ask for by PPS, operating classes and the like."""
        self.mismatch_ppm = 0
        """How much longer an etu of its UART is than the clock that it gives the card says, in parts per million."""
        self.patience = 0
        """What is added to every waiting time, where characters are known of later than they are on the line."""
        self.on_reset: Callable[[int], None] | None = None
        """Told when RST rises, before the answer to reset."""
        self.ta1 = RATE_DEFAULT
        self.protocol = 0
        self.ifsd = INF_MAX
        """T=1: the longest information field it takes, which it tells every card."""
        self.atr: Atr | None = None
        self.operating_class = ""
        """The class of the last activation that succeeded: A, B or C."""
        self._powered = False
        self._terminal: T0Terminal | T1Terminal | None = None
        self._dead = ""
        """Why nothing but a reset brings the card back (11.6.3, rules 6.4 and 7.4)."""
        self._done: Callable[[Answer], None] | None = None
        self._power_done: Callable[[PowerUp], None] | None = None
        self._activation: Activation | None = None
        self._watch = WaitingWatch(engine, self._look)
        self._arriving: Burst | None = None
        """The card's last burst, where it is known of before it has ended."""

    # -- for who inherits --------------------------------------------------------------------------------------------------

    def _to_card(self, burst: Burst) -> None:
        """Send, the first character at ``burst.start``."""
        raise NotImplementedError

    def card_here(self) -> CardEnd | None:
        """The card on the contacts; its ``power_up``, ``reset`` and ``power_down`` are what the contacts do."""
        raise NotImplementedError

    def activation_reset(self) -> None:
        """RST falls: what was on the line does not arrive any more."""
        raise NotImplementedError

    def _granted(self) -> Wishes:
        """The wishes, without what it cannot do."""
        return self.wishes

    def _noticed(self) -> str:
        """Empty, or what is known to keep a command from its card: ``absent`` where a switch tells."""
        return ""

    # -- TerminalPort ------------------------------------------------------------------------------------------------------

    def power_up(self, done: Callable[[PowerUp], None]) -> None:
        self.power_down()
        self._activate(done).cold()

    def warm_reset(self, done: Callable[[PowerUp], None]) -> None:
        """RST alone, on a card that has power (a cold reset on one that has not). What is under way is dropped, as at ``power_down``."""
        if not self._powered:
            self.power_up(done)
            return
        self._drop()
        self._activate(done).warm(self.operating_class)

    def power_down(self) -> None:
        self._drop()
        card = self.card_here()
        if card is not None and self._powered:
            card.power_down(self.engine.now)
        self._powered = False

    def submit(self, command: bytes, done: Callable[[Answer], None]) -> None:
        terminal = self._terminal
        if terminal is None or self._done is not None:
            raise RuntimeError("one exchange at a time, on a card that has answered to reset")
        if why := self._noticed() or self._dead:
            done(Answer(b"", self.engine.now, self.engine.now, error=why))
            return
        self._done = done
        self._to_card(terminal.begin(command, self.engine.now))
        self._watch.keep(terminal.deadline)

    def _activate(self, done: Callable[[PowerUp], None]) -> Activation:
        self._power_done = done
        self._powered = True
        self.ta1 = RATE_DEFAULT
        self._activation = activation = Activation(self, self._granted(), self.patience)
        return activation

    def _drop(self) -> None:
        """Nothing that is under way goes on."""
        self._watch.cancel()
        if self._activation is not None:
            self._activation.cancel()
            self._activation = None
        self.activation_reset()
        self._terminal = None
        self._dead = ""
        self._done = None
        self._power_done = None

    # -- the line ------------------------------------------------------------------------------------------------------------

    @property
    def etu(self) -> int:
        """Its etu now, in ticks, at which it listens."""
        if self._terminal is not None:
            return self._terminal.timing.etu
        return drifted(self.engine.timebase.cycles(Rate(RATE_DEFAULT).f, self.clock_hz), self.mismatch_ppm)

    @property
    def signals(self) -> bool:
        """Whether it gives the error signal now: under T=0, from the first command on (a damaged ATR or PPS response is told as such)."""
        return isinstance(self._terminal, T0Terminal)

    def receive(self, burst: Burst, damaged: Collection[int] = ()) -> None:
        """A burst of the card has been taken; ``damaged`` are the indices of characters with wrong parity."""
        if self._arriving is not None and self._arriving.start <= burst.start:
            self._arriving = None  # a card may have sent the next one already
        terminal = self._terminal
        if terminal is None:
            if self._activation is not None:
                self._activation.heard(burst, damaged)
            return
        self._go_on(terminal.receive(burst, damaged))

    def signalled(self, burst: Burst, index: int) -> None:
        """The card gave the error signal for character ``index`` of a burst of ours; none after it has been sent."""
        if isinstance(self._terminal, T0Terminal):
            self._go_on(self._terminal.signalled(burst, index))
        elif self._activation is not None:
            self._activation.signalled(burst, index)

    def _go_on(self, step: Burst | T0Outcome | T1Outcome | None) -> None:
        if step is None:
            if isinstance(self._terminal, T1Terminal) and self._terminal.busy:
                self._watch.keep(self._terminal.deadline)  # within a block the waiting time is a shorter one
        elif isinstance(step, Burst):
            self._to_card(step)
        elif self._power_done is not None and isinstance(step, T1Outcome):
            self._ifsd_told(step)
        else:
            self._ended(step)

    def _ended(self, outcome: T0Outcome | T1Outcome) -> None:
        if isinstance(outcome, T1Outcome) and outcome.needs_reset:
            self._dead = outcome.error
            card = self.card_here()
            if card is not None:
                card.power_down(self.engine.now)
            self._powered = False
            self.activation_reset()
        self._finish(
            Answer(
                outcome.response,
                outcome.start,
                outcome.end,
                outcome.characters,
                outcome.card_ticks,
                outcome.retries,
                outcome.error,
            )
        )

    def _finish(self, answer: Answer) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(answer)

    def _look(self) -> None:
        """The waiting time may be over."""
        terminal = self._terminal
        if terminal is None or (self._done is None and self._power_done is None):
            return
        if not self._watch.over(terminal.deadline, self._arriving):
            return
        if isinstance(terminal, T0Terminal):
            self._ended(terminal.expire(terminal.deadline))
        else:
            self._go_on(terminal.expire(self.engine.now))
            if terminal is self._terminal and terminal.busy:
                self._watch.keep(terminal.deadline)

    # -- an ActivationLine -----------------------------------------------------------------------------------------------

    def activation_send(self, burst: Burst) -> None:
        self._to_card(burst)

    def arriving(self) -> Burst | None:
        return self._arriving

    def rst_rises(self) -> None:
        if self.on_reset is not None:
            self.on_reset(self.engine.now)

    def activated(self, result: Activated) -> None:
        self.atr = result.atr
        self.ta1 = result.rate.ta1
        self.protocol = result.protocol
        self.operating_class = result.operating_class
        self._activation = None
        if result.protocol == 1:
            self._speak_t1(result)
            return
        timing = T0Timing.at_rate(result.atr, result.rate, self.clock_hz, self.engine.timebase)
        if self.mismatch_ppm:
            timing = timing.drifted(self.mismatch_ppm)
        if self.patience:
            timing = replace(timing, waiting_time=timing.waiting_time + self.patience)
        self._terminal = T0Terminal(timing, _heard(result.burst, timing.turnaround_to_card))
        self._up()

    def _speak_t1(self, result: Activated) -> None:
        """The card is ready when it knows how long the terminal's information fields are (11.4.2)."""
        try:
            timing = T1Timing.at_rate(result.atr, result.rate, self.clock_hz, self.engine.timebase)
        except T1TimingError as error:
            self.not_activated(f"bad ATR: {error}")
            return
        if self.mismatch_ppm:
            timing = timing.drifted(self.mismatch_ppm)
        if self.patience:
            timing = replace(timing, cwt=timing.cwt + self.patience, bwt=timing.bwt + self.patience)
        heard = _heard(result.burst, timing.turnaround_to_card)
        terminal = T1Terminal(timing, heard, ifsc=result.atr.ifsc, edc=edc_scheme(result.atr.edc))
        self._terminal = terminal
        request = terminal.announce_ifsd(self.ifsd, self.engine.now)
        assert request is not None
        self._to_card(request)
        self._watch.keep(terminal.deadline)

    def _ifsd_told(self, outcome: T1Outcome) -> None:
        """A card that does not take it goes on at the default size; one that says nothing any more is deactivated."""
        if outcome.needs_reset:
            self.not_activated(outcome.error)
        else:
            self._up()

    def _up(self) -> None:
        assert self.atr is not None
        done, self._power_done = self._power_done, None
        if done is not None:
            done(PowerUp(self.atr.encode()))

    def not_activated(self, why: str) -> None:
        done = self._power_done
        self.power_down()
        if done is not None:
            done(PowerUp(b"", why))


def _heard(burst: Burst, turnaround: int) -> int:
    """From where the turn-around to the first command counts.

    The guard time of the last character at the old rate (9.1) is longer than a turn-around at a fast new one.
    """
    return max(burst.last, burst.last + GUARD_ETU * burst.etu - turnaround)
