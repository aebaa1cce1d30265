"""The beginning of one point as a time line: power and answer to reset, then exchange by exchange, who held the line when.

Drawn from the records alone: the step `power_on` and the first exchanges of hop 1. Records know an exchange's beginning, end, lengths and the card's
time, not the place of every character: within an exchange the border between command and answer follows their share of the characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

import pandas as pd

from reports.arrow import frames
from reports.errors import TableError
from reports.load import Records, Run
from reports.pictures.picture import ACCUSED
from reports.points import rate_label
from reports.svg import round_ticks
from reports.table import Field, Kind, Table, table_of

MOST_EXCHANGES: Final = 6
_COLUMNS: Final = (
    "scenario", "point", "seq", "hop", "level", "start_ns", "duration_ns", "ins", "sent_bytes", "received_bytes", "sw",
    "ta1", "clock_hz", "characters", "card_ns", "reader_ns", "error", "count",
)  # fmt: skip
_POWER: Final = ("power_on", "power_up", "reset")
_WIDTH: Final = 960
_LEFT: Final = 90
_RIGHT: Final = 940
_LANES: Final = {"host": 40, "card": 88}
_HIGH: Final = 30


@dataclass(frozen=True, slots=True)
class Timeline:
    """The picture as SVG (colours are custom properties of the page), what it shows, and the same as a table."""

    sentence: str
    svg: str = ""
    table: Table | None = None


@dataclass(frozen=True, slots=True)
class _Bar:
    """Somebody holds the line from `begin` to `end` (ns)."""

    lane: str
    begin: float
    end: float
    css: str
    short: str
    long: str


def timeline(records: Records) -> Timeline:
    """The time line of one point of the first run that has exchanges: one that failed where its records lie near the beginning, else the first."""
    for run in records.runs:
        rows = _first_rows(run, records)
        if rows is not None:
            return _drawn(run, rows, records)
    return Timeline("Nothing to draw: no exchange was recorded. Every scenario that runs on a reader fills it.")


def _first_rows(run: Run, records: Records) -> pd.DataFrame | None:
    file = run.table("exchanges")
    if file is None:
        return None
    try:
        piece = next(iter(frames(file, _COLUMNS)), None)
    except TableError:
        return None  # said where exchanges are counted
    if piece is None:
        return None
    piece = piece[(piece["hop"] == 1) & (piece["duration_ns"] > 0)]
    if piece.empty:
        return None
    verdicts = records.verdicts[records.verdicts["run"] == run.label]
    bad = verdicts[verdicts["verdict"].isin(ACCUSED)]
    wanted = set(zip(bad["scenario"], bad["point"], strict=True))
    keys = [(str(scenario), str(point)) for scenario, point in zip(piece["scenario"], piece["point"], strict=True)]
    chosen = next((key for key in dict.fromkeys(keys) if key in wanted), keys[0])
    mine = piece[[key == chosen for key in keys]]
    return mine.sort_values("start_ns", kind="stable").head(MOST_EXCHANGES)


def _drawn(run: Run, rows: pd.DataFrame, records: Records) -> Timeline:
    scenario, point = str(rows["scenario"].iloc[0]), str(rows["point"].iloc[0])
    bars = [*_power(run, scenario, point, float(rows["start_ns"].iloc[0]), records), *_exchanges(rows)]
    sentence = (
        f"{scenario}, {point}, {rate_label(int(rows['ta1'].iloc[0]), int(rows['clock_hz'].iloc[0]))}: from power to the last byte of "
        f"exchange {len(rows)} of hop 1. Where command gives way to answer within an exchange is by their share of the characters."
    )
    shown = pd.DataFrame(
        {
            "side": [bar.lane for bar in bars],
            "what": [bar.long for bar in bars],
            "begin": [bar.begin / 1e6 for bar in bars],
            "ms": [(bar.end - bar.begin) / 1e6 for bar in bars],
        }
    ).round(6)
    fields = [
        Field("side", "side", Kind.CODE),
        Field("what", "what"),
        Field("begin", "begins (ms)", Kind.NUMBER),
        Field("ms", "lasts (ms)", Kind.NUMBER),
    ]
    return Timeline(sentence, _svg(bars), table_of(shown, "data-timeline", "Time line", fields, "timeline.csv"))


def _power(run: Run, scenario: str, point: str, before: float, records: Records) -> list[_Bar]:
    """Power, reset and what the terminal and the card say before the first exchange: the step that powers the card, as far as it lies before it."""
    steps = records.steps
    mine = steps[(steps["run"] == run.label) & (steps["scenario"] == scenario) & (steps["point"] == point)]
    begun = mine[mine["verb"].isin(_POWER) & (mine["began"].astype(str).str.lower() == "true")]
    if begun.empty or float(begun["time_ns"].iloc[0]) >= before:
        return []
    given = records.parameters
    atr = given[
        (given["run"] == run.label)
        & (given["scenario"] == scenario)
        & (given["point"] == point)
        & (given["name"] == "atr")
    ]["value"]
    said = f"power, reset, answer to reset{f' {atr.iloc[0]}' if len(atr) else ''} (and PPS)"
    return [_Bar("card", float(begun["time_ns"].iloc[0]), before, "power", "ATR", said)]


def _exchanges(rows: pd.DataFrame) -> list[_Bar]:
    bars = []
    for row in rows.itertuples(index=False):
        begin, whole = float(str(row.start_ns)), float(str(row.duration_ns))
        card, reader = float(str(row.card_ns)), float(str(row.reader_ns))
        sent, received = int(str(row.sent_bytes)), int(str(row.received_bytes))
        line = max(0.0, whole - card - reader)
        border = begin + line * sent / max(1, sent + received)
        unit = "block" if row.level == "block" else "command"
        ins, sw = f"{int(str(row.ins)):02X}", f"{int(str(row.sw)):04X}"
        bars.append(_Bar("host", begin, border, "command", ins, f"{unit} {ins}, {sent} bytes ({row.level})"))
        if card + reader > 0:
            what = "card and reader at work" if reader else "card at work"
            bars.append(_Bar("card", border, border + card + reader, "work", "", what))
        end = f", {row.error!s}" if str(row.error) else f", status {sw}"
        bars.append(_Bar("card", border + card + reader, begin + whole, "answer", sw, f"answer, {received} bytes{end}"))
    return bars


def _svg(bars: Sequence[_Bar]) -> str:
    begin, end = min(bar.begin for bar in bars), max(bar.end for bar in bars)
    scale = (_RIGHT - _LEFT) / ((end - begin) or 1.0)
    bits = [f'<svg viewBox="0 0 {_WIDTH} 160" role="img" aria-label="Time line; the table below has the same.">']
    for lane, y in _LANES.items():
        bits.append(f'<text x="8" y="{y + 20}">{lane}</text><path class="axis" d="M{_LEFT} {y + _HIGH}H{_RIGHT}"/>')
    for bar in bars:
        x, width = _LEFT + (bar.begin - begin) * scale, max(1.0, (bar.end - bar.begin) * scale)
        y = _LANES[bar.lane]
        bits.append(
            f'<rect class="t-{bar.css}" x="{x:.2f}" y="{y}" width="{width:.2f}" height="{_HIGH}"><title>{escape(bar.long)}</title></rect>'
        )
        if width > 9 * len(bar.short) > 0:
            bits.append(
                f'<text class="on" x="{x + width / 2:.1f}" y="{y + 20}" text-anchor="middle">{escape(bar.short)}</text>'
            )
    for tick in round_ticks(0.0, (end - begin) / 1e6):
        x = _LEFT + tick * 1e6 * scale
        bits.append(
            f'<path class="axis" d="M{x:.1f} 122v6"/><text x="{x:.1f}" y="144" text-anchor="middle">{tick:g}</text>'
        )
    bits.append('<text x="8" y="144">ms</text>')
    return "".join([*bits, "</svg>"])
