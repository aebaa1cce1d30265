"""What happens to characters between two ends of an I/O line (ISO/IEC 7816-3:2006, 7.2 and 7.3): noise, lost and extra characters, jitter, and two
ends whose idea of an etu differs.

A burst that no fault meets, on a line whose ends agree well enough (`End.bears`), costs one look. Any other is carried etu by etu: its waveform is
made of the sender's edges (rounded to its clock, displaced by jitter, inverted where noise hits), and the receiver's UART (`edges.Uart`) samples it
by its own clock. What mismatch is tolerated, and what becomes of a missed start bit, comes out of that.

Left out: noise while nobody sends, and what a frame that overlaps a repetition would see of it (it sees a quiet line and is deaf until it ends).

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import log
from random import Random
from typing import Final

from bench.iso7816.edges import Edge, Uart, Wave
from bench.iso7816.line import CHARACTER_END_ETU, CHARACTER_TAKEN_ETU, Burst

CHARACTER_CELLS: Final = 12
"""A character in etu: start bit, eight data bits, parity, two of guard time (7.2). Noise may hit each."""
SIGNAL_FROM_TENTHS: Final = 105
SIGNAL_TENTHS: Final = 15
"""The error signal: from 10.5 etu after the leading edge on, for 1 to 2 etu (7.3)."""
PPM: Final = 1_000_000
"""Mismatch is given in parts of a million."""


class Towards(StrEnum):
    """Which way a burst goes."""

    CARD = "card"
    TERMINAL = "terminal"


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one character."""

    flips: int = 0
    """Bit i set: etu i of the character is inverted; 0 start bit, 1 to 8 data, 9 parity, 10 and 11 guard time."""
    lost: bool = False
    extra: bytes = b""
    """Characters that are heard right after it, out of nowhere, with right parity."""


Faults = Mapping[int, Fault]
"""By the index of the character in its burst."""


@dataclass(frozen=True, slots=True)
class NoiseBurst:
    """Noise that comes in bursts: how often one begins, and how long it lasts; in it every etu is inverted or not, evenly."""

    per_etu: float
    length_etu: int


@dataclass(slots=True)
class Disturbance:
    """A seeded source of faults for one line, both ways. Rates are probabilities for each etu of a character; `planned` faults come on top.

    Raises ValueError for a probability outside 0 .. 0.5 or a negative length.
    """

    seed: int
    bit_error_rate: float = 0.0
    jitter: int = 0
    """Largest displacement of an edge in ticks, either way, evenly distributed."""
    noise: NoiseBurst | None = None
    planned: dict[tuple[Towards, int], dict[int, Fault]] = field(default_factory=dict)
    """By direction and the burst's number in that direction (from 0): then by character."""
    mute_after: int | None = None
    """From this burst of the card on nothing of it arrives."""
    injected: int = 0
    """Characters touched so far."""
    random: Random = field(init=False)
    _count: dict[Towards, int] = field(init=False)
    _until_flip: int = field(init=False)
    _until_noise: int = field(init=False)

    def __post_init__(self) -> None:
        rates = (self.bit_error_rate, self.noise.per_etu if self.noise else 0.0)
        if not all(0.0 <= rate <= 0.5 for rate in rates):
            raise ValueError(f"error rates of {rates}: each is a probability from 0 to 0.5 for an etu")
        if self.jitter < 0 or (self.noise and self.noise.length_etu < 1):
            raise ValueError("jitter is 0 or more ticks, a noise burst 1 or more etu")
        self.random = Random(self.seed)
        self._count = dict.fromkeys(Towards, 0)
        self._until_flip = self._wait(self.bit_error_rate)
        self._until_noise = self._wait(rates[1])

    def faults(self, towards: Towards, length: int) -> Faults:
        """The faults of the next burst in a direction, of `length` characters; mostly none."""
        index = self._count[towards]
        self._count[towards] = index + 1
        cells = CHARACTER_CELLS * length
        planned = self.planned.get((towards, index)) if self.planned else None
        muted = self.mute_after is not None and towards is Towards.TERMINAL and index >= self.mute_after
        if planned is None and not muted and cells <= self._until_flip and cells <= self._until_noise:
            self._until_flip -= cells
            self._until_noise -= cells
            return _NONE
        found = {at: fault for at, fault in (planned or {}).items() if at < length}
        for at, mask in self._flips(cells).items():
            before = found.get(at, _SOUND)
            found[at] = Fault(before.flips ^ mask, before.lost, before.extra)
        if muted:
            found = dict.fromkeys(range(length), Fault(lost=True))
        self.injected += len(found)
        return found

    def _flips(self, cells: int) -> dict[int, int]:
        flips: dict[int, int] = {}

        def flip(cell: int) -> None:
            at, bit = divmod(cell, CHARACTER_CELLS)
            flips[at] = flips.get(at, 0) ^ 1 << bit

        while self._until_flip < cells:
            flip(self._until_flip)
            self._until_flip += 1 + self._wait(self.bit_error_rate)
        self._until_flip -= cells
        while self.noise is not None and self._until_noise < cells:
            end = self._until_noise + self.noise.length_etu
            for cell in range(self._until_noise, min(end, cells)):
                if self.random.random() < 0.5:
                    flip(cell)
            self._until_noise = end + self._wait(self.noise.per_etu)
        self._until_noise -= min(cells, self._until_noise) if self.noise is not None else 0
        return {at: mask for at, mask in flips.items() if mask}

    def _wait(self, rate: float) -> int:
        """Etu that pass unharmed before the next one hit (geometric)."""
        if rate <= 0.0:
            return _NEVER
        return int(log(1.0 - self.random.random()) / log(1.0 - rate))


