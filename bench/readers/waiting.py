"""The watch on a terminal's waiting time (ISO/IEC 7816-3:2006, 10.2 and 11.4.3): one timer a waiting time or so, not one an exchange.

Units: times are ticks of the engine's timebase.
"""

from collections.abc import Callable

from bench.engine import Engine, Timer
from bench.iso7816.line import Burst


class WaitingWatch:
    """Calls ``look`` when the waiting time may be over; that asks ``over`` whether it is."""

    def __init__(self, engine: Engine, look: Callable[[], None]) -> None:
        self._engine = engine
        self._tell = look
        self._timer: Timer | None = None

    def keep(self, deadline: int) -> None:
        """Look no later than right after ``deadline``. A look that is due earlier anyway finds the deadline as it then is."""
        due = deadline + 1
        if self._timer is not None:
            if self._timer.time <= due:
                return
            self._timer.cancel()
        self._timer = self._engine.at(due, self._look)

    def over(self, deadline: int, arriving: Burst | None) -> bool:
        """Whether it is over now; else there is another look. It runs between leading edges: a burst begun in time is heard to its end."""
        now = self._engine.now
        if arriving is not None and arriving.start <= deadline and arriving.taken > now:
            self.keep(arriving.taken - 1)
            return False
        if now <= deadline:
            self.keep(deadline)
            return False
        return True

    def cancel(self) -> None:
        """Nothing is waited for any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        self._tell()
