"""The beginning of one point as a time line: power and answer to reset, then exchange by exchange, who held the line when.

One picture for each run, stack and protocol. Drawn from the records: the step `power_on` and the first exchanges of hop 1. They know an exchange's
beginning, end, lengths and the card's time, not the place of every character: within an exchange the border between command and answer follows their
share of the characters. Where the run kept the line's waveform the characters are drawn as well (`reports.characters`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

import pandas as pd

from bench.observe import Verdict
from reports.characters import Heard, character_svg, character_table, characters, waveform_of
from reports.duck import first_exchanges
from reports.errors import TableError
from reports.load import Records, Run
from reports.pictures.picture import ACCUSED
from reports.points import POINT, parameters_wide, rate_label
from reports.svg import round_ticks
from reports.table import Field, Kind, Table, table_of

MOST_EXCHANGES: Final = 6
MOST_TIMELINES: Final = 8
MOST_TRIED: Final = 4
"""Points of one sort that are looked up for a time line."""
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
    name: str = ""
    """Which of several it is: run, stack and protocol."""
    characters: str = ""
    """The characters to the end of the first exchange as SVG; empty where the run kept no waveform of the point."""
    character_table: Table | None = None

    @property
    def tables(self) -> tuple[Table, ...]:
        return tuple(table for table in (self.table, self.character_table) if table is not None)


@dataclass(frozen=True, slots=True)
class _Bar:
    """Somebody holds the line from `begin` to `end` (ns)."""

    lane: str
    begin: float
    end: float
    css: str
    short: str
    long: str


def timelines(records: Records) -> tuple[Timeline, ...]:
    """A time line for each run, stack and protocol that has exchanges, of a point that failed before others; those first that show a failure."""
    drawn: list[tuple[bool, Timeline]] = []
    kinds = _kinds(records)
    for run in records.runs:
        file = run.table("exchanges")
        mine = {kind: keys for kind, keys in kinds.items() if kind.run == run.label}
        if file is None or not mine:
            continue
        verdicts = records.verdicts[records.verdicts["run"] == run.label]
        bad = verdicts[verdicts["verdict"].isin(ACCUSED)]
        accused = set(zip(bad["scenario"], bad["point"], strict=True))
        wanted = {kind: _candidates(run, keys, accused) for kind, keys in mine.items()}
        try:
            rows = first_exchanges(file, [key for keys in wanted.values() for key in keys], _COLUMNS, MOST_EXCHANGES)
        except TableError:
            continue  # said where exchanges are counted
        known = {(str(key[0]), str(key[1])): piece for key, piece in rows.groupby(["scenario", "point"], sort=False)}
        for kind, keys in wanted.items():
            chosen = next((key for key in keys if key in known), None)
            if chosen is not None:
                number = len(drawn) + 1
                name = kind.name if len(records.runs) == 1 else f"{run.label} {kind.name}".strip()
                drawn.append((chosen not in accused, _drawn(run, known[chosen], records, name, number)))
            if len(drawn) == MOST_TIMELINES:
                break
    if not drawn:
        return (Timeline("Nothing to draw: no exchange was recorded. Every scenario that runs on a reader fills it."),)
    return tuple(each for _, each in sorted(drawn, key=lambda pair: pair[0]))


@dataclass(frozen=True, slots=True)
class _Kind:
    """What has a time line of its own."""

    run: str
    stack: str
    protocol: str

    @property
    def name(self) -> str:
        return ", ".join(word for word in (self.stack and f"stack {self.stack}", self.protocol) if word)


def _kinds(records: Records) -> dict[_Kind, list[tuple[str, str]]]:
    """The points that were judged, by kind, in their order."""
    wide = parameters_wide(records)
    told = {
        tuple(map(str, key)): tuple(map(str, values))
        for key, values in zip(
            wide[POINT].itertuples(index=False, name=None),
            wide.reindex(columns=["stack", "protocol"], fill_value="").itertuples(index=False, name=None),
            strict=True,
        )
    }
    kinds: dict[_Kind, list[tuple[str, str]]] = {}
    judged = records.verdicts[records.verdicts["verdict"] != str(Verdict.NOT_APPLICABLE)]
    for run, scenario, point in judged[POINT].astype(str).itertuples(index=False, name=None):
        stack, protocol = told.get((run, scenario, point), ("", ""))
        kinds.setdefault(_Kind(run, stack, protocol), []).append((scenario, point))
    return kinds


def _candidates(run: Run, keys: Sequence[tuple[str, str]], accused: set[tuple[str, str]]) -> list[tuple[str, str]]:
    """Points to try, best first: what failed, what has its characters, then the first of each scenario."""
    failed = [key for key in keys if key in accused][:MOST_TRIED]
    heard = [key for key in keys if waveform_of(run.path, *key) is not None][:MOST_TRIED]
    firsts = list({scenario: (scenario, point) for scenario, point in reversed(keys)}.values())[::-1][:MOST_TRIED]
    return list(dict.fromkeys([*failed, *heard, *firsts]))


def _drawn(run: Run, rows: pd.DataFrame, records: Records, name: str, number: int) -> Timeline:
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
    which = "" if number == 1 else f"-{number}"
    table = table_of(shown, f"data-timeline{which}", "Time line", fields, f"timeline{which}.csv")
    heard = _heard(run, scenario, point, rows)
    if not heard:
        return Timeline(sentence, _svg(bars), table, name)
    begin = min(bar.begin for bar in bars)
    csv = f"timeline-characters{which}.csv"
    listed = character_table(heard, begin, f"data-characters{which}", csv)
    return Timeline(sentence, _svg(bars), table, name, character_svg(heard, begin), listed)


def _heard(run: Run, scenario: str, point: str, rows: pd.DataFrame) -> tuple[Heard, ...]:
    """The characters to the end of the first exchange, where the run kept them."""
    file = waveform_of(run.path, scenario, point)
    if file is None:
        return ()
    first = rows.iloc[0]
    return characters(file, int(first["clock_hz"]), float(first["start_ns"]) + float(first["duration_ns"]))


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
    bits = [f'<svg viewBox="0 28 {_WIDTH} 128" role="img" aria-label="Time line; the table below has the same.">']
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
