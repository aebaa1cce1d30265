"""What the explainers share: reading hexadecimal text, durations, plain-text tables, plain data for JSON.

The explanations themselves are pure functions in `explain_atr`, `explain_rates` and `explain_apdu`; each returns a
frozen dataclass with `text()`, and `to_json` turns any of them into plain data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from fractions import Fraction
from typing import Final

from bench.iso7816.errors import Iso7816Error

DEFAULT_CLOCK_HZ: Final = 3_571_200
"""Card clock at which Fd = 372 gives 9600 bit/s exactly."""

Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]


class HexError(Iso7816Error):
    """Text that is not a sequence of bytes in hexadecimal."""


def parse_hex(text: str) -> bytes:
    """Bytes from hexadecimal digits; spaces, colons, dashes and commas between them and a leading 0x are ignored.

    Raises HexError that names the first character that does not belong, or says that a digit is missing.
    """
    stripped = text.strip()
    skip = 2 if stripped[:2].lower() == "0x" else 0
    digits: list[str] = []
    for at, character in enumerate(stripped[skip:], start=skip + 1):
        if character in " \t\r\n:-,":
            continue
        if character not in "0123456789abcdefABCDEF":
            raise HexError(f"character {at} is {character!r}; give bytes as hexadecimal digits, such as 3B 95 80")
        digits.append(character)
    if not digits:
        raise HexError("no bytes; give them as hexadecimal digits, such as 3B 95 80")
    if len(digits) % 2:
        raise HexError(f"{len(digits)} hexadecimal digits; a byte has two, so one digit is missing or too many")
    return bytes.fromhex("".join(digits))


def to_hex(data: bytes) -> str:
    """Bytes as the field writes them: 3B 95 80."""
    return data.hex(" ").upper()


@dataclass(frozen=True, slots=True)
class ByteNote:
    """One byte (or field) explained: 1-based position, name, hexadecimal value, meaning, clause."""

    position: int
    name: str
    value: str
    meaning: str
    clause: str


@dataclass(frozen=True, slots=True)
class Duration:
    """A named time: exact clock cycles, the same in etu of the rate in use, and in seconds at the given card clock."""

    name: str
    cycles: Fraction
    etu: Fraction
    seconds: float
    meaning: str
    clause: str

    @staticmethod
    def of(name: str, cycles: Fraction, etu_cycles: Fraction, clock_hz: int, meaning: str, clause: str) -> Duration:
        """From exact clock cycles."""
        return Duration(name, cycles, cycles / etu_cycles, float(cycles / clock_hz), meaning, clause)

    def row(self) -> tuple[str, ...]:
        """Cells for `table`."""
        return (
            self.name,
            f"{number(self.cycles)} clk",
            f"{number(self.etu)} etu",
            f"{seconds(self.seconds)}",
            self.meaning,
            self.clause,
        )


def number(value: Fraction) -> str:
    """At most four decimals, none where it is whole."""
    return f"{value.numerator}" if value.denominator == 1 else f"{float(value):.4f}".rstrip("0").rstrip(".")


def seconds(value: float) -> str:
    """Seconds in the unit that suits: s, ms or µs."""
    if value >= 1:
        return f"{value:.3f} s"
    return f"{value * 1e3:.3f} ms" if value >= 1e-3 else f"{value * 1e6:.3f} µs"


def table(rows: Sequence[Sequence[str]], *, indent: str = "  ") -> str:
    """Rows as left-aligned columns, a line each."""
    if not rows:
        return ""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(indent + line for line in lines)


def to_json(value: object) -> Json:
    """Plain data for JSON: dataclasses by field, enums by name, a whole Fraction as an integer, another as "n/d"."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, Fraction):
        return value.numerator if value.denominator == 1 else f"{value.numerator}/{value.denominator}"
    if isinstance(value, bytes):
        return to_hex(value)
    if isinstance(value, tuple | list):
        return [to_json(item) for item in value]
    if value is None or isinstance(value, str | int | float):
        return value
    raise TypeError(f"{type(value).__name__} has no JSON form here")
