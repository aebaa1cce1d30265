"""Values with units, as people write them in files: ``60 s``, ``10 KiB``, TA1 ``96``, status word ``9000``.

Every scalar of a file is text. Each type here reads that text exactly, refuses what has no unit or the wrong one, and writes it back in its shortest
form (``model_dump(mode="json")``).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Annotated, TypeVar

from pydantic import BeforeValidator, Field, PlainSerializer, PlainValidator, WithJsonSchema

from bench.engine import Timebase
from bench.files.models import expected

T = TypeVar("T")

_TIME_UNITS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "min": 60 * 10**9,
    "h": 3600 * 10**9,
}
_SIZE_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20}
_QUANTITY = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?([A-Za-zµ]+)")
_HEX = "[0-9A-Fa-f]"


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A length of time, in whole nanoseconds."""

    ns: int

    def ticks(self, timebase: Timebase) -> int:
        """The same in ticks, exactly."""
        return timebase.nanoseconds(self.ns)

    @property
    def seconds(self) -> float:
        return self.ns / 10**9

    def __str__(self) -> str:
        if self.ns == 0:
            return "0 s"
        unit = next(unit for unit in ("s", "ms", "us", "ns") if self.ns % _TIME_UNITS[unit] == 0)
        return f"{self.ns // _TIME_UNITS[unit]} {unit}"


def _quantity(value: object, units: dict[str, int], what: str) -> int:
    match = _QUANTITY.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or match[2] not in units:
        raise expected(f"{what} (a number, a blank and one of {', '.join(dict.fromkeys(units))})")
    amount = Decimal(match[1]) * units[match[2]]
    if amount != amount.to_integral_value():
        raise expected(f"{what} without a fraction of its smallest unit")
    return int(amount)


def _once(read: Callable[[object], T], kind: type[T]) -> Callable[[object], T]:
    """A validator that leaves alone what has been read already (defaults, models made in Python)."""

    def validate(value: object) -> T:
        return value if isinstance(value, kind) else read(value)

    return validate


def _span(value: object) -> Span:
    return Span(_quantity(value, _TIME_UNITS, "a time such as '60 s' or '500 us'"))


def _size(value: object) -> int:
    return _quantity(value, _SIZE_UNITS, "a size such as '255 B' or '10 KiB'")


def _size_text(size: int) -> str:
    unit = next(unit for unit in ("MiB", "KiB", "B") if size % _SIZE_UNITS[unit] == 0)
    return f"{size // _SIZE_UNITS[unit]} {unit}" if size else "0 B"


def _hex_number(digits: int, what: str) -> Callable[[object], int]:
    form = re.compile(f"{_HEX}{{{digits}}}")

    def read(value: object) -> int:
        if not isinstance(value, str) or not form.fullmatch(value.strip()):
            raise expected(what)
        return int(value, 16)

    return read


def _hex_bytes(value: object) -> bytes:
    text = "".join(value.split()) if isinstance(value, str) else ""
    if not isinstance(value, str) or not re.fullmatch(f"(?:{_HEX}{{2}})*", text):
        raise expected("bytes in hexadecimal such as '00 A4 00 00'")
    return bytes.fromhex(text)


def _whole(value: object) -> int:
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,18}", value.strip()):
        return int(value)
    raise expected("a whole number")


def _number(value: object) -> float:
    try:
        if isinstance(value, str) and (number := Decimal(value.strip())).is_finite():
            return float(number)
    except InvalidOperation:
        pass
    raise expected("a number")


def _truth(value: object) -> bool:
    match value:
        case "true" | "yes":
            return True
        case "false" | "no":
            return False
        case _:
            raise expected("true or false")


def _line(value: object) -> str:
    if isinstance(value, str) and value.strip() and "\n" not in value.strip():
        return value.strip()
    raise expected("one line of text")


