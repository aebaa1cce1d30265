"""Any observation, made from the classes themselves."""

from dataclasses import fields
from typing import get_type_hints

from hypothesis import strategies as st

from bench.observe import Observation
from bench.records.columns import TABLES, UNSIGNED_FIELDS, Table
from tests.records.samples import TIMEBASE

_INT64 = st.integers(-(2**63), 2**63 - 1)
_TICKS = st.integers(0, (2**62) * (TIMEBASE.hz // 10**9))


def _values(name: str, annotation: object) -> st.SearchStrategy[object]:
    if annotation is bytes:
        return st.binary(max_size=300)
    if annotation is bool:
        return st.booleans()
    if annotation is int:
        if name in UNSIGNED_FIELDS:
            return st.integers(0, 2**64 - 1)
        return _TICKS if name.endswith("_ticks") else _INT64
    if annotation is float:
        return st.floats(allow_nan=False)
    if annotation == float | None:
        return st.none() | st.floats(allow_nan=False)
    if annotation is str:
        return st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    assert isinstance(annotation, type)
    return st.sampled_from(list(annotation))  # type: ignore[call-overload]


def any_of(table: Table) -> st.SearchStrategy[Observation]:
    """Any observation of a table, in every value its class allows."""
    hints = get_type_hints(table.observed)
    return st.builds(table.observed, **{f.name: _values(f.name, hints[f.name]) for f in fields(table.observed)})


any_observation = st.one_of([any_of(table) for table in TABLES if table.name != "verdicts"])
any_verdict = any_of(TABLES[-1])