_NONE: Final[Faults] = {}
_SOUND: Final = Fault()
_NEVER: Final = 1 << 200


@dataclass(frozen=True, slots=True)
class End:
    """One end of the line, as far as its bits go. Times in ticks."""

    etu: int
    """Its own idea of an etu, at which it sends and samples."""
    cycle: int = 0
    """A card sets its edges, and sees the line, at cycles of its clock, this long; 0 for a UART that is not bound to one."""

    def bears(self, sender: "End", jitter: int) -> bool:
        """Whether whatever `sender` sends is read right for certain.

        The tightest look is the one at 10.25 etu, which must find the guard time: a quarter of an etu is all that mismatch, jitter and clocks may
        use up together.
        """
        drift = _TIGHTEST_LOOK * abs(sender.etu - self.etu)
        return 4 * (drift + 2 * jitter + self.cycle + sender.cycle) + max(self.etu, sender.etu) // 4 < self.etu


_TIGHTEST_LOOK: Final = 11


@dataclass(frozen=True, slots=True)
class Heard:
    """A character as a receiver has it."""

    value: int
    sound: bool
    """Whether parity and guard time are right."""
    start: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of a burst."""

    heard: tuple[Heard, ...]
    ended: int
    """When the receiver knows the last of them."""
    signalled: int | None
    """The sender stopped after this character: it found the line low 11 etu after its leading edge."""
    signalled_at: int
    deaf_until: int
    """The receiver is inside a frame until then, which may be after the sender's last character."""

    def pieces(self, pitch: int, etu: int) -> list[tuple[Burst, frozenset[int]]]:
        """What was heard as bursts of evenly spaced characters, each with the indices of those that are not sound."""
        out: list[tuple[Burst, frozenset[int]]] = []
        run: list[Heard] = []
        for heard in self.heard:
            if run and abs(heard.start - run[0].start - pitch * len(run)) > etu:
                out.append(_piece(run, pitch, etu))
                run = []
            run.append(heard)
        if run:
            out.append(_piece(run, pitch, etu))
        return out


def _piece(run: list[Heard], pitch: int, etu: int) -> tuple[Burst, frozenset[int]]:
    data = bytes(heard.value for heard in run)
    damaged = frozenset(index for index, heard in enumerate(run) if not heard.sound)
    return Burst(data, run[0].start, pitch, etu), damaged


_LOOK_AHEAD: Final = (8, 64, 1 << 16)
"""How many characters to carry before asking whether the sender stopped: at a rate that breaks it stops at each, and sends the rest again."""


