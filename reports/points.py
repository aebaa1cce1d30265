"""The parameters of every point beside its measurements: what pictures are drawn against."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Final

import pandas as pd

from bench.iso7816.errors import RateError
from bench.iso7816.rates import Rate
from reports.load import Records

POINT: Final = ["run", "scenario", "point"]
MOST_SERIES: Final = 8
"""A picture tells at most this many series apart; the palette has as many."""

LONGEST_SERIES: Final = 48
"""Characters of a series' name; a longer one loses its middle."""

_CLOCK_UNITS: Final = {"": 1, "hz": 1, "khz": 1_000, "mhz": 1_000_000}


def parameters_wide(records: Records) -> pd.DataFrame:
    """One row a point, one text column a parameter; a point without some parameter has an empty text there."""
    long = records.parameters
    if long.empty:
        return pd.DataFrame({name: pd.Series(dtype="object") for name in POINT})
    once = long.drop_duplicates([*POINT, "name"], keep="last")
    wide = once.pivot(index=POINT, columns="name", values="value").fillna("").reset_index()
    wide.columns.name = None
    return wide


def swept_names(records: Records) -> tuple[str, ...]:
    """Names of the parameters that some sweep chose."""
    swept = records.parameters["swept"].astype(str).str.lower() == "true"
    return tuple(sorted({str(name) for name in records.parameters.loc[swept, "name"]}))


def with_parameters(measurements: pd.DataFrame, records: Records) -> pd.DataFrame:
    """Measurements with their point's parameters as columns named `p_…`, and whether the verdict accuses anyone."""
    wide = parameters_wide(records)
    renamed = wide.rename(columns={name: f"p_{name}" for name in wide.columns if name not in POINT})
    joined = measurements.merge(renamed, on=POINT, how="left")
    for column in joined.columns:
        if column.startswith("p_"):
            joined[column] = joined[column].fillna("").astype(str)
    return joined


def parameter(frame: pd.DataFrame, name: str) -> pd.Series[str]:
    """The text of parameter `name` for each row, empty where the point has none."""
    column = f"p_{name}"
    return frame[column] if column in frame.columns else pd.Series("", index=frame.index, dtype="object")


def whole_numbers(texts: pd.Series[str]) -> pd.Series[float]:
    """Texts such as "64" or "64 B" as numbers, NaN for others."""
    return pd.to_numeric(texts.str.extract(r"^\s*([0-9]+)(?:\s*[A-Za-z]*)\s*$", expand=False), errors="coerce").astype(
        "float64"
    )


def ta1_code(text: str) -> int | None:
    """A TA1 as scenarios write it, two hexadecimal digits; None for anything else."""
    found = re.fullmatch(r"\s*(?:0[xX])?([0-9A-Fa-f]{2})\s*", text)
    return int(found[1], 16) if found else None


def clock_hz(text: str) -> int | None:
    """A card clock as scenarios write it: 3571200, or 3.5712 MHz; None for anything else."""
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kM]?Hz|)\s*", text, re.IGNORECASE)
    if not found:
        return None
    hz = Fraction(found[1]) * _CLOCK_UNITS[found[2].lower()]
    return int(hz) if hz > 0 and hz.denominator == 1 else None


def baud(ta1: int | None, clock: int | None) -> float | None:
    """Bits per second, None where the rate is reserved or not known."""
    if ta1 is None or clock is None:
        return None
    try:
        return float(Rate(ta1).baud(clock))
    except RateError:
        return None


def rate_label(ta1: int, clock: int) -> str:
    """Such as `ta1 96 @ 3.5712 MHz (223 200 Bd)`."""
    speed = baud(ta1, clock)
    said = f"{speed:,.0f} Bd".replace(",", "\u202f") if speed is not None else "no such rate"
    return f"ta1 {ta1:02X} @ {clock / 1e6:.10g} MHz ({said})"


def add_rate(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns `baud` (NaN where not known) and `rate` (its label, empty where not known) from ta1 and clock_hz."""
    codes = [ta1_code(text) for text in parameter(frame, "ta1")]
    clocks = [clock_hz(text) for text in parameter(frame, "clock_hz")]
    pairs = list(zip(codes, clocks, strict=True))
    return frame.assign(
        baud=pd.Series([baud(*pair) for pair in pairs], index=frame.index, dtype="float64"),
        rate=[rate_label(code, clock) if code is not None and clock is not None else "" for code, clock in pairs],
    )


def add_series(frame: pd.DataFrame, candidates: Sequence[str]) -> pd.DataFrame:
    """A column `series`: the values of those candidate columns that differ, added while at most MOST_SERIES are told apart.

    What tells nothing more apart than the columns before it is left out, and long names are cut in the middle: a legend is read, not parsed.
    """
    label = pd.Series("", index=frame.index, dtype="object")
    for column in dict.fromkeys(candidates):
        if column not in frame.columns or frame[column].nunique() < 2:
            continue
        text = _short(column, frame[column].fillna("").astype(str))
        extended = text.where(label == "", label + " · " + text).where(text != "", label)
        if label.nunique() < extended.nunique() <= MOST_SERIES:
            label = extended
    return frame.assign(series=_cut(label.where(label != "", "all points")))


def _short(column: str, text: pd.Series[str]) -> pd.Series[str]:
    """A column's values as parts of a series' name: numbers with what they count, scenarios without their folder, rates by their speed."""
    if column == "scenario":
        bare = text.str.rpartition("/")[2]
        return bare if bare.nunique() == text.nunique() else text
    if column == "rate":
        speed = text.str.extract(r"\((.*)\)", expand=False).fillna(text)
        return speed if speed.nunique() == text.nunique() else text
    named = column.startswith("p_") and text.str.match(r"^[0-9.]*$").all()
    return text.where(text == "", column.removeprefix("p_").replace("_", " ") + " " + text) if named else text


def _cut(label: pd.Series[str]) -> pd.Series[str]:
    cut = label.where(label.str.len() <= LONGEST_SERIES, label.str.slice(0, 27) + "…" + label.str.slice(-20))
    return cut if cut.nunique() == label.nunique() else label
