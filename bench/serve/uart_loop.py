"""What every way to serve a card as a serial port shares: one thread, one selector, one card at a time."""

import selectors
from collections.abc import Callable
from typing import Final

from bench.serve.uart import ServedUart

IDLE_S: Final = 0.5
"""Longest sleep of a card that has nothing to do."""
UNREAD_MOST: Final = 1 << 16
"""Characters that wait for a terminal that does not read; more are lost, as in a UART that overruns."""


class UartLoop:
    """Serves one card in the caller's thread, with whatever else is to be watched meanwhile."""

    idle_s = IDLE_S

    def __init__(self, served: ServedUart) -> None:
        self.served = served
        self.ended = False
        """Nobody can be served any more."""
        self.address = ""
        """Where a terminal finds the port."""
        self.on_asked: Callable[[], None] = _nothing
        """Called whenever a terminal has reset or asked the card."""
        self._selector = selectors.DefaultSelector()

    def watch(self, file: int, readable: Callable[[], None]) -> None:
        """Call ``readable`` whenever there is something to read at this descriptor."""
        self._selector.register(file, selectors.EVENT_READ, readable)

    def replace(self, served: ServedUart) -> None:
        """Put another card in the place of this one; it is without power until the terminal gives it some."""
        before, self.served = self.served, served
        before.off()
        served.settings = before.settings
        self._replaced()

    def pull(self) -> None:
        """Take the card away."""
        self.served.pull()
        self._moved()

    def insert(self) -> None:
        """Put it back."""
        self.served.insert()
        self._moved()

    def run(self, stop: Callable[[], bool]) -> None:
        """Serve until ``stop()`` holds (asked after everything that happens) or nobody can be served; lets go of everything."""
        try:
            while not self.ended and not stop():
                self.turn()
        finally:
            self.close()

    def turn(self) -> None:
        """Sleep until something happens, then do it."""
        for key, _ in self._selector.select(self.served.sleep(self.idle_s)):
            key.data()
        self._look()
        self.served.follow()
        self._give()

    def close(self) -> None:
        """Let go of everything; closing twice is no mistake."""
        self.served.off()
        self._selector.close()

    # -- for who inherits --------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Look at what no descriptor tells of."""

    def _give(self) -> None:
        """Hand the terminal what ``served.due()`` gives."""
        raise NotImplementedError

    def _moved(self) -> None:
        """The card came or went."""

    def _replaced(self) -> None:
        """There is another card now: apply to it how the port's lines are."""


def _nothing() -> None:
    pass
