"""From a failed step to its packets: frame numbers and a display filter, in the page and in the terminal."""

from dataclasses import replace
from html import unescape
from pathlib import Path

from bench.observe import Observation, Verdict
from bench.records.journal import CaptureMode, Journal
from bench.records.run import RunDirectory
from reports import build_report, verdict_summary
from tests.records.samples import TIMEBASE, exchange, step, verdict

SELECT = bytes.fromhex("00A4040000")


def run_with_a_failure(tmp_path: Path) -> RunDirectory:
    """Two points of one scenario; the second one's second step failed, whose packets are frames 9 and 10 of 12."""
    run = RunDirectory.create(tmp_path, "bench")
    point: list[Observation] = []
    for index in (1, 2, 3):
        start = 10 * index
        point += [
            step(start, index, "transmit", True),
            exchange(start, SELECT, b"\x90\0"),
            step(start + 5, index, "transmit", False),
        ]
    with Journal.open(run.journal_path("main")) as journal:
        for name in ("a", "b"):
            recorder = journal.point("subject/file", name, TIMEBASE, CaptureMode.FULL)
            for observation in point:
                recorder.emit(observation)
            last = verdict(duration_ms=100)
            if name == "b":
                last = replace(verdict(Verdict.FAIL, duration_ms=100), step=2)
            recorder.finish(last)
    run.close()
    return run


def test_the_page_and_the_terminal_name_the_packets_of_the_failed_step(tmp_path: Path) -> None:
    run = run_with_a_failure(tmp_path)
    chosen = "frame.number >= 9 && frame.number <= 10"
    page = unescape(build_report([run.path]).html.read_text("utf-8"))
    assert f'<a href="./capture.pcapng">capture.pcapng</a>, frames 9–10: <code>{chosen}</code>' in page
    assert f"packets: capture.pcapng frames 9–10: {chosen}" in verdict_summary([run.path]).render()


def test_a_report_elsewhere_links_back_to_the_run(tmp_path: Path) -> None:
    run = run_with_a_failure(tmp_path)
    page = build_report([run.path], tmp_path / "elsewhere").html
    link = page.read_text("utf-8").partition('packets"><a href="')[2].partition('"')[0]
    assert (page.parent / link.replace("%3D", "=")).resolve() == run.capture_path.resolve()


def test_a_run_without_an_index_has_no_links(tmp_path: Path) -> None:
    run = run_with_a_failure(tmp_path)
    (run.path / "capture.parquet").unlink()
    assert "capture.pcapng" not in build_report([run.path]).html.read_text("utf-8")
    assert "packets:" not in verdict_summary([run.path]).render()
