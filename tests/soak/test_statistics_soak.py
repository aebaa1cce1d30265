"""How often compare and regress cry wolf, and what they find, over large counts. (Small ones: tests/stats. Curves: benchmarks/draw_statistics.py.)"""

from __future__ import annotations

import pytest

from reports.compare.simulate import Shape, Study, accused, found
from reports.stats.simulate import Rate, Weather, false_alarms, found_within
from tests.soak.evidence import Row, section

pytestmark = pytest.mark.soak

NIGHTS = 1_000_000
PAIRS = 2_000
WEATHERS = {
    "0.7 %": Weather(),
    "0.7 %, 2 % outlier nights": Weather(outliers=0.02),
    "0.7 %, heavy tails": Weather(heavy=True),
    "0.7 %, heavy tails and outlier nights": Weather(outliers=0.02, heavy=True),
    "5 %": Weather(noise=0.05),
}
STUDIES = (
    Study(Shape.PAIRED_EXCHANGES, 1600),
    Study(Shape.EXCHANGES, 1600),
    Study(Shape.EXCHANGES, 400, step=0.02),
    Study(Shape.PAIRED_RUNS, 20),
    Study(Shape.RUNS, 14),
)


def told(what: str, rate: Rate) -> Row:
    return Row(
        what,
        rate.trials,
        f"{100 * rate.value:.4g} % ({rate.count}), at 95 % {100 * rate.lower:.4g} to {100 * rate.upper:.4g} %",
    )


@pytest.mark.parametrize("name", WEATHERS)
def test_nights(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    weather = WEATHERS[name]
    alarms = false_alarms(weather, NIGHTS)
    shown = found_within(weather, 0.02, 20_000)[-1] if weather.noise < 0.02 else None
    rows = [told(f"false alarms, nights of {name}", alarms)]
    if shown is not None:
        rows.append(told(f"2 % found within seven nights, nights of {name}", shown))
    with capsys.disabled():
        print("\n" + section("Change points in simulated nights", rows))
    assert alarms.upper <= 0.0015
    assert shown is None or shown.lower >= 0.95


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: f"{study.shape.name.lower()}-{study.count}")
def test_pairs_of_cards(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = accused(study, PAIRS)
    name = f"{study.shape.value}, {study.count} values a side" + (
        f", a clock of {100 * study.step:g} %" if study.step else ""
    )
    rows = [told(f"families of 24 that accuse equal cards: {name}", wrong)]
    right = found(study, 0.02, 500) if not study.step else None
    if right is not None:
        rows.append(told(f"2 % in one of 24 found: {name}", right))
    with capsys.disabled():
        print("\n" + section("Simulated pairs of cards", rows))
    assert wrong.upper <= 0.05
    assert right is None or right.value >= 0.90
