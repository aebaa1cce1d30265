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
from typing import Final, Protocol, runtime_checkable

from bench.engine import FROM_CARD, POLL, RANK, TO_CARD, VirtualEngine
from bench.iso7816.port import Answer

_BEFORE_ALL: Final = FROM_CARD - RANK


@dataclass(frozen=True, slots=True)
class Course:
    """How an idle poll goes on a line, from its first character on."""

    heard: int
    """Until the card has it whole."""
    over: int
    """Until the terminal has the answer."""
    answer: Answer
    """One as it was seen."""


@dataclass(slots=True)
class IdlePolls:
    """A run of idle polls that nobody had to make, counted from 0. The first may follow on something else; from the second on they are alike."""

    engine: VirtualEngine
    command: bytes
    course: Course
    first: int
    """When poll 0 is asked for."""
    first_lead: int
    """From there to its first character: more than 0 where the line is not free yet."""
    second: int
    """When poll 1 is asked for."""
    lead: int
    """From there to its first character."""
    cycle: int
    """From there to when the next one is asked for."""
    at_once: bool
    """Poll 0 is asked for in the very event in which the exchange before it ended."""
    told: int = 0
    """So many of them are in the records."""

    @property
    def regular(self) -> bool:
        """Whether poll 0 is like the others."""
        return self.second - self.first == self.cycle and self.first_lead == self.lead

    def asked_at(self, number: int) -> int:
        """When poll ``number`` is asked for."""
        return self.second + (number - 1) * self.cycle if number else self.first

    def starts_at(self, number: int) -> int:
        """When the first character of poll ``number`` begins."""
        return self.asked_at(number) + (self.lead if number else self.first_lead)

    @property
    def asked(self) -> int:
        """How many have been asked for by now; the last of them may be on the line."""
        back_to_back = self.lead + self.course.over == self.cycle
        return self._count(
            self.first, _BEFORE_ALL if self.at_once else POLL, self.second, FROM_CARD if back_to_back else POLL
        )

    @property
    def over(self) -> int:
        """How many have been answered by now."""
        return self._on_line(self.course.over, FROM_CARD)

    @property
    def heard(self) -> int:
        """How many have reached the card by now."""
        return self._on_line(self.course.heard, TO_CARD)

    def _on_line(self, after: int, rank: int) -> int:
        return self._count(self.first + self.first_lead + after, rank, self.second + self.lead + after, rank)

    def _count(self, first: int, first_rank: int, second: int, rank: int) -> int:
        engine = self.engine
        since = engine.now - second
        if since < 0:
            return 1 if engine.passed(first, first_rank) else 0
        whole, rest = divmod(since, self.cycle)
        return 1 + whole + (1 if rest or engine.passed(engine.now, rank) else 0)


@runtime_checkable
class ParkingPort(Protocol):
    """A TerminalPort on which idle polls need not be events. Wrappers that have nothing against it hand these on."""

    def idle(self, command: bytes, seen: Answer | None, due: int, period: int) -> IdlePolls | None:
        """The polls that follow on the exchange that has just ended: the first is due at ``due``, the others a ``period`` after the one before.

        ``seen`` is what came of that exchange, where it was such a poll. None where the polls to come cannot be told beforehand, or where somebody
        (a fault, a listener, a record in full) wants to see each of them.
        """

    def park(self, wake: Callable[[], None], settle: Callable[[], None]) -> None:
        """From now on call ``wake`` before anything happens that a poll could notice, and ``settle`` before anybody counts."""

    def tell(self, polls: IdlePolls, count: int) -> None:
        """``count`` more of the polls, from ``polls.told`` on, are over: for whoever counts or records."""

    def unpark(self, polls: IdlePolls, over: int) -> None:
        """Parking ends, after ``over`` polls: unless ``resume`` follows, the line is as it was after the last of them."""

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
