"""Fuzz target: valid T=1 sessions, mutated on the line below both sides.

Run it alone for any count: `python -m tests.iso7816.fuzz_t1 100000`. A session is a number, and so is a finding.
Mutations work on blocks with their EDC made right again (so that they get past it) as well as on bare characters.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from random import Random
from typing import Final

from bench.iso7816.line import Burst
from bench.iso7816.t1_block import CRC_LIBCCID, LRC, EdcScheme
from bench.iso7816.t1_card import ApduLater, ApduReply
from bench.iso7816.t1_outcome import RESPONSE_MAX
from bench.iso7816.t1_states import CardState, Event, TerminalState
from bench.iso7816.t1_table_card import CARD
from bench.iso7816.t1_table_terminal import TERMINAL
from tests.iso7816.t1_pair import TIMING, Echo, Heard, Pair

PCBS: Final = bytes(
    [0x00, 0x20, 0x40, 0x60, 0x80, 0x90, 0x81, 0x92, 0xC0, 0xC1, 0xC2, 0xC3, 0xE0, 0xE1, 0xE2, 0xE3, 0x01, 0xA0, 0xC4]
)
REQUESTS_MAX: Final = 6

Hits = Counter[tuple[str, StrEnum, StrEnum]]


def with_edc(body: bytes, edc: EdcScheme) -> bytes:
    """NAD, PCB, INF (LEN is worked out) as a block."""
    block = body[:2] + bytes((len(body) - 2,)) + body[2:]
    return block + edc.compute(block)


@dataclass
class Mutator:
    """Mutates blocks `start` to `start + run` of one or both directions of a session, always in the same way."""

    random: Random
    edc: EdcScheme

    def __post_init__(self) -> None:
        random = self.random
        self.direction = random.choice("><=")
        self.start = random.choice([0, 0, 1, 2, 3, 4, 6, 9])
        self.run = random.choice([1, 1, 1, 2, 3, 4, 8, 40])
        self.way = random.choice(
            ("drop", "flip", "pcb", "nad", "len", "inf", "replace", "cut", "double", "late", "S", "I")
        )
        self.pcb = random.choice(PCBS)
        self.spared = random.choice((None, None, 0xE0, 0xC2, 0xC1, 0x00))
        """A PCB that is left alone: a side may fail at everything but one thing."""
        self.value = random.choice((0, 1, 1, 2, 4, 32, 254, 255))

    def __call__(self, direction: str, index: int, burst: Burst) -> Sequence[Heard]:
        if self.direction not in (direction, "=") or not self.start <= index < self.start + self.run:
            return (Heard(burst),)
        if burst.data[1] == self.spared:
            return (Heard(burst),)
        return self._mutate(burst)

    def _mutate(self, burst: Burst) -> Sequence[Heard]:
        random, data = self.random, burst.data
        inf = data[3 : len(data) - self.edc.size]
        match self.way:
            case "drop":
                return ()
            case "flip":
                at = random.randrange(len(data))
                return (Heard(burst, (at,)),)
            case "pcb":
                return self._instead(burst, with_edc(data[:1] + bytes((self.pcb,)) + inf, self.edc))
            case "nad":
                nad = random.choice((0x00, 0x10, 0x01, 0x12, 0x11, 0x80, 0xFF))
                return self._instead(burst, with_edc(bytes((nad,)) + data[1:2] + inf, self.edc))
            case "len":
                return (Heard(replace(burst, data=data[:2] + bytes((self.value,)) + data[3:])),)
            case "inf":
                inf = random.choice((b"", inf[:-1], inf + b"\x00", bytes(random.randrange(40))))
                return self._instead(burst, with_edc(data[:2] + inf, self.edc))
            case "replace":
                body = bytes((random.choice((0, data[0])), self.pcb)) + bytes(random.choice((0, 1, 2)))
                return self._instead(burst, with_edc(body, self.edc))
            case "S":
                pcb = random.choice((0xC1, 0xC3, 0xE1, 0xE3, 0xC0, 0xC2, 0xE0, 0xE2)) if self.run == 1 else self.pcb
                body = data[:1] + bytes((pcb,)) + (bytes((self.value,)) if pcb & 3 in (1, 3) else b"")
                return self._instead(burst, with_edc(body, self.edc))
            case "I":
                pcb = random.choice((0x00, 0x20, 0x40, 0x60))
                return self._instead(burst, with_edc(data[:1] + bytes((pcb,)) + inf[:2], self.edc))
            case "cut":
                cut = random.randrange(len(data))
                return (Heard(replace(burst, data=data[:cut])),) if cut else ()
            case "double":
                again = replace(burst, start=burst.last + TIMING.bgt)
                return (Heard(burst), Heard(again))
        return (Heard(replace(burst, start=burst.start + random.choice((TIMING.cwt, TIMING.bwt, 2 * TIMING.bwt)))),)

    def _instead(self, burst: Burst, data: bytes) -> Sequence[Heard]:
        """Other characters, ending when the burst would have ended, or later if there are more."""
        start = max(burst.start, burst.last - burst.pitch * (len(data) - 1))
        return (Heard(replace(burst, data=data, start=start)),)


class Mutators:
    """One to three of them, one after the other; the first that changes a block has it."""

    def __init__(self, random: Random, edc: EdcScheme) -> None:
        self.mutators = [Mutator(random, edc) for _ in range(random.choice((1, 1, 2, 3)))]

    def __call__(self, direction: str, index: int, burst: Burst) -> Sequence[Heard]:
        for mutator in self.mutators:
            heard = mutator(direction, index, burst)
            if len(heard) != 1 or heard[0].burst is not burst or heard[0].damaged:
                return heard
        return (Heard(burst),)


class Node(Echo):
    """A card's node that does, by the session's seed, whatever a card may."""

    def __init__(self, random: Random) -> None:
        super().__init__(random.choice((0, 0, 3, 20)))
        self.random = random
        self.pair: Pair | None = None

    def execute(self, apdu: bytes, later: ApduLater) -> ApduReply | None:
        self.executed.clear()
        reply = super().execute(apdu, later)
        pair, random = self.pair, self.random
        assert pair is not None
        assert reply is not None
        if random.random() < 0.2:
            pair.card.announce_ifsc(random.choice((1, 5, 254)))
        if random.random() < 0.2:
            pair.engine.after(random.randrange(TIMING.bwt // 4), pair.card.abort)
        how = random.random()
        if how < 0.6:
            return reply
        ticks = random.randrange(3 * TIMING.bwt)
        if how < 0.7:
            reply.ticks = ticks
            return reply
        pair.engine.after(ticks, lambda: later(reply))
        return None


def session(number: int, hits: Hits) -> None:
    """One mutated session. Anything but outcomes and silence is a finding: it raises."""
    random = Random(number)
    edc = random.choice((LRC, CRC_LIBCCID))
    node = Node(random)
    pair = Pair(
        {0: node, 1: node},
        disturb=Mutators(random, edc),
        ifsc=random.choice((2, 32)),
        edc=edc,
        requests_max=REQUESTS_MAX,
        wtx=random.choice((1, 2)),
    )
    node.pair = pair
    terminal, card = pair.terminal, pair.card

    def terminal_step(state: TerminalState, event: Event) -> None:
        hits["terminal", state, event] += 1

    def card_step(state: CardState, event: Event) -> None:
        hits["card", state, event] += 1

    terminal.on_step = terminal_step
    card.on_step = card_step
    terminal.ifsd = card.ifsd = random.choice((2, 5, 32))
    for _ in range(2):
        kind = random.random()
        if kind < 0.12:
            outcome = pair.announce_ifsd(random.choice((1, 6, 254)))
        elif kind < 0.2:
            outcome = pair.resynch()
        else:
            first = terminal.begin(bytes(random.choice((0, 1, 3, 5))), pair.engine.now, random.choice((0, 0, 0x10)))
            if random.random() < 0.2:
                terminal.abort()
            if random.random() < 0.2:
                terminal.announce_ifsd(random.choice((1, 6, 254)), pair.engine.now)
            if random.random() < 0.1:
                pair.engine.after(random.randrange(TIMING.bwt), card.abort)
            outcome = pair.finish(first)
        assert not (outcome.error and outcome.response), outcome
        assert len(outcome.response) <= RESPONSE_MAX, outcome
        assert len(outcome.faults) <= 16, outcome
        assert len(card.faults) <= 64, card.faults
        assert outcome.needs_reset is (terminal.state is TerminalState.DEAD), outcome
        assert not terminal.busy
        if outcome.needs_reset:
            return


def transitions() -> set[tuple[str, StrEnum, StrEnum]]:
    """All transitions of both tables."""
    found: set[tuple[str, StrEnum, StrEnum]] = set()
    found |= {("terminal", state, event) for state, row in TERMINAL.items() for event in row}
    found |= {("card", state, event) for state, row in CARD.items() for event in row}
    return found


@dataclass
class Result:
    """What a run of sessions went through."""

    sessions: int
    hits: Hits = field(default_factory=Counter)

    @property
    def missed(self) -> list[str]:
        """Transitions never taken, as text."""
        return sorted(f"{side} {state} {event}" for side, state, event in transitions() - self.hits.keys())

    @property
    def share(self) -> float:
        """Share of the transitions taken."""
        return 1 - len(self.missed) / len(transitions())

    def __str__(self) -> str:
        return f"T=1: {self.sessions} mutated sessions took {self.share:.1%} of {len(transitions())} transitions"


def run(first: int, count: int) -> Result:
    """Sessions `first` to `first + count - 1`. What one raises says which it was."""
    result = Result(count)
    for number in range(first, first + count):
        try:
            session(number, result.hits)
        except Exception as error:
            raise AssertionError(f"session {number}: {error!r}") from error
    return result


if __name__ == "__main__":
    outcome = run(0, int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
    print(outcome, *outcome.missed, sep="\n")
