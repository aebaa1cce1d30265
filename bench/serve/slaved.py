"""The virtual engine slaved to the wall: how a card of virtual time lives in the real one.

Engine time never goes back. Idle, it follows the wall. On a request it runs ahead by what the exchange takes on the card's own line, until the answer
exists. Paced, the answer is held until the wall has reached it. Unpaced, it goes out at once and the engine keeps what it gained: a busy chain lives
faster than the wall, all its lines alike, and none of it stands still afterwards to let the wall catch up.

Units: times are ticks of the engine's timebase, lengths are bytes, unless a name or a docstring says otherwise.
"""

import time
from collections.abc import Callable
from typing import Final

from bench.engine import VirtualEngine

LEAST_SLEEP_S: Final = 0.001
"""Events are served at most a thousand times a second: a long chain's idle polls come in bundles instead of one by one."""
LEAP_MOST_NS: Final = 900 * 10**6
"""The most that one exchange of an unpaced card may gain: less than any watchdog of the hop (a second and two polls), soon simulated for
a long chain, and more than two full blocks of T=1 take at 9600 baud (0.64 s)."""
CATCH_UP_NS: Final = 10**9
"""How far behind the wall the engine may fall (a suspended machine, an overloaded one) before that time is struck out instead of made up."""


class SlavedEngine:
    """Drives ``engine`` by the wall. ``clock`` gives nanoseconds that never go back."""

    def __init__(self, engine: VirtualEngine, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self.engine = engine
        self.clock = clock
        self.struck_out_ns = 0
        """Wall time the engine has left out because it was too far behind."""
        self._origin = clock() - engine.timebase.to_ns(engine.now)

    @property
    def wall(self) -> int:
        """The wall, in the engine's ticks."""
        return self.engine.timebase.nanoseconds(self.clock() - self._origin)

    def follow(self) -> int:
        """Run what is due by the wall; gives the engine's time afterwards, max(engine, wall): the stamp of what comes from outside now."""
        engine = self.engine
        wall = self.wall
        if wall > engine.now:
            behind = engine.timebase.to_ns(wall - engine.now)
            if behind > CATCH_UP_NS:
                late = behind - CATCH_UP_NS
                self._origin += late
                self.struck_out_ns += late
                wall = self.wall
            engine.run(max(wall, engine.now))
        return engine.now

    def ahead(self, ticks: int) -> int:
        """Run ahead by ``ticks`` of the card's own time; gives the engine's time then."""
        engine = self.engine
        engine.run(engine.now + ticks)
        return engine.now

    def leap(self, ticks: int) -> int:
        """Run ahead and keep what was gained: the wall counts from there. Gives the engine's time then."""
        engine = self.engine
        engine.run(engine.now + ticks)
        gained = engine.now - self.wall
        if gained > 0:
            self._origin -= engine.timebase.to_ns(gained)
        return engine.now

    def reach(self, done: Callable[[], bool], most: int, *, keep: bool) -> bool:
        """Run ahead until ``done()`` holds, by at most ``most`` ticks; tells whether it holds. ``keep``: what was gained is kept, as in ``leap``."""
        engine = self.engine
        reached = engine.wait(done, most)
        gained = engine.now - self.wall
        if keep and gained > 0:
            self._origin -= engine.timebase.to_ns(gained)
        return reached

    def seconds_until(self, tick: int) -> float:
        """How long until the wall reaches ``tick``; 0 where it has."""
        return max(0, tick - self.wall) / self.engine.timebase.hz

    def sleep(self, longest: float) -> float:
        """Seconds until ``follow`` has something to do again, at most ``longest``."""
        due = self.engine.next_time()
        if due is None:
            return longest
        return min(longest, max(LEAST_SLEEP_S, self.seconds_until(due)))
