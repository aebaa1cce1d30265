"""The reference of the steps, made from their classes: what each does, takes and measures."""

import inspect
from dataclasses import dataclass

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from bench.scenario.step import Step
from bench.scenario.stepfile import MEASURE


@dataclass(frozen=True, slots=True)
class Entry:
    """A parameter, measurement or setting of a step."""

    name: str
    kind: str
    text: str
    """Its description."""


@dataclass(frozen=True, slots=True)
class StepPage:
    """What there is to say of a step."""

    verb: str
    summary: str
    text: str
    """Everything its docstring says, the summary included."""
    parameters: tuple[Entry, ...]
    measures: tuple[Entry, ...]

    def plain(self) -> str:
        """The page for a terminal."""
        lines = [self.verb, "", *(f"  {line}".rstrip() for line in self.text.splitlines())]
        for title, entries in (("Parameters", self.parameters), ("Measures", self.measures)):
            if entries:
                width = max(len(f"{entry.name}  {entry.kind}") for entry in entries)
                lines += ["", f"  {title}:"]
                lines += [f"    {f'{entry.name}  {entry.kind}':<{width}}  {entry.text}" for entry in entries]
        return "\n".join(lines)

    def markdown(self) -> str:
        """The page as a section of Markdown."""
        lines = [f"## {self.verb}", "", *_fenced(self.text)]
        for title, heads, entries in (
            ("Parameters", "| parameter | | meaning |", self.parameters),
            ("Measures", "| measurement | unit | meaning |", self.measures),
        ):
            if entries:
                lines += ["", f"**{title}**", "", heads, "|---|---|---|"]
                lines += [f"| `{entry.name}` | {entry.kind} | {_cell(entry.text)} |" for entry in entries]
        return "\n".join(lines)


def page(step: type[Step]) -> StepPage:
    """The reference page of a step."""
    text = inspect.getdoc(step) or "No description."
    parameters = [_parameter(step, name, field) for name, field in step.model_fields.items() if name != MEASURE]
    measures = []
    for name, measure in step.measures.items():
        measures.append(Entry(name, measure.unit, measure.doc))
        measures.extend(Entry(f"{name}.{setting}", "setting", doc) for setting, doc in measure.settings.items())
    return StepPage(step.verb, text.split("\n")[0], text, tuple(parameters), tuple(measures))


def _parameter(step: type[Step], name: str, field: FieldInfo) -> Entry:
    written = field.alias or name
    default = field.get_default(call_default_factory=True, validated_data={})
    if field.is_required():
        kind = "required"
    elif default is None or default is PydanticUndefined:
        kind = "optional"
    else:
        shown = step.__pydantic_serializer__.to_python(step.model_construct(**{name: default}), mode="json").get(name)
        kind = f"default {_plain(shown)}"
    place = " (beside the verb)" if written in step.beside else ""
    short = f"; '- {step.verb}: VALUE' for short" if written == step.short else ""
    return Entry(written, kind, f"{field.description or ''}{place}{short}")


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value in ("", [], {}):
        return "none"
    return str(value)


def _fenced(text: str) -> list[str]:
    """A docstring as Markdown: what is indented is an example in YAML."""
    lines: list[str] = []
    inside = False
    for line in text.splitlines():
        indented = line.startswith("    ") or (inside and not line)
        if indented != inside:
            lines.append("```yaml" if indented else "```")
            inside = indented
        lines.append(line[4:] if indented else line)
    return [*lines, "```"] if inside else lines


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
