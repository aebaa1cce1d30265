"""What a report says of how sure its times and values are: clock, calibration, half-widths."""

from __future__ import annotations

from collections.abc import Iterable

from bench.rig.calibration import Calibration, Series, summary
from reports.certificate.document import Block, Column, Grid, Kind, Section, Text
from reports.certificate.tested import Tested
from reports.table import number_text


def calibration_text(tested: Tested) -> str:
    """The calibrations in a line, or why there is none."""
    if not tested.calibrations:
        return "none: the line is virtual" if tested.timing.virtual else tested.calibration_note or "none"
    return "; ".join(f"T={each.protocol}, {each.date}, {each.reader}" for each in tested.calibrations)


def uncertainty(tested: Tested) -> Section:
    """The section on measurement uncertainty (ISO/IEC 17025:2017, 7.8.3.1 c)."""
    timing = tested.timing
    said: list[Block] = []
    if timing.virtual:
        said.append(
            Text(
                "Times are those of a virtual clock: whole ticks, of which every nanosecond and every cycle of the card clock is a whole number. "
                "They come with "
                "no uncertainty of their own; in the records they are rounded to the nanosecond."
            )
        )
    else:
        step = f"{number_text(timing.step_ns)} ns" if timing.step_ns else "not to be told from so few exchanges"
        said.append(
            Text(
                f"Times are those of the host's monotonic clock; step of the recorded durations: {step}. They include what host and driver take."
            )
        )
        said.append(Text(_calibrated(tested)))
    if tested.calibrations:
        said.append(_calibration_grid(tested.calibrations))
    rough = tuple(each for each in tested.resolutions if each.largest > 0)
    exact = len(tested.resolutions) - len(rough)
    said.append(
        Text(
            f"Values of {exact} kinds came with no uncertainty stated (counts, and whatever is measured in virtual time)."
        )
    )
    if not rough:
        return Section("Measurement uncertainty", tuple(said))
    said.append(
        Text(
            "The half-width that each other kind of value came with, which the decision rule uses (largest of the run, in the value's unit):"
        )
    )
    said.append(
        Grid(
            (
                Column("measured", 4, Kind.CODE),
                Column("unit", 3),
                Column("values", 1, Kind.NUMBER),
                Column("largest ±", 2, Kind.NUMBER),
            ),
            tuple((each.name, each.unit, number_text(each.values), f"{each.largest:.6g}") for each in rough),
        )
    )
    return Section("Measurement uncertainty", tuple(said))


def _calibrated(tested: Tested) -> str:
    timing = tested.timing
    if not timing.calibrated:
        return "The reader was not calibrated: its own time cannot be told from the card's, and no uncertainty of the card's time is stated."
    return (
        f"Of {number_text(timing.exchanges)} exchanges {number_text(timing.calibrated)} are divided by the reader's calibration; "
        f"reader and card time are known "
        f"to within ± {number_text(timing.largest_ns)} ns (half-width that holds 95 of 100 single exchanges, as calibrated)."
    )


def _calibration_grid(calibrations: Iterable[Calibration]) -> Grid:
    columns = (
        Column("calibrated", 2),
        Column("command", 3, Kind.CODE),
        Column("rounds", 1, Kind.NUMBER),
        Column("median (µs)", 1, Kind.NUMBER),
        Column("interval of the median (µs)", 2, Kind.NUMBER),
        Column("95 of 100 within ± (µs)", 2, Kind.NUMBER),
    )
    rows = tuple(_series(each, series) for each in calibrations for series in each.series)
    return Grid(columns, rows)


def _series(calibration: Calibration, series: Series) -> tuple[str, ...]:
    found = summary(series.times_ns)
    return (
        f"T={calibration.protocol}, {calibration.date}",
        series.command,
        str(found.count),
        f"{found.median_ns / 1000:.1f}",
        f"{found.low_ns / 1000:.1f} to {found.high_ns / 1000:.1f} ({found.coverage:.1%})",
        f"{found.spread_ns / 1000:.1f}",
    )
