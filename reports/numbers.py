"""Numbers as compare and regress print them, and JSON without infinities."""

from __future__ import annotations

import json
import math

from reports.table import number_text


def value_text(value: float, unit: str) -> str:
    """A value with its unit; nanoseconds in the unit that suits them."""
    if unit == "ns":
        for size, name in ((1e9, "s"), (1e6, "ms"), (1e3, "µs")):
            if value >= size:
                return f"{number_text(value / size, 4)} {name}"
    return f"{number_text(value, 4)} {unit}"


def percent(share: float, signed: bool = True) -> str:
    """A share as per cent: +2.1 %."""
    return f"{100 * share:+.2g} %" if signed and abs(share) < 0.1 else f"{100 * share:{'+' if signed else ''}.3g} %"


def markdown_cell(text: str) -> str:
    """Text that cannot end a cell of a table or begin markup."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def json_text(content: object) -> str:
    """JSON for programs: what is no finite number is null."""
    return json.dumps(_finite(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value
