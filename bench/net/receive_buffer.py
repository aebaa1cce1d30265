"""What TCP has received: in order for the application, out of order kept within the window until the gap is closed.

Units: lengths are bytes; sequence numbers are modulo 2**32.
"""

from bench.net.segment import seq_diff


class ReceiveBuffer:
    """Bytes in order, and pieces beyond a gap. Both together never hold more than ``capacity``."""

    def __init__(self, capacity: int, pieces: int = 64) -> None:
        self.capacity = capacity
        self.pieces = pieces
        """The most pieces kept beyond a gap."""
        self.ready = bytearray()
        self._beyond: list[tuple[int, bytes]] = []

    @property
    def room(self) -> int:
        """What the window may offer."""
        return self.capacity - len(self.ready)

    @property
    def gaps(self) -> bool:
        """Whether anything is kept beyond a gap."""
        return bool(self._beyond)

    @property
    def beyond(self) -> int:
        """Bytes kept beyond gaps."""
        return sum(len(data) for _, data in self._beyond)

    def take(self, most: int) -> bytes:
        """For the application."""
        if most >= len(self.ready):
            data = bytes(self.ready)
            self.ready.clear()
        else:
            data = bytes(self.ready[:most])
            del self.ready[:most]
        return data

    def keep(self, expected: int, seq: int, data: bytes) -> None:
        """Data after a gap: cut to what is not there yet. It lies in the window."""
        if len(self._beyond) >= self.pieces:
            return
        start = seq_diff(seq, expected)
        end = start + len(data)
        kept: list[tuple[int, bytes]] = []
        for each, piece in self._beyond:
            at = seq_diff(each, expected)
            if end <= at or at + len(piece) <= start:
                kept.append((each, piece))
            elif at <= start and end <= at + len(piece):
                return
            elif start <= at and at + len(piece) <= end:
                continue
            elif at < start:
                kept.append((each, piece[: start - at]))
            else:
                kept.append((expected + end & 0xFFFF_FFFF, piece[end - at :]))
        kept.append((seq, data))
        kept.sort(key=lambda each: seq_diff(each[0], expected))
        self._beyond = kept

    def join(self, expected: int) -> int:
        """Move what now follows in order; gives how many bytes that were."""
        moved = 0
        while self._beyond:
            seq, data = self._beyond[0]
            gap = seq_diff(seq, expected + moved & 0xFFFF_FFFF)
            if gap > 0:
                break
            self._beyond.pop(0)
            if len(data) > -gap:
                self.ready += data[-gap:]
                moved += len(data) + gap
        return moved
