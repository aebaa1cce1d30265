"""Where the time of an exchange goes at each rate: reader, line, card and what could not be divided, as bars; the bench's own time on top."""

from __future__ import annotations

from typing import Final

import pandas as pd

from reports.charts import Axis, Row, legend, stacked
from reports.exchanges import ExchangeStatistics
from reports.parts import parts_table
from reports.pictures.picture import Picture
from reports.points import baud
from reports.table import number_text

MOST_ROWS: Final = 16
PARTS: Final = ("line", "card", "reader", "undivided", "bench")


def picture(statistics: ExchangeStatistics) -> Picture:
    """A bar a level and rate, its parts the means of an exchange in milliseconds: the rates with most exchanges."""
    title, id = "Time of an exchange: host, reader, line, card", "time-split"
    parts = statistics.parts
    if parts.empty:
        return Picture(
            id, title, "Nothing to draw: no exchange was recorded. Every scenario that runs on a reader fills it."
        )
    table = parts_table(parts)
    frame = pd.DataFrame(list(table.rows), columns=pd.Index([field.name for field in table.fields]))
    speeds = [baud(int(ta1), int(clock)) or 0.0 for ta1, clock in zip(parts["ta1"], parts["clock_hz"], strict=True)]
    named = [
        name for name in ("run", "rate", "level") if name == "rate" or (name in frame and frame[name].nunique() > 1)
    ]
    frame = frame.assign(baud=speeds, label=[" @ ".join(map(str, row)) for row in frame[named].itertuples(index=False)])
    drawn = frame.nlargest(MOST_ROWS, "count", keep="first").sort_values(["baud", "label"], kind="stable")
    columns = {"line": "line", "card": "card", "reader": "reader", "undivided": "undivided", "bench": "host"}
    rows: list[Row] = [
        {"label": str(row["label"]), "series": part, "part": place, "ms": float(row[columns[part]]) / 1000}
        for row in drawn.to_dict("records")
        for place, part in enumerate(PARTS)
        if float(row[columns[part]] or 0) > 0
    ]
    total = {part: float((frame[columns[part]] * frame["count"]).sum()) for part in PARTS}
    whole = sum(total.values()) or 1.0
    shares = ", ".join(f"{part} {number_text(100 * total[part] / whole, 3)} %" for part in PARTS if total[part] > 0)
    sentence = f"Over all exchanges that ended well: {shares or 'no time at all'}."
    if len(drawn) < len(frame):
        sentence += f" The {len(drawn)} rates with most exchanges are drawn; all {len(frame)} are in the table Where the time goes."
    if not rows:
        return Picture(id, title, sentence + " Nothing to draw. Scenarios that run on a reader with a clock fill it.")
    specification = stacked(
        rows,
        Axis("ms", "share of an exchange"),
        "label",
        [str(label) for label in drawn["label"]],
        [("label", "rate"), ("series", "part"), ("ms", "ms of an exchange")],
    )
    return Picture(id, title, sentence, specification, None, legend(rows))
