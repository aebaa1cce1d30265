"""The retransmission timer's length (RFC 6298), with a floor that the path sets: on a slow line the first acknowledgement comes late without fault.

Units: times are ticks.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class RtoEstimator:
    """Smoothed round trip time, its variation, and the timeout that follows."""

    granularity: int
    """G: what the clock resolves."""
    floor: int
    """The least timeout: RFC 6298, 2.4 says a second; a slow path needs more (docs/tcp.md)."""
    ceiling: int
    """The most: 60 s or more (2.5)."""
    rto: int
    """Now: before the first sample, the initial one (2.1)."""
    srtt: int = 0
    variation: int = 0
    sampled: bool = False

    def sample(self, rtt: int) -> None:
        """A round trip of a segment that was sent once (Karn: 3). 2.2 and 2.3, in integers: alpha 1/8, beta 1/4."""
        if not self.sampled:
            self.sampled = True
            self.srtt = rtt
            self.variation = rtt // 2
        else:
            self.variation += (abs(self.srtt - rtt) - self.variation) // 4
            self.srtt += (rtt - self.srtt) // 8
        self.rto = self._bounded(self.srtt + max(self.granularity, 4 * self.variation))

    def back_off(self) -> None:
        """The timer expired: twice as long (5.5)."""
        self.rto = self._bounded(2 * self.rto)

    def _bounded(self, rto: int) -> int:
        return max(self.floor, min(rto, self.ceiling))
