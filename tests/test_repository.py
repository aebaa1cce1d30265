"""Laws of the repository itself: what may be in it, and what its files must agree on."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from importlib.metadata import distribution, entry_points
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]

# Put together here so that this file does not hold what it forbids.
REGISTRY_HOSTS = ("py" + "pi.org", "python" + "hosted", "npm" + "js.org", "deb.debian" + ".org")
WORKPLACE_PATHS = ("/" + "work/", "/opt/" + "wheels", "/opt/" + "pypi")
FORBIDDEN = re.compile("|".join(re.escape(text) for text in REGISTRY_HOSTS + WORKPLACE_PATHS).encode(), re.IGNORECASE)

PROTOCOLS = ("iso7816", "hop", "channels", "ccid", "net")


def tracked_files() -> list[Path]:
    """The files git tracks, which are still there."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not a git clone: which files are tracked is unknown")
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    return [path for name in listing.decode().split("\0") if name and (path := ROOT / name).is_file()]


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def contract(kind: str) -> dict[str, Any]:
    (found,) = (each for each in pyproject()["tool"]["importlinter"]["contracts"] if each["type"] == kind)
    assert isinstance(found, dict)
    return found


def storeys() -> set[str]:
    """The modules and packages directly under `bench`."""
    return {
        path.stem
        for path in (ROOT / "bench").iterdir()
        if (path.suffix == ".py" and path.stem != "__init__") or (path.is_dir() and any(path.glob("*.py")))
    }


def pins() -> dict[str, str]:
    """Canonical name to version, as constraints.txt states them."""
    found: dict[str, str] = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==([^\s;@]+)", line)
        assert match, f"constraints.txt: {line!r} is no plain name==version"
        found[canonicalize_name(match[1])] = match[2]
    return found


def base_set() -> set[str]:
    """Canonical names of everything that `cardbench` without extras brings along, itself left out."""
    seen: set[str] = set()
    wanted = ["cardbench"]
    while wanted:
        name = wanted.pop()
        for text in distribution(name).requires or []:
            requirement = Requirement(text)
            needed = canonicalize_name(requirement.name)
            if needed not in seen and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
                seen.add(needed)
                wanted.append(needed)
    return seen


def test_no_tracked_file_names_a_registry_or_a_workplace() -> None:
    files = tracked_files()
    assert files
    found = [
        f"{path.relative_to(ROOT)}:{number}: {match[0].decode()}"
        for path in files
        for number, line in enumerate(path.read_bytes().split(b"\n"), 1)
        for match in FORBIDDEN.finditer(line)
    ]
    assert found == []


def test_constraints_pin_the_base_set_as_installed() -> None:
    needed = base_set()
    assert {"click", "pytest", "pandas", "pyarrow"} <= needed
    installed = {name: distribution(name).version for name in needed}
    pinned = pins()
    assert {name: pinned.get(name) for name in installed} == installed


def test_constraints_pin_what_the_extras_name() -> None:
    extras = pyproject()["project"]["optional-dependencies"]
    named = {canonicalize_name(Requirement(text).name) for texts in extras.values() for text in texts}
    assert named - pins().keys() == set()


def test_constraints_leave_out_the_bench_and_the_installers() -> None:
    assert pins().keys() & {"cardbench", "pip", "setuptools"} == set()


def test_licence_is_apache_2() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License\n                           Version 2.0, January 2004" in text
    assert "9. Accepting Warranty or Additional Liability." in text
    assert pyproject()["project"]["license"] == "Apache-2.0"


def test_command_and_plugin_are_declared_and_load() -> None:
    (command,) = entry_points(group="console_scripts", name="cardbench")
    assert command.value == "bench.cli:main"
    assert callable(command.load())
    (plugin,) = entry_points(group="pytest11", name="cardbench")
    assert plugin.value == "fixtures.plugin"
    assert plugin.load().__name__ == "fixtures.plugin"


def test_every_scenario_lies_in_a_subject_folder() -> None:
    folder = ROOT / "scenarios"
    files = [path.relative_to(folder) for path in folder.rglob("*.y*ml")]
    assert files, "there are no scenario files"
    assert [str(path) for path in files if len(path.parts) != 2 or path.suffix != ".yaml"] == []


def test_every_storey_has_its_place_in_the_layers_contract() -> None:
    layers = {re.sub(r"[()\s]", "", name) for layer in contract("layers")["layers"] for name in layer.split("|")}
    assert {f"bench.{name}" for name in storeys()} - layers == set()
    assert {"fixtures", "reports"} <= layers


def test_every_protocol_is_forbidden_io() -> None:
    expected = {f"bench.{name}" for name in PROTOCOLS if name in storeys()}
    assert expected
    assert expected - set(contract("forbidden")["source_modules"]) == set()


def test_continuous_integration_runs_make_test() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert re.search(r"^set -euo pipefail$", script.read_text(encoding="utf-8"), re.MULTILINE)
    assert re.search(r"^exec make test\b", script.read_text(encoding="utf-8"), re.MULTILINE)


def test_base_set_needs_no_compiler_and_no_extra() -> None:
    """`make bench` installs the base set from wheels alone and without extras."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    rule = re.search(r"^\$\(VENV\)/\.stamp-base:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert rule
    assert re.search(r"--only-binary :all: --editable \.$", rule[1], re.MULTILINE)
