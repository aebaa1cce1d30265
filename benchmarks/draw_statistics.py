"""Measures by simulation what regress and compare find, draws docs/evidence/*.svg from it, and prints the tables.

python -m benchmarks.draw_statistics
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from reports.compare.simulate import Shape, Study, found
from reports.stats.simulate import Weather, false_alarms, found_within
from reports.svg import Curve, curves

OUT: Final = Path(__file__).resolve().parents[1] / "docs" / "evidence"
WEATHERS: Final = {
    "normal": Weather(),
    "2 % outlier nights": Weather(outliers=0.02),
    "heavy tails": Weather(heavy=True),
    "both": Weather(outliers=0.02, heavy=True),
}
CORRELATIONS: Final = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
DIFFERENCES: Final = (0.005, 0.01, 0.015, 0.02, 0.03)
STUDIES: Final = {
    "8 runs a side": Study(Shape.RUNS, 8),
    "14 runs a side": Study(Shape.RUNS, 14),
    "20 runs a side, in turns": Study(Shape.PAIRED_RUNS, 20),
    "one run, 400 exchanges, paired": Study(Shape.PAIRED_EXCHANGES, 400),
    "one run, 1600 exchanges, paired": Study(Shape.PAIRED_EXCHANGES, 1600),
}
SERIES: Final = 4_000
NIGHTS: Final = 200_000
PAIRS: Final = 60


def nights_needed() -> list[Curve]:
    """Share of series in which a shift of 2 % has been found, by nights since it began."""
    return [
        Curve(
            name, tuple((night, 100 * rate.value) for night, rate in enumerate(found_within(weather, 0.02, SERIES), 1))
        )
        for name, weather in WEATHERS.items()
    ]


def shifts_found() -> list[Curve]:
    """Share of series in which a shift has been found after seven nights, by its size in deviations of the nights."""
    made = []
    for noise in (0.007, 0.05):
        sizes = (1.0, 2.0, 2.5, 2.9, 4.0)
        points = [(size, 100 * found_within(Weather(noise), size * noise, SERIES)[-1].value) for size in sizes]
        made.append(Curve(f"nights scatter by {100 * noise:g} %", tuple(points)))
    return made


def correlated() -> list[Curve]:
    """False alarms a series and night, by how much a night resembles the one before."""
    made = []
    for noise in (0.007, 0.02):
        rates = [(each, 100 * false_alarms(Weather(noise, correlation=each), NIGHTS).value) for each in CORRELATIONS]
        made.append(Curve(f"nights scatter by {100 * noise:g} %", tuple(rates)))
    return made


def compared() -> list[Curve]:
    """Share of families of 24 in which a difference of one series is found, by its size."""
    return [
        Curve(name, tuple((100 * size, 100 * found(study, size, PAIRS).value) for size in DIFFERENCES))
        for name, study in STUDIES.items()
    ]


def main() -> None:
    """Draw all four (some minutes of one core)."""
    draw(
        "regress-nights.svg", "A shift of 2 % (nights scatter by 0.7 %)", "nights since it began", nights_needed(), 95.0
    )
    draw(
        "regress-shifts.svg",
        "Found within seven nights",
        "shift (standard deviations of the nights)",
        shifts_found(),
        95.0,
    )
    draw("compare-power.svg", "One of 24 series differs", "difference (%)", compared(), 90.0)
    draw(
        "regress-correlated.svg",
        "False alarms a series and night",
        "correlation of neighbouring nights",
        correlated(),
        0.15,
    )


def draw(name: str, title: str, x: str, series: list[Curve], limit: float) -> None:
    """Write one picture, print its numbers."""
    (OUT / name).write_text(curves(title, x, "%", series, limit), encoding="utf-8")
    print(f"\n{name}: {title}, % by {x}")
    for curve in series:
        print(f"  {curve.label}: " + ", ".join(f"{at:g}: {value:.4g}" for at, value in curve.points), flush=True)


if __name__ == "__main__":
    main()
