"""The JSON Schemas accept every file that is here, and refuse what the loader refuses."""

from pathlib import Path

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml

from bench.scenario.schema import rig_schema, scenario_schema

ROOT = Path(__file__).resolve().parents[2]
SCENARIOS = jsonschema.Draft202012Validator(scenario_schema())
RIGS = jsonschema.Draft202012Validator(rig_schema())


@pytest.mark.parametrize("path", sorted((ROOT / "scenarios").rglob("*.yaml")), ids=lambda path: path.stem)
def test_scenarios_fit(path: Path) -> None:
    assert [each.message for each in SCENARIOS.iter_errors(yaml.safe_load(path.read_text(encoding="utf-8")))] == []


@pytest.mark.parametrize("path", sorted((ROOT / "rigs").glob("*.yaml")), ids=lambda path: path.stem)
def test_rigs_fit(path: Path) -> None:
    assert [each.message for each in RIGS.iter_errors(yaml.safe_load(path.read_text(encoding="utf-8")))] == []


@pytest.mark.parametrize(
    "name",
    [
        "unknown-step",
        "unknown-key",
        "unknown-given",
        "unknown-parameter",
        "missing-title",
        "no-requirements",
        "empty-steps",
    ],
)
def test_wrong_scenarios_do_not(name: str) -> None:
    text = (ROOT / "tests" / "scenario" / "wrong" / f"{name}.yaml").read_text(encoding="utf-8")
    assert not SCENARIOS.is_valid(yaml.safe_load(text))


def test_the_schemas_are_schemas() -> None:
    jsonschema.Draft202012Validator.check_schema(scenario_schema())
    jsonschema.Draft202012Validator.check_schema(rig_schema())
