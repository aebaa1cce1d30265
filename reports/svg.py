"""Two plain pictures as SVG files of their own: intervals one below another, and curves. (The page's pictures are `reports.charts`.)"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

COLOURS: Final = ("#1f6fb2", "#b3261e", "#3a7d34", "#7a4fa3", "#8a5a00", "#00707a")
_GREY: Final = "#767676"
_FONT: Final = 'font-family="sans-serif" font-size="12"'


@dataclass(frozen=True, slots=True)
class Bar:
    """A value with its interval; a strong one is drawn in colour."""

    label: str
    value: float
    low: float
    high: float
    strong: bool


@dataclass(frozen=True, slots=True)
class Curve:
    """Points to be joined."""

    label: str
    points: tuple[tuple[float, float], ...]
    dashed: bool = False


def forest(title: str, unit: str, bars: Sequence[Bar]) -> str:
    """Intervals one below another about a line at 0."""
    left, width, row = 330, 420, 22
    low = min([0.0, *(bar.low for bar in bars)])
    high = max([0.0, *(bar.high for bar in bars)])
    span = (high - low) or 1.0
    height = 60 + row * len(bars)

    def x(value: float) -> float:
        return left + width * (value - low) / span

    bits = [_open(left + width + 30, height + 20), _text(10, 22, title, "start", 14)]
    ticks = round_ticks(low, high)
    for tick in ticks:
        bits.append(f'<path d="M{x(tick):.1f} 36V{height - 20}" stroke="{"#333" if tick == 0 else "#ddd"}"/>')
        bits.append(_text(x(tick), height - 4, f"{tick:g}{unit}", "middle"))
    for place, bar in enumerate(bars):
        y = 50 + row * place
        colour = COLOURS[0] if bar.strong else _GREY
        bits.append(_text(left - 10, y + 4, bar.label[-52:], "end"))
        bits.append(f'<path d="M{x(bar.low):.1f} {y}H{x(bar.high):.1f}" stroke="{colour}" stroke-width="2"/>')
        bits.append(f'<circle cx="{x(bar.value):.1f}" cy="{y}" r="4" fill="{colour}"/>')
    return "\n".join([*bits, "</svg>"]) + "\n"


def curves(title: str, x_title: str, y_title: str, series: Sequence[Curve], limit: float | None = None) -> str:
    """Curves over one pair of axes, with a dashed line at `limit`."""
    left, top, width, height = 70, 40, 460, 280
    xs = [x for curve in series for x, _ in curve.points]
    ys = [y for curve in series for _, y in curve.points] + ([] if limit is None else [limit])
    x_low, x_high, y_low, y_high = min(xs), max(xs), min(0.0, *ys), max(ys) * 1.02

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_low) / ((x_high - x_low) or 1.0)
        return left + width * across, top + height * (1 - (y - y_low) / ((y_high - y_low) or 1.0))

    bits = [_open(left + width + 240, top + height + 50), _text(10, 22, title, "start", 14)]
    for tick in round_ticks(y_low, y_high):
        at = place(x_low, tick)[1]
        bits.append(f'<path d="M{left} {at:.1f}h{width}" stroke="#ddd"/>' + _text(left - 8, at + 4, f"{tick:g}", "end"))
    bits += [
        _text(place(tick, y_low)[0], top + height + 18, f"{tick:g}", "middle") for tick in round_ticks(x_low, x_high)
    ]
    bits.append(
        _text(left + width / 2, top + height + 38, x_title, "middle") + _text(left - 60, top - 6, y_title, "start")
    )
    if limit is not None:
        bits.append(f'<path d="M{left} {place(x_low, limit)[1]:.1f}h{width}" stroke="#333" stroke-dasharray="3 3"/>')
    for number, curve in enumerate(series):
        colour = COLOURS[number % len(COLOURS)]
        dash = ' stroke-dasharray="6 4"' if curve.dashed else ""
        joined = "L".join("{:.1f} {:.1f}".format(*place(x, y)) for x, y in curve.points)
        bits.append(f'<path d="M{joined}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        at = top + 10 + 20 * number
        bits.append(f'<path d="M{left + width + 14} {at}h24" stroke="{colour}" stroke-width="2"{dash}/>')
        bits.append(_text(left + width + 44, at + 4, curve.label, "start"))
    return "\n".join([*bits, "</svg>"]) + "\n"


def _open(width: int, height: int) -> str:
    box = f'viewBox="0 0 {width} {height}" {_FONT}'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {box}><rect width="100%" height="100%" fill="white"/>'


def _text(x: float, y: float, text: str, anchor: str, size: int = 12) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>'


def round_ticks(low: float, high: float) -> list[float]:
    """About five round numbers from low to high."""
    rough = (high - low) / 5 or 1.0
    power = 10.0 ** int(f"{rough:e}".partition("e")[2])
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first = int(low // step)
    return [round(number * step, 12) for number in range(first, int(high // step) + 2) if low <= number * step <= high]
