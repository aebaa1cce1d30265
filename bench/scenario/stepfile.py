"""The ``steps:`` block of a scenario file: which verb each step is, and where its parts stand."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.files.document import Document, Place, Tree
from bench.files.mistakes import Mistake, quoted
from bench.files.models import describe, one_of, suggestion
from bench.scenario.registry import step_classes
from bench.scenario.step import Step

MEASURE = "measure"


@dataclass(frozen=True, slots=True)
class StepFile:
    """A step as written: its class, and one mapping of all its fields, placeholders still in it."""

    index: int
    kind: type[Step]
    tree: dict[str, Tree]
    line: int

    @property
    def hidden(self) -> frozenset[str]:
        """Fields that nobody writes where parameters are written."""
        return self.kind.beside | {MEASURE, "settings"}

    def locate(self, place: Place) -> Place:
        """Where a place of the mapping is in the document."""
        if place and (place[0] == MEASURE or place[0] in self.kind.beside):
            inner = place[:2] + place[3:] if len(place) > 2 and place[2] == "settings" else place
            return ("steps", self.index, *inner)
        return ("steps", self.index, self.kind.verb, *place)


def read_steps(document: Document, requirements: Sequence[str], mistakes: list[Mistake]) -> list[StepFile]:
    """The steps of a scenario file. What is wrong with a step is appended to ``mistakes``, and the step left out."""
    steps = document.at(("steps",))
    assert isinstance(steps, list)
    reader = _Reader(document, requirements, mistakes)
    found = [reader.step(index, tree) for index, tree in enumerate(steps)]
    return [step for step in found if step is not None]


@dataclass(slots=True)
class _Reader:
    document: Document
    requirements: Sequence[str]
    mistakes: list[Mistake]

    def _wrong(self, place: Place, found: str, expected: str, *, key: bool = False) -> None:
        self.mistakes.append(self.document.mistake(place, found, expected, key=key))

    def step(self, index: int, tree: Tree) -> StepFile | None:
        place: Place = ("steps", index)
        if isinstance(tree, str):
            tree = {tree: ""}
        if not isinstance(tree, dict) or tree == {"": ""}:
            self._wrong(place, "a list" if isinstance(tree, list) else "nothing", "a step: a verb with its parameters")
            return None
        kind = self._kind(place, tree)
        if kind is None or not self._keys(place, tree, kind):
            return None
        parameters = self._parameters((*place, kind.verb), tree[kind.verb], kind)
        if parameters is None:
            return None
        whole = {**parameters, **{key: value for key, value in tree.items() if key != kind.verb}}
        if MEASURE in whole:
            measures = self._measures((*place, MEASURE), whole[MEASURE], kind)
            if measures is None:
                return None
            whole[MEASURE] = measures
        return StepFile(index, kind, whole, self.document.position(place).line)

    def _kind(self, place: Place, tree: dict[str, Tree]) -> type[Step] | None:
        """The step's class. Two verbs, an unknown one or none are mistakes."""
        known = step_classes()
        verbs = [key for key in tree if key in known]
        if len(verbs) == 1:
            return known[verbs[0]]
        if verbs:
            found = f"the verb {verbs[1]!r} beside {verbs[0]!r}"
            self._wrong((*place, verbs[1]), found, "one verb a step: begin the next with '- '", key=True)
            return None
        names = [key for key in tree if key != MEASURE]
        if not names:
            self._wrong(place, f"{MEASURE!r} without a verb", f"one of {one_of(known)}")
            return None
        found = f"the unknown step {quoted(names[0])}{suggestion(names[0], known)}"
        self._wrong((*place, names[0]), found, f"one of {one_of(known)}", key=True)
        return None

    def _keys(self, place: Place, tree: dict[str, Tree], kind: type[Step]) -> bool:
        """Whether nothing unknown stands beside the verb."""
        allowed = kind.beside | ({MEASURE} if kind.measures else set())
        strange = [key for key in tree if key != kind.verb and key not in allowed]
        for key in strange:
            if key == MEASURE:
                self._wrong((*place, key), f"'measure' at {kind.verb!r}", "none: this step measures nothing", key=True)
            else:
                found = f"{quoted(key)} beside {kind.verb!r}{suggestion(key, allowed)}"
                wanted = f"only {one_of(sorted(allowed))} there" if allowed else "nothing there"
                hint = "; parameters go below the verb" if key in kind.model_fields else ""
                self._wrong((*place, key), found, wanted + hint, key=True)
        return not strange

    def _parameters(self, place: Place, tree: Tree, kind: type[Step]) -> dict[str, Tree] | None:
        match tree:
            case dict():
                misplaced = [key for key in tree if key == MEASURE or key in kind.beside]
                for key in misplaced:
                    self._wrong((*place, key), f"{key!r} below {kind.verb!r}", "it beside the verb", key=True)
                if misplaced or self._unquoted(place, tree, kind):
                    return None
                return dict(tree)
            case "":
                return {}
            case str() if kind.short:
                return {kind.short: tree}
            case _:
                self._wrong(place, describe(tree), "a mapping of parameters (name: value)")
                return None

    def _unquoted(self, place: Place, tree: dict[str, Tree], kind: type[Step]) -> bool:
        """Whether a placeholder lacks its quotes, which makes it a mapping to YAML; that is a mistake."""
        name, value = next(iter(tree.items()), ("", "something"))
        known = {field.alias or key for key, field in kind.model_fields.items()}
        if len(tree) != 1 or value != "" or name in known:
            return False
        found = f"{name!r} without a value"
        self._wrong(place, found, f'a parameter and its value, or a placeholder in quotes: "{{{name}}}"')
        return True

    def _measures(self, place: Place, tree: Tree, kind: type[Step]) -> dict[str, Tree] | None:
        """The ``measure:`` block with the settings of each measurement gathered under ``settings``."""
        if not isinstance(tree, dict):
            self._wrong(place, describe(tree), f"a mapping of measurements ({one_of(kind.measures)}) to limits")
            return None
        good = [self._measure((*place, name), name, limits, kind) for name, limits in tree.items()]
        return {name: limits for each in good if each for name, limits in each.items()} if all(good) else None

    def _measure(self, place: Place, name: str, limits: Tree, kind: type[Step]) -> dict[str, Tree] | None:
        measure = kind.measures.get(name)
        if measure is None:
            found = f"the unknown measurement {quoted(name)}{suggestion(name, kind.measures)}"
            self._wrong(place, found, f"one of {one_of(kind.measures)}", key=True)
            return None
        if limits == "":
            return {name: {}}
        if not isinstance(limits, dict):
            self._wrong(place, describe(limits), "a mapping of limits such as {at_least: 95}")
            return None
        if "settings" in limits:
            self._wrong((*place, "settings"), "'settings'", "the settings themselves, beside the limits", key=True)
            return None
        if (unit := limits.get("unit", measure.unit)) != measure.unit:
            self._wrong((*place, "unit"), describe(unit), f"{measure.unit!r}, the unit of {name!r}")
            return None
        requirement = limits.get("requirement")
        judged = {"at_least", "at_most", "equals"} & limits.keys()
        if requirement is None and judged and len(self.requirements) > 1:
            self._wrong(place, f"{name!r} without 'requirement'", f"one of {one_of(self.requirements)}", key=True)
            return None
        if requirement is not None and requirement not in self.requirements:
            wanted = f"one that the scenario names: {one_of(self.requirements)}"
            self._wrong((*place, "requirement"), describe(requirement), wanted)
            return None
        settings = {key: value for key, value in limits.items() if key in measure.settings}
        rest: dict[str, Tree] = {key: value for key, value in limits.items() if key not in measure.settings}
        return {name: {**rest, "settings": settings} if settings else rest}
