"""Idle polls that cost no events (docs/protocol.md, 1.7 says when a terminal polls).

Once a hop polls at its longest period and its last poll went as the next ones will, nothing happens on it until somebody wants something: poll k
is due at ``first + k * cycle``. Such a hop is *parked*. Whoever comes (a packet on either side, an APDU, hands that move a card, a reset, one who
listens to the line) wakes it: the polls that are over by then are made up for, the one on the line is made again from its own beginning. Nobody
can tell afterwards, but for the records, in which a run of idle polls is one row.

Only ports that know their card's end of the line can park, and only under the virtual clock: see `ParkingPort`.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from bench.engine import FROM_CARD, POLL, TO_CARD, VirtualEngine
from bench.iso7816.port import Answer


@dataclass(frozen=True, slots=True)
class Course:
    """How an idle poll goes, from the moment it is asked for."""

    lead: int
    """Until its first character: more than 0 where the line is not free yet."""
    heard: int
    """Until the card has it whole."""
    over: int
    """Until the terminal has the answer."""


@dataclass(slots=True)
class IdlePolls:
    """A run of idle polls that nobody had to make, counted from 0."""

    engine: VirtualEngine
    command: bytes
    answer: Answer
    """What came of the poll before the first; every one of these goes the same way."""
    course: Course
    first: int
    """When the first is asked for."""
    cycle: int
    """From there to when the next one is."""
    told: int = 0
    """So many of them are in the records."""

    def asked_at(self, number: int) -> int:
        """When poll ``number`` is asked for."""
        return self.first + number * self.cycle

    def starts_at(self, number: int) -> int:
        """When the first character of poll ``number`` begins."""
        return self.asked_at(number) + self.course.lead

    @property
    def asked(self) -> int:
        """How many have been asked for by now; the last of them may be on the line."""
        back_to_back = self.course.over == self.cycle
        return self._count(0, FROM_CARD if back_to_back else POLL)

    @property
    def over(self) -> int:
        """How many have been answered by now."""
        return self._count(self.course.over, FROM_CARD)

    @property
    def heard(self) -> int:
        """How many have reached the card by now."""
        return self._count(self.course.heard, TO_CARD)

    def _count(self, after: int, rank: int) -> int:
        since = self.engine.now - self.first - after
        if since < 0:
            return 0
        whole, rest = divmod(since, self.cycle)
        return whole + (1 if rest or self.engine.passed(self.engine.now, rank) else 0)


@runtime_checkable
class ParkingPort(Protocol):
    """A TerminalPort on which idle polls need not be events. Wrappers that have nothing against it hand these on."""

    def idle(self, command: bytes, answer: Answer, asked: int, due: int) -> IdlePolls | None:
        """The polls that follow on one asked for at ``asked`` and just answered, where the next is due at ``due`` and all will go as it did.

        None where that is not so, or where somebody (a fault, a listener, a capture in full) wants to see each of them.
        """

    def park(self, wake: Callable[[], None], settle: Callable[[], None]) -> None:
        """From now on call ``wake`` before anything happens that a poll could notice, and ``settle`` before anybody counts."""

    def tell(self, polls: IdlePolls, count: int) -> None:
        """``count`` more of the polls, from ``polls.told`` on, are over: for whoever counts or records."""

    def unpark(self, polls: IdlePolls, over: int) -> None:
        """Parking ends, after ``over`` polls: the line is as it was after the last of them."""

    def resume(self, polls: IdlePolls, number: int, done: Callable[[Answer], None]) -> None:
        """Poll ``number`` is on the line now: it has been since it was asked for, and its answer comes in time."""


class ParkingLot:
    """The parked hops of one rig, for whoever looks at all of them."""

    def __init__(self) -> None:
        self._settle: dict[int, Callable[[], None]] = {}

    def add(self, key: int, settle: Callable[[], None]) -> None:
        self._settle[key] = settle

    def remove(self, key: int) -> None:
        self._settle.pop(key, None)

    def settle(self) -> None:
        """Put into the records what has been polled up to now."""
        for settle in list(self._settle.values()):
            settle()
