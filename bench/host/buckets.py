"""Token buckets: how often, or how much, in the long run, and how much at once. Time is a parameter, in nanoseconds."""

NANOSECONDS = 10**9


class TokenBucket:
    """``rate`` tokens a second, at most ``burst`` saved up. A rate of 0 sets no limit."""

    __slots__ = ("_at", "_level", "burst", "rate")

    def __init__(self, rate: int, burst: int, now_ns: int) -> None:
        self.rate = rate
        self.burst = max(burst, 1)
        self._level = float(self.burst)
        self._at = now_ns

    def available(self, now_ns: int) -> int:
        """Whole tokens there are; below 1 after an overdraft."""
        if not self.rate:
            return 1 << 62
        if now_ns > self._at:
            self._level = min(float(self.burst), self._level + (now_ns - self._at) * self.rate / NANOSECONDS)
            self._at = now_ns
        return int(self._level // 1)

    def take(self, count: int, now_ns: int) -> bool:
        """Take ``count`` tokens where there is at least one, running into debt for the rest; False, and nothing taken, where there is none."""
        if self.available(now_ns) < 1:
            return False
        if self.rate:
            self._level -= count
        return True

    def seconds_until_one(self, now_ns: int) -> float:
        """How long until there is a token again; 0 where there is one."""
        if self.available(now_ns) >= 1:
            return 0.0
        return (1 - self._level) / self.rate
