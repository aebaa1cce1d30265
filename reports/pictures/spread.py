"""How latencies are distributed: the share of all values that is at most so long, a curve a measured name."""

from __future__ import annotations

from typing import Final

import pandas as pd

from reports.charts import Axis, Row, legend, steps
from reports.load import Records
from reports.pictures.latency import MILLISECONDS, select_any
from reports.pictures.picture import Picture
from reports.points import MOST_SERIES
from reports.table import Field, Kind, cell_of, number_text, table_of

QUANTILES: Final = ((0.0, "lowest"), (0.25, "25 %"), (0.5, "median"), (0.75, "75 %"), (0.95, "95 %"), (1.0, "highest"))


def picture(records: Records) -> Picture:
    """The distribution of every latency that was measured, by name."""
    title, id = "Distribution of latencies", "latency-distribution"
    frame = records.measurements[select_any(records)]
    frame = frame.assign(ms=frame["value"].astype("float64") * frame["unit"].map(MILLISECONDS).astype("float64"))
    frame = frame[frame["ms"] > 0]
    if frame.empty:
        return Picture(id, title, "Nothing to draw: no latency was measured. Scenarios that time round trips fill it.")
    counts = frame["name"].value_counts()
    drawn = frame[frame["name"].isin(counts.index[:MOST_SERIES])]
    rows: list[Row] = []
    for name, values in drawn.groupby("name", sort=True)["ms"]:
        ordered = sorted(values.tolist())
        rows += [
            {"series": str(name), "ms": value, "share": 100.0 * place / len(ordered)}
            for place, value in enumerate(ordered, 1)
        ]
    grouped = frame.groupby("name", sort=True)["ms"]
    table = pd.DataFrame({"count": grouped.size(), **{label: grouped.quantile(share) for share, label in QUANTILES}})
    table = table.reset_index()
    fields = [
        Field("name", "measured", Kind.CODE),
        Field("count", "values", Kind.NUMBER),
        *(Field(label, f"{label} (ms)", Kind.NUMBER) for _, label in QUANTILES),
    ]
    middle = cell_of(float(frame["ms"].median()))
    names = "1 name" if len(counts) == 1 else f"{len(counts)} names"
    sentence = (
        f"{len(frame)} latencies under {names}, half of them below {number_text(float(middle or 0), 4)} ms. "
        "A curve tells what share of the values is at most so long."
    )
    specification = steps(
        rows,
        Axis("ms", "latency (ms)", log=True),
        Axis("share", "at most so long (% of values)"),
        [("series", "measured"), ("ms", "ms"), ("share", "% of values")],
    )
    return Picture(
        id, title, sentence, specification, table_of(table, f"data-{id}", title, fields, f"{id}.csv"), legend(rows)
    )
