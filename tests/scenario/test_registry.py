"""Steps are found in the bench and through entry points; what cannot be used is named."""

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint

import pytest

from bench.scenario import registry
from bench.scenario.reference import page
from bench.scenario.step import Step
from bench.scenario.steps.wait import Wait
from tests.scenario.steps_for_tests import End, TryLimits

MODULE = End.__module__


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[EntryPoint]]:
    """The entry points of the group, to be filled by the test."""
    points: list[EntryPoint] = []
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == "cardbench.steps" else [])
    registry.step_classes.cache_clear()
    yield points
    registry.step_classes.cache_clear()


def point(value: str) -> EntryPoint:
    return EntryPoint("x", value, "cardbench.steps")


def test_the_benchs_own_steps(offered: list[EntryPoint]) -> None:
    assert offered == []
    found = registry.step_classes()
    assert found["wait"] is Wait
    assert {"power_on", "assign_addresses", "transfer", "transmit"} <= found.keys()
    assert list(found) == sorted(found)


def test_a_class_or_a_module_of_another_package(offered: list[EntryPoint]) -> None:
    offered.append(point(f"{MODULE}:End"))
    assert registry.step_classes()["end"] is End
    registry.step_classes.cache_clear()
    offered[:] = [point(MODULE)]
    assert registry.step_classes()["try_limits"] is TryLimits


def test_two_steps_of_one_name(offered: list[EntryPoint], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(End, "verb", "wait")
    offered.append(point(f"{MODULE}:End"))
    with pytest.raises(
        registry.RegistryError, match=r"two steps named 'wait': bench\.scenario\.steps\.wait\.Wait and .*End"
    ):
        registry.step_classes()


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("nowhere.at.all", "cannot be loaded: No module named 'nowhere'"),
        (f"{MODULE}:Missing", "cannot be loaded"),
        ("os:sep", "is neither a step class nor a module"),
    ],
)
def test_an_offer_that_cannot_be_used(offered: list[EntryPoint], value: str, why: str) -> None:
    offered.append(point(value))
    with pytest.raises(registry.RegistryError, match=f"entry point 'x' of an unknown package {why}"):
        registry.step_classes()
    assert "nowhere" not in sys.modules


@pytest.mark.parametrize("step", registry.step_classes().values(), ids=lambda step: step.verb)
def test_every_step_explains_itself(step: type[Step]) -> None:
    """The reference page comes from the class: each step, parameter and measurement says what it is."""
    found = page(step)
    assert found.summary != "No description."
    assert all(entry.text.strip() for entry in (*found.parameters, *found.measures))
    assert all(measure.unit for measure in step.measures.values())
    assert step.verb in found.plain()
    assert found.markdown().startswith(f"## {step.verb}\n")
    names = {field.alias or name for name, field in step.model_fields.items()}
    assert step.beside <= names
    assert not step.short or step.short in names
