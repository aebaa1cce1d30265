"""Scenario files read, checked and expanded to points.

Everything that can be wrong with a file is found here, for every point of every selection, before anything runs.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.files.document import Document, Place, Tree, parse, read
from bench.files.mistakes import FileError, Mistake, quoted
from bench.files.models import check, suggestion
from bench.requirements.catalogue import catalogue
from bench.rig.given import Given, Needs
from bench.scenario.model import WHAT, Scenario, ScenarioFile, Values
from bench.scenario.point import PlacedStep, Point
from bench.scenario.points import (
    MAX_FULL,
    MAX_SWEEP,
    Axes,
    Selection,
    combinations,
    filled,
    placeholders,
    point_id,
    size,
)
from bench.scenario.stepfile import StepFile, read_steps


def load_scenario(path: Path) -> Scenario:
    """The scenario in the file at ``path``. Raises FileError with every mistake, as ``file:line:column: what was found; what was expected``."""
    return _Loader(read(path, WHAT)).load()


def parse_scenario(text: str, path: Path) -> Scenario:
    """The same for text at hand; ``path`` names the scenario and its mistakes."""
    return _Loader(parse(text, path, WHAT)).load()


def scenario_name(path: Path) -> str:
    """Folder and stem of a scenario file, which name it in records: ``baud-rate/throughput``."""
    return f"{path.absolute().parent.name}/{path.stem}"


@dataclass(slots=True)
class _Loader:
    document: Document
    mistakes: list[Mistake] = field(default_factory=list)
    file: ScenarioFile = field(init=False)
    steps: list[StepFile] = field(init=False)
    unfillable: bool = False
    """A placeholder is unknown: nothing can be expanded."""
    made_steps: dict[tuple[int, str], PlacedStep | None] = field(default_factory=dict)

    def load(self) -> Scenario:
        file = check(ScenarioFile, self.document.tree, self.document, self.mistakes)
        if file is None:
            raise FileError(self.mistakes)
        self.file = file
        self._requirements()
        axes = self._axes()
        self._placeholders()
        self.steps = read_steps(self.document, file.requirements, self.mistakes)
        points = {selection: tuple(self._points(selection, some, axes)) for selection, some in axes.items()}
        if self.mistakes:
            raise FileError(self.mistakes)
        return Scenario(
            path=self.document.path,
            name=scenario_name(self.document.path),
            title=file.title,
            purpose=file.purpose,
            requirements=tuple(file.requirements),
            line=self.document.position(("steps",), key=True).line,
            points=points,
        )

    def _wrong(self, place: Place, found: str, expected: str, *, key: bool = False) -> None:
        self.mistakes.append(self.document.mistake(place, found, expected, key=key))

    def _requirements(self) -> None:
        known = catalogue()
        for index, name in enumerate(self.file.requirements):
            if name not in known:
                found = f"the unknown requirement {name!r}{suggestion(name, known)}"
                self._wrong(("requirements", index), found, "an id of the catalogue")
            elif name in self.file.requirements[:index]:
                self._wrong(("requirements", index), f"the requirement {name!r} again", "each id once")

    def _axes(self) -> dict[Selection, Axes | None]:
        """The values of each selection; None where a selection has no points."""
        sweep = {name: tuple(values) for name, values in self.file.sweep.items()}
        for block, values in (("sweep", self.file.sweep), ("full", self.file.full)):
            self._twice(block, values)
        full = {**sweep, **self._replacing("full", self.file.full, sweep)}
        axes: dict[Selection, Axes | None] = {
            Selection.ORDINARY: sweep,
            Selection.FULL: full,
            Selection.REAL: self._real(sweep, full),
        }
        for selection, most in (
            (Selection.ORDINARY, MAX_SWEEP),
            (Selection.FULL, MAX_FULL),
            (Selection.REAL, MAX_SWEEP),
        ):
            some = axes[selection]
            if some is not None and (count := size(some)) > most:
                block = selection.value if selection.value in self.file.model_fields_set else "sweep"
                if block == selection.value:
                    self._wrong((block,), f"{count} points", f"at most {most}", key=True)
                axes[selection] = None
        return axes

    def _real(self, sweep: Axes, full: Axes) -> Axes | None:
        real = self.file.real
        if isinstance(real, str):
            return sweep if real == "all" else None
        self._twice("real", real)
        chosen = self._replacing("real", real, sweep)
        for name, wanted in chosen.items():
            known = {*sweep[name], *full[name]}
            for index, each in enumerate(wanted):
                if len(known) > 1 and each not in known:
                    place = ("real", name, index)
                    self._wrong(place, quoted(each), f"one of the values that {name!r} is swept over")
        return {**sweep, **chosen}

    def _twice(self, block: str, values: Values) -> None:
        for name, some in values.items():
            for index, each in enumerate(some):
                if each in some[:index]:
                    self._wrong((block, name, index), f"the value {each!r} again", "each value once")

    def _replacing(self, block: str, values: Values, sweep: Axes) -> dict[str, tuple[str, ...]]:
        for name in values.keys() - sweep.keys():
            self._wrong((block, name), f"{name!r}{suggestion(name, sweep)}", "a name of the sweep", key=True)
        return {name: tuple(some) for name, some in values.items() if name in sweep}

    def _texts(self) -> dict[str, str]:
        return {name: value for name, value in self.file.given.items() if isinstance(value, str)}

    def _placeholders(self) -> None:
        known = {**self._texts(), **self.file.sweep}
        for block in ("needs", "steps"):
            for place, text in _leaves(self.document.at((block,)), (block,)):
                for name in placeholders(text):
                    if name not in known:
                        found = f"the unknown placeholder {'{' + name + '}'!r}{suggestion(name, known)}"
                        self._wrong(place, found, "a name of 'sweep' or 'given'")
                        self.unfillable = True

    def _points(self, selection: Selection, axes: Axes | None, every: dict[Selection, Axes | None]) -> Iterator[Point]:
        if axes is None or self.unfillable:
            return
        varied = frozenset(name for some in every.values() if some for name, values in some.items() if len(values) > 1)
        seen: dict[str, dict[str, str]] = {}
        for index, values in enumerate(combinations(axes)):
            name = point_id(values, varied)
            if name in seen:
                self._same_id(selection, name, values, seen[name])
                return
            seen[name] = values
            point = self._point(selection, index, name, values, varied)
            if point is not None:
                yield point

    def _same_id(self, selection: Selection, name: str, values: dict[str, str], others: dict[str, str]) -> None:
        for key, value in values.items():
            if value != others[key]:
                found = f"{value!r}, which gives the same point id {name!r} as {others[key]!r}"
                place = self._value_place(selection, key, value)
                self._wrong(place, found, "values that differ in letters or digits")

    def _value_place(self, selection: Selection, name: str, value: str) -> Place:
        """Where a value of a combination is written."""
        for block in (selection.value, "sweep"):
            values = self.document.at((block, name))
            if isinstance(values, list) and value in values:
                return (block, name, values.index(value))
        return ("sweep", name)

    def _point(
        self, selection: Selection, index: int, name: str, values: dict[str, str], varied: frozenset[str]
    ) -> Point | None:
        def given_place(place: Place) -> Place:
            first = place[0] if place else ""
            if isinstance(first, str) and first in values:
                return self._value_place(selection, first, values[first])
            return ("given", *place)

        texts = {**self._texts(), **values}
        overriding = {key: value for key, value in values.items() if key in Given.model_fields}
        given_tree = self.document.at(("given",)) or {}
        assert isinstance(given_tree, dict)
        given = check(Given, {**given_tree, **overriding}, self.document, self.mistakes, given_place)
        needs_tree = filled(self.document.at(("needs",)) or {}, texts)
        needs = check(Needs, needs_tree, self.document, self.mistakes, lambda place: ("needs", *place))
        steps = [self._step(step, texts) for step in self.steps]
        if given is None or needs is None or None in steps:
            return None
        return Point(
            scenario=scenario_name(self.document.path),
            id=name,
            title=self.file.title,
            requirements=tuple(self.file.requirements),
            path=str(self.document.path),
            index=index,
            values=values,
            varied=varied & values.keys(),
            given=given,
            needs=needs,
            steps=tuple(step for step in steps if step is not None),
        )

    def _step(self, step: StepFile, texts: dict[str, str]) -> PlacedStep | None:
        tree = filled(step.tree, texts)
        key = (step.index, repr(tree))
        if key not in self.made_steps:
            made = check(step.kind, tree, self.document, self.mistakes, step.locate, step.hidden)
            self.made_steps[key] = None if made is None else PlacedStep(made, step.line)
        return self.made_steps[key]


def _leaves(tree: Tree | None, place: Place) -> Iterator[tuple[Place, str]]:
    match tree:
        case str():
            yield place, tree
        case list():
            for index, each in enumerate(tree):
                yield from _leaves(each, (*place, index))
        case dict():
            for key, each in tree.items():
                yield from _leaves(each, (*place, key))
