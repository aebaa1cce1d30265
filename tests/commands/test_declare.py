"""``cardbench declare``: from the card itself, the same text each time, over nobody's file; and the page that tells of declarations."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli import cardbench
from bench.requirements.applicability import CAPABILITIES
from bench.requirements.declarations import load_declaration
from bench.rig.declaration import Declaration

ROOT = Path(__file__).resolve().parents[2]


def declared(*arguments: str) -> str:
    result = CliRunner().invoke(cardbench, ["declare", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({}, {"stack": "channel", "channels": 32, "protocols": ("T=0",), "rates": (0x11,)}),
        (
            {"stack": "both", "profile": "2001-gemplus"},
            {"stack": "both", "channels": 4, "mtu": 256, "versions": ("4", "6")},
        ),
        ({"stack": "ip", "mtu": "576"}, {"stack": "ip", "channels": None, "mtu": 576}),
        ({"profile": "plain"}, {"stack": "none", "mtu": None}),
        (
            {"offers": "both", "ifsc": "64", "edc": "CRC", "classes": "AB"},
            {"protocols": ("T=0", "T=1"), "ifsc": 64, "edc": "CRC", "classes": ("A", "B")},
        ),
        ({"ta1": "96", "mode": "specific-fixed"}, {"rates": (0x11, 0x96), "mode": "specific-fixed"}),
    ],
)
def test_what_the_card_shows_is_declared(
    conditions: dict[str, str], expected: dict[str, object], tmp_path: Path
) -> None:
    asked = [word for name, value in conditions.items() for word in ("--given", f"{name}={value}")]
    path = tmp_path / "declarations" / "card.yaml"
    assert str(path) in declared(str(path), *asked)
    assert path.read_text(encoding="utf-8") == declared(*asked)
    found = load_declaration(path)
    assert {name: getattr(found, name) for name in expected} == expected
    told = declared("--check", str(path))
    assert re.search(r"sound; \d+ of \d+ requirements on card and chain apply", told)


def test_a_file_that_is_there_stays_unless_forced(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("mine", encoding="utf-8")
    result = CliRunner().invoke(cardbench, ["declare", str(path)])
    assert (result.exit_code, path.read_text(encoding="utf-8")) == (2, "mine")
    assert "is there already: --force" in result.output
    declared(str(path), "--force")
    assert load_declaration(path).carries("channel")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--given", "stack"], "expected NAME=VALUE"),
        (["--given", "mtu=9"], "mtu: expected 32 or more"),
        (["--rig-name", "none"], "no rig named 'none'; there is software"),
        (["--check"], "--check needs the FILE"),
    ],
)
def test_wrong_use(arguments: list[str], told: str) -> None:
    result = CliRunner().invoke(cardbench, ["declare", *arguments])
    assert result.exit_code == 2
    assert told in result.output


def test_a_rig_without_a_card_is_told(tmp_path: Path) -> None:
    rig = tmp_path / "lab.yaml"
    rig.write_text(
        "station: lab\nrigs:\n  - name: none\n    reader: {kind: serial, port: /dev/nowhere}\n    cards: [{}]\n",
        encoding="utf-8",
    )
    result = CliRunner().invoke(cardbench, ["declare", "--rig", str(rig)])
    assert result.exit_code == 3
    assert "/dev/nowhere" in result.output


def test_the_declaration_on_the_page_is_sound_and_written_back_the_same(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "declarations.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```yaml declaration\n(.*?)```", page, re.DOTALL)
    path = tmp_path / "shown.yaml"
    path.write_text(shown, encoding="utf-8")
    read = load_declaration(path)
    path.write_text(json.dumps(read.model_dump(mode="json", exclude_none=True)), encoding="utf-8")
    assert load_declaration(path) == read
    table = set(re.findall(r"`([a-z]+)`", "".join(re.findall(r"^\| (`[^|]*) \|", page, re.MULTILINE))))
    assert table == set(CAPABILITIES)


def test_the_schema_of_declarations_is_printed() -> None:
    schema = json.loads(CliRunner().invoke(cardbench, ["schema", "--declaration"]).output)
    assert set(schema["properties"]) == set(Declaration.model_fields)
    assert schema["required"] == ["card", "protocols", "stack"]
