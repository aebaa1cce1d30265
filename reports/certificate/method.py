"""The method of a test: the scenario files that were run, told by their hashes, and the catalogue they speak to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.files.document import Document, read
from bench.files.mistakes import FileError
from bench.requirements.catalogue import FOLDER
from bench.scenario.loader import scenario_name

WHAT = "a scenario: a mapping with 'title', 'requirements' and 'steps'"


@dataclass(frozen=True, slots=True)
class ScenarioText:
    """A scenario file as it lies there now."""

    name: str
    path: Path
    sha256: str
    title: str
    requirements: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Method:
    """What was run, and whether it is what lies there now."""

    run: Mapping[str, str]
    """Scenarios of the run, and the hashes of their files."""
    files: Mapping[str, ScenarioText]
    """Those of them whose files lie there unchanged."""
    changed: tuple[str, ...]
    """Those whose files are other ones now, or that were changed in the middle of the run."""
    gone: tuple[str, ...]
    """Those whose files are not to be found."""
    unnamed: bool
    """The run did not note its files' hashes: they are those of the files that lie there now."""
    named_by: Mapping[str, tuple[str, ...]]
    """Every known scenario, run or not, that names a requirement."""
    catalogue: Mapping[str, str]
    """The catalogue's files and their hashes."""

    @property
    def scenario_hash(self) -> str:
        """One hash over names and hashes of all scenarios that were run."""
        return _hash_of(self.run)

    @property
    def catalogue_hash(self) -> str:
        """The same over the files of the catalogue."""
        return _hash_of(self.catalogue)


def scenario_texts(paths: Iterable[Path]) -> tuple[ScenarioText, ...]:
    """The scenario files that `paths` are or hold, each once. Files that are no scenarios are passed over: running them says what is wrong."""
    found: dict[str, ScenarioText] = {}
    for path in paths:
        files = sorted(path.rglob("*.yaml")) if path.is_dir() else [path]
        for file in files:
            if "rigs" not in file.parts[:-1] and (text := _scenario(file)) is not None:
                found.setdefault(text.name, text)
    return tuple(found[name] for name in sorted(found))


def method_of(scenarios: Sequence[str], recorded: Sequence[tuple[str, str]], known: Sequence[ScenarioText]) -> Method:
    """The method of a run of these `scenarios`; `recorded` are the hashes that it noted, `known` the files that lie there now."""
    texts = {text.name: text for text in known}
    hashes: dict[str, set[str]] = {}
    for name, sha256 in recorded:
        hashes.setdefault(name, set()).add(sha256)
    told: dict[str, str] = {}
    files: dict[str, ScenarioText] = {}
    changed: list[str] = []
    gone: list[str] = []
    for name in sorted({*scenarios, *hashes}):
        mine = hashes.get(name, set())
        text = texts.get(name)
        told[name] = " ".join(sorted(mine)) or (text.sha256 if text else "")
        if text is None:
            gone.append(name)
        elif mine and mine != {text.sha256}:
            changed.append(name)
        else:
            files[name] = text
    named: dict[str, list[str]] = {}
    for text in texts.values():
        for requirement in text.requirements:
            named.setdefault(requirement, []).append(text.name)
    catalogue = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(FOLDER.glob("*.yaml"))}
    return Method(
        told,
        files,
        tuple(changed),
        tuple(gone),
        not recorded,
        {requirement: tuple(names) for requirement, names in named.items()},
        catalogue,
    )


def _scenario(file: Path) -> ScenarioText | None:
    try:
        data = file.read_bytes()
        document = read(file, WHAT)
    except (OSError, FileError):
        return None
    names = document.at(("requirements",))
    if not isinstance(names, list) or document.at(("steps",)) is None:
        return None
    requirements = tuple(name for name in names if isinstance(name, str))
    return ScenarioText(scenario_name(file), file, hashlib.sha256(data).hexdigest(), _title(document), requirements)


def _title(document: Document) -> str:
    title = document.at(("title",))
    return title if isinstance(title, str) else ""


def _hash_of(files: Mapping[str, str]) -> str:
    text = "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(files.items()))
    return hashlib.sha256(text.encode()).hexdigest()
