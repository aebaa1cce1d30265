"""Fuzz targets: valid T=0 sessions, mutated on the line before the terminal or before the card.

Run it alone for any count: `python -m tests.iso7816.fuzz_t0 100000`. A session is a number, and so is a finding.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, field, replace
from enum import StrEnum
from random import Random
from typing import Final

from bench.iso7816.line import Burst
from bench.iso7816.t0 import NULLS, Later, Reply, T0Card, T0Outcome, T0Terminal, T0Timing
from bench.iso7816.t0_tables import CARD, TERMINAL, Action, CardEvent, TerminalEvent

ETU: Final = 372
TIMING: Final = T0Timing(ETU, 12 * ETU, 12 * ETU, 9600 * ETU)
TURNS_MAX: Final = 5000
"""More turns than any exchange may take: beyond them it hangs."""
NAMES: Final = ("mute", "parity: ", "protocol: ")

WAYS: Final = (
    *("drop", "byte", "damage", "cut", "double", "null", "late", "extra"),
    *("split", "split", "singles", "singles", "again", "procedure"),
)
Hits = Counter[tuple[str, StrEnum, StrEnum]]
Heard = tuple[Burst, frozenset[int]]


class Terminal(T0Terminal):
    """Counts its transitions."""

    hits: Hits

    def _step(self, event: TerminalEvent) -> Action:
        self.hits["terminal", self.state, event] += 1
        return super()._step(event)


class Card(T0Card):
    """Counts its transitions."""

    hits: Hits

    def _step(self, event: CardEvent) -> Action:
        self.hits["card", self.state, event] += 1
        return super()._step(event)


@dataclass
class Handler:
    """Answers with what the session says; sometimes later, sometimes late."""

    random: Random
    promised: bool = False

    def takes_data(self, header: bytes) -> bool:
        return header[1] & 2 == 0

    def execute(self, header: bytes, data: bytes, later: Later) -> Reply | None:
        del data, later
        if self.random.random() < 0.1:
            self.promised = True
            return None
        return self.reply(header)

    def reply(self, header: bytes) -> Reply:
        size = (header[4] or 256) if header[1] & 2 else 0
        ticks = self.random.choice((0, 0, 0, 0, TIMING.waiting_time, 3 * TIMING.waiting_time))
        return Reply(self.random.randbytes(self.random.choice((size, size, 0))), 0x9000, ticks)


@dataclass
class Mutator:
    """Mutates some bursts of one direction."""

    random: Random
    often: float
    nulls: bool

    def __call__(self, burst: Burst) -> list[Heard]:
        random = self.random
        if random.random() >= self.often:
            return [(burst, frozenset())]
        data = burst.data
        match random.choice(WAYS):
            case "drop":
                return []
            case "byte":
                at = random.randrange(len(data))
                return [self._with(burst, data[:at] + random.randbytes(1) + data[at + 1 :])]
            case "damage":
                count = random.choice((1, 1, 1, 2, 3, 5))
                return [(burst, frozenset(random.randrange(len(data)) for _ in range(count)))]
            case "cut":
                return [self._with(burst, data[: random.randrange(1, len(data) + 1)])]
            case "double":
                return [(burst, frozenset()), (replace(burst, start=burst.end + 2 * ETU), frozenset())]
            case "null":
                storm = NULLS + 1 if self.nulls and random.random() < 0.01 else random.choice((1, 2, 40))
                return [self._with(burst, b"\x60" * storm + data)]
            case "late":
                wait = random.choice((1, TIMING.waiting_time // 2, TIMING.waiting_time + 1, 2 * TIMING.waiting_time))
                return [(replace(burst, start=burst.start + wait), frozenset())]
            case "extra":
                return [self._with(burst, data + random.randbytes(random.choice((1, 2, 6, 300))))]
            case "split":
                at = random.randrange(len(data))
                rest = replace(burst, data=data[at:], start=burst.start + at * burst.pitch)
                damaged = frozenset(range(random.choice((0, 0, 1, 2, 5, len(rest.data)))))
                return [self._with(burst, data[:at]), (rest, damaged)] if at else [(rest, damaged)]
            case "singles":
                ones = b"".join(bytes((data[0] ^ 0xFF, each)) for each in data[1:-2])
                at = random.randrange(1, 2 * len(data))
                whole = ones + data[-2:]
                first, second = self._with(burst, whole[:at])[0], replace(burst, data=whole[at:])
                damaged = frozenset(range(random.choice((0, 0, 1, 4))))
                return [(first, frozenset())] + ([(second, damaged)] if second.data else [])
            case "again":
                return [self._with(burst, data[:-2] + data[:1] + data[-2:])]
        return [
            self._with(burst, random.choice((b"\x60", b"\x90", b"\x6c", b"\xff", data[:1], bytes((data[0] ^ 0xFF,)))))
        ]

    @staticmethod
    def _with(burst: Burst, data: bytes) -> Heard:
        return replace(burst, data=data), frozenset()


@dataclass
class Session:
    """One session: a few commands, each to its outcome."""

    number: int
    target: str
    hits: Hits = field(default_factory=Hits)

    def __post_init__(self) -> None:
        self.random = random = Random(self.number * 2 + (self.target == "card"))
        self.handler = Handler(random)
        self.terminal = Terminal(TIMING, 0)
        self.card = Card(self.handler, TIMING, random.choice((0, 0, 0, 3)))
        self.terminal.hits = self.card.hits = self.hits
        often = random.choice((0.05, 0.3, 0.7))
        self.to_terminal = Mutator(random, often if self.target == "terminal" else 0.0, nulls=True)
        self.to_card = Mutator(random, often if self.target == "card" else 0.0, nulls=False)
        self.refusing = random.choice((0.0, 0.0, 0.2, 0.9))
        """How often a burst is refused."""
        self.now = TIMING.turnaround

    def run(self) -> None:
        for _ in range(self.random.choice((1, 2, 4))):
            outcome = self.exchange()
            assert self.terminal.state == "nothing"
            if outcome.error:
                assert outcome.error.startswith(NAMES), outcome.error
                assert not outcome.response
            else:
                assert 2 <= len(outcome.response) <= 258
            assert outcome.end >= outcome.start
            assert len(self.card._buffer) <= 512
            if self.random.random() < 0.1:
                assert self.terminal.receive(Burst(b"\x60\x90", outcome.end, 12 * ETU, ETU)) is None
            self.now = max(self.now, outcome.end)

    def exchange(self) -> T0Outcome:
        random = self.random
        size = random.choice((0, 1, 2, 20, 255))
        incoming = random.random() < 0.5 and size
        ins = random.choice((0xC0, 0xC4) if incoming else (0xB2, 0xCA))
        header = bytes((0x80, ins, 0, 0, size))
        burst = self.terminal.begin(header + random.randbytes(size) if incoming else header, self.now)
        while self.card.busy and self.card.deadline is not None and self.card.deadline < burst.start:
            self.terminal.receive(self.card.remind())  # still busy with what the terminal has given up
        for _ in range(TURNS_MAX):
            self.now = max(self.now, burst.last)
            outcome = self._refused_by_card(burst) if random.random() < self.refusing else None
            if isinstance(outcome, T0Outcome):
                return outcome
            answers = self._card_hears(burst if outcome is None else outcome)
            step = self._terminal_hears(answers)
            if isinstance(step, T0Outcome):
                return step
            burst = step
        raise AssertionError(f"session {self.number} of target {self.target} does not end")

    def _refused_by_card(self, burst: Burst) -> Burst | T0Outcome | None:
        """The card refuses characters; the burst that gets through whole, or the end."""
        while True:
            at = self.random.randrange(len(burst.data))
            step = self.terminal.signalled(burst, at)
            if step is None or isinstance(step, T0Outcome):
                return step
            if at:
                self.card.receive(replace(burst, data=burst.data[:at]), _later)
            self.card.receive(replace(burst, data=burst.data[:1], start=burst.start + at * burst.pitch), _later, {0})
            burst = step
            if self.random.random() < 0.4:
                return burst

    def _card_hears(self, burst: Burst) -> list[Burst]:
        answers = []
        for heard, damaged in self.to_card(burst):
            answer = self.card.receive(heard, _later, damaged)
            if answer is not None:
                answers.append(answer)
        return answers

    def _terminal_hears(self, answers: list[Burst]) -> Burst | T0Outcome:
        """What the terminal does next: it sends, or the exchange ends. The card reminds and completes meanwhile."""
        for _ in range(TURNS_MAX):
            for answer in answers:
                for heard, damaged in self._on_the_way(answer):
                    if heard.start > self.terminal.deadline:
                        return self.terminal.expire(self.terminal.deadline)
                    self.now = max(self.now, heard.last)
                    step = self.terminal.receive(heard, damaged)
                    if step is not None:
                        return step
            answers = self._card_goes_on()
            if not answers:
                self.now = max(self.now, self.terminal.deadline)
                return self.terminal.expire(self.terminal.deadline)
        raise AssertionError(f"session {self.number} of target {self.target}: the card keeps the terminal waiting")

    def _on_the_way(self, answer: Burst) -> list[Heard]:
        while self.random.random() < self.refusing * 0.7:
            at = self.random.randrange(len(answer.data))
            again = self.card.signalled(answer, at)
            if again is None:
                return [(replace(answer, data=answer.data[: at + 1]), frozenset((at,)))]
            answer = again
        return self.to_terminal(answer)

    def _card_goes_on(self) -> list[Burst]:
        card = self.card
        if self.handler.promised and card.busy and self.random.random() < 0.5:
            self.handler.promised = False
            return [card.complete(self.handler.reply(card._header), self.now)]
        if card.busy and card.deadline is not None and card.deadline <= self.terminal.deadline:
            return [card.remind()]
        return []


def _later(_reply: Reply) -> None:
    raise AssertionError("the session completes promises itself")


@dataclass
class Result:
    """What some sessions hit."""

    target: str
    sessions: int
    hits: Hits

    @property
    def table(self) -> list[tuple[str, StrEnum, StrEnum]]:
        if self.target == "terminal":
            return [("terminal", state, event) for state, row in TERMINAL.items() for event in row]
        return [("card", state, event) for state, row in CARD.items() for event in row]

    @property
    def missed(self) -> list[str]:
        return [f"{state.name} {event.name}" for side, state, event in self.table if not self.hits[side, state, event]]

    @property
    def share(self) -> float:
        return 1 - len(self.missed) / len(self.table)

    def __str__(self) -> str:
        return f"T=0 {self.target}: {self.sessions} mutated sessions took {self.share:.1%} of {len(self.table)} transitions"


def run(target: str, first: int, count: int) -> Result:
    """Sessions `first` to `first + count` of target "terminal" or "card"."""
    result = Result(target, count, Hits())
    for number in range(first, first + count):
        try:
            Session(number, target, result.hits).run()
        except Exception as error:
            raise AssertionError(f"session {number} of target {target}: {error!r}") from error
    return result


if __name__ == "__main__":
    for name in ("terminal", "card"):
        found = run(name, 0, int(sys.argv[1]))
        print(found, "; never:", ", ".join(found.missed) or "none")
