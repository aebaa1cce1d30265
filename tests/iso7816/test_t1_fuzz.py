"""Mutated T=1 sessions: no traceback, no hang, no growth; and how much of the tables they reach."""

from __future__ import annotations

import gc
import tracemalloc

import pytest

from tests.iso7816.fuzz_t1 import Result, run


def report(result: Result, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\n{result}; never: {', '.join(result.missed) or 'none'}", end="")


def test_mutated_sessions(capsys: pytest.CaptureFixture[str]) -> None:
    result = run(0, 20_000)
    report(result, capsys)
    assert result.share >= 0.9


@pytest.mark.soak
def test_a_million_mutated_sessions(capsys: pytest.CaptureFixture[str]) -> None:
    result = run(0, 10_000)
    gc.collect()
    before = len(gc.get_objects())
    for first in range(10_000, 1_000_000, 10_000):
        result.hits.update(run(first, 10_000).hits)
        result.sessions += 10_000
    gc.collect()
    report(result, capsys)
    assert result.share >= 0.9
    assert len(gc.get_objects()) < before * 1.05 + 1000


def test_sessions_leave_no_memory_behind() -> None:
    run(0, 300)
    gc.collect()
    tracemalloc.start()
    try:
        base = tracemalloc.get_traced_memory()[0]
        run(300, 1500)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - base
    finally:
        tracemalloc.stop()
    assert grown < 100_000
