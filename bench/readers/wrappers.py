"""What wraps a port: recording and cutting. No reader knows of them.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections.abc import Callable
from typing import Final

from bench.engine import Engine
from bench.hop.parking import IdlePolls, ParkingPort
from bench.iso7816.port import Answer, ExchangeLevel, PowerUp, TerminalPort, WarmResets
from bench.observe import ATR, Direction, Exchange, Packet, Sink
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


class Parking(Wrapper):
    """A wrapper that lets idle polls be parked, where the port below it does."""

    def __init__(self, port: TerminalPort) -> None:
        super().__init__(port)
        self._below = port if isinstance(port, ParkingPort) else None

    def idle(self, command: bytes, seen: Answer | None, due: int, period: int) -> IdlePolls | None:
        return self._below.idle(command, seen, due, period) if self._below is not None else None

    def park(self, wake: Callable[[], None], settle: Callable[[], None]) -> None:
        if self._below is not None:
            self._below.park(wake, settle)

    def tell(self, polls: IdlePolls, count: int) -> None:
        if self._below is not None:
            self._below.tell(polls, count)

    def unpark(self, polls: IdlePolls, over: int) -> None:
        if self._below is not None:
            self._below.unpark(polls, over)

    def resume(self, polls: IdlePolls, number: int, done: Callable[[Answer], None]) -> None:
        if self._below is not None:
            self._below.resume(polls, number, done)


class Recorded(Parking):
    """Tells a sink of every exchange. With an engine in real time it notes what the bench itself took; with a split, what the reader did."""

    def __init__(
        self,
        port: TerminalPort,
        hop: int,
        sink: Sink,
        *,
        engine: Engine | None = None,
        split: Split | None = None,
        now: Callable[[], int] | None = None,
    ) -> None:
        super().__init__(port)
        self.hop = hop
        self.sink = sink
        self.engine = engine
        self.split = split
        self.now = now
        """The clock that answers to reset are told by; without one they are not."""

    def power_up(self, done: Callable[[PowerUp], None]) -> None:
        self.port.power_up(lambda up: self._powered(up, done))

    def warm_reset(self, done: Callable[[PowerUp], None]) -> None:
        super().warm_reset(lambda up: self._powered(up, done))

    def _powered(self, up: PowerUp, done: Callable[[PowerUp], None]) -> None:
        if self.split is not None:
            self.split.powered(up.atr)
        if up.atr and self.now is not None:
            node, length = self.hop - 1, len(up.atr)
            self.sink.emit(Packet(self.now(), node, self.hop, Direction.IN, ATR, -1, -1, 0, length, up.atr))
        done(up)

    def submit(self, command: bytes, done: Callable[[Answer], None]) -> None:
        asked = self.engine.now if self.engine is not None else 0
        self.port.submit(command, lambda answer: self._answered(command, answer, done, asked))

    def idle(self, command: bytes, seen: Answer | None, due: int, period: int) -> IdlePolls | None:
        return super().idle(command, seen, due, period) if self.engine is None and self.split is None else None

    def tell(self, polls: IdlePolls, count: int) -> None:
        """One row for all of them."""
        super().tell(polls, count)
        answer = polls.course.answer
        start = polls.starts_at(polls.told)
        end = start + answer.end - answer.start
        same = Answer(answer.response, start, end, answer.characters, answer.card_ticks, answer.retries)
        exchange = self._exchange(polls.command, same)
        exchange.count = count
        if count > 1:
            exchange.period_ticks = polls.cycle
        self.sink.emit(exchange)

    def resume(self, polls: IdlePolls, number: int, done: Callable[[Answer], None]) -> None:
        asked = polls.asked_at(number)
        super().resume(polls, number, lambda answer: self._answered(polls.command, answer, done, asked))

    def _exchange(self, command: bytes, answer: Answer) -> Exchange:
        port = self.port
        response = answer.response
        duration = answer.end - answer.start
        return Exchange(
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

    def _answered(self, command: bytes, answer: Answer, done: Callable[[Answer], None], asked: int) -> None:
        exchange = self._exchange(command, answer)
        if self.engine is not None:
            exchange.host_ticks = max(0, self.engine.now - asked - exchange.duration_ticks)
        if self.split is not None and not answer.error:
            times = self.split.times(command, answer, self.port)
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


class Cutting(Parking):
    """Cuts chosen exchanges: the command does not reach the card, or its answer does not come back. Idle polls are parked where none is chosen."""

    def __init__(self, port: TerminalPort, engine: Engine, silence: int) -> None:
        super().__init__(port)
        self.engine = engine
        self.silence = silence
        """Ticks until a lost command or answer is noticed."""
        self.looks = 0
        """Power-ups tried so far: how often this side looked for a card."""
        self._cut_commands: set[int] = set()
        self._cut_answers: set[int] = set()
        self._count = 0
        self._attempts = 0
        self._power_cycle = 0
        self._wake: Callable[[], None] = _nothing
        """Called before anybody looks: the numbers are then those of a hop that made every poll."""

    @property
    def cut_commands(self) -> set[int]:
        """Which exchanges, counted from 0, never reach the card."""
        self._wake()
        return self._cut_commands

    @property
    def cut_answers(self) -> set[int]:
        """Which exchanges the card makes and the terminal does not hear of."""
        self._wake()
        return self._cut_answers

    @property
    def count(self) -> int:
        """Exchanges begun so far."""
        self._wake()
        return self._count

    @property
    def attempts(self) -> int:
        """Exchanges and power-ups tried so far."""
        self._wake()
        return self._attempts

    def idle(self, command: bytes, seen: Answer | None, due: int, period: int) -> IdlePolls | None:
        if any(index >= self._count for chosen in (self._cut_commands, self._cut_answers) for index in chosen):
            return None
        return super().idle(command, seen, due, period)

    def park(self, wake: Callable[[], None], settle: Callable[[], None]) -> None:
        self._wake = wake
        super().park(wake, settle)

    def tell(self, polls: IdlePolls, count: int) -> None:
        self._count += count
        self._attempts += count
        super().tell(polls, count)

    def unpark(self, polls: IdlePolls, over: int) -> None:
        self._wake = _nothing
        super().unpark(polls, over)

    def resume(self, polls: IdlePolls, number: int, done: Callable[[Answer], None]) -> None:
        self._count += 1
        self._attempts += 1
        super().resume(polls, number, done)

    def power_up(self, done: Callable[[PowerUp], None]) -> None:
        self.looks += 1
        self._attempts += 1
        self._power_cycle += 1
        self.port.power_up(done)

    def power_down(self) -> None:
        self._power_cycle += 1
        self.port.power_down()

    def warm_reset(self, done: Callable[[PowerUp], None]) -> None:
        self._power_cycle += 1
        super().warm_reset(done)

    def submit(self, command: bytes, done: Callable[[Answer], None]) -> None:
        index = self._count
        self._count += 1
        self._attempts += 1
        if index in self._cut_commands:
            self._silence(self.engine.now, done)
        elif index in self._cut_answers:
            self.port.submit(command, lambda answer: self._silence(answer.start, done))
        else:
            self.port.submit(command, done)

    def _silence(self, start: int, done: Callable[[Answer], None]) -> None:
        cycle = self._power_cycle

        def noticed() -> None:
            if cycle == self._power_cycle:
                done(Answer(b"", start, self.engine.now, error="mute"))

        self.engine.after(self.silence, noticed)


def _nothing() -> None:
    pass
