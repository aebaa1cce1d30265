"""How many hops a measurement was made over."""

from __future__ import annotations

from typing import Final

import pandas as pd

from reports.points import parameter, whole_numbers

PARAMETERS: Final = ("hops", "cards", "nodes")
"""Parameters that tell the length of the chain, the most precise first."""
_DETAIL: Final = r"(?i)^(?:hops?|cards?|nodes?)[ _-]*([0-9]+)\b"


def hop_of(detail: pd.Series[str]) -> pd.Series[float]:
    """The hop that a measurement's detail names ("card 5", "hop 2 out"); NaN where it names none."""
    return pd.to_numeric(detail.str.extract(_DETAIL, expand=False), errors="coerce").astype("float64")


def hops_of(frame: pd.DataFrame) -> pd.Series[float]:
    """The detail's number ("card 5") where it has one, else the point's own parameter."""
    hops = hop_of(frame["detail"])
    for name in PARAMETERS:
        hops = hops.fillna(whole_numbers(parameter(frame, name)))
    return hops
