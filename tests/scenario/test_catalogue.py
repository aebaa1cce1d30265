"""The catalogue and the scenarios agree."""

from pathlib import Path

import pytest

from bench.files.mistakes import FileError
from bench.requirements import catalogue as module
from bench.requirements.catalogue import Dut, Strength, catalogue
from bench.scenario.loader import load_scenario

ROOT = Path(__file__).resolve().parents[2]


def test_every_requirement_says_what_it_must() -> None:
    found = catalogue()
    assert len(found) >= 300
    assert sum(bool(each.uncovered) for each in found.values()) * 10 < len(found), "a tenth and more is not covered"
    assert all(each.source != "the file's" for each in found.values())
    assert len({each.text for each in found.values()}) == len(found)


def test_each_scenario_speaks_to_requirements_of_its_own() -> None:
    named: dict[str, list[str]] = {}
    for path in sorted((ROOT / "scenarios").rglob("*.yaml")):
        for requirement in load_scenario(path).requirements:
            named.setdefault(requirement, []).append(path.stem)
    assert {requirement: stems for requirement, stems in named.items() if len(stems) > 1} == {}


def test_every_requirement_has_a_scenario_or_says_why_not() -> None:
    named = {each for path in (ROOT / "scenarios").rglob("*.yaml") for each in load_scenario(path).requirements}
    without = {each.id for each in catalogue().values() if not each.uncovered}
    assert without - named == set(), "no scenario, and no reason (uncovered)"
    assert named - without == set(), "a reason for having no scenario, and a scenario"


def test_an_id_that_stands_twice_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = "source: S\nrequirements:\n  - {id: A-1, clause: '1', layer: hop, text: Something}\n"
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text(entry, encoding="utf-8")
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    catalogue.cache_clear()
    try:
        with pytest.raises(FileError, match=r"two\.yaml:3:10: the id 'A-1' again; expected each id once"):
            catalogue()
    finally:
        catalogue.cache_clear()


def test_strengths_and_sources_are_told_apart() -> None:
    found = catalogue().values()
    assert {each.strength for each in found} == set(Strength)
    assert {each.dut for each in found} == set(Dut)
    transport = [each for each in found if each.layer in ("tcp", "udp") and each.id.startswith("IP-")]
    named = sum("RFC" in each.clause for each in transport)
    assert named * 4 >= len(transport) * 3, "what RFCs ask names the clause that asks it"
