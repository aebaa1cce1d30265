"""What recording costs: the same points with the journal (payloads included) and with a sink that keeps nothing, in one process."""

from functools import partial
from pathlib import Path

from bench.engine import Timebase
from bench.observe import NullSink, PointVerdict, Verdict
from bench.records.journal import CaptureMode, Journal
from bench.rig.loader import load_rig_file
from bench.scenario.loader import load_scenario
from bench.scenario.point import Point
from bench.scenario.points import Selection
from bench.scenario.runner import Recorder, run_point
from benchmarks.measure import show, side_by_side

ROOT = Path(__file__).parent.parent
CHOSEN = ("baud-rate/throughput", "sockets/fair-share", "routing/host-to-card")


class _Nobody(NullSink):
    def finish(self, verdict: PointVerdict, /) -> None:
        assert verdict.verdict is Verdict.PASS


def test_journal_beside_nothing(tmp_path: Path) -> None:
    rig = load_rig_file(ROOT / "rigs" / "default.yaml").rigs[0]
    points: list[Point] = []
    for name in CHOSEN:
        points += load_scenario(ROOT / "scenarios" / f"{name}.yaml").points[Selection.ORDINARY][:4]
    written = 0

    def without() -> None:
        for point in points:
            run_point(point, rig, 1, lambda _timebase: _Nobody())

    def journalled(mode: CaptureMode) -> None:
        nonlocal written
        written += 1
        with Journal.open(tmp_path / f"{written}.journal") as journal:
            for point in points:
                run_point(point, rig, 1, partial(_recorder, journal, point, mode))

    bare, full, failures = side_by_side(
        [
            ("no records", without),
            ("payloads of everything", partial(journalled, CaptureMode.FULL)),
            ("payloads of failures", partial(journalled, CaptureMode.FAILURES)),
        ]
    )
    show(
        f"The journal's part of a run's CPU time ({len(points)} points, medians of 5 interleaved rounds)",
        [
            f"{each.name:24} {each.median:7.3f} s, of which the journal {100 * (1 - bare.median / each.median):5.1f} %"
            for each in (bare, full, failures)
        ],
    )


def _recorder(journal: Journal, point: Point, mode: CaptureMode, timebase: Timebase) -> Recorder:
    return journal.point(point.scenario, point.id, timebase, mode)
