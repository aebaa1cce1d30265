"""Models of files (pydantic), and how their errors become mistakes with a position."""

import difflib
import types
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from bench.files.document import Document, Place, Tree
from bench.files.mistakes import Mistake, quoted

M = TypeVar("M", bound=BaseModel)


class FileModel(BaseModel):
    """A mapping in a file: unknown keys are mistakes, and nothing changes once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_by_alias=True, validate_by_name=True)


def expected(what: str, found: str = "", offset: int = 0) -> PydanticCustomError:
    """The error that a field's or model's validator raises.

    It tells what was expected and, where the value alone does not say it, what was found, and how many characters into the value.
    """
    return PydanticCustomError("cardbench", "{expected}", {"expected": what, "found": found, "offset": offset})


def check(
    model: type[M],
    tree: Tree,
    document: Document,
    mistakes: list[Mistake],
    locate: Callable[[Place], Place] = lambda place: place,
    hidden: Set[str] = frozenset(),
) -> M | None:
    """``tree`` as a ``model``, or None with what is wrong appended to ``mistakes``.

    ``locate`` turns a place below ``tree`` into one of the document; ``hidden`` keys are not offered where an unknown key was found.
    """
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        explain = _Explainer(model, document, locate, hidden)
        mistakes.extend(explain.mistake(detail) for detail in error.errors(include_url=False) if not _echo(detail))
        return None


def first_wrong(error: ValidationError) -> str:
    """The first thing that is wrong with options given one by one: ``name: expected ...``, with what was found where it helps."""
    detail = error.errors(include_url=False)[0]
    found = str(detail.get("ctx", {}).get("found", "")) or describe(detail["input"])
    return f"{detail['loc'][0]}: expected {_expectation(detail)}, found {found}"


def suggestion(name: str, known: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` where something known is near, else nothing."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def one_of(names: Iterable[str]) -> str:
    """The names there are, for a sentence."""
    return ", ".join(names)


def describe(value: object) -> str:
    """A value of the tree, in a few words."""
    match value:
        case str():
            return quoted(value)
        case list():
            return "a list" if value else "an empty list"
        case dict():
            only = next(iter(value)) if len(value) == 1 else ""
            placeholder = value == {only: ""} and only
            return f'a mapping (a placeholder is quoted: "{{{only}}}")' if placeholder else "a mapping"
        case _:
            return quoted(str(value))


_EXPECTED: Mapping[str, str] = {
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_parsing_size": "a smaller number",
    "float_parsing": "a number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping (name: value)",
    "mapping_type": "a mapping (name: value)",
    "model_type": "a mapping (name: value)",
    "model_attributes_type": "a mapping (name: value)",
    "literal_error": "{expected}",
    "enum": "{expected}",
    "greater_than": "more than {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than": "less than {lt}",
    "less_than_equal": "{le} or less",
    "too_short": "at least {min_length} in the list",
    "too_long": "at most {max_length} in the list",
    "string_too_short": "at least {min_length} character(s)",
    "string_too_long": "at most {max_length} characters",
    "string_pattern_mismatch": "text of the form {pattern}",
}


@dataclass(frozen=True, slots=True)
class _Explainer:
    """Turns pydantic's errors into mistakes."""

    model: type[BaseModel]
    document: Document
    locate: Callable[[Place], Place]
    hidden: Set[str]

    def mistake(self, detail: ErrorDetails) -> Mistake:
        loc: Place = detail["loc"]
        kind = detail["type"]
        if kind == "extra_forbidden":
            known = [name for name in _fields(_model_at(self.model, loc[:-1])) if name not in self.hidden]
            found = f"the unknown key {quoted(str(loc[-1]))}{suggestion(str(loc[-1]), known)}"
            wanted = f"one of {one_of(known)}" if known else "nothing there"
            return self.document.mistake(self.locate(loc), found, wanted, key=True)
        if kind == "missing":
            what = _fields(_model_at(self.model, loc[:-1])).get(str(loc[-1]), "")
            wanted = f"{str(loc[-1])!r}: {what}" if what else repr(str(loc[-1]))
            return self.document.mistake(self.locate(loc[:-1]), f"no {str(loc[-1])!r}", wanted)
        if loc and loc[-1] == "[key]":
            place = self.locate(loc[:-1])
            return self.document.mistake(place, describe(detail["input"]), _expectation(detail), key=True)
        place = self.locate(loc)
        found = str(detail.get("ctx", {}).get("found", "")) or describe(detail["input"])
        written = self.document.at(place)
        if isinstance(written, str) and written != detail["input"] and isinstance(detail["input"], str):
            found += f" (from {quoted(written)})"
        offset = int(detail.get("ctx", {}).get("offset", 0))
        return self.document.mistake(place, found, _expectation(detail), offset=offset)


def _echo(detail: ErrorDetails) -> bool:
    """Whether a list is called too short only because of mistakes within it, which are told anyway."""
    value = detail["input"]
    return detail["type"] == "too_short" and isinstance(value, list) and len(value) >= detail["ctx"]["min_length"]


def _expectation(detail: ErrorDetails) -> str:
    template = _EXPECTED.get(detail["type"])
    if template is None:
        message = detail["msg"]
        return message.removeprefix("Value error, ")
    return template.format(**detail.get("ctx", {}))


def _fields(model: type[BaseModel] | None) -> dict[str, str]:
    """The fields' names as written in a file, with their descriptions."""
    if model is None:
        return {}
    return {field.alias or name: field.description or "" for name, field in model.model_fields.items()}


def _model_at(model: type[BaseModel], loc: Place) -> type[BaseModel] | None:
    """The model that a place below ``model`` is described by, or None where there is none."""
    kind: Any = model
    for step in loc:
        kind = _inner(kind, step)
    kind = _plain(kind)
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _inner(kind: Any, step: str | int) -> Any:
    kind = _plain(kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        for name, field in kind.model_fields.items():
            if step in (name, field.alias):
                return field.annotation
        return None
    arguments = get_args(kind)
    if get_origin(kind) in (list, tuple):
        return arguments[0] if arguments else None
    if get_origin(kind) is dict or isinstance(get_origin(kind), type):
        return arguments[-1] if arguments else None
    return None


def _plain(kind: Any) -> Any:
    """Without Annotated and without ``| None``."""
    while True:
        origin = get_origin(kind)
        if origin is Annotated:
            kind = get_args(kind)[0]
        elif origin in (Union, types.UnionType):
            some = [each for each in get_args(kind) if each is not type(None)]
            if len(some) != 1:
                return kind
            kind = some[0]
        else:
            return kind
