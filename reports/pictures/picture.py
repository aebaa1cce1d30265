"""What every picture consists of, and the columns most of their tables share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from bench.observe import Verdict
from reports.charts import LegendEntry, Row
from reports.table import Field, Kind, Table, cell_of

ACCUSED = (str(Verdict.FAIL), str(Verdict.ERROR))


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of the page. Without `specification` there was nothing to draw, and `sentence` says which scenarios would fill it."""

    id: str
    title: str
    sentence: str
    specification: str = ""
    table: Table | None = None
    legend: tuple[LegendEntry, ...] = ()


def rows_of(frame: pd.DataFrame, fields: Sequence[str]) -> list[Row]:
    """The data of a picture: `fields` as they are, and `accused` where a verdict says fail or error."""
    columns = {name: [cell_of(value) for value in frame[name].tolist()] for name in fields}
    if "verdict" in frame.columns:
        columns["accused"] = [str(word) in ACCUSED for word in frame["verdict"]]
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def fields_of(named: Sequence[tuple[str, str, Kind]], runs: int) -> list[Field]:
    """Columns of a data table; the run comes first where there are several."""
    first = [Field("run", "run", Kind.CODE)] if runs > 1 else []
    return [*first, *(Field(*column) for column in named)]
