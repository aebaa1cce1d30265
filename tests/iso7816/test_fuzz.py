"""Mutated T=0 sessions, answers to reset and PPS exchanges: no traceback, no hang, no growth; and how much of the tables they reach."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable

import pytest

from tests.iso7816 import fuzz_start, fuzz_t0

Run = Callable[[str, int, int], "fuzz_t0.Result | fuzz_start.Result"]
TARGETS: list[tuple[Run, str]] = [
    (fuzz_t0.run, "terminal"),
    (fuzz_t0.run, "card"),
    (fuzz_start.run, "ATR"),
    (fuzz_start.run, "PPS"),
]
targets = pytest.mark.parametrize(("run", "target"), TARGETS, ids=[target for _, target in TARGETS])


def report(result: fuzz_t0.Result | fuzz_start.Result, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\n{result}; never: {', '.join(result.missed) or 'none'}", end="")


@targets
def test_mutated(run: Run, target: str, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(target, 0, 20_000)
    report(result, capsys)
    assert result.share >= 0.9


@pytest.mark.soak
@targets
def test_a_million_mutated(run: Run, target: str, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(target, 0, 10_000)
    gc.collect()
    before = len(gc.get_objects())
    for first in range(10_000, 1_000_000, 10_000):
        result.hits.update(run(target, first, 10_000).hits)
    gc.collect()
    with capsys.disabled():
        print("\nA million in pieces of 10 000, their hits together:", end="")
    report(result, capsys)
    assert result.share >= 0.9
    assert len(gc.get_objects()) < before * 1.05 + 1000


@targets
def test_nothing_stays_in_memory(run: Run, target: str) -> None:
    run(target, 0, 300)
    gc.collect()
    tracemalloc.start()
    try:
        base = tracemalloc.get_traced_memory()[0]
        run(target, 300, 1500)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - base
    finally:
        tracemalloc.stop()
    assert grown < 100_000
