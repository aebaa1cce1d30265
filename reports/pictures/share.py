"""Share of the limit against rate, MTU, channels and hops: measurements in `percent_of_limit`."""

from __future__ import annotations

from typing import Final

import pandas as pd

from reports.charts import Axis, Mark
from reports.load import Records
from reports.pictures import against
from reports.pictures.hops import hops_of
from reports.pictures.picture import Picture
from reports.points import add_rate, parameter, whole_numbers, with_parameters

UNIT: Final = "percent_of_limit"
_SHARE: Final = against.Quantity(
    "share",
    "Share of the limit",
    Axis("value", "share of the limit (%)"),
    "%",
    f"in {UNIT}",
    Mark(100.0, "the limit"),
)


def select(records: Records) -> pd.Series[bool]:
    """Which measurements these pictures show."""
    return (records.measurements["unit"] == UNIT) & records.measurements["value"].notna()


def pictures(records: Records) -> tuple[Picture, ...]:
    """Against rate, MTU, channels, hops."""
    frame = places(with_parameters(records.measurements[select(records)], records))
    frame = frame.assign(value=frame["value"].astype("float64"))
    axes = (against.RATE, against.MTU, against.CHANNELS, against.HOPS)
    return tuple(against.picture(frame, _SHARE, axis, records) for axis in axes)


def places(frame: pd.DataFrame) -> pd.DataFrame:
    """Measurements with their parameters, and where they stand on every axis: baud, mtu, channels, hops."""
    frame = add_rate(frame)
    frame = frame.assign(
        mtu=whole_numbers(parameter(frame, "mtu")),
        channels=whole_numbers(parameter(frame, "channels")),
        hops=hops_of(frame),
    )
    return frame.assign(mtu_text=[f"{mtu:.0f} bytes" if mtu == mtu else "" for mtu in frame["mtu"]])