def _text_schema(pattern: str, description: str, *examples: str) -> WithJsonSchema:
    return WithJsonSchema(
        {
            "type": ["string", "integer"],
            "pattern": f"^{pattern}$",
            "description": description,
            "examples": list(examples),
        }
    )


Duration = Annotated[
    Span,
    PlainValidator(_once(_span, Span)),
    PlainSerializer(str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9.]+ ?(ns|us|µs|ms|s|min|h)$", "examples": ["60 s", "10 ms"]}),
]
"""A time with its unit; a ``Span``."""

Size = Annotated[
    int,
    PlainValidator(_once(_size, int)),
    PlainSerializer(_size_text, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9.]+ ?(B|KiB|MiB)$", "examples": ["255 B", "10 KiB"]}),
]
"""A size with its unit; bytes."""

Ta1 = Annotated[
    int,
    PlainValidator(_once(_hex_number(2, "TA1: two hexadecimal digits such as '96'"), int)),
    PlainSerializer(lambda value: f"{value:02X}", when_used="json"),
    _text_schema(f"{_HEX}{{2}}", "F and D coded as TA1 (ISO/IEC 7816-3, 8.3)", "11", "96"),
]
"""F and D, coded as TA1 of ISO/IEC 7816-3; two hexadecimal digits."""

StatusWord = Annotated[
    int,
    PlainValidator(_once(_hex_number(4, "a status word: four hexadecimal digits such as '9000' or '6A82'"), int)),
    PlainSerializer(lambda value: f"{value:04X}", when_used="json"),
    _text_schema(f"{_HEX}{{4}}", "a status word", "9000", "6A82"),
]
"""SW1 and SW2; four hexadecimal digits."""

HexBytes = Annotated[
    bytes,
    PlainValidator(_once(_hex_bytes, bytes)),
    PlainSerializer(lambda value: value.hex(" ").upper(), when_used="json"),
    _text_schema(f"(\\s*{_HEX}{{2}})*\\s*", "bytes in hexadecimal", "00 A4 00 00"),
]
"""Bytes in hexadecimal, blanks allowed between them."""

Whole = Annotated[
    int, BeforeValidator(_once(_whole, int)), Field(ge=0), WithJsonSchema({"type": "integer", "minimum": 0})
]
"""A whole number, 0 or more."""

Signed = Annotated[int, BeforeValidator(_once(_whole, int)), WithJsonSchema({"type": "integer"})]
"""A whole number, negative ones too."""

HexByte = Annotated[
    int,
    PlainValidator(_once(_hex_number(2, "a byte: two hexadecimal digits such as '0F'"), int)),
    PlainSerializer(lambda value: f"{value:02X}", when_used="json"),
    _text_schema(f"{_HEX}{{2}}", "a byte", "00", "0F"),
]
"""One byte; two hexadecimal digits."""

Count = Annotated[
    int, BeforeValidator(_once(_whole, int)), Field(ge=1), WithJsonSchema({"type": "integer", "minimum": 1})
]
"""A whole number, 1 or more."""

Number = Annotated[float, PlainValidator(_once(_number, float)), WithJsonSchema({"type": "number"})]
"""A decimal number."""

Truth = Annotated[bool, PlainValidator(_once(_truth, bool)), WithJsonSchema({"type": "boolean"})]
"""true or false (yes, no)."""

Line = Annotated[str, PlainValidator(_line), WithJsonSchema({"type": "string", "pattern": "^[^\\n]+$"})]
"""One line of text."""


_REQUIREMENT = r"[A-Z][A-Z0-9]*(-[A-Z0-9]+)*-[0-9]+"


def _requirement(value: object) -> str:
    if isinstance(value, str) and re.fullmatch(_REQUIREMENT, value):
        return value
    raise expected("an id such as 'CH-FAIR-1': capitals, digits and '-', a number at the end")


RequirementId = Annotated[
    str, PlainValidator(_requirement), WithJsonSchema({"type": "string", "pattern": f"^{_REQUIREMENT}$"})
]
"""The id of a requirement, such as CH-FAIR-1."""
