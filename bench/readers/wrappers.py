"""What wraps a port: recording and cutting. No reader knows of them.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections.abc import Callable
from typing import Final

from bench.engine import Engine
from bench.iso7816.port import Answer, ExchangeLevel, PowerUp, TerminalPort, WarmResets
from bench.observe import Exchange, Sink
from bench.readers.faults import broken_answer
from bench.readers.times import Split

NO_WARM_RESET: Final = "this reader has no warm reset"


class Wrapper:
    """A TerminalPort that hands everything on to another."""

    def __init__(self, port: TerminalPort) -> None:
        self.port = port

    @property
    def level(self) -> ExchangeLevel:
        return self.port.level

    @property
    def fetches_itself(self) -> bool:
        return self.port.fetches_itself

    @property
    def protocol(self) -> int:
        return self.port.protocol

    @property
    def ta1(self) -> int:
        return self.port.ta1

    @property
    def clock_hz(self) -> int:
        return self.port.clock_hz

    def power_up(self, done: Callable[[PowerUp], None]) -> None:
        self.port.power_up(done)

    def power_down(self) -> None:
        self.port.power_down()

    def warm_reset(self, done: Callable[[PowerUp], None]) -> None:
        """A port that cannot reset warm says so through ``done``."""
        if isinstance(self.port, WarmResets):
            self.port.warm_reset(done)
        else:
            done(PowerUp(b"", NO_WARM_RESET))

    def submit(self, command: bytes, done: Callable[[Answer], None]) -> None:
        self.port.submit(command, done)


class Recorded(Wrapper):
    """Tells a sink of every exchange. With an engine in real time it notes what the bench itself took; with a split, what the reader did."""

    def __init__(
        self, port: TerminalPort, hop: int, sink: Sink, *, engine: Engine | None = None, split: Split | None = None
    ) -> None:
        super().__init__(port)
        self.hop = hop
        self.sink = sink
        self.engine = engine
        self.split = split

    def power_up(self, done: Callable[[PowerUp], None]) -> None:
        if self.split is None:
            self.port.power_up(done)
        else:
            self.port.power_up(lambda up: self._powered(up, done))

    def _powered(self, up: PowerUp, done: Callable[[PowerUp], None]) -> None:
        if self.split is not None:
            self.split.powered(up.atr)
        done(up)

    def submit(self, command: bytes, done: Callable[[Answer], None]) -> None:
        asked = self.engine.now if self.engine is not None else 0
        self.port.submit(command, lambda answer: self._answered(command, answer, done, asked))

    def _answered(self, command: bytes, answer: Answer, done: Callable[[Answer], None], asked: int) -> None:
        port = self.port
        response = answer.response
        duration = answer.end - answer.start
        exchange = Exchange(
            self.hop,
            port.level,
            answer.start,
            duration,
            command,
            response,
            command[1],
            len(command),
            len(response),
            response[-2] << 8 | response[-1] if len(response) >= 2 else 0,
            port.ta1,
            port.clock_hz,
            answer.characters,
            answer.retries,
            duration - answer.card_ticks if answer.characters else 0,
            answer.card_ticks,
            answer.error,
        )
        if self.engine is not None:
            exchange.host_ticks = max(0, self.engine.now - asked - duration)
        if self.split is not None and not answer.error:
            times = self.split.times(command, answer, port)
            exchange.reader_ticks, exchange.uncertainty_ticks = times.reader, times.uncertainty
            exchange.wire_ticks, exchange.card_ticks = times.wire, times.card
        self.sink.emit(exchange)
        done(answer)


class Checked(Wrapper):
    """Holds back what no card can have answered, and tells of it as a fault of the way to the card."""

    def __init__(self, port: TerminalPort, on_fault: Callable[[str], None]) -> None:
        super().__init__(port)
        self.on_fault = on_fault

    def submit(self, command: bytes, done: Callable[[Answer], None]) -> None:
        self.port.submit(command, lambda answer: self._answered(command, answer, done))

    def _answered(self, command: bytes, answer: Answer, done: Callable[[Answer], None]) -> None:
        if not answer.error and (text := broken_answer(command, answer.response, self.port.level, self.port.protocol)):
            answer.response, answer.error = b"", text
            self.on_fault(text)
        done(answer)


class Cutting(Wrapper):
    """Cuts chosen exchanges: the command does not reach the card, or its answer does not come back."""

    def __init__(self, port: TerminalPort, engine: Engine, silence: int) -> None:
        super().__init__(port)
        self.engine = engine
        self.silence = silence
        """Ticks until a lost command or answer is noticed."""
        self.cut_commands: set[int] = set()
        """Which exchanges, counted from 0, never reach the card."""
        self.cut_answers: set[int] = set()
        """Which exchanges the card makes and the terminal does not hear of."""
        self.count = 0
        self.attempts = 0
        """Exchanges tried so far."""
        self.looks = 0
        """Power-ups tried so far: how often this side looked for a card."""
        self._power_cycle = 0

    def power_up(self, done: Callable[[PowerUp], None]) -> None:
        self.attempts += 1
        self._power_cycle += 1
        self.port.power_up(done)

    def power_down(self) -> None:
        self._power_cycle += 1
        self.port.power_down()

    def warm_reset(self, done: Callable[[PowerUp], None]) -> None:
        self._power_cycle += 1
        super().warm_reset(done)

    def submit(self, command: bytes, done: Callable[[Answer], None]) -> None:
        index = self.count
        self.count += 1
        self.attempts += 1
        if index in self.cut_commands:
            self._silence(self.engine.now, done)
        elif index in self.cut_answers:
            self.port.submit(command, lambda answer: self._silence(answer.start, done))
        else:
            self.port.submit(command, done)

    def _silence(self, start: int, done: Callable[[Answer], None]) -> None:
        cycle = self._power_cycle

        def noticed() -> None:
            if cycle == self._power_cycle:
                done(Answer(b"", start, self.engine.now, error="mute"))

        self.engine.after(self.silence, noticed)
