"""Congestion control: slow start, congestion avoidance, fast retransmit and recovery (RFC 5681), NewReno's partial acknowledgements (RFC 6582).

Units: bytes.
"""

from dataclasses import dataclass

from bench.net.segment import seq_diff


@dataclass(slots=True)
class Congestion:
    """The congestion window of one connection."""

    mss: int
    initial_segments: int = 2
    """The initial window; RFC 5681 allows up to four, a slow line wants at most two."""
    cwnd: int = 0
    ssthresh: int = 1 << 30
    duplicates: int = 0
    """Duplicate acknowledgements in a row."""
    recover: int | None = None
    """While in fast recovery: the highest sequence number sent when it began."""
    _gained: int = 0
    _guard: int | None = None
    """What was sent before a timeout: duplicates up to there tell of what is sent again (RFC 6582, 3.2, step 1)."""

    def __post_init__(self) -> None:
        self.begin(self.mss)

    def begin(self, mss: int) -> None:
        """The connection is open with this maximum segment size."""
        self.mss = mss
        self.cwnd = self.initial_segments * mss

    def restart(self) -> None:
        """Nothing was sent for longer than a timeout: what is known of the path is old (RFC 5681, 4.1)."""
        self.cwnd = min(self.cwnd, self.initial_segments * self.mss)

    def acknowledged(self, count: int, ack: int, flight: int) -> bool:
        """New data was acknowledged. True where a partial acknowledgement asks for the next segment to be sent again."""
        self.duplicates = 0
        if self._guard is not None and seq_diff(ack, self._guard) > 0:
            self._guard = None
        if self.recover is not None:
            if seq_diff(ack, self.recover) >= 0:  # all that was under way: recovery is over
                self.cwnd = min(self.ssthresh, max(flight, self.mss) + self.mss)
                self.recover = None
                return False
            self.cwnd = max(self.mss, self.cwnd - count + (self.mss if count >= self.mss else 0))
            return True
        if self.cwnd < self.ssthresh:
            self.cwnd += min(count, self.mss)
        else:
            self._gained += count
            if self._gained >= self.cwnd:  # one segment a round trip (3.1, with appropriate byte counting)
                self._gained -= self.cwnd
                self.cwnd += self.mss
        return False

    def duplicate(self, flight: int, next_seq: int) -> bool:
        """A duplicate acknowledgement. True where the first unacknowledged segment is to be sent again at once (the third one)."""
        self.duplicates += 1
        if self._guard is not None:
            return False
        if self.recover is not None:
            self.cwnd += self.mss
        elif self.duplicates == 3:
            self.ssthresh = max(flight // 2, 2 * self.mss)
            self.cwnd = self.ssthresh + 3 * self.mss
            self.recover = next_seq
            return True
        return False

    def timed_out(self, flight: int, first: bool, next_seq: int) -> None:
        """The retransmission timer expired; ``first`` where that segment had not been sent again by it before (3.1, equation 4)."""
        self._guard = next_seq
        if first:
            self.ssthresh = max(flight // 2, 2 * self.mss)
        self.cwnd = self.mss
        self.duplicates = 0
        self.recover = None
        self._gained = 0
