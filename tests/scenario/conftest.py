"""The steps that these tests write scenarios with."""

import pytest

from bench.scenario import stepfile
from bench.scenario.steps.wait import Wait
from tests.scenario.steps_for_tests import End, TryLimits


@pytest.fixture
def test_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only ``end``, ``try_limits`` and ``wait`` exist."""
    monkeypatch.setattr(stepfile, "step_classes", lambda: {"end": End, "try_limits": TryLimits, "wait": Wait})
