"""What every way to serve a card as a serial port shares: one card at a time, and the lines of a port."""

from typing import Final

from bench.serve.loop import ServeLoop
from bench.serve.uart import ServedUart

UNREAD_MOST: Final = 1 << 16
"""Characters that wait for a terminal that does not read; more are lost, as in a UART that overruns."""


class UartLoop(ServeLoop):
    """Serves one card to whoever holds the other end of the port."""

    def __init__(self, served: ServedUart) -> None:
        super().__init__()
        self.served = served

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

    def close(self) -> None:
        self.served.off()
        super().close()

    def _sleep(self) -> float:
        return self.served.sleep(self.idle_s)

    def _follow(self) -> None:
        self._look()
        self.served.follow()
        self._give()

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
