"""JSON Schema of scenario and rig files, made from their models, so that editors complete and check.

Every value of a step may also be a placeholder ("{mtu}").
"""

from typing import TypeAlias

from bench.rig.declaration import Declaration
from bench.rig.given import Given, Needs
from bench.rig.model import RigFileModel
from bench.scenario.limits import Limits
from bench.scenario.model import ScenarioFile
from bench.scenario.registry import step_classes
from bench.scenario.step import Step
from bench.scenario.stepfile import MEASURE

Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None
Object: TypeAlias = dict[str, Json]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
PLACEHOLDER: Object = {"type": "string", "pattern": r"\{[a-z][a-z0-9_]*\}"}


def scenario_schema() -> Object:
    """The JSON Schema of scenario files, every known step included."""
    schema: Object = ScenarioFile.model_json_schema()
    definitions: Object = {}
    properties = _object(schema["properties"])
    properties["given"] = _embedded(Given.model_json_schema(), definitions)
    properties["needs"] = _fillable(_embedded(Needs.model_json_schema(), definitions))
    steps: list[Json] = [{"enum": [verb for verb, step in step_classes().items() if not _required(step)]}]
    steps += [_step(step, definitions) for step in step_classes().values()]
    _object(properties["steps"])["items"] = {"anyOf": steps}
    definitions.pop(Limits.__name__, None)  # each measurement has limits of its own
    if definitions:
        schema["$defs"] = definitions
    return {"$schema": DIALECT, **schema, "title": "cardbench scenario"}


def rig_schema() -> Object:
    """The JSON Schema of rig files."""
    return {"$schema": DIALECT, **RigFileModel.model_json_schema(), "title": "cardbench rig file"}


def declaration_schema() -> Object:
    """The JSON Schema of declarations."""
    return {"$schema": DIALECT, **Declaration.model_json_schema(), "title": "cardbench declaration"}


def _step(step: type[Step], definitions: Object) -> Object:
    """One step: a mapping with the verb, and what may stand beside it."""
    whole = _fillable(_embedded(step.model_json_schema(), definitions))
    fields = _object(whole.get("properties", {}))
    fields.pop(MEASURE, None)
    beside = {name: fields.pop(name) for name in list(fields) if name in step.beside}
    required = [name for name in _required(step) if name not in step.beside]
    below: Object = {"type": "object", "properties": fields, "additionalProperties": False, "required": list(required)}
    forms: list[Json] = [below]
    if step.short:
        forms.append(fields[step.short])
    if not required:
        forms.append({"type": "null"})
    keys: Object = {step.verb: {"anyOf": forms, "description": _first_line(step)}, **beside}
    if step.measures:
        keys[MEASURE] = {
            "type": "object",
            "properties": {name: _limits(step, name, definitions) for name in step.measures},
            "additionalProperties": False,
        }
    wanted: list[Json] = [step.verb, *(name for name in _required(step) if name in step.beside)]
    return {"type": "object", "properties": keys, "additionalProperties": False, "required": wanted}


def _limits(step: type[Step], name: str, definitions: Object) -> Object:
    measure = step.measures[name]
    limits = _fillable(_embedded(Limits.model_json_schema(), definitions))
    fields = _object(limits["properties"])
    fields.pop("settings")
    fields["unit"] = {"const": measure.unit}
    fields.update({key: {"description": doc} for key, doc in measure.settings.items()})
    return {**limits, "description": f"{measure.doc} ({measure.unit})"}


def _required(step: type[Step]) -> list[str]:
    return [field.alias or name for name, field in step.model_fields.items() if field.is_required()]


def _embedded(schema: Object, definitions: Object) -> Object:
    """A model's schema with its own definitions moved to the file's."""
    definitions.update(_object(schema.pop("$defs", {})))
    return schema


def _fillable(schema: Object) -> Object:
    """The same where each property may be a placeholder."""
    fields = _object(schema.get("properties", {}))
    return {**schema, "properties": {name: {"anyOf": [field, PLACEHOLDER]} for name, field in fields.items()}}


def _object(value: Json) -> Object:
    assert isinstance(value, dict)
    return value


def _first_line(step: type[Step]) -> str:
    return (step.__doc__ or "").strip().split("\n")[0]
