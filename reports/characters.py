"""The characters of a beginning, one by one, from the VCD of the I/O line that `cardbench run --waveforms` kept of the point.

As many as a page can show: from the answer to reset to the last one of the first exchange, without the middle of a long one. What a waveform cannot
be followed to is not drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import islice
from pathlib import Path
from typing import Final

import pandas as pd

from bench.files.mistakes import FileError
from bench.iso7816.captured import CaptureJudge
from bench.iso7816.errors import Iso7816Error
from bench.iso7816.session import Follower, Phase, SessionError, Side
from bench.iso7816.timing_rules import TimingConditions
from bench.records.vcd import read_vcd
from bench.records.waveform import Calibration
from bench.scenario.waveforms import WAVEFORMS
from reports.svg import round_ticks
from reports.table import Field, Kind, Table, table_of

IN_A_ROW: Final = 24
FIRST: Final = 3 * IN_A_ROW
LAST: Final = IN_A_ROW
"""Of a long exchange the first and the last characters are drawn."""
_MOST_HEARD: Final = 600
"""The longest exchange that is followed to its end: 255 data bytes either way and what goes with them."""
_MOST_LINES: Final = 20_000
"""Lines of a VCD that are read: a character has ten at most, and a page shows a hundred."""
_WIDTH: Final = 960
_LEFT: Final = 90
_RIGHT: Final = 940
_LANES: Final = {Side.TERMINAL: 8, Side.CARD: 40}
_HIGH: Final = 26
_ROW: Final = 108
_CSS: Final = {Phase.ATR: "power", Phase.PPS: "work"}


@dataclass(frozen=True, slots=True)
class Heard:
    """One character on the line; times in ns since the point began. `end` is ten etu after its leading edge."""

    number: int
    """Its place on the line, from 1."""
    side: Side
    phase: Phase
    value: int
    begin: float
    end: float
    gap: float | None
    """From the leading edge of the one before, in etu."""


def waveform_of(run: Path, scenario: str, point: str) -> Path | None:
    """The VCD of hop 1 of a point, None where the run kept none."""
    file = run / WAVEFORMS / scenario / f"{point}-hop-1.vcd"
    return file if file.is_file() else None


def characters(file: Path, clock_hz: int, until: float) -> tuple[Heard, ...]:
    """The characters that begin up to `until` (ns), the first and the last of many; none where the file is no line of `clock_hz`."""
    found: list[Heard] = []
    try:
        for one in _heard(file, clock_hz):
            if one.begin > until:
                break
            if len(found) == _MOST_HEARD:
                return tuple(found[:FIRST])
            found.append(one)
    except (FileError, Iso7816Error, SessionError, OSError, ValueError):
        return tuple(found[:FIRST])  # what was heard up to there is true all the same
    return tuple(found) if len(found) <= FIRST + LAST else (*found[:FIRST], *found[-LAST:])


def _heard(file: Path, clock_hz: int) -> Iterator[Heard]:
    with file.open(encoding="utf-8") as lines:
        waveform = read_vcd(file, islice(lines, _MOST_LINES))
    conditions = TimingConditions(clock_hz, waveform.hz, Calibration().uncertainty(waveform))
    ns = 1e9 / waveform.hz
    before: float | None = None
    for number, heard in enumerate(CaptureJudge(waveform.lines(), conditions, Follower()).heard(), 1):
        character = heard.character
        if character.side is None:
            return
        etu = float(conditions.etu(character.rate)) * ns
        begin = character.start * ns
        gap = None if before is None else (begin - before) / etu
        yield Heard(number, character.side, character.phase, character.value, begin, begin + 10 * etu, gap)
        before = begin


def character_table(found: Sequence[Heard], origin: float, id: str, csv: str) -> Table:
    """The characters as a table; times from `origin` (ns), gaps from leading edge to leading edge in the character's own etu."""
    frame = pd.DataFrame(
        {
            "number": [one.number for one in found],
            "side": [str(one.side) for one in found],
            "phase": [str(one.phase) for one in found],
            "byte": [f"{one.value:02X}" for one in found],
            "begin": [round((one.begin - origin) / 1e6, 5) for one in found],
            "gap": [None if one.gap is None else round(one.gap, 2) for one in found],
        }
    )
    fields = [
        Field("number", "no.", Kind.NUMBER),
        Field("side", "sent by", Kind.CODE),
        Field("phase", "phase", Kind.CODE),
        Field("byte", "byte", Kind.CODE),
        Field("begin", "begins (ms)", Kind.NUMBER),
        Field("gap", "after the one before (etu)", Kind.NUMBER),
    ]
    return table_of(frame, id, "Characters", fields, csv)


def character_svg(found: Sequence[Heard], origin: float) -> str:
    """Rows of characters, each row to its own scale; axes in ms since `origin` (ns)."""
    rows = [found[place : place + IN_A_ROW] for place in range(0, len(found), IN_A_ROW)]
    label = f"{len(found)} characters on the line; the table below has the same."
    bits = [f'<svg viewBox="0 0 {_WIDTH} {_ROW * len(rows)}" role="img" aria-label="{label}">']
    for place, row in enumerate(rows):
        bits += _row(row, _ROW * place, origin)
    return "".join([*bits, "</svg>"])


def _row(row: Sequence[Heard], top: int, origin: float) -> Iterator[str]:
    begin, end = row[0].begin, max(one.end for one in row)
    scale = (_RIGHT - _LEFT) / (end - begin)
    for side, y in _LANES.items():
        yield f'<text x="8" y="{top + y + 18}">{"host" if side is Side.TERMINAL else side}</text>'
        yield f'<path class="axis" d="M{_LEFT} {top + y + _HIGH}H{_RIGHT}"/>'
    for one in row:
        x, width = _LEFT + (one.begin - begin) * scale, max(1.0, (one.end - one.begin) * scale)
        y = top + _LANES[one.side]
        css = _CSS.get(one.phase, "answer" if one.side is Side.CARD else "command")
        told = escape(f"{one.side}, {one.phase}: {one.value:02X} at {(one.begin - origin) / 1e6:.4f} ms")
        yield f'<rect class="t-{css}" x="{x:.2f}" y="{y}" width="{width:.2f}" height="{_HIGH}"><title>{told}</title></rect>'
        if width > 19:
            yield f'<text class="on" x="{x + width / 2:.1f}" y="{y + 18}" text-anchor="middle">{one.value:02X}</text>'
    first, last = (begin - origin) / 1e6, (end - origin) / 1e6
    for tick in round_ticks(first, last):
        if first <= tick <= last:
            x = _LEFT + (tick - first) * 1e6 * scale
            yield f'<path class="axis" d="M{x:.1f} {top + 72}v5"/><text x="{x:.1f}" y="{top + 92}" text-anchor="middle">{tick:g}</text>'
    yield f'<text x="8" y="{top + 92}">ms</text>'
