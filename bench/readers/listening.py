"""Listening to a software reader's line: every burst and every reset, kept for a judge or a capture."""

from bench.iso7816.line import Burst
from bench.iso7816.session import Side
from bench.readers.software import SoftwareReader


class LineRecorder:
    """Keeps what the line of ``reader`` carries from now on, until ``stop``. One recorder a reader."""

    def __init__(self, reader: SoftwareReader) -> None:
        if reader.on_burst is not None:
            raise RuntimeError("this line is recorded already: stop the other recorder first")
        self.reader = reader
        self.spoken: list[tuple[Burst, Side]] = []
        """Every burst in the order of sending, and who sent it."""
        self.resets: list[int] = []
        """When RST rose, in ticks."""
        reader.on_burst = self._heard
        reader.on_reset = self.resets.append

    def stop(self) -> None:
        """Listen no more; what was heard stays."""
        self.reader.on_burst = None
        self.reader.on_reset = None

    def _heard(self, burst: Burst, side: Side) -> None:
        self.spoken.append((burst, side))