def carry(
    burst: Burst,
    faults: Faults,
    sender: End,
    receiver: End,
    *,
    signals: bool,
    disturbance: Disturbance,
    deaf_until: int = 0,
) -> Delivery:
    """Carry a burst over the line. `signals`: the receiver gives the error signal (T=0), and the sender stops where it sees one."""
    for ahead in _LOOK_AHEAD if signals else (len(burst.data),):
        passage = _Passage(burst, faults, sender, receiver, signals, disturbance, deaf_until, ahead)
        heard = passage.listen()
        stopped = passage.stopped(heard)
        if stopped is not None and (passage.whole or stopped + 1 < passage.count):
            passage.cut(stopped + 1)
            heard = passage.listen()
            break
        if passage.whole:
            break
    last = burst.start + burst.pitch * (len(burst.data) - 1 if stopped is None else stopped)
    extras = [
        Heard(value, True, burst.start + index * burst.pitch + burst.pitch // 2 + place)
        for index, fault in faults.items()
        if stopped is None or index <= stopped
        for place, value in enumerate(fault.extra)
    ]
    if extras:
        heard = sorted([*heard, *extras], key=lambda each: each.start)
    looked = last + CHARACTER_TAKEN_ETU * burst.etu
    ended = max((each.start + CHARACTER_TAKEN_ETU * receiver.etu for each in heard), default=looked)
    return Delivery(tuple(heard), ended, stopped, looked, passage.free)


class _Passage:
    """One burst on its way."""

    def __init__(
        self,
        burst: Burst,
        faults: Faults,
        sender: End,
        receiver: End,
        signals: bool,
        disturbance: Disturbance,
        deaf_until: int,
        ahead: int,
    ) -> None:
        self.burst = burst
        self.faults = faults
        self.sender = sender
        self.receiver = receiver
        self.signals = signals
        self.random = disturbance.random
        self.jitter = disturbance.jitter
        self.begin = deaf_until
        self.free = deaf_until
        self.count = len(burst.data)
        safe = receiver.bears(sender, disturbance.jitter) and deaf_until <= burst.start
        self.first = min(faults, default=self.count) if safe else 0
        """Characters before this one are heard as they were sent."""
        self.restart = max(faults, default=-1) + 1 if safe else self.count
        """From this one on they are so again, once the receiver has found a character's beginning."""
        self.whole = self.first + ahead >= self.count
        self.count = min(self.count, self.first + ahead)
        self.edges: list[list[Edge]] = [self._edges(index) for index in range(self.first, self.count)]
        self.wave = self._wave()
        self.uart = Uart(receiver.etu)

    def cut(self, count: int) -> None:
        """Only the first `count` characters were sent."""
        self.count = count
        self.restart = max(self.restart, count)
        del self.edges[count - self.first :]
        self.wave = self._wave()

    def listen(self) -> list[Heard]:
        """What the receiver makes of it."""
        burst, receiver = self.burst, self.receiver
        heard = [self._as_sent(index) for index in range(min(self.first, self.count))]
        self.free = self.begin
        if self.first >= self.count:
            return heard
        ready = max(self.begin, burst.start + self.first * burst.pitch - self.jitter)
        while True:
            following = -((burst.start - ready) // burst.pitch)
            quiet = following * burst.pitch + burst.start - ready <= burst.pitch - CHARACTER_END_ETU * burst.etu
            if following >= self.restart and quiet and self._rests(ready, following):
                heard.extend(self._as_sent(index) for index in range(following, self.count))
                break
            character = self.uart.read(self.wave, ready)
            if character is None:
                break
            start = character.start
            ready = character.ready
            if self.signals and not character.sound:
                ready = max(ready, start + (SIGNAL_FROM_TENTHS + SIGNAL_TENTHS) * receiver.etu // 10)
            heard.append(Heard(character.value, character.sound, start))
        self.free = ready
        return heard

    def stopped(self, heard: Collection[Heard]) -> int | None:
        """The first character after which the sender finds the line low 11 etu after its leading edge (7.3)."""
        if not self.signals:
            return None
        burst, etu = self.burst, self.receiver.etu
        pulls = [each.start + SIGNAL_FROM_TENTHS * etu // 10 for each in heard if not each.sound]
        length = SIGNAL_TENTHS * etu // 10
        for index in range(self.first, self.count):
            look = burst.start + index * burst.pitch + CHARACTER_TAKEN_ETU * burst.etu
            if not self.wave.level(look) or any(begin <= look < begin + length for begin in pulls):
                return index
        return None

    def _rests(self, since: int, following: int) -> bool:
        """Whether the line is quiet from then on until a character begins."""
        fall = self.wave.falling(since)
        return fall is None or fall >= self.burst.start + following * self.burst.pitch - self.jitter

    def _as_sent(self, index: int) -> Heard:
        return Heard(self.burst.data[index], True, self.burst.start + index * self.burst.pitch)

    def _wave(self) -> Wave:
        edges = [edge for character in self.edges for edge in character]
        for index in range(1, len(edges)):
            if edges[index].time < edges[index - 1].time:
                edges[index] = Edge(edges[index - 1].time, edges[index].level)
        return Wave(edges)

    def _edges(self, index: int) -> list[Edge]:
        """A character's edges as the receiver can see them: rounded by the sender's clock, displaced, seen at the receiver's next cycle."""
        burst, fault = self.burst, self.faults.get(index)
        if fault is not None and fault.lost:
            return []
        cells = _cells(burst.data[index]) ^ (fault.flips if fault is not None else 0)
        start = burst.start + index * burst.pitch
        limit = min(CHARACTER_CELLS, burst.pitch // burst.etu)
        out: list[Edge] = []
        level = 1
        for cell in range(limit + 1):
            here = cells >> cell & 1 if cell < limit else 1
            if here == level:
                continue
            level = here
            time = start + cell * burst.etu
            if self.sender.cycle:
                time = start + (2 * cell * burst.etu + self.sender.cycle) // (2 * self.sender.cycle) * self.sender.cycle
            if self.jitter:
                time += self.random.randint(-self.jitter, self.jitter)
            if self.receiver.cycle:
                time = -(-time // self.receiver.cycle) * self.receiver.cycle
            out.append(Edge(time, level))
        return out


def _cells(value: int) -> int:
    """The twelve etu of a character, bit i for etu i: start 0, data, even parity, guard time 1."""
    return value << 1 | (value.bit_count() & 1) << 9 | 0b11 << 10
