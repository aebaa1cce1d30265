"""Ratios measured side by side in one run: what is compared takes turns, and medians are compared. Printed, never asserted: machines are noisy."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Timing:
    """CPU seconds of one candidate, a value a round."""

    name: str
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.seconds)


def side_by_side(candidates: Sequence[tuple[str, Callable[[], object]]], rounds: int = 5) -> list[Timing]:
    """CPU time of each candidate in interleaved rounds, after one round that does not count."""
    found: dict[str, list[float]] = {name: [] for name, _ in candidates}
    for turn in range(rounds + 1):
        for name, action in candidates:
            begun = time.process_time()
            action()
            if turn:
                found[name].append(time.process_time() - begun)
    return [Timing(name, tuple(seconds)) for name, seconds in found.items()]


def show(title: str, lines: Sequence[str]) -> None:
    """Print a result where `make benchmarks` shows it."""
    print(f"\n{title}")
    for line in lines:
        print(f"  {line}")
